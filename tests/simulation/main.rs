//! The simulation: the real broker on a simulated disk, clock and network, with everything going wrong that a seed decides.
//!
//! One thread, paused time and seeded dice: the same seed is the same run, to the byte of its trace. `SEED=n` replays one with its trace
//! printed, `SEEDS=n` runs more than the fixed ones, from `SEED` on if that is set too.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of this crate is a test")]

mod attempts;
mod audit;
mod clock;
mod disk;
mod ledger;
mod network;
mod node;
mod operator;
mod plan;
mod publisher;
mod regressions;
mod remote;
mod run;
mod setup;
mod target;
mod world;

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::Outcome;

/// The seeds that always run.
const FIXED_SEEDS: u64 = 50;
/// Lines of the trace that a failure shows.
const TAIL_LINES: usize = 60;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs a seed on a thread of its own. A panic anywhere is a failure: the broker's tasks would swallow it.
fn simulate(seed: u64) -> Outcome {
    let run = move || {
        let mut outcome = run::run(seed);
        let panics = PANICS.take();
        if let Some(panic) = panics.first() {
            outcome.failure = Some(format!("panicked: {panic}"));
        }
        outcome
    };
    match std::thread::Builder::new().stack_size(16 << 20).spawn(run).unwrap().join() {
        Ok(outcome) => outcome,
        Err(_) => Outcome { failure: Some("the simulation panicked".to_owned()), trace: String::new() },
    }
}

fn note_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            before(panic);
        }));
    });
}

/// Fails where a promise does not hold under this seed.
fn assert_holds(seed: u64) {
    note_panics();
    let outcome = simulate(seed);
    assert_eq!(outcome.failure, None, "replay it with SEED={seed}");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs seeds on all cores; answers those that failed, with what failed.
fn run_seeds(seeds: std::ops::Range<u64>) -> Vec<(u64, String)> {
    note_panics();
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = simulate(seed);
                    if let Some(failure) = outcome.failure {
                        let lines: Vec<&str> = outcome.trace.lines().collect();
                        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
                        println!("seed {seed} failed: {failure}\n{tail}\n");
                        failed.lock().unwrap().push((seed, failure));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

#[test]
fn the_promises_hold_under_every_seed() {
    if let (Some(seed), None) = (number("SEED"), number("SEEDS")) {
        note_panics();
        let outcome = simulate(seed);
        println!("{}", outcome.trace);
        assert_eq!(outcome.failure, None, "seed {seed}");
        return;
    }
    let first = number("SEED").unwrap_or(1);
    let failed = run_seeds(first..first + number("SEEDS").unwrap_or(FIXED_SEEDS));
    assert!(failed.is_empty(), "{} seeds failed; replay one with SEED=n: {failed:#?}", failed.len());
}

#[test]
fn the_same_seed_is_the_same_run() {
    note_panics();
    for seed in [1, 2, 3, 5, 8, 13] {
        let (first, second) = (simulate(seed), simulate(seed));
        let differs = first.trace.lines().zip(second.trace.lines()).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
