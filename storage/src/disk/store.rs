//! A folder of logs, and those who serve them: threads, or whoever opened it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use eventail_wire::Clock;

use super::core::{LogId, Request};
use super::format;
use super::handle::DiskLog;
use super::moment::{Holds, Moment};
use super::names;
use super::recovery::{At, DiskError};
use super::steps::Steps;
use super::threads::{Senders, Workers, start};
use super::writer::Writer;
use crate::disk_io::{Disk, DiskLock};
use crate::log::{Log, LogOptions};

/// Why a store or a log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the folder open.
    #[error("the data folder {dir} is in use by another process")]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder was written by a newer version. Nothing in it was touched.
    #[error(
        "the data in {} have format {found}, of a newer version of Eventail; this one reads up to {}",
        dir.display(), super::FORMAT
    )]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file that should tell the version of the folder does not. Nothing was touched.
    #[error("{} tells no version of the data: it is damaged, or of a newer version of Eventail", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A log cannot have this name.
    #[error(
        "a log cannot be called {name:?}: letters, digits, '.', '_' and '-' make a name, a dot does not begin it"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The disk refused.
    #[error("{path}: {cause}")]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// The system's word.
        #[source]
        cause: io::Error,
    },
    /// A thread could not be started.
    #[error("a storage thread could not be started")]
    Thread {
        /// The system's word.
        #[source]
        cause: io::Error,
    },
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
    /// A backup is being made, so nothing may be removed.
    #[error("the log {name} cannot be removed while a backup is made")]
    Held {
        /// The log.
        name: String,
    },
}

impl From<DiskError> for OpenError {
    fn from(DiskError { path, cause }: DiskError) -> Self {
        Self::Io { path, cause }
    }
}

