//! The start, the end and what lies between them: drain, restart, and what survives.

use std::time::{Duration, Instant};

use eventail_tests::events::event;
use eventail_tests::script::{always, first};
use eventail_tests::{Home, Receiver, Reply};
use serde_json::Value;

use crate::support::{at_rest, count, trigger, trigger_until};

#[tokio::test]
async fn a_stop_lets_attempts_end_and_repeats_none_of_them() {
    let slow = Reply::After(Duration::from_millis(700), Box::new(Reply::Status(204)));
    let receiver = Receiver::with(always(slow)).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), "concurrency = 2"));
    let server = home.start().await;
    let batch: Vec<Value> = (0..2).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
    receiver.wait_for(2).await;
    server.stop().await;

    let server = home.start().await;
    let status = at_rest(server.api(), "ship", 2).await;
    assert_eq!((count(&status, "delivered"), receiver.count()), (2, 2));
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_drain_time() {
    let receiver = Receiver::with(first(vec![Reply::Hang])).await;
    let home = Home::with_keys("drain = \"300ms\"", &trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    receiver.wait_for(1).await;
    let begun = Instant::now();
    server.stop().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");

    // What was handed back is delivered by the next one, and the attempt did not count.
    let server = home.start().await;
    let status = at_rest(server.api(), "ship", 1).await;
    assert_eq!(count(&status, "delivered"), 1);
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let receiver = Receiver::with(always(Reply::Hang)).await;
    let home = Home::with_keys("drain = \"60s\"", &trigger("ship", &receiver.url("/"), "timeout = \"60s\""));
    let mut server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    receiver.wait_for(1).await;
    server.terminate();
    let api = server.api();
    eventail_tests::eventually("the first signal to be seen", async || {
        let answer = api.send(http::Request::get("/readyz").body(Default::default()).unwrap()).await;
        answer.map_or(true, |answer| answer.status != 200).then_some(())
    })
    .await;
    let begun = Instant::now();
    server.terminate();
    server.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn attempts_and_due_times_survive_a_kill() {
    let replies = vec![Reply::Status(500), Reply::RetryAfter(500, 3)];
    let receiver = Receiver::with(first(replies)).await;
    let keys = r#"
retry = { max_attempts = 5, backoff_initial = "10ms", backoff_max = "20ms" }
breaker = { failures = 1000 }
"#;
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    receiver.wait_for(2).await;
    let before =
        trigger_until(server.api(), "ship", "the event to wait", |status| status["retrying"] == 1).await;
    assert_eq!(before["last_failure"]["status"], 500, "{before}");
    server.kill_9().await;

    let server = home.start().await;
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[2].header("eventail-attempt"), "3");
    let waited = requests[2].at - requests[1].at;
    assert!(waited >= Duration::from_millis(2_990), "asked to wait 3 s, waited {waited:?} over the restart");
    assert_eq!(requests[2].header("webhook-id"), requests[0].header("webhook-id"));
    assert_eq!(count(&at_rest(server.api(), "ship", 1).await, "delivered"), 1);
}

#[tokio::test]
async fn a_data_folder_serves_one_broker_at_a_time() {
    let home = Home::new("");
    let server = home.start().await;
    let config = home.path().join("eventail.toml").display().to_string();
    let second = home.command(&["serve", "--config", &config]).output().await.unwrap();
    assert!(!second.status.success());
    let said =
        String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains("data"), "{said}");
    server.api().publish("orders", &event("1", "order.created")).await;
    server.stop().await;
}
