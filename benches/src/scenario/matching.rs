//! What matching costs with few triggers and with many: one compiled structure per topic, so the number must hardly count.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use eventail_triggers::pattern::{Matcher, Pattern, Scratch};
use eventail_wire::Event;

use super::{Settings, float};
use crate::report::{Figure, Goal, median};

/// Each trigger of a topic matches one event type of these.
const TYPES: usize = 1_000;
const FEW: usize = 10;
const MANY: usize = 1_000;

pub(super) fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let events = typed_events(settings.data_bytes)?;
    let mut runs = Vec::new();
    for _ in 0..settings.runs {
        runs.push((nanoseconds_each(settings, &events, FEW)?, nanoseconds_each(settings, &events, MANY)?));
    }
    let ratio = |pair: &(f64, f64)| pair.1 / pair.0;
    let (few, many) = median(&runs, ratio);
    Ok(vec![Figure {
        durability: "-",
        scenario: "triggers".to_owned(),
        what: format!("matching with {MANY} triggers over {FEW}"),
        value: ratio(&(few, many)),
        unit: "x",
        goal: Goal::AtMost(2.0),
        detail: format!("{few:.0} ns and {many:.0} ns per event of {TYPES} types"),
    }])
}

/// The matcher of a topic whose trigger `n` takes the event type `n`.
///
/// # Errors
/// Never: the patterns are valid.
pub fn matcher(triggers: usize) -> anyhow::Result<Matcher> {
    let pattern = |n| Pattern::parse(&format!(r#"{{"type": ["{}"]}}"#, event_type(n)));
    let patterns: Vec<Option<Pattern>> =
        (0..triggers).map(|n| pattern(n).map(Some)).collect::<Result<_, _>>()?;
    Ok(Matcher::new(&patterns))
}

/// One event of each type.
///
/// # Errors
/// Where the size is over the limits.
pub fn typed_events(data_bytes: usize) -> anyhow::Result<Vec<Event>> {
    let data = serde_json::json!({ "fill": "x".repeat(data_bytes) }).to_string();
    let event =
        |n: usize| Event::builder(n.to_string(), "/bench", event_type(n)).json_data(data.clone()).build();
    Ok((0..TYPES).map(event).collect::<Result<_, _>>()?)
}

fn event_type(n: usize) -> String {
    format!("com.example.shop.thing-{n}.changed")
}

fn nanoseconds_each(settings: &Settings, events: &[Event], triggers: usize) -> anyhow::Result<f64> {
    let matcher = matcher(triggers)?;
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let (mut rounds, mut matched) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < settings.duration / 4 {
        for event in events {
            matcher.matches(black_box(event), &mut scratch, &mut out);
            matched += out.len();
        }
        rounds += 1;
    }
    let elapsed = begun.elapsed();
    ensure!(matched == rounds * triggers.min(TYPES), "{matched} matches in {rounds} rounds are wrong");
    Ok(elapsed.as_secs_f64() * 1e9 / float(u64::try_from(rounds * events.len())?))
}
