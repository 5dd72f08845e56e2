//! The record of what was asked of a disk, in the order in which the calls ended, with marks of what was promised meanwhile.

use bytes::Bytes;

use super::load::Promise;

/// A file or a folder, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    File(u64),
    Folder(u64),
}

/// The folder that is recorded.
pub(super) const ROOT: u64 = 0;

/// A change of the names in a folder, or of two at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameChange {
    Link { folder: u64, name: String, node: Node },
    Unlink { folder: u64, name: String },
    Rename { from: (u64, String), to: (u64, String), node: Node },
}

/// A change of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Write { position: u64, bytes: Bytes },
    SetLen(u64),
}

/// One call that ended well, or a promise.
#[derive(Clone, Debug)]
pub(super) enum Step {
    File {
        file: u64,
        change: Change,
    },
    Names(NameChange),
    /// Makes durable what ended before it began: the steps before `begun`.
    SyncFile {
        file: u64,
        begun: usize,
    },
    SyncFolder {
        folder: u64,
        begun: usize,
    },
    Promise(Promise),
}

/// Everything that was asked of a disk.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub(super) steps: Vec<Step>,
}

impl Trace {
    /// Calls and promises.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Bytes that were written.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        let written = |step: &Step| match step {
            Step::File { change: Change::Write { bytes, .. }, .. } => bytes.len() as u64,
            _ => 0,
        };
        self.steps.iter().map(written).sum()
    }

    /// Syncs of files and folders.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        let syncs = |step: &&Step| matches!(step, Step::SyncFile { .. } | Step::SyncFolder { .. });
        self.steps.iter().filter(syncs).count() as u64
    }
}
