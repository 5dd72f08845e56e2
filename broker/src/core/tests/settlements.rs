//! The journal of settlements on disk: what a power cut leaves of it, and folders as earlier versions wrote them.
//!
//! `fixtures/settlements/<version>` has the log and `states.json`, what must be read from it. A version that writes something else adds
//! a folder, and never changes one:
//!
//! ```sh
//! EVENTAIL_FIXTURE=2 cargo test -p eventail-broker --lib this_version_reads_the_settlements_that_it_writes
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use eventail_storage::DiskStore;
use eventail_storage::disk_io::{Disk, OsDisk, SimDisk};
use eventail_storage::log::{Durability, Log, LogOptions};
use eventail_storage::power_cut::{CheckOptions, Omit, Promise, ROOT, Recorder, try_states};
use eventail_triggers::outcome::Response;
use eventail_triggers::subscription::{Entry, Snapshot, State, Tries};
use eventail_wire::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::clock::SystemClock;
use crate::core::journal::{JOURNAL_LOG, Journal, Journaled};

const VERSIONS: &[&str] = &["1"];

struct Lane(Mutex<Snapshot>);

impl Journaled for Lane {
    fn with_snapshot(&self, write: &mut dyn FnMut(Snapshot)) {
        write(self.0.lock().unwrap().clone());
    }

    fn renamed(&self, _: &Arc<str>, write: &mut dyn FnMut(Snapshot)) {
        self.with_snapshot(write);
    }
}

/// A journal that runs, in a folder of logs.
struct Running {
    store: DiskStore,
    log: Arc<dyn Log>,
    journal: Arc<Journal>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn open(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let (store, _) = DiskStore::open(dir, disk, Arc::new(SystemClock)).unwrap();
        let options = LogOptions {
            durability: Durability::Buffered,
            buffered_sync_ms: 2,
            segment_bytes: 2_048,
            ..LogOptions::default()
        };
        let log = store.open_or_create(JOURNAL_LOG, options).unwrap();
        let (journal, task) = Journal::open(Arc::clone(&log)).await.unwrap();
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(task.run(stop.subscribe()));
        Self { store, log, journal, stop, task }
    }

    async fn close(self) {
        self.journal.written().await.unwrap();
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.store.close();
    }

    fn lane(&self, name: &str) -> (Arc<str>, Arc<Lane>) {
        let (name, lane) = (Arc::from(name), Arc::new(Lane(Mutex::new(Snapshot::new(Offset(0))))));
        self.journal.register(&name, &lane);
        (name, lane)
    }

    /// Hands entries over under the lane's lock, as lanes do.
    fn write(&self, (name, lane): &(Arc<str>, Arc<Lane>), entries: Vec<Entry>) {
        let mut state = lane.0.lock().unwrap();
        entries.iter().for_each(|entry| state.apply(entry));
        self.journal.hand_over(name, entries);
    }
}

const fn delivered(offset: u64) -> Entry {
    Entry::Delivered { first: Offset(offset), count: 1 }
}

#[tokio::test]
async fn a_power_cut_leaves_settlements_as_they_were_at_some_moment() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(Arc::new(OsDisk), dir.path(), Omit::Nothing);
    let running = Running::open(Arc::new(recorder.clone()), dir.path()).await;
    let lane = running.lane("lane");
    for offset in 0..400 {
        recorder.promise(Promise::Attempted { log: 0, end: offset + 1 });
        running.write(&lane, vec![delivered(offset)]);
        if offset % 25 == 0 {
            running.journal.snapshot_all().await.unwrap();
        }
    }
    assert!(running.log.status().range.start > Offset(0), "old segments went");
    running.close().await;
    let trace = recorder.take();
    let options = CheckOptions { states: 400, ..CheckOptions::default() };
    let mut advanced = 0;
    let open = async |disk: SimDisk, promises: &[Promise]| {
        let handed_over = promises.iter().filter_map(|promise| match promise {
            Promise::Attempted { end, .. } => Some(*end),
            _ => None,
        });
        let most = handed_over.max().unwrap_or(0);
        let running = Running::open(Arc::new(disk), Path::new(ROOT)).await;
        let state = running.journal.state_of("lane");
        if running.log.status().range.start > Offset(0) {
            assert!(state.is_some(), "what was let go of is in a snapshot that is there");
        }
        if let Some(state) = state {
            assert!(state.cursor.0 <= most, "{} of {most}", state.cursor);
            assert_eq!(state.delivered, state.cursor.0, "every entry once, in order");
            advanced += u64::from(state.cursor > Offset(0));
        }
        running.close().await;
        Ok(1)
    };
    let report = try_states(&trace, &options, &mut |_| true, open).await;
    assert!(report.losses.is_empty(), "{:?}", report.losses);
    assert!(report.states > 60 && advanced > 40, "{report:?}, {advanced}");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/settlements")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Everything that was expected is there; what later versions add is not in it.
