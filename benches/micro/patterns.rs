//! The pattern language against `quamina`: the same patterns, the same events, one run.
//!
//! `cargo bench -p eventail-benches --bench micro -- patterns`. Most operators are asked at 1, 100 and 10,000 patterns. `event`
//! is this project's matcher on events as a broker has them, `json` the same on the text that `quamina` gets. The two groups
//! at the end are what one core does of events of 1 KiB.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use eventail_triggers::pattern::{Matcher, Pattern, Scratch};
use eventail_wire::Event;
use eventail_wire::cloudevents::decode_structured;
use quamina::{Quamina, QuaminaBuilder};

/// With 100 and with 10,000 patterns each of them is matched by one.
const EVENTS: usize = 100;
const EVENT_BYTES: usize = 1024;
const SIZES: [usize; 3] = [1, 100, 10_000];

/// A kind of pattern and its pattern for each number.
type Kind = (&'static str, fn(usize) -> String);

const KINDS: [Kind; 7] = [
    ("exact", |n| format!(r#"{{"type":["shop.thing-{n}.changed"]}}"#)),
    ("exact_in_data", |n| format!(r#"{{"data":{{"status":["status-{n}"]}}}}"#)),
    ("prefix", |n| format!(r#"{{"subject":[{{"prefix":"images/{n}/"}}]}}"#)),
    ("suffix", |n| format!(r#"{{"subject":[{{"suffix":"-{n}.png"}}]}}"#)),
    ("ignore_case", |n| format!(r#"{{"type":[{{"equals-ignore-case":"Shop.THING-{n}.changed"}}]}}"#)),
    ("numeric", |n| format!(r#"{{"data":{{"total":[{{"numeric":[">",{n},"<",{}]}}]}}}}"#, n + 1)),
    ("three_in_data", three_in_data),
];

/// Wildcards grow `quamina`'s automaton with their number, and it panics at 10,000 patterns with an anything-but: these are asked at
/// fewer.
const FEW: [Kind; 2] = [
    ("anything_but", |n| {
        format!(r#"{{"type":["shop.thing-{n}.changed"],"data":{{"status":[{{"anything-but":["lost"]}}]}}}}"#)
    }),
    ("wildcard", |n| format!(r#"{{"data":{{"path":[{{"wildcard":"/srv/*/folder-{n}/*.txt"}}]}}}}"#)),
];

fn three_in_data(n: usize) -> String {
    format!(
        r#"{{"data":{{"status":["status-{n}"],"customer":{{"city":["City-{n}"]}},"total":[{{"numeric":[">",0]}}]}}}}"#
    )
}

/// A CloudEvent as JSON, filled up behind the fields that patterns name.
fn text(n: usize) -> String {
    let attributes = format!(
        r#""specversion":"1.0","id":"e-{n}","source":"/shop","type":"shop.thing-{n}.changed","subject":"images/{n}/x-{n}.png""#
    );
    let data = format!(
        r#""order":"o-{n}","status":"status-{n}","total":{n}.5,"customer":{{"name":"Name","city":"City-{n}"}},"path":"/srv/files/folder-{n}/file.txt""#
    );
    let fill = EVENT_BYTES.saturating_sub(attributes.len() + data.len() + 23);
    format!(r#"{{{attributes},"data":{{{data},"fill":"{}"}}}}"#, "x".repeat(fill))
}

fn event(text: &str) -> Event {
    decode_structured(&Bytes::copy_from_slice(text.as_bytes())).expect("a CloudEvent")
}

fn compiled(kind: fn(usize) -> String, patterns: usize) -> Matcher {
    let pattern = |n| Some(Pattern::parse(&kind(n)).expect("a valid pattern"));
    Matcher::new(&(0..patterns).map(pattern).collect::<Vec<_>>())
}

/// Every operator that both engines have.
pub(crate) fn against_quamina(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..EVENTS).map(text).collect();
    let events: Vec<Event> = texts.iter().map(|text| event(text)).collect();
    let kinds = KINDS.iter().flat_map(|kind| SIZES.map(|size| (kind, size)));
    let few = FEW.iter().flat_map(|kind| [(kind, 1), (kind, 100)]);
    for ((name, kind), size) in kinds.chain(few) {
        let mut group = criterion.benchmark_group(format!("patterns/{name}"));
        group.throughput(Throughput::Elements(1));
        let matcher = compiled(*kind, size);
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let mut turn = events.iter().cycle();
        group.bench_function(BenchmarkId::new("event", size), |bencher| {
            bencher.iter(|| {
                matcher.matches(black_box(turn.next().expect("it never ends")), &mut scratch, &mut out);
                out.len()
            });
        });
        let mut turn = texts.iter().cycle();
        group.bench_function(BenchmarkId::new("json", size), |bencher| {
            bencher.iter(|| {
                let text = black_box(turn.next().expect("it never ends"));
                matcher.matches_json(text.as_bytes(), &mut scratch, &mut out).expect("a JSON object");
                out.len()
            });
        });
        let Some(quamina) = quamina_of(*kind, size) else { continue };
        let mut turn = texts.iter().cycle();
        group.bench_function(BenchmarkId::new("quamina", size), |bencher| {
            bencher.iter(|| {
                let text = black_box(turn.next().expect("it never ends"));
                quamina.matches_for_event(text.as_bytes()).expect("a JSON object").len()
            });
        });
        group.finish();
    }
}

/// `None` where it refuses so many of such patterns, with a hundred times the memory that it takes by default.
fn quamina_of(kind: fn(usize) -> String, patterns: usize) -> Option<Quamina<usize>> {
    let mut quamina = QuaminaBuilder::new().with_arena_byte_budget(1 << 30).build().ok()?;
    (0..patterns).try_for_each(|n| quamina.add_pattern(n, &kind(n))).ok()?;
    Some(quamina)
}

/// What one core does: patterns that look at attributes only, and patterns on three fields of the data.
pub(crate) fn one_core(criterion: &mut Criterion) {
    let events: Vec<Event> = (0..EVENTS).map(|n| event(&text(n))).collect();
    let mut group = criterion.benchmark_group("patterns/one_core");
    group.throughput(Throughput::Elements(1));
    let attributes: fn(usize) -> String =
        |n| format!(r#"{{"type":["shop.thing-{n}.changed"],"subject":[{{"prefix":"images/"}}]}}"#);
    for (name, kind) in [("attributes", attributes), ("three_data_fields", three_in_data)] {
        let matcher = compiled(kind, EVENTS);
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let mut turn = events.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                matcher.matches(black_box(turn.next().expect("it never ends")), &mut scratch, &mut out);
                out.len()
            });
        });
    }
    group.finish();
}
