//! What an explanation names: the first field that fails, of the alternative that came nearest.

use eventail_wire::event::Event;

use crate::pattern::{Explanation, Found, Miss, Pattern};

fn miss(pattern: &str, event: &str) -> Miss {
    match Pattern::parse(pattern).unwrap().explain_json(event.as_bytes()).unwrap() {
        Explanation::NoMatch(miss) => miss,
        Explanation::Match => panic!("{pattern} must not match {event}"),
    }
}

fn found(text: &str) -> Found {
    Found::Value(text.to_owned())
}

#[test]
fn the_first_field_that_fails_is_named_with_what_is_there() {
    let pattern = r#"{"type": ["a"], "data": {"total": [ {"numeric": [">", 1e2]} ], "city": ["x"]}}"#;
    let miss = |event| miss(pattern, event);
    let total = miss(r#"{"type": "a", "data": {"total": 12, "city": "y"}}"#);
    assert_eq!((total.path.as_str(), total.expected.as_str()), ("data.total", r#"[{"numeric":[">",1e2]}]"#));
    assert_eq!((total.found.clone(), total.failed_fields, total.is_elsewhere), (found("12"), 2, false));
    assert_eq!(
        total.to_string(),
        r#"data.total: expected [{"numeric":[">",1e2]}], found 12 (1 more field fails)"#
    );
    assert_eq!(miss(r#"{"type": "b", "data": {"total": 112, "city": "x"}}"#).path, "type");
    let absent = miss(r#"{"type": "a", "data": {"total": 112, "city": {"name": "x"}}}"#);
    assert_eq!((absent.path.as_str(), absent.found, absent.failed_fields), ("data.city", Found::Absent, 1));
    let matching = r#"{"type": "a", "data": {"total": 101, "city": "x"}}"#;
    assert_eq!(Pattern::parse(pattern).unwrap().explain_json(matching.as_bytes()), Ok(Explanation::Match));
    assert_eq!(Pattern::parse(pattern).unwrap().matches_json(matching.as_bytes()), Ok(true));
    assert!(Pattern::parse(pattern).unwrap().matches_json(b"[]").is_err());
}

#[test]
fn values_are_shown_as_json_and_cut() {
    let of = |value: &str| miss(r#"{"a": ["no"]}"#, &format!("{{\"a\": {value}}}")).found;
    assert_eq!(of(r#""say \"é\"""#), found(r#""say \"é\"""#));
    assert_eq!(of("[1, \"x\", null, [true]]"), found("[1,\"x\",null,true]"));
    assert_eq!(of("123456789012345678901234567890"), found("123456789012345678901234567890"));
    assert_eq!(of("[]"), Found::Absent);
    for long in ["x".repeat(10_000), "é".repeat(10_000)] {
        let Found::Value(text) = of(&format!("\"{long}\"")) else { panic!() };
        assert!(text.len() <= 256 && text.ends_with('…'), "{text}");
    }
    let Found::Value(many) = of(&format!("[{}1]", "1,".repeat(5_000))) else { panic!() };
    assert_eq!(many, format!("[{}…]", "1,".repeat(16)));
}

#[test]
fn of_alternatives_the_nearest_explains() {
    let pattern = r#"{"k": ["v"], "$or": [{"a": [1], "b": [1]}, {"c": [1]}, {"d": [1], "e": [1]}]}"#;
    let near = miss(pattern, r#"{"k": "v", "d": 1, "e": 2}"#);
    assert_eq!((near.path.as_str(), near.found.clone(), near.failed_fields), ("c", Found::Absent, 1));
    let near = miss(pattern, r#"{"k": "v", "a": 1, "b": 2, "d": 1}"#);
    assert_eq!((near.path.as_str(), near.found), ("b", found("2")));
    assert_eq!(miss(pattern, "{}").path, "k");
    assert_eq!(miss(pattern, "{}").failed_fields, 2);
}

#[test]
fn values_in_different_list_elements_are_told() {
    let pattern = r#"{"s": {"first": ["Anna"], "last": ["Jones"]}}"#;
    let miss = miss(pattern, r#"{"s": [{"first": "Anna", "last": "Li"}, {"first": "Bo", "last": "Jones"}]}"#);
    assert_eq!((miss.path.as_str(), miss.failed_fields, miss.is_elsewhere), ("s.last", 1, true));
    assert_eq!(miss.found, found(r#"["Li","Jones"]"#));
    assert!(miss.to_string().contains("no list element"), "{miss}");
}

#[test]
fn events_are_explained_as_the_matcher_sees_them() {
    let explain = |pattern: &str, event: &Event| Pattern::parse(pattern).unwrap().explain(event);
    let event = Event::builder("1", "/shop", "order.created").data(&b"\x00\x01"[..]).build().unwrap();
    let pattern = r#"{"type": ["order.created"], "data": {"total": [1]}}"#;
    let Explanation::NoMatch(miss) = explain(pattern, &event) else { panic!() };
    assert_eq!((miss.path.as_str(), &miss.found), ("data.total", &Found::NotJson));
    assert_eq!(miss.to_string(), "data.total: expected [1], found data that is not JSON");
    let text = Event::builder("1", "/shop", "t").data("{}").data_content_type("text/plain").build().unwrap();
    let Explanation::NoMatch(miss) = explain(r#"{"data": {"total": [1]}}"#, &text) else { panic!() };
    assert_eq!(miss.found, Found::NotJson);
    let none = Event::builder("1", "/shop", "t").build().unwrap();
    let Explanation::NoMatch(miss) = explain(r#"{"data": {"total": [1]}}"#, &none) else { panic!() };
    assert_eq!(miss.found, Found::Absent);
    let json = Event::builder("1", "/shop", "t").json_data(r#"{"total": 1}"#).build().unwrap();
    assert!(explain(r#"{"data": {"total": [1]}, "source": [{"suffix": "shop"}]}"#, &json).is_match());
}
