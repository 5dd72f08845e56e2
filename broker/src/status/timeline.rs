//! What is told of one event: where it came in, and what became of it at every trigger.

use eventail_triggers::outcome::RejectReason;
use eventail_triggers::pattern::{Found, Miss};
use eventail_wire::{Offset, Timestamp, TopicName};
use serde::{Deserialize, Serialize};

use super::{BreakerState, TriggerState};

/// Which event is meant, and how much of its story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineRequest {
    /// The event's id.
    pub id: String,
    /// Only in this topic.
    pub topic: Option<TopicName>,
    /// Only from this source.
    pub source: Option<String>,
    /// Only what this trigger did.
    pub trigger: Option<String>,
}

/// Everything that is known of the events with one id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTimelines {
    /// The id.
    pub id: String,
    /// Whether it is kept what happens to events (`timeline.enabled`); without it only what is so now is told.
    pub is_kept: bool,
    /// Each event with this id, by topic and offset. There are several where sources use the same id, and where one was
    /// dead-lettered.
    pub events: Vec<EventTimeline>,
    /// More that are not told; a topic or a source narrows it down.
    pub events_left_out: usize,
}

/// One event's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTimeline {
    /// Where it came in.
    pub topic: TopicName,
    /// Its place there.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// Its source.
    pub source: String,
    /// Its type.
    pub event_type: String,
    /// Its correlation id.
    pub correlation_id: String,
    /// The id of the event that caused it, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The event that this is the dead letter of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_of: Option<DeadLetterOrigin>,
    /// When it was published again, and recognised and not appended.
    pub duplicates: Vec<Timestamp>,
    /// What became of it at each trigger of the topic: those that had to do with it first, then by name.
    pub triggers: Vec<TriggerStory>,
}

/// Where a dead letter's event came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterOrigin {
    /// The trigger that gave up.
    pub trigger: String,
    /// The event's topic.
    pub topic: TopicName,
    /// Its place there.
    pub offset: Offset,
}

/// What became of one event at one trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerStory {
    /// The trigger.
    pub trigger: String,
    /// Whether the configuration still has it.
    pub is_configured: bool,
    /// What became of the event.
    pub outcome: StoryOutcome,
    /// The same in a sentence, with the reason.
    pub because: String,
    /// Whether the pattern that the trigger has today matches it. Absent where the trigger is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<bool>,
    /// Where the pattern of today does not match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miss: Option<PatternMiss>,
    /// What a pending event waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// What holds the whole trigger now, where the event is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldBy>,
    /// What happened, in order: of the event, and of the trigger while the event was there.
    pub steps: Vec<TimelineStep>,
    /// Steps in the middle that are not told, because there are too many.
    pub steps_left_out: usize,
}

/// What became of an event at a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoryOutcome {
    /// The target took it.
    Delivered,
    /// It waits, is under way or will be retried.
    Pending,
    /// It was given up and lies in a dead-letter topic.
    DeadLettered,
    /// Its `expirytime` was over before the target took it.
    Expired,
    /// An earlier event has its business key.
    Deduplicated,
    /// The trigger's pattern does not match it.
    NotMatched,
    /// The trigger has not read it yet.
    NotRead,
    /// It came before the trigger began to read.
    BeforeStart,
    /// An operator moved the trigger past it.
    Skipped,
    /// Retention took it before it was delivered.
    Lost,
    /// The trigger is done with it, and how is not kept (any more).
    Settled,
    /// It was under way or waited, and its trigger is gone.
    Orphaned,
}

/// The first thing of a pattern that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatternMiss {
    /// The field, as the pattern names it.
    pub path: String,
    /// What the pattern wants of it: the field's list, as JSON.
    pub expected: String,
    /// What the event has, as JSON, cut where it is long; absent where it has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Fields of the pattern that do not hold, this one among them.
    pub failed_fields: usize,
    /// All of it in words.
    pub text: String,
}

impl From<Miss> for PatternMiss {
    fn from(miss: Miss) -> Self {
        let text = miss.to_string();
        let found = match miss.found {
            Found::Absent | Found::NotJson => None,
            Found::Value(json) => Some(json),
        };
        Self { path: miss.path, expected: miss.expected, found, failed_fields: miss.failed_fields, text }
    }
}

/// What a pending event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum WaitsFor {
    /// For its turn.
    Turn,
    /// For an event of its key that came before it.
    Key {
        /// That one's place.
        offset: Offset,
    },
    /// For the other events of its batch.
    Batch,
    /// For the time of the next attempt.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// For the attempt that is under way.
    Attempt {
        /// When it began.
        since: Timestamp,
        /// When it ends at the latest.
        deadline: Timestamp,
    },
    /// For its dead letter to be written.
    DeadLetter,
    /// For the trigger to read so far.
    Reading {
        /// How far it is.
        scanned: Offset,
    },
}

/// What holds a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    /// Whether it delivers at all.
    pub state: TriggerState,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Nothing goes out before this: the breaker is open, or the target throttles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A step with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineStep {
    /// When.
    pub at: Timestamp,
    /// On whose account: the trigger's own delivery, a redrive, or a replay.
    pub via: Via,
    /// Which replay, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// What.
    #[serde(flatten)]
    pub step: StepTold,
}

/// On whose account something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The trigger's own delivery.
    Live,
    /// The redrive of a dead letter.
    Redrive,
    /// A replay.
    Replay,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepTold {
    /// An attempt ended.
    Attempt {
        /// Which try it was; throttles and outages do not count.
        attempt: u32,
        /// `delivered`, `throttled`, `unreachable`, `timeout`, `failed` or `rejected`.
        outcome: String,
        /// How long it took.
        took_ms: f64,
        /// What the target said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// What went wrong.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        error: String,
        /// The beginning of what the target answered.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        response: String,
        /// When it is tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_at: Option<Timestamp>,
        /// Why it was given up with this attempt, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<RejectReason>,
        /// Whether it tested a target that was out.
        is_probe: bool,
    },
    /// Its dead letter was written.
    DeadLettered {
        /// Where.
        topic: String,
        /// Its place there.
        offset: Offset,
        /// Why it was given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<RejectReason>,
    },
    /// Its dead letter was handed to the trigger again.
    Redriven {
        /// The dead letter's topic.
        topic: String,
        /// Its place there.
        offset: Offset,
    },
    /// The target answered with an event, which was published.
    Replied {
        /// Where.
        topic: String,
        /// Its place there.
        offset: Offset,
        /// Its id.
        id: String,
    },
    /// Its `expirytime` was over before the target took it.
    Expired,
    /// An earlier event has its business key.
    Deduplicated,
    /// The trigger's breaker opened, stayed open or closed.
    Breaker {
        /// When it will be tried again; absent where it closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The target throttled the trigger.
    Throttled {
        /// When it will be tried again; absent where it is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The trigger was paused, resumed, disabled or stopped.
    State {
        /// What it was then: `running`, `paused`, `disabled` or `stopped`.
        state: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The trigger was moved on.
    Skipped {
        /// To here.
        to: Offset,
    },
    /// Retention took what the trigger had not delivered.
    Lost {
        /// All before this.
        start: Offset,
    },
    /// The trigger began to read the topic.
    Started {
        /// Here.
        offset: Offset,
    },
    /// Something that this version does not know.
    Unknown {
        /// Its number.
        number: u64,
    },
}
