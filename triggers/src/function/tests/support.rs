//! A function made of a few lines of Python on top of a small runtime, and ways to wait for what it does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::{Clock, FunctionName, Timestamp};
use rustix::process::Pid;
use tokio::time::Instant;

use crate::function::{Call, Confinement, Function, FunctionOptions, FunctionStatus, Run};
use crate::http::Secret;

/// What every function of these tests begins with. `serve` is a runtime: it hands each invocation to `handle`.
const PRELUDE: &str = r#"
import http.client, json, os, signal, sys, time, threading, subprocess

API = os.environ['AWS_LAMBDA_RUNTIME_API']
PREFIX = '/2018-06-01/runtime/'
connection = http.client.HTTPConnection(API)

def say(text):
    sys.stdout.write(text + '\n')
    sys.stdout.flush()

def request(method, path, body=None, headers={}, via=None):
    via = via or connection
    via.request(method, PREFIX + path, body=body, headers=headers)
    response = via.getresponse()
    return response.status, response.headers, response.read()

def take():
    status, headers, body = request('GET', 'invocation/next')
    assert status == 200, (status, body)
    return headers['Lambda-Runtime-Aws-Request-Id'], headers, json.loads(body)

def post(id, what, body, headers={}):
    return request('POST', f'invocation/{id}/{what}', body, headers)

def answer(id, value):
    status, _, body = post(id, 'response', json.dumps(value))
    assert status == 202, (status, body)

def fail(id, kind, message):
    document = json.dumps({'errorType': kind, 'errorMessage': message, 'stackTrace': []})
    status, _, body = post(id, 'error', document, {'Lambda-Runtime-Function-Error-Type': kind})
    assert status == 202, (status, body)

def until_it_exists(path):
    while not os.path.exists(path):
        time.sleep(0.002)

def serve(handle):
    while True:
        id, headers, event = take()
        answer(id, handle(event))
"#;

/// How long a test waits for what has to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The interpreter itself, behind whatever wrapper stands in `PATH`.
fn python() -> &'static str {
    static PYTHON: LazyLock<String> = LazyLock::new(|| {
        let ask = ["-c", "import sys; print(sys.executable)"];
        let told = std::process::Command::new("python3").args(ask).output().unwrap();
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
    });
    &PYTHON
}

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

/// A folder of a test's own, with the function in it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(script: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("eventail-function-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("function.py"), format!("{PRELUDE}\n{script}")).unwrap();
        Self(path)
    }

    /// Makes the file that a function waits for with `until_it_exists`.
    pub(super) fn let_go(&self, name: &str) {
        std::fs::write(self.0.join(name), "").unwrap();
    }

    pub(super) fn options(&self) -> FunctionOptions {
        FunctionOptions {
            name: FunctionName::new("tried").unwrap(),
            command: vec![python().to_owned(), "function.py".to_owned()],
            directory: Some(self.0.clone()),
            environment: vec![("FLAVOUR".to_owned(), Secret::new("plum".to_owned()))],
            handler: Some("function.handler".to_owned()),
            memory_mb: None,
            confinement: Confinement::default(),
            timeout_ms: 20_000,
            init_timeout_ms: 20_000,
            min_instances: 0,
            max_instances: 1,
            idle_timeout_ms: 60_000,
        }
    }

    pub(super) fn function(&self, change: impl FnOnce(&mut FunctionOptions)) -> Arc<Function> {
        let mut options = self.options();
        change(&mut options);
        Function::new(options, Arc::new(Fixed))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub(super) fn call(payload: &str) -> Call {
    call_within(payload, PATIENCE)
}

pub(super) fn call_within(payload: &str, time: Duration) -> Call {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let request_id = format!("request-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    Call::new(Bytes::copy_from_slice(payload.as_bytes()), request_id, Instant::now() + time)
}

/// Calls from a task of its own.
pub(super) fn spawn(function: &Arc<Function>, call: Call) -> tokio::task::JoinHandle<Run> {
    let function = Arc::clone(function);
    tokio::spawn(async move { function.invoke(call).await })
}

pub(super) fn text(run: &Run) -> &str {
    std::str::from_utf8(run.result.as_ref().unwrap()).unwrap()
}

pub(super) fn json(run: &Run) -> serde_json::Value {
    serde_json::from_slice(run.result.as_ref().unwrap()).unwrap()
}

/// Waits until the function's instances are as wanted.
pub(super) async fn until(function: &Function, wanted: impl Fn(&FunctionStatus) -> bool) -> FunctionStatus {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let status = function.status();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < give_up, "it never came: {status:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until there is no such process any more, not even a dead one.
pub(super) async fn until_gone(pid: i32) {
    let give_up = Instant::now() + PATIENCE;
    while is_alive(pid) {
        assert!(Instant::now() < give_up, "process {pid} is still there");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether the process runs. One that is dead and not yet waited for by its parent does not.
pub(super) fn is_alive(pid: i32) -> bool {
    let pid = Pid::from_raw(pid).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}
