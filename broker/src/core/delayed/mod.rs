//! Events that are held until their time.
//!
//! The truth is a log of the broker's own: an event is held when it is durable there, and it leaves with a record that says so. The
//! index has who waits in the order of time ([`book`]); in memory are only the totals and the time of the next one, whatever the number
//! of those that wait.
//!
//! - **Held.** An append of the log takes all events of a publish or none. Where only some of them are to be held the others go
//!   through the log too, due at once, so that a crash cannot take one part and leave the other.
//! - **Released.** The event is appended to its topic first, then the release is noted. A crash between makes the append happen again,
//!   and the topic's deduplication answers it with the first offset.
//! - **Cancelled** or released is decided under one lock, so that it is never both.
//! - **Tidied.** Once the log holds more that is over than that waits, the oldest records that still count are written again and what
//!   lies before goes ([`tidy`]).

mod book;
mod note;
mod publish;
mod release;
#[cfg(test)]
mod tests;
mod tidy;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eventail_storage::index::Index;
use eventail_storage::index::timers::{Timers, TimersState};
use eventail_storage::log::{Appended, Log, ReadLimit, Record, read_what_is_left};
use eventail_wire::{Event, HeldId, Offset, Timestamp, TopicName};
use tokio::sync::Notify;

use super::{Broker, BrokerError, Core, blocking};
use crate::metrics::DelayedMetrics;
use crate::status::{DelayedEvent, DelayedFilter, DelayedState, DelayedStatus};
use book::{Book, Entry};
use note::Note;

pub(super) use release::start;

/// The name of the internal log.
pub(super) const DELAYED_LOG: &str = "_delayed";
/// What one read of the log takes at most.
const READ_LIMIT: ReadLimit = ReadLimit { records: 1024, bytes: 4 << 20 };

/// How much is done at once; tests take less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Events of one release: so many are in memory at once.
    pub(super) release_events: usize,
    /// Bytes of the log beyond which it is tidied, if more of it is over than waits.
    pub(super) slack_bytes: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { release_events: 1_000, slack_bytes: 64 << 20 }
    }
}

/// The events that are held.
pub(crate) struct Delayed {
    log: Arc<dyn Log>,
    /// Whether questions to the book may block.
    may_block: bool,
    book: Arc<Book>,
    tuning: Tuning,
    /// How far the log is in the book. Held while more is applied, also by a thread whose caller has gone.
    applied: Arc<tokio::sync::Mutex<TimersState>>,
    /// The last known totals, for whoever must not wait.
    totals: Arc<Mutex<TimersState>>,
    /// Events and their cost that are on their way into the log.
    arriving: Arc<Mutex<(u64, u64)>>,
    /// Held by whoever decides what becomes of events that wait.
    deciding: tokio::sync::Mutex<()>,
    /// Milliseconds: nobody need be woken for what is due later than this.
    next_at: AtomicU64,
    /// Milliseconds: when the next one is due, as it is told.
    told_next_at: AtomicU64,
    /// Rung when one is held that is due before the next one.
    wake: Notify,
    /// How far the log was tidied, and where the last pass ended.
    tidied: Mutex<tidy::Tidied>,
    metrics: DelayedMetrics,
}

impl Delayed {
    /// Reads into the index what the log has and it has not.
    pub(super) async fn open(
        log: Arc<dyn Log>,
        index: Arc<dyn Index>,
        tuning: Tuning,
    ) -> Result<Self, BrokerError> {
        let end = *log.durable_end().borrow();
        let may_block = index.may_block();
        let (book, state) = blocking::run(may_block, move || {
            let opened = Book::new(Timers::open(index)?);
            let state = opened.state()?;
            if state.applied > end {
                // It is of another log than this one.
                opened.clear()?;
                let state = opened.state()?;
                return Ok::<_, BrokerError>((opened, state));
            }
            Ok((opened, state))
        })
        .await??;
        let book = Arc::new(book);
        let delayed = Self {
            log,
            may_block,
            book,
            tuning,
            applied: Arc::new(tokio::sync::Mutex::new(state)),
            totals: Arc::new(Mutex::new(state)),
            arriving: Arc::default(),
            deciding: tokio::sync::Mutex::default(),
            next_at: AtomicU64::new(0),
            told_next_at: AtomicU64::new(u64::MAX),
            wake: Notify::new(),
            tidied: Mutex::default(),
            metrics: DelayedMetrics::new(),
        };
        delayed.catch_up().await?;
        let (_, next) = delayed.ask(|book| book.due(Timestamp(0), 0, &HashSet::new())).await?;
        delayed.told_next_at.store(next.unwrap_or(Timestamp::MAX).0, Ordering::Release);
        Ok(delayed)
    }

