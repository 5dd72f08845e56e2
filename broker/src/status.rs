//! What the broker tells about itself: the shapes that the HTTP API sends, the CLI prints and programs read.

mod backups;
mod config;
mod delayed;
mod functions;
mod replays;
mod starting;
mod timeline;

use std::sync::Arc;

use eventail_triggers::ledger::BudgetStatus;
use eventail_triggers::limiter::LimiterState;
use eventail_triggers::outcome::{RejectReason, Response, RetryClass};
use eventail_wire::{Code, Event, Offset, ScheduleName, Timestamp, TopicName, TriggerName};
use serde::{Deserialize, Serialize};

pub use backups::{BackupRequest, BackupState, BackupStatus};
pub use config::{
    ConfigAction, ConfigChange, ConfigFailure, ConfigPart, ConfigStatus, OrphanStatus, ReloadPlan,
    ReloadReport, TlsStatus,
};
pub use delayed::{DelayedEvent, DelayedFilter, DelayedState, DelayedStatus};
pub use functions::{FunctionSummary, InstancesStatus};
pub use replays::{
    ReplayPoint, ReplayPointError, ReplayPreview, ReplayRequest, ReplayState, ReplayStatus, ReplayTotals,
    TypeCount,
};
pub use starting::{StartPhase, Starting};
pub use timeline::{
    DeadLetterOrigin, EventTimeline, EventTimelines, HeldBy, PatternMiss, StepTold, StoryOutcome,
    TimelineRequest, TimelineStep, TriggerStory, Via, WaitsFor,
};

/// Where one event of a publish is: in its topic, or held until its time.
pub use eventail_wire::Placed as Published;

/// An event with its place in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its place.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// The event.
    pub event: Event,
}

/// A topic at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// Its name.
    pub name: TopicName,
    /// The first offset that is kept.
    pub start: Offset,
    /// The durable end: the first offset that is not yet safe.
    pub end: Offset,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: u64,
    /// When the oldest event was appended.
    pub oldest_at: Option<Timestamp>,
    /// `sync` or `buffered`.
    pub durability: String,
    /// Why publishes are refused, if they are.
    pub refusal: Option<Code>,
    /// Ids that deduplication remembers.
    pub dedup_ids: u64,
    /// The memory that it takes.
    pub dedup_bytes: u64,
    /// Events that are lost because stored bytes are damaged, as far as they were read since the start.
    #[serde(default)]
    pub lost: Vec<LostEvents>,
}

/// Events of a topic that are lost because stored bytes are damaged or missing. Their offsets are not given to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    /// The first of them.
    pub first: Offset,
    /// The first offset behind them.
    pub next: Offset,
    /// The file, with the topic's folder.
    pub file: String,
    /// Where in it the damage begins.
    pub position: u64,
    /// What did not fit.
    pub cause: String,
}

/// Whether and why a trigger delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerState {
    /// It delivers.
    Running,
    /// An operator stopped it.
    Paused,
    /// The target said that it wants no more (410).
    Disabled,
    /// Its dead-letter topic cannot be written, so it must not go on.
    Stopped,
}

/// The breaker of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Deliveries flow.
    Closed,
    /// The target is out; the cursor waits.
    Open,
    /// One probe is under way.
    HalfOpen,
}

/// What became of the events that a trigger matched. At rest `matched` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Events that matched.
    pub matched: u64,
    /// Taken by the target.
    pub delivered: u64,
    /// Given up, with payload, in the dead-letter topic.
    pub dead_lettered: u64,
    /// Past their `expirytime`, lost to a retention that the operator chose, or to damaged bytes, before they could be delivered.
    pub expired: u64,
    /// Repeats, by their business key, of events that were delivered or pending.
    #[serde(default)]
    pub deduplicated: u64,
    /// Waiting, under way or to be retried.
    pub pending: u64,
}

/// A rate limit that keeps calls back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateWait {
    /// Whose limit: `trigger NAME` or `host NAME`.
    pub limit: String,
    /// When the next call may go; `None` where other lanes go first.
    pub until: Option<Timestamp>,
}

