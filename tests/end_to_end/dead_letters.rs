//! What could not be delivered: kept whole, found, redriven, purged.

use eventail_tests::events::{event, with_data};
use eventail_tests::script::{accept, always};
use eventail_tests::{Home, Received, Receiver, Reply, eventually};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger};

fn refuse_bad(request: &Received) -> Reply {
    match request.header("ce-type") {
        "bad.poison" => Reply::Text(500, "cannot digest this".to_owned()),
        "bad.permanent" => Reply::Text(422, "never".to_owned()),
        _ => Reply::Status(204),
    }
}

#[tokio::test]
async fn a_dead_letter_tells_everything_and_holds_the_whole_event() {
    let receiver = Receiver::with(refuse_bad).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("good", "good")).await;
    let data = json!({ "total": 12, "lines": ["a", "ü"] });
    let mut poison = with_data("poison", "bad.poison", data.clone());
    poison["correlationid"] = "story-1".into();
    api.publish("orders", &poison).await;
    at_rest(api, "ship", 2).await;

    let letters = api.dead_letters("trigger=ship").await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    for (name, value) in [
        ("event_id", json!("poison")),
        ("event_type", json!("bad.poison")),
        ("event_source", json!("/tests")),
        ("correlation_id", json!("story-1")),
        ("trigger", json!("ship")),
        ("origin_topic", json!("orders")),
        ("origin_offset", json!(1)),
        ("reason", json!("max_attempts")),
        ("class", json!("failed")),
        ("attempts", json!(3)),
        ("redriven", json!(0)),
        ("purged", json!(false)),
    ] {
        assert_eq!(letter[name], value, "{name} of {letter}");
    }
    assert_eq!(letter["response"]["status"], 500);
    assert_eq!(letter["response"]["body"], "cannot digest this");
    assert!(letter["first_attempt_at"].as_u64() <= letter["last_attempt_at"].as_u64());

    let path = format!("/v1/dead-letters/{}/{}", letter["topic"].as_str().unwrap(), letter["offset"]);
    let whole = api.get_json(&path).await;
    assert_eq!((&whole["event"]["id"], &whole["event"]["data"]), (&json!("poison"), &data));
    assert_eq!(whole["event"]["correlationid"], "story-1");
}

#[tokio::test]
async fn a_permanent_refusal_is_dead_lettered_at_once() {
    let receiver = Receiver::with(refuse_bad).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "bad.permanent")).await;
    at_rest(server.api(), "ship", 1).await;
    let letter = &server.api().dead_letters("reason=permanent").await[0];
    assert_eq!((letter["attempts"].as_u64(), letter["response"]["status"].as_u64()), (Some(1), Some(422)));
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn an_event_that_gets_too_old_is_dead_lettered_for_that() {
    let receiver = Receiver::with(always(Reply::Status(500))).await;
    let keys = r#"
retry = { max_attempts = 10000, max_age = "1s", backoff_initial = "50ms", backoff_max = "100ms" }
breaker = { failures = 10000 }
"#;
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "ship", 1).await;
    let letter = &server.api().dead_letters("trigger=ship").await[0];
    assert_eq!((&letter["reason"], &letter["class"]), (&json!("max_age"), &json!("failed")));
    assert!(letter["attempts"].as_u64() > Some(2), "{letter}");
}

#[tokio::test]
async fn a_redrive_after_the_fix_delivers_the_same_event_again() {
    let receiver = Receiver::with(always(Reply::Status(400))).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    let api = server.api();
    let batch: Vec<Value> = (0..5).map(|n| event(&n.to_string(), "order.created")).collect();
    api.publish_all("orders", &batch).await;
    at_rest(api, "ship", 5).await;
    assert_eq!(api.dead_letters("trigger=ship").await.len(), 5);

    receiver.set(accept);
    let redrive = async |request: Value| {
        let result = api.post("/v1/dead-letters/redrive", &request).await.expect_status(200).json();
        let of = |name: &str| result[name].as_u64().unwrap();
        (of("selected"), of("done"), of("failed"))
    };
    assert_eq!(redrive(json!({ "trigger": "ship", "dry_run": true })).await, (5, 0, 0));
    assert_eq!(receiver.count(), 5);
    assert_eq!(redrive(json!({ "trigger": "ship", "event_id": "3" })).await, (1, 1, 0));
    let again = eventually("event 3 to come again", async || receiver.received_of("3").get(1).cloned()).await;
    assert_eq!(again.header("webhook-id"), receiver.received_of("3")[0].header("webhook-id"));
    assert_eq!((again.header("eventail-topic"), again.header("eventail-offset")), ("orders", "3"));

    assert_eq!(redrive(json!({ "trigger": "ship", "per_second": 1000 })).await, (4, 4, 0));
    receiver.wait_for(10).await;
    eventually("nothing to be left", async || {
        api.dead_letters("trigger=ship").await.is_empty().then_some(())
    })
    .await;
    let redriven = api.dead_letters("trigger=ship&include_redriven=true").await;
    assert_eq!(redriven.len(), 5);
    assert!(redriven.iter().all(|letter| letter["redriven"] == 1), "{redriven:?}");
    assert_eq!(redrive(json!({ "trigger": "ship" })).await, (0, 0, 0));
}

#[tokio::test]
async fn a_purge_takes_only_what_was_chosen() {
    let receiver = Receiver::with(refuse_bad).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "bad.poison")).await;
    api.publish("orders", &event("2", "bad.permanent")).await;
    let status = at_rest(api, "ship", 2).await;
    assert_eq!(count(&status, "dead_lettered"), 2);
    let purge = async |request: Value| {
        api.post("/v1/dead-letters/purge", &request).await.expect_status(200).json()["done"].as_u64().unwrap()
    };
    assert_eq!(purge(json!({ "reason": "permanent", "dry_run": true })).await, 0);
    assert_eq!(purge(json!({ "reason": "permanent" })).await, 1);
    let left: Vec<Value> = api
        .dead_letters("trigger=ship")
        .await
        .into_iter()
        .filter(|letter| letter["purged"] == false)
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["event_id"], "1");
    let unchanged = api.trigger("ship").await;
    assert_eq!(count(&unchanged, "dead_lettered"), 2);
}
