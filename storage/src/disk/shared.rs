//! What the writer of a log and its readers share: where the segments are, the tail in memory, the readable end.
//!
//! The writer publishes in this order: segments, tail, end. Whoever takes the end first therefore finds everything below
//! it. No lock here is ever held across I/O.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use eventail_wire::{Code, Offset};
use metrics::{counter, gauge};
use tokio::sync::watch;

use super::sidecar::{IndexEntry, Summary};
use super::survey::Hole;
use super::tail::{Tail, records_of};
use crate::log::{AppendError, LogStatus, LostRecords, ReadError, ReadLimit, Record};
use crate::metric_names;

/// Why a log takes no appends.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The last write found no room. Passes with the next one that does.
    Full,
    /// A write or sync failed.
    Poisoned(Arc<std::io::Error>),
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Full => Code::StorageFull,
            Self::Poisoned(_) => Code::StoragePoisoned,
        }
    }

    /// The error for an append; `None` where one may be tried.
    pub(crate) fn append_error(&self) -> Option<AppendError> {
        match self {
            Self::Full => None,
            Self::Poisoned(cause) => Some(AppendError::Poisoned { cause: Arc::clone(cause) }),
        }
    }
}

/// The segments of a log.
#[derive(Debug)]
pub(crate) struct Segments {
    /// Closed ones, oldest first; each begins where the one before it ends.
    pub(crate) sealed: Vec<Summary>,
    /// The one that is written.
    pub(crate) active: Summary,
    /// The sparse index of the active one.
    pub(crate) active_index: Vec<IndexEntry>,
    pub(crate) refusal: Option<Refusal>,
}

impl Segments {
    pub(crate) fn start(&self) -> Offset {
        self.sealed.first().unwrap_or(&self.active).base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }
}

/// A segment as a reader needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) segment: Summary,
    /// Where reading begins, if the index is in memory; else the sidecar tells.
    pub(crate) entry: Option<IndexEntry>,
}

/// What the writer of a log and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) end: watch::Sender<Offset>,
    pub(crate) dedup_ids: AtomicU64,
    pub(crate) dedup_bytes: AtomicU64,
    segments: RwLock<Segments>,
    tail: RwLock<Tail>,
    holes: Mutex<Holes>,
}

/// What is known to be lost.
#[derive(Debug, Default)]
struct Holes {
    /// By their first offset.
    known: BTreeMap<Offset, Hole>,
    /// Whether the log is counted among those with damage.
    is_counted: bool,
}

/// Holes that a log remembers; one has none, and a log with more than this many is told of by the first of them.
const HOLES_MAX: usize = 1024;

impl Shared {
    pub(crate) fn new(name: &str, dir: PathBuf, segments: Segments, holes: Vec<Hole>) -> Self {
        let end = watch::Sender::new(segments.active.end);
        let shared = Self {
            name: name.to_owned(),
            dir,
            end,
            dedup_ids: AtomicU64::new(0),
            dedup_bytes: AtomicU64::new(0),
            segments: RwLock::new(segments),
            tail: RwLock::default(),
            holes: Mutex::default(),
        };
        holes.into_iter().for_each(|hole| shared.tell_hole(hole));
        shared
    }

    /// Remembers a hole, and tells of it the first time that it is met.
    pub(crate) fn tell_hole(&self, hole: Hole) {
        let start = self.segments().start();
        let mut holes = self.lock_holes();
        holes.known.retain(|_, known| known.offsets.end > start);
        let Range { start: first, end: next } = hole.offsets;
        let is_known = holes.known.get(&first).is_some_and(|known| known.offsets.end >= next);
        if is_known || next <= first || holes.known.len() >= HOLES_MAX {
            return;
        }
        if !std::mem::replace(&mut holes.is_counted, true) {
            gauge!(metric_names::CORRUPT_LOGS).increment(1.0);
        }
        counter!(metric_names::LOST_RECORDS, "log" => self.name.clone()).increment(next.since(first));
        tracing::error!(log = %self.name, file = %hole.file, position = hole.bytes.start, %first, %next, what = hole.what,
            "stored records are lost; all others are served");
        holes.known.insert(first, hole);
    }

    /// Whether a hole is known within a segment.
    pub(crate) fn has_holes_in(&self, segment: &Summary) -> bool {
        self.lock_holes().known.range(segment.base..segment.end).next().is_some()
    }

    fn lock_holes(&self) -> MutexGuard<'_, Holes> {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn segments(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn segments_mut(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn readable_end(&self) -> Offset {
        *self.end.borrow()
    }

    /// Reads from memory; `None` where the records are not there.
    pub(crate) fn read_tail(&self, from: Offset, limit: ReadLimit) -> Option<Vec<Record>> {
        if from >= self.readable_end() {
            return Some(Vec::new());
        }
        if from < self.segments().start() {
            return None;
        }
        let batches = self.tail().batches_from(from, limit)?;
        Some(records_of(&batches, from, limit))
    }

    /// Why appends are refused, if they are.
    pub(crate) fn append_error(&self) -> Option<AppendError> {
        self.segments().refusal.as_ref().and_then(Refusal::append_error)
    }

    /// The same as a code, also where the disk is only full.
    pub(crate) fn refusal(&self) -> Option<Code> {
        self.segments().refusal.as_ref().map(Refusal::code)
    }

    /// The segment that holds `from`, which must lie below the readable end.
    pub(crate) fn locate(&self, from: Offset) -> Result<Located, ReadError> {
        let segments = self.segments();
        let start = segments.start();
        if from < start {
            return Err(ReadError::Trimmed { asked: from, start });
        }
        let index = segments.sealed.partition_point(|segment| segment.end <= from);
        if let Some(&segment) = segments.sealed.get(index) {
            return Ok(Located { segment, entry: None });
        }
        let entry = segments.active_index.partition_point(|entry| entry.offset <= from).checked_sub(1);
        let entry = entry.and_then(|index| segments.active_index.get(index).copied());
        Ok(Located { segment: segments.active, entry })
    }

    pub(crate) fn status(&self) -> LogStatus {
        let segments = self.segments();
        let end = self.readable_end();
        let start = segments.start();
        let oldest = segments.sealed.first().unwrap_or(&segments.active);
        LogStatus {
            range: start..end.max(start),
            bytes: segments.bytes(),
            segments: segments.sealed.len() as u64 + 1,
            oldest_at: (end > start).then_some(oldest.first_at),
            refusal: segments.refusal.as_ref().map(Refusal::code),
            dedup_ids: self.dedup_ids.load(Ordering::Relaxed),
            dedup_bytes: self.dedup_bytes.load(Ordering::Relaxed),
            lost: self.lost_from(start),
        }
    }

    fn lost_from(&self, start: Offset) -> Vec<LostRecords> {
        let holes = self.lock_holes();
        let kept = holes.known.values().filter(|hole| hole.offsets.end > start);
        kept.map(|hole| LostRecords {
            first: hole.offsets.start.max(start),
            next: hole.offsets.end,
            file: hole.file.clone(),
            position: hole.bytes.start,
            what: hole.what,
        })
        .collect()
    }
}
