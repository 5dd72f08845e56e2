//! What a seed decides before anything runs: how the broker is configured, what goes wrong, and when.
//!
//! Each seed allows some kinds of faults only, so that some run long without a crash and others see nothing else.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::network::Weather;

/// How a target behaves towards everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    /// Asks for less.
    Throttles,
    /// Cannot be reached.
    Unreachable,
    /// Fails whatever it gets.
    Fails,
    /// Never answers.
    Hangs,
    /// Takes its time.
    Slow,
    /// Answers after the lease ran out.
    Late,
    /// Takes events over and calls back, in time or not, or never.
    CallsBack,
    /// Says that it took what it was not asked about, says nothing of what it was, accepts what it may not.
    Lies,
}

const MOODS: [Mood; 8] = [
    Mood::Throttles,
    Mood::Unreachable,
    Mood::Fails,
    Mood::Hangs,
    Mood::Slow,
    Mood::Late,
    Mood::CallsBack,
    Mood::Lies,
];

/// What goes wrong, or what an operator does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The process is killed.
    Kill { down_ms: u64 },
    /// The power fails.
    PowerCut { down_ms: u64 },
    /// The process is killed, or the power fails, at a call to the disk.
    DieAtCall { calls: u64, is_power: bool, down_ms: u64 },
    /// An orderly restart; afterwards the power fails, or the index is gone.
    Restart { down_ms: u64, cut: bool, drop_index: bool },
    /// A call to the disk fails.
    FailCall { calls: u64 },
    /// There is no more room for so long.
    Full { room: u64, for_ms: u64 },
    /// The disk takes its time.
    SlowDisk { write_ms: u64, read_ms: u64, for_ms: u64 },
    /// Somebody sets the clock.
    ClockJump { by_ms: i64 },
    /// A target changes.
    Mood { target: usize, mood: Mood, for_ms: u64 },
    /// An operator stops a trigger for a time.
    Pause { trigger: usize, for_ms: u64 },
    /// Another configuration.
    Reload { variant: u32 },
    /// Dead letters go out again.
    Redrive,
    /// A trigger's events go out again.
    Replay { trigger: usize },
    /// Events that wait for their time are taken back.
    CancelDelayed,
    /// The network turns bad.
    Weather { weather: Weather, for_ms: u64 },
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) tick_ms: u64,
    /// How long things go wrong.
    pub(crate) active_ms: u64,
    pub(crate) publishers: usize,
    /// Between two publishes of one publisher, at most.
    pub(crate) pause_ms: u64,
    pub(crate) keys: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) write_ms: u64,
    pub(crate) read_ms: u64,
    pub(crate) concurrency: usize,
    pub(crate) timeout_ms: u64,
    pub(crate) max_attempts: u32,
    pub(crate) parked_max: usize,
    pub(crate) breaker_failures: u32,
    pub(crate) bisect: bool,
    pub(crate) delayed: bool,
    pub(crate) calls_back: bool,
    pub(crate) retention: bool,
    /// Clients over the network.
    pub(crate) remotes: usize,
    pub(crate) faults: Vec<(u64, Fault)>,
}

/// Dice for one purpose: what one of them rolls changes nothing for the others.
pub(crate) fn dice(seed: u64, purpose: &str) -> SmallRng {
    let mut mixed = seed ^ 0x6576_656e_7461_696c;
    for byte in purpose.bytes() {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }
    SmallRng::seed_from_u64(mixed)
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = dice(seed, "plan");
        let active_ms = dice.random_range(8_000..30_000);
        let plan = Self {
            seed,
            tick_ms: *pick(&mut dice, &[1, 5, 5, 10, 20]),
            active_ms,
            publishers: dice.random_range(1..5),
            pause_ms: dice.random_range(50..800),
            keys: dice.random_range(1..8),
            segment_bytes: *pick(&mut dice, &[2 << 10, 8 << 10, 64 << 10, 1 << 20]),
            write_ms: *pick(&mut dice, &[0, 1, 1, 3, 12]),
            read_ms: *pick(&mut dice, &[0, 0, 1, 5]),
            concurrency: dice.random_range(1..9),
            timeout_ms: dice.random_range(300..2_000),
            max_attempts: dice.random_range(2..6),
            parked_max: *pick(&mut dice, &[4, 32, 10_000]),
            breaker_failures: dice.random_range(2..7),
            bisect: dice.random_bool(0.5),
            delayed: dice.random_bool(0.5),
            calls_back: dice.random_bool(0.5),
            retention: dice.random_bool(0.3),
            remotes: 0,
            faults: Vec::new(),
        };
        let mut faults = faults(&mut dice, active_ms);
        let remotes = if dice.random_bool(0.5) { dice.random_range(2..4) } else { 0 };
        if remotes > 0 {
            faults.extend(weathers(&mut dice, active_ms));
            faults.sort_by_key(|(at, _)| *at);
        }
        Self { faults, remotes, ..plan }
    }
}

