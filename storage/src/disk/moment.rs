//! A moment of all logs of a store at once: what a backup is made of.
//!
//! The thread that writes takes it between two groups, after syncing what was written without a sync. What it tells is therefore what a
//! `kill -9` at that instant would have left: whoever waited for one append before making another has the first in it where it has
//! the second, whichever logs they went to. As long as a moment is held nothing of it is removed: retention and trims wait, and a
//! log cannot be removed as a whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eventail_wire::{Code, Offset};

use super::names;
use super::shared::Refusal;
use super::writer::Writer;

/// All logs at one moment. Nothing of it is removed until it is dropped.
#[derive(Debug)]
pub struct Moment {
    /// By name.
    pub logs: Vec<LogAtMoment>,
    pub(super) _hold: Hold,
}

/// One log at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAtMoment {
    /// Its name, which is that of its folder in the store's.
    pub name: String,
    /// The first readable offset.
    pub start: Offset,
    /// The offset behind the last record; everything before it is synced, unless the log is poisoned.
    pub end: Offset,
    /// Why the log takes no appends, if it does not.
    pub refusal: Option<Code>,
    /// Oldest first; the last one grows on behind its `bytes`.
    pub segments: Vec<SegmentAtMoment>,
}

/// One segment at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentAtMoment {
    /// Its file.
    pub path: PathBuf,
    /// Its sidecar's, where it has been closed; the file may be missing.
    pub sidecar: Option<PathBuf>,
    /// How much of it belongs to the moment, where it is still written.
    pub bytes: u64,
    /// Whether nothing is ever written to it again: then all of it belongs to the moment, damaged or not.
    pub is_sealed: bool,
}

/// How many moments are held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(Arc<AtomicUsize>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Hold(Holds);

impl Holds {
    /// Holds what there is until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold {
        self.0.fetch_add(1, Ordering::AcqRel);
        Hold(self.clone())
    }

    /// Whether nothing may be removed.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        (self.0).0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where a log stands; what was written without a sync is synced first.
pub(crate) fn of_log(writer: &mut Writer) -> LogAtMoment {
    writer.sync_now();
    let shared = &writer.shared;
    let status = shared.status();
    let segments = shared.segments();
    let at = |base, bytes, is_sealed| SegmentAtMoment {
        path: names::segment(&shared.dir, base),
        sidecar: Some(names::sidecar(&shared.dir, base)).filter(|_| is_sealed),
        bytes,
        is_sealed,
    };
    let sealed = segments.sealed.iter().map(|segment| at(segment.base, segment.bytes, true));
    let active = at(segments.active.base, segments.active.bytes, false);
    LogAtMoment {
        name: shared.name.clone(),
        start: status.range.start,
        end: status.range.end,
        refusal: segments.refusal.as_ref().map(Refusal::code),
        segments: sealed.chain([active]).collect(),
    }
}
