//! Torn tails, which are normal, and damage, which is told.

use std::path::{Path, PathBuf};

use eventail_wire::{Offset, Timestamp};

use super::rig::{Rig, new_record, options, payload};
use crate::disk::{LogCheck, check};
use crate::disk_io::{Disk, SimDisk};
use crate::log::{LogOptions, ReadError, ReadLimit, Record};

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

/// Everything that can be read from an offset on, and what is told to be lost on the way.
fn read_on(rig: &mut Rig, from: u64) -> (Vec<Record>, Vec<(u64, u64)>) {
    let limit = ReadLimit { records: 3, bytes: 1 << 20 };
    let (mut records, mut lost) = (Vec::new(), Vec::new());
    let mut next = Offset(from);
    while next < rig.end() {
        match rig.reader.read(&rig.shared, next, limit) {
            Ok(read) => {
                next = read.last().expect("there is something below the end").offset.plus(1);
                records.extend(read);
            }
            Err(ReadError::Corrupt { offset, next: behind, .. }) => {
                lost.push((offset.0, behind.0));
                next = behind;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (records, lost)
}

/// Every record but those in `lost` is served from wherever one begins, and those are told of.
fn all_but(rig: &mut Rig, end: u64, lost: std::ops::Range<u64>) {
    assert_eq!(rig.end(), Offset(end));
    assert_eq!(rig.shared.status().refusal, None, "damage is no reason to refuse appends");
    for from in 0..end {
        let (records, told) = read_on(rig, from);
        let offsets: Vec<u64> = records.iter().map(|record| record.offset.0).collect();
        let expected: Vec<u64> = (from..end).filter(|offset| !lost.contains(offset)).collect();
        assert_eq!(offsets, expected, "from {from}");
        for record in &records {
            assert_eq!(record.payload, payload(u128::from(record.offset.0), 40));
        }
        if from < lost.end {
            assert_eq!(told, [(from.max(lost.start), lost.end)], "from {from}");
        } else {
            assert!(
                told.is_empty(),
                "what lies before {from} concerns nobody who reads from there: {told:?}"
            );
        }
    }
    let told: Vec<_> = rig.shared.status().lost.iter().map(|lost| (lost.first.0, lost.next.0)).collect();
    assert_eq!(told, [(lost.start, lost.end)], "it is named once, however often it is met");
}

fn open(disk: &SimDisk, segment_bytes: u64) -> Rig {
    Rig::open(disk, LogOptions { segment_bytes, ..options() }, Default::default()).unwrap()
}

fn checked(disk: &SimDisk) -> LogCheck {
    check(disk, Path::new("/data")).unwrap().remove(0)
}

#[test]
fn a_flipped_bit_anywhere_in_a_batch_of_the_newest_segment_costs_that_batch() {
    // In the magic, the checksum, the length, the count, the offset, the times, and the payload.
    for byte in [1, 5, 8, 10, 12, 17, 25, 33, 41, 60, 99] {
        for hurt in [0, 3, 8] {
            let disk = SimDisk::new();
            drop(filled(&disk, 1 << 20, 10));
            disk.damage(&segment(0), hurt * 100 + byte, |byte| byte ^ 4).unwrap();
            let found = checked(&disk);
            let damage = &found.corruptions[0];
            assert_eq!((found.corruptions.len(), found.records), (1, 9), "byte {byte} of {hurt}: {found:?}");
            assert_eq!((damage.position, damage.bytes), (hurt * 100, 100));
            assert_eq!((damage.offset, damage.next), (Offset(hurt), Offset(hurt + 1)));
            let before = disk.content(&segment(0)).unwrap();
            let mut rig = open(&disk, 1 << 20);
            all_but(&mut rig, 10, hurt..hurt + 1);
            assert_eq!(disk.content(&segment(0)).unwrap(), before, "what is damaged is left as it is");
            // Appends go on behind everything, over restarts as well.
            rig.append(vec![new_record(10, 40)]).unwrap();
            drop(rig);
            disk.power_cut(hurt);
            all_but(&mut open(&disk, 1 << 20), 11, hurt..hurt + 1);
        }
    }
}

#[test]
fn a_zeroed_block_costs_the_batches_that_it_touches() {
    let disk = SimDisk::new();
    drop(filled(&disk, 1 << 20, 20));
    write(&disk, &segment(0), &[0; 512], 512);
    all_but(&mut open(&disk, 1 << 20), 20, 5..11);
    assert_eq!(checked(&disk).corruptions.len(), 1);
}

#[test]
fn the_last_batch_of_a_log_that_was_closed_cannot_pass_for_a_torn_tail() {
    for cut in [None, Some(0), Some(899), Some(950)] {
        let disk = SimDisk::new();
        let mut rig = filled(&disk, 1 << 20, 10);
        rig.core.close();
        let lost = match cut {
            None => {
                disk.damage(&segment(0), 9 * 100 + 60, |byte| byte ^ 4).unwrap();
                9..10
            }
            Some(bytes) => {
                disk.open(&segment(0)).unwrap().set_len(bytes).unwrap();
                bytes / 100..10
            }
        };
        let mut rig = open(&disk, 1 << 20);
        all_but(&mut rig, 10, lost.clone());
        rig.append(vec![new_record(10, 40)]).unwrap();
        drop(rig);
        all_but(&mut open(&disk, 1 << 20), 11, lost);
    }
}

#[test]
fn damage_in_a_closed_segment_costs_its_batch_whether_or_not_the_start_reads_it() {
    for has_sidecar in [true, false] {
        for byte in [2, 8, 60] {
            let disk = SimDisk::new();
            let rig = filled(&disk, 1_000, 35);
            let closed = rig.shared.segments().sealed[1];
            drop(rig);
            disk.damage(&segment(closed.base.0), 200 + byte, |byte| byte ^ 1).unwrap();
            if !has_sidecar {
                disk.remove(&sidecar(closed.base.0)).unwrap();
            }
            // Ids to be remembered would be read from the log.
            let plain = LogOptions { segment_bytes: 1_000, deduplication: None, ..options() };
            let mut rig = Rig::open(&disk, plain, Default::default()).unwrap();
            assert_eq!(
                rig.shared.status().lost.is_empty(),
                has_sidecar,
                "a start does not read what was closed"
            );
            let hurt = closed.base.0 + 2;
            all_but(&mut rig, 35, hurt..hurt + 1);
            rig.append(vec![new_record(35, 40)]).unwrap();
            assert_eq!(checked(&disk).corruptions[0].offset, Offset(hurt));
        }
    }
}

#[test]
fn a_missing_segment_costs_its_records_and_no_others() {
    for (which, lost) in [(1, 10..20), (2, 20..30)] {
        let disk = SimDisk::new();
        let rig = filled(&disk, 1_000, 35);
        assert_eq!(rig.shared.segments().sealed[which].base, Offset(lost.start));
        drop(rig);
        disk.remove(&segment(lost.start)).unwrap();
        assert_eq!(checked(&disk).corruptions[0].next, Offset(lost.end));
        all_but(&mut open(&disk, 1_000), 35, lost);
    }
}

#[test]
fn the_offsets_of_a_newest_segment_that_is_missing_are_not_given_out_again() {
    let disk = SimDisk::new();
    filled(&disk, 1_000, 35).core.close();
    disk.remove(&segment(30)).unwrap();
    assert_eq!(checked(&disk).corruptions[0].next, Offset(35));
    let mut rig = open(&disk, 1_000);
    all_but(&mut rig, 35, 30..35);
    assert_eq!(rig.append(vec![new_record(35, 40)]).unwrap()[0].offset, Offset(35));
    drop(rig);
    all_but(&mut open(&disk, 1_000), 36, 30..35);
    for base in [0, 10, 20, 35] {
        disk.remove(&segment(base)).unwrap();
    }
    assert_eq!(
        open(&disk, 1_000).end(),
        Offset(35),
        "with nothing left it goes on behind what the sidecars tell"
    );
}

#[test]
fn files_of_others_are_left_alone_and_named() {
    let disk = SimDisk::new();
    drop(filled(&disk, 1_000, 12));
    for name in ["notes.txt", "7.log", "00000000000000000000.log.bak"] {
        let file = disk.create(&Path::new("/data/log").join(name)).unwrap();
        file.write_all_at(b"somebody's", 0).unwrap();
    }
    let mut rig = open(&disk, 1_000);
    assert_eq!(rig.read_all().unwrap().len(), 12);
    rig.core.close();
    let found = checked(&disk);
    assert_eq!(found.foreign, ["00000000000000000000.log.bak", "7.log", "notes.txt"]);
    assert!(found.is_sound());
    assert_eq!(disk.content(Path::new("/data/log/notes.txt")).unwrap(), b"somebody's");
}

#[test]
fn a_time_is_found_beside_damage() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, LogOptions { segment_bytes: 1_000, ..options() }, Timestamp(0)).unwrap();
    for id in 0..30 {
        rig.now = Timestamp(id * 10);
        rig.append(vec![new_record(u128::from(id), 40)]).unwrap();
    }
    drop(rig);
    disk.damage(&segment(10), 450, |byte| byte ^ 1).unwrap();
    let mut rig = open(&disk, 1_000);
    for (time, expected) in [(135, 14), (140, 14), (150, 14), (151, 16), (95, 10), (260, 26)] {
        let found = rig.reader.offset_at(&rig.shared, Timestamp(time)).unwrap();
        assert_eq!(found, Offset(expected), "at {time}: whoever begins there is told of 14");
    }
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
        // Every record that comes back is one that was written, at its offset, and all others are told of.
        let start = rig.start();
        let (records, lost) = read_on(&mut rig, start.0);
        assert!(records.iter().all(|record| record.payload == payload(u128::from(record.offset.0), 40)));
        let gone: u64 = lost.iter().map(|(first, next)| next - first).sum();
        assert_eq!(records.len() as u64 + gone, rig.end().since(start));
        if found.is_sound() && found.offsets.start == Offset(0) {
            assert_eq!(found.records, records.len() as u64, "{found:?}");
        }
    }
}
