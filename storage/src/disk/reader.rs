//! Reads records from segment files, checking every batch on the way. Runs on the reader threads.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use eventail_wire::{Offset, Timestamp};

use super::batch::{Header, take_records};
use super::names;
use super::scan::{ScanEnd, next_good, take_batch};
use super::shared::Shared;
use super::sidecar::{self, IndexEntry, Summary};
use super::survey::{Hole, REPAIRED, survey_sealed};
use super::window::Window;
use crate::disk_io::{Disk, DiskFile};
use crate::log::{ReadError, ReadLimit, Record};

/// What is read from the disk at once at least.
const PIECE_BYTES_MIN: usize = 256 << 10;
/// And at most, unless a batch is larger.
const PIECE_BYTES_MAX: usize = 1 << 20;
/// Segments whose file and index a reader keeps at hand.
const CACHED_SEGMENTS: usize = 16;

/// Reads for one reader thread, which keeps the files it used last.
#[derive(Debug)]
pub(crate) struct Reader {
    disk: Arc<dyn Disk>,
    /// The one used last stands first.
    cache: VecDeque<CachedSegment>,
}

#[derive(Clone, Debug)]
struct CachedSegment {
    log: String,
    base: Offset,
    file: Arc<dyn DiskFile>,
    /// `None` while the segment is written: the index is in memory then.
    index: Option<Arc<[IndexEntry]>>,
}

