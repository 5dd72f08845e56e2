//! Finding events by their id.
//!
//! The index has short hashes of the ids of each whole block of consecutive events, written behind the publishers and never in their
//! way; those of the events behind the last whole block of a topic are held in memory ([`Tail`]), and brought up to the topic's end by
//! whoever looks something up. What the hashes point at is read and compared, so a chance collision costs a read and no wrong answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use eventail_storage::index::event_ids::{self, EventIds};
use eventail_storage::index::{Index, MemoryIndex, SledIndex};
use eventail_storage::log::{ReadError, ReadLimit, Record};
use eventail_wire::{Event, Offset, TopicName};
use tokio::sync::Notify;

use super::letters::Letters;
use super::topic::Topic;
use super::{BrokerError, Core, blocking};
use crate::status::EventPlace;

/// Bytes that one read of a log takes at most.
const READ_BYTES: usize = 4 << 20;

/// Finds events by their id.
pub(crate) struct Lookup {
    index: Arc<dyn Index>,
    ids: Arc<EventIds>,
    wake: Arc<Notify>,
    /// At most a block of hashes for each topic.
    tails: Mutex<HashMap<TopicName, Arc<tokio::sync::Mutex<Tail>>>>,
}

/// The ids of a topic that are not in the index.
#[derive(Default)]
struct Tail {
    /// The first offset that is not in the index, a block's first; `None` until the index was asked.
    from: Option<Offset>,
    /// The hashes of the ids from there on.
    hashes: Vec<u32>,
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
        Self { index, ids, wake: Arc::new(Notify::new()), tails: Mutex::default() }
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
        let hash = event_ids::hash(id);
        let mut of_topics = Vec::new();
        for topic in core.topics.all() {
            let tail = self.tail(&topic.name);
            let mut tail = tail.lock().await;
            let end = topic.end();
            while self.extend(&topic, &mut tail, end).await? {}
            let from = tail.from.unwrap_or_default();
            let matching = tail.hashes.iter().zip(0..).filter(|(other, _)| **other == hash);
            let candidates: Vec<Offset> = matching.map(|(_, place)| from.plus(place)).collect();
            let is_indexed = from > topic.start();
            if is_indexed || !candidates.is_empty() {
                of_topics.push((topic, is_indexed, candidates));
            }
        }
        // After the tails: what went from one to the index meanwhile is met twice, and not missed.
        let ids = Arc::clone(&self.ids);
        let of_topics = blocking::run(self.index.may_block(), move || {
            for (topic, _, candidates) in of_topics.iter_mut().filter(|(_, is_indexed, _)| *is_indexed) {
                candidates.extend(ids.candidates(topic.name.as_str(), hash)?);
                candidates.sort_unstable();
                candidates.dedup();
            }
            Ok::<_, BrokerError>(of_topics)
        })
        .await??;
        let mut places = Vec::new();
        for (topic, _, candidates) in of_topics {
            for offset in candidates {
                places.extend(look(&topic, offset, id).await?);
            }
        }
        Ok(places)
    }

    fn tail(&self, topic: &TopicName) -> Arc<tokio::sync::Mutex<Tail>> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        match tails.get(topic) {
            Some(tail) => Arc::clone(tail),
            None => Arc::clone(tails.entry(topic.clone()).or_default()),
        }
    }

    /// Takes in events before `end`, and indexes the block where it is whole then; `false` where all of them are in.
    async fn extend(&self, topic: &Topic, tail: &mut Tail, end: Offset) -> Result<bool, BrokerError> {
        let from = self.place(topic, tail, end).await?;
        let at = from.plus(tail.hashes.len() as u64);
        if at >= end {
            return Ok(false);
        }
        let missing = event_ids::BLOCK.saturating_sub(tail.hashes.len() as u64).min(end.since(at));
        let limit = ReadLimit { records: usize::try_from(missing).unwrap_or(usize::MAX), bytes: READ_BYTES };
        let hash_of = |payload| Event::from_stored(payload).map_or(0, |event| event_ids::hash(event.id()));
        match read(topic, at, limit).await? {
            Found::Records(records) if records.is_empty() => return Ok(false),
            Found::Records(records) => {
                tail.hashes.extend(records.into_iter().map(|record| hash_of(record.payload)));
            }
            Found::Trimmed => return Ok(true),
            // As what retention took: a place, and no id.
            Found::Lost { next } => {
                let lost = usize::try_from(next.since(at).min(missing)).unwrap_or(usize::MAX);
                tail.hashes.resize(tail.hashes.len() + lost, 0);
            }
        }
        if tail.hashes.len() as u64 >= event_ids::BLOCK {
            let hashes = std::mem::take(&mut tail.hashes);
            // Asked anew should it fail.
            tail.from = None;
            let (ids, log) = (Arc::clone(&self.ids), topic.name.to_string());
            blocking::run(self.index.may_block(), move || ids.add_block(&log, from, &hashes)).await??;
            tail.from = Some(from.plus(event_ids::BLOCK));
        }
        Ok(true)
    }

    /// Where the tail begins, after what happened to the topic meanwhile.
    async fn place(&self, topic: &Topic, tail: &mut Tail, end: Offset) -> Result<Offset, BrokerError> {
        let (ids, log) = (Arc::clone(&self.ids), topic.name.to_string());
        let mut from = match tail.from {
            Some(from) => from,
            None => blocking::run(self.index.may_block(), move || ids.indexed_to(&log)).await??,
        };
        if from > end.max(topic.end()) {
            // Another log is in the place of the one that was indexed.
            let (ids, log) = (Arc::clone(&self.ids), topic.name.to_string());
            blocking::run(self.index.may_block(), move || ids.forget(&log)).await??;
            (from, tail.hashes) = (Offset(0), Vec::new());
        }
        let start = topic.start();
        if start.since(from) >= event_ids::BLOCK {
            (from, tail.hashes) = (Offset(start.0 - start.0 % event_ids::BLOCK), Vec::new());
        }
        // What retention took has a place, and no id.
        let gone = usize::try_from(start.since(from)).unwrap_or(usize::MAX);
        if tail.hashes.len() < gone {
            tail.hashes.resize(gone, 0);
        }
        tail.from = Some(from);
        Ok(from)
    }

    /// Indexes every whole block that a topic has and the index has not; the rest too, if it is to be at hand.
    async fn follow(
        &self,
        topic: &Topic,
        with_rest: bool,
        ended: &tokio::sync::watch::Receiver<bool>,
    ) -> Result<(), BrokerError> {
        let tail = self.tail(&topic.name);
        while !*ended.borrow() {
            // Let go of after each block: a look-up waits for one at most.
            let mut tail = tail.lock().await;
            let end = topic.end();
            let from = self.place(topic, &mut tail, end).await?;
            let is_due = with_rest || end.since(from) >= event_ids::BLOCK;
            if !is_due || !self.extend(topic, &mut tail, end).await? {
                break;
            }
            let indexed = tail.from.filter(|indexed| *indexed > from);
            drop(tail);
            if let Some(indexed) = indexed {
                let (ids, log) = (Arc::clone(&self.ids), topic.name.to_string());
                blocking::run(self.index.may_block(), move || ids.merge(&log, indexed)).await??;
            }
        }
        Ok(())
    }
}

