//! Folders as earlier versions wrote them: every version opens them and finds what they hold.
//!
//! `fixtures/<version>` has logs and `contents.txt`, which says in lines what must be read. A version that writes another format adds a
//! folder, and never changes one:
//!
//! ```sh
//! EVENTAIL_FIXTURE=2 cargo test -p eventail-storage --lib this_version_reads_the_fixture_that_it_writes
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::Offset;

use super::engine::TestClock;
use crate::disk::{DiskStore, check, repair};
use crate::disk_io::OsDisk;
use crate::log::{Deduplication, Log, LogOptions, NewRecord, ReadError, ReadLimit};

const LIMIT: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20 };
/// The newest folder of fixtures; the one before the last is of an earlier format.
const VERSIONS: &[&str] = &["1"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn options() -> LogOptions {
    let fingerprint = |payload: &Bytes| {
        Some(payload.iter().fold(7, |sum: u128, byte| sum.wrapping_mul(257).wrapping_add(u128::from(*byte))))
    };
    let deduplication = Deduplication { window_ms: 1 << 40, ids_max: 1_000, fingerprint };
    LogOptions { segment_bytes: 1_200, deduplication: Some(deduplication), ..LogOptions::default() }
}

fn record(text: String) -> NewRecord {
    let payload = Bytes::from(text);
    let fingerprint = options().deduplication.and_then(|options| (options.fingerprint)(&payload));
    NewRecord { payload, fingerprint }
}

fn open(dir: &Path) -> DiskStore {
    DiskStore::open(dir, Arc::new(OsDisk), TestClock::new()).unwrap().0
}

/// What a log holds, a line for each record and each gap.
async fn told(log: &dyn Log) -> String {
    let mut lines = String::new();
    let status = log.status();
    writeln!(lines, "{} from {} to {}", log.name(), status.range.start, status.range.end).unwrap();
    let mut next = status.range.start;
    while next < status.range.end {
        match log.read(next, LIMIT).await {
            Ok(records) => {
                for record in &records {
                    let payload = String::from_utf8_lossy(&record.payload);
                    writeln!(lines, "  {} at {}: {payload:?}", record.offset, record.appended_at.0).unwrap();
                }
                next = records.last().unwrap().offset.plus(1);
            }
            Err(ReadError::Corrupt { offset, next: behind, .. }) => {
                writeln!(lines, "  {offset} to {behind}: lost").unwrap();
                next = behind;
            }
            Err(error) => panic!("{error}"),
        }
    }
    lines
}

async fn all_told(store: &DiskStore) -> String {
    let mut all = String::new();
    for name in store.names().unwrap() {
        all += &told(&*store.open_or_create(&name, options()).unwrap()).await;
    }
    all
}

/// Fills logs that have everything that the format knows.
async fn fill(dir: &Path) {
    let clock = TestClock::new();
    let store = DiskStore::open(dir, Arc::new(OsDisk), clock.clone()).unwrap().0;
    for name in ["whole", "trimmed", "damaged", "repaired", "torn"] {
        let log = store.open_or_create(name, options()).unwrap();
        log.append(vec![NewRecord { payload: Bytes::new(), fingerprint: None }]).await.unwrap();
        for append in 0..12_u32 {
            clock.advance_ms(250);
            let records = (0..1 + append % 3)
                .map(|place| record(format!("{name} {append}.{place} {}", "x".repeat(append as usize * 9))));
            log.append(records.collect()).await.unwrap();
        }
    }
    store.open_or_create("trimmed", options()).unwrap().trim(Offset(13)).await.unwrap();
    store.open_or_create("empty", options()).unwrap();
    store.close();
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn segments(log: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    segments.sort();
    segments
}

fn copy_logs(from: &Path, to: &Path) {
    for log in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let folder = to.join(log.file_name());
        fs::create_dir_all(&folder).unwrap();
        for file in fs::read_dir(log.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
}

fn bytes_of(dir: &Path) -> u64 {
    let size =
        |path: PathBuf| if path.is_dir() { bytes_of(&path) } else { fs::metadata(path).unwrap().len() };
    fs::read_dir(dir).unwrap().map(|entry| size(entry.unwrap().path())).sum()
}

async fn assert_read(fixture: &Path) {
    let dir = tempfile::tempdir().unwrap();
    copy_logs(fixture, dir.path());
    let store = open(dir.path());
    let expected = fs::read_to_string(fixture.join("contents.txt")).unwrap();
    assert_eq!(all_told(&store).await, expected, "{}", fixture.display());
    // It goes on: what is there is a repeat, and what is new gets the next offset.
    let log = store.open_or_create("whole", options()).unwrap();
    let end = log.status().range.end;
    let answers = log.append(vec![record("whole 1.0 xxxxxxxxx".to_owned()), record("new".to_owned())]).await;
    let answers: Vec<_> = answers.unwrap().iter().map(|one| (one.offset, one.duplicate)).collect();
    assert_eq!(answers, [(Offset(2), true), (end, false)], "{}", fixture.display());
    store.close();
    let found = check(&OsDisk, dir.path()).unwrap();
    let sound: BTreeMap<_, _> = found.iter().map(|log| (log.name.as_str(), log.is_sound())).collect();
    for (name, is_sound) in sound {
        assert_eq!(is_sound, name != "damaged", "{name} of {}", fixture.display());
    }
}

#[tokio::test]
async fn every_earlier_format_is_read_as_it_was_written() {
    for version in VERSIONS {
        assert_read(&fixtures().join(version)).await;
    }
    let versions = fs::read_dir(fixtures()).unwrap().count();
    assert_eq!(versions, VERSIONS.len(), "every folder of fixtures is tried");
    assert!(bytes_of(&fixtures()) < 48 << 10, "fixtures are small: {}", bytes_of(&fixtures()));
}

#[tokio::test]
async fn this_version_reads_the_fixture_that_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = std::env::var("EVENTAIL_FIXTURE")
        .map_or_else(|_| dir.path().join("fixture"), |version| fixtures().join(version));
    assert!(!fixture.exists(), "a fixture is never changed");
    let logs = dir.path().join("logs");
    fill(&logs).await;
    change(&segments(&logs.join("repaired"))[0], |bytes| bytes[300] ^= 1);
    repair(&OsDisk, &logs, &dir.path().join("quarantine")).unwrap();
    change(&segments(&logs.join("damaged"))[1], |bytes| bytes[100] ^= 1);
    let torn = segments(&logs.join("torn")).pop().unwrap();
    change(&torn, |bytes| {
        // Half of a batch that nobody was told was safe.
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let half = bytes[..60].to_vec();
        bytes.truncate(end);
        bytes.extend(half);
    });
    fs::remove_file(torn.with_extension("idx")).unwrap();
    for log in ["whole", "trimmed", "damaged", "repaired"] {
        // Zeros that were written ahead only take room.
        change(&segments(&logs.join(log)).pop().unwrap(), |bytes| {
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end.max(64).min(bytes.len()));
        });
    }
    fs::create_dir_all(&fixture).unwrap();
    copy_logs(&logs, &fixture);
    let store = open(&logs);
    fs::write(fixture.join("contents.txt"), all_told(&store).await).unwrap();
    store.close();
    assert_read(&fixture).await;
}
