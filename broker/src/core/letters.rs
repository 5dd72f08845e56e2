//! Finding dead letters: an index over the records of the dead-letter topics, and the marks that say which were redriven or purged.
//!
//! The truth is in the logs: dead letters in their topics, marks in a log of the broker's own. The index holds a row for each
//! dead letter, and how far each log was read into it, so that it is rebuilt where it is missing and brought up to date where it
//! is behind.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use eventail_storage::DiskStore;
use eventail_storage::index::{Index, IndexBatch, IndexError};
use eventail_storage::log::{
    Durability, Log, LogOptions, NewRecord, ReadError, ReadLimit, read_what_is_left,
};
use eventail_wire::{Event, Offset, TopicName};
use serde::{Deserialize, Serialize};

use super::letter;
use super::open::open_log;
use super::{BrokerError, Core, blocking};
use crate::status::{DeadLetter, DeadLetterFilter, DeadLetterSummary};

/// The internal log of marks.
const MARKS_LOG: &str = "_dead-letter-marks";
/// Rows of dead letters: this, the topic, 0, the offset (big-endian).
const ROW_PREFIX: &[u8] = b"letter/";
/// Marks: this, the topic, 0, the offset. They stand apart from the rows, so that a row may be written again at any time.
const MARK_PREFIX: &[u8] = b"letter-mark/";
/// How far a log was read: this and the log's name.
const APPLIED_PREFIX: &[u8] = b"letters-applied/";
/// What one read takes at most.
const READ_LIMIT: ReadLimit = ReadLimit { records: 1024, bytes: 4 << 20 };

/// What happened to a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mark {
    /// It was handed to its trigger again.
    Redriven,
    /// It is not wanted any more.
    Purged,
}

/// A mark as the log holds it.
#[derive(Serialize, Deserialize)]
struct MarkRecord {
    topic: TopicName,
    offset: Offset,
    mark: Mark,
}

/// The dead letters of all topics.
pub(crate) struct Letters {
    index: Arc<dyn Index>,
    marks: Arc<dyn Log>,
    /// Held while a letter is looked at, handed on and marked: two redrives of one letter must not both do it.
    marking: tokio::sync::Mutex<()>,
}

/// What is marked of one dead letter.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Marks {
    redriven: u32,
    purged: bool,
}

impl Letters {
    pub(crate) async fn open(store: &Arc<DiskStore>, index: Arc<dyn Index>) -> Result<Self, BrokerError> {
        let options =
            LogOptions { durability: Durability::Sync, segment_bytes: 16 << 20, ..LogOptions::default() };
        let marks = open_log(store, MARKS_LOG.to_owned(), options).await?;
        Ok(Self { index, marks, marking: tokio::sync::Mutex::default() })
    }

    /// Reads into the index what the logs have and it has not.
    pub(crate) async fn catch_up(&self, core: &Core) -> Result<(), BrokerError> {
        let config = core.config();
        let mut topics: BTreeSet<&TopicName> =
            config.triggers.values().map(|trigger| &trigger.dead_letter_topic).collect();
        let subscribers = super::subscriber::dead_letter_topic()?;
        topics.insert(&subscribers);
        for name in topics {
            let Some(topic) = core.topics.get(name) else { continue };
            self.apply_log(topic.log.as_ref(), |record, batch| {
                let Ok(event) = Event::from_stored(record.payload.clone()) else { return };
                if let Some(letter) = letter::read(name, record.offset, record.appended_at, &event) {
                    batch.put(row_key(name, record.offset), encode(&letter.summary));
                }
            })
            .await?;
        }
        self.apply_marks().await
    }

    /// Adds a dead letter that was just written.
    pub(crate) fn note(&self, summary: &DeadLetterSummary) -> Result<(), BrokerError> {
        let mut batch = IndexBatch::default();
        batch.put(row_key(&summary.topic, summary.offset), encode(summary));
        Ok(self.index.apply(batch)?)
    }

