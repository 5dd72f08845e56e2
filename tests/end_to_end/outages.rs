//! Three budgets: throttles and outages cost no attempt; only an event that fails while others pass burns its own.

use std::time::Duration;

use eventail_tests::events::{event, keyed};
use eventail_tests::script::{accept, always, first};
use eventail_tests::{Home, Received, Receiver, Reply};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger, trigger_until};

/// An outage is recognised after three failures, and probed soon again.
const BREAKER: &str = r#"
retry = { max_attempts = 2, backoff_initial = "10ms", backoff_max = "50ms" }
breaker = { failures = 3, open = "50ms", open_max = "200ms" }
"#;

fn events(count: usize) -> Vec<Value> {
    (0..count).map(|n| event(&n.to_string(), "order.created")).collect()
}

#[tokio::test]
async fn a_throttled_delivery_waits_as_asked_and_costs_no_attempt() {
    let replies = vec![Reply::RetryAfter(429, 1), Reply::RetryAfter(503, 1), Reply::Status(429)];
    let receiver = Receiver::with(first(replies)).await;
    let keys = "retry = { max_attempts = 1, backoff_initial = \"10ms\" }";
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let requests = receiver.wait_for(4).await;
    for pair in requests[..3].windows(2) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_millis(990), "asked to wait 1 s, waited {waited:?}");
    }
    assert!(requests.iter().all(|request| request.header("eventail-attempt") == "1"));
    let status = at_rest(server.api(), "ship", 1).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (1, 0));
}

#[tokio::test]
async fn while_nobody_answers_the_cursor_waits_and_nothing_is_dead_lettered() {
    let receiver = Receiver::start().await;
    receiver.go_down().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), BREAKER));
    let server = home.start().await;
    let api = server.api();
    api.publish_all("orders", &events(20)).await;
    let open = trigger_until(api, "ship", "the breaker to open", |status| status["breaker"] == "open").await;
    assert_eq!((open["cursor"].as_u64(), count(&open, "dead_lettered")), (Some(0), 0), "{open}");
    assert_eq!((count(&open, "pending"), open["lag"].as_u64()), (20, Some(20)), "{open}");

    receiver.come_back().await;
    let status = at_rest(api, "ship", 20).await;
    assert_eq!((count(&status, "delivered"), &status["breaker"]), (20, &Value::from("closed")));
    assert!(receiver.received().iter().all(|request| request.header("eventail-attempt") == "1"));
    assert!(api.dead_letters("").await.is_empty());
}

#[tokio::test]
async fn when_every_event_fails_the_attempts_are_given_back() {
    let receiver = Receiver::with(always(Reply::Status(500))).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), BREAKER));
    let server = home.start().await;
    let api = server.api();
    api.publish_all("orders", &events(20)).await;
    trigger_until(api, "ship", "the breaker to open", |status| status["breaker"] == "open").await;
    // Several probes fail before the target recovers.
    let seen = receiver.count();
    receiver.wait_for(seen + 3).await;
    receiver.set(accept);
    let status = at_rest(api, "ship", 20).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (20, 0), "{status}");
}

#[tokio::test]
async fn a_poison_event_among_good_ones_burns_only_its_own_attempts() {
    let poison = |request: &Received| {
        if request.id() == "7" { Reply::Text(500, "boom".to_owned()) } else { Reply::Status(204) }
    };
    let receiver = Receiver::with(poison).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    server.api().publish_all("orders", &events(20)).await;
    let status = at_rest(server.api(), "ship", 20).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (19, 1));
    let attempts: Vec<String> = receiver
        .received_of("7")
        .iter()
        .map(|request| request.header("eventail-attempt").to_owned())
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert_eq!(receiver.count(), 22);
}

#[tokio::test]
async fn gone_disables_the_trigger_until_it_is_resumed() {
    let receiver = Receiver::with(always(Reply::Text(410, "moved out".to_owned()))).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), &format!("concurrency = 1\n{QUICK}")));
    let server = home.start().await;
    let api = server.api();
    api.publish_all("orders", &events(3)).await;
    // The trigger is disabled at once; the dead letter is synced after that.
    let disabled = trigger_until(api, "ship", "the trigger to be disabled and its event buried", |status| {
        status["state"] == "disabled" && count(status, "dead_lettered") == 1
    })
    .await;
    assert!(disabled["reason"].as_str().is_some_and(|reason| reason.contains("410")), "{disabled}");
    assert_eq!(receiver.count(), 1);
    assert_eq!(api.dead_letters("trigger=ship").await.len(), 1);

    receiver.set(accept);
    api.post("/v1/triggers/ship/resume", &json!({})).await.expect_status(200);
    let status = at_rest(api, "ship", 3).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (2, 1));
}

#[tokio::test]
async fn a_failing_key_waits_alone_and_its_order_holds() {
    let stubborn = |request: &Received| {
        if request.id() == "a-0" && request.nth < 3 { Reply::Status(500) } else { Reply::Status(204) }
    };
    let receiver = Receiver::with(stubborn).await;
    let keys = r#"
ordering = "key"
key = "partitionkey"
retry = { max_attempts = 5, backoff_initial = "200ms", backoff_max = "400ms" }
breaker = { failures = 1000 }
"#;
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    let mut batch = Vec::new();
    for n in 0..5 {
        for key in ["a", "b", "c"] {
            batch.push(keyed(&format!("{key}-{n}"), "order.created", key));
        }
    }
    server.api().publish_all("orders", &batch).await;
    at_rest(server.api(), "ship", 15).await;
    let order: Vec<String> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    let of = |key: &str| order.iter().filter(|id| id.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(of("a"), ["a-0", "a-0", "a-0", "a-1", "a-2", "a-3", "a-4"]);
    for key in ["b", "c"] {
        let expected: Vec<String> = (0..5).map(|n| format!("{key}-{n}")).collect();
        assert_eq!(of(key), expected);
    }
    let place = |id: &str| order.iter().rposition(|there| there == id).unwrap();
    assert!(place("b-4") < place("a-0") && place("c-4") < place("a-0"), "{order:?}");
}
