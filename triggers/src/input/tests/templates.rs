//! Templates: places in and out of quotes, names, and what is predefined.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn made(template_text: &str, paths: &[(&str, &str)]) -> Rendered {
    render(template(template_text, paths), order()).unwrap()
}

#[test]
fn a_place_outside_of_quotes_is_a_json_value() {
    let made = made(
        r#"{"id": <id>, "name": <name>, "line": <line>, "list": [<id>, <none>], "subject": <subject>}"#,
        &[
            ("id", "$.data.id"),
            ("name", "$.data.name"),
            ("line", "$.data.lines[0]"),
            ("none", "$.data.none"),
            ("subject", "subject"),
        ],
    );
    let expected = json!({
        "id": 7, "name": "a \"b\"\n", "line": {"sku": "s1", "n": 2}, "list": [7, null], "subject": "o-7",
    });
    assert_eq!(json(&made), expected);
}

#[test]
fn a_place_inside_of_quotes_is_escaped_text() {
    let made = made(
        r#"{"say": "order <id> of <name>: <line>!", "<subject>": "\"<id>\\<id>\""}"#,
        &[("id", "$.data.id"), ("name", "$.data.name"), ("line", "$.data.lines[0]"), ("subject", "subject")],
    );
    let expected = json!({
        "say": "order 7 of a \"b\"\n: {\"sku\": \"s1\", \"n\": 2}!",
        "o-7": "\"7\\7\"",
    });
    assert_eq!(json(&made), expected);
}

