//! Why the broker could not do what it was asked, with the stable code that every edge passes on.

use crate::auth::TokensFileError;
use eventail_storage::log::{AppendError, ReadError};
use eventail_triggers::pattern::PatternError;
use eventail_wire::{Code, FunctionName, NameError, Offset, ScheduleName, TopicName, TriggerName};

/// Why the broker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The data folder cannot be opened.
    #[error("the data folder cannot be opened")]
    Open(#[from] eventail_storage::OpenError),
    /// The tokens that the configuration asks for cannot be read.
    #[error("{0}")]
    Tokens(#[from] TokensFileError),
    /// The certificate of the listeners cannot be served.
    #[error("{}", .0.message())]
    Tls(#[from] crate::TlsError),
    /// A log refused an append.
    #[error("topic `{log}`: {source}")]
    Append {
        /// The log.
        log: String,
        /// Why.
        source: AppendError,
    },
    /// A log could not be read.
    #[error("topic `{log}`: {source}")]
    Read {
        /// The log.
        log: String,
        /// Why.
        source: ReadError,
    },
    /// The topic does not exist.
    #[error("there is no topic `{0}`; create it, or set `topics.auto_create`")]
    UnknownTopic(TopicName),
    /// There are as many topics as there may be.
    #[error(
        "topic `{topic}` cannot be created: there are {limit} topics, as many as `limits.topics_max` allows"
    )]
    TooManyTopics {
        /// The topic that was to be created.
        topic: TopicName,
        /// The limit.
        limit: usize,
    },
    /// The topic takes no events from outside.
    #[error(
        "topic `{0}` takes only invocations that were signed: use the Invoke API, or remove `invoke.keys`"
    )]
    ReservedTopic(TopicName),
    /// An event has an attribute that the broker alone gives.
    #[error("event `{id}` has the attribute `{name}`, which the broker alone gives: leave it away")]
    ReservedAttribute {
        /// The event's id.
        id: String,
        /// The attribute.
        name: &'static str,
    },
    /// The trigger does not exist.
    #[error("there is no trigger `{0}`")]
    UnknownTrigger(TriggerName),
    /// The schedule does not exist.
    #[error("there is no schedule `{0}`")]
    UnknownSchedule(ScheduleName),
    /// The function does not exist, or did nothing that the ledger still knows.
    #[error("there is no function `{name}`, and none of this name did anything in the window")]
    UnknownFunction {
        /// What was asked for.
        name: String,
    },
    /// The dead letter does not exist.
    #[error("there is no dead letter {topic}/{offset}")]
    UnknownDeadLetter {
        /// Its topic.
        topic: TopicName,
        /// Its offset.
        offset: Offset,
    },
    /// The replay does not exist, or ended too long ago.
    #[error("there is no replay `{id}`")]
    UnknownReplay {
        /// What was asked for.
        id: String,
    },
    /// There are as many replays under way as there may be.
    #[error("{limit} replays are under way, as many as there may be: wait for one to end, or cancel one")]
    TooManyReplays {
        /// The limit.
        limit: usize,
    },
    /// The trigger is held, and what holds it would hold its replay.
    #[error("trigger `{trigger}` does not deliver now ({reason}): resume it, or replay to another target")]
    ReplayOfPaused {
        /// The trigger.
        trigger: TriggerName,
        /// What holds it.
        reason: String,
    },
    /// What was asked for is no replay.
    #[error(transparent)]
    Replay(#[from] super::ReplayError),
    /// An event is too large.
    #[error("event {index} has {bytes} bytes, more than `limits.event_bytes_max` of {limit}")]
    EventTooLarge {
        /// Its place in the batch, from 0.
        index: usize,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A publish has too many events.
    #[error("the batch has {events} events, more than `limits.batch_events_max` of {limit}")]
    BatchEvents {
        /// How many.
        events: usize,
        /// The limit.
        limit: usize,
    },
    /// A publish has too many bytes.
    #[error("the batch has {bytes} bytes, more than `limits.batch_bytes_max` of {limit}")]
    BatchBytes {
        /// How many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too much waits for its sync.
    #[error(
        "{bytes} bytes wait for their sync, more than `limits.in_flight_bytes_max` of {limit}; try again in {retry_after_ms} ms"
    )]
    Overloaded {
        /// How many would.
        bytes: usize,
        /// The limit.
        limit: usize,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The topic's disk is too far behind.
    #[error(
        "the oldest publish to this topic waits for the disk longer than `limits.publish_wait` lets it ({limit_ms} ms; so far {waited_ms} ms): the disk is behind, try again in {retry_after_ms} ms"
    )]
    Behind {
        /// How long the first has waited.
        waited_ms: u64,
        /// The limit.
        limit_ms: u64,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A pattern is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A key is none.
    #[error(transparent)]
    Key(#[from] eventail_triggers::key::KeyPathError),
    /// A target's options make no target.
    #[error("trigger `{trigger}`")]
    Target {
        /// Whose target.
        trigger: TriggerName,
        /// Why.
        source: eventail_triggers::http::HttpTargetError,
    },
    /// A trigger's input cannot be made of any event.
    #[error("trigger `{trigger}`")]
    Input {
        /// Whose input.
        trigger: TriggerName,
        /// Why.
        source: eventail_triggers::input::InputError,
    },
    /// A trigger's Lambda target cannot be made.
    #[error("trigger `{trigger}`")]
    LambdaTarget {
        /// Whose target.
        trigger: TriggerName,
        /// Why.
        source: eventail_triggers::lambda::LambdaTargetError,
    },
    /// A trigger invokes a function that there is not.
    #[error("trigger `{trigger}`: there is no function `{function}`")]
    UndeclaredFunction {
        /// Whose target.
        trigger: TriggerName,
        /// The function.
        function: FunctionName,
    },
    /// An offset lies outside of its topic.
    #[error("offset {asked} is behind the end of the topic, {end}")]
    OffsetBeyondEnd {
        /// What was asked for.
        asked: Offset,
        /// The end.
        end: Offset,
    },
    /// There are as many subscriptions as there may be.
    #[error(
        "subscription `{name}` cannot be created: there are {limit} subscriptions, as many as there may be"
    )]
    TooManySubscriptions {
        /// Its name.
        name: TriggerName,
        /// The limit.
        limit: usize,
    },
    /// A subscription of this name is in use with other options.
    #[error("subscription `{name}` is in use with other options")]
    SubscriptionInUse {
        /// Its name.
        name: TriggerName,
    },
    /// No attempt waits for a callback with the token that was shown.
    #[error(
        "no delivery waits for a callback with this token: it may have been settled, have run out, or be of before a restart"
    )]
    UnknownDelivery,
    /// More callbacks about one attempt wait for its target's answer than may.
    #[error(
        "{limit} callbacks about this delivery wait already: as many as may before the target has answered"
    )]
    TooManyCallbacks {
        /// The limit.
        limit: usize,
    },
    /// What the journal holds of a subscription cannot be read.
    #[error("the journal of settlements has a record at offset {offset} that cannot be read")]
    Journal {
        /// Its place.
        offset: Offset,
        /// The decoder's word.
        source: rmp_serde::decode::Error,
    },
    /// An event with all that a dead letter adds to it is more than the format can tell.
    #[error("the dead letter cannot be encoded")]
    Letter(#[from] eventail_wire::EventError),
    /// The index does not answer.
    #[error("the index cannot be read")]
    Index(#[from] eventail_storage::index::IndexError),
    /// What an event says of its delivery does not hold together.
    #[error("event {index}")]
    Delay {
        /// Its place in the batch, from 0.
        index: usize,
        /// Why.
        source: eventail_wire::EventError,
    },
    /// An event is to be delivered later than events are held.
    #[error(
        "event {index} is to be delivered at {deliver_at}, which is more than {days} days ahead: no event is held longer than that",
        days = eventail_wire::limits::DELAY_MS_MAX / 86_400_000
    )]
    DelayTooLong {
        /// Its place in the batch, from 0.
        index: usize,
        /// Its time.
        deliver_at: eventail_wire::Timestamp,
    },
    /// There would be more held events than may be.
    #[error(
        "{events} events would be held until their time, more than `limits.delayed_events_max` of {limit}"
    )]
    TooManyDelayed {
        /// How many.
        events: u64,
        /// The limit.
        limit: usize,
    },
    /// Held events would take more bytes than they may.
    #[error(
        "events of {bytes} bytes would be held until their time, more than `limits.delayed_bytes_max` of {limit}"
    )]
    TooManyDelayedBytes {
        /// How many.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// No delayed event has this handle.
    #[error("there is no delayed event {id}, or it was released or cancelled some time ago")]
    UnknownDelayed {
        /// The handle.
        id: eventail_wire::HeldId,
    },
    /// The event is held no more.
    #[error("the delayed event {id} was released already: it is in its topic")]
    DelayedReleased {
        /// Its handle.
        id: eventail_wire::HeldId,
    },
    /// What the log holds of a delayed event cannot be read.
    #[error("the log of delayed events has no event at offset {offset}, where one should be")]
    DelayedRecord {
        /// The place.
        offset: Offset,
    },
    /// The broker is stopping.
    #[error("the broker is stopping")]
    ShuttingDown,
    /// A backup cannot be made.
    #[error(transparent)]
    Backup(#[from] crate::backup::BackupError),
    /// A restore into the data folder was interrupted.
    #[error(
        "a restore into {} did not come to its end: restore again, or remove `logs.restoring` in it", dir.display()
    )]
    HalfRestored {
        /// The data folder.
        dir: std::path::PathBuf,
    },
    /// A task of the broker ended in a way that it never should.
    #[error("a task of the broker failed")]
    Task(#[from] tokio::task::JoinError),
}

