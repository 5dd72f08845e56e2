//! Callbacks over HTTP, with the test in the place of the lane that waits for them.

use eventail_triggers::outcome::RejectReason;
use eventail_triggers::subscription::Verdict;
use eventail_wire::Timestamp;
use http::Method;
use serde_json::json;

use super::support::Served;

const TIMEOUT_MS: u64 = 30_000;

fn at() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap()
}

#[tokio::test]
async fn a_delivery_is_settled_once_and_its_answer_says_what_came_of_it() {
    let served = Served::start().await;
    for (path, body, signal, verdict, told) in [
        ("ack", "", "Ack", Verdict::Delivered, json!({"outcome": "delivered"})),
        ("ack", "{}", "Ack", Verdict::Delivered, json!({"outcome": "delivered"})),
        (
            "nack",
            r#"{"after": "10s", "reason": "no paper"}"#,
            r#"Nack { after_ms: Some(10000), reason: "no paper" }"#,
            Verdict::Retry { at: at() },
            json!({"outcome": "retry", "at": "2026-11-23T10:00:00.000Z"}),
        ),
        (
            "nack",
            "",
            r#"Nack { after_ms: None, reason: "" }"#,
            Verdict::DeadLetter { reason: RejectReason::MaxAttempts },
            json!({"outcome": "dead_lettered"}),
        ),
        (
            "nack",
            r#"{"reject": true, "reason": "bad"}"#,
            r#"Reject { reason: "bad" }"#,
            Verdict::DeadLetter { reason: RejectReason::Refused },
            json!({"outcome": "dead_lettered"}),
        ),
    ] {
        let (token, mut waiting) = served.broker.callbacks().open(TIMEOUT_MS);
        let target = format!("/v1/deliveries/{token}/{path}");
        let lane = async {
            let (got, reply) = waiting.next().await;
            assert_eq!(format!("{got:?}"), signal);
            reply.settled(verdict);
        };
        let (answer, ()) = tokio::join!(served.post_json(&target, body), lane);
        assert_eq!(answer.ok(200), told);
        let detail = served.post_json(&target, "").await.problem(404, "delivery_not_found");
        assert!(detail.contains("may have been settled, have run out"), "{detail}");
        assert!(!detail.contains(&*token));
    }
}

#[tokio::test]
async fn a_lease_is_prolonged_as_said_in_the_address_the_body_or_not_at_all() {
    let served = Served::start().await;
    let (token, mut waiting) = served.broker.callbacks().open(TIMEOUT_MS);
    for (query, body, ms) in [
        ("", "", TIMEOUT_MS),
        ("?by=45s", "", 45_000),
        ("", r#"{"by": "250ms"}"#, 250),
        ("?by=2h", "", eventail_wire::limits::LEASE_MS_MAX),
    ] {
        let target = format!("/v1/deliveries/{token}/extend{query}");
        let lane = async {
            let (got, reply) = waiting.next().await;
            assert_eq!(format!("{got:?}"), format!("Extend {{ ms: {ms} }}"));
            reply.extended(at());
        };
        let (answer, ()) = tokio::join!(served.post_json(&target, body), lane);
        assert_eq!(answer.ok(200), json!({"outcome": "extended", "deadline": "2026-11-23T10:00:00.000Z"}));
    }
}

#[tokio::test]
async fn what_comes_before_the_targets_answer_is_accepted_and_kept() {
    let served = Served::start().await;
    let (token, mut waiting) = served.broker.callbacks().open(TIMEOUT_MS);
    let answer = served.post_json(&format!("/v1/deliveries/{token}/ack"), "").await;
    assert_eq!(answer.ok(202), json!({"outcome": "kept"}));
    waiting.next().await.1.settled(Verdict::Delivered);
}

#[tokio::test]
async fn what_is_asked_wrongly_changes_nothing() {
    let served = Served::start().await;
    let (token, mut waiting) = served.broker.callbacks().open(TIMEOUT_MS);
    for (path, body, code, named) in [
        ("ack", r#"{"x": 1}"#, "invalid_parameter", "not as it must be"),
        ("ack", "{", "malformed", "not as it must be"),
        ("ack?by=1s", "", "invalid_parameter", "by"),
        ("nack", r#"{"after": "soon"}"#, "invalid_parameter", "`after` must be a number and a unit"),
        ("nack", r#"{"after": 5}"#, "invalid_parameter", "string"),
        ("nack", r#"{"delay": "5s"}"#, "invalid_parameter", "delay"),
        ("nack", r#"{"after": "5s", "reject": true}"#, "invalid_parameter", "rules out"),
        ("extend?by=0s", "", "invalid_parameter", "more than nothing"),
        ("extend?by=5s", r#"{"by": "5s"}"#, "invalid_parameter", "in the address and in the body"),
        ("extend?by=x", "", "invalid_parameter", "`by` must be a number and a unit"),
    ] {
        let answer = served.post_json(&format!("/v1/deliveries/{token}/{path}"), body).await;
        let detail = answer.problem(400, code);
        assert!(detail.contains(named), "{path} {body}: {detail}");
    }
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(2049));
    let detail = served
        .post_json(&format!("/v1/deliveries/{token}/nack"), &long)
        .await
        .problem(400, "invalid_parameter");
    assert!(detail.contains("2049 is more than the limit of 2048"), "{detail}");
    served.get(&format!("/v1/deliveries/{token}/ack")).await.problem(405, "method_not_allowed");
    for unknown in ["x", "%00", "0123456789abcdef0123456789abcdef"] {
        let answer = served.ask(Method::POST, &format!("/v1/deliveries/{unknown}/ack"), &[], "").await;
        answer.problem(404, "delivery_not_found");
    }
    let ack = served.broker.call_back(&token, crate::CallbackAction::Ack);
    assert_eq!(format!("{:?}", waiting.next().await.0), "Ack", "nothing came before it");
    assert!(ack.await.is_err(), "an answer that is dropped is a refusal");
}
