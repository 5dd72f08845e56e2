//! The timeline: what happened to every event at every trigger, for people who ask why.
//!
//! Lanes put steps down in memory ([`Track`]); a task writes them behind the deliveries as pages of the internal log `_timeline`, and
//! indexes whole blocks of pages. Nothing depends on it: while the log cannot be written or does not keep up, steps are counted as
//! dropped and deliveries go on. A `kill -9` loses what was put down in the last moments ([`GATHER`]).
//!
//! The log is bounded by `timeline.bytes_max`, whole segments at a time. The index is rebuilt from it; until that is done a look-up
//! reads the pages that are not indexed one by one, so the answer is the same.

mod index;
mod page;
mod step;
mod story;

mod track;
mod why;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use eventail_storage::DiskStore;
use eventail_storage::index::Index;
use eventail_storage::log::{
    Durability, Log, LogOptions, NewRecord, ReadError, ReadLimit, Record, read_what_is_left,
};
use eventail_wire::{Clock, Offset, Timestamp, TopicName, TriggerName};
use tokio::sync::watch;

use self::index::{BUCKET, Block, LANE_BUCKET, PageIndex, Touched};
use self::page::Placed;
use self::track::Shared;
use super::open::open_log;
use super::{BrokerError, Core, blocking};
use crate::config::TimelineOptions;

pub(crate) use step::Step;

#[cfg(test)]
pub(crate) use track::HELD_BYTES_MAX;
pub(crate) use track::{AttemptEnded, Track};

/// The name of the internal log.
pub(crate) const TIMELINE_LOG: &str = "_timeline";
/// How long steps are gathered while many come. The first one after a pause is written at once.
const GATHER: Duration = Duration::from_millis(100);
/// Bytes that one append takes: far below what a batch of the log can hold.
const APPEND_BYTES: usize = 4 << 20;
/// Pages of a block of the index at most.
const BLOCK_PAGES: usize = 64;
/// When a block is full before that.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that are indexed before the task looks at what came meanwhile.
const INDEX_TURN: usize = 64;
/// The largest segments of the log, and how many it has at least: it lets go of whole ones.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
const SEGMENTS_MIN: u64 = 8;
/// The smallest segment that a log takes.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Blocks with what happened to triggers that one look-up reads, the latest ones.
const LANE_BLOCKS_MAX: usize = 32;

/// A step that a look-up found, and the lane that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) lane: String,
    /// Empty where it is the topic's.
    pub(crate) trigger: String,
    pub(crate) at: Timestamp,
    pub(crate) step: Step,
}

/// What happened to events.
pub(crate) struct Timeline {
    shared: Arc<Shared>,
    kept: Option<Kept>,
}

/// What it is kept in.
struct Kept {
    log: Arc<dyn Log>,
    index: Arc<PageIndex>,
    topics: Mutex<HashMap<TopicName, Arc<Track>>>,
    /// Held by whoever appends: what a look-up waits for has to be written when it gets on.
    appending: tokio::sync::Mutex<()>,
}