impl BrokerError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Append { source, .. } => source.code(),
            Self::Read { source, .. } => source.code(),
            Self::UnknownTopic(_) => Code::UnknownTopic,
            Self::ReservedTopic(_) => Code::ReservedTopic,
            Self::ReservedAttribute { .. } => Code::InvalidEvent,
            Self::TooManyTopics { .. } => Code::TooManyTopics,
            Self::TooManySubscriptions { .. } => Code::TooManySubscriptions,
            Self::UnknownTrigger(_) => Code::UnknownTrigger,
            Self::UnknownSchedule(_) => Code::UnknownSchedule,
            Self::UnknownFunction { .. } => Code::UnknownFunction,
            Self::UnknownDeadLetter { .. } => Code::UnknownEvent,
            Self::UnknownReplay { .. } => Code::UnknownReplay,
            Self::TooManyReplays { .. } => Code::Overloaded,
            Self::EventTooLarge { .. } => Code::EventTooLarge,
            Self::BatchEvents { .. } | Self::BatchBytes { .. } => Code::BatchTooLarge,
            Self::Overloaded { .. } | Self::Behind { .. } | Self::TooManyCallbacks { .. } => Code::Overloaded,
            Self::UnknownDelivery => Code::DeliveryNotFound,
            Self::Name(_) => Code::InvalidName,
            Self::Pattern(_)
            | Self::Key(_)
            | Self::Target { .. }
            | Self::Input { .. }
            | Self::LambdaTarget { .. }
            | Self::UndeclaredFunction { .. }
            | Self::OffsetBeyondEnd { .. }
            | Self::Replay(_) => Code::InvalidParameter,
            Self::Delay { source, .. } => source.code(),
            Self::DelayTooLong { .. } => Code::DelayTooLong,
            Self::TooManyDelayed { .. } | Self::TooManyDelayedBytes { .. } => Code::TooManyDelayed,
            Self::UnknownDelayed { .. } => Code::UnknownEvent,
            Self::DelayedRecord { .. } => Code::StorageCorrupt,
            Self::SubscriptionInUse { .. } | Self::DelayedReleased { .. } | Self::ReplayOfPaused { .. } => {
                Code::Conflict
            }
            Self::Backup(error) => error.code(),
            Self::HalfRestored { .. } => Code::Conflict,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::Tls(_) => Code::InvalidConfig,
            Self::Open(_)
            | Self::Tokens(_)
            | Self::Letter(_)
            | Self::Journal { .. }
            | Self::Index(_)
            | Self::Task(_) => Code::Internal,
        }
    }

    /// When a retry makes sense, where that can be told.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Overloaded { retry_after_ms, .. } | Self::Behind { retry_after_ms, .. } => {
                Some(*retry_after_ms)
            }
            error if error.code() == Code::StorageFull => Some(5_000),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}
