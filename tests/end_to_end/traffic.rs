//! What holds events back, and where they go when the target is a topic: rate limits, business keys, `expirytime`, routing. With the
//! real binary.

use eventail_tests::events::{event, with_data};
use eventail_tests::script::always;
use eventail_tests::{Api, Home, Receiver, Reply, Server, until};
use eventail_wire::Timestamp;
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger, trigger_until};

/// A rate that brings no second token while a test runs.
const SLOW: &str = "per_second = 0.0001";

#[tokio::test]
async fn a_burst_goes_at_once_and_the_rest_waits_without_attempts() {
    let receiver = Receiver::start().await;
    let keys = format!("rate_limit = {{ {SLOW}, burst = 3 }}");
    let home = Home::new(&trigger("ship", &receiver.url("/"), &keys));
    let server = home.start().await;
    let api = server.api();
    let events: Vec<Value> = (1..=8).map(|n| event(&n.to_string(), "order.created")).collect();
    api.publish_all("orders", &events).await;
    let waits = |status: &Value| !status["rate_limited"].is_null() && count(status, "delivered") == 3;
    let status = trigger_until(api, "ship", "the rate limit to hold", waits).await;
    assert_eq!(status["rate_limited"]["limit"], "trigger ship");
    assert_eq!(
        (count(&status, "pending"), &status["in_flight"], &status["retrying"]),
        (5, &json!(0), &json!(0))
    );
    let ids: Vec<String> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids.len(), 3);
    let metrics = api.get("/metrics").await.text();
    assert!(metrics.contains("eventail_trigger_rate_limited{trigger=\"ship\"} 1"), "{metrics}");
    assert!(metrics.contains("eventail_trigger_rate_limit_waits_total{trigger=\"ship\"} 1"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn tokens_that_come_let_the_rest_go_in_order() {
    let receiver = Receiver::start().await;
    let keys = "concurrency = 1\nrate_limit = { per_second = 50, burst = 1 }";
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    let events: Vec<Value> = (1..=6).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &events).await;
    let status = at_rest(server.api(), "ship", 6).await;
    assert_eq!(count(&status, "delivered"), 6);
    let received = receiver.received();
    let ids: Vec<&str> = received.iter().map(|request| request.id()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6"]);
    assert!(received.iter().all(|request| request.nth == 1));
}

#[tokio::test]
async fn triggers_of_one_host_share_its_limit() {
    let receiver = Receiver::start().await;
    let address = receiver.url("/").replace("http://", "").replace('/', "");
    let home = Home::new(&format!(
        "[hosts.\"{address}\"]\nrate_limit = {{ {SLOW}, burst = 3 }}\n{}{}",
        trigger("one", &receiver.url("/one"), ""),
        trigger("two", &receiver.url("/two"), "")
    ));
    let server = home.start().await;
    let api = server.api();
    let events: Vec<Value> = (1..=4).map(|n| event(&n.to_string(), "order.created")).collect();
    api.publish_all("orders", &events).await;
    for name in ["one", "two"] {
        let waits = |status: &Value| status["rate_limited"]["limit"] == format!("host {address}");
        trigger_until(api, name, "the host's limit to hold", waits).await;
    }
    let delivered = async || {
        let (one, two) = (api.trigger("one").await, api.trigger("two").await);
        count(&one, "delivered") + count(&two, "delivered")
    };
    until("three calls in all", |delivered| *delivered == 3, delivered).await;
    assert_eq!(receiver.count(), 3);
}

fn order(id: &str, number: u32) -> Value {
    with_data(id, "order.created", json!({ "order": number }))
}

#[tokio::test]
async fn repeats_by_business_key_stay_out_after_a_kill_9_too() {
    let receiver = Receiver::start().await;
    let keys = "dedup = { key = \"$.data.order\", window = \"1h\" }";
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    server.api().publish_all("orders", &[order("1", 7), order("2", 7), order("3", 8)]).await;
    let status = at_rest(server.api(), "ship", 3).await;
    assert_eq!((count(&status, "delivered"), count(&status, "deduplicated")), (2, 1));
    server.stop().await;

    let server = home.start().await;
    server.api().publish("orders", &order("4", 8)).await;
    let status = at_rest(server.api(), "ship", 4).await;
    assert_eq!((count(&status, "delivered"), count(&status, "deduplicated")), (2, 2));
    server.api().publish("orders", &order("5", 9)).await;
    at_rest(server.api(), "ship", 5).await;
    server.kill_9().await;

    let server = home.start().await;
    let api = server.api();
    api.publish_all("orders", &[order("6", 7), order("7", 9), event("8", "order.created")]).await;
    let status = until(
        "all eight to be settled",
        |status: &Value| count(status, "pending") == 0 && status["scanned"] == 8,
        async || api.trigger("ship").await,
    )
    .await;
    assert_eq!(status["dedup"]["evicted"], 0, "{status}");
    let ids: Vec<String> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids.iter().filter(|id| ["6", "7", "2", "4"].contains(&id.as_str())).count(), 0, "{ids:?}");
    assert!(ids.iter().any(|id| id == "8"), "what has no key is delivered: {ids:?}");
}

#[tokio::test]
async fn expired_events_are_counted_and_never_sent_and_an_unreadable_time_is_refused() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    let api = server.api();
    let mut late = event("1", "order.created");
    late["expirytime"] = "2001-01-01T00:00:00Z".into();
    let mut timely = event("2", "order.created");
    timely["expirytime"] = "2999-01-01T00:00:00Z".into();
    api.publish_all("orders", &[late, timely]).await;
    let status = at_rest(api, "ship", 2).await;
    assert_eq!((count(&status, "expired"), count(&status, "delivered")), (1, 1));
    assert_eq!(receiver.received()[0].id(), "2");
    let mut bad = event("3", "order.created");
    bad["expirytime"] = "tomorrow".into();
    let headers = [("content-type", "application/cloudevents+json")];
    let refused =
        api.request(http::Method::POST, "/v1/topics/orders/events", &headers, bad.to_string().into()).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("expirytime"), "{}", refused.text());
}

