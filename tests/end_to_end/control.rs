//! Pause, resume and skip: what an operator does, and that it outlives a restart.

use eventail_tests::events::event;
use eventail_tests::{Home, Receiver};
use serde_json::{Value, json};

use crate::support::{at_rest, count, trigger};

fn batch(range: std::ops::Range<u32>) -> Vec<Value> {
    range.map(|n| event(&n.to_string(), "order.created")).collect()
}

#[tokio::test]
async fn a_paused_trigger_stays_paused_over_a_restart_and_goes_on_where_it_was() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    server.api().publish_all("orders", &batch(0..3)).await;
    at_rest(server.api(), "ship", 3).await;
    let reason = json!({ "reason": "the shop is closed" });
    server.api().post("/v1/triggers/ship/pause", &reason).await.expect_status(200);
    server.api().publish_all("orders", &batch(3..8)).await;
    server.stop().await;

    let server = home.start().await;
    let api = server.api();
    let status = api.trigger("ship").await;
    assert_eq!((&status["state"], &status["reason"]), (&json!("paused"), &json!("the shop is closed")));
    assert_eq!((status["cursor"].as_u64(), status["lag"].as_u64()), (Some(3), Some(5)), "{status}");
    assert_eq!(receiver.count(), 3);
    api.post("/v1/triggers/ship/resume", &json!({})).await.expect_status(200);
    let status = at_rest(api, "ship", 8).await;
    assert_eq!((count(&status, "delivered"), &status["state"]), (8, &json!("running")));
    assert_eq!(receiver.count(), 8);
}

#[tokio::test]
async fn what_is_skipped_is_counted_and_never_delivered() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    let api = server.api();
    api.post("/v1/triggers/ship/pause", &json!({ "reason": "test" })).await.expect_status(200);
    api.publish_all("orders", &batch(0..10)).await;
    api.post("/v1/triggers/ship/skip-to", &json!({ "offset": 6 })).await.expect_status(200);
    api.post("/v1/triggers/ship/resume", &json!({})).await.expect_status(200);
    let requests = receiver.wait_for(4).await;
    let mut offsets: Vec<&str> = requests.iter().map(|request| request.header("eventail-offset")).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, ["6", "7", "8", "9"]);
    let status = crate::support::trigger_until(api, "ship", "four delivered", |status| {
        count(status, "delivered") == 4 && count(status, "pending") == 0
    })
    .await;
    crate::support::assert_complete(&status);
    api.post("/v1/triggers/ship/skip-to", &json!({ "latest": true })).await.expect_status(200);
    assert_eq!(api.trigger("ship").await["cursor"], 10);
}

#[tokio::test]
async fn what_does_not_exist_is_said_by_name() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    let answer = api.post("/v1/triggers/nobody/pause", &json!({ "reason": "x" })).await.expect_status(404);
    assert_eq!(answer.code(), "unknown_trigger");
    assert!(answer.text().contains("nobody"), "{}", answer.text());
    assert_eq!(api.get("/v1/triggers/nobody").await.expect_status(404).code(), "unknown_trigger");
    assert_eq!(api.get("/v1/topics/nothing").await.expect_status(404).code(), "unknown_topic");
    assert_eq!(api.get("/v1/dead-letters/dead-letters/9").await.expect_status(404).status, 404);
}
