//! Backups: a copy of everything that the broker keeps, as it was at one moment, in a folder of its own.
//!
//! ```text
//! <backup>/
//!   manifest.json                     written last: without it the backup is not complete
//!   logs/<log>/<segment>.log, .idx    every log up to its end at the moment
//!   secrets/                          only where they were asked for
//! ```
//!
//! The moment is one for all logs (see [`eventail_storage::disk::Moment`]), so what is restored is what a start after a `kill -9` at that
//! moment would have found: nothing acknowledged is missing, and what was delivered and not yet noted is delivered again. The index is not
//! part of it; it is rebuilt.
//!
//! A backup is made by renaming its manifest into place, after everything else is synced. A restore verifies every checksum before it
//! writes anything, copies into a folder beside the real one, and is made by renaming that. Whatever is interrupted is recognised and
//! refused.

mod error;
mod making;
mod manifest;
mod restoring;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use eventail_storage::disk_io::Disk;

pub use error::{BackupError, FileProblem};
pub use making::{BackupOptions, make};
pub use manifest::{BackupManifest, DamageInBackup, FORMAT, FileInBackup, LogInBackup};
pub use restoring::{restore, verify};

pub(crate) use restoring::is_half_restored;

/// The file that makes a backup complete.
const MANIFEST: &str = "manifest.json";
/// The folder of the logs, in a backup as in a data folder.
const LOGS: &str = "logs";
/// The folder of what is secret, in a backup.
const SECRETS: &str = "secrets";
/// Files of a data folder that are secret: a backup has them only where it is asked to.
const SECRET_FILES: [&str; 3] = ["tokens.toml", "tls/certificate.pem", "tls/key.pem"];

/// How far a backup or restore is. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    bytes_done: AtomicU64,
    is_cancelled: AtomicBool,
}

impl Progress {
    /// Bytes that are to be read or copied, and those that were.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.bytes.load(Ordering::Relaxed), self.0.bytes_done.load(Ordering::Relaxed))
    }

    /// Has it end early, without a result.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }

    fn expect(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is told of each piece.
    fn piece(&self, bytes: u64) -> io::Result<()> {
        self.0.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

/// What is in a folder; `None` where there is none.
fn names_in(disk: &dyn Disk, dir: &Path) -> Result<Option<Vec<String>>, BackupError> {
    match disk.list(dir) {
        Ok(names) => Ok(Some(names)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BackupError::file(dir, source)),
    }
}

/// Makes the name of a folder durable.
fn sync_parent(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(|source| BackupError::file(parent, source))
}
