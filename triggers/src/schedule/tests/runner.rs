//! Days of a schedule: downtimes, jitter, clocks that jump.

use eventail_wire::Timestamp;
use eventail_wire::limits::{SCHEDULE_LATE_MS, SCHEDULE_SET_BACK_MS_MAX};

use super::{timetable, utc};
use crate::schedule::{MissedRuns, Run, Runner, RunnerOptions, Step, Timetable};

const SEED: u64 = 42;
const HOUR_MS: u64 = 3_600_000;

fn hourly(missed: MissedRuns) -> RunnerOptions {
    RunnerOptions { timetable: timetable("cron(0 * * * ? *)", "UTC"), jitter_ms: 0, missed, enabled: true }
}

/// What is made at this moment, and how many are left out, until there is nothing more to do.
fn work(runner: &mut Runner, now: Timestamp) -> (Vec<Run>, u64, Option<Timestamp>) {
    let (mut made, mut left_out) = (Vec::new(), 0);
    loop {
        match runner.step(now) {
            Step::Run(run) => {
                runner.ran(run, now);
                made.push(run);
            }
            Step::Skipped(skipped) => left_out += skipped.count,
            Step::SetBack { .. } | Step::Busy => {}
            Step::Wait(until) => return (made, left_out, until),
        }
    }
}

/// The broker is started again.
fn restarted(runner: &Runner, now: Timestamp) -> Runner {
    Runner::resume(runner.options().clone(), runner.memory().clone(), now)
}

fn in_time(at: &str) -> Run {
    Run { scheduled: utc(at), missed: false }
}

fn late(at: &str) -> Run {
    Run { scheduled: utc(at), missed: true }
}

#[test]
fn a_run_is_due_at_its_time_and_not_before() {
    let mut runner = Runner::new(hourly(MissedRuns::Skip), utc("2026-11-23T10:00:00"), SEED);
    assert_eq!(runner.step(utc("2026-11-23T10:59:59.999")), Step::Wait(Some(utc("2026-11-23T11:00:00"))));
    let run = in_time("2026-11-23T11:00:00");
    assert_eq!(runner.step(utc("2026-11-23T11:00:00")), Step::Run(run));
    // It stays due until it was made.
    assert_eq!(runner.step(utc("2026-11-23T11:10:00")), Step::Run(run));
    runner.ran(run, utc("2026-11-23T11:10:00"));
    assert_eq!(runner.step(utc("2026-11-23T11:10:00")), Step::Wait(Some(utc("2026-11-23T12:00:00"))));
    assert_eq!(runner.memory().last_run(), Some((utc("2026-11-23T11:00:00"), utc("2026-11-23T11:10:00"))));
}

#[test]
fn a_crash_before_a_run_was_noted_repeats_it() {
    let mut runner = Runner::new(hourly(MissedRuns::Once), utc("2026-11-23T10:30:00"), SEED);
    let now = utc("2026-11-23T11:00:00");
    let Step::Run(run) = runner.step(now) else { panic!("nothing is due") };
    let mut runner = restarted(&runner, now);
    assert_eq!(runner.step(now), Step::Run(run));
}

#[test]
fn skipped_runs_are_left_out_and_counted() {
    let runner = Runner::new(hourly(MissedRuns::Skip), utc("2026-11-23T10:30:00"), SEED);
    let now = utc("2026-11-23T15:30:00");
    let mut runner = restarted(&runner, now);
    let (made, left_out, until) = work(&mut runner, now);
    assert_eq!((made, left_out, until), (vec![], 5, Some(utc("2026-11-23T16:00:00"))));
    assert_eq!((runner.memory().runs(), runner.memory().skipped()), (0, 5));
    // They are not counted again.
    assert_eq!(work(&mut restarted(&runner, now), now).1, 0);
}

#[test]
fn one_run_stands_for_all_that_were_missed() {
    let runner = Runner::new(hourly(MissedRuns::Once), utc("2026-11-23T10:30:00"), SEED);
    let now = utc("2026-11-23T15:30:00");
    let mut runner = restarted(&runner, now);
    assert_eq!(
        work(&mut runner, now),
        (vec![late("2026-11-23T15:00:00")], 4, Some(utc("2026-11-23T16:00:00")))
    );
    // Where one is due just now it is that one.
    let now = utc("2026-11-23T18:00:20");
    let mut runner = restarted(&runner, now);
    assert_eq!(work(&mut runner, now).0, [in_time("2026-11-23T18:00:00")]);
    assert_eq!((runner.memory().runs(), runner.memory().made_up(), runner.memory().skipped()), (2, 1, 6));
}

#[test]
fn all_missed_runs_go_in_order_up_to_a_cap() {
    let runner = Runner::new(hourly(MissedRuns::All { most: 3 }), utc("2026-11-23T10:30:00"), SEED);
    let now = utc("2026-11-23T15:00:30");
    let mut runner = restarted(&runner, now);
    let expected = vec![
        late("2026-11-23T12:00:00"),
        late("2026-11-23T13:00:00"),
        late("2026-11-23T14:00:00"),
        in_time("2026-11-23T15:00:00"),
    ];
    assert_eq!(work(&mut runner, now), (expected, 1, Some(utc("2026-11-23T16:00:00"))));
}

