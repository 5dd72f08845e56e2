//! Handles of metrics, made once for each topic and trigger, so that counting costs one atomic addition.

use std::sync::OnceLock;

use eventail_triggers::outcome::{Outcome, RejectReason, RetryClass};
use eventail_wire::{Code, TopicName, TriggerName};
use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use super::{
    PUBLISH_SECONDS, PUBLISHED_BYTES, PUBLISHED_DUPLICATES, PUBLISHED_EVENTS, REFUSED_EVENTS, TIMELINE_BYTES,
    TIMELINE_DROPPED, TIMELINE_STEPS, TRIGGER_ATTEMPT_SECONDS, TRIGGER_ATTEMPTS, TRIGGER_CALL_EVENTS,
    TRIGGER_CALLS, TRIGGER_DEAD_LETTERS, TRIGGER_PURGED, TRIGGER_RATE_WAITS, TRIGGER_REDRIVEN,
    TRIGGER_REPLIES, TRIGGER_RETRIES,
};

/// How an attempt ended, as metrics and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The target took the event.
    Delivered,
    /// It failed in a way that may pass, and is charged to the budget of this class.
    Failed(RetryClass),
    /// It will not be tried again.
    Rejected,
}

impl AttemptEnd {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Delivered,
        Self::Failed(RetryClass::Throttled),
        Self::Failed(RetryClass::Unreachable),
        Self::Failed(RetryClass::Timeout),
        Self::Failed(RetryClass::Failed),
        Self::Rejected,
    ];

    /// The end that an outcome stands for.
    #[must_use]
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted | Outcome::Ack { .. } => Self::Delivered,
            Outcome::Retry { class, .. } => Self::Failed(*class),
            // Nothing was sent.
            Outcome::Withheld { .. } => Self::Failed(RetryClass::Unreachable),
            Outcome::Reject { .. } => Self::Rejected,
        }
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed(class) => class_label(class),
            Self::Rejected => "rejected",
        }
    }
}

/// The word of a class.
#[must_use]
pub const fn class_label(class: RetryClass) -> &'static str {
    match class {
        RetryClass::Throttled => "throttled",
        RetryClass::Unreachable => "unreachable",
        RetryClass::Timeout => "timeout",
        RetryClass::Failed => "failed",
    }
}

/// The word of a reason.
#[must_use]
pub const fn reason_label(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Permanent => "permanent",
        RejectReason::MaxAttempts => "max_attempts",
        RejectReason::MaxAge => "max_age",
        RejectReason::Refused => "refused",
        RejectReason::HopLimit => "hop_limit",
        RejectReason::InvalidReply => "invalid_reply",
        RejectReason::TooLarge => "too_large",
        RejectReason::Transform => "transform",
    }
}