    /// Dead letters that the filter chooses, in order.
    pub(crate) async fn list(
        &self,
        core: &Core,
        filter: &DeadLetterFilter,
        after: Option<(TopicName, Offset)>,
        limit: usize,
    ) -> Result<Vec<DeadLetterSummary>, BrokerError> {
        let prefix = match &filter.topic {
            Some(topic) => topic_prefix(ROW_PREFIX, topic),
            None => ROW_PREFIX.to_vec(),
        };
        let from = after.map(|(topic, offset)| row_key(&topic, offset.plus(1)));
        let (index, filter) = (Arc::clone(&self.index), filter.clone());
        let starts: std::collections::BTreeMap<TopicName, Offset> =
            core.topics.all().iter().map(|topic| (topic.name.clone(), topic.start())).collect();
        let scan = move || {
            let marks = all_marks(index.as_ref())?;
            let mut found = Vec::new();
            index.scan(&prefix, from.as_deref(), &mut |key, value| {
                if let Ok(summary) = rmp_serde::from_slice::<DeadLetterSummary>(value)
                    && starts.get(&summary.topic).is_some_and(|start| summary.offset >= *start)
                {
                    let marks = marks.get(&key[ROW_PREFIX.len()..]).copied().unwrap_or_default();
                    found.extend(chosen(&filter, summary.marked(marks)));
                }
                found.len() < limit
            })?;
            Ok(found)
        };
        blocking::run(self.index.may_block(), scan).await?
    }

    /// One dead letter with its event.
    pub(crate) async fn show(
        &self,
        core: &Core,
        topic: &TopicName,
        offset: Offset,
    ) -> Result<DeadLetter, BrokerError> {
        let unknown = || BrokerError::UnknownDeadLetter { topic: topic.clone(), offset };
        let stored = self.stored(core, topic, offset).await?;
        let event = letter::event_of(&stored).ok_or_else(unknown)?;
        let row = self.index.get(&row_key(topic, offset))?.ok_or_else(unknown)?;
        let summary: DeadLetterSummary = rmp_serde::from_slice(&row).map_err(|_| unknown())?;
        let summary = summary.marked(self.marks_of(topic, offset)?);
        if summary.purged { Err(unknown()) } else { Ok(DeadLetter { summary, event }) }
    }

    /// A dead letter's record as it lies in its topic.
    pub(crate) async fn stored(
        &self,
        core: &Core,
        topic: &TopicName,
        offset: Offset,
    ) -> Result<Event, BrokerError> {
        let unknown = || BrokerError::UnknownDeadLetter { topic: topic.clone(), offset };
        let topic = core.topics.get(topic).ok_or_else(unknown)?;
        let records =
            topic.log.read(offset, ReadLimit { records: 1, bytes: 1 }).await.map_err(
                |source| match source {
                    ReadError::Trimmed { .. } => unknown(),
                    source => BrokerError::Read { log: topic.name.to_string(), source },
                },
            )?;
        let record =
            records.into_iter().next().filter(|record| record.offset == offset).ok_or_else(unknown)?;
        let event = Event::from_stored(record.payload).map_err(|_| unknown())?;
        if letter::origin_of(&event).is_some() { Ok(event) } else { Err(unknown()) }
    }

    /// Lets nobody else mark until the guard goes.
    pub(crate) async fn marking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.marking.lock().await
    }

    /// How often a dead letter was redriven; `None` where it was purged.
    pub(crate) fn redriven(&self, topic: &TopicName, offset: Offset) -> Result<Option<u32>, BrokerError> {
        let marks = self.marks_of(topic, offset)?;
        Ok((!marks.purged).then_some(marks.redriven))
    }

    /// Marks a dead letter, durably. Hold [`Letters::marking`].
    pub(crate) async fn mark(
        &self,
        topic: &TopicName,
        offset: Offset,
        mark: Mark,
    ) -> Result<(), BrokerError> {
        let marked = MarkRecord { topic: topic.clone(), offset, mark };
        let record = NewRecord { payload: Bytes::from(encode(&marked)), fingerprint: None };
        let appended = self.marks.append(vec![record]).await;
        appended.map_err(|source| BrokerError::Append { log: MARKS_LOG.to_owned(), source })?;
        // Before this one there may be marks whose writers did not stay to learn that they were written.
        self.apply_marks().await
    }

    /// Reads the marks into the index that it has not.
    async fn apply_marks(&self) -> Result<(), BrokerError> {
        self.apply_log(self.marks.as_ref(), |record, batch| {
            if let Ok(marked) = rmp_serde::from_slice::<MarkRecord>(&record.payload)
                && let Err(error) = self.apply_mark(&marked, batch)
            {
                tracing::warn!(%error, "a mark of a dead letter was not indexed");
            }
        })
        .await
    }

    /// Takes what retention took out of the index too.
    pub(crate) fn forget_before(
        index: &dyn Index,
        topic: &TopicName,
        start: Offset,
    ) -> Result<(), BrokerError> {
        let mut batch = IndexBatch::default();
        for prefix in [ROW_PREFIX, MARK_PREFIX] {
            let limit = key_of(prefix, topic, start);
            index.scan(&topic_prefix(prefix, topic), None, &mut |key, _| {
                let is_gone = key < limit.as_slice();
                if is_gone {
                    batch.delete(key.to_vec());
                }
                is_gone
            })?;
        }
        Ok(index.apply(batch)?)
    }

    fn marks_of(&self, topic: &TopicName, offset: Offset) -> Result<Marks, BrokerError> {
        Ok(marks_in(self.index.as_ref(), topic, offset)?)
    }

    fn apply_mark(&self, marked: &MarkRecord, batch: &mut IndexBatch) -> Result<(), BrokerError> {
        let key = key_of(MARK_PREFIX, &marked.topic, marked.offset);
        let mut marks = match batch.pending(&key) {
            Some(row) => rmp_serde::from_slice(row).unwrap_or_default(),
            None => self.marks_of(&marked.topic, marked.offset)?,
        };
        match marked.mark {
            Mark::Redriven => marks.redriven += 1,
            Mark::Purged => marks.purged = true,
        }
        batch.put(key, encode(&marks));
        Ok(())
    }

    async fn apply_log(
        &self,
        log: &dyn Log,
        mut apply: impl FnMut(&eventail_storage::log::Record, &mut IndexBatch),
    ) -> Result<(), BrokerError> {
        let key = applied_key(log.name());
        let applied =
            self.index.get(&key)?.and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?)));
        let mut from = Offset(applied.unwrap_or(0)).max(log.status().range.start);
        loop {
            let records = read_what_is_left(log, from, READ_LIMIT)
                .await
                .map_err(|source| BrokerError::Read { log: log.name().to_owned(), source })?;
            let Some(last) = records.last() else { return Ok(()) };
            from = last.offset.plus(1);
            let mut batch = IndexBatch::default();
            records.iter().for_each(|record| apply(record, &mut batch));
            batch.put(key.clone(), from.0.to_be_bytes().to_vec());
            self.index.apply(batch)?;
        }
    }
}

