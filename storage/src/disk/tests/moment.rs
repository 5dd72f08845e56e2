//! A moment of a store: it stands still while the logs go on, and nothing of it goes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::{Offset, Timestamp};

use super::engine::TestClock;
use crate::disk::{DiskStore, OpenError, files};
use crate::disk_io::{Disk, SimDisk};
use crate::log::{Durability, Log, LogOptions, NewRecord, ReadLimit, Record};

const LIMIT: ReadLimit = ReadLimit { records: 10_000, bytes: 1 << 20 };

fn open(disk: &SimDisk, dir: &str) -> DiskStore {
    DiskStore::open(Path::new(dir), Arc::new(disk.clone()), TestClock::new()).unwrap().0
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 1 << 10, retention_bytes: Some(1 << 10), ..LogOptions::default() }
}

async fn append(log: &Arc<dyn Log>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let payload = Bytes::from(format!("{number:0100}"));
        log.append(vec![NewRecord { payload, fingerprint: None }]).await.unwrap();
    }
}

async fn read_all(log: &Arc<dyn Log>) -> Vec<Record> {
    let range = log.status().range;
    let mut records = Vec::new();
    let mut next = range.start;
    while next < range.end {
        records.extend(log.read(next, LIMIT).await.unwrap());
        next = records.last().unwrap().offset.plus(1);
    }
    records
}

/// Copies a moment into another folder, as a backup does.
fn copy(disk: &SimDisk, moment: &crate::disk::Moment, into: &str) {
    for log in &moment.logs {
        let folder = Path::new(into).join(&log.name);
        disk.create_dir(&folder).unwrap();
        for segment in &log.segments {
            let to = folder.join(segment.path.file_name().unwrap());
            files::copy(disk, &segment.path, &to, segment.bytes, &mut |_| Ok(())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_copied_moment_is_what_the_logs_were_then() {
    let disk = SimDisk::new();
    let store = open(&disk, "/data");
    let logs: Vec<_> = ["a", "_journal"]
        .into_iter()
        .zip([Durability::Sync, Durability::Buffered])
        .map(|(name, durability)| store.open_or_create(name, LogOptions { durability, ..options() }).unwrap())
        .collect();
    append(&logs[0], 0..25).await;
    append(&logs[1], 0..7).await;
    let before = [read_all(&logs[0]).await, read_all(&logs[1]).await];
    let moment = store.moment().unwrap();
    append(&logs[0], 25..60).await;
    append(&logs[1], 7..30).await;
    copy(&disk, &moment, "/copy");
    assert_eq!(moment.logs.iter().map(|log| log.end.0).collect::<Vec<_>>(), [7, 25]);
    let restored = open(&disk, "/copy");
    for (name, before) in ["a", "_journal"].into_iter().zip(before) {
        let log = restored.open_or_create(name, options()).unwrap();
        assert_eq!(read_all(&log).await, before, "{name}");
        assert_eq!(log.status().refusal, None);
    }
}

#[tokio::test]
async fn nothing_of_a_moment_goes_until_it_is_dropped() {
    let disk = SimDisk::new();
    let store = open(&disk, "/data");
    let log = store.open_or_create("a", options()).unwrap();
    append(&log, 0..40).await;
    let moment = store.moment().unwrap();
    assert!(moment.logs[0].segments.len() > 3, "{moment:?}");
    assert_eq!(log.retain(Timestamp(0)).await.unwrap(), Offset(0));
    assert_eq!(log.trim(Offset(30)).await.unwrap(), Offset(0));
    let removed = store.remove("a");
    assert!(matches!(&removed, Err(error @ OpenError::Held { .. }) if error.is_retryable()), "{removed:?}");
    append(&log, 40..45).await;
    copy(&disk, &moment, "/copy");
    drop(moment);
    assert!(log.trim(Offset(30)).await.unwrap() > Offset(20));
}

#[tokio::test]
async fn logs_that_nobody_opened_belong_to_a_moment() {
    let disk = SimDisk::new();
    let store = open(&disk, "/data");
    append(&store.open_or_create("asleep", options()).unwrap(), 0..3).await;
    drop(store);
    let store = open(&disk, "/data");
    let moment = store.moment().unwrap();
    assert_eq!((moment.logs[0].name.as_str(), moment.logs[0].end), ("asleep", Offset(3)));
    // They take on what whoever opens them in earnest says.
    let log = store.open_or_create("asleep", options()).unwrap();
    append(&log, 3..4).await;
    assert_eq!(log.status().range.end, Offset(4));
}
