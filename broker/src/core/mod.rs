//! The broker itself: topics, triggers and what ties them together.
//!
//! [`Broker`] is the handle that everybody holds; [`Core`] is what stands behind it. Nothing here knows of sockets: the HTTP API,
//! the QUIC server and the CLI call the handle, as does a program that embeds the broker.

mod assembly;
mod backups;
mod blocking;
mod callbacks;
mod certificates;
mod delayed;
mod error;
mod feed;
mod functions;
mod graveyard;
mod journal;
mod lane;
pub(crate) mod ledger;
mod letter;
mod letters;
mod lookup;
mod near_misses;
mod open;
mod orphans;
mod permits;
mod redrive;
mod redrive_lanes;
pub(crate) mod reload;
mod replays;
mod replies;
mod routing;
mod scheduled_lanes;
mod schedules;
mod starting;
mod subscriber;
#[cfg(test)]
mod tests;
mod timeline;
mod topic;
mod topics;
mod triggers;
mod turns;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use eventail_storage::DiskStore;
use eventail_storage::log::{Appended, ReadLimit, read_what_is_left};
use eventail_triggers::function::Function;
use eventail_wire::frame::{CallbackAction, CallbackOutcome};
use eventail_wire::{Clock, Event, FunctionName, Offset, Timestamp, TopicName, TriggerName, limits};
use tokio::sync::watch;

use crate::auth::Gate;
use crate::config::{Config, INVOCATIONS_TOPIC, SCHEDULED_FOR_ATTRIBUTE, SCHEDULES_TOPIC};
use crate::status::{
    BulkResult, DeadLetter, DeadLetterFilter, DeadLetterSummary, EventPlace, Observation, Observer,
    Published, Readiness, RedriveRequest, StoredEvent, TopicStatus, TriggerStatus,
};
use crate::tls::Certificates;

pub use error::BrokerError;
pub(crate) use journal::replayed as replayed_settlements;
pub use open::BrokerBuilder;
pub use reload::ReloadError;
pub use replays::ReplayError;
pub use starting::StartProgress;
pub use subscriber::{Delivery, SubscribeOptions, Subscriber};

use callbacks::Callbacks;
use delayed::Delayed;
use functions::Functions;
use journal::Journal;
use ledger::Ledger;
use letters::Letters;
use lookup::Lookup;
use permits::Permits;
use replays::Replays;
use schedules::Schedules;
use timeline::Timeline;
use topic::{Appending, InFlight, check_batch};
use topics::Topics;
use triggers::Triggers;
use upkeep::Tasks;

/// Internal logs whose refusals are no problem of their own: of the first the journal tells itself, and what the others keep is
/// done without.
const TOLD_APART: [&str; 3] = [journal::JOURNAL_LOG, timeline::TIMELINE_LOG, ledger::LEDGER_LOG];

/// A running broker. Cheap to clone; all clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    core: Arc<Core>,
}

/// What stands behind the handle.
pub(crate) struct Core {
    /// What the broker runs with now: exchanged whole, so that whoever loads it once sees one configuration.
    config: ArcSwap<Config>,
    /// Held by whoever exchanges triggers.
    changing: tokio::sync::Mutex<()>,
    reloads: reload::Reloads,
    /// What listeners serve TLS with, where they do.
    certificates: Option<Arc<Certificates>>,
    orphans: orphans::Orphans,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn Observer>>,
    store: Arc<DiskStore>,
    topics: Topics,
    journal: Arc<Journal>,
    ledger: Arc<Ledger>,
    triggers: Triggers,
    callbacks: Arc<Callbacks>,
    permits: Permits,
    functions: Functions,
    schedules: Schedules,
    subscribers: subscriber::Subscribers,
    letters: Letters,
    replays: Replays,
    lookup: Lookup,
    timeline: Arc<Timeline>,
    near_misses: near_misses::LookedAt,
    delayed: Delayed,
    backups: backups::Backups,
    marker: starting::Marker,
    in_flight: Arc<InFlight>,
    stopping: AtomicBool,
    /// Set when lanes stop leasing.
    stop: watch::Sender<bool>,
    /// Set when the last lane is at rest, to end the tasks below them.
    ended: watch::Sender<bool>,
    /// Set when the store is closed.
    closed: watch::Sender<bool>,
    tasks: Tasks,
    seeds: AtomicU64,
    /// What listeners ask who somebody is.
    gate: Gate,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("data_dir", &self.core.config.load().data_dir).finish_non_exhaustive()
    }
}

impl Broker {
    /// Begins a broker with this configuration.
    #[must_use]
    pub fn builder(config: Config) -> BrokerBuilder {
        BrokerBuilder::new(config)
    }

