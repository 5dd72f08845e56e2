//! From a match to a target: what the request looks like, and how failed attempts are repeated.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventail_tests::events::{event, with_data};
use eventail_tests::script::{always, first};
use eventail_tests::{Home, Receiver, Reply};
use eventail_wire::Timestamp;
use eventail_wire::event::rules::is_traceparent;
use hmac::{KeyInit as _, Mac as _};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger, trigger_to};

#[tokio::test]
async fn a_matching_event_reaches_its_target_as_it_was_published() {
    let receiver = Receiver::start().await;
    let keys = r#"pattern = { type = ["order.created"], data = { total = [{ exists = true }] } }"#;
    let home = Home::new(&trigger("ship", &receiver.url("/ship?x=1"), keys));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("no-type", "order.paid")).await;
    api.publish("orders", &event("no-total", "order.created")).await;
    let (offset, _) = api.publish("orders", &with_data("yes", "order.created", json!({ "total": 12 }))).await;
    assert_eq!(offset, 2);

    let request = &receiver.wait_for(1).await[0];
    assert_eq!(request.path, "/ship?x=1");
    assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), json!({ "total": 12 }));
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "yes"),
        ("ce-source", "/tests"),
        ("ce-type", "order.created"),
        ("ce-correlationid", "yes"),
        ("content-type", "application/json"),
        ("eventail-attempt", "1"),
        ("eventail-trigger", "ship"),
        ("eventail-topic", "orders"),
        ("eventail-offset", "2"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert!(is_traceparent(request.header("traceparent")));
    assert!(Timestamp::parse_rfc3339(request.header("eventail-deadline")).is_some());
    assert!(!request.header("webhook-id").is_empty());
    assert_eq!(count(&at_rest(api, "ship", 1).await, "delivered"), 1);
    assert_eq!(receiver.count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn structured_and_raw_targets_get_what_their_names_say() {
    let receiver = Receiver::start().await;
    let structured = trigger_to("structured", &receiver.url("/structured"), "", "mode = \"structured\"");
    let raw = trigger_to("raw", &receiver.url("/raw"), "", "mode = \"raw\"");
    let home = Home::new(&format!("{structured}{raw}"));
    let server = home.start().await;
    server.api().publish("orders", &with_data("1", "order.created", json!({ "a": [1, 2] }))).await;
    for request in receiver.wait_for(2).await {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        if request.path == "/raw" {
            assert_eq!(body, json!({ "a": [1, 2] }));
            assert_eq!(request.find("ce-id"), None);
        } else {
            let media_type = request.header("content-type");
            assert!(media_type.starts_with("application/cloudevents+json"), "{media_type}");
            assert_eq!((&body["id"], &body["data"]), (&json!("1"), &json!({ "a": [1, 2] })));
            assert_eq!(body["correlationid"], "1");
        }
    }
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_under_the_same_id_until_it_is_taken() {
    let replies = vec![Reply::Text(500, "not now".to_owned()), Reply::Reset];
    let receiver = Receiver::with(first(replies)).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let requests = receiver.wait_for(3).await;
    let ids: Vec<&str> = requests.iter().map(|request| request.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let status = at_rest(server.api(), "ship", 1).await;
    assert_eq!((count(&status, "delivered"), receiver.count()), (1, 3));
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_is_asked_again() {
    let receiver = Receiver::with(first(vec![Reply::Hang])).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), &format!("timeout = \"150ms\"\n{QUICK}")));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let requests = receiver.wait_for(2).await;
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(150));
    assert_eq!(requests[1].header("eventail-attempt"), "2");
    at_rest(server.api(), "ship", 1).await;
}

#[tokio::test]
async fn a_signed_request_can_be_verified_and_no_secret_is_ever_printed() {
    let receiver = Receiver::start().await;
    let secret = STANDARD.encode([7u8; 32]);
    let keys = "secret = { env = \"TEST_SECRET\" }\nheaders = { authorization = { env = \"TEST_TOKEN\" }, x-team = \"a\" }";
    let home = Home::new(&trigger_to("ship", &receiver.url("/"), "", keys))
        .environment("TEST_SECRET", &format!("whsec_{secret}"))
        .environment("TEST_TOKEN", "Bearer hidden-token")
        .environment("EVENTAIL_LOG", "trace");
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let request = &receiver.wait_for(1).await[0];
    assert_eq!((request.header("authorization"), request.header("x-team")), ("Bearer hidden-token", "a"));

    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&[7u8; 32]).unwrap();
    let signed = [request.header("webhook-id"), ".", request.header("webhook-timestamp"), "."].concat();
    mac.update(signed.as_bytes());
    mac.update(&request.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("webhook-signature"), expected);

    at_rest(server.api(), "ship", 1).await;
    let shown = format!("{}{}", server.log_text(), server.api().trigger("ship").await);
    assert!(!shown.contains("hidden-token") && !shown.contains(&secret), "{shown}");
}

#[tokio::test]
async fn one_slow_target_holds_up_no_other() {
    let slow = Receiver::with(always(Reply::Hang)).await;
    let quick = Receiver::start().await;
    let slow_keys = "concurrency = 1\ntimeout = \"60s\"";
    let home = Home::with_keys(
        "drain = \"100ms\"",
        &format!("{}{}", trigger("slow", &slow.url("/"), slow_keys), trigger("quick", &quick.url("/"), "")),
    );
    let server = home.start().await;
    let events: Vec<Value> = (0..200).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &events).await;
    quick.wait_for(200).await;
    at_rest(server.api(), "quick", 200).await;
    assert_eq!(slow.count(), 1);
}

#[tokio::test]
async fn private_addresses_are_refused_unless_the_configuration_allows_them() {
    let receiver = Receiver::start().await;
    let trigger = trigger("ship", &receiver.url("/"), QUICK);
    let home = Home::new(&format!("[egress]\nallow = []\n{trigger}"));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let failure = crate::support::trigger_until(server.api(), "ship", "a failure", |status| {
        !status["last_failure"].is_null() || count(status, "dead_lettered") == 1
    })
    .await;
    assert_eq!(receiver.count(), 0, "{failure}");
}
