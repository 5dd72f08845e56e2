//! Instances: how many there are, which one is used, and when they end.

use std::time::Duration;

use super::support::{Folder, call, call_within, is_alive, json, spawn, until, until_gone};
use crate::function::{RunError, ThrottleReason};
use crate::report::RunEnd;

const PID: &str = "serve(lambda event: os.getpid())";
/// Answers with its process id once the event's file is there.
const GATED: &str = "
def handle(event):
    until_it_exists(event['gate'])
    return os.getpid()
serve(handle)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_is_used_again() {
    let folder = Folder::new(PID);
    let function = folder.function(|_| {});
    let first = function.invoke(call("{}")).await;
    assert!(first.init.is_some_and(|init| init > Duration::ZERO));
    for _ in 0..20 {
        let run = function.invoke(call("{}")).await;
        assert_eq!(json(&run), json(&first));
        assert_eq!(run.init, None);
    }
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_side_by_side_get_instances_of_their_own_up_to_the_most() {
    let folder = Folder::new(GATED);
    let function = folder.function(|options| options.max_instances = 2);
    let runs = [(); 3].map(|()| spawn(&function, call(r#"{"gate":"open"}"#)));
    until(&function, |status| status.busy == 2 && status.waiting == 1).await;
    assert_eq!(function.status().instances, 2);
    folder.let_go("open");
    let mut pids = Vec::new();
    for run in runs {
        pids.push(json(&run.await.unwrap()).as_i64().unwrap());
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 2);
    assert_eq!(function.status().starts, 2);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_are_served_in_order() {
    let folder = Folder::new(
        "
count = 0
def handle(event):
    global count
    until_it_exists('open')
    count += 1
    return count
serve(handle)
",
    );
    let function = folder.function(|options| options.max_instances = 1);
    let mut runs = Vec::new();
    for waiting in 0..4 {
        runs.push(spawn(&function, call("{}")));
        until(&function, |status| status.busy + status.waiting + status.starting > waiting).await;
        until(&function, |status| status.busy == 1 && status.waiting == waiting).await;
    }
    folder.let_go("open");
    for (index, run) in runs.into_iter().enumerate() {
        assert_eq!(json(&run.await.unwrap()), index + 1);
    }
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_no_instance_in_time_is_throttled() {
    let folder = Folder::new(GATED);
    let function = folder.function(|options| options.max_instances = 1);
    let first = spawn(&function, call(r#"{"gate":"open"}"#));
    until(&function, |status| status.busy == 1).await;
    let run = function.invoke(call_within("{}", Duration::from_millis(30))).await;
    assert!(matches!(run.result, Err(RunError::Throttled(ThrottleReason::Deadline))), "{:?}", run.result);
    assert_eq!((run.report.end, run.report.billed_ms), (RunEnd::Throttled, None));
    assert_eq!(function.status().waiting, 0);
    folder.let_go("open");
    assert!(first.await.unwrap().result.is_ok());
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_instances_are_stopped_down_to_those_that_are_kept() {
    let folder = Folder::new(GATED);
    let function = folder.function(|options| {
        options.max_instances = 3;
        options.min_instances = 1;
        options.idle_timeout_ms = 50;
    });
    until(&function, |status| status.warm == 1).await;
    let runs = [(); 3].map(|()| spawn(&function, call(r#"{"gate":"open"}"#)));
    until(&function, |status| status.busy == 3).await;
    folder.let_go("open");
    for run in runs {
        assert!(run.await.unwrap().result.is_ok());
    }
    until(&function, |status| status.instances == 1 && status.warm == 1).await;
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_kept_warm_is_no_cold_start() {
    let folder = Folder::new("serve(lambda event: os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'])");
    let function = folder.function(|options| options.min_instances = 1);
    until(&function, |status| status.warm == 1).await;
    let run = function.invoke(call("{}")).await;
    assert_eq!((json(&run), run.report.init_ms), ("provisioned-concurrency".into(), None));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_kept_is_started_again_when_it_dies() {
    let folder = Folder::new(PID);
    let function = folder.function(|options| options.min_instances = 1);
    let first = json(&function.invoke(call("{}")).await).as_i64().unwrap();
    let pid = i32::try_from(first).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    until(&function, |status| status.starts == 2 && status.warm == 1).await;
    assert_ne!(json(&function.invoke(call("{}")).await), first);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_ends_between_calls_is_replaced_by_the_next_call() {
    let folder = Folder::new("id, _, _ = take()\nanswer(id, os.getpid())");
    let function = folder.function(|_| {});
    let first = function.invoke(call("{}")).await;
    until(&function, |status| status.instances == 0).await;
    let second = function.invoke(call("{}")).await;
    assert_ne!(json(&first), json(&second));
    assert!(second.init.is_some());
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_sent_just_before_the_end_counts() {
    let folder = Folder::new(
        "
id, _, _ = take()
body = b'\"last\"'
head = f'POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n'
connection.sock.sendall(head.encode() + body)
os._exit(3)
",
    );
    let function = folder.function(|_| {});
    for _ in 0..5 {
        assert_eq!(json(&function.invoke(call("{}")).await), "last");
    }
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_no_process_behind() {
    let folder = Folder::new(
        "
child = subprocess.Popen(['sleep', '600'])
def handle(event):
    return [os.getpid(), child.pid]
serve(handle)
",
    );
    let function = folder.function(|_| {});
    let pids: Vec<i32> = serde_json::from_value(json(&function.invoke(call("{}")).await)).unwrap();
    assert!(pids.iter().all(|&pid| is_alive(pid)));
    function.close().await;
    assert_eq!(function.status().instances, 0);
    for pid in pids {
        until_gone(pid).await;
    }
    let run = function.invoke(call("{}")).await;
    assert!(matches!(run.result, Err(RunError::Stopped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_dropped_stops_its_instances() {
    let folder = Folder::new(PID);
    let function = folder.function(|_| {});
    let pid = json(&function.invoke(call("{}")).await).as_i64().unwrap();
    drop(function);
    until_gone(i32::try_from(pid).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_the_instance_in_order() {
    let folder = Folder::new(GATED);
    let function = folder.function(|options| options.max_instances = 1);
    let abandoned = spawn(&function, call(r#"{"gate":"open"}"#));
    until(&function, |status| status.busy == 1).await;
    let waiting = spawn(&function, call(r#"{"gate":"open"}"#));
    until(&function, |status| status.waiting == 1).await;
    abandoned.abort();
    waiting.abort();
    assert!(waiting.await.is_err());
    folder.let_go("open");
    let run = function.invoke(call(r#"{"gate":"open"}"#)).await;
    assert!(run.result.is_ok(), "{:?}", run.result);
    assert_eq!(function.status().starts, 1);
    function.close().await;
}
