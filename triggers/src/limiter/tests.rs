//! The limiter by itself, and against targets that are played.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use eventail_wire::Timestamp;
use proptest::prelude::*;

use super::{Limiter, LimiterOptions, LimiterState, Sample, SampleEnd};
use crate::limiter::LimitReason;

const BEGIN: Timestamp = Timestamp(1_000_000);

fn limiter(min: usize, max: usize) -> Limiter {
    Limiter::new(LimiterOptions { min, max }, BEGIN)
}

const fn ended(end: SampleEnd, took_ms: f64) -> Sample {
    Sample { took_ms, end }
}

/// Rounds of calls that fill the limit, all of the same kind, one round after the other.
fn rounds(limiter: &mut Limiter, now: &mut Timestamp, count: usize, end: SampleEnd, took_ms: f64) {
    for _ in 0..count {
        let granted = limiter.take(*now, usize::MAX);
        *now = now.plus_ms(took_ms as u64 + 1);
        for _ in 0..granted {
            limiter.release(*now, ended(end, took_ms));
        }
    }
}

/// A target that is played: how many calls it can take at once, and what happens to more.
#[derive(Clone, Copy, Debug)]
enum Nature {
    /// More are refused at once.
    Refuses,
    /// All get slower.
    Slows,
}

/// Callers who always want more, and a target.
struct Play {
    limiter: Limiter,
    now: u64,
    nature: Nature,
    capacity: usize,
    call_ms: u64,
    under_way: BinaryHeap<Reverse<(u64, u64, bool)>>,
    /// Sum of the limit over time, for its mean.
    weight: (u64, u64),
    done: u64,
}

impl Play {
    fn new(options: LimiterOptions, nature: Nature, capacity: usize) -> Self {
        let limiter = Limiter::new(options, BEGIN);
        let under_way = BinaryHeap::new();
        Self { limiter, now: BEGIN.0, nature, capacity, call_ms: 20, under_way, weight: (0, 0), done: 0 }
    }

    fn run(&mut self, for_ms: u64) {
        self.weight = (0, 0);
        self.done = 0;
        let end = self.now + for_ms;
        while self.now < end {
            let granted = self.limiter.take(Timestamp(self.now), usize::MAX);
            assert!(self.limiter.in_use() <= self.limiter.limit() || granted == 0);
            for nth in 0..granted {
                let load = self.under_way.len() + 1;
                let call = match self.nature {
                    Nature::Refuses if load > self.capacity => (self.now + 3, self.now, false),
                    Nature::Refuses => (self.now + self.call_ms + (nth % 4) as u64, self.now, true),
                    Nature::Slows => {
                        let slowed = self.call_ms * (load.max(self.capacity) as u64) / self.capacity as u64;
                        (self.now + slowed + (nth % 4) as u64, self.now, true)
                    }
                };
                self.under_way.push(Reverse(call));
            }
            let Some(Reverse((at, began, is_ok))) = self.under_way.pop() else { continue };
            let passed = at.saturating_sub(self.now);
            self.weight = (self.weight.0 + passed, self.weight.1 + passed * self.limiter.limit() as u64);
            self.now = self.now.max(at);
            self.done += u64::from(is_ok);
            let end = if is_ok { SampleEnd::Ok } else { SampleEnd::Throttled };
            self.limiter.release(Timestamp(self.now), ended(end, (self.now - began) as f64));
        }
    }

    fn mean_limit(&self) -> f64 {
        self.weight.1 as f64 / self.weight.0 as f64
    }
}

