//! Tests of the disk engine as its users see it, on the real disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use eventail_wire::{Clock, Offset, Timestamp};

use super::DiskStore;
use crate::disk_io::OsDisk;
use crate::log::{LogOptions, NewRecord, ReadLimit};

#[derive(Debug, Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

const LIMIT: ReadLimit = ReadLimit { records: 100, bytes: 1 << 20 };

fn record(payload: &str) -> NewRecord {
    NewRecord { payload: Bytes::copy_from_slice(payload.as_bytes()), fingerprint: None }
}

#[tokio::test]
async fn records_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u64 {
        let (store, report) =
            DiskStore::open(dir.path(), Arc::new(OsDisk), Arc::new(TestClock::default())).unwrap();
        assert_eq!(report.names.len(), usize::from(round > 0));
        let log = store.open_or_create("orders", LogOptions::default()).unwrap();
        assert_eq!(*log.durable_end().borrow(), Offset(round));
        let appended = log.append(vec![record(&format!("order {round}"))]).await.unwrap();
        assert_eq!(appended[0].offset, Offset(round));
        let records = log.read(Offset(0), LIMIT).await.unwrap();
        let payloads: Vec<_> = records.iter().map(|record| record.payload.clone()).collect();
        let expected: Vec<_> = (0..=round).map(|round| format!("order {round}")).collect();
        assert_eq!(payloads, expected);
        store.close();
        assert!(log.append(vec![record("late")]).await.is_err());
    }
}
