//! Several events in one request, and what its answer says of each.

use super::*;
use crate::outcome::BatchOutcome;
use eventail_wire::cloudevents::{BATCH_MEDIA_TYPE, BatchLimits, decode_batch};
use eventail_wire::limits;
use serde_json::Value;

fn batch_of(ids: &[&str]) -> Vec<Invocation> {
    let one = |(at, id): (usize, &&str)| {
        let event = Event::builder(*id, "/orders", "order.created").json_data(r#"{"total": 1.0}"#);
        Invocation {
            offset: Offset(at as u64 + 7),
            attempt: at as u32 + 1,
            delivery_id: format!("evt_{id}").into(),
            ..invocation(event.build().unwrap())
        }
    };
    ids.iter().enumerate().map(one).collect()
}

async fn answered(answer: Response<Full<Bytes>>, ids: &[&str]) -> BatchOutcome {
    let server = Server::answering(move |_, _| answer.clone()).await;
    server.target().invoke_batch(batch_of(ids)).await.outcome
}

fn says(body: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::from(body))
}

fn whole(outcome: BatchOutcome) -> Outcome {
    match outcome {
        BatchOutcome::Whole(outcome) => outcome,
        BatchOutcome::Each(outcomes) => panic!("expected one outcome for all, got {outcomes:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_one_request_with_all_its_events() {
    let server = Server::answering(|_, _| status(204)).await;
    let mut options = options(&format!("http://{}/hook?a=1", server.address));
    options.mode = HttpMode::Raw;
    options.headers.push((http::HeaderName::from_static("x-team"), Secret::new("a".to_owned())));
    let target = HttpTarget::new(options, loopback()).unwrap();
    let mut batch = batch_of(&["a", "b"]);
    batch[1].deadline = batch[1].now.plus_ms(5_000);
    assert!(is_acked(&whole(target.invoke_batch(batch.clone()).await.outcome)));
    let (parts, body) = server.last();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
    for (name, value) in [
        ("content-type", BATCH_MEDIA_TYPE),
        ("eventail-batch-size", "2"),
        ("eventail-deadline", "2026-11-23T10:00:05.000Z"),
        ("eventail-topic", "orders"),
        ("eventail-trigger", "ship"),
        ("webhook-timestamp", "1795428000"),
        ("x-team", "a"),
    ] {
        assert_eq!(header(name), Some(value), "{name}");
    }
    for absent in ["eventail-attempt", "eventail-offset", "traceparent", "ce-id", "ce-specversion", "prefer"]
    {
        assert_eq!(header(absent), None, "{absent}");
    }
    let sent = decode_batch(&body, BatchLimits::default()).unwrap();
    for (sent, invocation) in sent.iter().zip(&batch) {
        assert_eq!(sent.id(), invocation.event.id());
        assert_eq!(sent.data_slice(), invocation.event.data_slice());
        assert_eq!(sent.correlation_id(), invocation.event.correlation_id());
        assert_eq!(sent.traceparent(), invocation.event.traceparent());
        assert_eq!(sent.attribute("eventaildeliveryid"), Some(&*invocation.delivery_id));
        assert_eq!(sent.attribute("eventailattempt"), Some(invocation.attempt.to_string().as_str()));
        assert_eq!(sent.attribute("eventailoffset"), Some(invocation.offset.to_string().as_str()));
    }
    assert_eq!(sent.len(), 2);
    let elements: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(elements[0]["eventailattempt"], 1, "an integer");
}

#[tokio::test]
async fn the_id_of_a_batch_is_that_of_its_composition() {
    let server = Server::answering(|_, _| status(204)).await;
    let target = server.target();
    let mut ids = Vec::new();
    for batch in [&["a", "b"][..], &["a", "b"], &["b", "a"], &["a"], &["ab"], &["a", "b", "c"]] {
        target.invoke_batch(batch_of(batch)).await;
        ids.push(server.last().0.headers["webhook-id"].to_str().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1], "a retry has the same");
    ids.remove(0);
    let all: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(all.len(), ids.len());
    assert!(ids.iter().all(|id| id.starts_with("batch_") && id.len() == 38));
}

#[tokio::test]
async fn an_event_with_attributes_of_a_delivery_has_each_of_them_once() {
    let server = Server::answering(|_, _| status(204)).await;
    let mut batch = batch_of(&["a"]);
    let event = batch[0].event.to_builder().extension("eventaildeliveryid", "of another broker");
    batch[0].event = event.extension("eventailoffset", "99").build().unwrap();
    server.target().invoke_batch(batch).await;
    let sent = decode_batch(&server.last().1, BatchLimits::default()).unwrap();
    assert_eq!(sent[0].attribute("eventaildeliveryid"), Some("evt_a"));
    assert_eq!(sent[0].attribute("eventailoffset"), Some("7"));
}

#[tokio::test]
async fn a_batch_is_signed_with_its_own_id() {
    let server = Server::answering(|_, _| status(204)).await;
    let mut options = options(&format!("http://{}", server.address));
    options.signing_secrets.push(Secret::new(SECRET.to_owned()));
    let signer = crate::http::signature::Signer::new(&options.signing_secrets).unwrap();
    let target = HttpTarget::new(options, loopback()).unwrap();
    target.invoke_batch(batch_of(&["a", "b"])).await;
    let (parts, body) = server.last();
    let text = |name: &str| parts.headers[name].to_str().unwrap();
    assert_eq!(text("webhook-signature"), signer.sign(text("webhook-id"), text("webhook-timestamp"), &body));
}

#[tokio::test]
async fn an_answer_that_lists_no_failures_takes_all() {
    for body in ["", "ok", "{}", "null", "[]", "{not json", r#"{"taken": 2}"#, r#"{"batchItemFailures":[]}"#]
    {
        for code in [200, 202, 207] {
            let mut answer = says(body);
            *answer.status_mut() = http::StatusCode::from_u16(code).unwrap();
            assert!(is_acked(&whole(answered(answer, &["a", "b"]).await)), "{code} {body}");
        }
    }
    let long = "x".repeat(limits::RESPONSE_BODY_BYTES_MAX + 1);
    assert!(is_acked(&whole(answered(Response::new(Full::from(long)), &["a"]).await)));
}

#[tokio::test]
async fn the_listed_events_fail_and_the_others_are_taken() {
    let list = says(r#" {"batchItemFailures": [{"itemIdentifier": "b"}]}"#);
    let BatchOutcome::Each(outcomes) = answered(list, &["a", "b", "c", "b"]).await else {
        panic!("each has an outcome of its own")
    };
    assert_eq!(outcomes.iter().map(is_acked).collect::<Vec<_>>(), [true, false, true, false]);
    let (class, _, response) = retried(outcomes.into_iter().nth(1).unwrap());
    assert_eq!((class, response.status), (RetryClass::Failed, Some(200)));
    assert!(response.error.contains("batchItemFailures"), "{}", response.error);
}

#[tokio::test]
async fn a_list_that_is_broken_fails_the_whole_batch() {
    let too_long =
        format!(r#"{{"batchItemFailures": [], "x": "{}"}}"#, "x".repeat(limits::RESPONSE_BODY_BYTES_MAX));
    for body in [
        r#"{"batchItemFailures": [{"itemIdentifier": "z"}]}"#,
        r#"{"batchItemFailures": [{"itemIdentifier": ""}]}"#,
        r#"{"batchItemFailures": [{}]}"#,
        r#"{"batchItemFailures": 3}"#,
        r#"{"batchItemFailures": [{"itemIdentifier": "a"}]"#,
        too_long.as_str(),
    ] {
        let answer = Response::new(Full::from(body.to_owned()));
        let (class, _, response) = retried(whole(answered(answer, &["a", "b"]).await));
        assert_eq!((class, response.status), (RetryClass::Failed, Some(200)), "{}", &body[..30]);
        assert!(!response.error.is_empty());
    }
}

#[tokio::test]
async fn any_other_status_is_that_of_the_whole_batch() {
    let mut throttled = status(429);
    throttled.headers_mut().insert("retry-after", "7".parse().unwrap());
    let (class, after_ms, response) = retried(whole(answered(throttled, &["a", "b"]).await));
    assert_eq!((class, after_ms, response.status), (RetryClass::Throttled, Some(7_000), Some(429)));
    // A list in an answer that failed is no list.
    let mut failed = says(r#"{"batchItemFailures": [{"itemIdentifier": "b"}]}"#);
    *failed.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    assert_eq!(retried(whole(answered(failed, &["a", "b"]).await)).0, RetryClass::Failed);
    let (reason, disable, _) = rejected(whole(answered(status(410), &["a", "b"]).await));
    assert_eq!((reason, disable), (RejectReason::Permanent, true));
}

#[tokio::test]
async fn a_batch_ends_by_the_first_of_its_deadlines() {
    let server = Server::silent().await;
    let mut batch = batch_of(&["a", "b"]);
    batch[1].deadline = batch[1].now.plus_ms(60);
    let (class, _, response) = retried(whole(server.target().invoke_batch(batch).await.outcome));
    assert_eq!((class, response.error.as_str()), (RetryClass::Timeout, "no whole answer within 60 ms"));
}

#[tokio::test]
async fn a_batch_is_taken_over_as_a_whole() {
    let mut accepted = says(r#"{"batchItemFailures": [{"itemIdentifier": "b"}]}"#);
    *accepted.status_mut() = http::StatusCode::ACCEPTED;
    accepted.headers_mut().insert(CALLBACK_HEADER, CALLBACK_ACCEPTED.parse().unwrap());
    let server = Server::answering(move |_, _| accepted.clone()).await;
    let target = server.target();
    let mut batch = batch_of(&["a", "b"]);
    batch[0].callback = Some("token".into());
    assert!(matches!(whole(target.invoke_batch(batch).await.outcome), Outcome::Accepted));
    assert_eq!(server.last().0.headers[CALLBACK_TOKEN_HEADER], "token");
    let (reason, ..) = rejected(whole(target.invoke_batch(batch_of(&["a", "b"])).await.outcome));
    assert_eq!(reason, RejectReason::Permanent);
}
