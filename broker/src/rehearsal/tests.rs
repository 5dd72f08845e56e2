//! Tests of configurations, and configurations against each other.

use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};

use super::*;

fn config(text: &str) -> Config {
    Config::parse("eventail.toml", text, &|_| None).unwrap()
}

fn trigger(name: &str, keys: &str) -> String {
    format!("[triggers.{name}]\n{keys}\ntarget.http.url = \"http://a/\"\n")
}

fn failed(text: &str) -> Vec<String> {
    failures(&config(text)).unwrap().iter().map(TestFailure::to_string).collect()
}

#[test]
fn a_test_holds_where_exactly_its_triggers_match_and_send_what_it_says() {
    let triggers = trigger(
        "large",
        "pattern = { data = { total = [{ numeric = [\">\", 100] }] } }\ninput.template = '{\"n\": <$.data.total>}'",
    ) + &trigger("all", "input.template = 'total <$.data.total>'")
        + &trigger("other", "topic = \"elsewhere\"");
    let test = |total: u32, triggers: &str, input: &str| {
        format!(
            "[[tests]]\nname = \"t\"\nevent = {{ type = \"t\", data = {{ total = {total} }} }}\ntriggers = {triggers}\n{input}\n"
        )
    };
    let run = |test: String| failed(&(triggers.clone() + &test));
    let inputs = "input = { large = { n = 101 }, all = \"total 101\" }";
    assert_eq!(run(test(101, "[\"all\", \"large\"]", inputs)), Vec::<String>::new());
    assert_eq!(
        run(test(100, "[\"all\", \"large\"]", "")),
        [
            "test \"t\": trigger large does not match: data.total: expected [{\"numeric\":[\">\",100]}], found 100"
        ]
    );
    assert_eq!(
        run(test(101, "[\"all\"]", "")),
        ["test \"t\": trigger large matches, and is not expected to"]
    );
    assert_eq!(
        run(test(101, "[\"all\", \"large\"]", "input.large = { n = 102 }")),
        ["test \"t\": trigger large would send {\"n\": 101}, and {\"n\":102} is expected"]
    );
    assert_eq!(
        run(test(1, "[\"all\", \"other\"]", "")),
        ["test \"t\": trigger other does not match: it does not read the topic default"]
    );
    let fails = trigger("f", "input.path = \"$.data.gone\"")
        + "[[tests]]\nevent = { type = \"t\" }\ntriggers = [\"f\"]\n";
    assert!(failed(&fails)[0].contains("makes no input of it"), "{:?}", failed(&fails));
}

#[test]
fn a_comparison_tells_what_each_trigger_would_do_otherwise() {
    let before = trigger("a", "pattern = { type = [\"x\"] }")
        + &trigger("b", "input.path = \"$.id\"")
        + &trigger("same", "");
    let after = trigger("a", "pattern = { type = [\"y\"] }\nbatch = { max_events = 2 }")
        + &trigger("b", "input.path = \"$.type\"")
        + &trigger("new", "input.path = \"$.subject\"")
        + &trigger("same", "");
    let rehearse = |text: &str| Rehearsal::new(&config(text)).unwrap();
    let mut comparison = Comparison::new(rehearse(&before), rehearse(&after), 1);
    let topic = TopicName::new("default").unwrap();
    assert_eq!(comparison.topics().into_iter().collect::<Vec<_>>(), std::slice::from_ref(&topic));
    for (number, kind) in ["x", "y", "y", "z"].into_iter().enumerate() {
        let event = Event::builder(number.to_string(), "/s", kind).build().unwrap();
        let offset = Offset(number as u64);
        comparison.take(&Place { event: &event, topic: &topic, offset, appended_at: Timestamp(0) });
    }
    let (events, differences) = comparison.finish();
    let of = |name: &str| &differences[&TriggerName::new(name).unwrap()];
    assert_eq!(events, 4);
    let a = of("a");
    assert_eq!((a.matched_before, a.matched_after, a.newly_matched, a.no_longer_matched), (1, 2, 2, 1));
    assert_eq!((a.calls_before, a.calls_after), (1, 1));
    let kinds: Vec<_> = a.samples.iter().map(|sample| (sample.kind, sample.offset)).collect();
    assert_eq!(kinds, [(SampleKind::NoLongerMatched, 0), (SampleKind::NewlyMatched, 1)]);
    assert_eq!(a.samples[0].why.as_deref(), Some("type: expected [\"y\"], found \"x\""));
    assert_eq!(of("b").input_changed, 4);
    let sample = &of("b").samples[0];
    assert_eq!((sample.before.as_deref(), sample.after.as_deref()), (Some("\"0\""), Some("\"x\"")));
    assert_eq!((of("new").newly_matched, of("new").input_fails, of("new").calls_after), (4, 4, 0));
    assert!(!of("same").is_change() && a.is_change());
}
