//! The disk as one process has it: a [`SimDisk`] whose calls fail from the moment when the process dies, and may be slow.
//!
//! A process dies at a moment, or at the Nth call that changes something: so a crash hits between a write and its sync as well. What
//! the dead process still tries changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use eventail_storage::disk_io::{Disk, DiskFile, DiskLock, SimDisk};

/// Whether a process lives, and when it dies by itself.
#[derive(Debug)]
pub(crate) struct Process {
    is_dead: AtomicBool,
    /// Calls that change something until it dies; 0 is never.
    calls_left: AtomicU64,
    /// How long each group of writes takes.
    write_ms: AtomicU64,
    /// How long each read takes.
    read_ms: AtomicU64,
}

impl Process {
    pub(crate) fn new(write_ms: u64, read_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            is_dead: AtomicBool::new(false),
            calls_left: AtomicU64::new(0),
            write_ms: AtomicU64::new(write_ms),
            read_ms: AtomicU64::new(read_ms),
        })
    }

    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Lets it die at the `calls`th call from now on.
    pub(crate) fn die_in(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    pub(crate) fn set_pace(&self, write_ms: u64, read_ms: u64) {
        self.write_ms.store(write_ms, Ordering::Relaxed);
        self.read_ms.store(read_ms, Ordering::Relaxed);
    }

    pub(crate) fn write_ms(&self) -> u64 {
        self.write_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn read_ms(&self) -> u64 {
        self.read_ms.load(Ordering::Relaxed)
    }

    fn look(&self) -> io::Result<()> {
        if self.is_dead() { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }

    fn change(&self) -> io::Result<()> {
        let left = self.calls_left.load(Ordering::Relaxed);
        if left > 0 {
            self.calls_left.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                self.die();
            }
        }
        self.look()
    }
}

/// The disk of one process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessDisk {
    pub(crate) disk: SimDisk,
    pub(crate) process: Arc<Process>,
}

#[derive(Debug)]
struct ProcessFile {
    file: Arc<dyn DiskFile>,
    process: Arc<Process>,
}

impl ProcessDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(ProcessFile { file, process: Arc::clone(&self.process) })
    }
}

impl Disk for ProcessDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.process.look()?;
        self.disk.open(path).map(|file| self.file(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.process.change()?;
        self.disk.create(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.process.change()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.process.change()?;
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.process.change()?;
        self.disk.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.process.look()?;
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.process.change()?;
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.process.change()?;
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.process.look()?;
        self.disk.lock(path)
    }
}

impl DiskFile for ProcessFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.process.look()?;
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.process.change()?;
        self.file.write_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.process.change()?;
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.process.change()?;
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.process.look()?;
        self.file.len()
    }
}
