//! What the JSON format and the HTTP binding promise, from the outside.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::code::Code;
use crate::event::{Event, ValueKind};

const REQUIRED: &str = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;

fn structured(members: &str) -> Result<Event, CloudEventError> {
    decode_structured(&Bytes::from(format!("{{{REQUIRED}{members}}}")))
}

fn binary(headers: &[(&str, &str)], body: &'static str) -> Result<Event, CloudEventError> {
    let required = [("CE-SpecVersion", "1.0"), ("ce-id", "1"), ("Ce-Source", "/s"), ("ce-type", "t")];
    let headers = required.iter().chain(headers).map(|(name, value)| (*name, value.as_bytes()));
    decode_binary(headers, Bytes::from_static(body.as_bytes()))
}

#[test]
fn json_data_keeps_its_spelling() {
    for data in [
        "{ \"b\" : 1e3,\n\"a\":1.0 }",
        "null",
        "\"I'm \\u0061 string\"",
        "1.5",
        "[1, 1]",
        "{\"a\":1,\"a\":2}",
    ] {
        let event = structured(&format!(",\"data\": {data} ")).unwrap();
        assert_eq!(event.data_slice(), data.as_bytes());
        assert_eq!(event.data_content_type(), Some("application/json"));
        let encoded = Bytes::from(encode_structured(&event));
        assert!(encoded.windows(data.len()).any(|window| window == data.as_bytes()), "{data}");
        assert_eq!(decode_structured(&encoded).unwrap(), event);
    }
}

