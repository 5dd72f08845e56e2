//! A store without threads: what is asked of it happens in the steps that its opener does, and nowhere else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::Offset;
use tokio::sync::oneshot::error::TryRecvError;

use super::engine::TestClock;
use crate::disk::{DiskStore, Steps};
use crate::disk_io::SimDisk;
use crate::log::{AppendError, Durability, LogOptions, NewRecord, ReadLimit};

const LIMIT: ReadLimit = ReadLimit { records: 100, bytes: 1 << 20 };

fn open(disk: &SimDisk) -> (DiskStore, Arc<Steps>) {
    let (store, _, steps) =
        DiskStore::open_in_steps(Path::new("/data"), Arc::new(disk.clone()), TestClock::new()).unwrap();
    (store, steps)
}

fn record(payload: &str) -> NewRecord {
    NewRecord { payload: Bytes::copy_from_slice(payload.as_bytes()), fingerprint: None }
}

/// A future's value that is looked at without waiting.
fn watch<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move { drop(sender.send(future.await)) });
    receiver
}

#[tokio::test]
async fn nothing_is_written_or_read_between_the_steps() {
    let disk = SimDisk::new();
    let (store, steps) = open(&disk);
    let log = store.open_or_create("log", LogOptions::default()).unwrap();
    let mut appended = watch(log.append(vec![record("a")]));
    tokio::task::yield_now().await;
    let calls = disk.calls();
    assert_eq!(appended.try_recv().unwrap_err(), TryRecvError::Empty);
    assert!(steps.has_writes().await);
    steps.write(0);
    assert!(disk.calls() > calls);
    assert_eq!(appended.await.unwrap().unwrap()[0].offset, Offset(0));
    store.close();

    let (store, steps) = open(&disk);
    let log = store.open_or_create("log", LogOptions::default()).unwrap();
    let mut read = watch(log.read(Offset(0), LIMIT));
    tokio::task::yield_now().await;
    assert_eq!(read.try_recv().unwrap_err(), TryRecvError::Empty);
    assert!(steps.has_reads().await);
    steps.read();
    assert_eq!(read.await.unwrap().unwrap()[0].payload, "a");
}

#[tokio::test]
async fn a_buffered_write_is_synced_by_the_step_after_its_time() {
    let (store, steps) = open(&SimDisk::new());
    let options = LogOptions { durability: Durability::Buffered, ..LogOptions::default() };
    let log = store.open_or_create("log", options).unwrap();
    let appended = log.append(vec![record("a")]);
    steps.write(1_000);
    appended.await.unwrap();
    assert_eq!(steps.next_due_ms(), Some(1_050));
    steps.write(1_049);
    assert_eq!(steps.next_due_ms(), Some(1_050));
    steps.write(1_050);
    assert_eq!(steps.next_due_ms(), None);
}

#[tokio::test]
async fn a_removal_and_the_end_do_what_stands_before_them() {
    let disk = SimDisk::new();
    let (store, steps) = open(&disk);
    let gone = store.open_or_create("gone", LogOptions::default()).unwrap();
    let kept = store.open_or_create("kept", LogOptions::default()).unwrap();
    let appended = gone.append(vec![record("a")]);
    assert!(store.remove("gone").unwrap());
    appended.await.unwrap();
    let appended = kept.append(vec![record("b")]);
    store.close();
    appended.await.unwrap();
    assert!(!steps.has_writes().await && !steps.has_reads().await);
    assert!(matches!(kept.append(vec![record("late")]).await, Err(AppendError::Closed)));
    assert_eq!(open(&disk).0.names().unwrap(), ["kept"]);
}
