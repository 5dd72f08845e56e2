//! Why a backup could not be made, verified or restored.

use std::io;
use std::path::{Path, PathBuf};

use eventail_storage::OpenError;
use eventail_wire::{Code, Offset};

use super::manifest::FORMAT;

/// Why a backup could not be made, verified or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The folder has something in it.
    #[error("{} is not empty: a backup goes into a folder of its own", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is one that the broker keeps its data in.
    #[error("{} lies in the data folder", dir.display())]
    InsideData {
        /// The folder.
        dir: PathBuf,
    },
    /// A running broker cannot know where a relative path begins.
    #[error("{} is no absolute path", dir.display())]
    Relative {
        /// The folder.
        dir: PathBuf,
    },
    /// Another backup is being made.
    #[error("a backup is being made already")]
    Busy,
    /// The broker stops.
    #[error("the broker stopped before the backup was complete")]
    Cancelled,
    /// There is no manifest.
    #[error("{} is no complete backup: it has no manifest, so whatever wrote it was interrupted", dir.display())]
    Incomplete {
        /// The folder.
        dir: PathBuf,
    },
    /// It was made by a newer version.
    #[error(
        "the backup has format {format} and logs of format {storage_format}; this version of Eventail reads up to {FORMAT} and {}: use a newer one",
        eventail_storage::disk::FORMAT
    )]
    Newer {
        /// Its format.
        format: u32,
        /// That of its logs.
        storage_format: u32,
    },
    /// The manifest is none.
    #[error("{} cannot be understood", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The manifest does not have its checksum, or names what no broker writes.
    #[error("{} is damaged: {what}", path.display())]
    DamagedManifest {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// Files are not what the manifest says.
    #[error("{} damaged: {}", counted(problems), told(problems))]
    Damaged {
        /// Which.
        problems: Vec<FileProblem>,
    },
    /// What was copied is not what the log was.
    #[error("the copy of log `{log}` ends at offset {found} and not at {expected}")]
    Inconsistent {
        /// The log.
        log: String,
        /// Where it should end.
        expected: Offset,
        /// Where it does.
        found: Offset,
    },
    /// There is data already.
    #[error("the data folder {} is not empty: a backup is restored into a new one", dir.display())]
    DataThere {
        /// The folder.
        dir: PathBuf,
    },
    /// Something is wrong with the log that is backed up, or with the data folder.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The work ended in a way that it never should.
    #[error("the backup's task failed")]
    Task(#[from] tokio::task::JoinError),
    /// So did it.
    #[error(transparent)]
    Panicked(#[from] eventail_triggers::panics::Panicked),
}

/// A file of a backup that is not what the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// Which, within the backup.
    pub path: String,
    /// What does not fit.
    pub what: &'static str,
}

impl BackupError {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    /// The stable code for it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotEmpty { .. } | Self::Busy | Self::DataThere { .. } => Code::Conflict,
            Self::InsideData { .. } | Self::Relative { .. } => Code::InvalidParameter,
            Self::Cancelled => Code::ShuttingDown,
            Self::Incomplete { .. } | Self::Newer { .. } => Code::Conflict,
            Self::Manifest { .. }
            | Self::DamagedManifest { .. }
            | Self::Damaged { .. }
            | Self::Inconsistent { .. } => Code::StorageCorrupt,
            Self::Storage(error) => error.code(),
            Self::File { source, .. } if eventail_storage::disk_io::is_full(source) => Code::StorageFull,
            Self::File { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                Code::InvalidParameter
            }
            Self::File { .. } | Self::Task(_) | Self::Panicked(_) => Code::Internal,
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy) || self.code().is_retryable()
    }
}

fn counted(problems: &[FileProblem]) -> String {
    if problems.len() == 1 { "1 file is".to_owned() } else { format!("{} files are", problems.len()) }
}

/// The first few of them.
fn told(problems: &[FileProblem]) -> String {
    let mut told: Vec<_> =
        problems.iter().take(5).map(|problem| format!("{} ({})", problem.path, problem.what)).collect();
    if problems.len() > told.len() {
        told.push("and so on".to_owned());
    }
    told.join(", ")
}
