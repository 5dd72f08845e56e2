//! Torn tails, which are normal, and damage, which is told.

use std::path::{Path, PathBuf};

use eventail_wire::{Code, Offset};

use super::rig::{Rig, new_record, options, payload};
use crate::disk::check;
use crate::disk_io::{Disk, SimDisk};
use crate::log::{AppendError, LogOptions, ReadError};

fn segment(base: u64) -> PathBuf {
    PathBuf::from(format!("/data/log/{base:020}.log"))
}

fn sidecar(base: u64) -> PathBuf {
    PathBuf::from(format!("/data/log/{base:020}.idx"))
}

/// A log of `count` appends of one record each, every one 100 bytes on disk.
fn filled(disk: &SimDisk, segment_bytes: u64, count: u64) -> Rig {
    let options = LogOptions { segment_bytes, ..options() };
    let mut rig = Rig::open(disk, options, Default::default()).unwrap();
    for id in 0..count {
        rig.append(vec![new_record(u128::from(id), 100 - 40 - 4 - 16)]).unwrap();
    }
    rig
}

fn write(disk: &SimDisk, path: &Path, bytes: &[u8], position: u64) {
    let file = disk.open(path).unwrap();
    file.write_all_at(bytes, position).unwrap();
    file.sync_data().unwrap();
}

#[test]
fn a_torn_tail_is_cut_off_and_its_bytes_never_come_back() {
    let disk = SimDisk::new();
    let mut rig = filled(&disk, 1 << 20, 10);
    // Two batches behind the tenth, written in one go; the first of them gets torn.
    let large = |id| vec![new_record(id, 200_000)];
    rig.group(vec![large(10), large(11)]);
    drop(rig);
    disk.damage(&segment(0), 1_000 + 500, |byte| !byte).unwrap();
    assert_eq!(check(&disk, Path::new("/data")).unwrap()[0].torn_tail.as_ref().unwrap().offset, Offset(10));
    let mut rig = Rig::open(&disk, LogOptions::default(), Default::default()).unwrap();
    assert_eq!(rig.end(), Offset(10));
    // As long as the torn one: if the bytes behind it were still there, they would follow.
    rig.append(vec![new_record(77, 200_000)]).unwrap();
    drop(rig);
    let mut rig = Rig::open(&disk, LogOptions::default(), Default::default()).unwrap();
    assert_eq!(rig.end(), Offset(11));
    assert_eq!(rig.read_all().unwrap()[10].payload, payload(77, 200_000));
    assert_eq!(check(&disk, Path::new("/data")).unwrap()[0].torn_tail, None);
}

#[test]
fn damage_before_what_was_synced_is_corruption_and_told_with_its_place() {
    for hurt in [0, 3, 8] {
        let disk = SimDisk::new();
        drop(filled(&disk, 1 << 20, 10));
        disk.damage(&segment(0), hurt * 100 + 60, |byte| byte ^ 4).unwrap();
        let mut rig = Rig::open(&disk, options(), Default::default()).unwrap();
        assert_eq!(rig.shared.status().refusal, Some(Code::StorageCorrupt));
        assert_eq!(rig.end(), Offset(hurt));
        let readable = rig.read_all().unwrap();
        assert_eq!(readable.len() as u64, hurt, "what stands before it is readable");
        match rig.append(vec![new_record(99, 5)]) {
            Err(AppendError::Corrupt { file, position, offset }) => {
                assert_eq!(file, "log/00000000000000000000.log");
                assert_eq!((position, offset), (hurt * 100, Offset(hurt)));
            }
            other => panic!("{other:?}"),
        }
        let limit = crate::log::ReadLimit { records: 1, bytes: 1 };
        let error = rig.reader.read(&rig.shared, Offset(hurt), limit).unwrap_err();
        assert!(matches!(error, ReadError::Corrupt { offset, .. } if offset == Offset(hurt)), "{error}");
        let found = check(&disk, Path::new("/data")).unwrap().remove(0);
        assert!(!found.is_sound());
        assert_eq!((found.corruptions[0].position, found.corruptions[0].offset), (hurt * 100, Offset(hurt)));
        let before = disk.content(&segment(0)).unwrap();
        drop(Rig::open(&disk, options(), Default::default()).unwrap());
        assert_eq!(disk.content(&segment(0)).unwrap(), before, "a damaged file is left as it is");
    }
}

#[test]
fn the_last_batch_of_a_log_that_was_closed_cannot_pass_for_a_torn_tail() {
    let disk = SimDisk::new();
    let mut rig = filled(&disk, 1 << 20, 10);
    rig.core.close();
    disk.damage(&segment(0), 9 * 100 + 60, |byte| byte ^ 4).unwrap();
    let rig = Rig::open(&disk, options(), Default::default()).unwrap();
    assert_eq!(rig.shared.status().refusal, Some(Code::StorageCorrupt));
    assert_eq!(rig.end(), Offset(9));
}

