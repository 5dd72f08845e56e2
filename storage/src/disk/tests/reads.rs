//! Reads, look-ups of files and lists that fail: nothing is cut off, overwritten or forgotten because of them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::engine::TestClock;
use crate::disk::DiskStore;
use crate::disk_io::{Disk, DiskFile, DiskLock, SimDisk};
use crate::log::{Log, LogOptions, NewRecord, ReadLimit};

const LIMIT: ReadLimit = ReadLimit { records: 7, bytes: 1 << 20 };
const RECORDS: u64 = 40;

/// Fails one call that changes nothing, by its number.
#[derive(Clone, Debug)]
struct Failing {
    disk: SimDisk,
    calls: Arc<AtomicU64>,
    fails: u64,
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn DiskFile>,
    disk: Failing,
}

impl Failing {
    fn new(disk: &SimDisk, fails: u64) -> Self {
        Self { disk: disk.clone(), calls: Arc::default(), fails }
    }

    fn count(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call == self.fails { Err(io::Error::other("input/output error (simulated)")) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.count()?;
        Ok(Arc::new(FailingFile { file: self.disk.open(path)?, disk: self.clone() }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingFile { file: self.disk.create(path)?, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.count()?;
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.count()?;
        self.disk.lock(path)
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.count()?;
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.file.write_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.count()?;
        self.file.len()
    }
}

fn options() -> LogOptions {
    let deduplication = super::rig::options().deduplication;
    LogOptions { segment_bytes: 700, deduplication, ..LogOptions::default() }
}

fn record(number: u64) -> NewRecord {
    super::rig::new_record(u128::from(number), 30)
}

fn open(disk: impl Disk) -> Result<(DiskStore, Arc<dyn Log>), crate::OpenError> {
    let (store, _) = DiskStore::open(Path::new("/data"), Arc::new(disk), TestClock::new())?;
    let log = store.open_or_create("log", options())?;
    Ok((store, log))
}

/// Reads all that can be read; `false` where a read failed.
async fn read(log: &dyn Log) -> bool {
    let mut next = log.status().range.start;
    while next < log.status().range.end {
        let Ok(records) = log.read(next, LIMIT).await else { return false };
        for record in records {
            assert_eq!(record.offset, next);
            assert_eq!(record.payload, super::rig::payload(u128::from(next.0), 30));
            next = next.plus(1);
        }
    }
    true
}

#[tokio::test]
async fn whatever_read_fails_the_log_is_whole_at_the_next_start() {
    let mut failed = 0;
    for call in 0.. {
        let disk = SimDisk::new();
        let (store, log) = open(disk.clone()).unwrap();
        for number in 0..RECORDS {
            log.append(vec![record(number)]).await.unwrap();
        }
        if call % 2 == 0 {
            store.close();
        }
        drop((store, log));
        disk.process_kill();
        if call % 3 == 0 {
            // So that the start reads more.
            let _none = disk.remove(Path::new("/data/log/00000000000000000007.idx"));
        }
        let failing = Failing::new(&disk, call);
        let outcome = open(failing.clone());
        let mut went_well = outcome.is_ok();
        if let Ok((store, log)) = outcome {
            went_well = read(&*log).await;
            assert_eq!(log.status().lost, [], "a failed read is no damage");
            let appended = log.append(vec![record(RECORDS)]).await.unwrap();
            assert_eq!(appended[0].offset.0, RECORDS);
            store.close();
        }
        failed += u64::from(!went_well);
        disk.process_kill();
        let (_store, log) = open(disk).unwrap();
        assert!(log.status().range.end.0 >= RECORDS, "call {call}");
        assert!(read(&*log).await, "call {call}");
        if failing.calls.load(Ordering::Relaxed) <= call {
            break;
        }
    }
    assert!(failed > 30, "{failed}");
}

#[tokio::test]
async fn an_error_of_the_disk_is_told_as_one_and_passes() {
    let disk = SimDisk::new();
    let (store, log) = open(disk.clone()).unwrap();
    log.append((0..RECORDS).map(record).collect()).await.unwrap();
    store.close();
    drop((store, log));
    disk.process_kill();
    let failing = Failing::new(&disk, u64::MAX);
    let (store, log) = open(failing.clone()).unwrap();
    let calls = failing.calls.load(Ordering::Relaxed);
    drop((store, log));
    let (_store, log) = open(Failing { fails: calls, calls: Arc::default(), ..failing }).unwrap();
    let error = log.read(eventail_wire::Offset(0), LIMIT).await.unwrap_err();
    assert!(matches!(error, crate::log::ReadError::Io { .. }), "{error}");
    assert!(read(&*log).await, "it is asked again");
}