    /// Opens a broker with the system's clock and no observer.
    ///
    /// # Errors
    /// As [`BrokerBuilder::open`].
    pub async fn open(config: Config) -> Result<Self, BrokerError> {
        Self::builder(config).open().await
    }

    /// The configuration that the broker runs with now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.core.config()
    }

    /// What listeners ask who somebody is. A program that embeds the broker is not asked.
    pub(crate) fn gate(&self) -> &Gate {
        &self.core.gate
    }

    /// The clock that the broker goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.core.clock
    }

    /// Appends events and answers where each went, in order, when the topic's durability is reached. All or none are taken. The
    /// append is under way after the first poll, so that futures polled in order append in order.
    ///
    /// # Errors
    /// A limit, an unknown topic, too much under way, or a log that cannot take them. Where `invoke.keys` are configured, the topic of
    /// invocations takes none: who may publish could run functions without a signature.
    pub async fn publish(
        &self,
        topic: &TopicName,
        events: Vec<Event>,
    ) -> Result<Vec<Published>, BrokerError> {
        if topic.as_str() == INVOCATIONS_TOPIC && !self.core.config.load().invoke_keys.is_empty() {
            return Err(BrokerError::ReservedTopic(topic.clone()));
        }
        events.iter().try_for_each(|event| check_forgery(topic, event))?;
        self.publish_trusted(topic, events).await
    }

    /// [`Broker::publish`] for the broker's own events.
    pub(crate) async fn publish_trusted(
        &self,
        topic: &TopicName,
        events: Vec<Event>,
    ) -> Result<Vec<Published>, BrokerError> {
        let core = &self.core;
        if core.stopping.load(Ordering::Acquire) {
            return Err(BrokerError::ShuttingDown);
        }
        let topic = match core.topics.get(topic) {
            Some(topic) => topic,
            None => core.topic_for_publish(topic).await?,
        };
        let is_plain = !events.iter().any(Event::has_delay);
        if is_plain && !core.delayed.is_repeated(&topic.name, &events, || core.clock.now())? {
            return core.append_now(&topic, &events).await;
        }
        // In a task of its own, so that what was begun ends even if the caller does not wait for it.
        let (core, count) = (Arc::clone(core), events.len() as u64);
        tokio::spawn(async move {
            let published = core.publish_delayed(&topic, events).await;
            published.inspect_err(|error| topic.metrics.refused(error.code(), count))
        })
        .await?
    }

    /// Reads at most `limit` events from an offset on. Where there is nothing yet it waits up to `wait` for something to come.
    ///
    /// # Errors
    /// An unknown topic, an offset that retention took, or stored bytes that are damaged.
    pub async fn read(
        &self,
        topic: &TopicName,
        from: Offset,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, BrokerError> {
        let topic = self.core.topic(topic)?;
        let limit =
            ReadLimit { records: limit.clamp(1, limits::PAGE_EVENTS_MAX), bytes: limits::PAGE_BYTES_MAX };
        let mut end = topic.log.durable_end();
        let wait = wait.min(Duration::from_millis(limits::WAIT_MS_MAX));
        if !wait.is_zero() {
            let mut stop = self.core.stop.subscribe();
            // Running out of time is an answer too: an empty page.
            tokio::select! {
                biased;
                _ = tokio::time::timeout(wait, end.wait_for(|end| *end > from)) => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        }
        let read_failed = |source| BrokerError::Read { log: topic.name.to_string(), source };
        let records = read_what_is_left(topic.log.as_ref(), from, limit).await.map_err(read_failed)?;
        Ok(records
            .into_iter()
            .filter_map(|record| {
                let event = Event::from_stored(record.payload).ok()?;
                Some(StoredEvent { offset: record.offset, appended_at: record.appended_at, event })
            })
            .collect())
    }

    /// The first offset whose event was appended at or after a time; the durable end where there is none.
    ///
    /// # Errors
    /// An unknown topic, or a log that cannot be read.
    pub async fn offset_at(&self, topic: &TopicName, time: Timestamp) -> Result<Offset, BrokerError> {
        let topic = self.core.topic(topic)?;
        topic
            .log
            .offset_at(time)
            .await
            .map_err(|source| BrokerError::Read { log: topic.name.to_string(), source })
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicStatus> {
        self.core.topics.all().iter().map(|topic| topic.status()).collect()
    }

    /// One topic.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn topic(&self, name: &TopicName) -> Result<TopicStatus, BrokerError> {
        Ok(self.core.topic(name)?.status())
    }

    /// Creates a topic; `false` where it exists.
    ///
    /// # Errors
    /// Where there are too many, or the disk refuses.
    pub async fn create_topic(&self, name: &TopicName) -> Result<bool, BrokerError> {
        if self.core.topics.get(name).is_some() {
            return Ok(false);
        }
        self.core.topic_or_create(name).await.map(|_| true)
    }

    /// All triggers, by name.
    #[must_use]
    pub fn triggers(&self) -> Vec<TriggerStatus> {
        let now = self.core.clock.now();
        let status = |trigger: &Arc<triggers::Trigger>| {
            let status = trigger.status(now);
            TriggerStatus { budget: self.core.ledger.budget_status(now, &status.name), ..status }
        };
        self.core.triggers.all().iter().map(status).collect()
    }

    /// One trigger.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn trigger(&self, name: &TriggerName) -> Result<TriggerStatus, BrokerError> {
        let now = self.core.clock.now();
        let budget = self.core.ledger.budget_status(now, name);
        Ok(TriggerStatus { budget, ..self.core.triggers.get(name)?.status(now) })
    }

    /// Stops a trigger until it is resumed, also over a restart.
    ///
    /// # Errors
    /// Where there is none of this name, or the journal cannot be written.
    pub async fn pause_trigger(
        &self,
        name: &TriggerName,
        reason: &str,
    ) -> Result<TriggerStatus, BrokerError> {
        self.core.triggers.get(name)?.pause(reason).await?;
        self.trigger(name)
    }

    /// Lets a paused, disabled or stopped trigger go on.
    ///
    /// # Errors
    /// Where there is none of this name, or the journal cannot be written.
    pub async fn resume_trigger(&self, name: &TriggerName) -> Result<TriggerStatus, BrokerError> {
        self.core.triggers.get(name)?.resume().await?;
        self.trigger(name)
    }

    /// Moves a trigger's cursor forward. What matched and is passed over counts as expired; a cursor never moves back.
    ///
    /// # Errors
    /// Where there is none of this name, the offset lies behind the topic's end, or the journal cannot be written.
    pub async fn skip_trigger_to(
        &self,
        name: &TriggerName,
        to: Offset,
    ) -> Result<TriggerStatus, BrokerError> {
        self.core.triggers.get(name)?.skip_to(to).await?;
        self.trigger(name)
    }

    /// A function of this machine, if there is one of this name.
    #[must_use]
    pub fn local_function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.core.functions.get(name)
    }

    /// Dead letters that the filter chooses, by topic and offset, at most `limit`, behind `after` where given.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<(TopicName, Offset)>,
        limit: usize,
    ) -> Result<Vec<DeadLetterSummary>, BrokerError> {
        self.core.letters.list(&self.core, filter, after, limit).await
    }

    /// One dead letter with its event.
    ///
    /// # Errors
    /// Where there is none at this place.
    pub async fn dead_letter(&self, topic: &TopicName, offset: Offset) -> Result<DeadLetter, BrokerError> {
        self.core.letters.show(&self.core, topic, offset).await
    }

    /// Hands dead letters to the triggers that gave up on them once more. It goes on if the caller does not wait for its end.
    ///
    /// # Errors
    /// Where the index or a log cannot be read or written.
    pub async fn redrive(&self, request: &RedriveRequest) -> Result<BulkResult, BrokerError> {
        let (core, request) = (Arc::clone(&self.core), request.clone());
        tokio::spawn(async move { redrive::redrive(&core, &request).await }).await?
    }

    /// Takes dead letters out of sight for good; their records go with their topic's retention.
    ///
    /// # Errors
    /// Where the index or a log cannot be read or written.
    pub async fn purge_dead_letters(
        &self,
        filter: &DeadLetterFilter,
        dry_run: bool,
    ) -> Result<BulkResult, BrokerError> {
        let (core, filter) = (Arc::clone(&self.core), filter.clone());
        tokio::spawn(async move { redrive::purge(&core, &filter, dry_run).await }).await?
    }

    /// Where events with this id are.
    ///
    /// # Errors
    /// Where the index or a log cannot be read.
    pub async fn find_event(&self, id: &str) -> Result<Vec<EventPlace>, BrokerError> {
        self.core.lookup.find(&self.core, id).await
    }

    /// Whether events can be taken and delivered.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let mut problems = Vec::new();
        if self.core.stopping.load(Ordering::Acquire) {
            problems.push(("broker".to_owned(), "it is stopping".to_owned()));
        }
        for topic in self.topics() {
            problems.extend(topic.refusal.map(|code| (format!("topic {}", topic.name), code.to_string())));
        }
        problems.extend(self.core.journal.refusal().map(|reason| ("journal".to_owned(), reason.to_owned())));
        let lost = self.core.tasks.lost();
        problems.extend(lost.into_iter().map(|task| (format!("task {task}"), "it panicked".to_owned())));
        let is_needed = |name: &str| name.starts_with('_') && !TOLD_APART.contains(&name);
        let logs = self.core.store.refusals().into_iter().filter(|(name, _)| is_needed(name));
        problems.extend(logs.map(|(name, code)| (format!("log {name}"), code.to_string())));
        Readiness { ready: problems.is_empty(), problems }
    }

    /// Joins a durable subscription by name, as a client or an embedding program does. Several subscribers of one name share
    /// its events.
    ///
    /// # Errors
    /// An unknown topic, a pattern that is none, or a name in use with other options.
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscriber, BrokerError> {
        self.core.subscribe(options).await
    }

    /// Tells what became of an event that a target took over: it answered that it would call back with this token. The callback
    /// is under way when this returns, whether the answer is awaited or not.
    ///
    /// # Errors
    /// [`BrokerError::UnknownDelivery`] where no attempt waits for this token: it was settled, ran out, is of before a restart,
    /// or never was.
    pub fn call_back(
        &self,
        token: &str,
        action: CallbackAction,
    ) -> impl Future<Output = Result<CallbackOutcome, BrokerError>> + Send + use<> {
        self.core.callbacks.call_back(token, action)
    }

    /// The tokens, for tests that take the part of a target that took an event over.
    #[cfg(test)]
    pub(crate) fn callbacks(&self) -> &Arc<Callbacks> {
        &self.core.callbacks
    }

    /// Stops: takes no more events, lets attempts end within the drain time, hands back what is left, syncs. Calling it again
    /// does nothing more.
    ///
    /// # Errors
    /// Where the last state could not be written.
    pub async fn shutdown(&self) -> Result<(), BrokerError> {
        self.core.shutdown().await
    }
}

