//! What goes wrong: each kind is told apart, and the function recovers.

use std::time::Duration;

use super::support::{Folder, PATIENCE, call, call_within, is_alive, json, spawn, until, until_gone};
use crate::function::{RunError, StartError};
use crate::report::RunEnd;

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_function_is_told_with_its_type_and_its_log() {
    let folder = Folder::new(
        "
while True:
    id, _, event = take()
    say('about to fail ' + event['n'])
    fail(id, 'ValueError', 'no such number')
",
    );
    let function = folder.function(|_| {});
    for n in ["one", "two"] {
        let run = function.invoke(call(&format!(r#"{{"n":"{n}"}}"#))).await;
        let Err(RunError::Function { kind, message, document }) = &run.result else { panic!("{run:?}") };
        assert_eq!((kind.as_str(), message.as_str()), ("ValueError", "no such number"));
        assert!(String::from_utf8_lossy(document).contains("stackTrace"));
        assert_eq!(run.log_tail, format!("about to fail {n}\n"));
        assert_eq!(run.report.end, RunEnd::Error);
        assert!(run.report.billed_ms.is_some());
    }
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_call_at_once_and_the_process_soon() {
    let folder = Folder::new(
        "
pid_seen = open('pid', 'w'); pid_seen.write(str(os.getpid())); pid_seen.close()
def stop(signal, frame):
    open('terminated', 'w').close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
id, _, _ = take()
say('sleeping')
time.sleep(600)
",
    );
    let function = folder.function(|options| options.timeout_ms = 300);
    let run = function.invoke(call("{}")).await;
    let Err(error @ RunError::Timeout { .. }) = &run.result else { panic!("{run:?}") };
    assert_eq!(error.to_string(), "Task timed out after 0.30 seconds");
    assert_eq!((run.report.end, run.log_tail.as_str()), (RunEnd::Timeout, "sleeping\n"));
    until(&function, |status| status.instances == 0).await;
    assert!(folder.0.join("terminated").exists());
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ignores_the_polite_signal_is_killed() {
    let folder = Folder::new(
        "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def handle(event):
    if event['hang']:
        time.sleep(600)
    return os.getpid()
serve(handle)
",
    );
    let function = folder.function(|_| {});
    let pid = json(&function.invoke(call(r#"{"hang":false}"#)).await).as_i64().unwrap();
    let run = function.invoke(call_within(r#"{"hang":true}"#, Duration::from_millis(100))).await;
    assert!(matches!(run.result, Err(RunError::Timeout { .. })), "{run:?}");
    let next = function.invoke(call(r#"{"hang":false}"#)).await;
    assert_ne!(json(&next), pid);
    assert!(!is_alive(i32::try_from(pid).unwrap()));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_with_how_the_process_ended() {
    let folder = Folder::new(
        "
id, _, event = take()
sys.stderr.write('last words\\n')
if event['signal']:
    os.kill(os.getpid(), event['signal'])
    time.sleep(600)
os._exit(7)
",
    );
    let function = folder.function(|_| {});
    for (signal, wanted) in [(0, "exit status 7"), (9, "signal: killed"), (11, "signal: segmentation fault")]
    {
        let run = function.invoke(call(&format!(r#"{{"signal":{signal}}}"#))).await;
        let Err(RunError::Crash { end }) = &run.result else { panic!("{run:?}") };
        assert_eq!(end.to_string(), wanted);
        assert_eq!((run.report.end, run.log_tail.as_str()), (RunEnd::Error, "last words\n"));
        let document = run.result.as_ref().unwrap_err().document(&run.request_id);
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(document["errorType"], "Runtime.ExitError");
    }
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grandchildren_end_with_the_instance() {
    let folder = Folder::new(
        "
child = subprocess.Popen(['sleep', '600'])
id, _, _ = take()
open('child', 'w').write(str(child.pid))
os._exit(1)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    assert!(matches!(run.result, Err(RunError::Crash { .. })), "{run:?}");
    let pid = std::fs::read_to_string(folder.0.join("child")).unwrap().parse().unwrap();
    until_gone(pid).await;
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_none_fails_at_once_and_the_next_call_faster() {
    let folder = Folder::new("");
    let function = folder.function(|options| options.command = vec!["/no/such/program".to_owned()]);
    let run = function.invoke(call("{}")).await;
    let Err(RunError::Start(error)) = &run.result else { panic!("{run:?}") };
    assert!(matches!(&**error, StartError::Command { program, .. } if program == "/no/such/program"));
    assert_eq!(run.report.end, RunEnd::InitError);
    let run = function.invoke(call("{}")).await;
    assert!(matches!(run.result, Err(RunError::Start(_))), "{run:?}");
    let status = function.status();
    assert!(status.last_start_error.unwrap().contains("/no/such/program"));
    // More calls than starts: the second one came while the next start was held off.
    assert_eq!((status.starts, status.failed_starts), (1, 1));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_error_reaches_all_who_wait_with_its_reason_and_its_log() {
    let folder = Folder::new(
        "
say('loading')
until_it_exists('open')
document = json.dumps({'errorType': 'Runtime.ImportModuleError', 'errorMessage': 'no module named app'})
status, _, _ = request('POST', 'init/error', document)
sys.exit(1 if status == 202 else 2)
",
    );
    let function = folder.function(|_| {});
    let runs = [(); 3].map(|()| spawn(&function, call("{}")));
    until(&function, |status| status.waiting == 3).await;
    folder.let_go("open");
    for run in runs {
        let run = run.await.unwrap();
        let Err(error @ RunError::Start(_)) = &run.result else { panic!("{run:?}") };
        assert!(error.to_string().contains("Runtime.ImportModuleError: no module named app"), "{error}");
        assert_eq!(run.log_tail, "loading\n");
    }
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_before_the_first_invocation_is_a_failed_start() {
    let folder = Folder::new("sys.stderr.write('no luck\\n')\nsys.exit(4)");
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    let Err(RunError::Start(error)) = &run.result else { panic!("{run:?}") };
    assert!(matches!(&**error, StartError::Exited { end } if end.to_string() == "exit status 4"), "{error}");
    assert_eq!(run.log_tail, "no luck\n");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_takes_too_long_is_a_failed_start() {
    let folder = Folder::new("");
    let function = folder.function(|options| {
        options.command = ["/bin/sh", "-c", "echo dreaming; exec sleep 600"].map(str::to_owned).into();
        options.init_timeout_ms = 2_000;
    });
    let run = function.invoke(call("{}")).await;
    let Err(RunError::Start(error)) = &run.result else { panic!("{run:?}") };
    assert!(matches!(**error, StartError::Timeout { .. }), "{error}");
    assert_eq!(run.log_tail, "dreaming\n");
    until(&function, |status| status.instances == 0).await;
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_was_mended_runs_again() {
    let folder =
        Folder::new("if not os.path.exists('open'):\n    sys.exit(1)\nserve(lambda event: 'mended')");
    let function = folder.function(|_| {});
    assert!(matches!(function.invoke(call("{}")).await.result, Err(RunError::Start(_))));
    folder.let_go("open");
    let mended = async {
        loop {
            let run = function.invoke(call("{}")).await;
            match run.result {
                Err(RunError::Start(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                _ => break run,
            }
        }
    };
    let mended = tokio::time::timeout(PATIENCE, mended).await.expect("it is started again in time");
    assert_eq!(json(&mended), "mended");
    let status = function.status();
    assert_eq!((status.failed_starts, status.last_start_error), (0, None));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_dies_before_it_ever_answers_is_started_again_only_after_a_while() {
    let folder = Folder::new(
        "
threading.Timer(0.05, lambda: os._exit(5)).start()
take()
",
    );
    let function = folder.function(|options| options.min_instances = 1);
    let status = until(&function, |status| status.failed_starts == 3).await;
    assert_eq!(status.starts, 3);
    function.close().await;
}
