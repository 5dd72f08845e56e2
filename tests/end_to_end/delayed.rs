//! Events that are held until their time, through every door: HTTP, the client library, the command line.

use std::time::Duration;

use bytes::Bytes;
use eventail_client::PublisherOptions;
use eventail_tests::events::{event, wire_event};
use eventail_tests::{Api, Home, Receiver, until};
use http::Method;
use serde_json::{Value, json};

use crate::cli::{done, run};
use crate::support::{at_rest, trigger};

/// Publishes in binary mode with these headers more; answers the one result.
async fn publish(api: Api, id: &str, query: &str, headers: &[(&str, &str)]) -> Value {
    let mut all = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", "/tests"),
        ("ce-type", "order.created"),
        ("content-type", "application/json"),
    ];
    all.extend_from_slice(headers);
    let path = format!("/v1/topics/orders/events{query}");
    let answer = api.request(Method::POST, &path, &all, Bytes::from_static(b"{}")).await;
    answer.expect_status(200).json()["results"][0].clone()
}

async fn shown(api: Api, held: &Value) -> Value {
    api.get_json(&format!("/v1/delayed/{held}")).await
}

/// Waits until nothing is held; answers what is in the topic.
async fn released(api: Api, count: usize) -> Vec<Value> {
    let is_there = |page: &Value| page["events"].as_array().is_some_and(|events| events.len() == count);
    let page =
        until("the events to be released", is_there, async || api.get_json("/v1/topics/orders/events").await)
            .await;
    page["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_delayed_event_is_delivered_by_its_trigger_when_its_time_has_come() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    let placed = publish(server.api(), "1", "", &[("ce-deliverafter", "300ms")]).await;
    assert!(placed["held"].is_u64() && placed["deliver_at"].is_string(), "{placed}");
    assert_eq!(placed["duplicate"], false);
    at_rest(server.api(), "ship", 1).await;
    let stored = &released(server.api(), 1).await[0];
    assert_eq!(stored["event"]["deliverat"], placed["deliver_at"]);
    assert!(stored["appended_at"].as_str() >= placed["deliver_at"].as_str(), "{stored}");
    let shown = shown(server.api(), &placed["held"]).await;
    assert_eq!((&shown["state"], &shown["offset"]), (&json!("released"), &json!(0)));
    let metrics = server.api().get("/metrics").await.text();
    assert!(metrics.contains("eventail_delayed_released_events_total 1"), "{metrics}");
    assert!(metrics.contains("eventail_delayed_pending_events 0"), "{metrics}");
}

#[tokio::test]
async fn what_is_held_is_listed_found_and_cancelled_over_http() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    let far = "2100-01-01T00:00:00Z";
    let refused = api
        .request(
            Method::POST,
            &format!("/v1/topics/orders/events?type=t&source=/s&deliver_at={far}"),
            &[("content-type", "text/plain")],
            Bytes::from_static(b"x"),
        )
        .await
        .expect_status(400);
    assert_eq!(refused.code(), "delay_too_long");
    let soon = publish(api, "soon", "?delay=1h", &[]).await;
    let later = publish(api, "later", "?delay=7d", &[]).await;
    let again = publish(api, "soon", "?delay=2h", &[]).await;
    assert_eq!((&again["held"], &again["duplicate"]), (&soon["held"], &json!(true)));
    assert_eq!(again["deliver_at"], soon["deliver_at"]);

    let page = api.get_json("/v1/delayed?limit=1").await;
    assert_eq!(page["delayed"][0]["event_id"], "soon");
    let next = page["next"].as_str().unwrap();
    let page = api.get_json(&format!("/v1/delayed?after={next}")).await;
    assert_eq!((&page["delayed"][0]["event_id"], &page["next"]), (&json!("later"), &Value::Null));
    let until = soon["deliver_at"].as_str().unwrap();
    assert_eq!(api.get_json(&format!("/v1/delayed?until={until}")).await["delayed"], json!([]));
    let found = api.get_json("/v1/events/later").await;
    assert_eq!((&found["places"], &found["held"][0]["id"]), (&json!([]), &later["held"]));
    assert_eq!(shown(api, &later["held"]).await["event"]["id"], "later");

    let path = format!("/v1/delayed/{}", later["held"]);
    let cancelled = api.request(Method::DELETE, &path, &[], Bytes::new()).await.expect_status(200);
    assert_eq!(cancelled.json()["state"], "cancelled");
    assert_eq!(api.get("/v1/events/later").await.expect_status(404).code(), "unknown_event");
    for (path, status) in [("/v1/delayed/77", 404), ("/v1/delayed/x", 400), ("/v1/delayed?untill=1", 400)] {
        api.get(path).await.expect_status(status);
    }
    let both = "/v1/topics/orders/events?type=t&source=/s&delay=1s&deliver_at=2026-11-23T10:00:00Z";
    api.request(Method::POST, both, &[], Bytes::new()).await.expect_status(400);
    let bad = event("bad", "t");
    let mut bad = bad.as_object().unwrap().clone();
    bad.insert("deliverat".to_owned(), json!("tomorrow"));
    let headers = [("content-type", "application/cloudevents+json")];
    let body = Bytes::from(Value::Object(bad).to_string());
    let refused = api.request(Method::POST, "/v1/topics/orders/events", &headers, body).await;
    assert_eq!(refused.expect_status(400).code(), "invalid_event");
}

