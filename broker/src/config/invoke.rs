//! The Lambda Invoke API's part of the configuration: who may call it, and the triggers that deliver what is invoked
//! asynchronously.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use eventail_triggers::function::{FunctionOptions, FunctionTargetOptions};
use eventail_triggers::http::Secret;
use eventail_triggers::payload::PayloadShape;
use eventail_wire::{NameError, TopicName, TriggerName};

use super::function::lease_ms;
use super::model::{Config, INVOCATION_TYPE, INVOCATIONS_TOPIC, TargetOptions, Trigger};
use super::problem::Problem;
use super::reader::{Reader, Section};
use super::{schema, secret};

/// As AWS has it.
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
/// What AWS Lambda does with an asynchronous invocation that fails: two more tries ...
const ATTEMPTS_MAX: u32 = 3;
/// ... one minute after the first ...
const BACKOFF_INITIAL_MS: u64 = 60_000;
/// ... and two after the second ...
const BACKOFF_MAX_MS: u64 = 120_000;
/// ... and none when it is six hours old.
const AGE_MAX_MS: u64 = 6 * 3_600_000;

impl Config {
    /// Adds, for every function, the trigger `invoke.NAME` that delivers what is invoked asynchronously through the Invoke API,
    /// unless there is one of that name. A configuration that is read from a file has them already.
    ///
    /// # Errors
    /// Where a function's name is too long for such a trigger.
    pub fn add_invoke_triggers(&mut self) -> Result<(), NameError> {
        for function in self.functions.values() {
            let name = TriggerName::new(&format!("invoke.{}", function.name))?;
            if let Entry::Vacant(free) = self.triggers.entry(name) {
                free.insert(invoke_trigger(function)?);
            }
        }
        Ok(())
    }
}

fn invoke_trigger(function: &FunctionOptions) -> Result<Trigger, NameError> {
    let target = FunctionTargetOptions { function: function.name.clone(), payload: PayloadShape::Raw };
    let mut trigger = Trigger::new(TargetOptions::Function(target));
    trigger.topic = TopicName::new(INVOCATIONS_TOPIC)?;
    trigger.pattern = Some(
        serde_json::json!({ "type": [INVOCATION_TYPE], "subject": [function.name.as_str()] }).to_string(),
    );
    let policy = &mut trigger.policy;
    policy.concurrency = function.max_instances;
    policy.timeout_ms = lease_ms(function);
    policy.max_attempts = ATTEMPTS_MAX;
    policy.backoff_initial_ms = BACKOFF_INITIAL_MS;
    policy.backoff_max_ms = BACKOFF_MAX_MS;
    policy.max_age_ms = AGE_MAX_MS;
    Ok(trigger)
}

/// Reads `[invoke]` into the configuration, and adds the triggers.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>, config: &mut Config) {
    if let Some(section) = root.section(reader, "invoke", schema::INVOKE) {
        config.invoke_keys = read_keys(reader, &section);
    }
    if let Err(source) = config.add_invoke_triggers() {
        // A name in front of a name can only be too long, so the longest is the one.
        let longest = config.functions.keys().max_by_key(|name| name.as_str().len());
        let name = longest.map(|name| format!("invoke.{name}")).unwrap_or_default();
        let span = root.get("functions").or_else(|| root.get("triggers")).map(|found| found.key_span);
        reader.problems.push((Problem::Name { name, source }, span));
    }
}

fn read_keys(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<String, Secret> {
    let mut keys = BTreeMap::new();
    for entry in section.get("keys").map(|found| found.entries(reader)).unwrap_or_default() {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_id =
            (1..=ACCESS_KEY_ID_BYTES_MAX).contains(&entry.key.len()) && entry.key.bytes().all(allowed);
        if !is_id {
            reader.note(Problem::AccessKeyId { id: entry.key.clone() }, &entry.key_span);
        }
        let Some(value) = secret::read(reader, &entry) else { continue };
        if value.expose().is_empty() {
            reader.note(Problem::EmptySecret { key: entry.key.clone() }, &entry.span);
        }
        keys.insert(entry.key, value);
    }
    keys
}
