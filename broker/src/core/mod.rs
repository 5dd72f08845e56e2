//! The broker itself: topics, triggers and what ties them together.

use std::time::Duration;

use eventail_triggers::outcome::{Outcome, RejectReason};
use eventail_wire::{Code, Event, Offset, Timestamp, TopicName, TriggerName};

use crate::config::{Config, StartPosition};
use crate::status::{
    BulkResult, DeadLetter, DeadLetterFilter, DeadLetterSummary, EventPlace, Published, Readiness,
    RedriveRequest, StoredEvent, TopicStatus, TriggerStatus,
};

/// Why the broker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BrokerError {
    code: Code,
    message: String,
    retry_after_ms: Option<u64>,
}

impl BrokerError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }
    /// When a retry makes sense, where that can be told.
    #[must_use]
    pub const fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ms
    }
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

/// Collects what a broker needs before it opens.
#[derive(Debug)]
pub struct BrokerBuilder {}

#[allow(missing_docs)]
impl BrokerBuilder {
    /// Lets `observer` see every step of every event.
    #[must_use]
    pub fn observer(self, _observer: std::sync::Arc<dyn crate::status::Observer>) -> Self {
        unimplemented!()
    }
    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(self, _clock: std::sync::Arc<dyn eventail_wire::Clock>) -> Self {
        unimplemented!()
    }
    /// Opens the broker: recovers the logs, rebuilds what is missing, starts the triggers.
    ///
    /// # Errors
    /// Where the data folder cannot be used or is corrupt.
    pub async fn open(self) -> Result<Broker, BrokerError> {
        unimplemented!()
    }
}

/// A running broker. Cheap to clone; all clones are the same broker.
#[derive(Clone, Debug)]
pub struct Broker {}

#[allow(clippy::unused_async, missing_docs)]
impl Broker {
    #[must_use]
    pub fn builder(_config: Config) -> BrokerBuilder {
        unimplemented!()
    }
    pub async fn open(_config: Config) -> Result<Self, BrokerError> {
        unimplemented!()
    }
    #[must_use]
    pub fn config(&self) -> &Config {
        unimplemented!()
    }
    /// Appends events; answers when they are durable. All or none of a batch are taken.
    pub async fn publish(
        &self,
        _topic: &TopicName,
        _events: Vec<Event>,
    ) -> Result<Vec<Published>, BrokerError> {
        unimplemented!()
    }
    /// Reads from an offset; waits up to `wait` for something to come where there is nothing yet.
    pub async fn read(
        &self,
        _topic: &TopicName,
        _from: Offset,
        _limit: usize,
        _wait: Duration,
    ) -> Result<Vec<StoredEvent>, BrokerError> {
        unimplemented!()
    }
    /// The first offset whose event was appended at or after a time.
    pub async fn offset_at(&self, _topic: &TopicName, _time: Timestamp) -> Result<Offset, BrokerError> {
        unimplemented!()
    }
    #[must_use]
    pub fn topics(&self) -> Vec<TopicStatus> {
        unimplemented!()
    }
    pub fn topic(&self, _name: &TopicName) -> Result<TopicStatus, BrokerError> {
        unimplemented!()
    }
    /// Creates a topic with the default options; `false` where it exists.
    pub async fn create_topic(&self, _name: &TopicName) -> Result<bool, BrokerError> {
        unimplemented!()
    }
    #[must_use]
    pub fn triggers(&self) -> Vec<TriggerStatus> {
        unimplemented!()
    }
    pub fn trigger(&self, _name: &TriggerName) -> Result<TriggerStatus, BrokerError> {
        unimplemented!()
    }
    pub async fn pause_trigger(
        &self,
        _name: &TriggerName,
        _reason: &str,
    ) -> Result<TriggerStatus, BrokerError> {
        unimplemented!()
    }
    /// Also brings a disabled trigger back.
    pub async fn resume_trigger(&self, _name: &TriggerName) -> Result<TriggerStatus, BrokerError> {
        unimplemented!()
    }
    /// Moves the cursor forward; what is passed over counts as expired.
    pub async fn skip_trigger_to(
        &self,
        _name: &TriggerName,
        _to: Offset,
    ) -> Result<TriggerStatus, BrokerError> {
        unimplemented!()
    }
    /// Newest last; at most `limit`, after `after` (exclusive) where given.
    pub async fn dead_letters(
        &self,
        _filter: &DeadLetterFilter,
        _after: Option<(TopicName, Offset)>,
        _limit: usize,
    ) -> Result<Vec<DeadLetterSummary>, BrokerError> {
        unimplemented!()
    }
    pub async fn dead_letter(&self, _topic: &TopicName, _offset: Offset) -> Result<DeadLetter, BrokerError> {
        unimplemented!()
    }
    /// Delivers dead letters again to the trigger that gave up on them.
    pub async fn redrive(&self, _request: &RedriveRequest) -> Result<BulkResult, BrokerError> {
        unimplemented!()
    }
    pub async fn purge_dead_letters(
        &self,
        _filter: &DeadLetterFilter,
        _dry_run: bool,
    ) -> Result<BulkResult, BrokerError> {
        unimplemented!()
    }
    pub async fn find_event(&self, _id: &str) -> Result<Vec<EventPlace>, BrokerError> {
        unimplemented!()
    }
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        unimplemented!()
    }
    /// A durable subscription by name, as a client or an embedding program uses it.
    pub async fn subscribe(&self, _options: SubscribeOptions) -> Result<Subscriber, BrokerError> {
        unimplemented!()
    }
    /// Stops taking events, lets attempts end within the drain time, syncs. Idempotent.
    pub async fn shutdown(&self) -> Result<(), BrokerError> {
        unimplemented!()
    }
}

/// What a subscriber asks for.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    /// The subscription's name; its state is durable under it.
    pub name: TriggerName,
    /// The topic.
    pub topic: TopicName,
    /// A pattern as JSON text; everything where absent.
    pub pattern: Option<String>,
    /// Where a subscription without a past begins.
    pub start: StartPosition,
    /// How long a delivery is leased before it is redelivered.
    pub lease_ms: u64,
    /// Deliveries at most before one is dead-lettered; 0 means without end.
    pub max_attempts: u32,
}

/// One delivery to a subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names the lease; goes back with the outcome.
    pub token: u64,
    /// The place of the event.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// Which try this is.
    pub attempt: u32,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// The event.
    pub event: Event,
}

/// The receiving end of a subscription. Dropping it hands its leases back.
#[derive(Debug)]
pub struct Subscriber {}

#[allow(clippy::unused_async, missing_docs)]
impl Subscriber {
    /// The next deliveries, at least one and at most `max`; waits for them. `None` when the broker stops.
    pub async fn next(&mut self, _max: usize) -> Option<Vec<Delivery>> {
        unimplemented!()
    }
    /// Settles deliveries in one go; answers the tokens that were stale.
    pub async fn settle(&self, _outcomes: Vec<(u64, Outcome)>) -> Result<Vec<u64>, BrokerError> {
        let _ = RejectReason::Refused;
        unimplemented!()
    }
    /// Prolongs leases to `lease_ms` from now; answers the tokens that were stale.
    pub async fn extend(&self, _tokens: Vec<u64>) -> Result<Vec<u64>, BrokerError> {
        unimplemented!()
    }
}