#[test]
fn a_restart_in_the_middle_of_making_up_goes_on_there() {
    let runner = Runner::new(hourly(MissedRuns::All { most: 3 }), utc("2026-11-23T10:30:00"), SEED);
    let now = utc("2026-11-23T15:30:00");
    let mut runner = restarted(&runner, now);
    assert!(matches!(runner.step(now), Step::Skipped(skipped) if skipped.count == 2));
    let Step::Run(run) = runner.step(now) else { panic!("nothing is due") };
    runner.ran(run, now);
    let rest = work(&mut restarted(&runner, now), now);
    assert_eq!(rest.0, [late("2026-11-23T14:00:00"), late("2026-11-23T15:00:00")]);
    assert_eq!(rest.1, 0);
}

#[test]
fn a_short_restart_misses_nothing() {
    let runner = Runner::new(hourly(MissedRuns::Skip), utc("2026-11-23T10:59:50"), SEED);
    let now = utc("2026-11-23T11:00:00").plus_ms(SCHEDULE_LATE_MS);
    assert_eq!(work(&mut restarted(&runner, now), now).0, [in_time("2026-11-23T11:00:00")]);
    let later = now.plus_ms(1);
    assert_eq!(work(&mut restarted(&runner, later), later), (vec![], 1, Some(utc("2026-11-23T12:00:00"))));
}

#[test]
fn a_downtime_of_years_is_looked_through_in_steps_and_counted_whole() {
    let options =
        RunnerOptions { timetable: timetable("cron(* * * * ? *)", "UTC"), ..hourly(MissedRuns::Once) };
    let begun = utc("2026-11-01T00:00:00");
    let runner = Runner::new(options, begun, SEED);
    let now = begun.plus_ms(14 * 24 * HOUR_MS + 30_000);
    let mut runner = restarted(&runner, now);
    assert_eq!(runner.step(now), Step::Busy);
    let (made, left_out, _) = work(&mut runner, now);
    assert_eq!((made.len(), left_out), (1, 14 * 24 * 60 - 1));
}

#[test]
fn a_clock_set_back_runs_nothing_twice() {
    let mut runner = Runner::new(hourly(MissedRuns::All { most: 10 }), utc("2026-11-23T10:30:00"), SEED);
    assert_eq!(work(&mut runner, utc("2026-11-23T11:00:00")).0.len(), 1);
    assert_eq!(work(&mut runner, utc("2026-11-23T12:00:00")).0.len(), 1);
    for now in ["2026-11-23T10:45:00", "2026-11-23T11:00:00", "2026-11-23T12:00:00"] {
        assert_eq!(work(&mut runner, utc(now)), (vec![], 0, Some(utc("2026-11-23T13:00:00"))), "{now}");
    }
    assert_eq!(work(&mut runner, utc("2026-11-23T13:00:00")).0, [in_time("2026-11-23T13:00:00")]);
}

#[test]
fn a_clock_that_was_years_ahead_does_not_silence_a_schedule() {
    let mut options = hourly(MissedRuns::Skip);
    for rate in [false, true] {
        if rate {
            options.timetable = timetable("rate(1 hour)", "UTC");
        }
        let ahead = utc("2030-01-01T00:30:00");
        let mut runner = Runner::new(options.clone(), ahead, SEED);
        work(&mut runner, ahead.plus_ms(HOUR_MS));
        let now = utc("2026-11-23T10:30:00");
        let mut runner = restarted(&runner, now);
        let reached = options.timetable.next_after(ahead, ahead).unwrap();
        assert_eq!(runner.step(now), Step::SetBack { from: reached });
        let (_, _, until) = work(&mut runner, now);
        assert!(until.is_some_and(|until| until <= now.plus_ms(HOUR_MS)), "{until:?}");
    }
}

#[test]
fn a_clock_set_back_by_less_than_the_limit_is_waited_for() {
    let mut runner = Runner::new(hourly(MissedRuns::Skip), utc("2026-11-23T10:30:00"), SEED);
    work(&mut runner, utc("2026-11-23T11:00:00"));
    let back = Timestamp(utc("2026-11-23T11:00:00").0 - SCHEDULE_SET_BACK_MS_MAX);
    assert_eq!(runner.step(back), Step::Wait(Some(utc("2026-11-23T12:00:00"))));
    assert!(matches!(runner.step(Timestamp(back.0 - 1)), Step::SetBack { .. }));
}

#[test]
fn a_clock_set_forward_is_a_downtime() {
    let mut runner = Runner::new(hourly(MissedRuns::Once), utc("2026-11-23T10:30:00"), SEED);
    work(&mut runner, utc("2026-11-23T11:00:00"));
    let (made, left_out, _) = work(&mut runner, utc("2026-11-23T20:30:00"));
    assert_eq!((made, left_out), (vec![late("2026-11-23T20:00:00")], 8));
}

