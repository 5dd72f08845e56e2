//! A folder of logs, and the threads that serve them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use eventail_wire::Clock;

use super::core::{LogId, Request};
use super::handle::DiskLog;
use super::names;
use super::recovery::{At, DiskError};
use super::threads::{ReadMessage, Senders, Threads, WriteMessage, start};
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
            Self::Locked { .. } => Code::Conflict,
            Self::Name { .. } => Code::InvalidName,
            Self::Io { cause, .. } if crate::disk_io::is_full(cause) => Code::StorageFull,
            Self::Io { .. } | Self::Thread { .. } => Code::Internal,
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
    threads: Mutex<Option<(Threads, Box<dyn DiskLock>)>>,
    logs: Mutex<Logs>,
    /// Signalled when a log was opened, or could not be.
    opened: Condvar,
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
        create_durably(&*disk, dir)?;
        let lock_path = dir.join(names::LOCK);
        let lock = match disk.lock(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(OpenError::Locked { dir: dir.to_owned() });
            }
            Err(cause) => return Err(OpenError::Io { path: lock_path, cause }),
        };
        let removals_completed = complete_removals(&*disk, dir)?;
        let (senders, threads) =
            start(&disk, Arc::clone(&clock)).map_err(|cause| OpenError::Thread { cause })?;
        let store = Self {
            dir: dir.to_owned(),
            disk,
            clock,
            senders,
            threads: Mutex::new(Some((threads, lock))),
            logs: Mutex::default(),
            opened: Condvar::new(),
        };
        let names = store.names()?;
        Ok((store, OpenReport { names, removals_completed }))
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
                    self.send(log.id, Request::Options(options));
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
                self.send(id, Request::Adopt(Box::new(writer)));
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

    /// The names of the logs in the folder, open or not, in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&self) -> Result<Vec<String>, OpenError> {
        log_names(&*self.disk, &self.dir).map_err(OpenError::from)
    }

    /// Removes a log with all its records; `false` where there is none. Whoever still holds it finds it closed. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Closed`], and what the system says; it is removed at the next start then.
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
        if !names::is_log_name(name) || !self.names()?.iter().any(|found| found == name) {
            return Ok(false);
        }
        if let Some(log) = log {
            let (answer, answered) = channel();
            self.send(log.id, Request::Remove { answer });
            let _ = answered.recv();
        }
        for reader in self.senders.readers() {
            let (answer, answered) = channel();
            let _ = reader.send(ReadMessage::Forget { log: name.to_owned(), answer });
            let _ = answered.recv();
        }
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
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((threads, lock)) = threads.take() {
            threads.close(&self.senders);
            drop(lock);
        }
    }

    fn send(&self, log: LogId, request: Request) {
        // The thread is there until the store is closed, and after that there is nothing to be done.
        let _ = self.senders.writer.send(WriteMessage::Log(log, request));
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
    if disk.list(dir).is_err() {
        disk.create_dir(dir).at(dir)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk.sync_dir(parent).at(parent)?;
    }
    // Folders of logs that a killed process created may not be safe yet.
    disk.sync_dir(dir).at(dir)
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
