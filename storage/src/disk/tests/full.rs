//! A disk that fills up, and one that fails.

use std::path::Path;

use eventail_wire::{Code, Offset};

use super::rig::{Rig, new_record, options};
use crate::disk_io::{SimDisk, SimFault};
use crate::log::{AppendError, LogOptions};

fn plain_options() -> LogOptions {
    LogOptions { segment_bytes: 8 << 10, ..options() }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_takes_writes_again_when_there_is_room() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, plain_options(), Default::default()).unwrap();
    disk.set_capacity(Some(40_000));
    let mut acknowledged = 0;
    let refused = loop {
        match rig.append(vec![new_record(1_000 + u128::from(acknowledged), 900)]) {
            Ok(appended) => assert_eq!(appended[0].offset, Offset(acknowledged)),
            Err(error) => break error,
        }
        acknowledged += 1;
    };
    assert!(matches!(refused, AppendError::Full) && refused.is_retryable());
    assert!(acknowledged > 20, "{acknowledged}");
    assert_eq!(rig.shared.status().refusal, Some(Code::StorageFull));
    assert_eq!(rig.read_all().unwrap().len() as u64, acknowledged);
    assert!(rig.append(vec![new_record(5_000, 900)]).is_err(), "there is still no room");

    disk.set_capacity(None);
    let next = rig.append(vec![new_record(5_000, 900), new_record(1_003, 900)]).unwrap();
    assert_eq!(
        (next[0].offset, next[0].duplicate),
        (Offset(acknowledged), false),
        "what failed is no duplicate"
    );
    assert_eq!((next[1].offset, next[1].duplicate), (Offset(3), true));
    assert_eq!(rig.shared.status().refusal, None);
    disk.power_cut(3);
    let mut rig = Rig::open(&disk, plain_options(), rig.now).unwrap();
    assert_eq!(rig.read_all().unwrap().len() as u64, acknowledged + 1);
}

#[test]
fn room_that_trimming_makes_is_used() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, plain_options(), Default::default()).unwrap();
    disk.set_capacity(Some(40_000));
    let mut id = 0;
    while rig.append(vec![new_record(id, 900)]).is_ok() {
        id += 1;
    }
    rig.trim(Offset(20)).unwrap();
    assert_eq!(rig.append(vec![new_record(id, 900)]).unwrap()[0].offset.0 as u128, id);
}

#[test]
fn a_failed_sync_poisons_the_log_until_it_is_opened_anew() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, options(), Default::default()).unwrap();
    rig.append(vec![new_record(1, 10)]).unwrap();
    // The write succeeds, the sync behind it does not.
    disk.fail_call(disk.calls() + 1, SimFault::InputOutput);
    let error = rig.append(vec![new_record(2, 10)]).unwrap_err();
    assert_eq!(error.code(), Code::StoragePoisoned);
    let calls = disk.calls();
    let again = rig.append(vec![new_record(1, 10)]).unwrap_err();
    assert_eq!(again.code(), Code::StoragePoisoned, "not even a duplicate is answered");
    assert!(rig.trim(Offset(1)).is_err());
    rig.core.close();
    assert_eq!(disk.calls(), calls, "nothing was tried again");
    assert_eq!(rig.shared.status().refusal, Some(Code::StoragePoisoned));
    assert_eq!(rig.end(), Offset(1));
    assert_eq!(rig.read_all().unwrap().len(), 1, "what was good is readable");
    disk.power_cut(9);
    let mut rig = Rig::open(&disk, options(), rig.now).unwrap();
    assert!(rig.append(vec![new_record(3, 10)]).is_ok());
}

#[test]
fn an_idle_log_takes_kilobytes_and_a_sync_of_a_small_commit_grows_no_file() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, LogOptions::default(), Default::default()).unwrap();
    assert_eq!(disk.used_bytes(), 0);
    rig.append(vec![new_record(1, 100)]).unwrap();
    let idle = disk.used_bytes();
    assert!(idle <= 80 << 10, "{idle}");
    for id in 2..200 {
        rig.append(vec![new_record(id, 100)]).unwrap();
    }
    assert_eq!(disk.used_bytes(), idle);
    let large = (0..20).map(|id| new_record(1_000 + id, 50_000)).collect();
    rig.append(large).unwrap();
    let content = disk.content(Path::new("/data/log/00000000000000000000.log")).unwrap();
    assert_ne!(content.last(), Some(&0), "a large commit is not zeroed ahead of");
}
