//! The writing side of one log: takes appends in, encodes them, writes, syncs, answers, and rolls the segment.
//!
//! It is synchronous and owned by one thread. A commit either happened, and everybody who waits for it is told where the
//! records went, or it did not: then the log stands where it stood before (`Full`) or takes no more (`Poisoned`).

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use eventail_wire::{Offset, Timestamp};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::oneshot;

use super::batch::{BATCH_BYTES_MAX, BatchBuilder, Header, encoded_bytes};
use super::names;
use super::recovery::{DiskError, Recovered, create_segment, recover};
use super::segment::ActiveFile;
use super::shared::{Refusal, Shared};
use super::sidecar::{self, Summary};
use super::survey::survey_newest;
use crate::dedup::{Dedup, Found, SnapshotJob};
use crate::disk_io::{Disk, is_full};
use crate::log::{AppendError, Appended, Durability, LogOptions, NewRecord};
use crate::metric_names;

/// Appends are gathered into batches of at most this size, if the segments are not small themselves: a read must check a
/// batch as a whole.
const BATCH_BYTES_WANTED: u64 = 256 << 10;
/// How many batches a segment should hold at least.
const BATCHES_PER_SEGMENT: u64 = 8;

/// Where the answer to an append goes.
pub(crate) type Answer = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

/// The writing side of one log.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    options: LogOptions,
    file: ActiveFile,
    /// Below it everything is synced.
    synced_end: Offset,
    /// The time of the newest batch: times never go backwards in a log, so that they can be searched.
    last_at: Timestamp,
    dedup: Option<Dedup>,
    staged: Staged,
    /// Since when something is written and not synced, on the caller's monotonic clock.
    dirty_since_ms: Option<u64>,
    meters: Meters,
}

/// What was taken in since the last commit.
#[derive(Debug, Default)]
struct Staged {
    buffer: BytesMut,
    announced_bytes: usize,
    batches: Vec<(Header, Range<usize>)>,
    open: Option<BatchBuilder>,
    open_start: usize,
    records: u64,
    duplicates: u64,
    answers: Vec<(Answer, Vec<Appended>)>,
}

#[derive(Debug)]
struct Meters {
    records: Counter,
    bytes: Counter,
    duplicates: Counter,
    full: Counter,
    dedup_ids: Gauge,
    dedup_bytes: Gauge,
    group: Histogram,
    sync: Histogram,
}

/// What a commit could not do.
#[derive(Debug)]
enum CommitError {
    Write(io::Error),
    Sync(io::Error),
}

