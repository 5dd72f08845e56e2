//! Remembered ids across restarts, caps and damage.

use std::path::{Path, PathBuf};

use eventail_wire::{Offset, Timestamp};

use super::rig::{Rig, fingerprint_of, new_record};
use crate::disk_io::{Disk, SimDisk, SimFault};
use crate::log::{Deduplication, LogOptions};

const WINDOW_MS: u64 = 8_000;

fn with_cap(ids_max: usize) -> LogOptions {
    let deduplication = Deduplication { window_ms: WINDOW_MS, ids_max, fingerprint: fingerprint_of };
    LogOptions { deduplication: Some(deduplication), segment_bytes: 1 << 20, ..LogOptions::default() }
}

/// Spreads ids as a hash does.
fn id(number: u64) -> u128 {
    u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32 | u128::from(number)
}

fn append(rig: &mut Rig, numbers: std::ops::Range<u64>) -> Vec<crate::log::Appended> {
    rig.append(numbers.map(|number| new_record(id(number), 0)).collect()).unwrap()
}

fn snapshots(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new("/data/log")).unwrap();
    names
        .iter()
        .filter(|name| name.ends_with(".snap"))
        .map(|name| Path::new("/data/log").join(name))
        .collect()
}

/// 100,000 ids over half a window.
fn many(disk: &SimDisk) -> Rig {
    let mut rig = Rig::open(disk, with_cap(1_000_000), Timestamp(1_000)).unwrap();
    for part in 0..25 {
        rig.now = rig.now.plus_ms(160);
        append(&mut rig, part * 4_000..(part + 1) * 4_000);
    }
    rig
}

fn all_are_known(rig: &mut Rig) {
    for part in 0..25 {
        let answers = append(rig, part * 4_000..(part + 1) * 4_000);
        let first = Offset(part * 4_000);
        assert!(
            answers
                .iter()
                .zip(0..)
                .all(|(answer, place)| answer.duplicate && answer.offset == first.plus(place))
        );
    }
}

#[test]
fn an_id_takes_no_more_than_forty_bytes() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, with_cap(200_000), Timestamp(1_000)).unwrap();
    for part in 0..100 {
        rig.now = rig.now.plus_ms(10);
        append(&mut rig, part * 4_000..(part + 1) * 4_000);
        let status = rig.shared.status();
        let per_id = status.dedup_bytes as f64 / status.dedup_ids as f64;
        assert!(per_id <= 40.0, "{per_id} after {}", part * 4_000);
        if part == 99 {
            assert!(per_id <= 32.0, "{per_id} at the cap");
            assert!((150_000..=200_000).contains(&status.dedup_ids), "{}", status.dedup_ids);
        }
    }
    let newest = append(&mut rig, 399_000..399_001);
    assert!(newest[0].duplicate, "the newest are remembered");
    let oldest = append(&mut rig, 0..1);
    assert!(!oldest[0].duplicate, "past the cap the oldest are forgotten");
}

#[test]
fn a_start_remembers_from_snapshots_and_the_rest_from_the_log() {
    let disk = SimDisk::new();
    let rig = many(&disk);
    let now = rig.now;
    drop(rig);
    assert!(snapshots(&disk).len() > 2);
    disk.power_cut(4);
    all_are_known(&mut Rig::open(&disk, with_cap(1_000_000), now).unwrap());
}

#[test]
fn damaged_and_missing_snapshots_are_replaced_by_the_log() {
    for hurt in 0..4 {
        let disk = SimDisk::new();
        let mut rig = many(&disk);
        rig.core.close();
        let snapshots = snapshots(&disk);
        for (place, path) in snapshots.iter().enumerate() {
            match (hurt, place % 2) {
                (0, 0) => disk.remove(path).unwrap(),
                (1, 0) => disk.damage(path, 30_000, |byte| byte ^ 8).unwrap(),
                (2, 1) => disk.damage(path, 20, |byte| byte ^ 8).unwrap(),
                (3, _) => disk.open(path).unwrap().set_len(1_000).unwrap(),
                _ => {}
            }
        }
        all_are_known(&mut Rig::open(&disk, with_cap(1_000_000), rig.now).unwrap());
    }
}

