//! What a repair moves, what it leaves, and that a log is whole after it but for what is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventail_wire::Offset;

use super::engine::TestClock;
use super::rig::{Rig, new_record, options, payload};
use crate::disk::{DiskStore, OpenError, RepairError, check, repair};
use crate::disk_io::{Disk, SimDisk, SimFault};
use crate::log::{LogOptions, ReadError, ReadLimit};

const DATA: &str = "/data";
const QUARANTINE: &str = "/quarantine";

fn segment(base: u64) -> PathBuf {
    PathBuf::from(format!("{DATA}/log/{base:020}.log"))
}

fn open(disk: &SimDisk) -> Rig {
    Rig::open(disk, LogOptions { segment_bytes: 1_000, ..options() }, Default::default()).unwrap()
}

/// 35 appends of one record each, every one 100 bytes on disk, in segments of ten.
fn filled(disk: &SimDisk) {
    let mut rig = open(disk);
    for id in 0..35 {
        rig.append(vec![new_record(id, 40)]).unwrap();
    }
}

/// What a log tells after a repair: all offsets are accounted for, every record but the lost ones is there.
fn assert_whole_but(disk: &SimDisk, end: u64, lost: &[std::ops::Range<u64>]) {
    let found = check(disk, Path::new(DATA)).unwrap().remove(0);
    assert!(found.is_sound(), "{:?}", found.corruptions);
    assert_eq!(found.offsets, Offset(0)..Offset(end));
    let told: Vec<_> = found.repaired.iter().map(|one| one.offset.0..one.next.0).collect();
    assert_eq!(told, lost);
    let mut rig = open(disk);
    let limit = ReadLimit { records: 4, bytes: 1 << 20 };
    let mut next = 0;
    while next < end {
        match rig.reader.read(&rig.shared, Offset(next), limit) {
            Ok(records) => {
                for record in records {
                    assert_eq!(record.offset.0, next);
                    assert_eq!(record.payload, payload(u128::from(next), 40));
                    next += 1;
                }
            }
            Err(ReadError::Corrupt { offset, next: behind, .. }) => {
                assert!(lost.contains(&(offset.0..behind.0)), "{offset} to {behind}");
                next = behind.0;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let known: Vec<_> = rig.shared.status().lost.iter().map(|one| one.first.0..one.next.0).collect();
    assert_eq!(known, lost, "the log names what was lost");
}

#[test]
fn damaged_bytes_are_put_aside_and_a_tombstone_keeps_the_offsets() {
    let disk = SimDisk::new();
    filled(&disk);
    disk.damage(&segment(10), 250, |byte| byte ^ 1).unwrap();
    disk.damage(&segment(10), 508, |byte| byte ^ 1).unwrap();
    disk.damage(&segment(30), 160, |byte| byte ^ 1).unwrap();
    let damaged = disk.content(&segment(10)).unwrap();
    let repairs = repair(&disk, Path::new(DATA), Path::new(QUARANTINE)).unwrap();
    assert_eq!(repairs.len(), 3);
    let aside = repairs[0].quarantined.clone().unwrap();
    assert_eq!(aside, Path::new(QUARANTINE).join("log/00000000000000000010.log.200"));
    assert_eq!(disk.content(&aside).unwrap(), damaged[200..300], "every damaged byte is kept");
    disk.power_cut(3);
    assert_whole_but(&disk, 35, &[12..13, 15..16, 31..32]);
    assert_eq!(disk.content(&aside).unwrap(), damaged[200..300], "and kept durably");
    assert_eq!(
        repair(&disk, Path::new(DATA), Path::new(QUARANTINE)).unwrap(),
        [],
        "there is nothing left to do"
    );
    // The log goes on as if nothing had been.
    let mut rig = open(&disk);
    for id in 35..60 {
        assert_eq!(rig.append(vec![new_record(id, 40)]).unwrap()[0].offset.0, id as u64);
    }
    drop(rig);
    assert_whole_but(&disk, 60, &[12..13, 15..16, 31..32]);
}

#[test]
fn what_is_cut_off_or_missing_gets_its_tombstone_too() {
    for life in 0..3 {
        let disk = SimDisk::new();
        filled(&disk);
        let lost = match life {
            0 => {
                disk.open(&segment(10)).unwrap().set_len(730).unwrap();
                17..20
            }
            1 => {
                disk.remove(&segment(20)).unwrap();
                20..30
            }
            _ => {
                open(&disk).core.close();
                disk.remove(&segment(30)).unwrap();
                30..35
            }
        };
        repair(&disk, Path::new(DATA), Path::new(QUARANTINE)).unwrap();
        assert_whole_but(&disk, 35, std::slice::from_ref(&lost));
        open(&disk).append(vec![new_record(35, 40)]).unwrap();
        assert_whole_but(&disk, 36, &[lost]);
    }
}

#[test]
fn a_repair_that_fails_at_any_call_is_completed_by_the_next_one() {
    let mut call = 0;
    loop {
        let disk = SimDisk::new();
        filled(&disk);
        disk.damage(&segment(10), 250, |byte| byte ^ 1).unwrap();
        let before = disk.calls();
        disk.fail_call(before + call, SimFault::InputOutput);
        let outcome = repair(&disk, Path::new(DATA), Path::new(QUARANTINE));
        disk.power_cut(call);
        let is_past = outcome.is_ok();
        repair(&disk, Path::new(DATA), Path::new(QUARANTINE)).unwrap();
        assert_whole_but(&disk, 35, &[12..13]);
        if is_past {
            break;
        }
        call += 1;
    }
    assert!(call > 5, "{call}");
}

#[test]
fn a_folder_that_a_broker_has_open_is_not_repaired() {
    let disk = SimDisk::new();
    filled(&disk);
    let _store = DiskStore::open(Path::new(DATA), Arc::new(disk.clone()), TestClock::new()).unwrap();
    let refused = repair(&disk, Path::new(DATA), Path::new(QUARANTINE)).unwrap_err();
    assert!(matches!(refused, RepairError::Open(OpenError::Locked { .. })), "{refused}");
}
