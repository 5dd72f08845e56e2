//! Replays over the API: what is refused, what is told.

use std::sync::Arc;

use eventail_triggers::outcome::Outcome;
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{TopicName, TriggerName};
use http::Method;
use serde_json::{Value, json};

use super::support::Served;
use crate::config::{StartPosition, TargetOptions, Trigger};

struct Taking;

impl Target for Taking {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async { Outcome::Ack { reply: None }.into() })
    }
}

async fn with_events() -> Served {
    let served = Served::start_with(|config| {
        let trigger = Trigger {
            topic: TopicName::new("orders").unwrap(),
            start: StartPosition::Earliest,
            ..Trigger::new(TargetOptions::Handler(Arc::new(Taking)))
        };
        config.triggers.insert(TriggerName::new("ship").unwrap(), trigger);
    })
    .await;
    for index in 0..3 {
        served.publish("orders", &format!("o-{index}")).await.ok(200);
    }
    served
}

async fn until_over(served: &Served, id: &str) -> Value {
    loop {
        let status = served.get(&format!("/v1/replays/{id}")).await.ok(200);
        if !status["ended_at"].is_null() {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_replay_is_started_listed_shown_and_cancelled() {
    let served = with_events().await;
    let body = r#"{"trigger":"ship","from":"2h","filter":{"id":["o-1","o-2"]},"dry_run":true}"#;
    let preview = served.post_json("/v1/replays", body).await.ok(200);
    assert_eq!((&preview["scanned"], &preview["selected"]), (&json!(3), &json!(2)));
    assert_eq!(preview["by_type"]["t"]["events"], 2);

    let started =
        served.post_json("/v1/replays", r#"{"trigger":"ship","from":1,"to":"latest"}"#).await.ok(201);
    let id = started["id"].as_str().unwrap();
    let over = until_over(&served, id).await;
    assert_eq!((&over["state"], &over["account"]["delivered"]), (&json!("completed"), &json!(2)));
    let slow =
        served.post_json("/v1/replays", r#"{"trigger":"ship","from":0,"per_second":0.001}"#).await.ok(201);
    let slow = slow["id"].as_str().unwrap();
    let page = served.get("/v1/replays?limit=1").await.ok(200);
    assert_eq!((&page["replays"][0]["id"], &page["next"]), (&json!(id), &json!(id)));
    let page = served.get(&format!("/v1/replays?after={id}")).await.ok(200);
    assert_eq!((&page["replays"][0]["id"], &page["next"]), (&json!(slow), &Value::Null));
    let cancelled = served.ask(Method::POST, &format!("/v1/replays/{slow}/cancel"), &[], "").await.ok(200);
    assert_eq!(cancelled["state"], "cancelled");
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_replay_is_refused_with_its_code() {
    let served = with_events().await;
    for (body, code) in [
        ("{}", "invalid_parameter"),
        (r#"{"trigger":"ship","from":"soon"}"#, "invalid_parameter"),
        (r#"{"trigger":"ship","from":0,"rate":1}"#, "invalid_parameter"),
        (r#"{"trigger":"ship","from":0,"per_second":0}"#, "invalid_parameter"),
        (r#"{"trigger":"ship","from":0,"filter":{"type":"t"}}"#, "invalid_parameter"),
        (r#"{"trigger":"ship","from":2,"to":1}"#, "invalid_parameter"),
        (r#"{"trigger":"ship","from":9}"#, "invalid_parameter"),
        (r#"{"topic":"orders","from":0}"#, "invalid_parameter"),
        (r#"{"topic":"orders","from":0,"to_url":"ftp://example.com/"}"#, "invalid_parameter"),
        ("{", "malformed"),
    ] {
        served.post_json("/v1/replays", body).await.problem(400, code);
    }
    let absent = r#"{"trigger":"absent","from":0}"#;
    served.post_json("/v1/replays", absent).await.problem(404, "unknown_trigger");
    served.get("/v1/replays/absent").await.problem(404, "unknown_replay");
    served.ask(Method::POST, "/v1/replays/absent/cancel", &[], "").await.problem(404, "unknown_replay");
    served.post_json("/v1/triggers/ship/pause", r#"{"reason":"stocktaking"}"#).await.ok(200);
    let paused = served.post_json("/v1/replays", r#"{"trigger":"ship","from":0}"#).await;
    assert!(paused.problem(409, "conflict").contains("stocktaking"));
    served.stop().await;
}
