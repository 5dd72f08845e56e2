//! The fuzz targets' corpus as a plain test, and changed in a thousand small ways.
#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

use std::path::Path;

use eventail_tests::fuzz;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Changed copies of each file.
const CHANGES: usize = 1_000;

fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus of {name} has only {} files", files.len());
    let mut dice = SmallRng::seed_from_u64(1);
    for file in files {
        let input = std::fs::read(&file).unwrap();
        target(&input);
        for _ in 0..CHANGES {
            target(&changed(&input, &mut dice));
        }
    }
}

/// Some bytes are other bytes, and some are gone or there twice.
fn changed(input: &[u8], dice: &mut SmallRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..dice.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.random_range(0..bytes.len());
        match dice.random_range(0..4) {
            0 => bytes[at] = dice.random(),
            1 => bytes[at] ^= 1 << dice.random_range(0..8),
            2 => bytes.truncate(at),
            _ => {
                let end = dice.random_range(at..bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.extend_from_slice(&part);
            }
        }
    }
    bytes
}

#[test]
fn frames_are_refused_or_read_and_never_more() {
    run("frames", fuzz::frames);
}

#[test]
fn requests_are_refused_or_become_events_that_keep_the_rules() {
    run("requests", fuzz::requests);
}

#[test]
fn encoded_events_are_refused_or_keep_the_rules() {
    run("events", fuzz::events);
}

#[test]
fn patterns_are_refused_or_match() {
    run("patterns", fuzz::patterns);
}
