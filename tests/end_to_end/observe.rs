//! What an operator sees: correlation ids everywhere, metrics whose sums are right, an API that is described.

use std::collections::BTreeMap;

use eventail_tests::events::event;
use eventail_tests::{Api, Home, Received, Receiver, Reply};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger};

fn mixed(request: &Received) -> Reply {
    match request.header("ce-type") {
        "bad" => Reply::Text(400, "no".to_owned()),
        "slow" if request.nth == 1 => Reply::Status(503),
        _ => Reply::Status(200),
    }
}

/// The samples of one metric by the value of a label.
fn samples(text: &str, metric: &str, label: &str) -> BTreeMap<String, f64> {
    let parse = |line: &str| {
        let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.split_once('}')?;
        let of = labels.split(',').find_map(|pair| pair.strip_prefix(&format!("{label}=\"")))?;
        Some((of.trim_end_matches('"').to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

async fn account(api: Api, trigger: &str) -> [f64; 5] {
    let text = api.get("/metrics").await.expect_status(200).text();
    [
        "matched_events_total",
        "delivered_events_total",
        "dead_lettered_events_total",
        "expired_events_total",
        "pending_events",
    ]
    .map(|name| {
        let metric = format!("eventail_trigger_{name}");
        samples(&text, &metric, "trigger")
            .get(trigger)
            .copied()
            .unwrap_or_else(|| panic!("no {metric} of {trigger} in:\n{text}"))
    })
}

#[tokio::test]
async fn the_metrics_of_each_trigger_add_up_also_after_a_restart() {
    let receiver = Receiver::with(mixed).await;
    let home = Home::new(&format!(
        "{}{}",
        trigger("all", &receiver.url("/all"), QUICK),
        trigger(
            "some",
            &receiver.url("/some"),
            &format!("pattern = {{ type = [\"slow\", \"bad\"] }}\n{QUICK}")
        )
    ));
    let server = home.start().await;
    let batch: Vec<Value> = (0..30).map(|n| event(&n.to_string(), ["good", "slow", "bad"][n % 3])).collect();
    server.api().publish_all("orders", &batch).await;
    at_rest(server.api(), "all", 30).await;
    at_rest(server.api(), "some", 20).await;
    assert_eq!(account(server.api(), "all").await, [30.0, 20.0, 10.0, 0.0, 0.0]);
    assert_eq!(account(server.api(), "some").await, [20.0, 10.0, 10.0, 0.0, 0.0]);
    let text = server.api().get("/metrics").await.text();
    assert_eq!(samples(&text, "eventail_published_events_total", "topic")["orders"], 30.0);
    server.kill_9().await;

    let server = home.start().await;
    at_rest(server.api(), "all", 30).await;
    assert_eq!(account(server.api(), "all").await, [30.0, 20.0, 10.0, 0.0, 0.0]);
}

#[tokio::test]
async fn one_correlation_id_ties_headers_logs_and_dead_letters() {
    let receiver = Receiver::with(mixed).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK)).environment("EVENTAIL_LOG", "trace");
    let server = home.start().await;
    let mut tied = event("o-1", "bad");
    tied["correlationid"] = "story-42".into();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    tied["traceparent"] = parent.into();
    server.api().publish("orders", &tied).await;
    at_rest(server.api(), "ship", 1).await;
    let request = &receiver.received()[0];
    assert_eq!(request.header("ce-correlationid"), "story-42");
    assert!(
        request.header("traceparent").contains("0af7651916cd43dd8448eb211c80319c"),
        "{:?}",
        request.headers
    );
    assert_eq!(server.api().dead_letters("trigger=ship").await[0]["correlation_id"], "story-42");
    let log = server.log_text();
    let about: Vec<&str> = log.lines().filter(|line| line.contains("o-1")).collect();
    assert!(!about.is_empty(), "no line about the event in:\n{log}");
    for line in about {
        assert!(line.contains("story-42"), "a line about the event without its correlation id: {line}");
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[tokio::test]
async fn health_readiness_and_the_description_of_the_api_are_there() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    assert_eq!(api.get("/healthz").await.status, 200);
    assert_eq!(api.get_json("/readyz").await["ready"], true);
    let description = api.get_json("/openapi.json").await;
    let paths = description["paths"].as_object().unwrap();
    for path in
        ["/v1/topics/{topic}/events", "/v1/triggers/{trigger}", "/v1/dead-letters/redrive", "/metrics"]
    {
        assert!(paths.contains_key(path), "no {path} among {:?}", paths.keys().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_retention_takes_from_a_paused_trigger_is_counted() {
    let receiver = Receiver::start().await;
    let keys = "[topics.orders]\nsegment_bytes = \"1MiB\"\nretention_bytes = \"2MiB\"\n";
    let home = Home::new(&format!("{keys}{}", trigger("ship", &receiver.url("/"), "")));
    let server = home.start().await;
    let api = server.api();
    api.post("/v1/triggers/ship/pause", &json!({ "reason": "test" })).await.expect_status(200);
    let filler = "x".repeat(100_000);
    for n in 0..80 {
        let large = eventail_tests::events::with_data(&n.to_string(), "t", filler.clone().into());
        api.publish("orders", &large).await;
    }
    let topic = eventail_tests::eventually("retention to take segments", async || {
        Some(api.get_json("/v1/topics/orders").await).filter(|topic| topic["start"].as_u64() > Some(0))
    })
    .await;
    let start = topic["start"].as_u64().unwrap();
    server.stop().await;

    // What a broker still holds in memory it delivers all the same; a new one has only what is kept.
    let server = home.start().await;
    let api = server.api();
    api.post("/v1/triggers/ship/resume", &json!({})).await.expect_status(200);
    let status = crate::support::trigger_until(api, "ship", "the rest to be delivered", |status| {
        status["lag"] == 0 && count(status, "pending") == 0
    })
    .await;
    crate::support::assert_complete(&status);
    let start = start.max(api.get_json("/v1/topics/orders").await["start"].as_u64().unwrap());
    // Those that it had matched already are expired, the others lost before they were read.
    let (lost, expired) = (status["lost"].as_u64().unwrap(), count(&status, "expired"));
    assert_eq!((lost + expired, count(&status, "delivered")), (start, 80 - start), "{status}");
    let text = api.get("/metrics").await.text();
    for (metric, value) in [("lost", lost), ("expired", expired)] {
        let metric = format!("eventail_trigger_{metric}_events_total");
        assert_eq!(samples(&text, &metric, "trigger").get("ship"), Some(&(value as f64)), "{metric}");
    }
    let log = home.log_text();
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains("\"trigger\":\"ship\""));
    assert!(warned, "nobody was told:\n{log}");
}
