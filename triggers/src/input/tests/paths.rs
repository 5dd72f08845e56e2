//! Paths into an event: what they find, and which are refused.

use eventail_wire::Event;
use serde_json::json;

use super::super::{PathValue, ValuePath, ValuePathError};
use super::*;

fn value(path: &str, event: &Event) -> Option<Value> {
    let path: ValuePath = path.parse().unwrap();
    path.value_of(event).map(|value: PathValue<'_>| {
        let mut out = Vec::new();
        value.write_json(&mut out);
        serde_json::from_slice(&out).unwrap()
    })
}

fn path_error(text: &str) -> ValuePathError {
    text.parse::<ValuePath>().expect_err(text)
}

#[test]
fn a_path_leads_to_its_value() {
    let event = order().build().unwrap();
    for (path, expected) in [
        ("subject", json!("o-7")),
        ("$.subject", json!("o-7")),
        ("$['subject']", json!("o-7")),
        ("$.id", json!("id \"1\"")),
        ("$.type", json!("order.created")),
        ("$.specversion", json!("1.0")),
        ("$.count", json!(3)),
        ("$.correlationid", json!("id \"1\"")),
        ("$.data.id", json!(7)),
        ("$.data.name", json!("a \"b\"\n")),
        ("$.data.none", json!(null)),
        ("$.data['odd key']['x.y']", json!(true)),
        (r#"$["data"]["odd key"]"#, json!({"x.y": true})),
        ("$.data.lines[1].sku", json!("s2")),
        ("$.data.lines[0]", json!({"sku": "s1", "n": 2})),
        // The last one counts, as for every other reader of JSON.
        ("$.data.twice", json!(2)),
        ("$.data.tag", json!("<t>")),
    ] {
        assert_eq!(value(path, &event), Some(expected), "{path}");
    }
    for path in [
        "absent",
        "$.data.absent",
        "$.data.lines[2]",
        "$.data.lines.sku",
        "$.data[0]",
        "$.data.id.x",
        "$.data.x.y.z",
        "$.data_base64",
        "$.detail.id",
        "$.detail-type",
        "$.resources[0]",
        "$.account",
    ] {
        assert_eq!(value(path, &event), None, "{path}");
    }
}

#[test]
fn a_value_keeps_its_spelling_and_says_its_text() {
    let event = order().build().unwrap();
    let text = |path: &str| {
        let path: ValuePath = path.parse().unwrap();
        path.value_of(&event).unwrap().text().into_owned()
    };
    assert_eq!(text("$.data.total"), "1.50");
    assert_eq!(text("$.data.name"), "a \"b\"\n");
    assert_eq!(text("$.data.lines[0]"), r#"{"sku": "s1", "n": 2}"#);
    assert_eq!(text("$.count"), "3");
    assert!("$.data.none".parse::<ValuePath>().unwrap().value_of(&event).unwrap().is_null());
    assert!(!"$.data.id".parse::<ValuePath>().unwrap().value_of(&event).unwrap().is_null());
}

#[test]
fn the_whole_event_is_its_structured_form() {
    let event = order().build().unwrap();
    let whole = value("$", &event).unwrap();
    let structured = eventail_wire::cloudevents::encode_structured_correlated(&event);
    assert_eq!(whole, serde_json::from_slice::<Value>(&structured).unwrap());
    let plain = |event: EventBuilder| value("$", &event.build().unwrap()).unwrap();
    let event = || Event::builder("1", "/s", "t");
    assert_eq!(plain(event()).get("data"), None);
    assert_eq!(plain(event().data_content_type("text/plain").data("a\"b"))["data"], "a\"b");
    assert_eq!(plain(event().data("{\"a\":1}"))["data"], json!({"a": 1}));
    assert_eq!(plain(event().json_data("{half"))["data"], "{half");
    let binary = plain(event().data_content_type("image/png").data(b"\xff\x00".as_slice()));
    assert_eq!((&binary["data_base64"], binary.get("data")), (&json!("/wA="), None));
}

#[test]
fn data_that_is_no_json_has_nothing_inside() {
    let event = |data: &'static [u8]| Event::builder("1", "/s", "t").json_data(data).build().unwrap();
    // What was found before the mistake does not count: the data is no JSON as a whole.
    assert_eq!(value("$.data.a", &event(br#"{"a":1,}"#)), None);
    assert_eq!(value("$.data.a", &event(br#"{"a":1} x"#)), None);
    assert_eq!(value("$.data", &event(br#"{"a":1,}"#)), Some(json!(r#"{"a":1,}"#)));
    assert_eq!(value("$.data", &event(b"\xff")), None);
    assert_eq!(value("$.data_base64", &event(b"\xff")), Some(json!("/w==")));
}

fn whole_of(event: &Event) -> Vec<u8> {
    let path: ValuePath = "$".parse().unwrap();
    let mut out = Vec::new();
    path.value_of(event).unwrap().write_json(&mut out);
    out
}

#[test]
fn what_came_by_eventbridge_has_its_names() {
    let event = order().data_content_type("application/eventbridge+json; charset=utf-8").build().unwrap();
    for (path, expected) in [
        ("$.detail.id", json!(7)),
        ("$.data.id", json!(7)),
        ("$.detail-type", json!("order.created")),
        ("$.resources", json!(["o-7"])),
        ("$.resources[0]", json!("o-7")),
        ("$.account", json!("000000000000")),
        ("$.region", json!("us-east-1")),
    ] {
        assert_eq!(value(path, &event), Some(expected), "{path}");
    }
    assert_eq!(value("$.resources[1]", &event), None);
    let whole = value("$", &event).unwrap();
    assert_eq!((&whole["detail"]["id"], &whole["data"]["id"]), (&json!(7), &json!(7)));
    assert_eq!(whole["detail-type"], "order.created");
    let listed = order().data_content_type("application/eventbridge+json");
    let listed = listed.extension("resources", r#"["arn:a", "arn:b"]"#).build().unwrap();
    assert_eq!(value("$.resources", &listed), Some(json!(["arn:a", "arn:b"])));
    assert_eq!(value("$.resources[1]", &listed), Some(json!("arn:b")));
    let text = String::from_utf8(whole_of(&listed)).unwrap();
    assert_eq!(text.matches("\"resources\":").count(), 1, "{text}");
    let bare = Event::builder("1", "/s", "t")
        .data_content_type("Application/EventBridge+JSON")
        .extension("region", "eu-central-1");
    let bare = bare.build().unwrap();
    assert_eq!(value("$.detail", &bare), Some(json!({})));
    assert_eq!(value("$.resources", &bare), Some(json!([])));
    assert_eq!(value("$.region", &bare), Some(json!("eu-central-1")));
    assert_eq!(value("$", &bare).unwrap()["region"], "eu-central-1");
}

#[test]
fn what_is_no_path_is_refused_at_its_place() {
    for (text, at, why) in [
        ("", 0, "attribute's name"),
        ("Upper", 0, "attribute's name"),
        ("data.x", 0, "attribute's name"),
        ("$x", 1, "must come here"),
        ("$.", 2, "a name must follow"),
        ("$..x", 2, "`..` is not supported"),
        ("$.data.", 7, "a name must follow"),
        ("$.data..x", 7, "`..` is not supported"),
        ("$.data.*", 7, "`*` is not supported"),
        ("$.data[*]", 7, "`*` is not supported"),
        ("$.data[-1]", 7, "counted from the beginning"),
        ("$.data[?(@.x)]", 7, "filters are not supported"),
        ("$.data[x]", 7, "number or a name in quotes"),
        ("$.data[0", 8, "`]` must come here"),
        ("$.data[0:2]", 8, "`]` must come here"),
        ("$.data['x]", 10, "not closed"),
        (r"$.data['\n']", 8, "can be escaped"),
        ("$.data.odd key", 10, "must come here"),
        ("$.data[99999999999999999999]", 7, "so many elements"),
        ("$[0]", 1, "has no elements"),
        ("$.Data.x", 1, "a-z and 0-9"),
        ("$.subject.x", 1, "nothing inside"),
        ("$.resources.x", 1, "list of strings"),
        ("$.detail-type[0]", 1, "nothing inside"),
    ] {
        let error = path_error(text);
        assert!(error.why.contains(why), "{text}: {error}");
        assert_eq!(error.at, at, "{text}: {error}");
    }
    assert!(path_error("$.äö..x").to_string().ends_with("at character 6"));
    let long = format!("$.data{}", ".x".repeat(100));
    assert!(path_error(&long).why.contains("64 steps"));
}

#[test]
fn the_input_may_be_a_part_or_a_constant() {
    let path = |path: &str| InputOptions::Path(path.to_owned());
    let part = render(path("$.data.lines[0]"), order()).unwrap();
    assert_eq!(text(&part), r#"{"sku": "s1", "n": 2}"#);
    assert_eq!(json(&render(path("subject"), order()).unwrap()), "o-7");
    let missing = render(path("$.data.absent"), order()).unwrap_err();
    assert_eq!(missing.to_string(), "the event has nothing at `$.data.absent`");
    assert!(!missing.is_retryable());
    assert!(matches!(refused(&path("$.data[")), InputError::Path(_)));

    let constant = |text: &str| InputOptions::Constant(text.to_owned());
    let sent = render(constant(" {\"a\": 1.0} "), order()).unwrap();
    assert_eq!((text(&sent), sent.is_json), (r#"{"a": 1.0}"#, true));
    let error = refused(&constant("{\n  \"a\": }"));
    assert!(
        matches!(error, InputError::Constant { place, .. } if (place.line, place.column) == (2, 8)),
        "{error}"
    );
    assert!(matches!(refused(&constant("")), InputError::Constant { .. }));
}