/// Counters of one metric by a second label. Each is made when it is first needed: most codes and reasons never occur, and
/// a series that stays 0 for each of them would only cost memory.
#[derive(Debug)]
pub(super) struct ByLabel {
    metric: &'static str,
    owner: Vec<Label>,
    label: &'static str,
    counters: Vec<(&'static str, OnceLock<Counter>)>,
}

impl ByLabel {
    pub(super) fn new(
        metric: &'static str,
        owner: &[(&'static str, String)],
        label: &'static str,
        values: impl Iterator<Item = &'static str>,
    ) -> Self {
        let counters = values.map(|value| (value, OnceLock::new())).collect();
        let owner = owner.iter().map(|(label, name)| Label::new(*label, name.clone())).collect();
        Self { metric, owner, label, counters }
    }

    pub(super) fn add(&self, value: &'static str, count: u64) {
        if let Some((_, slot)) = self.counters.iter().find(|(known, _)| *known == value) {
            let labels =
                || self.owner.iter().cloned().chain([Label::new(self.label, value)]).collect::<Vec<_>>();
            slot.get_or_init(|| counter!(self.metric, labels())).increment(count);
        }
    }
}

/// What is counted about one topic.
#[derive(Debug)]
pub struct TopicMetrics {
    events: Counter,
    bytes: Counter,
    duplicates: Counter,
    seconds: Histogram,
    refused: ByLabel,
}

impl TopicMetrics {
    /// Makes the handles for a topic.
    #[must_use]
    pub fn new(topic: &TopicName) -> Self {
        let name = topic.as_str();
        let codes = Code::ALL.iter().map(|code| code.as_str());
        Self {
            events: counter!(PUBLISHED_EVENTS, "topic" => name.to_owned()),
            bytes: counter!(PUBLISHED_BYTES, "topic" => name.to_owned()),
            duplicates: counter!(PUBLISHED_DUPLICATES, "topic" => name.to_owned()),
            seconds: histogram!(PUBLISH_SECONDS, "topic" => name.to_owned()),
            refused: ByLabel::new(REFUSED_EVENTS, &[("topic", name.to_owned())], "code", codes),
        }
    }

    /// Counts a publish that was acknowledged: events that were appended (`bytes` are theirs), duplicates that were not, and
    /// the time that it took.
    pub fn published(&self, appended: u64, duplicates: u64, bytes: u64, seconds: f64) {
        self.events.increment(appended);
        self.bytes.increment(bytes);
        if duplicates > 0 {
            self.duplicates.increment(duplicates);
        }
        self.seconds.record(seconds);
    }

    /// Counts the events of a publish that was refused.
    pub fn refused(&self, code: Code, events: u64) {
        self.refused.add(code.as_str(), events);
    }
}

/// What is counted about one trigger beside its account, which [`super::record`] takes from the delivery machine as a whole, so that
/// its counters agree with each other in every scrape and after every restart.
#[derive(Debug)]
pub struct TriggerMetrics {
    /// Replies that were published.
    pub replies: Counter,
    /// Dead letters that were handed to the trigger again.
    pub redriven: Counter,
    /// Dead letters that were purged.
    pub purged: Counter,
    /// Times that calls had to begin to wait for a rate limit.
    pub rate_waits: Counter,
    dead_letters: ByLabel,
    attempts: ByLabel,
    attempt_seconds: Histogram,
    calls: Counter,
    call_events: Histogram,
    retries: ByLabel,
}

impl TriggerMetrics {
    /// Makes the handles for a trigger.
    #[must_use]
    pub fn new(trigger: &TriggerName) -> Self {
        let name = trigger.as_str();
        let owner = &[("trigger", name.to_owned())];
        let count = |metric: &'static str| counter!(metric, "trigger" => name.to_owned());
        let ends = AttemptEnd::ALL.iter().map(|end| end.as_str());
        Self {
            replies: count(TRIGGER_REPLIES),
            redriven: count(TRIGGER_REDRIVEN),
            purged: count(TRIGGER_PURGED),
            rate_waits: count(TRIGGER_RATE_WAITS),
            dead_letters: ByLabel::new(
                TRIGGER_DEAD_LETTERS,
                owner,
                "reason",
                REASONS.map(reason_label).into_iter(),
            ),
            attempts: ByLabel::new(TRIGGER_ATTEMPTS, owner, "outcome", ends),
            attempt_seconds: histogram!(TRIGGER_ATTEMPT_SECONDS, "trigger" => name.to_owned()),
            calls: count(TRIGGER_CALLS),
            call_events: histogram!(TRIGGER_CALL_EVENTS, "trigger" => name.to_owned()),
            retries: ByLabel::new(TRIGGER_RETRIES, owner, "class", CLASSES.map(class_label).into_iter()),
        }
    }

    /// Counts an attempt that ended.
    pub fn attempted(&self, end: AttemptEnd, seconds: f64) {
        self.attempts.add(end.as_str(), 1);
        self.attempt_seconds.record(seconds);
    }

    /// Counts calls that ended and had one event each.
    pub fn called(&self, calls: usize) {
        if calls > 0 {
            self.calls.increment(calls as u64);
        }
    }

    /// Counts a call that ended and was a batch of so many events.
    #[allow(clippy::cast_precision_loss)]
    pub fn called_with(&self, events: usize) {
        self.calls.increment(1);
        self.call_events.record(events as f64);
    }

    /// Counts that an event will be tried again.
    pub fn retried(&self, class: RetryClass) {
        self.retries.add(class_label(class), 1);
    }

    /// Counts a dead letter that was written.
    pub fn dead_lettered(&self, reason: RejectReason) {
        self.dead_letters.add(reason_label(reason), 1);
    }
}

const REASONS: [RejectReason; 7] = [
    RejectReason::Permanent,
    RejectReason::MaxAttempts,
    RejectReason::MaxAge,
    RejectReason::Refused,
    RejectReason::HopLimit,
    RejectReason::InvalidReply,
    RejectReason::TooLarge,
];
const CLASSES: [RetryClass; 4] =
    [RetryClass::Throttled, RetryClass::Unreachable, RetryClass::Timeout, RetryClass::Failed];

/// What is counted of the timeline.
#[derive(Clone)]
pub struct TimelineMetrics {
    /// Steps that were noted.
    pub written: Counter,
    /// Steps that were not.
    pub dropped: Counter,
    /// Bytes on disk.
    pub disk_bytes: Gauge,
}

impl TimelineMetrics {
    /// The handles.
    #[must_use]
    pub fn new() -> Self {
        Self {
            written: counter!(TIMELINE_STEPS),
            dropped: counter!(TIMELINE_DROPPED),
            disk_bytes: gauge!(TIMELINE_BYTES),
        }
    }
}

impl Default for TimelineMetrics {
    fn default() -> Self {
        Self::new()
    }
}