/// What a trigger that tells repeats by a business key remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupStatus {
    /// Keys that are remembered.
    pub keys: u64,
    /// Keys that were forgotten before their window was over because there were too many, since the start.
    pub evicted: u64,
}

/// A trigger at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerStatus {
    /// Its name.
    pub name: TriggerName,
    /// The topic that it reads.
    pub topic: TopicName,
    /// What it invokes, without secrets: `http http://host/path` or `handler`.
    pub target: String,
    /// Whether it delivers.
    pub state: TriggerState,
    /// Why not, if it does not.
    pub reason: Option<String>,
    /// Every event before this one is settled.
    pub cursor: Offset,
    /// Every event before this one was matched.
    pub scanned: Offset,
    /// Events between cursor and the topic's durable end.
    pub lag: u64,
    /// How old the oldest unsettled event is.
    pub lag_ms: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events that wait for a retry.
    pub retrying: u64,
    /// The breaker.
    pub breaker: BreakerState,
    /// When it will be tried again, if the breaker is open or the target throttles.
    pub held_until: Option<Timestamp>,
    /// Events that retention took before the trigger read them, or whose stored bytes are damaged, in all.
    pub lost: u64,
    /// What became of what matched.
    pub account: Account,
    /// What the target said at the last failure.
    pub last_failure: Option<Response>,
    /// How many calls the target gets at once, where that adapts.
    #[serde(default)]
    pub concurrency: Option<LimiterState>,
    /// What it has cost today, where it has a budget.
    #[serde(default)]
    pub budget: Option<BudgetStatus>,
    /// The rate limit that keeps its calls back now, if one does.
    #[serde(default)]
    pub rate_limited: Option<RateWait>,
    /// The business keys that it remembers, where it tells repeats by them.
    #[serde(default)]
    pub dedup: Option<DedupStatus>,
    /// Set where it matched none of the latest events of its topic, and one field of its pattern may be why.
    #[serde(default)]
    pub near_miss: Option<NearMiss>,
}

/// A schedule at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: ScheduleName,
    /// When it runs, as it was written.
    pub expression: String,
    /// By whose clocks.
    pub timezone: String,
    /// No run goes before.
    pub start: Option<Timestamp>,
    /// No run goes at or after this.
    pub end: Option<Timestamp>,
    /// Each run goes up to so much later.
    pub jitter_ms: u64,
    /// Whether it runs.
    pub enabled: bool,
    /// The topic that its events go into, or
    pub topic: Option<TopicName>,
    /// the trigger whose target it calls.
    pub trigger: Option<TriggerName>,
    /// The times of the next runs, ten at most, without jitter.
    pub next_runs: Vec<Timestamp>,
    /// The time of the last run that was made.
    pub last_run: Option<Timestamp>,
    /// When that was made.
    pub last_run_at: Option<Timestamp>,
    /// Runs that were made.
    pub runs: u64,
    /// Those of them that were missed and made later.
    pub made_up: u64,
    /// Missed runs that were left out.
    pub skipped: u64,
    /// Why the run that is due cannot be sent, if it cannot.
    pub problem: Option<String>,
}

/// Why a trigger that matches nothing may not do what was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// The latest events of the topic that were looked at; it matched none of them.
    pub examined: u64,
    /// Those among them that fail in this field and no other.
    pub events: u64,
    /// The field, what the pattern wants of it, and what the latest of those events has.
    pub miss: PatternMiss,
    /// That event's place.
    pub offset: Offset,
}