/// What is stored from an offset on.
enum Found {
    Records(Vec<Record>),
    /// Retention took it meanwhile.
    Trimmed,
    /// It is damaged up to there.
    Lost {
        next: Offset,
    },
}

async fn read(topic: &Topic, at: Offset, limit: ReadLimit) -> Result<Found, BrokerError> {
    if let Some(records) = topic.log.read_tail(at, limit) {
        return Ok(Found::Records(records));
    }
    match topic.log.read(at, limit).await {
        Ok(records) => Ok(Found::Records(records)),
        Err(ReadError::Trimmed { .. }) => Ok(Found::Trimmed),
        Err(ReadError::Corrupt { next, .. }) => Ok(Found::Lost { next }),
        Err(source) => Err(BrokerError::Read { log: topic.name.to_string(), source }),
    }
}

/// The event at an offset, where it has this id.
async fn look(topic: &Topic, offset: Offset, id: &str) -> Result<Option<EventPlace>, BrokerError> {
    let found = read(topic, offset, ReadLimit { records: 1, bytes: 1 }).await?;
    let Found::Records(records) = found else { return Ok(None) };
    let Some(record) = records.into_iter().next() else { return Ok(None) };
    let event = Event::from_stored(record.payload).ok().filter(|event| event.id() == id);
    Ok(event.map(|event| {
        let (topic, source) = (topic.name.clone(), event.source().to_owned());
        EventPlace { topic, offset: record.offset, source }
    }))
}

impl Core {
    /// Takes what retention took out of the index too, and brings the index to disk, so that a start after a crash rebuilds little.
    pub(crate) async fn tidy_index(&self) {
        let (ids, index) = (Arc::clone(&self.lookup.ids), Arc::clone(&self.lookup.index));
        let starts: Vec<_> =
            self.topics.all().iter().map(|topic| (topic.name.clone(), topic.start())).collect();
        let tidied = blocking::run(index.may_block(), move || {
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
        let (core, ended) = (Arc::downgrade(self), self.ended.subscribe());
        self.tasks.spawn_below_again("indexing", move || index(Weak::clone(&core), ended.clone()));
    }
}

async fn index(core: Weak<Core>, mut ended: tokio::sync::watch::Receiver<bool>) {
    let Some(alive) = core.upgrade() else { return };
    let (ids, wake) = (Arc::clone(&alive.lookup.ids), Arc::clone(&alive.lookup.wake));
    let may_block = alive.lookup.index.may_block();
    drop(alive);
    match blocking::run(may_block, move || ids.forget_old_layouts()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "event ids of an earlier version stay in the index"),
        Err(error) => tracing::warn!(%error, "event ids of an earlier version stay in the index"),
    }
    // The first look-up finds the topics' ends at hand.
    let mut with_rest = true;
    loop {
        let Some(alive) = core.upgrade() else { return };
        for topic in alive.topics.all() {
            if let Err(error) = alive.lookup.follow(&topic, with_rest, &ended).await {
                tracing::warn!(topic = %topic.name, %error, "event ids are not indexed; look-ups by id do it");
            }
        }
        with_rest = false;
        drop(alive);
        tokio::select! {
            biased;
            () = wake.notified() => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
    }
}
