//! Triggers that match nothing, and might be meant to: one field of the pattern is all that keeps the latest events from matching.
//!
//! Nothing of this runs unless somebody asks for the status of triggers, and then at most once a second, over the last
//! [`EVENTS_MAX`] events of each topic, and for no longer than [`TIME_MAX`]: who is not reached is looked at the next time. The delivery
//! path is not touched.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventail_storage::log::{ReadLimit, read_what_is_left};
use eventail_triggers::pattern::Explanation;
use eventail_wire::{Event, Offset, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use super::topic::Topic;
use super::triggers::Trigger;
use super::{Broker, Core};
use crate::status::NearMiss;

/// Events of a topic that are looked at, the latest ones.
const EVENTS_MAX: u64 = 1_000;
/// Their bytes, at most.
const BYTES_MAX: usize = 4 << 20;
/// How long all of it may take.
const TIME_MAX: Duration = Duration::from_millis(50);
/// What was found is good for so long.
const GOOD_MS: u64 = 1_000;

/// What is known of one trigger's near misses.
#[derive(Default)]
pub(crate) struct NearMisses(Mutex<Known>);

#[derive(Default)]
struct Known {
    flag: Option<NearMiss>,
    /// The topic's end when it was looked at.
    end: Option<Offset>,
}

/// When somebody looked last, over all triggers.
#[derive(Default)]
pub(crate) struct LookedAt(AtomicU64);

impl NearMisses {
    /// The flag, where there is one.
    pub(crate) fn flag(&self) -> Option<NearMiss> {
        self.lock().flag.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookedAt {
    /// Whether it is time to look again; the next who asks is told no.
    fn is_due(&self, now: Timestamp) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let is_due = last == 0 || now.0.abs_diff(last) >= GOOD_MS;
        is_due && self.0.compare_exchange(last, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Broker {
    /// Brings what [`crate::status::TriggerStatus::near_miss`] tells up to date, if it was not a moment ago.
    pub async fn look_for_near_misses(&self) {
        if self.core.near_misses.is_due(self.core.clock.now()) {
            self.core.look_for_near_misses().await;
        }
    }
}

impl Core {
    pub(super) async fn look_for_near_misses(&self) {
        let begun = Instant::now();
        let mut by_topic: BTreeMap<_, Vec<Arc<Trigger>>> = BTreeMap::new();
        for trigger in self.triggers.all() {
            let end = trigger.topic.end();
            let mut known = trigger.near_misses.lock();
            if trigger.pattern().is_none() || known.end == Some(end) {
                continue;
            }
            if end == Offset(0) {
                *known = Known { flag: None, end: Some(end) };
                continue;
            }
            drop(known);
            by_topic.entry(trigger.topic.name.clone()).or_default().push(trigger);
        }
        for mut triggers in by_topic.into_values() {
            let Some(first) = triggers.first() else { continue };
            let (end, events) = latest(&first.topic).await;
            // Those that were looked at the longest ago come first, so that everyone's turn comes.
            triggers.sort_by_key(|trigger| trigger.near_misses.lock().end);
            for trigger in triggers {
                if begun.elapsed() > TIME_MAX {
                    return;
                }
                let flag = examine(&trigger, &events, begun);
                *trigger.near_misses.lock() = Known { flag, end: Some(end) };
                tokio::task::consume_budget().await;
            }
        }
    }
}

/// The latest events of a topic, latest first, and its end. What cannot be read now is not looked at.
async fn latest(topic: &Topic) -> (Offset, Vec<(Offset, Event)>) {
    let end = topic.end();
    let mut at = Offset(end.0.saturating_sub(EVENTS_MAX)).max(topic.start());
    let (mut events, mut bytes) = (Vec::new(), 0);
    while at < end && bytes < BYTES_MAX {
        let records = usize::try_from(end.since(at)).unwrap_or(usize::MAX);
        let limit = ReadLimit { records, bytes: BYTES_MAX };
        let records = read_what_is_left(topic.log.as_ref(), at, limit).await.unwrap_or_default();
        let Some(last) = records.last() else { break };
        at = last.offset.plus(1);
        for record in records {
            bytes += record.payload.len();
            events.extend(Event::from_stored(record.payload).ok().map(|event| (record.offset, event)));
        }
    }
    events.reverse();
    (end, events)
}

/// Looks at events, the latest first, until one matches or the time is over.
fn examine(trigger: &Trigger, events: &[(Offset, Event)], begun: Instant) -> Option<NearMiss> {
    let pattern = trigger.pattern()?;
    let fields = fields_of(trigger.pattern_text()?);
    let (mut examined, mut best) = (0, BTreeMap::<String, NearMiss>::new());
    for (offset, event) in events {
        examined += 1;
        match pattern.explain(event) {
            Explanation::Match => return None,
            Explanation::NoMatch(miss) if miss.failed_fields == 1 && (fields > 1 || is_slip(&miss)) => {
                let path = miss.path.clone();
                let (miss, offset) = (miss.into(), *offset);
                best.entry(path).or_insert(NearMiss { examined: 0, events: 0, miss, offset }).events += 1;
            }
            Explanation::NoMatch(_) => {}
        }
        if begun.elapsed() > TIME_MAX {
            break;
        }
    }
    // The first of the most frequent.
    let best =
        best.into_values().reduce(|best, other| if other.events > best.events { other } else { best })?;
    Some(NearMiss { examined, ..best })
}

/// How many fields a pattern names; of the alternatives of `$or`, those of the one with the most. A field alone is no near miss: every
/// event fails at most one then.
fn fields_of(pattern: &str) -> usize {
    fn count((name, value): (&String, &Value)) -> usize {
        match value {
            Value::Object(members) => members.iter().map(count).sum(),
            Value::Array(alternatives) if name == "$or" => {
                let of = |alternative: &Value| {
                    alternative.as_object().map_or(1, |members| members.iter().map(count).sum())
                };
                alternatives.iter().map(of).max().unwrap_or(1)
            }
            _ => 1,
        }
    }
    match serde_json::from_str(pattern) {
        Ok(Value::Object(members)) => members.iter().map(count).sum(),
        _ => 0,
    }
}

/// Whether what was found differs from a text that the pattern wants in case or white space alone.
fn is_slip(miss: &eventail_triggers::pattern::Miss) -> bool {
    let eventail_triggers::pattern::Found::Value(found) = &miss.found else { return false };
    let (Ok(Value::String(found)), Ok(Value::Array(expected))) =
        (serde_json::from_str(found), serde_json::from_str(&miss.expected))
    else {
        return false;
    };
    let found = fold(&found);
    expected.iter().filter_map(Value::as_str).any(|expected| fold(expected) == found)
}

fn fold(text: &str) -> String {
    text.trim().to_lowercase().replace(['_', '-', ' '], ".")
}

#[cfg(test)]
mod tests {
    use eventail_triggers::pattern::Pattern;

    use super::*;

    fn miss(pattern: &str, event_type: &str) -> eventail_triggers::pattern::Miss {
        let event = Event::builder("1", "/s", event_type).build().unwrap();
        match Pattern::parse(pattern).unwrap().explain(&event) {
            Explanation::NoMatch(miss) => miss,
            Explanation::Match => panic!("{pattern} matches {event_type}"),
        }
    }

    #[test]
    fn fields_are_counted_wherever_they_stand() {
        assert_eq!(fields_of(r#"{"type":["a"]}"#), 1);
        assert_eq!(fields_of(r#"{"type":["a"],"data":{"a":[1],"b":{"c":[{"numeric":[">",1]}]}}}"#), 3);
        assert_eq!(fields_of(r#"{"type":["a"],"$or":[{"source":["x"]},{"id":["1"],"subject":["y"]}]}"#), 3);
    }

    #[test]
    fn a_value_that_is_spelt_otherwise_is_a_slip_and_another_one_is_not() {
        assert!(is_slip(&miss(r#"{"type":["order.created"]}"#, "Order.Created")));
        assert!(is_slip(&miss(r#"{"type":["x","order.created"]}"#, "order_created")));
        assert!(!is_slip(&miss(r#"{"type":["order.created"]}"#, "order.shipped")));
        assert!(!is_slip(&miss(r#"{"subject":["order.created"]}"#, "order.created")));
    }

    #[test]
    fn one_look_a_second_is_enough() {
        let looked = LookedAt::default();
        assert!(looked.is_due(Timestamp(5_000)));
        assert!(!looked.is_due(Timestamp(5_000 + GOOD_MS - 1)));
        assert!(looked.is_due(Timestamp(5_000 + GOOD_MS)));
    }
}