fn assert_holds(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (name, expected) in expected {
                let found = found.get(name).unwrap_or_else(|| panic!("{place}.{name} is missing"));
                assert_holds(found, expected, &format!("{place}.{name}"));
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

async fn assert_read(fixture: &Path) {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture.join(JOURNAL_LOG), &dir.path().join(JOURNAL_LOG));
    let running = Running::open(Arc::new(OsDisk), dir.path()).await;
    let expected: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(fixture.join("states.json")).unwrap()).unwrap();
    assert!(expected.len() >= 3);
    for (lane, expected) in &expected {
        let state =
            running.journal.state_of(lane).unwrap_or_else(|| panic!("{lane} of {}", fixture.display()));
        assert_holds(&serde_json::to_value(&state).unwrap(), expected, lane);
    }
    assert!(running.journal.state_of("forgotten").is_none());
    let orphans: Vec<_> = running.journal.orphans().iter().map(|orphan| orphan.name.to_string()).collect();
    assert_eq!(orphans, ["orphan"]);
    running.close().await;
}

#[tokio::test]
async fn settlements_of_every_earlier_version_are_read_as_they_were_written() {
    for version in VERSIONS {
        assert_read(&fixtures().join(version)).await;
    }
    assert_eq!(fs::read_dir(fixtures()).unwrap().count(), VERSIONS.len(), "every folder is tried");
}

/// Entries of every kind.
fn every_kind() -> Vec<Entry> {
    let tries = |offset: u64| Tries {
        burnt: 2,
        made: 3,
        first_at: Timestamp(1_000 + offset),
        last_at: Timestamp(2_000 + offset),
        due: Timestamp(9_000),
        class: RetryClass::Failed,
        response: Response {
            status: Some(503),
            body: "busy".into(),
            error: "HTTP 503".into(),
            log: "a line".into(),
        },
    };
    vec![
        Entry::Delivered { first: Offset(0), count: 3 },
        Entry::Retried { offset: Offset(3), tries: Box::new(tries(3)) },
        Entry::DeadLettered { offset: Offset(4) },
        Entry::Expired { offset: Offset(5) },
        Entry::Deduplicated { offset: Offset(6) },
        Entry::DeliveredOnce { offset: Offset(7), at: Timestamp(5_000), key: (11, 12) },
        Entry::Retried { offset: Offset(8), tries: Box::new(tries(8)) },
        Entry::Damaged { first: Offset(9), next: Offset(12), lost: 2, expired: 1 },
        Entry::Held { until: Some(Timestamp(8_000)), throttles: 2 },
        Entry::State { state: State::Paused, reason: Some("by hand".to_owned()) },
        Entry::Checkpoint { scanned: Offset(20), pending: vec![Offset(3), Offset(8)] },
        Entry::Delivered { first: Offset(20), count: 2 },
    ]
}

#[tokio::test]
async fn this_version_reads_the_settlements_that_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = std::env::var("EVENTAIL_FIXTURE")
        .map_or_else(|_| dir.path().join("fixture"), |version| fixtures().join(version));
    assert!(!fixture.exists(), "a fixture is never changed");
    let running = Running::open(Arc::new(OsDisk), dir.path()).await;
    let lanes = ["in a snapshot", "in entries", "orphan", "forgotten"].map(|name| running.lane(name));
    running.write(&lanes[0], every_kind());
    running.write(&lanes[2], vec![delivered(0), delivered(2)]);
    running.journal.snapshot_all().await.unwrap();
    running.write(&lanes[1], every_kind());
    running.write(&lanes[0], vec![delivered(22), Entry::Skipped { to: Offset(23), expired: 0 }]);
    for (name, lane) in &lanes[2..] {
        running.journal.sleep(name, &**lane);
    }
    assert!(running.journal.forget("forgotten"));
    running.journal.orphan(Timestamp(7_000), |name| name == "orphan");
    let states: BTreeMap<&str, Value> = lanes[..3]
        .iter()
        .map(|(name, lane)| (&**name, serde_json::to_value(&*lane.0.lock().unwrap()).unwrap()))
        .collect();
    running.close().await;
    copy(&dir.path().join(JOURNAL_LOG), &fixture.join(JOURNAL_LOG));
    for file in fs::read_dir(fixture.join(JOURNAL_LOG)).unwrap().map(|entry| entry.unwrap().path()) {
        // Zeros that were written ahead only take room; those at the end of the last entry are part of it.
        let bytes = fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| (last + 16).min(bytes.len()));
        fs::write(&file, &bytes[..used]).unwrap();
    }
    fs::write(fixture.join("states.json"), serde_json::to_string_pretty(&states).unwrap() + "\n").unwrap();
    assert_read(&fixture).await;
}
