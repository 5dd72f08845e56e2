//! Local functions for tests: their tables in a configuration, what they were called with, and whether their processes live.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::{built, root};
use crate::eventually;
use crate::home::Home;

/// The function that does what its events say (`src/bin/test_function.rs`).
#[must_use]
pub fn test_function() -> PathBuf {
    built("test-function", "eventail-tests")
}

/// `[functions.NAME]` with that function, with more keys, and more variables as the inside of an inline table. What it is called
/// with stands in the home's folder, in a file of its own.
#[must_use]
pub fn table(name: &str, keys: &str, variables: &str) -> String {
    let program = test_function().display().to_string();
    let comma = if variables.is_empty() { "" } else { ", " };
    format!(
        "[functions.{name}]\ncommand = [{program:?}]\nenvironment = {{ TEST_RECORD = \"{name}.ndjson\"{comma}{variables} }}\n{keys}\n"
    )
}

/// `[functions.NAME]` with a Python module of `tests/python` on AWS's own runtime client, with more keys.
#[must_use]
pub fn python_table(name: &str, handler: &str, keys: &str) -> String {
    let python = python().display().to_string();
    let folder = scripts().display().to_string();
    format!(
        "[functions.{name}]\ncommand = [{python:?}, \"-m\", \"awslambdaric\", \"{handler}\"]\ndirectory = {folder:?}\n{keys}\n"
    )
}

/// Where the tests' Python files are.
#[must_use]
pub fn scripts() -> PathBuf {
    root().join("tests/python")
}

/// The Python with the packages of `tests/requirements.txt`.
///
/// # Panics
/// Where `tests/run` did not install them.
#[must_use]
pub fn python() -> PathBuf {
    let python = root().join(".cache/python/bin/python3");
    assert!(python.exists(), "{} is missing: tests/run installs it", python.display());
    python
}

/// What the function was called with so far, in order: one object for each call, with `process`, `call` (counted by the
/// process), `payload`, `request_id`, `deadline_ms`, `arn`, `trace` and `client_context`.
#[must_use]
pub fn calls(home: &Home, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(home.path().join(format!("{name}.ndjson"))).unwrap_or_default();
    // A line that is just being written is not there yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(parse).collect()
}

/// Waits until the function was called at least so often, and answers all calls.
pub async fn called(home: &Home, name: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} calls of {name}");
    eventually(&what, async || Some(calls(home, name)).filter(|calls| calls.len() >= count)).await
}

/// The process of a call.
#[must_use]
#[track_caller]
pub fn process_of(call: &Value) -> u32 {
    let number = call["process"].as_u64().and_then(|number| u32::try_from(number).ok());
    number.unwrap_or_else(|| panic!("no process in {call}"))
}

/// The ids of the events of a call, whatever the shape of its payload.
#[must_use]
pub fn event_ids(call: &Value) -> Vec<String> {
    let payload = &call["payload"];
    let of = |event: &Value| {
        let attribute = &event["messageAttributes"]["ce-id"]["stringValue"];
        let id = if event["id"].is_string() { &event["id"] } else { attribute };
        id.as_str().unwrap_or_else(|| panic!("no id in {event}")).to_owned()
    };
    match payload.as_array().or_else(|| payload["Records"].as_array()) {
        Some(events) => events.iter().map(of).collect(),
        None => vec![of(payload)],
    }
}

/// Whether a process still runs. One that ended and that nobody waited for does not.
#[must_use]
pub fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// The processes of [`test_function`] that run below a broker.
#[must_use]
pub fn instances_of(broker: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parent = |number: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let descends = |mut number: u32| {
        while let Some(next) = parent(number).filter(|next| *next > 1) {
            if next == broker {
                return true;
            }
            number = next;
        }
        false
    };
    let runs = |number: &u32| {
        let program_of = std::fs::read_link(format!("/proc/{number}/exe")).unwrap_or_default();
        program_of.ends_with("test-function") && is_running(*number)
    };
    numbers.filter(runs).filter(|number| descends(*number)).collect()
}

/// Waits until at least so many of them run, and answers all.
pub async fn instances(broker: u32, count: usize) -> Vec<u32> {
    let what = format!("{count} instances");
    eventually(&what, async || Some(instances_of(broker)).filter(|instances| instances.len() >= count)).await
}

/// Waits until a process has ended.
pub async fn gone(process: u32) {
    let what = format!("process {process} to end");
    eventually(&what, async || (!is_running(process)).then_some(())).await;
}

/// Waits for a number in a file, for instance of a process that a function started.
pub async fn number_in(path: &Path) -> u32 {
    let what = format!("a number in {}", path.display());
    eventually(&what, async || std::fs::read_to_string(path).ok()?.trim().parse().ok()).await
}