#[test]
fn data_of_other_types_is_a_string_or_base64() {
    let xml = structured(r#","datacontenttype":"application/xml","data":"<a b=\"c\"\/>""#).unwrap();
    assert_eq!(xml.data_slice(), br#"<a b="c"/>"#);
    let binary = structured(r#","data_base64":"eyAieHl6IjogMTIzIH0=""#).unwrap();
    assert_eq!((binary.data_slice(), binary.data_content_type()), (br#"{ "xyz": 123 }"#.as_slice(), None));
    let neither = structured(r#","data_base64":null"#).unwrap();
    assert_eq!(neither.data(), None);
    for event in [xml, binary, neither] {
        assert_eq!(decode_structured(&Bytes::from(encode_structured(&event))).unwrap(), event);
    }
    for members in [
        r#","datacontenttype":"application/xml","data":{"a":1}"#,
        r#","data":1,"data_base64":"aGk=""#,
        r#","data":null,"data_base64":"aGk=""#,
        r#","data_base64":"@@@""#,
        r#","data_base64":"aGk""#,
        r#","data_base64":5"#,
    ] {
        assert_eq!(structured(members).unwrap_err().code(), Code::InvalidEvent, "{members}");
    }
}

#[test]
fn data_that_belies_its_json_type_is_sent_as_base64() {
    let event = Event::builder("1", "/s", "t").json_data("{half").build().unwrap();
    let encoded = encode_structured(&event);
    assert!(encoded.ends_with(br#","data_base64":"e2hhbGY="}"#));
    assert_eq!(decode_structured(&Bytes::from(encoded)).unwrap(), event);
}

#[test]
fn extensions_keep_their_kind_and_have_no_other() {
    let event = structured(r#","astring":"a\u0062","aboolean":true,"anumber":-10,"unset":null"#).unwrap();
    let seen: Vec<_> = event.optional_attributes().map(|a| (a.name, a.value, a.kind)).collect();
    assert_eq!(
        seen,
        [
            ("astring", "ab", ValueKind::String),
            ("aboolean", "true", ValueKind::Boolean),
            ("anumber", "-10", ValueKind::Integer)
        ]
    );
    assert_eq!(decode_structured(&Bytes::from(encode_structured(&event))).unwrap(), event);
    for value in ["4247483647", "1.0", "1e1", "{}", "[]", "\"\\u0007\"", "\"\\ud800\""] {
        let error = structured(&format!(",\"x\":{value}")).unwrap_err();
        assert_eq!(error.code(), Code::InvalidEvent, "{value}");
    }
}

#[test]
fn what_breaks_a_rule_of_the_attributes_is_refused() {
    for members in [
        r#","id":"2""#,
        r#","x":null,"x":"1""#,
        r#","\u0069d":"2""#,
        r#","Upper":"1""#,
        r#","under_score":"1""#,
        r#","Upper":null"#,
        r#","":"1""#,
        r#","subject":5"#,
        r#","subject":"""#,
        r#","time":"yesterday""#,
        r#","dataschema":"/relative""#,
        r#","datacontenttype":"json""#,
    ] {
        assert_eq!(structured(members).unwrap_err().code(), Code::InvalidEvent, "{members}");
    }
    for body in [
        "{}",
        r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
        r#"{"specversion":1.0,"id":"1","source":"/s","type":"t"}"#,
        r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#,
        r#"{"specversion":"1.0","id":null,"source":"/s","type":"t"}"#,
        r#"{"specversion":"1.0","id":1,"source":"/s","type":"t"}"#,
        r#"{"specversion":"1.0","id":"1","type":"t"}"#,
    ] {
        let error = decode_structured(&Bytes::from_static(body.as_bytes())).unwrap_err();
        assert_eq!(error.code(), Code::InvalidEvent, "{body}");
    }
    for body in ["", "[]", "null", "{\"specversion\":\"1.0\",", "{} {}", "\u{feff}{}"] {
        let error = decode_structured(&Bytes::from_static(body.as_bytes())).unwrap_err();
        assert_eq!(error.code(), Code::Malformed, "{body}");
    }
    assert_eq!(
        decode_structured(&Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err().code(),
        Code::Malformed
    );
}

#[test]
fn an_event_has_no_more_members_than_its_limit() {
    let many = |count: usize| (0..count).map(|at| format!(",\"x{at}\":\"1\"")).collect::<String>();
    let most = crate::limits::ATTRIBUTES_MAX - 4;
    assert!(structured(&format!("{},\"data\":1,\"data_base64\":null", many(most - 2))).is_ok());
    assert!(structured(&many(most)).is_ok());
    assert_eq!(structured(&many(most + 1)).unwrap_err().code(), Code::EventTooLarge);
    assert_eq!(structured(&many(100_000)).unwrap_err().code(), Code::EventTooLarge);
}

#[test]
fn a_batch_names_the_event_that_is_wrong() {
    let good = format!("{{{REQUIRED},\"data\":[1, 2]}}");
    let decode = |text: String, limits| decode_batch(&Bytes::from(text), limits);
    let limits = BatchLimits::default();
    assert_eq!(decode(" [] ".into(), limits).unwrap(), []);
    let events = decode(format!("[{good},\n{good}]"), limits).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(decode(String::from_utf8(encode_batch(&events)).unwrap(), limits).unwrap(), events);

    let error = decode(format!("[{good},{{}}]"), limits).unwrap_err();
    assert_eq!((error.batch_index(), error.code()), (Some(1), Code::InvalidEvent));
    let error = decode(format!("[{good},5]"), limits).unwrap_err();
    assert_eq!((error.batch_index(), error.code()), (Some(1), Code::Malformed));
    for text in [good.clone(), format!("[{good}"), format!("[{good}] x"), "5".into()] {
        let error = decode(text, limits).unwrap_err();
        assert_eq!((error.batch_index(), error.code()), (None, Code::Malformed));
    }
    let two = BatchLimits { events_max: 2, ..limits };
    assert!(decode(format!("[{good},{good}]"), two).is_ok());
    let error = decode(format!("[{good},{good},{good},{good}]"), two).unwrap_err();
    assert_eq!(error.code(), Code::BatchTooLarge);
    let small = BatchLimits { bytes_max: 10, ..limits };
    assert_eq!(decode(format!("[{good}]"), small).unwrap_err().code(), Code::BatchTooLarge);
}

#[test]
fn headers_and_body_make_an_event() {
    let event = binary(
        &[
            ("Content-Type", "application/json"),
            ("CE-Subject", "a%20b"),
            ("ce-N", "5"),
            ("host", "x"),
            ("ce", "x"),
        ],
        "{\"a\": 1}\n",
    )
    .unwrap();
    assert_eq!((event.id(), event.source(), event.event_type()), ("1", "/s", "t"));
    assert_eq!((event.attribute("subject"), event.attribute("n")), (Some("a b"), Some("5")));
    assert_eq!(event.data_content_type(), Some("application/json"));
    assert_eq!(event.data_slice(), b"{\"a\": 1}\n");
}

#[test]
fn an_empty_body_is_data_only_where_it_can_be() {
    assert_eq!(binary(&[], "").unwrap().data(), None);
    assert_eq!(binary(&[("content-type", "application/json")], "").unwrap().data(), None);
    assert_eq!(binary(&[("content-type", "text/plain")], "").unwrap().data(), Some(Bytes::new()));
}

#[test]
fn headers_that_break_a_rule_are_refused() {
    for header in [
        ("ce-id", "2"),
        ("CE-specversion", "1.0"),
        ("ce-a_b", "1"),
        ("ce-a-b", "1"),
        ("ce-", "1"),
        ("ce-data", "1"),
        ("ce-x", "%ff"),
        ("ce-x", "%0"),
        ("ce-x", "%00"),
        ("ce-subject", ""),
        ("ce-time", "now"),
        ("content-type", "json"),
        ("ce-datacontenttype", "text/plain"),
    ] {
        let error = binary(&[header], "x").unwrap_err();
        assert_eq!(error.code(), Code::InvalidEvent, "{header:?}");
    }
    assert!(binary(&[("ce-x", "1"), ("CE-X", "1")], "").is_err());
    assert!(binary(&[("content-type", "a/b"), ("content-type", "a/b")], "").is_err());
    for missing in 0..4 {
        let mut headers =
            vec![("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
        headers.remove(missing);
        let error =
            decode_binary(headers.into_iter().map(|(n, v)| (n, v.as_bytes())), Bytes::new()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidEvent);
    }
}

#[test]
fn correlation_and_trace_are_added_only_when_asked_and_missing() {
    let plain = Event::builder("1", "/s", "t").build().unwrap();
    assert_eq!(binary_headers(&plain).count(), 4);
    let tied = decode_structured(&Bytes::from(encode_structured_correlated(&plain))).unwrap();
    assert_eq!(tied.attribute("correlationid"), Some("1"));
    assert_eq!(tied.attribute("traceparent"), Some(plain.traceparent().as_str()));
    assert_eq!(encode_structured_correlated(&tied), encode_structured(&tied));
    assert_eq!(binary_headers(&tied).count(), 6);
}

#[test]
fn the_error_says_what_and_where() {
    let error = structured(r#","x":1.5"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`x`: a number must be a whole one of 32 bits, without fraction or exponent"
    );
    assert_eq!(
        decode_structured(&Bytes::from_static(b"{}")).unwrap_err().to_string(),
        "`specversion` must be \"1.0\" and is missing"
    );
    assert_eq!(
        decode_batch(&Bytes::from_static(b"[{\"specversion\":\"9\"}]"), BatchLimits::default())
            .unwrap_err()
            .to_string(),
        "event 0 of the batch: `specversion` must be \"1.0\" and is 9"
    );
}

fn event() -> impl Strategy<Value = Event> {
    let extension = (
        "x[a-z0-9]{0,6}",
        prop_oneof![
            "[^\\p{C}]{0,20}".prop_map(|text| (text, ValueKind::String)),
            any::<bool>().prop_map(|value| (value.to_string(), ValueKind::Boolean)),
            any::<i32>().prop_map(|value| (value.to_string(), ValueKind::Integer)),
        ],
    );
    let data = prop_oneof![
        Just(None),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(|data| Some((None, data))),
        ".{0,40}".prop_map(|text| Some((Some("text/plain; charset=utf-8"), text.into_bytes()))),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(|data| Some((Some("image/png"), data))),
        any::<f64>().prop_map(|number| Some((
            Some("text/json"),
            serde_json::json!([number, "é"]).to_string().into()
        ))),
        "[{}a\"]{0,5}".prop_map(|text| Some((Some("application/x+json"), text.into_bytes()))),
    ];
    ("[^\\p{C}]{1,20}", "/[a-z]{0,9}", proptest::collection::vec(extension, 0..6), data).prop_filter_map(
        "the event keeps the rules",
        |(id, source, extensions, data)| {
            let mut builder = Event::builder(id, source, "t").time("2026-11-23T10:00:00Z");
            for (name, (value, kind)) in extensions {
                builder = builder.attribute(name, value, kind);
            }
            if let Some((media_type, data)) = data {
                if let Some(media_type) = media_type {
                    builder = builder.data_content_type(media_type);
                }
                builder = builder.data(data);
            }
            builder.build().ok()
        },
    )
}

/// The attributes by name, and the data: what two encodings of one event must agree on.
fn content(event: &Event) -> (Vec<(String, String)>, Vec<u8>) {
    let mut attributes: Vec<_> =
        event.optional_attributes().map(|a| (a.name.to_owned(), a.value.to_owned())).collect();
    attributes.extend([("id".into(), event.id().into()), ("source".into(), event.source().into())]);
    attributes.sort();
    (attributes, event.data_slice().to_vec())
}

proptest! {
    #[test]
    fn structured_mode_gives_back_the_event(event in event()) {
        let back = decode_structured(&Bytes::from(encode_structured(&event))).unwrap();
        prop_assert_eq!(content(&back), content(&event));
        prop_assert_eq!(back.has_data(), event.has_data());
        let kinds = |event: &Event| event.optional_attributes().filter(|a| a.kind != ValueKind::String).count();
        prop_assert_eq!(kinds(&back), kinds(&event));
    }

    #[test]
    fn binary_mode_gives_back_the_event(event in event()) {
        let headers: Vec<_> = binary_headers(&event).map(|header| (header.name(), header.value)).collect();
        let headers = headers.iter().map(|(name, value)| (name.as_ref(), value.as_bytes()));
        let back = decode_binary(headers, event.data().unwrap_or_default()).unwrap();
        // A quoted value is unquoted by its reader, and quotes are escaped by ours, so all values come back.
        prop_assert_eq!(content(&back), content(&event));
    }

    #[test]
    fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let body = Bytes::from(bytes.clone());
        prop_assert!(decode_structured(&body).is_err());
        drop(decode_batch(&body, BatchLimits::default()));
        let headers = bytes.chunks(7).map(|value| ("ce-id", value));
        prop_assert!(decode_binary(headers, body).is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut body = format!("[{{{REQUIRED},\"x\":1,\"data\":{{\"a\":[1]}}}},{{{REQUIRED},\"data_base64\":\"aGk=\"}}]").into_bytes();
        let at = at.index(body.len());
        body[at] = value;
        if let Ok(events) = decode_batch(&Bytes::from(body), BatchLimits::default()) {
            prop_assert_eq!(events.len(), 2);
        }
    }
}