    /// Brings the book to the end of the log.
    async fn catch_up(&self) -> Result<(), BrokerError> {
        let mut applied = Arc::clone(&self.applied).lock_owned().await;
        loop {
            let from = applied.applied.max(self.log.status().range.start);
            if from >= *self.log.durable_end().borrow() {
                return Ok(());
            }
            let records = self.read(from, READ_LIMIT).await?;
            if records.is_empty() {
                // What is left up to the end is damaged.
                return Ok(());
            }
            let (book, totals) = (Arc::clone(&self.book), Arc::clone(&self.totals));
            // The guard goes along: nobody else applies these records if this call is dropped meanwhile.
            let (guard, outcome) = blocking::run(self.may_block, move || {
                let outcome = book.apply(&records).map(|state| {
                    *applied = state;
                    *lock(&totals) = state;
                });
                (applied, outcome)
            })
            .await?;
            applied = guard;
            outcome?;
        }
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, BrokerError> {
        read_what_is_left(self.log.as_ref(), from, limit).await.map_err(read_failed)
    }

    /// Appends to the log, all or nothing, durably.
    fn append(&self, notes: &[Note]) -> impl Future<Output = Result<Vec<Appended>, BrokerError>> + use<> {
        let appending = self.log.append(notes.iter().map(Note::to_record).collect());
        async move {
            appending.await.map_err(|source| BrokerError::Append { log: DELAYED_LOG.to_owned(), source })
        }
    }

    /// Asks the book, off the async threads.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Book) -> Result<T, eventail_storage::index::IndexError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let book = Arc::clone(&self.book);
        Ok(blocking::run(self.may_block, move || question(&book)).await??)
    }

    /// The event that an entry is about, as long as its record is there.
    async fn event_of(&self, entry: &Entry) -> Result<Option<Event>, BrokerError> {
        let records = self.read(entry.place, ReadLimit { records: 1, bytes: 1 }).await?;
        let record = records.into_iter().next().filter(|record| record.offset == entry.place);
        Ok(record.and_then(|record| match Note::read(&record.payload) {
            Some(Note::Held(_, event)) => Some(event),
            _ => None,
        }))
    }

    /// Notes that something is held until then.
    fn note_next(&self, at: Timestamp) {
        self.told_next_at.fetch_min(at.0, Ordering::AcqRel);
        if self.next_at.fetch_min(at.0, Ordering::AcqRel) > at.0 {
            self.wake.notify_one();
        }
    }

