//! Finding events by their id.
//!
//! The index holds a row for each block of consecutive events with a short hash of every id, written behind the publishers and
//! never in their way; the events behind the last whole block are looked through one by one. What the hashes point at is read
//! and compared, so a chance collision costs a read and no wrong answer.

use std::path::PathBuf;
use std::sync::Arc;

use eventail_storage::index::event_ids::{self, EventIds};
use eventail_storage::index::{Index, MemoryIndex, SledIndex};
use eventail_storage::log::{ReadError, ReadLimit};
use eventail_wire::{Event, Offset};
use tokio::sync::Notify;

use super::letters::Letters;
use super::topic::Topic;
use super::{BrokerError, Core};
use crate::status::EventPlace;

/// Finds events by their id.
pub(crate) struct Lookup {
    index: Arc<dyn Index>,
    ids: Arc<EventIds>,
    wake: Arc<Notify>,
}

/// Opens the index; one that cannot be read is put aside, and everything in it is rebuilt from the logs.
pub(super) async fn open_index(dir: PathBuf) -> Result<Arc<dyn Index>, BrokerError> {
    let opened = tokio::task::spawn_blocking(move || SledIndex::open(&dir)).await?;
    match opened {
        Ok(index) => Ok(Arc::new(index)),
        Err(error) => {
            // Nothing was ever acknowledged because of the index, so the broker can do without the disk for it.
            tracing::error!(%error, "the index cannot be kept on disk; it is held in memory until the next start");
            Ok(Arc::new(MemoryIndex::default()))
        }
    }
}

impl Lookup {
    pub(crate) fn new(index: Arc<dyn Index>) -> Self {
        let ids = Arc::new(EventIds::new(Arc::clone(&index)));
        Self { index, ids, wake: Arc::new(Notify::new()) }
    }

    /// Notes that a topic has grown.
    pub(crate) fn appended(&self, last: Option<Offset>, events: usize) {
        let crossed = last.is_some_and(|last| (last.0 + 1) % event_ids::BLOCK < events as u64);
        if crossed {
            self.wake.notify_one();
        }
    }

    /// Where events with this id are, in all topics.
    pub(crate) async fn find(&self, core: &Core, id: &str) -> Result<Vec<EventPlace>, BrokerError> {
        let mut places = Vec::new();
        for topic in core.topics.all() {
            let (ids, log, hash) = (Arc::clone(&self.ids), topic.name.to_string(), event_ids::hash(id));
            let (indexed, candidates) = tokio::task::spawn_blocking(move || {
                Ok::<_, BrokerError>((ids.indexed_to(&log)?, ids.candidates(&log, hash)?))
            })
            .await??;
            for offset in candidates {
                look(&topic, offset, offset.plus(1), id, &mut places).await?;
            }
            look(&topic, indexed.max(topic.start()), topic.end(), id, &mut places).await?;
        }
        Ok(places)
    }
}

/// Looks through `from..end` for events with this id.
async fn look(
    topic: &Topic,
    from: Offset,
    end: Offset,
    id: &str,
    places: &mut Vec<EventPlace>,
) -> Result<(), BrokerError> {
    let mut at = from;
    while at < end {
        let records = usize::try_from(end.since(at)).unwrap_or(usize::MAX).min(1024);
        let records = match topic.log.read(at, ReadLimit { records, bytes: 4 << 20 }).await {
            Ok(records) => records,
            // Retention took it meanwhile.
            Err(ReadError::Trimmed { .. }) => return Ok(()),
            Err(source) => return Err(BrokerError::Read { log: topic.name.to_string(), source }),
        };
        let Some(last) = records.last() else { return Ok(()) };
        at = last.offset.plus(1);
        for record in records {
            if let Ok(event) = Event::from_stored(record.payload)
                && event.id() == id
            {
                let (topic, source) = (topic.name.clone(), event.source().to_owned());
                places.push(EventPlace { topic, offset: record.offset, source });
            }
        }
    }
    Ok(())
}

impl Core {
    /// Takes what retention took out of the index too, and brings the index to disk, so that a start after a crash rebuilds little.
    pub(crate) async fn tidy_index(&self) {
        let (ids, index) = (Arc::clone(&self.lookup.ids), Arc::clone(&self.lookup.index));
        let starts: Vec<_> =
            self.topics.all().iter().map(|topic| (topic.name.clone(), topic.start())).collect();
        let tidied = tokio::task::spawn_blocking(move || {
            for (topic, start) in starts.iter().filter(|(_, start)| *start > Offset(0)) {
                ids.trim(topic.as_str(), *start)?;
                Letters::forget_before(index.as_ref(), topic, *start)?;
            }
            index.flush()?;
            Ok::<_, BrokerError>(())
        })
        .await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "the index was not brought to disk");
        }
    }

    /// Lets the index follow the topics.
    pub(crate) fn start_indexing(self: &Arc<Self>) {
        let core = Arc::downgrade(self);
        let (ids, wake) = (Arc::clone(&self.lookup.ids), Arc::clone(&self.lookup.wake));
        let mut ended = self.ended.subscribe();
        self.tasks.spawn_below("indexing", async move {
            loop {
                let Some(alive) = core.upgrade() else { return };
                for topic in alive.topics.all() {
                    if let Err(error) = index_topic(&ids, &topic, &ended).await {
                        tracing::warn!(topic = %topic.name, %error, "event ids are not indexed; look-ups by id read the log");
                    }
                }
                drop(alive);
                tokio::select! {
                    () = wake.notified() => {}
                    _ = ended.wait_for(|ended| *ended) => return,
                }
            }
        });
    }
}

/// Indexes every whole block that the topic has and the index has not.
async fn index_topic(
    ids: &Arc<EventIds>,
    topic: &Topic,
    ended: &tokio::sync::watch::Receiver<bool>,
) -> Result<(), BrokerError> {
    let mut from = ids.indexed_to(topic.name.as_str())?;
    let first_kept = Offset(topic.start().0.next_multiple_of(event_ids::BLOCK));
    from = from.max(first_kept);
    while from.plus(event_ids::BLOCK) <= topic.end() && !*ended.borrow() {
        let mut hashes = Vec::with_capacity(usize::try_from(event_ids::BLOCK).unwrap_or(0));
        while (hashes.len() as u64) < event_ids::BLOCK {
            let at = from.plus(hashes.len() as u64);
            let missing = usize::try_from(event_ids::BLOCK).unwrap_or(usize::MAX) - hashes.len();
            let limit = ReadLimit { records: missing, bytes: 4 << 20 };
            let records = match topic.log.read_tail(at, limit) {
                Some(records) => records,
                None => topic
                    .log
                    .read(at, limit)
                    .await
                    .map_err(|source| BrokerError::Read { log: topic.name.to_string(), source })?,
            };
            if records.is_empty() {
                return Ok(());
            }
            hashes.extend(records.into_iter().map(|record| {
                Event::from_stored(record.payload).map_or(0, |event| event_ids::hash(event.id()))
            }));
        }
        let (ids, log) = (Arc::clone(ids), topic.name.to_string());
        tokio::task::spawn_blocking(move || ids.add_block(&log, from, &hashes)).await??;
        from = from.plus(event_ids::BLOCK);
    }
    Ok(())
}
