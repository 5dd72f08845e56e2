//! A topic: its log, and the checks between a publish and it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use eventail_storage::log::{
    Appended, Deduplication, Durability, Log, LogOptions, LogStatus, LostRecords, NewRecord,
};
use eventail_wire::{Event, Offset, TopicName};
use rapidhash::v3::rapidhash_v3;

use super::error::BrokerError;
use crate::config::{Limits, StartPosition, TopicOptions};
use crate::metrics::TopicMetrics;
use crate::status::{LostEvents, TopicStatus};

/// The attribute that names the delivery which a dead letter is about. It stands in for `source` and `id` where a dead letter is
/// deduplicated: two triggers may give up on the same event, and both dead letters count.
pub(crate) const DELIVERY_ATTRIBUTE: &str = "eventaildelivery";

/// A topic that is open. Its log may be any engine's.
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) metrics: TopicMetrics,
    is_sync: AtomicBool,
}

impl Topic {
    pub(crate) fn new(name: TopicName, log: Arc<dyn Log>, options: &TopicOptions) -> Self {
        Self {
            metrics: TopicMetrics::new(&name),
            name,
            log,
            is_sync: AtomicBool::new(options.durability == Durability::Sync),
        }
    }

    /// Notes that its log is kept otherwise from now on.
    pub(crate) fn set_durability(&self, durability: Durability) {
        self.is_sync.store(durability == Durability::Sync, Ordering::Relaxed);
    }

    /// Appends events as they are. The append is under way when this returns, so that calls keep their order.
    pub(crate) fn append(
        &self,
        events: &[Event],
    ) -> impl Future<Output = Result<Vec<Appended>, BrokerError>> + use<> {
        let records = events
            .iter()
            .map(|event| NewRecord {
                payload: event.as_bytes().clone(),
                fingerprint: Some(fingerprint_of(event)),
            })
            .collect();
        let appending = self.log.append(records);
        let log = self.name.clone();
        async move { appending.await.map_err(|source| BrokerError::Append { log: log.to_string(), source }) }
    }

    /// Counts events that were appended.
    pub(crate) fn count(&self, appended: &[Appended], bytes: u64, took: std::time::Duration) {
        let duplicates = appended.iter().filter(|at| at.duplicate).count() as u64;
        self.metrics.published(appended.len() as u64 - duplicates, duplicates, bytes, took.as_secs_f64());
    }

    pub(crate) fn start(&self) -> Offset {
        self.log.status().range.start
    }

    pub(crate) fn end(&self) -> Offset {
        *self.log.durable_end().borrow()
    }

    /// The offset that a lane begins with, should it have no state.
    pub(crate) async fn start_of(
        &self,
        journal: &super::journal::Journal,
        lane: &str,
        start: StartPosition,
    ) -> Result<Offset, BrokerError> {
        if journal.may_have_lost(lane) { Ok(self.start()) } else { self.place_of(start).await }
    }

    /// The offset that a subscription without a past begins with.
    async fn place_of(&self, start: StartPosition) -> Result<Offset, BrokerError> {
        match start {
            StartPosition::Latest => Ok(self.end()),
            StartPosition::Earliest => Ok(self.start()),
            StartPosition::At(time) => self
                .log
                .offset_at(time)
                .await
                .map_err(|source| BrokerError::Read { log: self.name.to_string(), source }),
        }
    }

    pub(crate) fn status(&self) -> TopicStatus {
        let LogStatus { range, bytes, segments, oldest_at, refusal, dedup_ids, dedup_bytes, lost } =
            self.log.status();
        TopicStatus {
            name: self.name.clone(),
            start: range.start,
            end: range.end,
            bytes,
            segments,
            oldest_at,
            durability: if self.is_sync.load(Ordering::Relaxed) { "sync" } else { "buffered" }.to_owned(),
            refusal,
            dedup_ids,
            dedup_bytes,
            lost: lost
                .into_iter()
                .map(|LostRecords { first, next, file, position, what }| LostEvents {
                    first,
                    next,
                    file,
                    position,
                    cause: what.to_owned(),
                })
                .collect(),
        }
    }
}

/// How a topic's options become a log's.
pub(crate) fn log_options(options: &TopicOptions) -> LogOptions {
    LogOptions {
        durability: options.durability,
        segment_bytes: options.segment_bytes,
        retention_age_ms: options.retention_age_ms,
        retention_bytes: options.retention_bytes,
        deduplication: (options.dedup_window_ms > 0).then_some(Deduplication {
            window_ms: options.dedup_window_ms,
            ids_max: options.dedup_ids_max,
            fingerprint: |payload: &Bytes| {
                Event::from_stored(payload.clone()).ok().as_ref().map(fingerprint_of)
            },
        }),
        ..LogOptions::default()
    }
}

