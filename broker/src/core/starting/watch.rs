//! A disk that tells a start's progress what is read, cut off and written anew in the folders of logs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use eventail_storage::disk_io::{Disk, DiskFile, DiskLock};

use super::StartProgress;

/// The disk with somebody who watches it.
pub(crate) fn watched(inner: Arc<dyn Disk>, logs: PathBuf, progress: StartProgress) -> Arc<dyn Disk> {
    Arc::new(Watched { inner, logs, progress })
}

#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Disk>,
    /// The folder of the logs.
    logs: PathBuf,
    progress: StartProgress,
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    log: Box<str>,
    progress: StartProgress,
}

impl Watched {
    /// The log that a path is of.
    fn log_of<'p>(&self, path: &'p Path) -> Option<&'p str> {
        path.strip_prefix(&self.logs).ok()?.parent()?.to_str().filter(|log| !log.is_empty())
    }

    fn file(
        &self,
        path: &Path,
        open: impl FnOnce(&Path) -> io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        // What comes after the start is not slowed down by it.
        if self.progress.lock().is_over || path.extension().is_none_or(|suffix| suffix != "log") {
            return open(path);
        }
        let Some(log) = self.log_of(path) else { return open(path) };
        self.progress.note(log, |_| {});
        let inner = open(path)?;
        Ok(Arc::new(WatchedFile { inner, log: log.into(), progress: self.progress.clone() }))
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path, |path| self.inner.open(path))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path, |path| self.inner.open_to_read(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.extension().is_some_and(|suffix| suffix == "idx")
            && let Some(log) = self.log_of(path)
        {
            self.progress.note(log, |found| found.sidecars_rebuilt += 1);
        }
        self.file(path, |path| self.inner.create(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn make_private(&self, path: &Path) -> io::Result<()> {
        self.inner.make_private(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let begun = Instant::now();
        let read = self.inner.read_at(buffer, position)?;
        self.progress.note(&self.log, |found| {
            found.bytes_read += read as u64;
            found.took += begun.elapsed();
        });
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let before = self.inner.len()?;
        self.inner.set_len(bytes)?;
        self.progress.note(&self.log, |found| found.bytes_cut += before.saturating_sub(bytes));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