#[test]
fn a_limiter_begins_with_the_least_and_doubles() {
    let (mut limiter, mut now) = (limiter(2, 100), BEGIN);
    assert_eq!((limiter.take(now, 10), limiter.take(now, 10)), (2, 0));
    limiter.release(now, ended(SampleEnd::Ok, 0.0));
    limiter.release(now, ended(SampleEnd::Ok, 0.0));
    assert_eq!(limiter.limit(), 4);
    rounds(&mut limiter, &mut now, 2, SampleEnd::Ok, 5.0);
    assert_eq!(limiter.limit(), 16);
    rounds(&mut limiter, &mut now, 10, SampleEnd::Ok, 5.0);
    assert_eq!(limiter.state().reason, LimitReason::AtMax);
    assert_eq!(limiter.limit(), 100);
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let mut limiter = limiter(4, 100);
    let mut now = BEGIN;
    for _ in 0..1_000 {
        assert_eq!(limiter.take(now, 2), 2);
        now = now.plus_ms(5);
        limiter.release(now, ended(SampleEnd::Ok, 5.0));
        limiter.release(now, ended(SampleEnd::Ok, 5.0));
    }
    assert_eq!(limiter.limit(), 4);
}

#[test]
fn a_burst_of_throttles_counts_once_and_growth_is_by_one_from_there() {
    let (mut limiter, mut now) = (limiter(1, 64), BEGIN);
    rounds(&mut limiter, &mut now, 6, SampleEnd::Ok, 5.0);
    assert_eq!(limiter.limit(), 64);
    rounds(&mut limiter, &mut now, 1, SampleEnd::Throttled, 5.0);
    assert_eq!(
        limiter.state(),
        LimiterState { limit: 44, min: 1, max: 64, in_use: 0, reason: LimitReason::Throttled }
    );
    rounds(&mut limiter, &mut now, 1, SampleEnd::Ok, 5.0);
    assert_eq!((limiter.limit(), limiter.state().reason), (45, LimitReason::Growing));
    rounds(&mut limiter, &mut now, 1, SampleEnd::Throttled, 5.0);
    assert_eq!(limiter.limit(), 31);
}

#[test]
fn a_burst_that_ends_over_time_counts_once_too() {
    let (mut limiter, mut now) = (limiter(1, 64), BEGIN);
    rounds(&mut limiter, &mut now, 6, SampleEnd::Ok, 5.0);
    let granted = limiter.take(now, 64);
    for nth in 1..=granted as u64 {
        limiter.release(now.plus_ms(nth), ended(SampleEnd::Throttled, nth as f64));
    }
    assert_eq!(limiter.limit(), 44);
}

#[test]
fn time_outs_shrink_and_failures_do_not() {
    let (mut limiter, mut now) = (limiter(1, 16), BEGIN);
    rounds(&mut limiter, &mut now, 4, SampleEnd::Ok, 5.0);
    rounds(&mut limiter, &mut now, 20, SampleEnd::Failed, 5.0);
    rounds(&mut limiter, &mut now, 20, SampleEnd::Dropped, 5.0);
    assert_eq!(limiter.limit(), 16);
    rounds(&mut limiter, &mut now, 1, SampleEnd::Timeout, 5.0);
    assert_eq!((limiter.limit(), limiter.state().reason), (11, LimitReason::Slow));
}

#[test]
fn what_was_not_used_is_no_measure_for_a_throttle() {
    let (mut limiter, mut now) = (limiter(1, 64), BEGIN);
    rounds(&mut limiter, &mut now, 6, SampleEnd::Ok, 5.0);
    limiter.take(now, 1);
    limiter.release(now, ended(SampleEnd::Ok, 0.0));
    // The round is over when 64 were taken: end it, so that the next one sees little use.
    for _ in 0..64 {
        limiter.take(now, 10);
        (0..10).for_each(|_| limiter.release(now.plus_ms(1), ended(SampleEnd::Ok, 1.0)));
    }
    limiter.take(now, 10);
    limiter.release(now.plus_ms(5), ended(SampleEnd::Throttled, 1.0));
    assert_eq!(limiter.limit(), 7);
}