    /// Whether one of these repeats an event that is held, or was and is remembered. It is nearly always known from memory, and must be
    /// known at once: a publish must not be overtaken by the next one while it asks.
    pub(super) fn is_repeated(
        &self,
        topic: &TopicName,
        events: &[Event],
        now: impl Fn() -> Timestamp,
    ) -> Result<bool, BrokerError> {
        for event in events.iter().filter(|event| self.book.may_be_repeated(topic, event)) {
            if self.book.repeated(topic, event, now())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn totals(&self) -> TimersState {
        *lock(&self.totals)
    }

    /// What is held.
    pub(crate) fn status(&self) -> DelayedStatus {
        let totals = self.totals();
        let next_at = Timestamp(self.told_next_at.load(Ordering::Acquire));
        DelayedStatus {
            pending: totals.waiting,
            pending_bytes: totals.waiting_bytes,
            next_at: (totals.waiting > 0 && next_at < Timestamp::MAX).then_some(next_at),
        }
    }

    /// Cancels an event that is held. One that is cancelled stays so.
    async fn cancel(&self, id: HeldId, now: Timestamp) -> Result<DelayedEvent, BrokerError> {
        let _deciding = self.deciding.lock().await;
        self.catch_up().await?;
        let entry = self.known(id, now).await?;
        match entry.event.state {
            DelayedState::Cancelled => return Ok(entry.event),
            DelayedState::Released => return Err(BrokerError::DelayedReleased { id }),
            DelayedState::Held => {}
        }
        self.append(&[Note::Cancelled { at: now, id }]).await?;
        self.catch_up().await?;
        self.metrics.cancelled.increment(1);
        Ok(DelayedEvent { state: DelayedState::Cancelled, ended_at: Some(now), ..entry.event })
    }

    /// An entry that is still remembered.
    async fn known(&self, id: HeldId, now: Timestamp) -> Result<Entry, BrokerError> {
        let entry = self.ask(move |book| book.entry(id)).await?;
        entry.filter(|entry| entry.is_remembered(now)).ok_or(BrokerError::UnknownDelayed { id })
    }
}

impl Broker {
    /// Events that are held, by their time, at most `limit`, behind `after` where given.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn delayed_events(
        &self,
        filter: &DelayedFilter,
        after: Option<(Timestamp, HeldId)>,
        limit: usize,
    ) -> Result<Vec<DelayedEvent>, BrokerError> {
        let filter = filter.clone();
        self.core.delayed.ask(move |book| book.list(&filter, after, limit)).await
    }

    /// One delayed event; with the event itself while it is held.
    ///
    /// # Errors
    /// [`BrokerError::UnknownDelayed`] where none has this handle, or it is long since released or cancelled.
    pub async fn delayed_event(&self, id: HeldId) -> Result<(DelayedEvent, Option<Event>), BrokerError> {
        let delayed = &self.core.delayed;
        let entry = delayed.known(id, self.core.clock.now()).await?;
        let event = if entry.is_held() { delayed.event_of(&entry).await? } else { None };
        Ok((entry.event, event))
    }

    /// Cancels an event that is held, durably. It goes on if the caller does not wait for its end.
    ///
    /// # Errors
    /// [`BrokerError::UnknownDelayed`] where none has this handle, [`BrokerError::DelayedReleased`] where it is in its topic already.
    pub async fn cancel_delayed(&self, id: HeldId) -> Result<DelayedEvent, BrokerError> {
        let core = Arc::clone(&self.core);
        tokio::spawn(async move { core.delayed.cancel(id, core.clock.now()).await }).await?
    }

    /// Held events with this id of theirs.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn find_delayed(&self, event_id: &str) -> Result<Vec<DelayedEvent>, BrokerError> {
        let event_id = event_id.to_owned();
        self.core.delayed.ask(move |book| book.named(&event_id)).await
    }

    /// How much is held.
    #[must_use]
    pub fn delayed_status(&self) -> DelayedStatus {
        self.core.delayed.status()
    }
}

impl Core {
    /// Opens the log of delayed events.
    pub(super) async fn open_delayed(
        store: &Arc<eventail_storage::DiskStore>,
        index: Arc<dyn Index>,
        tuning: Tuning,
    ) -> Result<Delayed, BrokerError> {
        let options = eventail_storage::log::LogOptions {
            segment_bytes: super::journal::JOURNAL_SEGMENT_BYTES,
            ..eventail_storage::log::LogOptions::default()
        };
        let log = super::open::open_log(store, DELAYED_LOG.to_owned(), options).await?;
        Delayed::open(log, index, tuning).await
    }
}

fn read_failed(source: eventail_storage::log::ReadError) -> BrokerError {
    BrokerError::Read { log: DELAYED_LOG.to_owned(), source }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
