//! A store as a whole: its lock, its names, removal, closing.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::{Code, Offset};

use super::engine::TestClock;
use crate::disk::{DiskStore, OpenError, check};
use crate::disk_io::{Disk, OsDisk, SimDisk};
use crate::log::{AppendError, Durability, LogOptions, NewRecord, ReadLimit};

const LIMIT: ReadLimit = ReadLimit { records: 100, bytes: 1 << 20 };

fn open(dir: &Path, disk: impl Disk) -> DiskStore {
    DiskStore::open(dir, Arc::new(disk), TestClock::new()).unwrap().0
}

fn record(payload: &str) -> NewRecord {
    NewRecord { payload: Bytes::copy_from_slice(payload.as_bytes()), fingerprint: None }
}

#[test]
fn a_folder_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), OsDisk);
    let second = DiskStore::open(dir.path(), Arc::new(OsDisk), TestClock::new());
    assert!(matches!(&second, Err(OpenError::Locked { dir: told }) if told == dir.path()), "{second:?}");
    assert!(matches!(check(&OsDisk, dir.path()), Err(OpenError::Locked { .. })));
    store.close();
    store.close();
    open(dir.path(), OsDisk);
}

#[test]
fn a_name_that_is_no_folder_is_refused() {
    let store = open(Path::new("/data"), SimDisk::new());
    for name in ["", ".", "..", "../up", "a/b", ".hidden", "with space", &"x".repeat(300)] {
        let error = store.open_or_create(name, LogOptions::default()).err().unwrap();
        assert_eq!(error.code(), Code::InvalidName, "{name}");
    }
    store.open_or_create("_settlements.a-b", LogOptions::default()).unwrap();
}

#[tokio::test]
async fn logs_are_found_again_and_a_removed_one_is_gone() {
    let disk = SimDisk::new();
    let dir = Path::new("/data");
    let store = open(dir, disk.clone());
    let kept = store.open_or_create("kept", LogOptions::default()).unwrap();
    let gone = store.open_or_create("gone", LogOptions::default()).unwrap();
    gone.append(vec![record("x")]).await.unwrap();
    kept.append(vec![record("y")]).await.unwrap();
    assert!(store.log("gone").is_some() && store.log("other").is_none());
    assert!(store.remove("gone").unwrap());
    assert!(!store.remove("gone").unwrap());
    assert!(store.log("gone").is_none());
    assert!(matches!(gone.append(vec![record("late")]).await, Err(AppendError::Closed)));
    assert_eq!(store.names().unwrap(), ["kept"]);
    let anew = store.open_or_create("gone", LogOptions::default()).unwrap();
    assert_eq!(anew.append(vec![record("first")]).await.unwrap()[0].offset, Offset(0));
    assert_eq!(anew.read(Offset(0), LIMIT).await.unwrap()[0].payload, "first");
    drop(store);
    disk.power_cut(1);
    let (store, report) = DiskStore::open(dir, Arc::new(disk), TestClock::new()).unwrap();
    assert_eq!(report.names, ["gone", "kept"]);
    store.open_or_create("kept", LogOptions::default()).unwrap();
}

#[tokio::test]
async fn an_interrupted_removal_is_completed_at_the_next_start() {
    let disk = SimDisk::new();
    let dir = Path::new("/data");
    let store = open(dir, disk.clone());
    store.open_or_create("log", LogOptions::default()).unwrap().append(vec![record("x")]).await.unwrap();
    store.close();
    disk.rename(&dir.join("log"), &dir.join(".removed-log")).unwrap();
    let (_store, report) = DiskStore::open(dir, Arc::new(disk.clone()), TestClock::new()).unwrap();
    assert_eq!((report.removals_completed, report.names.len()), (1, 0));
    assert_eq!(disk.list(dir).unwrap(), [".format"]);
}

#[tokio::test]
async fn closing_brings_buffered_writes_to_disk() {
    let disk = SimDisk::new();
    let dir = Path::new("/data");
    let store = open(dir, disk.clone());
    let options =
        LogOptions { durability: Durability::Buffered, buffered_sync_ms: 3_600_000, ..LogOptions::default() };
    let log = store.open_or_create("log", options.clone()).unwrap();
    log.append(vec![record("x")]).await.unwrap();
    assert_eq!(*log.durable_end().borrow(), Offset(1));
    store.close();
    assert!(matches!(store.open_or_create("log", options.clone()), Err(OpenError::Closed)));
    disk.power_cut(7);
    let log = open(dir, disk).open_or_create("log", options).unwrap();
    assert_eq!(*log.durable_end().borrow(), Offset(1));
}

#[test]
fn many_threads_may_open_the_same_and_other_logs() {
    let store = open(Path::new("/data"), SimDisk::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..20 {
                    store
                        .open_or_create(&format!("log-{}", (number + thread) % 20), LogOptions::default())
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(store.names().unwrap().len(), 20);
}