#[tokio::test]
async fn an_event_expires_while_it_waits_for_its_retry() {
    let receiver = Receiver::with(always(Reply::Status(500))).await;
    let keys = "retry = { backoff_initial = \"1h\", backoff_max = \"2h\" }";
    let home = Home::new(&trigger("ship", &receiver.url("/"), keys));
    let server = home.start().await;
    let mut short = event("1", "order.created");
    short["expirytime"] = from_now(server.api(), 3_000).await.into();
    server.api().publish("orders", &short).await;
    let status = at_rest(server.api(), "ship", 1).await;
    assert_eq!((count(&status, "expired"), receiver.count()), (1, 1), "{status}");
}

/// A time from now by the broker's clock, as text.
async fn from_now(api: Api, ms: u64) -> String {
    api.publish("clock", &event("tick", "tick")).await;
    let page = page_of(api, "clock").await;
    let now = page.last().and_then(|stored| Timestamp::parse_rfc3339(stored["appended_at"].as_str()?));
    now.unwrap_or_else(|| panic!("no time in {page:?}")).plus_ms(ms).to_string()
}

fn route(name: &str, from: &str, to: &str) -> String {
    format!(
        "[triggers.{name}]\ntopic = \"{from}\"\nstart = \"earliest\"\n{QUICK}\n[triggers.{name}.target]\ntopic = \"{to}\"\n"
    )
}

async fn page_of(api: Api, topic: &str) -> Vec<Value> {
    let answer = api.get(&format!("/v1/topics/{topic}/events?from=earliest&limit=1000")).await;
    let page = if answer.status == 200 { answer.json() } else { json!({ "events": [] }) };
    page["events"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn an_event_is_routed_from_topic_to_topic_and_stays_in_its_story() {
    let receiver = Receiver::start().await;
    let home = Home::new(&format!(
        "{}{}[triggers.end]\ntopic = \"c\"\nstart = \"earliest\"\ntarget.http.url = \"{}\"\n",
        route("ab", "a", "b"),
        route("bc", "b", "c"),
        receiver.url("/")
    ));
    let server = home.start().await;
    server.api().publish("a", &order("o-1", 7)).await;
    let received = receiver.wait_for(1).await;
    let last = &received[0];
    assert_eq!(last.header("ce-correlationid"), "o-1");
    assert_eq!(last.header("ce-type"), "order.created");
    assert!(last.header("ce-causationid").starts_with("evt_"), "the event of topic b");
    let data: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(data, json!({ "order": 7 }));
    assert_eq!(server.api().trigger("ab").await["target"], "topic b");
}

#[tokio::test]
async fn a_loop_of_topics_ends_with_the_hops() {
    let home =
        Home::new(&format!("[limits]\nhops_max = 5\n{}{}", route("ab", "a", "b"), route("ba", "b", "a")));
    let server = home.start().await;
    let api = server.api();
    api.publish("a", &event("1", "order.created")).await;
    let letters = until(
        "the loop to be broken",
        |count: &usize| *count > 0,
        async || api.dead_letters("reason=hop_limit").await.len(),
    );
    assert_eq!(letters.await, 1);
    let events = page_of(api, "a").await.len() + page_of(api, "b").await.len();
    assert_eq!(events, 6, "the first event and five hops");
}

/// Kills it as soon as something was routed, when some of the settlements are still to be written.
async fn kill_when_routed(server: Server, at_least: usize) {
    let api = server.api();
    until("events in the topic", |count: &usize| *count >= at_least, async || page_of(api, "b").await.len())
        .await;
    server.kill_9().await;
}

#[tokio::test]
async fn a_kill_9_between_append_and_settlement_adds_no_second_event() {
    let home = Home::new(&route("ab", "a", "b"));
    let mut server = home.start().await;
    let mut published = 0;
    for round in 0..4 {
        let events: Vec<Value> = (0..50).map(|n| event(&format!("{round}-{n}"), "order.created")).collect();
        server.api().publish_all("a", &events).await;
        let before = published;
        published += events.len();
        kill_when_routed(server, before + 1).await;
        server = home.start().await;
        let api = server.api();
        until(
            "all to be routed",
            |count: &usize| *count >= published,
            async || page_of(api, "b").await.len(),
        )
        .await;
    }
    let api = server.api();
    trigger_until(api, "ab", "it to be at rest", |status| {
        count(status, "pending") == 0 && status["lag"] == 0
    })
    .await;
    let events = page_of(api, "b").await;
    let causes: std::collections::BTreeSet<String> =
        events.iter().map(|stored| stored["event"]["causationid"].to_string()).collect();
    assert_eq!((events.len(), causes.len()), (published, published), "each once");
}
