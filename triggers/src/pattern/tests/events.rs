//! What patterns see of a CloudEvent.

use eventail_wire::event::{Event, EventBuilder, ValueKind};

use super::{Matcher, Pattern, Scratch};

fn order() -> EventBuilder {
    Event::builder("o-1", "/shop", "order.created")
}

fn holds(pattern: &str, event: EventBuilder) -> bool {
    let mut out = Vec::new();
    let matcher = Matcher::new(&[Some(Pattern::parse(pattern).unwrap())]);
    matcher.matches(&event.build().unwrap(), &mut Scratch::default(), &mut out);
    !out.is_empty()
}

#[test]
fn attributes_stand_at_the_top_as_what_they_are() {
    let event = || {
        order()
            .subject("o-7")
            .time("2026-01-02T03:04:05Z")
            .extension("region", "eu")
            .attribute("count", "3", ValueKind::Integer)
            .attribute("urgent", "true", ValueKind::Boolean)
            .attribute("digits", "3", ValueKind::String)
            .json_data("{}")
    };
    for pattern in [
        r#"{"id": ["o-1"], "source": ["/shop"], "type": ["order.created"], "specversion": ["1.0"]}"#,
        r#"{"subject": ["o-7"], "time": [{"prefix": "2026-"}], "region": ["eu"]}"#,
        r#"{"count": [3.0], "urgent": [true], "digits": ["3"]}"#,
        r#"{"datacontenttype": ["application/json"], "partitionkey": [{"exists": false}]}"#,
        r#"{"correlationid": ["o-1"]}"#,
    ] {
        assert!(holds(pattern, event()), "{pattern}");
    }
    for pattern in [
        r#"{"count": ["3"]}"#,
        r#"{"urgent": ["true"]}"#,
        r#"{"digits": [3]}"#,
        r#"{"specversion": [1.0]}"#,
        r#"{"type": {"created": ["order"]}}"#,
        r#"{"partitionkey": [{"exists": true}]}"#,
    ] {
        assert!(!holds(pattern, event()), "{pattern}");
    }
    assert!(holds(r#"{"correlationid": ["story"]}"#, event().extension("correlationid", "story")));
    assert!(!holds(r#"{"correlationid": ["o-1"]}"#, event().extension("correlationid", "story")));
}

#[test]
fn data_is_seen_where_it_is_json() {
    let total = r#"{"type": ["order.created"], "data": {"total": [12], "items": {"sku": ["a\n"]}}}"#;
    let json = r#" {"x": [{"y": "\ud83d\ude00"}], "items": [{"sku": "a\u000A"}], "total": 12.0} "#;
    assert!(holds(total, order().json_data(json)));
    assert!(holds(total, order().data(json)), "data without a media type is JSON if it reads as such");
    assert!(holds(total, order().data(json).data_content_type("application/cloud+JSON; charset=utf-8")));
    assert!(!holds(total, order().data(json).data_content_type("text/plain")));
    assert!(!holds(total, order()));
    assert!(holds(r#"{"data": ["x"]}"#, order().json_data("\"x\"")));
    assert!(holds(r#"{"data": [2]}"#, order().json_data("[1, 2]")));
    assert!(holds(r#"{"data": {"a": [1]}}"#, order().json_data(r#"[[{"a":1}], 2]"#)));
}

#[test]
fn data_that_is_not_json_after_all_is_absent_as_a_whole() {
    let wanted = r#"{"data": {"a": [1]}}"#;
    let absent = r#"{"type": ["order.created"], "data": {"a": [{"exists": false}]}}"#;
    for damaged in [
        r#"{"a": 1"#,
        r#"{"a": 1} x"#,
        r#"{"a": 1, "b": [}"#,
        "",
        r#"{"a":1,"b":"\q"}"#,
        "{\"a\":1,\"b\":\"\u{1}\"}",
    ] {
        assert!(!holds(wanted, order().data(damaged.to_owned())), "{damaged}");
        assert!(holds(absent, order().data(damaged.to_owned())), "{damaged}");
    }
    assert!(!holds(wanted, order().data(&b"{\"a\":1,\"b\":\"\xff\"}"[..])));
    assert!(!holds(absent, order().data(r#"{"a": 2}"#)));
    // The depth that is too much is the same in what is looked into and in what is run over.
    for nests in [127, 128] {
        let deep = |key: &str| format!("{{\"c\":1,\"{key}\":{}{}}}", "[".repeat(nests), "]".repeat(nests));
        for key in ["b", "c"] {
            let seen = holds(r#"{"data": {"c": [1]}}"#, order().data(deep(key)));
            assert_eq!(seen, nests == 127, "{nests} in {key}");
        }
    }
}

#[test]
fn only_patterns_that_look_into_data_need_it() {
    let matcher = |patterns: &[&str]| {
        Matcher::new(&patterns.iter().map(|text| Some(Pattern::parse(text).unwrap())).collect::<Vec<_>>())
    };
    assert!(!matcher(&[r#"{"type": ["x"]}"#, r#"{"database": ["x"]}"#]).needs_data());
    assert!(matcher(&[r#"{"type": ["x"]}"#, r#"{"data": [{"exists": true}]}"#]).needs_data());
    assert!(matcher(&[r#"{"data.total": [1]}"#]).needs_data());
    assert!(!Matcher::new(&[None]).needs_data());
}

#[test]
fn scratch_carries_nothing_from_one_event_or_matcher_to_the_next() {
    let pattern = |text: &str| Some(Pattern::parse(text).unwrap());
    let first = Matcher::new(&[pattern(r#"{"type": ["order.created"], "data": {"a": [1]}}"#)]);
    let second = Matcher::new(&[
        pattern(r#"{"data": {"a": [{"exists": false}]}}"#),
        pattern(r#"{"subject": ["x"]}"#),
        pattern(r#"{"data": {"b": [1]}}"#),
        pattern(r#"{"data": {"b": [2]}}"#),
    ]);
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let full = order().subject("x").json_data(r#"{"a":1,"b":[{"c":1},1]}"#).build().unwrap();
    let bare = order().build().unwrap();
    for _ in 0..3 {
        first.matches(&full, &mut scratch, &mut out);
        assert_eq!(out, [0]);
        second.matches(&bare, &mut scratch, &mut out);
        assert_eq!(out, [0]);
        second.matches(&full, &mut scratch, &mut out);
        assert_eq!(out, [1, 2]);
        first.matches(&bare, &mut scratch, &mut out);
        assert!(out.is_empty());
    }
}

/// An event as it would come in through EventBridge's shape.
fn bridged() -> EventBuilder {
    order()
        .extension("account", "123456789012")
        .extension("region", "eu-west-1")
        .extension("resources", r#"["arn:aws:s3:::a", "arn:aws:s3:::b\u002f"]"#)
        .time("2026-01-02T03:04:05Z")
        .data_content_type("application/eventbridge+json")
        .data(r#"{"total": 12, "tags": ["x"]}"#)
}

#[test]
fn names_of_eventbridge_hold_for_events_in_its_shape() {
    for pattern in [
        r#"{"detail-type": ["order.created"], "detail": {"total": [{"numeric": [">", 10]}]}}"#,
        r#"{"resources": ["arn:aws:s3:::b/"], "account": ["123456789012"], "region": [{"prefix": "eu-"}]}"#,
        r#"{"id": ["o-1"], "source": ["/shop"], "time": [{"prefix": "2026-"}]}"#,
        r#"{"type": ["order.created"], "data": {"total": [12]}, "detail": {"tags": ["x"]}}"#,
        r#"{"resources": [{"wildcard": "*s3*a"}]}"#,
    ] {
        assert!(holds(pattern, bridged()), "{pattern}");
    }
    assert!(holds(
        r#"{"detail": {"total": [12]}}"#,
        bridged().data_content_type("Application/EventBridge+json; charset=utf-8")
    ));
    for pattern in [
        r#"{"resources": ["arn:aws:s3:::c"]}"#,
        r#"{"detail": {"total": [13]}}"#,
        r#"{"detail-type": ["order.paid"]}"#,
        r#"{"detail": {"account": ["123456789012"]}}"#,
    ] {
        assert!(!holds(pattern, bridged()), "{pattern}");
    }
}

#[test]
fn other_events_do_not_have_the_names_of_eventbridge() {
    let plain = || bridged().data_content_type("application/json");
    for pattern in [
        r#"{"detail": {"total": [12]}}"#,
        r#"{"detail-type": ["order.created"]}"#,
        r#"{"resources": ["arn:aws:s3:::a"]}"#,
    ] {
        assert!(!holds(pattern, plain()), "{pattern}");
    }
    assert!(holds(r#"{"resources": [{"prefix": "[\"arn"}], "data": {"total": [12]}}"#, plain()));
    assert!(holds(r#"{"detail": ["an extension"]}"#, plain().extension("detail", "an extension")));
    assert!(!holds(r#"{"detail": ["an extension"]}"#, bridged().extension("detail", "an extension")));
}

#[test]
fn resources_that_are_no_list_are_the_text_that_they_are() {
    let event = |resources: &str| bridged().extension("resources", resources.to_owned());
    assert!(holds(r#"{"resources": ["arn:x"]}"#, event("arn:x")));
    assert!(holds(r#"{"resources": ["[arn:x"]}"#, event("[arn:x")));
    assert!(holds(r#"{"resources": [{"exists": false}]}"#, event("[]")));
}

#[test]
fn patterns_by_either_name_need_the_data() {
    let matcher = |text: &str| Matcher::new(&[Some(Pattern::parse(text).unwrap())]);
    assert!(matcher(r#"{"detail": {"a": [1]}}"#).needs_data());
    assert!(!matcher(r#"{"detail-type": ["x"], "resources": ["y"]}"#).needs_data());
}