impl DeadLetterSummary {
    fn marked(mut self, marks: Marks) -> Self {
        self.redriven = marks.redriven;
        self.purged = marks.purged;
        self
    }
}

/// Every mark, by what its key shares with the key of its row. Few dead letters bear one.
fn all_marks(index: &dyn Index) -> Result<HashMap<Vec<u8>, Marks>, IndexError> {
    let mut marks = HashMap::new();
    index.scan(MARK_PREFIX, None, &mut |key, value| {
        marks.insert(key[MARK_PREFIX.len()..].to_vec(), rmp_serde::from_slice(value).unwrap_or_default());
        true
    })?;
    Ok(marks)
}

fn marks_in(index: &dyn Index, topic: &TopicName, offset: Offset) -> Result<Marks, IndexError> {
    let row = index.get(&key_of(MARK_PREFIX, topic, offset))?;
    Ok(row.and_then(|row| rmp_serde::from_slice(&row).ok()).unwrap_or_default())
}

fn chosen(filter: &DeadLetterFilter, summary: DeadLetterSummary) -> Option<DeadLetterSummary> {
    let DeadLetterFilter {
        topic,
        offset,
        origin_topic,
        trigger,
        reason,
        event_id,
        since,
        until,
        include_redriven,
    } = filter;
    let is_chosen = !summary.purged
        && (*include_redriven || summary.redriven == 0)
        && topic.as_ref().is_none_or(|topic| summary.topic == *topic)
        && offset.is_none_or(|offset| summary.offset == offset)
        && origin_topic.as_ref().is_none_or(|origin| summary.origin_topic == *origin)
        && trigger.as_ref().is_none_or(|trigger| summary.trigger == *trigger)
        && reason.is_none_or(|reason| summary.reason == reason)
        && event_id.as_ref().is_none_or(|id| summary.event_id == *id)
        && since.is_none_or(|since| summary.at >= since)
        && until.is_none_or(|until| summary.at < until);
    is_chosen.then_some(summary)
}

fn topic_prefix(prefix: &[u8], topic: &TopicName) -> Vec<u8> {
    [prefix, topic.as_str().as_bytes(), &[0]].concat()
}

fn key_of(prefix: &[u8], topic: &TopicName, offset: Offset) -> Vec<u8> {
    [&topic_prefix(prefix, topic)[..], &offset.0.to_be_bytes()].concat()
}

fn row_key(topic: &TopicName, offset: Offset) -> Vec<u8> {
    key_of(ROW_PREFIX, topic, offset)
}

fn applied_key(log: &str) -> Vec<u8> {
    [APPLIED_PREFIX, log.as_bytes()].concat()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("plain data always encodes into memory")
}