impl Timeline {
    /// Opens the log, where there is to be one.
    pub(crate) async fn open(
        store: &Arc<DiskStore>,
        index: Arc<dyn Index>,
        options: &TimelineOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        let shared = Arc::new(Shared::new(clock));
        if !options.enabled {
            return Ok(Self { shared, kept: None });
        }
        let log_options = LogOptions {
            durability: Durability::Buffered,
            segment_bytes: (options.bytes_max / SEGMENTS_MIN).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            retention_bytes: Some(options.bytes_max),
            ..LogOptions::default()
        };
        let log = open_log(store, TIMELINE_LOG.to_owned(), log_options).await?;
        let kept = Kept {
            log,
            index: Arc::new(PageIndex::new(index)),
            topics: Mutex::default(),
            appending: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared, kept: Some(kept) })
    }

    /// Whether anything is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Bytes that wait to be written.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.shared.held()
    }

    /// Where a lane puts its steps down, if they are to be kept.
    pub(crate) fn track(
        &self,
        lane: &Arc<str>,
        topic: &TopicName,
        trigger: &TriggerName,
    ) -> Option<Arc<Track>> {
        self.kept.as_ref()?;
        Some(Track::new(&self.shared, lane, topic.as_str(), trigger.as_str()))
    }

    /// Puts down that an event was published again.
    pub(crate) fn duplicate(&self, topic: &TopicName, first: Offset) {
        let Some(kept) = &self.kept else { return };
        let track = {
            let mut topics = kept.topics.lock().unwrap_or_else(PoisonError::into_inner);
            let track = topics.entry(topic.clone());
            let lane = || Arc::from(format!("topic/{topic}"));
            Arc::clone(track.or_insert_with(|| Track::new(&self.shared, &lane(), topic.as_str(), "")))
        };
        track.event(first, &Step::Duplicate);
    }

    /// Writes what waits. What cannot be written is counted and forgotten.
    async fn append(&self) {
        let Some(kept) = &self.kept else { return };
        let _one_at_a_time = kept.appending.lock().await;
        let (mut part, mut part_bytes, mut part_steps) = (Vec::new(), 0, 0);
        let mut pages = self.shared.take().into_iter().peekable();
        while let Some((page, steps)) = pages.next() {
            part_bytes += page.len();
            part_steps += steps;
            part.push(NewRecord { payload: Bytes::from(page), fingerprint: None });
            if part_bytes < APPEND_BYTES && pages.peek().is_some() {
                continue;
            }
            match kept.log.append(std::mem::take(&mut part)).await {
                Ok(_) => self.shared.metrics.written.increment(part_steps),
                Err(error) => {
                    tracing::warn!(%error, steps = part_steps, "what happened to events was not noted; deliveries go on");
                    self.shared.metrics.dropped.increment(part_steps);
                }
            }
            (part_bytes, part_steps) = (0, 0);
        }
    }

    /// Every step that is kept of one event, in the order in which they were put down.
    pub(crate) async fn of_event(
        &self,
        topic: &TopicName,
        offset: Offset,
    ) -> Result<Vec<Found>, BrokerError> {
        let blocks = self.blocks(topic, offset.0 / BUCKET).await?;
        self.search(topic, blocks, |place| place == Some(offset)).await
    }

    /// What happened to the triggers of a topic since then, as far as it is kept; the latest where it is much. It may lie ahead of a
    /// clock that was set back.
    pub(crate) async fn of_lanes(
        &self,
        topic: &TopicName,
        from: Timestamp,
    ) -> Result<Vec<Found>, BrokerError> {
        let mut blocks = self.blocks(topic, LANE_BUCKET).await?;
        blocks.retain(|block| block.latest >= from);
        let many = blocks.len().saturating_sub(LANE_BLOCKS_MAX);
        let mut found = self.search(topic, blocks.split_off(many), |place| place.is_none()).await?;
        found.retain(|found| found.at >= from);
        Ok(found)
    }

    /// The blocks of a bucket, and all that is not indexed yet as one more.
    async fn blocks(&self, topic: &TopicName, bucket: u64) -> Result<Vec<Block>, BrokerError> {
        let Some(kept) = &self.kept else { return Ok(Vec::new()) };
        self.append().await;
        let (index, topic, range) = (Arc::clone(&kept.index), topic.to_string(), kept.log.status().range);
        blocking::run(index.may_block(), move || {
            // First what is indexed: what is added between is read twice by nobody, since blocks end there.
            let applied = index.applied()?.clamp(range.start, range.end);
            let mut blocks = index.blocks(range.start..applied, &topic, bucket)?;
            blocks.retain(|block| block.first < applied);
            if applied < range.end {
                let latest = Timestamp(u64::MAX);
                blocks.push(Block { first: applied, pages: range.end.since(applied), latest });
            }
            Ok(blocks)
        })
        .await?
    }

    /// Reads blocks, and the steps in them that are wanted.
    async fn search(
        &self,
        topic: &TopicName,
        blocks: Vec<Block>,
        wanted: impl Fn(Option<Offset>) -> bool,
    ) -> Result<Vec<Found>, BrokerError> {
        let Some(kept) = &self.kept else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for block in blocks {
            let (mut at, end) =
                (block.first.max(kept.log.status().range.start), block.first.plus(block.pages));
            while at < end {
                let pages = kept.read(at, end).await?;
                let Some(last) = pages.last() else { break };
                at = last.offset.plus(1);
                for page in &pages {
                    search_page(page, topic, &wanted, &mut all);
                }
            }
        }
        Ok(all)
    }

    /// Indexes whole blocks, not too many at once; `true` where there are more.
    async fn index(&self) -> Result<bool, BrokerError> {
        let Some(kept) = &self.kept else { return Ok(false) };
        for _ in 0..INDEX_TURN {
            let range = kept.log.status().range;
            let index = Arc::clone(&kept.index);
            let from = blocking::run(index.may_block(), move || index.applied()).await??;
            // A log that was put in this one's place begins anew.
            let from = if from > range.end { range.start } else { from.max(range.start) };
            let mut pages = kept.read(from, range.end).await?;
            let Some(len) = block_len(&pages) else { return Ok(false) };
            pages.truncate(len);
            let index = Arc::clone(&kept.index);
            // Damaged pages count: a block is a range of offsets.
            let count = pages.last().map_or(0, |last| last.offset.plus(1).since(from));
            let add = move || index.add(from, count, &touched(&pages));
            blocking::run(kept.index.may_block(), add).await??;
        }
        Ok(true)
    }

    /// Lets go of what is too much.
    pub(crate) async fn retain(&self, now: Timestamp) -> Result<(), BrokerError> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let before = kept.log.status().range.start;
        let failed = |source| BrokerError::Append { log: TIMELINE_LOG.to_owned(), source };
        let start = kept.log.retain(now).await.map_err(failed)?;
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.shared.metrics.disk_bytes.set(kept.log.status().bytes as f64);
        if start > before {
            let index = Arc::clone(&kept.index);
            blocking::run(index.may_block(), move || index.trim(start)).await??;
        }
        Ok(())
    }
}

