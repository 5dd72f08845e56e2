//! How far permissions on a topic reach: into dead letters, replays and histories, and no further.

use std::sync::Arc;

use eventail_triggers::outcome::{Outcome, RejectReason, Response};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{Event, TopicName, TriggerName};
use serde_json::json;

use super::support::Served;
use crate::config::{AuthOptions, Config, StartPosition, TargetOptions, Trigger};
use crate::core::SubscribeOptions;
use crate::status::DeadLetterFilter;

/// Takes nothing.
struct Refusing;

impl Target for Refusing {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        let reason = RejectReason::Permanent;
        Box::pin(
            async move { Outcome::Reject { reason, response: Response::default(), disable: false }.into() },
        )
    }
}

/// A trigger `ship` of `orders` that refuses everything, and what everybody may.
fn refusing(permissions: &[&str]) -> impl FnOnce(&mut Config) + use<> {
    let anonymous = permissions.iter().map(|text| text.parse().unwrap()).collect();
    move |config| {
        let trigger = Trigger {
            topic: TopicName::new("orders").unwrap(),
            start: StartPosition::Earliest,
            ..Trigger::new(TargetOptions::Handler(Arc::new(Refusing)))
        };
        config.triggers.insert(TriggerName::new("ship").unwrap(), trigger);
        config.auth = Some(AuthOptions { anonymous, ..AuthOptions::default() });
    }
}

fn event(id: &str) -> Event {
    Event::builder(id, "/s", "t").build().unwrap()
}

async fn until_letters(served: &Served, count: usize) {
    loop {
        let page = served.get("/v1/dead-letters").await.ok(200);
        if page["dead_letters"].as_array().unwrap().len() == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn letters_of_a_subscription_with_a_triggers_name_are_not_those_of_its_operators() {
    let served = Served::start_with(refusing(&["publish:*", "read:*", "operate:orders"])).await;
    // A subscription of another topic, of the same name as the trigger.
    let options = SubscribeOptions {
        name: "ship".parse().unwrap(),
        topic: "other".parse().unwrap(),
        pattern: None,
        start: StartPosition::Earliest,
        lease_ms: 30_000,
        max_attempts: 1,
    };
    served.publish("other", "theirs").await.ok(200);
    let subscriber = served.broker.subscribe(options).await.unwrap();
    let taken = subscriber.next(1).await.unwrap();
    let reject =
        Outcome::Reject { reason: RejectReason::Permanent, response: Response::default(), disable: false };
    subscriber.settle(vec![(taken[0].token, reject)]).await.unwrap();
    served.publish("orders", "ours").await.ok(200);
    until_letters(&served, 2).await;

    let purged = served.post_json("/v1/dead-letters/purge", r#"{"trigger":"ship"}"#).await.ok(200);
    assert_eq!(purged["done"], 1);
    let left = served.get("/v1/dead-letters").await.ok(200);
    assert_eq!(left["dead_letters"][0]["event_id"], "theirs");
    let theirs = json!({ "trigger": "ship", "origin_topic": "other" }).to_string();
    served.post_json("/v1/dead-letters/purge", &theirs).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_letter_calls_the_target_of_a_trigger_that_moved_only_for_who_operates_it_now() {
    let served = Served::start_with(refusing(&[])).await;
    served.broker.publish(&"orders".parse().unwrap(), vec![event("1")]).await.unwrap();
    while served.broker.dead_letters(&DeadLetterFilter::default(), None, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let folder = served.stop().await;
    let served = Served::start_in(folder, |config| {
        refusing(&["operate:orders"])(config);
        for trigger in config.triggers.values_mut() {
            trigger.topic = TopicName::new("payments").unwrap();
        }
    })
    .await;
    let letter = r#"{"topic":"dead-letters","offset":0}"#;
    served.post_json("/v1/dead-letters/redrive", letter).await.problem(401, "unauthenticated");
    served.post_json("/v1/dead-letters/purge", letter).await.ok(200);
}

#[tokio::test]
async fn a_replay_to_any_address_is_for_those_who_operate_everything() {
    let request = r#"{"topic":"orders","from":"earliest","to_url":"http://127.0.0.1:1/","dry_run":true}"#;
    for (permission, status) in [("operate:orders", 401), ("operate:*", 200)] {
        let served = Served::start_with(refusing(&[permission])).await;
        served.broker.publish(&"orders".parse().unwrap(), vec![event("1")]).await.unwrap();
        let answer = served.post_json("/v1/replays", request).await;
        assert_eq!(answer.status, status, "{permission}");
    }
}

#[tokio::test]
async fn histories_that_may_not_be_read_hide_none_that_may() {
    let served = Served::start_with(refusing(&["read:zoo"])).await;
    // More of them than are told at once, in topics that come first.
    for number in 0..25 {
        let topic: TopicName = format!("a-{number}").parse().unwrap();
        served.broker.publish(&topic, vec![event("same")]).await.unwrap();
    }
    served.broker.publish(&TopicName::new("zoo").unwrap(), vec![event("same")]).await.unwrap();
    let told = served.get("/v1/events/same/timeline").await.ok(200);
    assert_eq!((told["events"].as_array().unwrap().len(), &told["events_left_out"]), (1, &json!(0)));
    assert_eq!(told["events"][0]["topic"], "zoo");
}
