//! A Lambda function that does what the test says, on AWS's own runtime client: it answers, fails, crashes, hangs, eats
//! memory, logs, leaves children behind.
//!
//! Each event's data says what to do with it (`{"do": "fail"}`); what came is appended to the file in `TEST_RECORD`, one JSON
//! line for each call. `TEST_INIT` says what goes wrong before the first call. It must not know anything of Eventail but the
//! shapes in which events come.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a function prints is its log")]

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lambda_runtime::{Context, Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// How many calls this process had.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// What was allocated, so that it stays.
static HOARD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match std::env::var("TEST_INIT").as_deref() {
        Ok("exit") => {
            eprintln!("no database at 10.0.0.1");
            std::process::exit(3);
        }
        Ok("hang") => std::future::pending().await,
        Ok("once") => exit_the_first_time(),
        _ => {}
    }
    println!("up");
    lambda_runtime::run(service_fn(handle)).await
}

/// Ends the first process, and no later one: the folder remembers.
fn exit_the_first_time() {
    let first = std::fs::OpenOptions::new().write(true).create_new(true).open("test-init-done");
    if first.is_ok() {
        eprintln!("not yet");
        std::process::exit(3);
    }
}

/// A failure that says what it is.
#[derive(Debug)]
struct Failure(&'static str, String);

impl From<Failure> for Diagnostic {
    fn from(Failure(error_type, error_message): Failure) -> Self {
        Self { error_type: error_type.to_owned(), error_message }
    }
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Failure> {
    let LambdaEvent { payload, context } = event;
    let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    record(&payload, &context, call);
    let items = items(&payload);
    for item in &items {
        let wish = item.data["do"].as_str().unwrap_or("echo");
        perform(wish, &item.data, call).await?;
    }
    if items.iter().any(|item| item.data["do"] == "environment") {
        return Ok(environment());
    }
    let listed: Vec<Value> = items
        .iter()
        .filter(|item| item.data["do"] == "fail-item")
        .map(|item| json!({ "itemIdentifier": item.identifier }))
        .collect();
    if !listed.is_empty() {
        return Ok(json!({ "batchItemFailures": listed }));
    }
    if let Some(answer) = items.iter().find_map(|item| item.data.get("answer")) {
        return Ok(answer.clone());
    }
    Ok(json!({ "process": std::process::id(), "call": call, "payload": payload }))
}

/// One event of the payload, whatever its shape.
struct Item {
    identifier: Value,
    data: Value,
}

fn items(payload: &Value) -> Vec<Item> {
    if let Some(records) = payload["Records"].as_array() {
        let item = |record: &Value| {
            let body: Value = record["body"].as_str().and_then(|body| serde_json::from_str(body).ok())?;
            Some(Item { identifier: record["messageId"].clone(), data: data(&body) })
        };
        return records.iter().filter_map(item).collect();
    }
    let item = |event: &Value| Item { identifier: event["id"].clone(), data: data(event) };
    match payload.as_array() {
        Some(events) => events.iter().map(item).collect(),
        None => vec![item(payload)],
    }
}

/// The data of a CloudEvent or an EventBridge envelope, or what came without one.
fn data(event: &Value) -> Value {
    let inner = event.get("data").or_else(|| event.get("detail"));
    inner.unwrap_or(event).clone()
}

async fn perform(wish: &str, data: &Value, call: u64) -> Result<(), Failure> {
    match wish {
        "fail" => return Err(Failure("OrderRejected", "cannot digest this".to_owned())),
        "fail-first" if call == 1 => return Err(Failure("NotReady", "warming up".to_owned())),
        "panic" => panic!("the handler panics"),
        "crash" => {
            eprintln!("about to crash");
            std::process::exit(7);
        }
        "abort" => std::process::abort(),
        "hang" => {
            println!("begins to hang");
            std::future::pending().await
        }
        "hang-for-good" => hang_for_good().await,
        "slow" => {
            let milliseconds = data["ms"].as_u64().unwrap_or(500);
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        "wait-for-file" => {
            let path = data["path"].as_str().unwrap_or_default();
            while !std::path::Path::new(path).exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        "allocate" => allocate(data["mb"].as_u64().unwrap_or(64)),
        "log" => {
            for line in 0..data["lines"].as_u64().unwrap_or(3) {
                println!("line {line} of standard output");
                eprintln!("line {line} of standard error");
            }
        }
        "leave-child" => leave_child(data),
        _ => {}
    }
    Ok(())
}

/// SIGTERM does not end it.
async fn hang_for_good() {
    let _deaf = signal(SignalKind::terminate()).expect("signals can be handled");
    println!("begins to hang for good");
    std::future::pending().await
}

/// Takes memory, and writes to every page of it, so that it counts.
fn allocate(megabytes: u64) {
    let mut hoard = HOARD.lock().expect("nothing panics while it holds this lock");
    for _ in 0..megabytes {
        hoard.push(vec![1; 1 << 20]);
    }
    println!("took {megabytes} MB");
}

/// Starts a process that nobody waits for, in the function's group or in one of its own.
fn leave_child(data: &Value) {
    let program = if data["own_session"] == true { "setsid" } else { "env" };
    let child = std::process::Command::new(program).args(["sleep", "1000"]).spawn().expect("a child starts");
    let path = data["path"].as_str().expect("a file for the child's number");
    std::fs::write(path, child.id().to_string()).expect("the file can be written");
}

/// What Lambda sets, and what the test may have set.
fn environment() -> Value {
    let known = |name: &str| {
        ["AWS_", "LAMBDA_", "_HANDLER", "TEST_", "TZ", "_X_AMZN"].iter().any(|start| name.starts_with(start))
    };
    let variables = std::env::vars().filter(|(name, _)| known(name));
    let variables: serde_json::Map<String, Value> =
        variables.map(|(name, value)| (name, value.into())).collect();
    json!({ "environment": variables, "directory": std::env::current_dir().ok() })
}

fn record(payload: &Value, context: &Context, call: u64) {
    let Some(path) = std::env::var_os("TEST_RECORD") else { return };
    let line = json!({
        "process": std::process::id(),
        "call": call,
        "payload": payload,
        "request_id": context.request_id,
        "deadline_ms": context.deadline,
        "arn": context.invoked_function_arn,
        "trace": context.xray_trace_id,
        "client_context": context.client_context.as_ref().map(|context| context.custom.clone()),
    });
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write for each line: several processes may append.
    file.expect("the record opens").write_all(format!("{line}\n").as_bytes()).expect("the record is written");
}
