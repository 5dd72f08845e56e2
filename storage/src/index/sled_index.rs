//! The index on sled 0.34.
//!
//! Five things about sled shape this file. `flush()` does not reach the disk on Linux (it calls `sync_file_range`), so [`SledIndex::flush`] syncs
//! the file itself. `open` and reads may panic on damaged files, so both run under `catch_unwind`. A file that was cut short may open as
//! an empty database without a word, so each flush notes the file's length beside it. Its threads may hold the file's lock a moment
//! after the database was dropped, so opening waits for it: a busy file is not a damaged one. And its own timer would flush at moments of
//! its choosing, so it is turned off.

use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk_io::create_private_dir;

use super::{Index, IndexBatch, IndexError, RowVisitor};

/// Serialized bytes that sled keeps in memory; the heap that they take is about twice as much.
const CACHE_BYTES: u64 = 4 << 20;
/// sled's own file.
const DATABASE_FILE: &str = "db";
/// Our note of how long that file was at the last flush.
const LENGTH_FILE: &str = "length";
/// How many damaged folders are kept aside; the names are numbered.
const ASIDE_MAX: u32 = 1000;
/// How long opening waits for whoever still holds the file. sled's own threads take milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(1);

/// An index in a folder of its own.
pub struct SledIndex {
    dir: PathBuf,
    database: sled::Db,
    file: File,
}

impl std::fmt::Debug for SledIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledIndex").finish_non_exhaustive()
    }
}

impl SledIndex {
    /// Opens the index in `dir`, or an empty one: a folder that cannot be read is put aside as `<dir>.corrupt-<number>`, with a warning.
    ///
    /// # Errors
    /// Where no index can be made either, and where another process has it.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        Self::open_within(dir, LOCK_WAIT)
    }

    pub(super) fn open_within(dir: &Path, lock_wait: Duration) -> Result<Self, IndexError> {
        wait_for_lock(dir, lock_wait)?;
        match Self::try_open(dir) {
            Ok(index) => Ok(index),
            Err(error) if dir.exists() => {
                let aside = put_aside(dir)?;
                metrics::counter!(crate::metric_names::INDEX_RESETS).increment(1);
                tracing::warn!(
                    dir = %dir.display(), aside = %aside.display(), %error,
                    "the index cannot be read and was put aside; it is rebuilt from the logs"
                );
                Self::try_open(dir)
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(dir: &Path) -> Result<Self, IndexError> {
        check_length(dir)?;
        make_private(dir).map_err(|source| IndexError::Open { dir: dir.into(), source })?;
        guarded(|| {
            let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            let database = config.open()?;
            // A first look at every row meets damage now rather than in the middle of an answer.
            for row in database.iter() {
                row?;
            }
            Ok(database)
        })
        .and_then(|database| {
            #[allow(clippy::disallowed_methods, reason = "sled has its own files; only its sync is ours")]
            let file = File::open(dir.join(DATABASE_FILE))
                .map_err(|source| IndexError::Open { dir: dir.into(), source })?;
            Ok(Self { dir: dir.into(), database, file })
        })
    }
}

/// sled makes files that everybody may read, so nobody else comes into their folder.
fn make_private(dir: &Path) -> std::io::Result<()> {
    create_private_dir(dir)?;
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        guarded(|| Ok(self.database.get(key)?.map(|value| value.to_vec())))
    }

    fn apply(&self, batch: IndexBatch) -> Result<(), IndexError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.changes {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        guarded(|| self.database.apply_batch(changes))
    }

    fn scan(&self, prefix: &[u8], from: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), IndexError> {
        let begin = from.filter(|from| *from > prefix).unwrap_or(prefix);
        guarded(|| {
            for row in self.database.range(begin..) {
                let (key, value) = row?;
                if !key.starts_with(prefix) || !visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), IndexError> {
        guarded(|| {
            self.database.flush()?;
            self.file.sync_all()?;
            // Written anew as a whole: if it is torn it is no number, and then nothing is checked.
            std::fs::write(self.dir.join(LENGTH_FILE), self.file.metadata()?.len().to_string())?;
            Ok(())
        })
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "the index was not flushed; the next start reads more of the logs");
        }
    }
}

/// Returns once nobody holds the lock of sled's file. sled itself tries once and calls a busy file an error like any other.
fn wait_for_lock(dir: &Path, most: Duration) -> Result<(), IndexError> {
    let opening = |source| IndexError::Open { dir: dir.into(), source };
    #[allow(clippy::disallowed_methods, reason = "sled has its own files; only its lock is looked at")]
    let file = match File::open(dir.join(DATABASE_FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(opening)?,
    };
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(opening(source)),
            Err(TryLockError::WouldBlock) if waited >= most => {
                return Err(IndexError::Busy { dir: dir.into() });
            }
            Err(TryLockError::WouldBlock) => {
                // A blocking lock could not be given up again after `most`.
                std::thread::park_timeout(LOCK_POLL);
                waited += LOCK_POLL;
            }
        }
    }
}

fn check_length(dir: &Path) -> Result<(), IndexError> {
    let noted = std::fs::read_to_string(dir.join(LENGTH_FILE)).ok().and_then(|text| text.parse::<u64>().ok());
    let found = std::fs::metadata(dir.join(DATABASE_FILE)).map_or(0, |metadata| metadata.len());
    match noted {
        Some(noted) if found < noted => Err(IndexError::Truncated { dir: dir.into(), found, noted }),
        _ => Ok(()),
    }
}

fn guarded<T>(call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| IndexError::Engine(Box::new(error))),
        Err(_) => Err(IndexError::Panicked),
    }
}

fn put_aside(dir: &Path) -> Result<PathBuf, IndexError> {
    let name = |number| PathBuf::from(format!("{}.corrupt-{number}", dir.display()));
    let free = (1..ASIDE_MAX).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(ASIDE_MAX));
    std::fs::rename(dir, &free).map_err(|source| IndexError::Open { dir: dir.into(), source })?;
    Ok(free)
}