/// A dead letter without its event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterSummary {
    /// The dead-letter topic and the place in it: this is the dead letter's id.
    pub topic: TopicName,
    /// Its place there.
    pub offset: Offset,
    /// When it was dead-lettered.
    pub at: Timestamp,
    /// The event's id, source and type.
    pub event_id: String,
    /// Its source.
    pub event_source: String,
    /// Its type.
    pub event_type: String,
    /// The event's correlation id.
    pub correlation_id: String,
    /// The trigger that gave up.
    pub trigger: TriggerName,
    /// Where the event came from.
    pub origin_topic: TopicName,
    /// Its offset there.
    pub origin_offset: Offset,
    /// Why.
    pub reason: RejectReason,
    /// The class of the last failure, where it was one that is retried.
    pub class: Option<RetryClass>,
    /// Attempts that were made.
    pub attempts: u32,
    /// When it was first tried.
    pub first_attempt_at: Timestamp,
    /// When it was last tried.
    pub last_attempt_at: Timestamp,
    /// What the target said last.
    pub response: Response,
    /// How often it was redriven.
    pub redriven: u32,
    /// Whether it was purged.
    pub purged: bool,
    /// The replay that it comes from, where it was not the live event that failed.
    #[serde(default)]
    pub replay: Option<String>,
}

/// A dead letter whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// All but the event.
    pub summary: DeadLetterSummary,
    /// The event, unchanged.
    pub event: Event,
}

/// Which dead letters are meant. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterFilter {
    /// In this dead-letter topic; every one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicName>,
    /// Exactly this one (with `topic`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// Whose event came from this topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_topic: Option<TopicName>,
    /// Given up by this trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerName>,
    /// For this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RejectReason>,
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Dead-lettered at or after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Dead-lettered before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Also those that were redriven already.
    #[serde(default)]
    pub include_redriven: bool,
}

/// How a redrive goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedriveRequest {
    /// Which.
    #[serde(flatten)]
    pub filter: DeadLetterFilter,
    /// Events per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a redrive or purge did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkResult {
    /// Dead letters that the filter chose.
    pub selected: u64,
    /// Those that were redriven or purged.
    pub done: u64,
    /// Those that could not be, for instance because their trigger is gone.
    pub failed: u64,
}

/// Where an event with a given id is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    /// The topic.
    pub topic: TopicName,
    /// The place in it.
    pub offset: Offset,
    /// Its source.
    pub source: String,
}

/// Whether the broker can take and deliver events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Each thing that is wrong: the name of a topic or trigger, and why.
    pub problems: Vec<(String, String)>,
}

/// One step of an event's way, as it happens. The data is the event's own bytes: an observer must not print it unasked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Observation {
    /// An event was appended and is durable.
    Appended {
        /// Where.
        topic: TopicName,
        /// Its place.
        offset: Offset,
        /// The event.
        event: Event,
    },
    /// A trigger's pattern matched.
    Matched {
        /// Which trigger.
        trigger: TriggerName,
        /// The event's place.
        offset: Offset,
    },
    /// An attempt ended.
    Attempted {
        /// On whose behalf.
        trigger: TriggerName,
        /// The event's place.
        offset: Offset,
        /// Which try it was.
        attempt: u32,
        /// How long it took.
        took_ms: u64,
        /// `delivered`, `throttled`, `unreachable`, `timeout`, `failed` or `rejected`.
        outcome: &'static str,
        /// What the target said, if it did not take the event.
        response: Option<Response>,
        /// When it will be tried again.
        next_at: Option<Timestamp>,
        /// The replay that it was made for, if not for the live event.
        replay: Option<Arc<str>>,
    },
    /// A dead letter was written.
    DeadLettered {
        /// The trigger that gave up.
        trigger: TriggerName,
        /// The event's place.
        offset: Offset,
        /// The dead letter's topic.
        dead_letter_topic: TopicName,
        /// Its place there.
        dead_letter_offset: Offset,
        /// Why.
        reason: RejectReason,
        /// The replay that it comes from, if not the live event.
        replay: Option<Arc<str>>,
    },
    /// A dead letter was handed to its trigger again.
    Redriven {
        /// The trigger.
        trigger: TriggerName,
        /// The event's original place.
        offset: Offset,
    },
}

/// Gets to see every step of every event. It is called on the delivery path and must be quick.
pub trait Observer: Send + Sync + 'static {
    /// Takes one step.
    fn observe(&self, observation: &Observation);
}