impl Writer {
    /// Opens the log of a folder, creating it where there is none, and remembers the fingerprints of what it holds.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &std::path::Path,
        name: &str,
        options: LogOptions,
        now: Timestamp,
    ) -> Result<Self, DiskError> {
        let Recovered { segments, file, zeroed_end, holes } = recover(&**disk, dir)?;
        let active = segments.active;
        let last_at = if active.end > active.base {
            active.last_at
        } else {
            segments.sealed.last().map_or(Timestamp::default(), |segment| segment.last_at)
        };
        let shared = Arc::new(Shared::new(name, dir.to_owned(), segments, holes));
        let dedup = options
            .deduplication
            .map(|deduplication| Dedup::open(disk, &shared, deduplication, now.max(last_at)))
            .transpose()?;
        let writer = Self {
            meters: Meters::new(name),
            file: ActiveFile::new(file, active.bytes, zeroed_end),
            synced_end: active.end,
            last_at,
            dedup,
            staged: Staged::default(),
            dirty_since_ms: None,
            disk: Arc::clone(disk),
            shared,
            options,
        };
        writer.publish_dedup();
        Ok(writer)
    }

    /// Tells of an append that will be staged, so that the buffer need not grow under it.
    pub(crate) fn announce(&mut self, records: &[NewRecord]) {
        let bytes = encoded_bytes(records.iter().map(|record| record.payload.len()));
        if bytes <= BATCH_BYTES_MAX {
            self.staged.announced_bytes += bytes;
        }
    }

    /// Takes an append in; it is answered by the next commit, or at once where it cannot be taken.
    pub(crate) fn stage(&mut self, records: Vec<NewRecord>, answer: Answer, now: Timestamp) {
        if let Some(error) = self.refusal() {
            let _ = answer.send(Err(error));
            return;
        }
        let bytes = encoded_bytes(records.iter().map(|record| record.payload.len()));
        if bytes > BATCH_BYTES_MAX {
            let _ = answer.send(Err(AppendError::TooLarge { bytes, bytes_max: BATCH_BYTES_MAX }));
            return;
        }
        // One append stands in one batch: it is there as a whole or not at all.
        self.last_at = self.last_at.max(now);
        let wanted = BATCH_BYTES_WANTED.min(self.options.segment_bytes / BATCHES_PER_SEGMENT);
        let grown = self.staged.open.as_ref().map(|open| open.bytes(&self.staged.buffer) + bytes);
        if grown.is_some_and(|grown| grown as u64 > wanted) {
            self.finish_batch();
        }
        let answers = self.stage_records(&records);
        self.staged.answers.push((answer, answers));
    }

    fn stage_records(&mut self, records: &[NewRecord]) -> Vec<Appended> {
        let end = self.written_end();
        let now = self.last_at;
        let staged = &mut self.staged;
        let mut dedup = self.dedup.as_mut();
        if let Some(dedup) = dedup.as_deref_mut() {
            dedup.warm(records.iter().filter_map(|record| record.fingerprint));
        }
        let append = |record: &NewRecord| {
            let offset = end.plus(staged.records);
            if let (Some(dedup), Some(fingerprint)) = (dedup.as_deref_mut(), record.fingerprint)
                && let Found::At(offset) = dedup.find_or_stage(fingerprint, offset, now)
            {
                staged.duplicates += 1;
                return Appended { offset, duplicate: true };
            }
            let builder = staged.open.get_or_insert_with(|| {
                staged.buffer.reserve(std::mem::take(&mut staged.announced_bytes));
                staged.open_start = staged.buffer.len();
                BatchBuilder::begin(&mut staged.buffer)
            });
            builder.push(&mut staged.buffer, &record.payload);
            staged.records += 1;
            Appended { offset, duplicate: false }
        };
        records.iter().map(append).collect()
    }

    fn finish_batch(&mut self) {
        let end = self.written_end();
        let staged = &mut self.staged;
        let Some(builder) = staged.open.take() else { return };
        let base = end.plus(staged.records - u64::from(builder.records()));
        let range = staged.open_start..staged.buffer.len();
        let header = builder.finish(&mut staged.buffer, base, self.last_at, self.synced_end);
        staged.batches.push((header, range));
    }

    /// Whether something was taken in that no commit has answered yet.
    pub(crate) fn is_staged(&self) -> bool {
        !self.staged.answers.is_empty()
    }

    /// Takes other options; deduplication cannot be switched on or off while the log is open.
    pub(crate) fn set_options(&mut self, options: LogOptions) {
        if let (Some(dedup), Some(options)) = (&mut self.dedup, options.deduplication) {
            dedup.set_options(options);
        }
        self.options = options;
    }

    /// See [`Dedup::take_jobs`].
    pub(crate) fn take_jobs(&mut self) -> Vec<SnapshotJob> {
        self.dedup.as_mut().map(Dedup::take_jobs).unwrap_or_default()
    }

    pub(crate) fn durability(&self) -> Durability {
        self.options.durability
    }

    /// Writes what was taken in, syncs it where the log promises that, and answers everybody who waits.
    pub(crate) fn commit(&mut self, elapsed_ms: u64) {
        self.finish_batch();
        if let Some(error) = self.refusal() {
            self.fail(&error);
            return;
        }
        if self.staged.batches.is_empty() {
            self.succeed();
            return;
        }
        let before = Before::of(self);
        let outcome =
            self.write_staged().map_err(CommitError::Write).and_then(|()| match self.durability() {
                Durability::Sync => self.sync_file().map_err(CommitError::Sync),
                Durability::Buffered => {
                    self.dirty_since_ms.get_or_insert(elapsed_ms);
                    Ok(())
                }
            });
        let error = match outcome {
            Ok(()) => return self.succeed(),
            Err(CommitError::Write(error)) if is_full(&error) => match before.restore(self) {
                Ok(()) => {
                    self.meters.full.increment(1);
                    self.shared.segments_mut().refusal = Some(Refusal::Full);
                    AppendError::Full
                }
                Err(error) => self.poison(error),
            },
            Err(CommitError::Write(error) | CommitError::Sync(error)) => self.poison(error),
        };
        self.fail(&error);
    }

    /// Syncs what was written without a sync, if it waited long enough by now.
    pub(crate) fn sync_if_due(&mut self, elapsed_ms: u64) {
        if self.sync_due_ms().is_some_and(|due_ms| due_ms <= elapsed_ms) {
            self.sync_now();
        }
    }

    /// When the next sync is due, on the monotonic clock that was given to [`Writer::commit`].
    pub(crate) fn sync_due_ms(&self) -> Option<u64> {
        self.dirty_since_ms.map(|since_ms| since_ms + self.options.buffered_sync_ms)
    }

    fn sync_now(&mut self) {
        if self.dirty_since_ms.is_some()
            && let Err(error) = self.sync_file()
        {
            self.poison(error);
        }
    }

    /// Writes the staged batches, rolling the segment where it would grow too large.
    fn write_staged(&mut self) -> io::Result<()> {
        let batches = std::mem::take(&mut self.staged.batches);
        let mut run = 0..0;
        let mut outcome = Ok(());
        for (header, range) in &batches {
            let grown = self.file.position() + (range.end - run.start) as u64;
            let in_use = self.file.position() > 0 || !run.is_empty();
            if in_use && grown > self.options.segment_bytes {
                let rolled = self.write_run(run.clone()).and_then(|()| self.roll(header.base));
                run = range.start..range.start;
                outcome = outcome.and(rolled);
                if outcome.is_err() {
                    break;
                }
            }
            run.end = range.end;
            let position = self.file.position() + (range.start - run.start) as u64;
            let mut segments = self.shared.segments_mut();
            segments.active.add(header);
            sidecar::note(&mut segments.active_index, position, header);
        }
        self.staged.batches = batches;
        outcome.and_then(|()| self.write_run(run))
    }

    fn write_run(&mut self, run: Range<usize>) -> io::Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        self.file.write(&self.staged.buffer[run], self.options.segment_bytes)
    }

    /// Closes the active segment and begins the next one at `base`.
    fn roll(&mut self, base: Offset) -> io::Result<()> {
        self.file.cut()?;
        self.sync_file()?;
        let (summary, index) = {
            let segments = self.shared.segments();
            (segments.active, segments.active_index.clone())
        };
        // One with a hole has none: it is read at every start, so that what is lost is told.
        if !self.shared.has_holes_in(&summary) {
            self.write_sidecar(&summary, &index);
        }
        let file = create_segment(&*self.disk, &self.shared.dir, base)?;
        let mut segments = self.shared.segments_mut();
        segments.sealed.push(summary);
        segments.active = Summary::empty(base, summary.last_at);
        segments.active_index = Vec::new();
        drop(segments);
        self.file = ActiveFile::new(file, 0, 0);
        self.synced_end = base;
        Ok(())
    }

    fn write_sidecar(&self, summary: &Summary, index: &[sidecar::IndexEntry]) {
        let path = names::sidecar(&self.shared.dir, summary.base);
        if let Err(error) = sidecar::write(&*self.disk, &path, summary, index) {
            // It is rebuilt from the segment when it is missed.
            tracing::warn!(file = %names::display(&path), %error, "a sidecar could not be written");
        }
    }

    fn sync_file(&mut self) -> io::Result<()> {
        let started = std::time::Instant::now();
        self.file.sync()?;
        self.meters.sync.record(started.elapsed().as_secs_f64());
        self.synced_end = self.written_end_with_staged();
        self.dirty_since_ms = None;
        Ok(())
    }

    /// The offset that the next commit begins with: what is readable now.
    fn written_end(&self) -> Offset {
        self.shared.readable_end()
    }

    fn written_end_with_staged(&self) -> Offset {
        self.shared.segments().active.end
    }

    fn refusal(&self) -> Option<AppendError> {
        self.shared.segments().refusal.as_ref().and_then(Refusal::append_error)
    }

    fn succeed(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let buffer = staged.buffer.freeze();
        if staged.records > 0 {
            {
                let mut tail = self.shared.tail_mut();
                for (header, range) in staged.batches {
                    tail.push(header, buffer.slice(range));
                }
            }
            let mut segments = self.shared.segments_mut();
            if matches!(segments.refusal, Some(Refusal::Full)) {
                segments.refusal = None;
            }
            let end = segments.active.end;
            drop(segments);
            self.shared.end.send_replace(end);
            self.meters.records.increment(staged.records);
            self.meters.bytes.increment(buffer.len() as u64);
            self.meters.group.record(staged.records as f64);
        }
        if staged.duplicates > 0 {
            self.meters.duplicates.increment(staged.duplicates);
        }
        for (answer, appended) in staged.answers {
            let _ = answer.send(Ok(appended));
        }
        if let Some(dedup) = &mut self.dedup {
            dedup.keep_staged(self.shared.readable_end(), self.last_at);
            self.publish_dedup();
        }
    }

    fn fail(&mut self, error: &AppendError) {
        let staged = std::mem::take(&mut self.staged);
        if let Some(dedup) = &mut self.dedup {
            dedup.forget_staged();
        }
        for (answer, _) in staged.answers {
            let _ = answer.send(Err(error.clone()));
        }
    }

    fn poison(&mut self, error: io::Error) -> AppendError {
        tracing::error!(log = %self.shared.name, %error,
            "a write or sync failed; the log refuses appends until it is opened anew");
        gauge!(metric_names::POISONED_LOGS).increment(1.0);
        self.dirty_since_ms = None;
        let cause = Arc::new(error);
        self.shared.segments_mut().refusal = Some(Refusal::Poisoned(Arc::clone(&cause)));
        AppendError::Poisoned { cause }
    }

    fn publish_dedup(&self) {
        let Some(dedup) = &self.dedup else { return };
        let (ids, bytes) = (dedup.ids() as u64, dedup.bytes() as u64);
        self.shared.dedup_ids.store(ids, Ordering::Relaxed);
        self.shared.dedup_bytes.store(bytes, Ordering::Relaxed);
        self.meters.dedup_ids.set(ids as f64);
        self.meters.dedup_bytes.set(bytes as f64);
    }

    /// Lets go of the oldest closed segments as long as `may_go` says so of them; answers the new start.
    fn drop_oldest(&mut self, mut may_go: impl FnMut(&Summary, u64) -> bool) -> Result<Offset, AppendError> {
        loop {
            let (oldest, bytes) = {
                let segments = self.shared.segments();
                (segments.sealed.first().copied(), segments.bytes())
            };
            match oldest {
                Some(oldest) if may_go(&oldest, bytes) => {
                    if let Err(error) = self.remove_segment(&oldest) {
                        return Err(self.poison(error));
                    }
                }
                _ => return Ok(self.shared.segments().start()),
            }
        }
    }

    /// Each removal is made durable before the next: a gap between segments would be taken for corruption.
    fn remove_segment(&self, oldest: &Summary) -> io::Result<()> {
        self.shared.segments_mut().sealed.remove(0);
        let dir = &self.shared.dir;
        self.disk.remove(&names::segment(dir, oldest.base))?;
        ignore_missing(self.disk.remove(&names::sidecar(dir, oldest.base)))?;
        self.disk.sync_dir(dir)
    }

    /// Lets go of closed segments that end at or before `before`.
    pub(crate) fn trim(&mut self, before: Offset) -> Result<Offset, AppendError> {
        self.refusal().map_or(Ok(()), Err)?;
        // Whoever trims has written what takes the place of the old; it must not be the younger of the two to be lost.
        self.sync_now();
        self.refusal().map_or(Ok(()), Err)?;
        self.drop_oldest(|segment, _| segment.end <= before)
    }

    /// Lets go of closed segments that are too old, or too much.
    pub(crate) fn retain(&mut self, now: Timestamp) -> Result<Offset, AppendError> {
        self.refusal().map_or(Ok(()), Err)?;
        let (age_ms, bytes_max) = (self.options.retention_age_ms, self.options.retention_bytes);
        self.drop_oldest(|segment, bytes| {
            age_ms.is_some_and(|age_ms| now.since_ms(segment.last_at) > age_ms)
                || bytes_max.is_some_and(|bytes_max| bytes > bytes_max)
        })
    }

    /// Syncs and writes down what makes the next start quick.
    pub(crate) fn close(&mut self) {
        if self.refusal().is_some() {
            return;
        }
        self.sync_now();
        if self.refusal().is_some() {
            return;
        }
        let (active, index) = {
            let segments = self.shared.segments();
            (segments.active, segments.active_index.clone())
        };
        if active.end > active.base {
            self.write_sidecar(&active, &index);
        }
        if let Some(dedup) = &mut self.dedup {
            dedup.save_all(active.end);
        }
    }
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Where a log stood before a commit.
#[derive(Debug)]
struct Before {
    active: Summary,
    sealed: usize,
    index: usize,
    synced_end: Offset,
}

