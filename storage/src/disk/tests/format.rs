//! The version of the disk format: written once, read ever after, and a newer one is refused untouched.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::Code;

use super::engine::TestClock;
use crate::disk::{DiskStore, FORMAT, OpenError, RepairError, check, mark_format, repair};
use crate::disk_io::{Disk, SimDisk};
use crate::log::{LogOptions, NewRecord};

fn open(disk: &SimDisk) -> Result<DiskStore, OpenError> {
    DiskStore::open(Path::new("/data"), Arc::new(disk.clone()), TestClock::new()).map(|(store, _)| store)
}

async fn append(store: &DiskStore) {
    let log = store.open_or_create("log", LogOptions::default()).unwrap();
    log.append(vec![NewRecord { payload: Bytes::from_static(b"x"), fingerprint: None }]).await.unwrap();
}

/// Every file with its content.
fn content(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for dir in ["/data", "/data/log"] {
        for name in disk.list(Path::new(dir)).unwrap() {
            let path = Path::new(dir).join(name);
            let Ok(file) = disk.open(&path) else { continue };
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_full_at(&mut bytes, 0).unwrap();
            all.insert(path.display().to_string(), bytes);
        }
    }
    all
}

#[tokio::test]
async fn a_folder_says_its_version_and_one_from_before_is_the_first() {
    let disk = SimDisk::new();
    append(&open(&disk).unwrap()).await;
    assert_eq!(content(&disk)["/data/.format"], b"eventail-logs 1\n");
    disk.remove(Path::new("/data/.format")).unwrap();
    append(&open(&disk).unwrap()).await;
    assert_eq!(content(&disk)["/data/.format"], b"eventail-logs 1\n");
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused_and_nothing_in_it_changes() {
    let disk = SimDisk::new();
    append(&open(&disk).unwrap()).await;
    // As a newer version would leave it: another kind of batch at the end, which this one would take for a torn tail.
    let segment = Path::new("/data/log/00000000000000000000.log");
    let file = disk.open(segment).unwrap();
    file.set_len(100).unwrap();
    file.write_all_at(b"EVB2 whatever that is", 60).unwrap();
    mark_format(&disk, Path::new("/data"), FORMAT + 1).unwrap();
    disk.create_dir(Path::new("/data/.removed-other")).unwrap();
    let before = content(&disk);
    let refused = open(&disk).unwrap_err();
    assert!(matches!(refused, OpenError::NewerFormat { found, .. } if found == FORMAT + 1), "{refused:?}");
    assert_eq!(refused.code(), Code::Conflict);
    assert_eq!(
        refused.to_string(),
        "the data in /data have format 2, of a newer version of Eventail; this one reads up to 1"
    );
    assert!(matches!(check(&disk, Path::new("/data")), Err(OpenError::NewerFormat { .. })));
    let repaired = repair(&disk, Path::new("/data"), Path::new("/aside"));
    assert!(matches!(repaired, Err(RepairError::Open(OpenError::NewerFormat { .. }))), "{repaired:?}");
    assert_eq!(content(&disk), before);
    assert!(disk.list(Path::new("/data/.removed-other")).is_ok(), "not even that is tidied");
}

#[test]
fn a_file_that_tells_no_version_is_refused() {
    let disk = SimDisk::new();
    drop(open(&disk).unwrap());
    disk.open(Path::new("/data/.format")).unwrap().write_all_at(b"something", 0).unwrap();
    let refused = open(&disk).unwrap_err();
    assert!(matches!(refused, OpenError::UnknownFormat { .. }), "{refused:?}");
}
