//! A panic on a storage thread: the thread lives on, and everybody who waits is answered.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use eventail_wire::{Code, Offset};

use super::engine::TestClock;
use crate::disk::DiskStore;
use crate::disk_io::{Disk, DiskFile, DiskLock, SimDisk};
use crate::log::{AppendError, Log, LogOptions, NewRecord, ReadError, ReadLimit};

/// A disk whose files panic where they are told to.
#[derive(Clone, Debug, Default)]
struct PanickingDisk {
    inner: SimDisk,
    syncs: Arc<AtomicBool>,
    reads: Arc<AtomicBool>,
}

#[derive(Debug)]
struct PanickingFile {
    inner: Arc<dyn DiskFile>,
    disk: PanickingDisk,
}

impl PanickingDisk {
    fn file(&self, opened: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        opened.map(|inner| Arc::new(PanickingFile { inner, disk: self.clone() }) as Arc<dyn DiskFile>)
    }
}

impl Disk for PanickingDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.inner.open(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.inner.create(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
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

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }
}

impl DiskFile for PanickingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        assert!(!self.disk.reads.load(Ordering::Relaxed), "a mistake while reading");
        self.inner.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        assert!(!self.disk.syncs.load(Ordering::Relaxed), "a mistake while writing");
        self.inner.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

fn open(disk: &PanickingDisk) -> DiskStore {
    DiskStore::open(Path::new("/data"), Arc::new(disk.clone()), TestClock::new()).unwrap().0
}

fn record(text: &'static str) -> Vec<NewRecord> {
    vec![NewRecord { payload: Bytes::from_static(text.as_bytes()), fingerprint: None }]
}

const ONE: ReadLimit = ReadLimit { records: 1, bytes: 1 };

#[tokio::test]
async fn a_panic_while_writing_poisons_the_logs_and_answers_everybody() {
    let disk = PanickingDisk::default();
    let store = open(&disk);
    let (a, b) = (open_log(&store, "a"), open_log(&store, "b"));
    a.append(record("kept")).await.unwrap();
    disk.syncs.store(true, Ordering::Relaxed);
    assert!(matches!(a.append(record("lost")).await, Err(AppendError::Poisoned { .. })));
    disk.syncs.store(false, Ordering::Relaxed);
    // The other one was under the same thread: it takes nothing either, and says so.
    assert!(matches!(b.append(record("late")).await, Err(AppendError::Poisoned { .. })));
    assert!(matches!(a.trim(Offset(1)).await, Err(AppendError::Poisoned { .. })));
    assert_eq!(b.status().refusal, Some(Code::StoragePoisoned));
    assert_eq!(a.read(Offset(0), ONE).await.unwrap()[0].payload, "kept");
    assert_eq!(store.moment().unwrap().logs[0].end, Offset(1));
    store.close();
    let store = open(&disk);
    let a = open_log(&store, "a");
    assert_eq!(a.read(Offset(0), ONE).await.unwrap()[0].payload, "kept");
    a.append(record("again")).await.unwrap();
}

#[tokio::test]
async fn a_panic_while_reading_fails_that_read_only() {
    let disk = PanickingDisk::default();
    let store = open(&disk);
    open_log(&store, "a").append(record("kept")).await.unwrap();
    drop(store);
    let store = open(&disk);
    let log = open_log(&store, "a");
    disk.reads.store(true, Ordering::Relaxed);
    let failed = log.read(Offset(0), ONE).await;
    assert!(matches!(&failed, Err(error @ ReadError::Io { .. }) if error.is_retryable()), "{failed:?}");
    disk.reads.store(false, Ordering::Relaxed);
    assert_eq!(log.read(Offset(0), ONE).await.unwrap()[0].payload, "kept");
}

fn open_log(store: &DiskStore, name: &str) -> Arc<dyn Log> {
    store.open_or_create(name, LogOptions::default()).unwrap()
}