impl OpenError {
    /// The stable code for it.
    #[must_use]
    pub fn code(&self) -> eventail_wire::Code {
        use eventail_wire::Code;
        match self {
            Self::Locked { .. } | Self::NewerFormat { .. } | Self::UnknownFormat { .. } => Code::Conflict,
            Self::Name { .. } => Code::InvalidName,
            Self::Io { cause, .. } if crate::disk_io::is_full(cause) => Code::StorageFull,
            Self::Io { .. } | Self::Thread { .. } => Code::Internal,
            Self::Held { .. } => Code::Overloaded,
            Self::Closed => Code::ShuttingDown,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

/// What was found when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The logs in the folder, in order.
    pub names: Vec<String>,
    /// Folders of logs whose removal had been interrupted, and was completed now.
    pub removals_completed: usize,
}

/// A folder of logs. One process at a time may have it open. Dropping it closes it.
#[derive(Debug)]
pub struct DiskStore {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    senders: Senders,
    workers: Mutex<Option<(Workers, Box<dyn DiskLock>)>>,
    logs: Mutex<Logs>,
    /// Signalled when a log was opened, or could not be.
    opened: Condvar,
    holds: Holds,
}

#[derive(Debug, Default)]
struct Logs {
    /// `None` while it is being opened or removed.
    by_name: HashMap<String, Option<Arc<DiskLog>>>,
    next_id: usize,
    closed: bool,
}

impl DiskStore {
    /// Opens a folder, creating it where there is none, takes its lock and starts the threads. The logs in it are opened
    /// one by one with [`DiskStore::open_or_create`].
    ///
    /// # Errors
    /// [`OpenError::Locked`] where another process has it; what the system says otherwise.
    pub fn open(
        dir: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, OpenReport), OpenError> {
        let holds = Holds::default();
        let of_writer = holds.clone();
        Self::open_with(dir, disk, clock, holds, |disk, clock| {
            start(disk, clock, of_writer).map_err(|cause| OpenError::Thread { cause })
        })
    }

    /// The same without threads: the caller does the store's work, step by step.
    ///
    /// # Errors
    /// As [`DiskStore::open`].
    pub fn open_in_steps(
        dir: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, OpenReport, Arc<Steps>), OpenError> {
        let holds = Holds::default();
        let steps = Steps::new(&disk, Arc::clone(&clock), holds.clone());
        let senders = Senders::Steps(Arc::clone(&steps));
        let (store, report) = Self::open_with(dir, disk, clock, holds, |_, _| Ok((senders, Workers::Steps)))?;
        Ok((store, report, steps))
    }

    fn open_with(
        dir: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        holds: Holds,
        start: impl FnOnce(&Arc<dyn Disk>, Arc<dyn Clock>) -> Result<(Senders, Workers), OpenError>,
    ) -> Result<(Self, OpenReport), OpenError> {
        create_durably(&*disk, dir)?;
        let lock_path = dir.join(names::LOCK);
        let lock = match disk.lock(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(OpenError::Locked { dir: dir.to_owned() });
            }
            Err(cause) => return Err(OpenError::Io { path: lock_path, cause }),
        };
        if !format::check(&*disk, dir)? {
            format::mark(&*disk, dir, super::FORMAT)?;
        }
        let removals_completed = complete_removals(&*disk, dir)?;
        let (senders, workers) = start(&disk, Arc::clone(&clock))?;
        let store = Self {
            dir: dir.to_owned(),
            disk,
            clock,
            senders,
            workers: Mutex::new(Some((workers, lock))),
            logs: Mutex::default(),
            opened: Condvar::new(),
            holds,
        };
        let names = store.names()?;
        Ok((store, OpenReport { names, removals_completed }))
    }

    /// Has the tails of all logs, from which followers read without the disk, keep so many bytes together at most.
    pub fn set_tails_bytes_max(&self, bytes: usize) {
        self.senders.set_tails_bytes_max(bytes);
    }

    /// The disk that it is on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Whether calls may block: without threads nobody is waited for.
    #[must_use]
    pub fn may_block(&self) -> bool {
        matches!(self.senders, Senders::Threads { .. })
    }

    /// The log, if it is open.
    #[must_use]
    pub fn log(&self, name: &str) -> Option<Arc<dyn Log>> {
        self.lock_logs().by_name.get(name)?.clone().map(|log| log as Arc<dyn Log>)
    }

    /// Opens a log, recovering what it holds, or creates it. One that is open already takes the options on; only its
    /// deduplication cannot be switched on or off while it is.
    ///
    /// Blocks. Several threads may open several logs at once.
    ///
    /// # Errors
    /// [`OpenError::Name`], [`OpenError::Closed`], and what the system says. Damaged bytes are no error: all records but those
    /// that they held are there, which [`Log::status`] tells.
    pub fn open_or_create(&self, name: &str, options: LogOptions) -> Result<Arc<dyn Log>, OpenError> {
        if !names::is_log_name(name) {
            return Err(OpenError::Name { name: name.to_owned() });
        }
        let mut logs = self.lock_logs();
        loop {
            if logs.closed {
                return Err(OpenError::Closed);
            }
            match logs.by_name.get(name) {
                None => break,
                Some(Some(log)) => {
                    let log = Arc::clone(log);
                    self.senders.write(log.id, Request::Options(options));
                    return Ok(log);
                }
                Some(None) => logs = self.opened.wait(logs).unwrap_or_else(PoisonError::into_inner),
            }
        }
        logs.by_name.insert(name.to_owned(), None);
        let id = LogId(logs.next_id);
        logs.next_id += 1;
        drop(logs);
        let opened = Writer::open(&self.disk, &self.dir.join(name), name, options, self.clock.now());
        let mut logs = self.lock_logs();
        let outcome = match opened {
            Ok(writer) => {
                let shared = Arc::clone(&writer.shared);
                self.senders.write(id, Request::Adopt(Box::new(writer)));
                let log = Arc::new(DiskLog { id, shared, senders: self.senders.clone() });
                logs.by_name.insert(name.to_owned(), Some(Arc::clone(&log)));
                Ok(log as Arc<dyn Log>)
            }
            Err(error) => {
                logs.by_name.remove(name);
                Err(error.into())
            }
        };
        self.opened.notify_all();
        outcome
    }

    /// The open logs that refuse appends now, and why, in the order of their names.
    #[must_use]
    pub fn refusals(&self) -> Vec<(String, eventail_wire::Code)> {
        let logs = self.lock_logs();
        let open = logs.by_name.iter().filter_map(|(name, log)| Some((name, log.as_ref()?)));
        let mut refusals: Vec<_> =
            open.filter_map(|(name, log)| Some((name.clone(), log.shared.refusal()?))).collect();
        refusals.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        refusals
    }

    /// The names of the logs in the folder, open or not, in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&self) -> Result<Vec<String>, OpenError> {
        log_names(&*self.disk, &self.dir).map_err(OpenError::from)
    }

    /// Takes the moment that this is, for a backup. Logs that nobody has opened yet are opened. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Closed`], and what the system says.
    pub fn moment(&self) -> Result<Moment, OpenError> {
        let hold = self.holds.hold();
        for name in self.names()? {
            if self.log(&name).is_none() {
                // Whoever opens it in earnest has it take other options on.
                self.open_or_create(&name, LogOptions::default())?;
            }
        }
        let logs = self.senders.moment().ok_or(OpenError::Closed)?;
        Ok(Moment { logs, _hold: hold })
    }