#[test]
fn whatever_call_for_a_snapshot_fails_every_id_is_known_after_a_restart() {
    let fill = |disk: &SimDisk| {
        let mut rig = Rig::open(disk, with_cap(1_000_000), Timestamp(1_000)).unwrap();
        append(&mut rig, 0..20_000);
        rig.now = rig.now.plus_ms(WINDOW_MS / 8);
        rig
    };
    for fault in [SimFault::InputOutput, SimFault::Full, SimFault::ShortWrite] {
        let mut struck = 0;
        for call in 0.. {
            let disk = SimDisk::new();
            let mut rig = fill(&disk);
            let first = disk.calls();
            disk.fail_call(first + call, fault);
            let outcome = rig.append(vec![new_record(id(20_000), 0)]);
            if disk.calls() <= first + call {
                break;
            }
            if outcome.is_err() {
                // It was the append itself.
                continue;
            }
            struck += 1;
            assert!(rig.shared.status().refusal.is_none(), "the log does without");
            let now = rig.now;
            drop(rig);
            disk.power_cut(call);
            let mut rig = Rig::open(&disk, with_cap(1_000_000), now).unwrap();
            let answers = append(&mut rig, 0..20_001);
            assert!(answers.iter().all(|answer| answer.duplicate), "{fault:?} at call {call}");
        }
        assert!(struck >= 3, "{fault:?} struck {struck} times");
    }
}

#[test]
fn a_snapshot_of_records_that_were_lost_is_not_believed() {
    let disk = SimDisk::new();
    let rig = many(&disk);
    let now = rig.now;
    drop(rig);
    // As if the log had been buffered and its end had never reached the disk.
    let names = disk.list(Path::new("/data/log")).unwrap();
    let newest = Path::new("/data/log").join(names.iter().rfind(|name| name.ends_with(".log")).unwrap());
    disk.open(&newest).unwrap().set_len(0).unwrap();
    let mut rig = Rig::open(&disk, with_cap(1_000_000), now).unwrap();
    let end = rig.end().0;
    assert!(end < 100_000);
    let lost = append(&mut rig, end..end + 10);
    assert!(lost.iter().all(|answer| !answer.duplicate), "what is not in the log is not a duplicate");
    let kept = append(&mut rig, end - 10..end);
    assert!(kept.iter().all(|answer| answer.duplicate));
}

#[test]
fn the_window_is_exact_after_a_restart_as_well() {
    let disk = SimDisk::new();
    let mut rig = Rig::open(&disk, with_cap(1_000), Timestamp(1_000)).unwrap();
    append(&mut rig, 1..2);
    rig.now = Timestamp(1_001);
    append(&mut rig, 2..3);
    drop(rig);
    let mut rig = Rig::open(&disk, with_cap(1_000), Timestamp(1_001 + WINDOW_MS)).unwrap();
    assert!(append(&mut rig, 2..3)[0].duplicate, "the last moment");
    assert!(!append(&mut rig, 1..2)[0].duplicate, "a moment too late");
}

#[test]
fn expired_ids_give_their_memory_and_files_back() {
    let disk = SimDisk::new();
    let mut rig = many(&disk);
    let before = rig.shared.status();
    for step in 1..20 {
        rig.now = rig.now.plus_ms(WINDOW_MS / 8);
        append(&mut rig, 1_000_000 + step..1_000_001 + step);
    }
    let after = rig.shared.status();
    assert!(after.dedup_ids < 12, "{} were {}", after.dedup_ids, before.dedup_ids);
    assert!(after.dedup_bytes < 20_000, "{}", after.dedup_bytes);
    assert_eq!(snapshots(&disk), Vec::<PathBuf>::new());
}