fn fingerprint_of(event: &Event) -> u128 {
    let fingerprint = event.fingerprint();
    match event.attribute(DELIVERY_ATTRIBUTE) {
        // Spread over all bits: the low half alone would leave the table's second hash as it was.
        Some(delivery) => {
            fingerprint ^ u128::from(rapidhash_v3(delivery.as_bytes())).wrapping_mul(u128::MAX / 0x9e37_79b9)
        }
        None => fingerprint,
    }
}

/// Checks a publish against the limits; answers its bytes.
pub(crate) fn check_batch(events: &[Event], limits: &Limits) -> Result<usize, BrokerError> {
    if events.len() > limits.batch_events_max {
        return Err(BrokerError::BatchEvents { events: events.len(), limit: limits.batch_events_max });
    }
    let mut total = 0;
    for (index, event) in events.iter().enumerate() {
        let bytes = event.as_bytes().len();
        if bytes > limits.event_bytes_max {
            return Err(BrokerError::EventTooLarge { index, bytes, limit: limits.event_bytes_max });
        }
        total += bytes;
    }
    if total > limits.batch_bytes_max.max(limits.event_bytes_max) {
        return Err(BrokerError::BatchBytes { bytes: total, limit: limits.batch_bytes_max });
    }
    Ok(total)
}

/// Counts the bytes that wait for their sync, over all publishers.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicUsize);

impl InFlight {
    /// Takes room for `bytes` until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize, limit: usize) -> Result<InFlightGuard, BrokerError> {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let guard = InFlightGuard { all: Arc::clone(self), bytes };
        // One publish alone always fits: its own size was checked already.
        if before > 0 && before + bytes > limit {
            return Err(BrokerError::Overloaded { bytes: before + bytes, limit, retry_after_ms: 100 });
        }
        Ok(guard)
    }
}

/// Gives the room back.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    all: Arc<InFlight>,
    bytes: usize,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

type AppendFuture = Pin<Box<dyn Future<Output = Result<Vec<Appended>, BrokerError>> + Send>>;

/// An append under way with the room that it takes. If whoever waits for it goes, the room is given back when the append ends all the
/// same: a client that disconnects must not make room that is not there.
pub(crate) struct Appending {
    append: Option<(AppendFuture, InFlightGuard)>,
}

impl Appending {
    pub(crate) fn new(
        append: impl Future<Output = Result<Vec<Appended>, BrokerError>> + Send + 'static,
        room: InFlightGuard,
    ) -> Self {
        Self { append: Some((Box::pin(append), room)) }
    }
}

impl Future for Appending {
    type Output = Result<Vec<Appended>, BrokerError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((append, _)) = &mut self.append else { return Poll::Pending };
        let ended = append.as_mut().poll(context);
        if ended.is_ready() {
            self.append = None;
        }
        ended
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if let Some((append, room)) = self.append.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                drop(append.await);
                drop(room);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event {
        Event::builder(id, "/s", "t").build().unwrap()
    }

    #[test]
    fn a_batch_over_a_limit_is_refused_with_the_limit_and_the_value() {
        let limits = Limits { batch_events_max: 1, ..Limits::default() };
        let error = check_batch(&[event("1"), event("2")], &limits).unwrap_err();
        assert_eq!(error.to_string(), "the batch has 2 events, more than `limits.batch_events_max` of 1");
        let limits = Limits { event_bytes_max: 10, ..Limits::default() };
        assert!(matches!(
            check_batch(&[event("1")], &limits),
            Err(BrokerError::EventTooLarge { index: 0, .. })
        ));
    }

    #[test]
    fn room_is_given_back_when_the_guard_goes() {
        let all = Arc::new(InFlight::default());
        let first = all.enter(90, 100).unwrap();
        assert!(all.enter(20, 100).is_err());
        drop(first);
        assert!(all.enter(100, 100).is_ok());
    }

    #[test]
    fn dead_letters_of_one_event_differ_by_their_delivery() {
        let of = |delivery: &str| {
            fingerprint_of(&event("1").to_builder().extension(DELIVERY_ATTRIBUTE, delivery).build().unwrap())
        };
        assert_ne!(of("trigger/a/1"), of("trigger/b/1"));
        assert_eq!(of("trigger/a/1"), of("trigger/a/1"));
        assert_ne!(of("trigger/a/1"), event("1").fingerprint());
    }
}