fn pick<'a, T>(dice: &mut SmallRng, of: &'a [T]) -> &'a T {
    &of[dice.random_range(0..of.len())]
}

/// The kinds of faults that a seed may allow.
const KINDS: usize = 14;

fn faults(dice: &mut SmallRng, active_ms: u64) -> Vec<(u64, Fault)> {
    let mut allowed: Vec<usize> = (0..KINDS).filter(|_| dice.random_bool(0.4)).collect();
    if allowed.is_empty() {
        allowed.push(dice.random_range(0..KINDS));
    }
    let count = dice.random_range(0..1 + active_ms / 700);
    let mut faults = Vec::new();
    for _ in 0..count {
        let at = dice.random_range(0..active_ms);
        let kind = *pick(dice, &allowed);
        faults.push((at, fault(dice, kind)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// How the network changes, for those who are on it.
fn weathers(dice: &mut SmallRng, active_ms: u64) -> Vec<(u64, Fault)> {
    let count = dice.random_range(0..1 + active_ms / 2_000);
    let mut weathers = Vec::new();
    for _ in 0..count {
        let mut share = |most: f64| if dice.random_bool(0.5) { dice.random_range(0.0..most) } else { 0.0 };
        let mut weather = Weather {
            lost_there: share(0.5),
            lost_back: share(0.5),
            twice: share(0.5),
            late: share(0.8),
            late_ms: 0,
        };
        weather.late_ms = dice.random_range(1..400);
        // Cut off, in one direction or in both.
        match dice.random_range(0..6) {
            0 => (weather.lost_there, weather.lost_back) = (1.0, 1.0),
            1 => weather.lost_there = 1.0,
            2 => weather.lost_back = 1.0,
            _ => {}
        }
        let for_ms = dice.random_range(200..6_000);
        weathers.push((dice.random_range(0..active_ms), Fault::Weather { weather, for_ms }));
    }
    weathers
}

fn fault(dice: &mut SmallRng, kind: usize) -> Fault {
    let down_ms = dice.random_range(0..1_500);
    match kind {
        0 => Fault::Kill { down_ms },
        1 => Fault::PowerCut { down_ms },
        2 => Fault::DieAtCall { calls: dice.random_range(1..60), is_power: dice.random_bool(0.6), down_ms },
        3 => Fault::Restart { down_ms, cut: dice.random_bool(0.5), drop_index: dice.random_bool(0.5) },
        4 => Fault::FailCall { calls: dice.random_range(0..40) },
        5 => Fault::Full { room: dice.random_range(0..40_000), for_ms: dice.random_range(200..4_000) },
        6 => Fault::SlowDisk {
            write_ms: dice.random_range(1..400),
            read_ms: dice.random_range(0..200),
            for_ms: dice.random_range(200..4_000),
        },
        7 => Fault::ClockJump { by_ms: dice.random_range(-60_000..60_000) },
        8 => Fault::Pause { trigger: dice.random_range(0..64), for_ms: dice.random_range(200..4_000) },
        9 => Fault::Reload { variant: dice.random_range(0..8) },
        10 => Fault::Redrive,
        11 => Fault::Replay { trigger: dice.random_range(0..64) },
        12 => Fault::CancelDelayed,
        _ => Fault::Mood {
            target: dice.random_range(0..64),
            mood: *pick(dice, &MOODS),
            for_ms: dice.random_range(200..5_000),
        },
    }
}