#[tokio::test]
async fn a_kill_loses_nothing_that_is_held() {
    let home = Home::new("");
    let server = home.start().await;
    let client = server.client().await;
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    let delayed = |id: &str, delay| wire_event(id, "t").to_builder().deliver_after(delay).build().unwrap();
    let batch = vec![
        wire_event("now", "t"),
        delayed("soon", Duration::from_millis(1)),
        delayed("later", Duration::from_secs(4)),
        delayed("much-later", Duration::from_hours(24)),
    ];
    let acks = publisher.publish_batch(batch).await.unwrap().await.unwrap();
    assert_eq!(acks[0].offset().map(|at| at.0), Some(0));
    let held: Vec<_> = acks.iter().filter_map(|ack| ack.held()).collect();
    assert_eq!(held.len(), 3, "{acks:?}");
    server.kill_9().await;
    std::fs::remove_dir_all(home.data().join("index")).unwrap();
    let server = home.start().await;
    let ids: Vec<String> = released(server.api(), 3)
        .await
        .iter()
        .map(|stored| stored["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["now", "soon", "later"]);
    let page = server.api().get_json("/v1/delayed").await;
    assert_eq!(page["delayed"][0]["id"], json!(held[2]), "{page}");
}

#[tokio::test]
async fn the_command_line_delays_lists_shows_and_cancels() {
    let home = Home::new("");
    let server = home.start().await;
    let run = async |arguments: &[&str], input: &str| run(&home, &server, arguments, input).await;
    assert!(done(run(&["delayed"], "").await).contains("No event is held."));
    let publish = ["publish", "orders", "--type", "order.reminder", "--id", "r-1", "--delay", "15m"];
    let said = done(run(&publish, "{}").await);
    assert!(said.contains("; held as 0 until "), "{said}");
    let lines = format!("{}\n{}\n", event("l-1", "t"), event("l-2", "t"));
    let later = ["publish", "orders", "--ndjson", "--delay", "1d", "-o", "json"];
    let tally: Value = serde_json::from_str(&done(run(&later, &lines).await)).unwrap();
    assert_eq!((&tally["held"], &tally["first_held"]), (&json!(2), &json!(1)));
    let listed = done(run(&["delayed", "list", "--topic", "orders"], "").await);
    assert!(listed.contains("r-1") && listed.contains("l-2"), "{listed}");
    let json: Value = serde_json::from_str(&done(run(&["delayed", "-o", "json"], "").await)).unwrap();
    assert_eq!(json["delayed"].as_array().unwrap().len(), 3);
    let shown = done(run(&["delayed", "show", "0"], "").await);
    assert!(shown.contains("order.reminder") && shown.contains("held"), "{shown}");
    let said = done(run(&["delayed", "cancel", "0"], "").await);
    assert!(said.contains("cancelled 0: event r-1 will not be delivered to orders"), "{said}");
    let (code, _, errors) = run(&["delayed", "show", "99"], "").await;
    assert_eq!(code, 1, "{errors}");
    let both = ["publish", "orders", "--type", "t", "--delay", "1s", "--deliver-at", "2026-11-23T10:00:00Z"];
    assert_eq!(run(&both, "{}").await.0, 2);
    let too_far = ["publish", "orders", "--type", "t", "--delay", "367d"];
    let (code, _, errors) = run(&too_far, "{}").await;
    assert!(code == 4 && errors.contains("366 days"), "{errors}");
}