impl Before {
    fn of(writer: &Writer) -> Self {
        let segments = writer.shared.segments();
        Self {
            active: segments.active,
            sealed: segments.sealed.len(),
            index: segments.active_index.len(),
            synced_end: writer.synced_end,
        }
    }

    /// Takes back on disk whatever the commit did, newest first, so that at every moment the log is a whole one.
    fn restore(&self, writer: &mut Writer) -> io::Result<()> {
        let dir = writer.shared.dir.clone();
        let disk = Arc::clone(&writer.disk);
        let (written, index) = {
            let mut segments = writer.shared.segments_mut();
            let mut written: VecDeque<Offset> =
                segments.sealed.drain(self.sealed..).map(|segment| segment.base).collect();
            written.push_back(segments.active.base);
            written.pop_front();
            (written, std::mem::take(&mut segments.active_index))
        };
        // A segment whose creation failed half-way may be there as well.
        let found = super::recovery::segment_bases(&disk.list(&dir)?);
        debug_assert!(
            written.iter().all(|base| found.contains(base)),
            "segments that were written are there"
        );
        let newer: Vec<Offset> = found.into_iter().filter(|&base| base > self.active.base).collect();
        // Their sidecars first: one without its segment would be taken for the trace of a file that is missing.
        for &base in &newer {
            ignore_missing(disk.remove(&names::sidecar(&dir, base)))?;
        }
        if newer.len() > 1 {
            disk.sync_dir(&dir)?;
        }
        for &base in newer.iter().rev() {
            disk.remove(&names::segment(&dir, base))?;
            disk.sync_dir(&dir)?;
        }
        let path = names::segment(&dir, self.active.base);
        let file = disk.open(&path)?;
        file.set_len(self.active.bytes)?;
        file.sync_data()?;
        let rolled = !written.is_empty();
        let mut index = index;
        if rolled {
            index = survey_newest(&*file, &path, self.active.base, None)?.index;
        }
        index.truncate(self.index);
        ignore_missing(disk.remove(&names::sidecar(&dir, self.active.base)))?;
        disk.sync_dir(&dir)?;
        let mut segments = writer.shared.segments_mut();
        segments.active = self.active;
        segments.active_index = index;
        drop(segments);
        writer.file = ActiveFile::new(file, self.active.bytes, self.active.bytes);
        writer.synced_end = self.synced_end.max(self.active.end);
        writer.dirty_since_ms = None;
        Ok(())
    }
}

impl Meters {
    fn new(name: &str) -> Self {
        let log = name.to_owned();
        Self {
            records: counter!(metric_names::APPENDED_RECORDS, "log" => log.clone()),
            bytes: counter!(metric_names::APPENDED_BYTES, "log" => log.clone()),
            duplicates: counter!(metric_names::DUPLICATES, "log" => log.clone()),
            full: counter!(metric_names::FULL, "log" => log.clone()),
            dedup_ids: gauge!(metric_names::DEDUP_IDS, "log" => log.clone()),
            dedup_bytes: gauge!(metric_names::DEDUP_BYTES, "log" => log),
            group: histogram!(metric_names::GROUP_RECORDS),
            sync: histogram!(metric_names::SYNC_SECONDS),
        }
    }
}
