//! Fails every call of a random script in every way, cuts the power, and looks at what comes back.
//!
//! Held after every cut: all that was acknowledged (and, for a buffered log, synced) is there at its offset; behind it
//! stands a prefix of what was attempted; every id in the log is a duplicate within its window, and no other is.

use std::collections::BTreeMap;

use bytes::Bytes;
use eventail_wire::{Offset, Timestamp};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::rig::{Rig, WINDOW_MS, fingerprint_of, new_record, options};
use crate::disk_io::{SimDisk, SimFault};
use crate::log::{AppendError, Durability, Fingerprint, LogOptions, NewRecord, ReadLimit};

/// What should be in the log.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Acknowledged, by offset. Trimmed ones stay here.
    acked: BTreeMap<u64, Bytes>,
    /// Attempted behind them, in order, and not acknowledged.
    pending: Vec<Bytes>,
    /// Below it everything was synced.
    synced: u64,
    /// When and where each id was appended last.
    ids: BTreeMap<Fingerprint, (u64, Timestamp)>,
}

impl Model {
    fn end(&self) -> u64 {
        self.acked.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    /// Holds the answers to one group against what they should be.
    fn group(
        &mut self,
        appends: &[Vec<NewRecord>],
        answers: &[Result<Vec<crate::log::Appended>, AppendError>],
        now: Timestamp,
        durability: Durability,
    ) {
        let mut staged = self.clone();
        let mut attempted = Vec::new();
        for (records, answer) in appends.iter().zip(answers) {
            for (place, record) in records.iter().enumerate() {
                let fingerprint = record.fingerprint.unwrap();
                let known = staged.ids.get(&fingerprint).filter(|(_, at)| now.since_ms(*at) <= WINDOW_MS);
                let (offset, duplicate) = known.map_or((staged.end(), false), |&(first, _)| (first, true));
                if !duplicate {
                    staged.acked.insert(offset, record.payload.clone());
                    staged.ids.insert(fingerprint, (offset, now));
                    attempted.push(record.payload.clone());
                }
                if let Ok(appended) = answer {
                    assert_eq!(
                        (appended[place].offset, appended[place].duplicate),
                        (Offset(offset), duplicate)
                    );
                }
            }
        }
        let failed = answers.iter().find_map(|answer| answer.as_ref().err());
        assert!(
            failed.is_none() || answers.iter().all(Result::is_err),
            "a group succeeds or fails as a whole"
        );
        match failed {
            None => {
                *self = staged;
                if durability == Durability::Sync {
                    self.synced = self.end();
                }
            }
            Some(AppendError::Full) => {}
            Some(AppendError::Poisoned { .. }) => {
                if self.pending.is_empty() {
                    self.pending = attempted;
                }
            }
            Some(error) => panic!("unexpected: {error}"),
        }
    }

    /// Holds a reopened log against what should be there, and takes over what was decided by the cut.
    fn reopened(&mut self, rig: &mut Rig) {
        let end = rig.end().0;
        assert!(
            rig.shared.segments().refusal.is_none(),
            "a cut is no corruption: {:?}",
            rig.shared.segments()
        );
        assert!(end >= self.synced, "{} was synced, the log ends at {end}", self.synced);
        let attempted: Vec<Bytes> = self.acked.values().chain(&self.pending).cloned().collect();
        assert!(end <= attempted.len() as u64, "nothing is there that was not attempted");
        let records = rig.read_all().unwrap();
        assert_eq!(records.len() as u64, end - rig.start().0);
        for record in &records {
            assert_eq!(record.payload, attempted[record.offset.0 as usize], "at {}", record.offset);
        }
        self.acked = (0..).zip(attempted).take(end as usize).collect();
        self.pending.clear();
        self.synced = end;
        self.ids = records
            .iter()
            .map(|record| (fingerprint_of(&record.payload).unwrap(), (record.offset.0, record.appended_at)))
            .collect();
    }
}

/// Runs a random script against a log until it is over; the log may refuse from some point on.
fn run_script(rig: &mut Rig, model: &mut Model, dice: &mut SmallRng, steps: usize, durability: Durability) {
    for _ in 0..steps {
        rig.now = rig.now.plus_ms(dice.random_range(0..120));
        match dice.random_range(0..10) {
            0 => {
                let before = Offset(dice.random_range(0..=model.end()));
                let _ = rig.trim(before);
            }
            1 => {
                rig.core.sync_due(rig.now.0);
                let clean = rig.core.next_due_ms().is_none() && rig.shared.segments().refusal.is_none();
                if clean {
                    model.synced = model.end();
                }
            }
            _ => {
                let appends: Vec<Vec<NewRecord>> = (0..dice.random_range(1..4))
                    .map(|_| {
                        let records = dice.random_range(1..5);
                        (0..records)
                            .map(|_| new_record(dice.random_range(0..60), dice.random_range(0..300)))
                            .collect()
                    })
                    .collect();
                let answers = rig.group(appends.clone());
                model.group(&appends, &answers, rig.now, durability);
            }
        }
    }
}

/// Whether or not the log takes more: everything that was answered is read, and nothing else.
fn assert_acknowledged_is_served(rig: &mut Rig, model: &Model) {
    assert_eq!(rig.end().0, model.end());
    let limit = ReadLimit { records: 7, bytes: 1 << 20 };
    let mut next = rig.start();
    while next < rig.end() {
        for record in rig.reader.read(&rig.shared, next, limit).unwrap() {
            assert_eq!(record.offset, next);
            assert_eq!(Some(&record.payload), model.acked.get(&next.0), "at {next}");
            next = next.plus(1);
        }
    }
}

fn log_options(durability: Durability) -> LogOptions {
    LogOptions { durability, buffered_sync_ms: 0, ..options() }
}

/// One case: a script with a fault at one call, a power cut, and a second life that must go well.
fn check_case(seed: u64, durability: Durability, fault: Option<(u64, SimFault)>) -> u64 {
    let disk = SimDisk::new();
    let mut model = Model::default();
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut now = Timestamp(1_000_000);
    if let Some((call, fault)) = fault {
        disk.fail_call(call, fault);
    }
    if let Ok(mut rig) = Rig::open(&disk, log_options(durability), now) {
        run_script(&mut rig, &mut model, &mut dice, 12, durability);
        now = rig.now;
        assert_acknowledged_is_served(&mut rig, &model);
    }
    let calls = disk.calls();
    let fault_seed = fault.map_or(0, |(call, _)| call);
    let killed_only = fault_seed % 5 == 4;
    let end_life =
        |salt| if killed_only { disk.process_kill() } else { disk.power_cut(seed ^ fault_seed ^ salt) };
    end_life(0);
    // The first attempt to open may fail as well.
    disk.fail_call(calls + fault_seed % 7, SimFault::InputOutput);
    drop(Rig::open(&disk, log_options(durability), now));
    end_life(0xff);
    let mut rig = Rig::open(&disk, log_options(durability), now).unwrap();
    model.reopened(&mut rig);
    run_script(&mut rig, &mut model, &mut dice, 6, durability);
    assert!(rig.shared.segments().refusal.is_none());
    if fault_seed.is_multiple_of(2) {
        rig.core.close();
        model.synced = model.end();
    }
    // Now the power fails in any case, and what a killed process left behind has to be safe by now.
    disk.power_cut(seed ^ fault_seed ^ 0xffff);
    let mut rig = Rig::open(&disk, log_options(durability), rig.now).unwrap();
    model.reopened(&mut rig);
    calls
}

fn check_every_call(durability: Durability, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let calls = check_case(seed, durability, None);
        for call in 0..calls {
            for fault in [SimFault::InputOutput, SimFault::Full, SimFault::ShortWrite] {
                let case = std::panic::AssertUnwindSafe(|| check_case(seed, durability, Some((call, fault))));
                if let Err(panic) = std::panic::catch_unwind(case) {
                    eprintln!("seed {seed}, call {call} of {calls}, {fault:?}, {durability:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

#[test]
fn whatever_call_fails_nothing_acknowledged_is_lost_from_a_synced_log() {
    check_every_call(Durability::Sync, 0..6);
}

#[test]
fn whatever_call_fails_nothing_synced_is_lost_from_a_buffered_log() {
    check_every_call(Durability::Buffered, 100..106);
}

#[test]
fn power_cuts_alone_lose_nothing_either() {
    for seed in 1_000..1_200 {
        check_case(seed, if seed % 2 == 0 { Durability::Sync } else { Durability::Buffered }, None);
    }
}

#[test]
fn the_folder_that_a_killed_process_left_is_safe_once_it_is_opened() {
    for call in 0..8 {
        let disk = SimDisk::new();
        disk.fail_call(call, SimFault::InputOutput);
        drop(Rig::open(&disk, options(), Timestamp(5)));
        disk.process_kill();
        let mut rig = Rig::open(&disk, options(), Timestamp(5)).unwrap();
        rig.append(vec![new_record(1, 10)]).unwrap();
        for seed in 0..8 {
            disk.power_cut(seed);
            assert_eq!(Rig::open(&disk, options(), Timestamp(5)).unwrap().end(), Offset(1), "call {call}");
        }
    }
}
