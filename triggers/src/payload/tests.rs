//! Payloads against what AWS's services send, and answers against what its event source mapping makes of them.

use eventail_wire::cloudevents::encode_structured_correlated;
use eventail_wire::event::{EventBuilder, ValueKind};
use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::PayloadShape::{CloudEvent, EventBridge, Raw, Sqs};
use super::*;
use crate::outcome::{BatchOutcome, Outcome, RejectReason, RetryClass};

const APPENDED: &str = "2026-11-23T10:00:00.250Z";
const SHAPES: [PayloadShape; 4] = [CloudEvent, EventBridge, Sqs, Raw];

fn invocation(event: Event, delivery_id: &str) -> Invocation {
    let now = Timestamp::parse_rfc3339(APPENDED).unwrap();
    Invocation {
        event,
        topic: TopicName::new("orders").unwrap(),
        offset: Offset(7),
        appended_at: now,
        trigger: TriggerName::new("ship").unwrap(),
        attempt: 3,
        delivery_id: delivery_id.into(),
        now,
        deadline: now.plus_ms(10_000),
        wants_reply: false,
        callback: None,
        input: None,
        is_replay: false,
    }
}

fn order() -> EventBuilder {
    Event::builder("id \"1\"", "/orders", "order.created")
        .subject("o-7")
        .time("2026-11-23T11:59:59.9+02:00")
        .extension("partitionkey", "k1")
        .extension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .attribute("count", "3", ValueKind::Integer)
        .json_data(r#" {"total": 1.0} "#)
}

fn one(shape: PayloadShape, event: EventBuilder) -> Value {
    let bytes = encode_one(shape, &invocation(event.build().unwrap(), "msg_1"));
    serde_json::from_slice(&bytes).unwrap()
}

fn batch(ids: &[(&str, &str)]) -> Vec<Invocation> {
    let event = |id: &str| Event::builder(id, "/s", "t").json_data("1").build().unwrap();
    ids.iter().map(|&(id, delivery)| invocation(event(id), delivery)).collect()
}

#[test]
fn a_cloudevent_is_sent_in_structured_mode_with_correlation_and_trace() {
    let event = Event::builder("1", "/s", "t").json_data(r#"{"a": 1.0}"#).build().unwrap();
    let sent = encode_one(CloudEvent, &invocation(event.clone(), "msg_1"));
    assert_eq!(sent, encode_structured_correlated(&event));
    let two = [invocation(event.clone(), "msg_1"), invocation(event, "msg_2")];
    let text = String::from_utf8(encode_batch(CloudEvent, &two).into()).unwrap();
    let sent = std::str::from_utf8(&sent).unwrap();
    assert_eq!(text, format!("[{sent},{sent}]"));
}

#[test]
fn an_eventbridge_envelope_has_what_a_rule_would_send() {
    assert_eq!(
        one(EventBridge, order()),
        json!({
            "version": "0", "id": "id \"1\"", "detail-type": "order.created", "source": "/orders",
            "account": "000000000000", "time": "2026-11-23T09:59:59Z", "region": "us-east-1",
            "resources": ["o-7"], "detail": {"total": 1.0},
        })
    );
    let place = Place { region: "eu-central-1", account: "123456789012" };
    let plain = Event::builder("1", "/s", "t").build().unwrap();
    let sent = encode_one_at(place, EventBridge, &invocation(plain, "msg_1"));
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!((&sent["region"], &sent["account"]), (&json!("eu-central-1"), &json!("123456789012")));
    assert_eq!((&sent["time"], &sent["resources"]), (&json!("2026-11-23T10:00:00Z"), &json!([])));
    assert_eq!(sent["detail"], json!({}));
    let early = one(EventBridge, Event::builder("1", "/s", "t").time("1969-12-31T23:59:59Z"));
    assert_eq!(early["time"], "2026-11-23T10:00:00Z");
}

#[test]
fn data_of_every_kind_has_its_place_in_every_shape() {
    let event = || Event::builder("1", "/s", "t");
    for (event, detail, raw, body) in [
        (event(), json!({}), json!(null), ""),
        (event().json_data("[1]"), json!([1]), json!([1]), "[1]"),
        (event().data(b"{\"a\":1}".as_slice()), json!({"a": 1}), json!({"a": 1}), "{\"a\":1}"),
        (event().json_data("{half"), json!("{half"), json!("{half"), "{half"),
        (event().data_content_type("text/plain").data("5"), json!("5"), json!("5"), "5"),
        (event().data_content_type("text/plain").data(""), json!(""), json!(""), ""),
        (
            event().data_content_type("image/png").data(b"\xff\x00".as_slice()),
            json!({"data_base64": "/wA="}),
            json!("/wA="),
            "/wA=",
        ),
    ] {
        assert_eq!(one(EventBridge, event.clone())["detail"], detail);
        assert_eq!(one(Raw, event.clone()), raw);
        assert_eq!(one(Sqs, event)["Records"][0]["body"], body);
    }
    let spelling = order().build().unwrap();
    assert_eq!(encode_one(Raw, &invocation(spelling, "msg_1")), r#"{"total": 1.0}"#);
}

#[test]
fn an_sqs_record_has_what_the_event_source_mapping_would_send() {
    let text = |value: &str| json!({"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"});
    let mut count = text("3");
    count["dataType"] = "Number".into();
    assert_eq!(
        one(Sqs, order()),
        json!({"Records": [{
            "messageId": "msg_1",
            "receiptHandle": "msg_1.3",
            "body": r#" {"total": 1.0} "#,
            "attributes": {
                "ApproximateReceiveCount": "3",
                "SentTimestamp": "1795428000250",
                "SenderId": "eventail",
                "ApproximateFirstReceiveTimestamp": "1795428000250",
                "MessageGroupId": "k1",
                "AWSTraceHeader": "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1",
            },
            "messageAttributes": {
                "ce-specversion": text("1.0"),
                "ce-id": text("id \"1\""),
                "ce-source": text("/orders"),
                "ce-type": text("order.created"),
                "ce-subject": text("o-7"),
                "ce-time": text("2026-11-23T11:59:59.9+02:00"),
                "ce-partitionkey": text("k1"),
                "ce-traceparent": text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                "ce-count": count,
                "content-type": text("application/json"),
            },
            // By `printf ' {"total": 1.0} ' | md5sum`.
            "md5OfBody": "ae41268f4f8d8b58cd8c6f081a62497e",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders",
            "awsRegion": "us-east-1",
        }]})
    );
    let binary = Event::builder("1", "/s", "t").data_content_type("image/png").data(b"\xff".as_slice());
    let record = &one(Sqs, binary)["Records"][0];
    assert_eq!(record["messageAttributes"]["content-transfer-encoding"], text("base64"));
    // Of what stands in the body, as a reader would check it: `printf '/w==' | md5sum`.
    assert_eq!(record["md5OfBody"], "4f62884dacaff2ca74aafd10a7f5a7ae");
    assert_eq!(record["attributes"].get("MessageGroupId"), None);
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let record = one(Sqs, Event::builder("1", "/s", "t").extension("traceparent", unsampled));
    let header = record["Records"][0]["attributes"]["AWSTraceHeader"].as_str().unwrap();
    assert!(header.ends_with(";Sampled=0"), "{header}");
}

#[test]
fn an_answer_that_names_nothing_takes_all() {
    let batch = batch(&[("a", "1"), ("b", "2")]);
    for answer in [
        "",
        " \n",
        "null",
        "{}",
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
        r#"{"other":[{"itemIdentifier":"1"}]}"#,
        r#""""#,
        "[]",
        "5",
        r#""done""#,
        r#"{"statusCode":200,"body":"ok"}"#,
    ] {
        let outcome = partial(Sqs, answer.as_bytes(), &batch);
        assert!(
            matches!(outcome, BatchOutcome::Whole(Outcome::Ack { reply: None })),
            "{answer}: {outcome:?}"
        );
    }
}

#[test]
fn an_answer_that_cannot_be_understood_fails_all() {
    let batch = batch(&[("a", "1"), ("b", "2")]);
    let items = |items: &str| format!(r#"{{"batchItemFailures":{items}}}"#);
    for (answer, why) in [
        ("{".to_owned(), "not the JSON"),
        ("done".to_owned(), "not the JSON"),
        ("{} {}".to_owned(), "not the JSON"),
        (items("5"), "not the JSON"),
        (items("{}"), "not the JSON"),
        (items(r#"["1"]"#), "not the JSON"),
        (items(r#"[["1"]]"#), "not the JSON"),
        (items("[null]"), "not the JSON"),
        (items(r#"[{"itemIdentifier":1}]"#), "not the JSON"),
        (items("[{}]"), "item 0 of batchItemFailures has no itemIdentifier"),
        (items(r#"[{"itemIdentifier":"1"},{"foo":"2"}]"#), "item 1 of"),
        (items(r#"[{"itemIdentifier":""}]"#), "item 0 of"),
        (items(r#"[{"itemIdentifier":null}]"#), "item 0 of"),
        (items(r#"[{"itemIdentifier":"1"},{"itemIdentifier":"3"}]"#), "names `3`"),
        (items(r#"[{"itemIdentifier":"a"}]"#), "names `a`"),
    ] {
        match partial(Sqs, answer.as_bytes(), &batch) {
            BatchOutcome::Whole(Outcome::Retry { class: RetryClass::Failed, after_ms: None, response }) => {
                assert!(response.error.contains(why), "{answer}: {}", response.error);
            }
            other => panic!("{answer}: {other:?}"),
        }
    }
}

fn failed(outcome: BatchOutcome) -> Vec<bool> {
    let BatchOutcome::Each(outcomes) = outcome else { panic!("expected one outcome each, got {outcome:?}") };
    outcomes.iter().map(|outcome| !matches!(outcome, Outcome::Ack { .. })).collect()
}

#[test]
fn listed_events_fail_and_the_others_are_taken() {
    let batch = batch(&[("a", "1"), ("b", "2"), ("a", "3"), ("2", "4")]);
    let listing =
        |id: &str| format!(r#"{{"x":[{{}}],"batchItemFailures":[{{"y":1,"itemIdentifier":"{id}"}}]}}"#);
    let of = |shape, id| failed(partial(shape, listing(id).as_bytes(), &batch));
    assert_eq!(of(Sqs, "2"), [false, true, false, false]);
    for shape in [CloudEvent, EventBridge, Raw] {
        assert_eq!(of(shape, "a"), [true, false, true, false]);
        assert_eq!(of(shape, "2"), [false, false, false, true]);
        assert_eq!(of(shape, "\\u0062"), [false, true, false, false]);
    }
    let BatchOutcome::Each(outcomes) = partial(Sqs, listing("1").as_bytes(), &batch) else { panic!() };
    let Outcome::Retry { class: RetryClass::Failed, response, .. } = &outcomes[0] else { panic!() };
    assert_eq!(response.error, "the function listed it in batchItemFailures");
}

#[test]
fn one_event_fails_by_its_answer_only_with_the_shape_of_sqs() {
    let one = &batch(&[("a", "1")])[0];
    let answer = Bytes::from_static(br#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#);
    assert!(matches!(settle_one(Sqs, &answer, one), Outcome::Retry { class: RetryClass::Failed, .. }));
    for shape in [CloudEvent, EventBridge, Raw] {
        assert!(matches!(settle_one(shape, &answer, one), Outcome::Ack { reply: None }));
    }
    for answer in ["", "null", "not json"] {
        assert!(matches!(settle_one(CloudEvent, &answer.into(), one), Outcome::Ack { reply: None }));
    }
    assert!(matches!(settle_one(Sqs, &"not json".into(), one), Outcome::Retry { .. }));
}

#[test]
fn an_answer_that_is_a_cloudevent_is_a_reply_where_one_is_wanted() {
    let mut one = batch(&[("a", "1")]).remove(0);
    let event = Event::builder("r", "/f", "done").json_data("{}").build().unwrap();
    let answer = Bytes::from(eventail_wire::cloudevents::encode_structured(&event));
    assert!(matches!(settle_one(CloudEvent, &answer, &one), Outcome::Ack { reply: None }));
    one.wants_reply = true;
    match settle_one(CloudEvent, &answer, &one) {
        Outcome::Ack { reply: Some(reply) } => assert_eq!(reply, event),
        other => panic!("{other:?}"),
    }
    for answer in ["", "[]", "{}", r#"{"id":"1"}"#] {
        assert!(matches!(settle_one(CloudEvent, &answer.into(), &one), Outcome::Ack { reply: None }));
    }
    let half = settle_one(CloudEvent, &r#"{"specversion":"1.0"}"#.into(), &one);
    assert!(matches!(half, Outcome::Reject { reason: RejectReason::InvalidReply, .. }), "{half:?}");
}

fn events() -> impl Strategy<Value = Event> {
    let data = prop_oneof![
        Just(None),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        "[{}\"a:1\\[\\] ]{0,8}".prop_map(|text| Some(text.into_bytes())),
        any::<f64>().prop_map(|number| Some(json!({"n": number, "é\"": [null]}).to_string().into_bytes())),
    ];
    let media_type = prop::option::of(prop_oneof![Just("application/json"), Just("text/plain")]);
    ("[^\\p{C}]{1,12}", prop::option::of("[^\\p{C}]{1,12}"), media_type, data).prop_filter_map(
        "the event keeps the rules",
        |(id, subject, media_type, data)| {
            let mut builder = Event::builder(id, "/s", "t");
            if let Some(subject) = subject {
                builder = builder.subject(subject);
            }
            if let Some(media_type) = media_type {
                builder = builder.data_content_type(media_type);
            }
            match data {
                Some(data) => builder.data(data),
                None => builder,
            }
            .build()
            .ok()
        },
    )
}

proptest! {
    #[test]
    fn every_payload_is_json_and_a_batch_holds_what_one_would(events in prop::collection::vec(events(), 1..5)) {
        let batch: Vec<_> =
            events.into_iter().enumerate().map(|(at, event)| invocation(event, &format!("msg_{at}"))).collect();
        for shape in SHAPES {
            let ones = batch.iter().map(|one| serde_json::from_slice::<Value>(&encode_one(shape, one)).unwrap());
            let all: Value = serde_json::from_slice(&encode_batch(shape, &batch)).unwrap();
            if shape == Sqs {
                let records: Vec<_> = ones.map(|mut one| one["Records"][0].take()).collect();
                prop_assert_eq!(all, json!({"Records": records}));
            } else {
                prop_assert_eq!(all, Value::Array(ones.collect()));
            }
        }
    }

    #[test]
    fn the_body_of_a_record_gives_back_the_data(event in events()) {
        use base64::Engine as _;
        let record = one(Sqs, event.to_builder())["Records"][0].take();
        let body = record["body"].as_str().unwrap();
        let is_base64 = record["messageAttributes"].get("content-transfer-encoding").is_some();
        let data = if is_base64 {
            base64::engine::general_purpose::STANDARD.decode(body).unwrap()
        } else {
            body.as_bytes().to_vec()
        };
        prop_assert_eq!(data, event.data_slice());
    }

    #[test]
    fn exactly_the_listed_events_fail(size in 1..20_usize, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let ids: Vec<_> = (0..size).map(|at| (format!("e{at}"), format!("d{at}"))).collect();
        let ids: Vec<_> = ids.iter().map(|(event, delivery)| (event.as_str(), delivery.as_str())).collect();
        let batch = batch(&ids);
        let picks: Vec<_> = picks.iter().map(|pick| pick.index(size)).collect();
        for (shape, prefix) in [(Sqs, "d"), (Raw, "e")] {
            let items: Vec<_> = picks.iter().map(|pick| json!({"itemIdentifier": format!("{prefix}{pick}")})).collect();
            let answer = json!({"batchItemFailures": items}).to_string();
            let outcome = partial(shape, answer.as_bytes(), &batch);
            if picks.is_empty() {
                let is_taken = matches!(outcome, BatchOutcome::Whole(Outcome::Ack { .. }));
                prop_assert!(is_taken);
            } else {
                let expected: Vec<_> = (0..size).map(|at| picks.contains(&at)).collect();
                prop_assert_eq!(failed(outcome), expected);
            }
        }
    }

    #[test]
    fn no_answer_panics(answer in prop::collection::vec(any::<u8>(), 0..60), text in "[{}\\[\\]\",:a1 ]{0,30}") {
        let batch = batch(&[("a", "1")]);
        for answer in [answer, text.into_bytes()] {
            drop(partial(Sqs, &answer, &batch));
            drop(settle_one(Raw, &answer.into(), &batch[0]));
        }
    }
}

#[test]
fn an_input_stands_in_place_of_the_event() {
    use crate::input::Rendered;
    let with = |text: &str, is_json: bool| {
        let input = Rendered { bytes: text.to_owned().into(), is_json };
        Invocation { input: Some(input), ..invocation(order().build().unwrap(), "msg_1") }
    };
    for shape in [CloudEvent, EventBridge, Raw] {
        assert_eq!(encode_one(shape, &with(r#"{"a": 1.0}"#, true)), r#"{"a": 1.0}"#);
        assert_eq!(encode_one(shape, &with("te\"xt", false)), r#""te\"xt""#);
        let batch = [with("1", true), with("x", false)];
        assert_eq!(encode_batch(shape, &batch), r#"[1,"x"]"#);
    }
    let payload: Value = serde_json::from_slice(&encode_one(Sqs, &with(r#"{"a": 1.0}"#, true))).unwrap();
    assert_eq!(payload["Records"][0]["body"], r#"{"a": 1.0}"#);
    assert_eq!(payload["Records"][0]["messageAttributes"]["ce-type"]["stringValue"], "order.created");
}
