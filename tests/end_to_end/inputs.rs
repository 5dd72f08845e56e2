//! What a target gets of an event: templates and jq, URLs and headers from the event, and what becomes of an event that
//! makes none.

use eventail_tests::events::with_data;
use eventail_tests::{Home, Receiver};
use serde_json::{Value, json};

use crate::support::{at_rest, count, only_letter, trigger_to};

#[tokio::test]
async fn a_template_and_a_url_are_filled_from_the_event_and_a_failure_is_a_dead_letter() {
    let receiver = Receiver::start().await;
    let input = r#"input = { template = '{"order": <id>, "text": "order <id> of <who> by <eventail.trigger>"}', paths = { id = "$.data.id", who = "$.data.who" } }"#;
    let url = receiver.url("/orders/{$.data.id}?who={$.data.who|nobody}");
    let home = Home::new(&trigger_to("ship", &url, input, "headers = { x-source = \"{$.source}\" }"));
    let server = home.start().await;
    let api = server.api();
    let orders = [
        with_data("1", "order", json!({ "id": 7, "who": "A \"B\"/C" })),
        with_data("2", "order", json!({ "id": "x y" })),
        with_data("3", "order", json!({ "who": "nobody's" })),
    ];
    for order in &orders {
        api.publish("orders", order).await;
    }
    let status = at_rest(api, "ship", 3).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (2, 1), "{status}");

    let mut received = receiver.received();
    received.sort_by_key(|request| request.id().to_owned());
    let seen: Vec<(&str, Value)> = received
        .iter()
        .map(|request| (request.path.as_str(), serde_json::from_slice(&request.body).unwrap()))
        .collect();
    let expected = [
        ("/orders/7?who=A%20%22B%22%2FC", json!({ "order": 7, "text": "order 7 of A \"B\"/C by ship" })),
        ("/orders/x%20y?who=nobody", json!({ "order": "x y", "text": "order x y of  by ship" })),
    ];
    assert_eq!(seen, expected);
    assert_eq!(received[0].header("content-type"), "application/json");
    assert_eq!(received[0].header("x-source"), "/tests");
    assert_eq!(received[0].header("ce-type"), "order");

    let letter = only_letter(api, "ship").await;
    assert_eq!((&letter["event_id"], &letter["reason"]), (&json!("3"), &json!("transform")), "{letter}");
    assert!(letter["response"]["error"].as_str().unwrap().contains("`$.data.id`"), "{letter}");
}

#[tokio::test]
async fn jq_makes_the_input_and_its_errors_and_endless_loops_are_dead_letters() {
    let receiver = Receiver::start().await;
    let input = r#"input = { jq = 'if .data.loop then (def f: f; f) elif .data.bad then error("bad order") else {sum: ([.data.lines[].n] | add)} end' }"#;
    let home = Home::new(&trigger_to("ship", &receiver.url("/"), input, ""));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &with_data("good", "order", json!({ "lines": [{ "n": 2 }, { "n": 3 }] }))).await;
    api.publish("orders", &with_data("bad", "order", json!({ "bad": true }))).await;
    api.publish("orders", &with_data("loop", "order", json!({ "loop": true }))).await;
    let status = at_rest(api, "ship", 3).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (1, 2), "{status}");
    assert_eq!(receiver.received()[0].body, r#"{"sum":5}"#);
    let letters = api.dead_letters("trigger=ship").await;
    let error_of = |id: &str| {
        let letter = letters.iter().find(|letter| letter["event_id"] == id).unwrap();
        assert_eq!(letter["reason"], "transform", "{letter}");
        letter["response"]["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(error_of("bad"), "jq: bad order");
    assert!(error_of("loop").contains("steps"), "{}", error_of("loop"));
}