    /// Removes a log with all its records; `false` where there is none. Whoever still holds it finds it closed. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Closed`], [`OpenError::Held`], and what the system says; it is removed at the next start then.
    pub fn remove(&self, name: &str) -> Result<bool, OpenError> {
        let mut logs = self.lock_logs();
        while matches!(logs.by_name.get(name), Some(None)) {
            logs = self.opened.wait(logs).unwrap_or_else(PoisonError::into_inner);
        }
        if logs.closed {
            return Err(OpenError::Closed);
        }
        let log = logs.by_name.insert(name.to_owned(), None).flatten();
        drop(logs);
        let outcome = self.remove_files(name, log.as_deref());
        self.lock_logs().by_name.remove(name);
        self.opened.notify_all();
        outcome
    }

    fn remove_files(&self, name: &str, log: Option<&DiskLog>) -> Result<bool, OpenError> {
        if self.holds.is_held() {
            return Err(OpenError::Held { name: name.to_owned() });
        }
        if !names::is_log_name(name) || !self.names()?.iter().any(|found| found == name) {
            return Ok(false);
        }
        self.senders.forget(log.map(|log| log.id), name);
        let removed = self.dir.join(format!("{}{name}", names::REMOVED_PREFIX));
        self.disk.rename(&self.dir.join(name), &removed).at(&removed)?;
        self.disk.sync_dir(&self.dir).at(&self.dir)?;
        remove_folder(&*self.disk, &removed)?;
        Ok(true)
    }

    /// Takes no more appends, finishes those that wait, syncs, writes down what makes the next start quick, and lets go of
    /// the folder. Blocks. The second time it does nothing.
    pub fn close(&self) {
        let mut logs = self.lock_logs();
        logs.closed = true;
        // Whoever opens a log right now has its writer handed over before the threads end.
        while logs.by_name.values().any(Option::is_none) {
            logs = self.opened.wait(logs).unwrap_or_else(PoisonError::into_inner);
        }
        drop(logs);
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((workers, lock)) = workers.take() {
            workers.close(&self.senders);
            drop(lock);
        }
    }

    fn lock_logs(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.close();
    }
}

fn create_durably(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    let is_missing =
        |dir: &Path| matches!(disk.list(dir), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if disk.list(dir).is_err() {
        let missing: Vec<&Path> = dir.ancestors().take_while(|above| is_missing(above)).collect();
        disk.create_dir(dir).at(dir)?;
        // Each of them is only as safe as its name in the one above.
        for parent in missing.into_iter().chain([dir]).filter_map(parent_of) {
            disk.sync_dir(parent).at(parent)?;
        }
    }
    // A process that was killed may have created folders and not made their names safe. Those further up need not be ours to sync.
    for above in std::iter::successors(parent_of(dir), |above| parent_of(above)) {
        match disk.sync_dir(above) {
            Err(cause) if is_not_ours(&cause) => break,
            synced => synced.at(above)?,
        }
    }
    disk.sync_dir(dir).at(dir)
}

/// Whether a folder cannot be synced because it belongs to others, or to a file system that knows no such thing.
fn is_not_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), InvalidInput | NotFound | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// The folder that has the name of this one; `None` of the root, and of where the process stands.
fn parent_of(dir: &Path) -> Option<&Path> {
    let parent = dir.parent()?;
    Some(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }).filter(|parent| *parent != dir)
}

/// The folders of logs, in order.
pub(crate) fn log_names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, DiskError> {
    let mut names: Vec<String> = disk.list(dir).at(dir)?;
    // A file that somebody put there is no log.
    names.retain(|name| names::is_log_name(name) && disk.list(&dir.join(name)).is_ok());
    names.sort_unstable();
    Ok(names)
}

fn complete_removals(disk: &dyn Disk, dir: &Path) -> Result<usize, DiskError> {
    let names = disk.list(dir).at(dir)?;
    let left: Vec<&String> = names.iter().filter(|name| name.starts_with(names::REMOVED_PREFIX)).collect();
    for name in &left {
        remove_folder(disk, &dir.join(name))?;
    }
    Ok(left.len())
}

fn remove_folder(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    for name in disk.list(dir).at(dir)? {
        let path = dir.join(name);
        disk.remove(&path).at(&path)?;
    }
    disk.remove_dir(dir).at(dir)
}
