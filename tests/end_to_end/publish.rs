//! Publishing by HTTP in every way, reading back, and what is recognised as a repeat.

use bytes::Bytes;
use eventail_tests::events::{event, with_data};
use eventail_tests::http::results;
use eventail_tests::{Answer, Api, Home};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/topics/orders/events";

async fn post(api: Api, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    api.request(Method::POST, path, headers, body.into()).await
}

async fn all(api: Api, topic: &str) -> Vec<Value> {
    let page = api.get_json(&format!("/v1/topics/{topic}/events?from=earliest&limit=1000")).await;
    page["events"].as_array().unwrap().iter().map(|stored| stored["event"].clone()).collect()
}

#[tokio::test]
async fn every_mode_is_taken_and_read_back_as_the_same_event() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "binary"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "caf%C3%A9"),
        ("content-type", "application/json"),
    ];
    post(api, PATH, &binary, r#"{"a": 1}"#).await.expect_status(200);
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let bytes = json!({
        "specversion": "1.0", "id": "structured", "source": "/s", "type": "t",
        "datacontenttype": "application/octet-stream", "data_base64": "AP8=", "flag": true, "count": 7,
    });
    post(api, PATH, &structured, bytes.to_string()).await.expect_status(200);
    let batched = [("content-type", "application/cloudevents-batch+json")];
    let batch = json!([event("batched-0", "t"), event("batched-1", "t")]);
    let answer = post(api, PATH, &batched, batch.to_string()).await.expect_status(200);
    assert_eq!(results(&answer), [(2, false), (3, false)]);
    let plain = format!("{PATH}?type=t&source=/s&id=plain&subject=x");
    post(api, &plain, &[("content-type", "text/plain")], "hello").await.expect_status(200);
    let made = format!("{PATH}?type=t&source=/s");
    post(api, &made, &[("content-type", "application/json")], "[1,2]").await.expect_status(200);

    let events = all(api, "orders").await;
    let ids: Vec<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids[..5], ["binary", "structured", "batched-0", "batched-1", "plain"]);
    assert!(!ids[5].is_empty(), "an id is made where none is given");
    assert_eq!((&events[0]["data"], &events[0]["subject"]), (&json!({ "a": 1 }), &json!("café")));
    assert_eq!(events[1]["data_base64"], "AP8=");
    assert_eq!((&events[1]["flag"], &events[1]["count"]), (&json!(true), &json!(7)));
    assert_eq!((&events[4]["data"], &events[4]["datacontenttype"]), (&json!("hello"), &json!("text/plain")));
    assert_eq!(events[5]["data"], json!([1, 2]));
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_offset_also_after_a_restart() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    assert_eq!(api.publish("orders", &event("1", "t")).await, (0, false));
    assert_eq!(api.publish("orders", &event("2", "t")).await, (1, false));
    assert_eq!(api.publish("orders", &with_data("1", "other", json!(9))).await, (0, true));
    let batch = [event("3", "t"), event("2", "t"), event("3", "t")];
    assert_eq!(api.publish_all("orders", &batch).await, [(2, false), (1, true), (2, true)]);
    // The same id from another source, or in another topic, is another event.
    let mut other = event("1", "t");
    other["source"] = "/other".into();
    assert_eq!(api.publish("orders", &other).await, (3, false));
    assert_eq!(api.publish("payments", &event("1", "t")).await, (0, false));
    server.kill_9().await;

    let server = home.start().await;
    let api = server.api();
    assert_eq!(api.publish("orders", &event("1", "t")).await, (0, true));
    assert_eq!(api.publish("orders", &event("4", "t")).await, (4, false));
    server.stop().await;
    let server = home.start().await;
    assert_eq!(server.api().publish("orders", &event("4", "t")).await, (4, true));
    assert_eq!(server.api().get_json("/v1/topics/orders").await["end"], 5);
}

#[tokio::test]
async fn a_window_that_is_over_or_off_takes_the_id_again() {
    let home = Home::new("[topics.short]\ndedup_window = \"1ms\"\n[topics.off]\ndedup_window = \"0s\"");
    let server = home.start().await;
    let api = server.api();
    for topic in ["short", "off"] {
        assert_eq!(api.publish(topic, &event("1", "t")).await, (0, false));
        let again = eventail_tests::eventually("the window to be over", async || {
            Some(api.publish(topic, &event("1", "t")).await).filter(|(_, duplicate)| !duplicate)
        })
        .await;
        assert_eq!(again, (1, false), "{topic}");
    }
}

#[tokio::test]
async fn a_read_pages_waits_and_begins_where_it_is_told() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    let batch: Vec<Value> = (0..10).map(|n| event(&n.to_string(), "t")).collect();
    api.publish_all("orders", &batch).await;
    let page = api.get_json(&format!("{PATH}?from=4&limit=3")).await;
    let offsets: Vec<u64> =
        page["events"].as_array().unwrap().iter().map(|stored| stored["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [4, 5, 6]);
    assert_eq!((&page["next"], &page["end"]), (&json!(7), &json!(10)));
    assert!(api.get_json(&format!("{PATH}?from=latest")).await["events"].as_array().unwrap().is_empty());
    let appended_at = page["events"][0]["appended_at"].as_str().unwrap();
    let since = api.get_json(&format!("{PATH}?from={appended_at}")).await;
    assert!(!since["events"].as_array().unwrap().is_empty());

    // A long poll answers with what comes, be it before or after its own arrival.
    let poll_path = format!("{PATH}?from=10&wait=60s");
    let poll = tokio::spawn(async move { api.get_json(&poll_path).await });
    api.publish("orders", &event("late", "t")).await;
    assert_eq!(poll.await.unwrap()["events"][0]["event"]["id"], "late");
}

#[tokio::test]
async fn an_event_is_found_by_its_id() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("first", "t")).await;
    api.publish("orders", &event("needle", "t")).await;
    let places = eventail_tests::eventually("the index to know the event", async || {
        let answer = api.get("/v1/events/needle").await;
        (answer.status == 200).then(|| answer.json()["places"].clone())
    })
    .await;
    assert_eq!(places, json!([{ "topic": "orders", "offset": 1, "source": "/tests" }]));
    assert_eq!(api.get("/v1/events/nothing").await.expect_status(404).code(), "unknown_event");
}

#[tokio::test]
async fn topics_are_created_by_publishing_only_where_the_configuration_says_so() {
    let home = Home::new("[topics]\nauto_create = false\n[topics.orders]\nretention_age = \"1d\"");
    let server = home.start().await;
    let api = server.api();
    assert_eq!(api.publish("orders", &event("1", "t")).await, (0, false));
    assert_eq!(api.publish("default", &event("1", "t")).await, (0, false));
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = post(api, "/v1/topics/new/events", &headers, event("1", "t").to_string()).await;
    assert_eq!(answer.expect_status(404).code(), "unknown_topic");
    api.request(Method::PUT, "/v1/topics/new", &[], Bytes::new()).await;
    assert_eq!(api.publish("new", &event("1", "t")).await, (0, false));
    let topics = api.get_json("/v1/topics").await;
    let names: Vec<&str> =
        topics["topics"].as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap()).collect();
    for name in ["default", "new", "orders"] {
        assert!(names.contains(&name), "{names:?}");
    }
}
