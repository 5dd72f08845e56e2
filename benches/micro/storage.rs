//! The append log on a memory disk: what a batch costs when the disk costs nothing.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use eventail_benches::payload::Payloads;
use eventail_storage::disk::DiskStore;
use eventail_storage::disk_io::SimDisk;
use eventail_storage::log::{LogOptions, NewRecord};
use eventail_wire::{Clock, Offset, Timestamp};

const BATCH: u64 = 1_000;
/// So many batches are kept: the disk is memory.
const KEPT_BATCHES: u64 = 64;

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
}

/// Batches of 1,000 through the I/O thread, one after the other; what is old is trimmed.
pub(crate) fn append(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let disk = Arc::new(SimDisk::new());
    let (store, _) =
        DiskStore::open(Path::new("/bench"), disk, Arc::new(StandingClock)).expect("a memory disk");
    let options = LogOptions { segment_bytes: 16 << 20, ..LogOptions::default() };
    let log = store.open_or_create("bench", options).expect("a log");
    let payloads = Payloads::new(1, 1024).expect("a valid size");
    let events: Vec<Bytes> = (0..BATCH).map(|n| payloads.event(n).as_bytes().clone()).collect();
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(BATCH));
    let mut appended = 0;
    group.bench_function("batch_of_1000_on_a_memory_disk", |bencher| {
        bencher.iter(|| {
            let record = |payload: &Bytes| NewRecord { payload: payload.clone(), fingerprint: None };
            let records = events.iter().map(record).collect();
            runtime.block_on(log.append(records)).expect("the memory disk takes it");
            appended += 1;
            if appended % KEPT_BATCHES == 0 {
                let before = Offset(BATCH * (appended - KEPT_BATCHES));
                runtime.block_on(log.trim(before)).expect("the memory disk lets go");
            }
        });
    });
    group.finish();
    store.close();
}
