//! The fuzz targets' corpus as a plain test, and changed in many small ways. With `FUZZ_SECONDS` in the environment each target is
//! tried for so long, from `FUZZ_SEED` on, and says how many inputs that were.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this crate is a test, and it tells how far it came"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use eventail_tests::fuzz;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Changed copies of each file.
const CHANGES: usize = 1_000;
/// The largest that a copy grows.
const BYTES_MAX: usize = 64 << 10;

fn run(name: &str) {
    let (_, target) = fuzz::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let files = corpus(name);
    assert!(files.len() >= 5, "the corpus of {name} has only {} files", files.len());
    let mut dice = SmallRng::seed_from_u64(number("FUZZ_SEED").unwrap_or(1));
    for input in &files {
        target(input);
        for _ in 0..CHANGES {
            try_one(name, *target, &changed(input, &files, &mut dice));
        }
    }
    let Some(seconds) = number("FUZZ_SECONDS") else { return };
    let (end, mut count) = (Instant::now() + Duration::from_secs(seconds), 0_u64);
    while Instant::now() < end {
        let input = &files[dice.random_range(0..files.len())];
        try_one(name, *target, &changed(input, &files, &mut dice));
        count += 1;
    }
    println!("{name}: {count} inputs in {seconds} s");
}

/// Leaves an input that fails where it can be kept: the number of the change alone would not tell it.
fn try_one(name: &str, target: fuzz::Target, input: &[u8]) {
    struct Telling<'a>(&'a str, &'a [u8]);
    impl Drop for Telling<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let path =
                    std::env::temp_dir().join(format!("eventail-fuzz-{}-{}", self.0, std::process::id()));
                let kept = std::fs::write(&path, self.1).is_ok();
                println!("the input that failed is in {} ({kept})", path.display());
            }
        }
    }
    let _telling = Telling(name, input);
    target(input);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Some bytes are other bytes, and some are gone, there twice, or from another file.
fn changed(input: &[u8], files: &[Vec<u8>], dice: &mut SmallRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..dice.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.random_range(0..bytes.len());
        match dice.random_range(0..7) {
            0 => bytes[at] = dice.random(),
            1 => bytes[at] ^= 1 << dice.random_range(0..8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + dice.random_range(1..9)).min(bytes.len()))),
            // Lengths and counts at the edges of what they can be.
            4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.random_range(0..5)],
            5 => {
                let other = &files[dice.random_range(0..files.len())];
                if let Some(from) = other.len().checked_sub(1) {
                    let from = dice.random_range(0..=from);
                    let part = &other[from..(from + dice.random_range(1..40)).min(other.len())];
                    bytes.splice(at..at, part.iter().copied());
                }
            }
            _ => {
                let end = dice.random_range(at..bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.extend_from_slice(&part);
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

#[test]
fn every_target_is_tried_here_and_by_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let here = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus.rs")).unwrap();
    for (name, _) in fuzz::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is missing in fuzz/Cargo.toml");
        assert!(here.contains(&format!("run(\"{name}\")")), "{name} is missing here");
        assert!(folder.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has no program");
    }
}

#[test]
fn frames_are_refused_or_read_and_never_more() {
    run("frames");
}

#[test]
fn requests_are_refused_or_become_events_that_keep_the_rules() {
    run("requests");
}

#[test]
fn publishing_requests_are_refused_in_a_document_or_become_events_within_the_limits() {
    run("ingest");
}

#[test]
fn encoded_events_are_refused_or_keep_the_rules() {
    run("events");
}

#[test]
fn patterns_are_refused_or_match() {
    run("patterns");
}

#[test]
fn inputs_of_triggers_are_refused_or_render_the_same_each_time() {
    run("inputs");
}

#[test]
fn configurations_are_refused_or_read_and_tell_no_secret() {
    run("configs");
}

#[test]
fn segments_are_read_as_far_as_they_are_sound() {
    run("segments");
}

#[test]
fn settlements_are_refused_or_come_to_a_state_that_a_restart_keeps() {
    run("settlements");
}

#[test]
fn whatever_a_function_sends_its_invocation_ends() {
    run("runtime_api");
}
