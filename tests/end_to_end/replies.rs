//! Replies: an answer that is an event goes on its own way, tied to what caused it, and never in circles.

use eventail_tests::events::event;
use eventail_tests::script::always;
use eventail_tests::{Home, Received, Receiver, Reply, eventually};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger};

fn answer(request: &Received) -> Reply {
    Reply::Event(json!({
        "specversion": "1.0", "id": format!("{}-r", request.id()), "source": "/replies", "type": "order.shipped",
        "datacontenttype": "application/json", "data": { "of": request.id() },
    }))
}

#[tokio::test]
async fn a_reply_is_published_and_tied_to_what_caused_it() {
    let receiver = Receiver::with(answer).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), "reply_topic = \"shipped\""));
    let server = home.start().await;
    let api = server.api();
    let mut order = event("o-1", "order.created");
    order["correlationid"] = "story-9".into();
    api.publish("orders", &order).await;
    let reply = eventually("the reply", async || {
        let answer = api.get("/v1/topics/shipped/events?from=earliest").await;
        let page = (answer.status == 200).then(|| answer.json())?;
        page["events"].as_array()?.first().cloned()
    })
    .await;
    let reply = &reply["event"];
    assert_eq!((&reply["id"], &reply["data"]["of"]), (&json!("o-1-r"), &json!("o-1")));
    assert_eq!((&reply["causationid"], &reply["correlationid"]), (&json!("o-1"), &json!("story-9")));
    assert_eq!(count(&at_rest(api, "ship", 1).await, "delivered"), 1);
}

#[tokio::test]
async fn without_a_reply_topic_an_answer_is_only_an_acknowledgement() {
    let receiver = Receiver::with(answer).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "ship", 1).await;
    assert_eq!(server.api().get_json("/v1/topics/orders").await["end"], 1);
}

#[tokio::test]
async fn replies_that_go_in_circles_end_in_a_dead_letter() {
    let receiver = Receiver::with(answer).await;
    let keys = format!("reply_topic = \"orders\"\n{QUICK}");
    let home = Home::new(&format!("[limits]\nhops_max = 4\n{}", trigger("loop", &receiver.url("/"), &keys)));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("o", "order.created")).await;
    let letters = eventually("the loop to be broken", async || {
        Some(api.dead_letters("reason=hop_limit").await).filter(|letters| !letters.is_empty())
    })
    .await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["trigger"], "loop");
    assert_eq!(letters[0]["correlation_id"], "o");
    let end = api.get_json("/v1/topics/orders").await["end"].as_u64().unwrap();
    assert_eq!(end, 5, "the first event and four replies");
}

#[tokio::test]
async fn an_answer_that_claims_to_be_an_event_and_is_none_is_dead_lettered() {
    let broken = json!({ "specversion": "1.0", "id": "", "source": "/x", "type": "t" });
    let receiver = Receiver::with(always(Reply::Event(broken))).await;
    let keys = format!("reply_topic = \"shipped\"\n{QUICK}");
    let home = Home::new(&trigger("ship", &receiver.url("/"), &keys));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "ship", 1).await;
    let letters: Vec<Value> = server.api().dead_letters("trigger=ship").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "invalid_reply");
}
