//! Running the `[[tests]]` of a configuration.

use std::collections::BTreeSet;
use std::fmt;

use eventail_triggers::input::Rendered;
use eventail_triggers::pattern::{Explanation, Scratch};
use eventail_wire::{Offset, Timestamp, TriggerName};
use serde_json::Value;

use super::{Place, Rehearsal};
use crate::config::{Config, RoutingTest};
use crate::core::BrokerError;

/// A test that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct TestFailure {
    /// What it is called.
    pub test: String,
    /// What came otherwise.
    pub mismatch: Mismatch,
}

/// What came otherwise than a test says.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// A trigger that should match does not.
    Missed {
        /// Which.
        trigger: TriggerName,
        /// The first field that fails, with what was expected and found.
        why: String,
    },
    /// A trigger that should not match does.
    Unexpected {
        /// Which.
        trigger: TriggerName,
    },
    /// A trigger would send something else.
    Input {
        /// Which.
        trigger: TriggerName,
        /// What the test says.
        expected: String,
        /// What it would send.
        found: String,
    },
    /// A trigger can make no input of the event.
    Transform {
        /// Which.
        trigger: TriggerName,
        /// Why not.
        why: String,
    },
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "test {:?}: {}", self.test, self.mismatch)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed { trigger, why } => write!(f, "trigger {trigger} does not match: {why}"),
            Self::Unexpected { trigger } => write!(f, "trigger {trigger} matches, and is not expected to"),
            Self::Input { trigger, expected, found } => {
                write!(f, "trigger {trigger} would send {found}, and {expected} is expected")
            }
            Self::Transform { trigger, why } => write!(f, "trigger {trigger} makes no input of it: {why}"),
        }
    }
}

/// Runs every test of a configuration, and answers what does not hold.
///
/// # Errors
/// As [`Rehearsal::new`].
pub fn failures(config: &Config) -> Result<Vec<TestFailure>, BrokerError> {
    if config.tests.is_empty() {
        return Ok(Vec::new());
    }
    let rehearsal = Rehearsal::new(config)?;
    let mut scratch = Scratch::default();
    let mut failures = Vec::new();
    for test in &config.tests {
        let mismatches = mismatches(&rehearsal, test, &mut scratch);
        failures
            .extend(mismatches.into_iter().map(|mismatch| TestFailure { test: test.name.clone(), mismatch }));
    }
    Ok(failures)
}

fn mismatches(rehearsal: &Rehearsal, test: &RoutingTest, scratch: &mut Scratch) -> Vec<Mismatch> {
    let RoutingTest { topic, event, triggers, inputs, .. } = test;
    let place = Place { event, topic, offset: Offset(0), appended_at: Timestamp(0) };
    let mut mismatches = Vec::new();
    let mut matched = BTreeSet::new();
    for actor in rehearsal.matching(topic, event, scratch) {
        let trigger = actor.name().clone();
        matched.insert(trigger.clone());
        if !triggers.contains(&trigger) {
            mismatches.push(Mismatch::Unexpected { trigger });
            continue;
        }
        match (actor.render(&place), inputs.get(&trigger)) {
            (Err(error), _) => mismatches.push(Mismatch::Transform { trigger, why: error.to_string() }),
            (Ok(found), Some(expected)) if !is_expected(found.as_ref(), expected) => {
                let found = found.map_or_else(|| "the event itself".to_owned(), |found| text(&found));
                mismatches.push(Mismatch::Input { trigger, expected: expected.to_string(), found });
            }
            (Ok(_), _) => {}
        }
    }
    for trigger in triggers.difference(&matched) {
        let why = match rehearsal.trigger(topic, trigger).map(|actor| actor.explain(event)) {
            Some(Explanation::NoMatch(miss)) => miss.to_string(),
            // It is in the configuration, or the test would have been refused.
            _ => format!("it does not read the topic {topic}"),
        };
        mismatches.push(Mismatch::Missed { trigger: trigger.clone(), why });
    }
    mismatches
}

/// JSON is compared as JSON: spelling and the order of members do not matter.
fn is_expected(found: Option<&Rendered>, expected: &Value) -> bool {
    let Some(found) = found else { return false };
    if !found.is_json {
        return expected.as_str().is_some_and(|expected| found.bytes == expected.as_bytes());
    }
    serde_json::from_slice::<Value>(&found.bytes).is_ok_and(|found| found == *expected)
}

fn text(rendered: &Rendered) -> String {
    String::from_utf8_lossy(&rendered.bytes).into_owned()
}
