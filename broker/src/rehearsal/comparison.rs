//! Two configurations held against each other: what each would have done with the same events.

use std::collections::{BTreeMap, BTreeSet};

use eventail_triggers::input::{Rendered, TransformError};
use eventail_triggers::pattern::{Explanation, Scratch};
use eventail_wire::{TopicName, TriggerName};
use serde::Serialize;

use super::{Actor, Place, Rehearsal};

/// What is shown of an input.
const SHOWN_BYTES_MAX: usize = 512;

/// Two configurations, and what was seen of their differences so far.
#[derive(Debug)]
pub struct Comparison {
    before: Rehearsal,
    after: Rehearsal,
    scratch: Scratch,
    samples_max: usize,
    events: u64,
    differences: BTreeMap<TriggerName, Difference>,
}

/// What differs for one trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Events that it matched.
    pub matched_before: u64,
    /// Events that it will match.
    pub matched_after: u64,
    /// Events that it did not match and will.
    pub newly_matched: u64,
    /// Events that it matched and will not.
    pub no_longer_matched: u64,
    /// Events of which it will send something else.
    pub input_changed: u64,
    /// Events of which it will make no input: they would be dead-lettered.
    pub input_fails: u64,
    /// Calls of its target that these events made, at least: a batch is one.
    pub calls_before: u64,
    /// Calls that they will make, at least.
    pub calls_after: u64,
    /// Some of the events that differ, the first of each kind.
    pub samples: Vec<Sample>,
}

/// One event that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// How it differs.
    pub kind: SampleKind,
    /// Its topic.
    pub topic: TopicName,
    /// Its place there.
    pub offset: u64,
    /// Its id.
    pub event_id: String,
    /// Why it did not match, or will not, or why no input can be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What was sent, where that changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What will be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// How an event differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleKind {
    /// It did not match and will.
    NewlyMatched,
    /// It matched and will not.
    NoLongerMatched,
    /// Something else will be sent.
    InputChanged,
    /// Nothing can be sent.
    InputFails,
}

impl Difference {
    /// Whether anything differs.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        self.newly_matched + self.no_longer_matched + self.input_changed + self.input_fails > 0
            || self.calls_before != self.calls_after
    }

    fn sample(&mut self, most: usize, kind: SampleKind, at: &Place<'_>) -> Option<&mut Sample> {
        if self.samples.iter().filter(|sample| sample.kind == kind).count() >= most {
            return None;
        }
        self.samples.push(Sample {
            kind,
            topic: at.topic.clone(),
            offset: at.offset.0,
            event_id: at.event.id().to_owned(),
            why: None,
            before: None,
            after: None,
        });
        self.samples.last_mut()
    }
}

impl Comparison {
    /// Begins to compare. `samples_max` events of each kind are kept for each trigger.
    #[must_use]
    pub fn new(before: Rehearsal, after: Rehearsal, samples_max: usize) -> Self {
        let names = |rehearsal: &Rehearsal| -> BTreeSet<TriggerName> {
            rehearsal
                .topics
                .values()
                .flat_map(|stage| &stage.triggers)
                .map(|actor| actor.name.clone())
                .collect()
        };
        let differences =
            names(&before).union(&names(&after)).map(|name| (name.clone(), Difference::default())).collect();
        Self { before, after, scratch: Scratch::default(), samples_max, events: 0, differences }
    }

    /// The topics whose events matter.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<TopicName> {
        self.before.topics().chain(self.after.topics()).cloned().collect()
    }

    /// Takes one event.
    pub fn take(&mut self, at: &Place<'_>) {
        self.events += 1;
        let Self { before, after, scratch, samples_max, differences, .. } = self;
        let matched = |rehearsal: &Rehearsal, scratch: &mut Scratch| -> BTreeSet<TriggerName> {
            rehearsal.matching(at.topic, at.event, scratch).map(|actor| actor.name.clone()).collect()
        };
        let (was, will) = (matched(before, scratch), matched(after, scratch));
        for name in was.union(&will) {
            let Some(difference) = differences.get_mut(name) else { continue };
            let old = before.trigger(at.topic, name).filter(|_| was.contains(name));
            let new = after.trigger(at.topic, name).filter(|_| will.contains(name));
            difference.matched_before += u64::from(old.is_some());
            difference.matched_after += u64::from(new.is_some());
            let rendered = new.map(|new| new.render(at));
            if let Some(Err(error)) = &rendered {
                difference.note_failure(*samples_max, at, error);
            }
            match (old, new) {
                (Some(old), Some(_)) => {
                    difference.compare_inputs(*samples_max, at, &old.render(at), rendered.as_ref());
                }
                (None, Some(_)) => {
                    difference.newly_matched += 1;
                    let why = before.trigger(at.topic, name).and_then(|actor| miss_of(actor, at));
                    if let Some(sample) = difference.sample(*samples_max, SampleKind::NewlyMatched, at) {
                        sample.why = why;
                        sample.after = rendered.and_then(|rendered| shown(rendered.as_ref()));
                    }
                }
                (Some(_), None) => {
                    difference.no_longer_matched += 1;
                    let why = after.trigger(at.topic, name).and_then(|actor| miss_of(actor, at));
                    if let Some(sample) = difference.sample(*samples_max, SampleKind::NoLongerMatched, at) {
                        sample.why = why;
                    }
                }
                (None, None) => {}
            }
        }
    }

    /// How many events were taken, and what differs, for each trigger of either configuration.
    #[must_use]
    pub fn finish(mut self) -> (u64, BTreeMap<TriggerName, Difference>) {
        let batch = |rehearsal: &Rehearsal, name: &TriggerName| {
            let all = rehearsal.topics.values().flat_map(|stage| &stage.triggers);
            all.into_iter().find(|actor| actor.name == *name).map_or(1, |actor| actor.batch_events) as u64
        };
        for (name, difference) in &mut self.differences {
            difference.calls_before = difference.matched_before.div_ceil(batch(&self.before, name));
            let sent = difference.matched_after.saturating_sub(difference.input_fails);
            difference.calls_after = sent.div_ceil(batch(&self.after, name));
        }
        (self.events, self.differences)
    }
}

impl Difference {
    fn note_failure(&mut self, samples_max: usize, at: &Place<'_>, error: &TransformError) {
        self.input_fails += 1;
        if let Some(sample) = self.sample(samples_max, SampleKind::InputFails, at) {
            sample.why = Some(error.to_string());
        }
    }

    fn compare_inputs(
        &mut self,
        samples_max: usize,
        at: &Place<'_>,
        old: &Result<Option<Rendered>, TransformError>,
        new: Option<&Result<Option<Rendered>, TransformError>>,
    ) {
        let Some(Ok(new)) = new else { return };
        if old.as_ref().is_ok_and(|old| old == new) {
            return;
        }
        self.input_changed += 1;
        if let Some(sample) = self.sample(samples_max, SampleKind::InputChanged, at) {
            sample.before = shown(old.as_ref());
            sample.after = shown(Ok(new));
        }
    }
}

fn miss_of(actor: &Actor, at: &Place<'_>) -> Option<String> {
    match actor.explain(at.event) {
        Explanation::Match => None,
        Explanation::NoMatch(miss) => Some(miss.to_string()),
    }
}

fn shown(rendered: Result<&Option<Rendered>, &TransformError>) -> Option<String> {
    Some(match rendered {
        Ok(Some(rendered)) => {
            let text = String::from_utf8_lossy(&rendered.bytes);
            text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned()
        }
        Ok(None) => "the event itself".to_owned(),
        Err(error) => error.to_string(),
    })
}