#[test]
fn after_an_idle_time_a_burst_ramps() {
    let (mut limiter, mut now) = (limiter(2, 64), BEGIN);
    rounds(&mut limiter, &mut now, 6, SampleEnd::Ok, 5.0);
    now = now.plus_ms(9_000);
    assert_eq!(limiter.take(now, 1_000), 64, "not idle for long enough");
    (0..64).for_each(|_| limiter.release(now, ended(SampleEnd::Ok, 0.0)));
    now = now.plus_ms(10_000);
    assert_eq!(limiter.take(now, 1_000), 16);
    assert_eq!(limiter.state().reason, LimitReason::Idle);
    now = now.plus_ms(5);
    (0..16).for_each(|_| limiter.release(now, ended(SampleEnd::Ok, 5.0)));
    assert_eq!(limiter.take(now, 1_000), 32);
    now = now.plus_ms(5);
    (0..32).for_each(|_| limiter.release(now, ended(SampleEnd::Ok, 5.0)));
    assert_eq!(limiter.take(now, 1_000), 64);
}

#[test]
fn a_long_call_is_no_idle_time() {
    let (mut limiter, mut now) = (limiter(1, 16), BEGIN);
    rounds(&mut limiter, &mut now, 4, SampleEnd::Ok, 5.0);
    assert_eq!(limiter.take(now, 1), 1);
    assert_eq!(limiter.take(now.plus_ms(60_000), 100), 15);
}

#[test]
fn a_fixed_limit_stays() {
    let (mut limiter, mut now) = (limiter(8, 8), BEGIN);
    for end in [SampleEnd::Ok, SampleEnd::Throttled, SampleEnd::Timeout, SampleEnd::Failed] {
        rounds(&mut limiter, &mut now, 50, end, 300.0);
        now = now.plus_ms(20_000);
        assert_eq!((limiter.limit(), limiter.state().reason), (8, LimitReason::AtMax), "{end:?}");
    }
}

#[test]
fn a_pause_of_the_target_is_no_collapse() {
    let (mut limiter, mut now) = (limiter(1, 32), BEGIN);
    rounds(&mut limiter, &mut now, 20, SampleEnd::Ok, 2.0);
    rounds(&mut limiter, &mut now, 1, SampleEnd::Ok, 150.0);
    rounds(&mut limiter, &mut now, 20, SampleEnd::Ok, 2.0);
    assert_eq!(limiter.limit(), 32);
}

#[test]
fn latency_that_collapses_shrinks_the_limit() {
    let (mut limiter, mut now) = (limiter(1, 32), BEGIN);
    rounds(&mut limiter, &mut now, 20, SampleEnd::Ok, 10.0);
    rounds(&mut limiter, &mut now, 3, SampleEnd::Ok, 200.0);
    assert_eq!((limiter.limit(), limiter.state().reason), (22, LimitReason::Slow));
}

#[test]
fn a_target_that_became_slower_for_good_gets_its_limit_back() {
    let (mut limiter, mut now) = (limiter(1, 32), BEGIN);
    rounds(&mut limiter, &mut now, 20, SampleEnd::Ok, 10.0);
    let mut lowest = usize::MAX;
    for _ in 0..60 {
        rounds(&mut limiter, &mut now, 1, SampleEnd::Ok, 200.0);
        lowest = lowest.min(limiter.limit());
    }
    assert!((2..=16).contains(&lowest), "it tried whether less helps: {lowest}");
    assert_eq!(limiter.limit(), 32);
    // And what is fast again is known to be.
    rounds(&mut limiter, &mut now, 20, SampleEnd::Ok, 10.0);
    rounds(&mut limiter, &mut now, 3, SampleEnd::Ok, 200.0);
    assert_eq!(limiter.state().reason, LimitReason::Slow);
}

#[test]
fn a_clock_that_is_set_back_holds_nothing() {
    let mut limiter = limiter(1, 64);
    let mut now = BEGIN.plus_ms(10_000_000);
    rounds(&mut limiter, &mut now, 8, SampleEnd::Ok, 5.0);
    rounds(&mut limiter, &mut now, 1, SampleEnd::Throttled, 5.0);
    let mut now = BEGIN;
    rounds(&mut limiter, &mut now, 1, SampleEnd::Ok, 5.0);
    rounds(&mut limiter, &mut now, 1, SampleEnd::Throttled, 5.0);
    assert_eq!(limiter.limit(), 31);
}