#[test]
fn jitter_stays_in_its_window_and_is_the_same_after_a_restart() {
    let options = RunnerOptions { jitter_ms: 30 * 60_000, ..hourly(MissedRuns::Skip) };
    let mut dues = Vec::new();
    let mut runner = Runner::new(options.clone(), utc("2026-11-23T10:30:00"), SEED);
    let mut now = utc("2026-11-23T10:30:00");
    for _ in 0..20 {
        let (made, left_out, until) = work(&mut runner, now);
        assert_eq!((made.len(), left_out), (usize::from(!dues.is_empty()), 0));
        runner = restarted(&runner, now);
        assert_eq!(runner.step(now), Step::Wait(until));
        now = until.unwrap();
        dues.push(now.0 % HOUR_MS);
    }
    assert!(dues.iter().all(|due| *due <= 30 * 60_000), "{dues:?}");
    dues.dedup();
    assert!(dues.len() > 15, "{dues:?}");
    let mut other = Runner::new(options, utc("2026-11-23T10:30:00"), SEED + 1);
    assert_ne!(work(&mut other, utc("2026-11-23T10:30:00")).2.unwrap().0 % HOUR_MS, dues[0]);
}

#[test]
fn runs_do_not_overtake_one_another_where_jitter_is_longer_than_their_distance() {
    let options = RunnerOptions {
        timetable: timetable("cron(* * * * ? *)", "UTC"),
        jitter_ms: HOUR_MS,
        ..hourly(MissedRuns::Skip)
    };
    let mut now = utc("2026-11-23T10:30:00");
    let mut runner = Runner::new(options, now, SEED);
    let mut made = Vec::new();
    while made.len() < 120 {
        let (runs, left_out, until) = work(&mut runner, now);
        assert_eq!(left_out, 0, "a run that waits for its turn is not missed");
        made.extend(runs.iter().map(|run| run.scheduled));
        now = until.unwrap();
    }
    assert!(made.windows(2).all(|pair| pair[1].0 - pair[0].0 == 60_000));
}

#[test]
fn another_timetable_begins_anew_and_keeps_its_counts() {
    let mut runner = Runner::new(hourly(MissedRuns::All { most: 100 }), utc("2026-11-23T10:30:00"), SEED);
    work(&mut runner, utc("2026-11-23T11:00:00"));
    let options =
        RunnerOptions { timetable: timetable("cron(* * * * ? *)", "UTC"), ..runner.options().clone() };
    let now = utc("2026-11-23T11:30:30");
    let mut runner = Runner::resume(options, runner.memory().clone(), now);
    assert_eq!(work(&mut runner, now), (vec![], 0, Some(utc("2026-11-23T11:31:00"))));
    assert_eq!(runner.memory().runs(), 1);
    // Another cap changes what becomes of what was missed, and not what was missed.
    let options = RunnerOptions { missed: MissedRuns::Skip, ..runner.options().clone() };
    let now = utc("2026-11-23T11:40:30");
    assert_eq!(work(&mut Runner::resume(options, runner.memory().clone(), now), now).1, 9);
}

#[test]
fn a_disabled_schedule_misses_nothing() {
    let runner = Runner::new(hourly(MissedRuns::All { most: 100 }), utc("2026-11-23T10:30:00"), SEED);
    let off = RunnerOptions { enabled: false, ..runner.options().clone() };
    let now = utc("2026-11-23T11:30:00");
    let mut runner = Runner::resume(off, runner.memory().clone(), now);
    assert_eq!(runner.step(utc("2026-11-23T15:30:00")), Step::Wait(None));
    assert_eq!(runner.next_runs(now, 10), []);
    let now = utc("2026-11-23T17:30:00");
    let mut runner = Runner::resume(hourly(MissedRuns::All { most: 100 }), runner.memory().clone(), now);
    assert_eq!(work(&mut runner, now), (vec![], 0, Some(utc("2026-11-23T18:00:00"))));
}

#[test]
fn a_schedule_that_has_ended_waits_for_nothing() {
    let timetable =
        Timetable { end: Some(utc("2026-11-23T12:00:00")), ..timetable("cron(0 * * * ? *)", "UTC") };
    let mut runner = Runner::new(
        RunnerOptions { timetable, ..hourly(MissedRuns::Once) },
        utc("2026-11-23T10:30:00"),
        SEED,
    );
    assert_eq!(work(&mut runner, utc("2026-11-23T11:00:00")).2, None);
}

#[test]
fn the_next_runs_are_told_with_those_that_are_due() {
    let mut runner = Runner::new(hourly(MissedRuns::Skip), utc("2026-11-23T10:30:00"), SEED);
    let now = utc("2026-11-23T11:00:10");
    let expected = [utc("2026-11-23T11:00:00"), utc("2026-11-23T12:00:00")];
    assert_eq!(runner.next_runs(now, 2), expected);
    let Step::Run(run) = runner.step(now) else { panic!("nothing is due") };
    assert_eq!(runner.next_runs(now, 2), expected);
    runner.ran(run, now);
    assert_eq!(runner.next_runs(now, 1), expected[1..]);
}