#[test]
fn a_place_for_what_the_event_has_not_is_empty_or_null() {
    let made = made(r#"{"a": <x>, "b": "<x>", "c": "-<x>-"}"#, &[("x", "$.data.absent")]);
    assert_eq!(json(&made), json!({"a": null, "b": "", "c": "--"}));
    let made = render(template("[<x>]", &[("x", "$.data.absent")]), order()).unwrap();
    assert_eq!(text(&made), "[null]");
    let made = render(template("x=<x>.", &[("x", "$.data.absent")]), order()).unwrap();
    assert_eq!((text(&made), made.is_json), ("x=.", false));
}

#[test]
fn a_template_may_be_plain_text() {
    let made = made("Order <id>\nof \"<name>\"", &[("id", "$.data.id"), ("name", "$.data.name")]);
    assert_eq!((text(&made), made.is_json), ("Order 7\nof \"a \"b\"\n\"", false));
    for (only, sent, is_json) in [
        ("<name>", r#""a \"b\"\n""#, true),
        (r#""<name>""#, r#""a \"b\"\n""#, true),
        (" <id> ", " 7 ", true),
        ("<id><id>", "77", false),
        ("", "", false),
    ] {
        let made = self::made(only, &[("id", "$.data.id"), ("name", "$.data.name")]);
        assert_eq!((text(&made), made.is_json), (sent, is_json), "{only}");
    }
}

#[test]
fn what_is_known_of_the_delivery_needs_no_path() {
    let made = made(
        r#"{"rule": "<aws.events.rule-name>", "arn": <aws.events.rule-arn>, "at": <aws.events.event.ingestion-time>,
            "trigger": <eventail.trigger>, "topic": "<eventail.topic>", "offset": <eventail.offset>,
            "when": "<eventail.appended_at>", "event": <aws.events.event>, "ours": <eventail.event>}"#,
        &[],
    );
    let made = json(&made);
    assert_eq!(made["rule"], "ship");
    assert_eq!(made["arn"], "arn:aws:events:us-east-1:000000000000:rule/orders/ship");
    assert_eq!(made["at"], NOW.to_string());
    assert_eq!((&made["trigger"], &made["topic"]), (&json!("ship"), &json!("orders")));
    assert_eq!((&made["offset"], &made["when"]), (&json!(42), &json!(NOW.to_string())));
    assert_eq!((&made["event"]["subject"], made["event"].get("data")), (&json!("o-7"), None));
    assert_eq!(made["event"], made["ours"]);
    let whole = json(&self::made(r#"{"e": <aws.events.event.json>, "o": <eventail.event.json>}"#, &[]));
    assert_eq!(whole["e"]["data"]["id"], 7);
    assert_eq!(whole["e"], whole["o"]);
    assert_eq!(json(&self::made("<aws.events.event.json>", &[]))["data"]["id"], 7);
}

#[test]
fn paths_may_stand_in_the_template_itself() {
    let made = made(r#"{"id": <$.data.id>, "odd": "<$.data['odd key']>"}"#, &[]);
    assert_eq!(json(&made), json!({"id": 7, "odd": "{\"x.y\": true}"}));
    let error = refused(&template("{\n \"a\": <$.data[*]>}", &[]));
    assert!(matches!(error, InputError::InlinePath { place, .. } if place.line == 2), "{error}");
}

#[test]
fn a_less_than_sign_is_itself_where_no_name_follows_or_a_backslash_stands_before_it() {
    for (template_text, sent) in [
        ("1 < 2 > 1", "1 < 2 > 1"),
        (r"\<id>", "<id>"),
        ("</b>", "</b>"),
        ("<>", "<>"),
        ("a <", "a <"),
        (r#"{"html": "\<b><id>\</b>"}"#, r#"{"html": "<b>7</b>"}"#),
        (r#"{"back": "\\<id>"}"#, r#"{"back": "\\7"}"#),
        (r"back\slash", r"back\slash"),
    ] {
        assert_eq!(text(&made(template_text, &[("id", "$.data.id")])), sent, "{template_text}");
    }
}

#[test]
fn a_template_that_cannot_work_is_refused() {
    let unknown = refused(&template("{\"a\":\n  <order>}", &[("id", "$.data.id")]));
    assert!(
        matches!(&unknown, InputError::UnknownName { place, .. } if (place.line, place.column) == (2, 3))
    );
    assert!(unknown.to_string().contains("`<id>`"), "{unknown}");
    for name in ["aws", "AWSx", "aws-1", "Eventail", "", "a.b", "a b", "ä"] {
        let error = refused(&template("x", &[(name, "$.data.id")]));
        assert!(matches!(error, InputError::Name { .. }), "{name}: {error}");
    }
    let error = refused(&template("<id>", &[("id", "$.data.*")]));
    assert!(matches!(&error, InputError::NamedPath { name, .. } if name == "id"), "{error}");
    for name in ["aws.events.event", "aws.events.event.json", "eventail.event", "eventail.event.json"] {
        let error = refused(&template(&format!("{{\"a\": \"<{name}>\"}}"), &[]));
        assert!(matches!(error, InputError::EventInString { .. }), "{name}: {error}");
    }
    let id = &[("id", "$.data.id")];
    for (text, line, column) in [
        ("{\"a\": <id> \"b\": 1}", 1, 12),
        ("{\"a\": <id>,}", 1, 12),
        ("{\"a\":\n <id>\n", 2, 6),
        ("{<id>: 1}", 1, 2),
        ("[1<id>]", 1, 3),
        ("\"open <id>", 1, 6),
    ] {
        match refused(&template(text, id)) {
            InputError::Template { place, why } => {
                assert_eq!((place.line, place.column), (line, column), "{text}: {why}");
            }
            other => panic!("{text}: {other}"),
        }
    }
    let many: Vec<_> = (0..101).map(|n| (format!("n{n}"), "$.data.id".to_owned())).collect();
    let many = InputOptions::Template { paths: many.into_iter().collect(), template: "x".to_owned() };
    assert!(matches!(refused(&many), InputError::TooManyPaths { count: 101, most: 100 }));
}

#[test]
fn an_input_that_grows_too_large_fails() {
    let data = format!("\"{}\"", "x".repeat(1 << 20));
    let event = Event::builder("1", "/s", "t").json_data(data).build().unwrap();
    let fails = render_event(template(&"<$.data>".repeat(7), &[]), &event).unwrap_err();
    assert!(matches!(fails, TransformError::TooLarge { .. }), "{fails}");
    assert!(render_event(template(&"<$.data>".repeat(5), &[]), &event).is_ok());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_in_quotes_never_breaks_out_of_them(value in any_json(), subject in "[^\\p{C}]{1,20}") {
        let data = json!({ "v": value }).to_string();
        let event = Event::builder("1", "/s", "t").subject(subject.clone()).json_data(data).build().unwrap();
        let made = render_event(template(r#"{"q": "a<v>b", "s": "<$.subject>", "j": <v>}"#, &[("v", "$.data.v")]), &event);
        let made = json(&made.unwrap());
        prop_assert_eq!(made.as_object().unwrap().len(), 3);
        prop_assert_eq!(&made["s"], &json!(subject));
        prop_assert_eq!(&made["j"], &value);
        let quoted = made["q"].as_str().unwrap();
        let inside = quoted.strip_prefix('a').unwrap().strip_suffix('b').unwrap();
        match &value {
            Value::String(text) => prop_assert_eq!(inside, text),
            other => prop_assert_eq!(&serde_json::from_str::<Value>(inside).unwrap(), other),
        }
    }

    #[test]
    fn no_data_makes_a_template_invalid_json(data in prop::collection::vec(any::<u8>(), 0..60), near in "[{}\\[\\]\",:a1\\\\ud8 ]{0,30}") {
        for data in [data, near.clone().into_bytes(), format!("{{\"v\":\"{near}\"}}").into_bytes()] {
            let event = Event::builder("1", "/s", "t").data(data).build().unwrap();
            let made = render_event(template(r#"{"a": "<$.data>", "b": <$.data>, "c": "<$.data.v>", "d": <$.data.v>}"#, &[]), &event).unwrap();
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&made.bytes).is_ok(), "{:?}", made);
        }
    }

    #[test]
    fn no_template_panics(text in "[<>$.a-c\"\\\\{}\\[\\]:, \nä]{0,40}") {
        drop(Input::compile(&template(&text, &[("a", "$.data.a")])));
    }
}