impl Kept {
    /// Pages of `from..end`, a block's worth or so. What retention took meanwhile is left out.
    async fn read(&self, from: Offset, end: Offset) -> Result<Vec<Record>, BrokerError> {
        let records = usize::try_from(end.since(from)).unwrap_or(usize::MAX).min(BLOCK_PAGES);
        let limit = ReadLimit { records, bytes: 2 * BLOCK_BYTES };
        if records == 0 {
            return Ok(Vec::new());
        }
        let mut pages: Vec<Record> = Vec::new();
        let mut at = from;
        // A read ends before damaged pages. What is left on both sides of them makes one block, or none would ever be whole.
        while at < end && pages.len() < limit.records {
            let read = match read_what_is_left(self.log.as_ref(), at, limit).await {
                Ok(read) => read,
                Err(ReadError::Trimmed { .. }) => break,
                Err(source) => return Err(BrokerError::Read { log: TIMELINE_LOG.to_owned(), source }),
            };
            let Some(last) = read.last() else { break };
            at = last.offset.plus(1);
            pages.extend(read);
            if pages.iter().map(|page| page.payload.len()).sum::<usize>() >= BLOCK_BYTES {
                break;
            }
        }
        Ok(pages)
    }
}

/// How many of these pages make a whole block; `None` where they are too few yet.
fn block_len(pages: &[Record]) -> Option<usize> {
    let mut bytes = 0;
    let full = |(at, page): (usize, &Record)| {
        bytes += page.payload.len();
        (bytes >= BLOCK_BYTES || at + 1 == BLOCK_PAGES).then_some(at + 1)
    };
    pages.iter().enumerate().find_map(full)
}

/// What a block touches. A page that cannot be read touches nothing.
fn touched(pages: &[Record]) -> Touched {
    let mut all = Touched::new();
    for page in pages {
        let mut buckets: BTreeMap<u64, Timestamp> = BTreeMap::new();
        let heading = page::read(
            &page.payload,
            |_| true,
            |Placed { at, offset, .. }| {
                let bucket = offset.map_or(LANE_BUCKET, |offset| offset.0 / BUCKET);
                let latest = buckets.entry(bucket).or_insert(at);
                *latest = at.max(*latest);
            },
        );
        let Ok(heading) = heading else { continue };
        for (bucket, at) in buckets {
            let latest = all.entry((heading.topic.to_owned(), bucket)).or_insert(at);
            *latest = at.max(*latest);
        }
    }
    all
}

fn search_page(
    page: &Record,
    topic: &TopicName,
    wanted: &impl Fn(Option<Offset>) -> bool,
    all: &mut Vec<Found>,
) {
    let mut placed = Vec::new();
    match page::read(&page.payload, wanted, |one| placed.push(one)) {
        Ok(heading) if heading.topic == topic.as_str() => {
            all.extend(placed.into_iter().map(|Placed { at, step, .. }| Found {
                lane: heading.lane.to_owned(),
                trigger: heading.trigger.to_owned(),
                at,
                step,
            }));
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(offset = %page.offset, %error, "a page of the timeline was passed over")
        }
    }
}

impl Core {
    /// Lets the timeline be written and indexed behind the deliveries.
    pub(crate) fn start_timeline(self: &Arc<Self>) {
        if self.timeline.is_kept() {
            let (timeline, ended) = (Arc::clone(&self.timeline), self.ended.subscribe());
            self.tasks.spawn_below_again("timeline", move || run(Arc::clone(&timeline), ended.clone()));
        }
    }
}

async fn run(timeline: Arc<Timeline>, mut ended: watch::Receiver<bool>) {
    loop {
        timeline.append().await;
        let has_more = timeline.index().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the timeline is not indexed; look-ups read it whole");
            false
        });
        if *ended.borrow() {
            // Whatever was put down until here is written.
            return timeline.append().await;
        }
        if !has_more {
            tokio::select! {
                biased;
                () = timeline.shared.wake.notified() => {}
                _ = ended.wait_for(|ended| *ended) => continue,
            }
        }
        timeline.append().await;
        tokio::select! {
            biased;
            () = tokio::time::sleep(GATHER), if !has_more => {}
            _ = ended.wait_for(|ended| *ended) => {}
            () = std::future::ready(()), if has_more => {}
        }
    }
}
