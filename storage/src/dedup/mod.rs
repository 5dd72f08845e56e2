//! Remembered fingerprints of a log: which ids were appended within the window, and where.
//!
//! - The window is exact: an id is a duplicate as long as no more than `window_ms` lie between its two appends.
//! - At most `ids_max` are remembered; past it the oldest generation is forgotten at once, and what of it was still within
//!   the window is counted.
//! - Ids of a commit that failed are not remembered.
//! - Everything here can be rebuilt from the log. Snapshots of closed generations make that quick; a damaged one is not
//!   believed, and its part of the log is read instead.
//!
//! Memory: slots of 20 bytes at a load of four fifths, in generations that hold an eighth of the cap or of the window each.

mod generation;
mod rebuild;
mod snapshot;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use eventail_wire::{Offset, Timestamp};
use metrics::{Counter, counter};

use crate::disk::names;
use crate::disk::recovery::DiskError;
use crate::disk::shared::Shared;
use crate::disk_io::Disk;
use crate::log::{Deduplication, Fingerprint};
use crate::metric_names;

use generation::{Generation, Key};
pub(crate) use snapshot::SnapshotJob;

/// Into how many parts the cap and the window are divided. More parts forget in finer steps and cost a search each.
const GENERATIONS: usize = 8;
/// A smaller generation is not worth a file: to read its part of the log takes milliseconds.
const SNAPSHOT_IDS_MIN: usize = 16_384;

/// Whether an id was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was, and its first record is there.
    At(Offset),
    /// It was not, or too long ago. It is staged now.
    New,
}

/// The memory of one log.
#[derive(Debug)]
pub(crate) struct Dedup {
    options: Deduplication,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    active: Generation,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    /// Ids of the commit under way.
    staged: Vec<Key>,
    jobs: Vec<SnapshotJob>,
    forgotten: Counter,
}

#[derive(Debug)]
struct Sealed {
    generation: Arc<Generation>,
    saved: bool,
}

