//! Topics, triggers and dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventail_triggers::outcome::{Outcome, RejectReason, Response};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{TopicName, TriggerName};
use http::Method;
use serde_json::{Value, json};

use super::support::Served;
use crate::config::{StartPosition, TargetOptions, Trigger};

/// Refuses every event until it is told to take them.
#[derive(Default)]
struct Choosy {
    takes: AtomicBool,
}

impl Target for Choosy {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        let takes = self.takes.load(Ordering::SeqCst);
        Box::pin(async move {
            if takes {
                return Outcome::Ack { reply: None }.into();
            }
            let response = Response { status: Some(422), body: "no".to_owned(), ..Response::default() };
            Outcome::Reject { reason: RejectReason::Permanent, response, disable: false }.into()
        })
    }
}

async fn with_trigger() -> (Served, Arc<Choosy>) {
    let target = Arc::new(Choosy::default());
    let handler = target.clone();
    let served = Served::start_with(move |config| {
        let trigger = Trigger {
            topic: TopicName::new("orders").unwrap(),
            start: StartPosition::Earliest,
            ..Trigger::new(TargetOptions::Handler(handler))
        };
        config.triggers.insert(TriggerName::new("ship").unwrap(), trigger);
    })
    .await;
    (served, target)
}

/// Asks until the answer is as wanted: what it tells comes about by itself.
async fn until(served: &Served, target: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let answer = served.get(target).await.ok(200);
        if wanted(&answer) {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn topics_are_created_listed_in_pages_and_shown() {
    let served = Served::start().await;
    for name in ["b", "a", "c"] {
        assert_eq!(
            served.ask(Method::PUT, &format!("/v1/topics/{name}"), &[], "").await.ok(201)["name"],
            name
        );
    }
    served.ask(Method::PUT, "/v1/topics/a", &[], "").await.ok(200);
    let mut names = Vec::new();
    let mut target = "/v1/topics?limit=2".to_owned();
    loop {
        let page = served.get(&target).await.ok(200);
        names.extend(
            page["topics"].as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/topics?limit=2&after={next}");
    }
    let of_ours: Vec<&String> = names.iter().filter(|name| name.len() == 1).collect();
    assert_eq!(of_ours, ["a", "b", "c"]);
    assert!(names.contains(&"default".to_owned()));
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    let shown = served.get("/v1/topics/a").await.ok(200);
    assert_eq!(
        (&shown["start"], &shown["end"], &shown["durability"]),
        (&json!(0), &json!(0), &json!("sync"))
    );

    served.get("/v1/topics/absent").await.problem(404, "unknown_topic");
    served.ask(Method::PUT, "/v1/topics/-", &[], "").await.problem(400, "invalid_name");
    let body =
        served.ask(Method::PUT, "/v1/topics/d", &[("content-type", "application/json")], "{\"x\":1}").await;
    assert!(body.problem(400, "invalid_parameter").contains("`x`"));
    served.stop().await;
}

#[tokio::test]
async fn a_trigger_is_paused_resumed_and_moved_on() {
    let (served, _) = with_trigger().await;
    let listed = served.get("/v1/triggers").await.ok(200);
    assert_eq!(listed["triggers"].as_array().unwrap().len(), 1);
    assert_eq!(listed["next"], Value::Null);
    let paused = served.post_json("/v1/triggers/ship/pause", "{\"reason\":\"stocktaking\"}").await.ok(200);
    assert_eq!((&paused["state"], &paused["reason"]), (&json!("paused"), &json!("stocktaking")));
    for index in 0..3 {
        served.publish("orders", &format!("o-{index}")).await.ok(200);
    }
    let skipped = served.post_json("/v1/triggers/ship/skip-to", "{\"offset\":2}").await.ok(200);
    assert_eq!(skipped["cursor"], 2);
    let skipped = served.post_json("/v1/triggers/ship/skip-to", "{\"latest\":true}").await.ok(200);
    assert_eq!((&skipped["cursor"], &skipped["lag"]), (&json!(3), &json!(0)));
    let resumed = served.ask(Method::POST, "/v1/triggers/ship/resume", &[], "").await.ok(200);
    assert_eq!(resumed["state"], "running");
    assert_eq!(served.get("/v1/triggers/ship").await.ok(200)["account"]["dead_lettered"], 0);

    for (target, body, code) in [
        ("/v1/triggers/ship/skip-to", "{}", "invalid_parameter"),
        ("/v1/triggers/ship/skip-to", "{\"offset\":1,\"latest\":true}", "invalid_parameter"),
        ("/v1/triggers/ship/skip-to", "{\"offset\":-1}", "invalid_parameter"),
        ("/v1/triggers/ship/skip-to", "{\"ofset\":1}", "invalid_parameter"),
        ("/v1/triggers/ship/skip-to", "", "malformed"),
        ("/v1/triggers/ship/skip-to", "{", "malformed"),
        ("/v1/triggers/ship/pause", "{\"why\":1}", "invalid_parameter"),
        ("/v1/triggers/ship/pause?x=1", "", "invalid_parameter"),
    ] {
        served.post_json(target, body).await.problem(400, code);
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    served
        .ask(Method::POST, "/v1/triggers/ship/pause", &form, "{}")
        .await
        .problem(415, "unsupported_media_type");
    for target in ["/v1/triggers/absent/pause", "/v1/triggers/absent/resume"] {
        served.ask(Method::POST, target, &[], "").await.problem(404, "unknown_trigger");
    }
    served.get("/v1/triggers/absent").await.problem(404, "unknown_trigger");
    served.stop().await;
}

#[tokio::test]
async fn dead_letters_are_listed_shown_redriven_and_purged() {
    let (served, target) = with_trigger().await;
    for index in 0..3 {
        served.publish("orders", &format!("o-{index}")).await.ok(200);
    }
    until(&served, "/v1/triggers/ship", |trigger| trigger["account"]["dead_lettered"] == 3).await;

    let page = served.get("/v1/dead-letters?trigger=ship&reason=permanent&limit=2").await.ok(200);
    assert_eq!(page["dead_letters"].as_array().unwrap().len(), 2);
    let next = page["next"].as_str().unwrap();
    let rest = served.get(&format!("/v1/dead-letters?trigger=ship&limit=2&after={next}")).await.ok(200);
    assert_eq!((rest["dead_letters"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    for (query, count) in
        [("trigger=absent", 0), ("reason=max_age", 0), ("event_id=o-1", 1), ("until=2000-01-01T00:00:00Z", 0)]
    {
        let found = served.get(&format!("/v1/dead-letters?{query}")).await.ok(200);
        assert_eq!(found["dead_letters"].as_array().unwrap().len(), count, "{query}");
    }
    let letter = served.get("/v1/dead-letters/dead-letters/0").await.ok(200);
    assert_eq!((&letter["trigger"], &letter["response"]["status"]), (&json!("ship"), &json!(422)));
    assert_eq!(letter["event"]["id"], letter["event_id"]);
    assert_eq!(letter["event"]["correlationid"], letter["correlation_id"]);
    assert!(letter["at"].as_str().unwrap().ends_with('Z'), "{letter}");

    let dry =
        served.post_json("/v1/dead-letters/redrive", "{\"trigger\":\"ship\",\"dry_run\":true}").await.ok(200);
    assert_eq!((&dry["selected"], &dry["done"]), (&json!(3), &json!(0)));
    target.takes.store(true, Ordering::SeqCst);
    let one = served
        .post_json("/v1/dead-letters/redrive", "{\"topic\":\"dead-letters\",\"offset\":0}")
        .await
        .ok(200);
    assert_eq!((&one["selected"], &one["done"]), (&json!(1), &json!(1)));
    let purged = served.post_json("/v1/dead-letters/purge", "{\"trigger\":\"ship\"}").await.ok(200);
    assert_eq!(purged["done"], 2);
    served.stop().await;
}

#[tokio::test]
async fn what_a_dead_letter_route_cannot_take_is_a_problem() {
    let (served, _) = with_trigger().await;
    for target in [
        "/v1/dead-letters?reason=bored",
        "/v1/dead-letters?trigger=-",
        "/v1/dead-letters?since=yesterday",
        "/v1/dead-letters?after=x",
        "/v1/dead-letters?include_redriven=maybe",
        "/v1/dead-letters?offset=1",
        "/v1/dead-letters/dead-letters/x",
    ] {
        served.get(target).await.problem(400, "invalid_parameter");
    }
    for (target, body, code) in [
        ("redrive", "", "malformed"),
        ("redrive", "{\"per_second\":0}", "invalid_parameter"),
        ("redrive", "{\"offset\":0}", "invalid_parameter"),
        ("redrive", "{\"triger\":\"ship\"}", "invalid_parameter"),
        ("redrive", "{\"reason\":\"bored\"}", "invalid_parameter"),
        ("redrive", "{\"since\":\"yesterday\"}", "invalid_parameter"),
        ("purge", "{\"per_second\":1}", "invalid_parameter"),
    ] {
        served.post_json(&format!("/v1/dead-letters/{target}"), body).await.problem(400, code);
    }
    served.stop().await;
}
