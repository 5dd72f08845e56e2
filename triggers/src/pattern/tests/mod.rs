//! Tests of the pattern language: what it says, what it refuses, and that the compiled matcher says what a slow one says.

mod alternatives;
mod events;
mod explanations;
mod language;
mod model;
mod operators;
mod refusals;

use super::{Explanation, Matcher, Pattern, Scratch};

/// Whether one pattern matches one event, both as text.
fn holds(pattern: &str, event: &str) -> bool {
    let pattern = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let mut out = Vec::new();
    Matcher::new(&[Some(pattern)])
        .matches_json(event.as_bytes(), &mut Scratch::default(), &mut out)
        .unwrap_or_else(|error| panic!("{event}: {error}"));
    !out.is_empty()
}

/// Checks one pattern against events that it must match and events that it must not match.
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    for event in matching {
        assert!(holds(pattern, event), "{pattern} must match {event}");
    }
    for event in others {
        assert!(!holds(pattern, event), "{pattern} must not match {event}");
    }
}