impl Core {
    /// The configuration as it is now. Whoever needs several things of it loads it once.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Appends a publish within its limits and tells who wants to know.
    async fn append_now(
        &self,
        topic: &topic::Topic,
        events: &[Event],
    ) -> Result<Vec<Published>, BrokerError> {
        let appended = self.append(topic, events).await.inspect_err(|error| {
            topic.metrics.refused(error.code(), events.len() as u64);
        })?;
        self.announce(topic, events, &appended);
        let place = |at: Appended| Published::Appended { offset: at.offset, duplicate: at.duplicate };
        Ok(appended.into_iter().map(place).collect())
    }

    /// Appends events that were taken before: no limit stands in their way any more.
    async fn append_taken(
        &self,
        topic: &topic::Topic,
        events: &[Event],
    ) -> Result<Vec<Appended>, BrokerError> {
        let begun = tokio::time::Instant::now();
        let appended = topic.append(events).await?;
        let bytes = events.iter().map(|event| event.as_bytes().len() as u64).sum();
        topic.count(&appended, bytes, begun.elapsed());
        self.announce(topic, events, &appended);
        Ok(appended)
    }

    /// Tells the index and the observer what was appended.
    fn announce(&self, topic: &topic::Topic, events: &[Event], appended: &[Appended]) {
        self.lookup.appended(appended.last().map(|last| last.offset), appended.len());
        for at in appended.iter().filter(|at| at.duplicate) {
            self.timeline.duplicate(&topic.name, at.offset);
        }
        if let Some(observer) = &self.observer {
            for (event, at) in events.iter().zip(appended).filter(|(_, at)| !at.duplicate) {
                let (topic, event) = (topic.name.clone(), event.clone());
                observer.observe(&Observation::Appended { topic, offset: at.offset, event });
            }
        }
    }

    /// Appends a publish within its limits, and counts it.
    async fn append(&self, topic: &topic::Topic, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        let begun = tokio::time::Instant::now();
        let (bytes, room) = {
            let limits = &self.config.load().limits;
            let bytes = check_batch(events, limits)?;
            let turn = topic.turns.enter(begun, Duration::from_millis(limits.publish_wait_ms))?;
            (bytes, self.in_flight.enter(bytes, limits.in_flight_bytes_max)?.with(turn))
        };
        let appended = Appending::new(topic.append(events), room).await?;
        topic.count(&appended, bytes as u64, begun.elapsed());
        Ok(appended)
    }
}

/// Refuses what would pass for a dead letter, or for what a schedule sends.
fn check_forgery(topic: &TopicName, event: &Event) -> Result<(), BrokerError> {
    let scheduled = || {
        let is_call = topic.as_str() == SCHEDULES_TOPIC && event.attribute(SCHEDULED_FOR_ATTRIBUTE).is_some();
        is_call.then_some(SCHEDULED_FOR_ATTRIBUTE)
    };
    match letter::reserved(event).or_else(scheduled) {
        Some(name) => Err(BrokerError::ReservedAttribute { id: event.id().to_owned(), name }),
        None => Ok(()),
    }
}