impl Reader {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, cache: VecDeque::new() }
    }

    /// Forgets the files of a log.
    pub(crate) fn forget(&mut self, log: &str) {
        self.cache.retain(|cached| cached.log != log);
    }

    /// Records from `from` on. Empty at the readable end.
    pub(crate) fn read(
        &mut self,
        shared: &Shared,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, ReadError> {
        let readable_end = shared.readable_end();
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        loop {
            if next >= readable_end {
                return Ok(records);
            }
            let outcome = self.read_segment(shared, next, readable_end, limit.bytes, |header, batch| {
                take_records(header, batch, from, limit, &mut bytes, &mut records)
            });
            match outcome {
                Ok(Some(end)) => next = end,
                Ok(None) => return Ok(records),
                // What came before the damage is good; the next read will tell of it.
                Err(_) if !records.is_empty() => return Ok(records),
                Err(error) => return Err(error),
            }
        }
    }

    /// The first offset whose record was appended at or after `time`.
    pub(crate) fn offset_at(&mut self, shared: &Shared, time: Timestamp) -> Result<Offset, ReadError> {
        let readable_end = shared.readable_end();
        let (segment, is_active) = {
            let segments = shared.segments();
            let index = segments.sealed.partition_point(|segment| segment.last_at < time);
            segments.sealed.get(index).map_or((segments.active, true), |&segment| (segment, false))
        };
        if segment.first_at >= time || segment.base >= readable_end {
            return Ok(segment.base.min(readable_end));
        }
        let before = |entries: &[IndexEntry]| {
            let index = entries.partition_point(|entry| entry.appended_at < time).checked_sub(1);
            index.and_then(|index| entries.get(index)).map_or(segment.base, |entry| entry.offset)
        };
        let start = if is_active {
            before(&shared.segments().active_index)
        } else {
            before(&self.sealed_index(shared, &segment)?)
        };
        let mut found = None;
        let (mut next, mut lost_from) = (start, None);
        loop {
            let outcome = self.read_segment(shared, next, readable_end, PIECE_BYTES_MIN, |header, _| {
                // Whether lost records came before or after that time nobody knows: whoever begins there is told of them.
                found = (header.appended_at >= time).then(|| lost_from.unwrap_or(header.base));
                lost_from = None;
                found.is_none()
            });
            match outcome {
                Err(ReadError::Corrupt { offset, next: behind, .. }) if behind < segment.end => {
                    next = behind;
                    lost_from = Some(offset);
                }
                Err(ReadError::Corrupt { .. }) => break,
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        Ok(found.unwrap_or(segment.end).min(readable_end))
    }

    /// Goes through the batches of one segment from the one that holds `from`. Answers where the segment ended, or `None`
    /// where `visit` had enough.
    fn read_segment(
        &mut self,
        shared: &Shared,
        from: Offset,
        readable_end: Offset,
        wanted_bytes: usize,
        mut visit: impl FnMut(&Header, &bytes::Bytes) -> bool,
    ) -> Result<Option<Offset>, ReadError> {
        let located = shared.locate(from)?;
        let segment = located.segment;
        let cached = self.open(shared, segment.base)?;
        let entry = match located.entry {
            Some(entry) => Some(entry),
            None if from == segment.base => None,
            None => {
                let index = self.sealed_index(shared, &segment)?;
                let place = index.partition_point(|entry| entry.offset <= from).checked_sub(1);
                place.and_then(|place| index.get(place).copied())
            }
        };
        let (start, mut offset) = entry.map_or((0, segment.base), |entry| (entry.position, entry.offset));
        let end = segment.end.min(readable_end);
        let piece_bytes = wanted_bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
        let mut window = Window::new(&*cached.file, start, piece_bytes);
        while offset < end {
            let io_error = |cause| self::io_error(shared, segment.base, cause);
            let position = window.position;
            let (header, batch) = match take_batch(&mut window, offset).map_err(io_error)? {
                Ok(taken) => taken,
                Err(what) => {
                    let damaged = ScanEnd { position, offset, what: Some(what) };
                    let good = next_good(&*cached.file, &damaged, end).map_err(io_error)?;
                    let next = good.map_or(end, |(_, header)| header.base);
                    let behind = good.map_or(position, |(position, _)| position);
                    let hole = hole(shared, segment.base, position..behind, offset..next, what);
                    shared.tell_hole(hole.clone());
                    if next > from && next > offset {
                        return Err(corrupt(hole, from));
                    }
                    window = Window::new(&*cached.file, behind, piece_bytes);
                    offset = next;
                    continue;
                }
            };
            if header.is_tombstone && header.end() > from {
                let mut hole =
                    hole(shared, segment.base, position..window.position, offset..header.end(), REPAIRED);
                hole.is_repaired = true;
                shared.tell_hole(hole.clone());
                return Err(corrupt(hole, from));
            }
            if header.end() > from && !visit(&header, &batch) {
                return Ok(None);
            }
            offset = header.end();
        }
        Ok(Some(offset))
    }

    fn open(&mut self, shared: &Shared, base: Offset) -> Result<CachedSegment, ReadError> {
        let place = self.cache.iter().position(|cached| cached.base == base && cached.log == shared.name);
        let cached = match place.and_then(|place| self.cache.remove(place)) {
            Some(cached) => cached,
            None => {
                let path = names::segment(&shared.dir, base);
                let file = self.disk.open(&path).map_err(|cause| io_error(shared, base, cause))?;
                CachedSegment { log: shared.name.clone(), base, file, index: None }
            }
        };
        self.cache.push_front(cached.clone());
        self.cache.truncate(CACHED_SEGMENTS);
        Ok(cached)
    }

    /// The index of a closed segment: from memory, from its sidecar, or from a scan where that is damaged.
    fn sealed_index(&mut self, shared: &Shared, segment: &Summary) -> Result<Arc<[IndexEntry]>, ReadError> {
        let mut cached = self.open(shared, segment.base)?;
        if let Some(index) = cached.index {
            return Ok(index);
        }
        let path = names::sidecar(&shared.dir, segment.base);
        let entries = sidecar::read_entries(&*self.disk, &path);
        let index: Arc<[IndexEntry]> = match entries {
            Ok(Some(entries)) => entries.into(),
            Ok(None) | Err(_) => {
                tracing::warn!(file = %names::display(&path), "a sidecar is missing or damaged; the segment is read instead");
                let path = names::segment(&shared.dir, segment.base);
                let survey = survey_sealed(&*cached.file, &path, segment.base, segment.end);
                survey.map_err(|cause| io_error(shared, segment.base, cause))?.index.into()
            }
        };
        cached.index = Some(Arc::clone(&index));
        if let Some(front) = self.cache.front_mut() {
            *front = cached;
        }
        Ok(index)
    }
}

fn hole(
    shared: &Shared,
    base: Offset,
    bytes: Range<u64>,
    offsets: Range<Offset>,
    what: &'static str,
) -> Hole {
    let file = names::display(&names::segment(&shared.dir, base));
    Hole { file, bytes, offsets, after: Timestamp::default(), what, is_repaired: false }
}

/// What a read from `from` on is told of a hole that it met.
fn corrupt(hole: Hole, from: Offset) -> ReadError {
    let Hole { file, bytes, offsets, what, .. } = hole;
    ReadError::Corrupt {
        file,
        position: bytes.start,
        offset: offsets.start.max(from),
        next: offsets.end,
        what,
    }
}

/// A file that is gone was trimmed away while it was about to be read.
fn io_error(shared: &Shared, base: Offset, cause: io::Error) -> ReadError {
    let start = shared.segments().start();
    if cause.kind() == io::ErrorKind::NotFound && base < start {
        return ReadError::Trimmed { asked: base, start };
    }
    let file = names::display(&names::segment(&shared.dir, base));
    ReadError::Io { file, cause: Arc::new(cause) }
}