impl Dedup {
    /// Remembers what the log holds as of `now`: from snapshots, and from the log where they do not tell.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        shared: &Shared,
        options: Deduplication,
        now: Timestamp,
    ) -> Result<Self, DiskError> {
        let mut dedup = Self {
            options,
            dir: shared.dir.clone(),
            disk: Arc::clone(disk),
            active: Generation::new(shared.segments().start(), now),
            sealed: VecDeque::new(),
            staged: Vec::new(),
            jobs: Vec::new(),
            forgotten: counter!(metric_names::DEDUP_FORGOTTEN, "log" => shared.name.clone()),
        };
        rebuild::rebuild(&mut dedup, shared, now)?;
        Ok(dedup)
    }

    /// Takes another window and cap.
    pub(crate) fn set_options(&mut self, options: Deduplication) {
        self.options = options;
    }

    /// Fetches what the searches for these ids will need, all at once instead of one after the other.
    pub(crate) fn warm(&self, fingerprints: impl Iterator<Item = Fingerprint>) {
        let mut seen = 0;
        for key in fingerprints.map(Key::new) {
            for sealed in &self.sealed {
                seen ^= sealed.generation.touch(key);
            }
            seen ^= self.active.touch(key);
        }
        std::hint::black_box(seen);
    }

    /// Tells whether the id was appended within the window before `now`; if not, it is remembered with this offset until
    /// [`Dedup::keep_staged`] or [`Dedup::forget_staged`] decides.
    pub(crate) fn find_or_stage(
        &mut self,
        fingerprint: Fingerprint,
        offset: Offset,
        now: Timestamp,
    ) -> Found {
        let key = Key::new(fingerprint);
        let generations = self.sealed.iter().rev().map(|sealed| &*sealed.generation);
        // The newest appearance decides: an older one lies further outside of the window.
        let found =
            std::iter::once(&self.active).chain(generations).find_map(|generation| generation.find(key));
        if let Some((first, at)) = found
            && now.since_ms(at) <= self.options.window_ms
        {
            return Found::At(first);
        }
        if self.active.ids == 0 {
            self.active.first_at = now;
        }
        self.active.insert(key, offset, now);
        self.staged.push(key);
        Found::New
    }

    /// The commit succeeded, and the log ends here now.
    pub(crate) fn keep_staged(&mut self, end: Offset, now: Timestamp) {
        self.staged.clear();
        self.active.end = end;
        let full = self.active.ids >= (self.options.ids_max / GENERATIONS).max(1);
        let old = now.since_ms(self.active.first_at) >= self.options.window_ms / GENERATIONS as u64;
        // Both are far below what a generation reaches, so that whatever the next group brings will fit.
        let far = !self.active.reaches(end.plus(1 << 24), now.plus_ms(1 << 24));
        if self.active.ids > 0 && (full || old || far) {
            self.seal(end, now);
        }
        self.forget_old(now);
    }

    /// The commit failed: its ids were never appended.
    pub(crate) fn forget_staged(&mut self) {
        for key in self.staged.drain(..) {
            self.active.remove(key);
        }
    }

    /// How many are remembered.
    pub(crate) fn ids(&self) -> usize {
        self.active.ids + self.sealed.iter().map(|sealed| sealed.generation.ids).sum::<usize>()
    }

    /// The memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.active.bytes() + self.sealed.iter().map(|sealed| sealed.generation.bytes()).sum::<usize>()
    }

    /// What is to be written or removed beside the log. May run on another thread, in this order.
    pub(crate) fn take_jobs(&mut self) -> Vec<SnapshotJob> {
        std::mem::take(&mut self.jobs)
    }

    /// Writes down everything that the next start would otherwise have to read from the log.
    pub(crate) fn save_all(&mut self, end: Offset) {
        self.active.end = end;
        for job in self.take_jobs() {
            job.run();
        }
        for sealed in self.sealed.iter_mut().filter(|sealed| !sealed.saved) {
            sealed.saved = true;
            if sealed.generation.ids >= SNAPSHOT_IDS_MIN {
                SnapshotJob::save(&self.disk, &self.dir, &sealed.generation).run();
            }
        }
        if self.active.ids >= SNAPSHOT_IDS_MIN {
            self.active.pack();
            SnapshotJob::save(&self.disk, &self.dir, &Arc::new(self.active.clone())).run();
        }
    }

    fn seal(&mut self, end: Offset, now: Timestamp) {
        let mut generation = std::mem::replace(&mut self.active, Generation::new(end, now));
        generation.end = end;
        generation.pack();
        let generation = Arc::new(generation);
        let saved = generation.ids >= SNAPSHOT_IDS_MIN;
        if saved {
            self.jobs.push(SnapshotJob::save(&self.disk, &self.dir, &generation));
        }
        self.sealed.push_back(Sealed { generation, saved });
    }

    fn forget_old(&mut self, now: Timestamp) {
        let window_ms = self.options.window_ms;
        while let Some(oldest) = self.sealed.front() {
            let expired = now.since_ms(oldest.generation.newest_at) > window_ms;
            // What the active one may still take is counted as taken. The newest that is closed stays in any case: without
            // it a cap below one commit would remember nothing.
            let reserved = (self.options.ids_max / GENERATIONS).max(self.active.ids);
            let ids = self.ids() - self.active.ids + reserved;
            let too_many = ids > self.options.ids_max && self.sealed.len() > 1;
            if !expired && !too_many {
                return;
            }
            if !expired {
                let since = Timestamp(now.0.saturating_sub(window_ms));
                self.forgotten.increment(oldest.generation.ids_since(since) as u64);
            }
            if oldest.saved {
                self.jobs
                    .push(SnapshotJob::remove(&self.disk, names::dedup(&self.dir, oldest.generation.from)));
            }
            self.sealed.pop_front();
        }
    }
}
