//! Memory and logs stay within their bounds, and show where it counts.

use std::time::Duration;

use eventail_wire::limits;

use super::support::{Folder, call, json, until, until_gone};
use crate::function::RunError;
use crate::report::RunEnd;

const GREEDY: &str = "
def handle(event):
    held = []
    if event['how'] == 'fair':
        return len(bytearray(8 << 20))
    if event['how'] == 'swallowed':
        try:
            bytearray(1 << 30)
        except MemoryError:
            return 'no room'
    bytearray(1 << 30)
while True:
    id, _, event = take()
    try:
        answer(id, handle(event))
    except MemoryError:
        fail(id, 'MemoryError', '')
";

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_enforces_the_memory_limit() {
    let folder = Folder::new(GREEDY);
    let function = folder.function(|options| options.memory_mb = Some(128));
    let run = function.invoke(call(r#"{"how":"fair"}"#)).await;
    assert_eq!(json(&run), 8 << 20);
    assert!(run.report.memory_used_mb.is_some_and(|mb| (8..128).contains(&mb)), "{:?}", run.report);
    let run = function.invoke(call(r#"{"how":"swallowed"}"#)).await;
    assert_eq!(json(&run), "no room");
    let run = function.invoke(call(r#"{"how":"greedy"}"#)).await;
    assert!(matches!(run.result, Err(RunError::OutOfMemory { memory_mb: Some(128), .. })), "{run:?}");
    assert_eq!(run.report.end, RunEnd::OutOfMemory);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_the_memory_limit_is_no_crash() {
    let folder = Folder::new(
        "
id, _, event = take()
held = []
try:
    while True:
        held.append(bytearray(1 << 20))
except MemoryError:
    os.kill(os.getpid(), signal.SIGKILL if event['quiet'] else signal.SIGTERM)
    time.sleep(600)
",
    );
    let function = folder.function(|options| options.memory_mb = Some(96));
    let run = function.invoke(call(r#"{"quiet":true}"#)).await;
    assert!(matches!(run.result, Err(RunError::OutOfMemory { .. })), "{run:?}");
    let run = function.invoke(call(r#"{"quiet":false}"#)).await;
    assert!(matches!(run.result, Err(RunError::Crash { .. })), "{run:?}");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_holds_the_last_of_the_log_of_this_invocation() {
    let folder = Folder::new(
        "
def handle(event):
    for n in range(event['lines']):
        sys.stdout.write(f'line {n} ' + 'x' * 80 + '\\n')
        sys.stdout.flush()
    sys.stdout.write('no end')
    sys.stdout.flush()
    return 1
serve(handle)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call(r#"{"lines":1000}"#)).await;
    assert_eq!(run.log_tail.len(), limits::LOG_TAIL_BYTES_MAX);
    assert!(run.log_tail.ends_with("no end"), "{}", run.log_tail);
    assert!(run.log_tail.contains("line 999"), "{}", run.log_tail);
    let run = function.invoke(call(r#"{"lines":0}"#)).await;
    assert_eq!(run.log_tail, "no end");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_as_lambda_has_it_ends_with_the_whole_report() {
    let folder = Folder::new("serve(lambda event: say('é' * event['n']))");
    let function = folder.function(|options| options.memory_mb = Some(256));
    let cold = function.invoke(call(r#"{"n":3}"#)).await.tail();
    let lines: Vec<&str> = cold.lines().collect();
    assert!(lines[0].starts_with("START RequestId: request-") && lines[0].ends_with(" Version: $LATEST"));
    assert_eq!(lines[1], "ééé");
    assert!(lines[2].starts_with("END RequestId: "));
    let report: Vec<&str> = lines[3].split('\t').collect();
    assert!(report[0].starts_with("REPORT RequestId: ") && report[1].starts_with("Duration: "), "{report:?}");
    assert!(report[2].starts_with("Billed Duration: ") && report[3] == "Memory Size: 256 MB", "{report:?}");
    assert!(
        report[4].starts_with("Max Memory Used: ") && report[5].starts_with("Init Duration: "),
        "{report:?}"
    );
    let warm = function.invoke(call(r#"{"n":9000}"#)).await.tail();
    assert!(warm.len() <= limits::LOG_TAIL_BYTES_MAX && warm.len() > limits::LOG_TAIL_BYTES_MAX - 2);
    let report = warm.lines().last().unwrap();
    assert!(report.starts_with("REPORT RequestId: ") && !report.contains("Init Duration"), "{report}");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_never_stops_writing_is_answered_all_the_same() {
    let folder = Folder::new(
        "
def flood():
    while True:
        os.write(1, b'y' * 65536)
        os.write(2, b'z\\n' * 1000)
threading.Thread(target=flood, daemon=True).start()
serve(lambda event: event['n'])
",
    );
    let function = folder.function(|_| {});
    for n in 0..20 {
        let run = function.invoke(call(&format!(r#"{{"n":{n}}}"#))).await;
        assert_eq!(json(&run), n);
        assert!(run.log_tail.len() <= limits::LOG_TAIL_BYTES_MAX);
    }
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_core_is_dumped_and_the_group_is_its_own() {
    let folder = Folder::new(
        "
import resource
serve(lambda event: [resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_DATA),
                     os.getpgrp() == os.getpid()])
",
    );
    let function = folder.function(|options| options.memory_mb = Some(200));
    let run = function.invoke(call("{}")).await;
    let seen = json(&run);
    assert_eq!(seen[0], serde_json::json!([0, 0]));
    assert_eq!(seen[1], serde_json::json!([200 << 20, 200 << 20]));
    assert_eq!(seen[2], true);
    until(&function, |status| status.warm == 1).await;
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_left_its_process_group_is_stopped_all_the_same() {
    let folder = Folder::new(
        "os.setpgid(0, os.getpgid(os.getppid()))\nid, _, _ = take()\nanswer(id, os.getpid())\ntime.sleep(600)",
    );
    let function = folder.function(|_| {});
    let pid = json(&function.invoke(call("{}")).await).as_i64().unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), function.close()).await;
    assert!(closed.is_ok(), "process {pid} did not get the signals");
    until_gone(i32::try_from(pid).unwrap()).await;
}
