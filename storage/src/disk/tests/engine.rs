//! The conformance suite, on the real disk and on the simulated one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventail_wire::{Clock, Timestamp};

use crate::conformance::{self, Engine};
use crate::disk::DiskStore;
use crate::disk_io::{Disk, OsDisk, SimDisk};
use crate::log::{BoxFuture, Log, LogOptions};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_700_000_000_000)))
    }

    pub(super) fn advance_ms(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct DiskEngine {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<TestClock>,
    store: Option<DiskStore>,
}

impl DiskEngine {
    fn new(dir: &Path, disk: Arc<dyn Disk>) -> Self {
        let mut engine = Self { dir: dir.into(), disk, clock: TestClock::new(), store: None };
        engine.start();
        engine
    }

    fn start(&mut self) {
        let (store, _) = DiskStore::open(&self.dir, self.disk.clone(), self.clock.clone()).unwrap();
        self.store = Some(store);
    }
}

impl Engine for DiskEngine {
    fn open(&self, name: &str, options: LogOptions) -> Arc<dyn Log> {
        self.store.as_ref().unwrap().open_or_create(name, options).unwrap()
    }

    fn restart(&mut self) -> BoxFuture<'_, ()> {
        self.store = None;
        self.start();
        Box::pin(async {})
    }

    fn advance_ms(&self, milliseconds: u64) {
        self.clock.advance_ms(milliseconds);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[tokio::test]
async fn the_engine_keeps_the_contract_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(&mut DiskEngine::new(dir.path(), Arc::new(OsDisk))).await;
}

#[tokio::test]
async fn the_engine_keeps_the_contract_on_the_simulated_disk() {
    conformance::run(&mut DiskEngine::new(Path::new("/data"), Arc::new(SimDisk::new()))).await;
}