#[test]
fn states_are_told_as_people_read_them() {
    let state = serde_json::to_value(limiter(1, 8).state()).unwrap();
    assert_eq!(state, serde_json::json!({"limit": 1, "min": 1, "max": 8, "in_use": 0, "reason": "growing"}));
    assert_eq!(serde_json::to_value(LimitReason::AtMax).unwrap(), "at_max");
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Release(SampleEnd, u32),
    Wait(u32),
    SetBack(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        6 => Just(SampleEnd::Ok),
        1 => Just(SampleEnd::Failed),
        1 => Just(SampleEnd::Throttled),
        1 => Just(SampleEnd::Timeout),
        1 => Just(SampleEnd::Dropped),
    ];
    let step = prop_oneof![
        6 => (0..40_usize).prop_map(Step::Take),
        20 => (end, 0..2_000_u32).prop_map(|(end, took)| Step::Release(end, took)),
        4 => (0..30_000_u32).prop_map(Step::Wait),
        1 => (0..100_000_u32).prop_map(Step::SetBack),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #[test]
    fn the_limit_keeps_within_its_bounds(min in 0..20_usize, max in 0..60_usize, steps in steps()) {
        let mut limiter = limiter(min, max);
        let (min, max) = (min.max(1), max.max(min.max(1)));
        let (mut now, mut held) = (BEGIN, 0_usize);
        for step in steps {
            match step {
                Step::Take(wanted) => {
                    let granted = limiter.take(now, wanted);
                    held += granted;
                    prop_assert!(granted <= wanted);
                    prop_assert!(granted == 0 || held <= limiter.limit());
                    prop_assert!(granted == wanted || held >= limiter.limit(), "a permit was kept back");
                }
                Step::Release(end, took) if held > 0 => {
                    held -= 1;
                    limiter.release(now, ended(end, f64::from(took)));
                }
                Step::Release(..) => {}
                Step::Wait(ms) => now = now.plus_ms(ms.into()),
                Step::SetBack(ms) => now = Timestamp(now.0 - u64::from(ms)),
            }
            prop_assert_eq!(limiter.in_use(), held);
            prop_assert!((min..=max).contains(&limiter.limit()));
        }
    }
}

proptest! {
    // Each case is minutes of a target's life.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_target_that_refuses_gets_about_what_it_takes(capacity in 4..120_usize, max in 120..400_usize) {
        let mut play = Play::new(LimiterOptions { min: 1, max }, Nature::Refuses, capacity);
        play.run(20_000);
        play.run(20_000);
        let share = play.mean_limit() / capacity as f64;
        prop_assert!((0.6..=1.1).contains(&share), "{share} of {capacity}: {:?}", play.limiter.state());
    }

    #[test]
    fn a_target_that_slows_is_not_drowned(capacity in 4..60_usize, max in 300..600_usize) {
        let mut play = Play::new(LimiterOptions { min: 1, max }, Nature::Slows, capacity);
        play.run(30_000);
        play.run(30_000);
        let share = play.mean_limit() / capacity as f64;
        prop_assert!((0.9..=3.5).contains(&share), "{share} of {capacity}: {:?}", play.limiter.state());
    }

    #[test]
    fn a_target_that_lost_capacity_for_a_while_is_used_again(capacity in 30..100_usize, nature in 0..2) {
        let nature = if nature == 0 { Nature::Refuses } else { Nature::Slows };
        let mut play = Play::new(LimiterOptions { min: 1, max: 300 }, nature, capacity);
        play.run(30_000);
        play.run(10_000);
        let done = play.done;
        play.capacity = capacity / 10;
        play.run(60_000);
        prop_assert!(play.limiter.limit() < capacity, "{:?}", play.limiter.state());
        play.capacity = capacity;
        play.run(60_000);
        play.run(10_000);
        prop_assert!(play.done * 10 >= done * 7, "{} after {done}: {:?}", play.done, play.limiter.state());
    }
}