#[test]
fn damage_in_a_closed_segment_is_found_by_the_read_that_meets_it() {
    let disk = SimDisk::new();
    let rig = filled(&disk, 1_000, 35);
    let closed = rig.shared.segments().sealed[1];
    drop(rig);
    disk.damage(&segment(closed.base.0), 250, |byte| byte ^ 1).unwrap();
    let mut rig =
        Rig::open(&disk, LogOptions { segment_bytes: 1_000, ..options() }, Default::default()).unwrap();
    assert_eq!(rig.end(), Offset(35), "a start does not read what was closed");
    let limit = crate::log::ReadLimit { records: 100, bytes: 1 << 20 };
    let good = rig.reader.read(&rig.shared, Offset(0), limit).unwrap();
    assert_eq!(good.len() as u64, closed.base.0 + 2, "up to the damage");
    let error = rig.reader.read(&rig.shared, closed.base.plus(2), limit).unwrap_err();
    assert!(
        matches!(error, ReadError::Corrupt { position: 200, offset, .. } if offset == closed.base.plus(2))
    );
    assert_eq!(rig.reader.read(&rig.shared, closed.end, limit).unwrap().len() as u64, 35 - closed.end.0);
    assert!(!check(&disk, Path::new("/data")).unwrap()[0].is_sound());
}

#[test]
fn a_missing_segment_is_corruption() {
    let disk = SimDisk::new();
    let rig = filled(&disk, 1_000, 35);
    let closed = rig.shared.segments().sealed[1];
    drop(rig);
    disk.remove(&segment(closed.base.0)).unwrap();
    let rig = Rig::open(&disk, options(), Default::default()).unwrap();
    assert_eq!(rig.shared.status().refusal, Some(Code::StorageCorrupt));
    assert_eq!(rig.end(), closed.base);
}

#[test]
fn a_sidecar_that_is_missing_or_damaged_is_written_anew() {
    let disk = SimDisk::new();
    let sealed = filled(&disk, 200_000, 9_000).shared.segments().sealed.clone();
    assert!(sealed.len() > 3);
    disk.remove(&sidecar(sealed[0].base.0)).unwrap();
    disk.damage(&sidecar(sealed[1].base.0), 20, |byte| byte ^ 1).unwrap();
    // Its entries, which only a read looks at.
    disk.damage(&sidecar(sealed[2].base.0), 70, |byte| byte ^ 1).unwrap();
    assert_eq!(check(&disk, Path::new("/data")).unwrap()[0].sidecars_missing.len(), 2);
    let mut rig =
        Rig::open(&disk, LogOptions { segment_bytes: 200_000, ..options() }, Default::default()).unwrap();
    assert_eq!(rig.shared.segments().sealed, sealed);
    for offset in (0..9_000).step_by(97) {
        let limit = crate::log::ReadLimit { records: 1, bytes: 1 };
        let records = rig.reader.read(&rig.shared, Offset(offset), limit).unwrap();
        assert_eq!(records[0].offset, Offset(offset));
        assert_eq!(records[0].payload, payload(u128::from(offset), 40));
    }
    assert!(check(&disk, Path::new("/data")).unwrap()[0].sidecars_missing.is_empty());
}

#[test]
fn anything_at_all_in_a_segment_file_is_taken_without_a_panic() {
    use rand::{Rng, SeedableRng};
    let mut dice = rand::rngs::SmallRng::seed_from_u64(5);
    for _ in 0..300 {
        let disk = SimDisk::new();
        drop(filled(&disk, 1_000, 25));
        let names = disk.list(Path::new("/data/log")).unwrap();
        for _ in 0..dice.random_range(1..4) {
            let path = Path::new("/data/log").join(&names[dice.random_range(0..names.len())]);
            let length = disk.content(&path).unwrap().len() as u64;
            if length > 0 && dice.random() {
                let bytes: Vec<u8> = (0..dice.random_range(1..200)).map(|_| dice.random()).collect();
                write(&disk, &path, &bytes, dice.random_range(0..length));
            } else {
                disk.open(&path).unwrap().set_len(dice.random_range(0..=length)).unwrap();
            }
        }
        let found = check(&disk, Path::new("/data")).unwrap().remove(0);
        let mut rig =
            Rig::open(&disk, LogOptions { segment_bytes: 1_000, ..options() }, Default::default()).unwrap();
        // Every record that comes back is one that was written, at its offset.
        let mut next = rig.start();
        let limit = crate::log::ReadLimit { records: 3, bytes: 1_000 };
        while let Ok(records) = rig.reader.read(&rig.shared, next, limit) {
            let Some(last) = records.last() else { break };
            next = last.offset.plus(1);
            assert!(records.iter().all(|record| record.payload == payload(u128::from(record.offset.0), 40)));
        }
        if found.is_sound() && found.offsets.start == Offset(0) {
            assert_eq!(found.records, next.0, "{found:?}");
        }
    }
}
