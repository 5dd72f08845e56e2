//! Long work: a target takes an event over with 202 and settles it later, by the token that it was given.

use std::collections::HashSet;
use std::time::Duration;

use eventail_tests::events::event;
use eventail_tests::script::{always, first};
use eventail_tests::{Api, Home, Received, Receiver, Reply, eventually};
use eventail_wire::Code;
use eventail_wire::frame::CallbackOutcome;
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, only_letter, trigger_to, trigger_until};

const TOKEN: &str = "eventail-callback-token";

fn home(receiver: &Receiver, keys: &str) -> Home {
    Home::new(&trigger_to("t", &receiver.url("/"), &format!("{QUICK}\n{keys}"), "callback = true"))
}

async fn call_back(api: Api, token: &str, verb: &str, body: &Value) -> (u16, Value) {
    let answer = api.post(&format!("/v1/deliveries/{token}/{verb}"), body).await;
    (answer.status, answer.json())
}

/// Calls back, and is told what came of it.
async fn told(api: Api, token: &str, verb: &str, body: &Value) -> Value {
    let (status, told) = call_back(api, token, verb, body).await;
    assert_eq!(status, 200, "{told}");
    told
}

/// The token of the nth request, counted from 1.
async fn token_of(receiver: &Receiver, nth: usize) -> String {
    receiver.wait_for(nth).await[nth - 1].header(TOKEN).to_owned()
}

/// A token that was used, or whose attempt is over, is of no use, whatever one asks with it.
async fn is_refused(api: Api, token: &str) {
    for verb in ["ack", "nack", "extend"] {
        let answer = api.post(&format!("/v1/deliveries/{token}/{verb}"), &json!({})).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "delivery_not_found"), "{verb}");
    }
}

#[tokio::test]
async fn an_event_that_was_taken_over_is_delivered_when_it_is_acked_and_not_before() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"5m\"");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    let token = token_of(&receiver, 1).await;
    assert_eq!(token.len(), 32);
    let status =
        trigger_until(api, "t", "the event to be under way", |status| status["in_flight"] == 1).await;
    assert_eq!((count(&status, "delivered"), count(&status, "pending")), (0, 1), "{status}");
    assert_eq!(told(api, &token, "ack", &json!({})).await, json!({ "outcome": "delivered" }));
    assert_eq!(count(&at_rest(api, "t", 1).await, "delivered"), 1);
    is_refused(api, &token).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_nack_is_a_failed_attempt_with_its_reason_and_the_next_has_another_token() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"5m\"");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    let mut tokens = Vec::new();
    for attempt in 1..=3 {
        let request = receiver.wait_for(attempt).await.pop().unwrap();
        assert_eq!(request.header("eventail-attempt"), attempt.to_string());
        tokens.push(request.header(TOKEN).to_owned());
        let nack = json!({ "reason": "the printer is on fire" });
        let outcome = if attempt < 3 { "retry" } else { "dead_lettered" };
        assert_eq!(told(api, tokens.last().unwrap(), "nack", &nack).await["outcome"], outcome);
    }
    at_rest(api, "t", 1).await;
    let letter = only_letter(api, "t").await;
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("max_attempts"), &json!(3)), "{letter}");
    assert!(letter["response"].to_string().contains("the printer is on fire"), "{letter}");
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 3, "{tokens:?}");
    for token in &tokens {
        is_refused(api, token).await;
    }
}

#[tokio::test]
async fn a_nack_that_rejects_is_the_end_and_costs_no_further_attempt() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"5m\"");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    let token = token_of(&receiver, 1).await;
    let reject = json!({ "reason": "torn", "reject": true });
    assert_eq!(told(api, &token, "nack", &reject).await, json!({ "outcome": "dead_lettered" }));
    at_rest(api, "t", 1).await;
    let letter = only_letter(api, "t").await;
    assert_eq!(
        (&letter["reason"], &letter["attempts"], &letter["response"]["error"]),
        (&json!("refused"), &json!(1), &json!("torn"))
    );
    is_refused(api, &token).await;
}

#[tokio::test]
async fn a_callback_that_comes_before_the_targets_answer_is_kept_and_applied() {
    let slow = Reply::After(Duration::from_secs(4), Box::new(Reply::Accepted));
    let receiver = Receiver::with(always(slow)).await;
    let home = home(&receiver, "timeout = \"5m\"");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    let token = token_of(&receiver, 1).await;
    assert_eq!(call_back(api, &token, "ack", &json!({})).await, (202, json!({ "outcome": "kept" })));
    assert_eq!(count(&at_rest(api, "t", 1).await, "delivered"), 1);
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_batch_that_was_taken_over_has_one_token_and_is_settled_as_a_whole() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"5m\"\nbatch = { max_events = 3, window = \"5s\" }");
    let server = home.start().await;
    let api = server.api();
    let events: Vec<Value> = ["1", "2", "3"].map(|id| event(id, "order.created")).to_vec();
    api.publish_all("orders", &events).await;
    let first = token_of(&receiver, 1).await;
    let extended = told(api, &first, "extend", &json!({ "by": "10m" })).await;
    assert_eq!(extended["outcome"], "extended");
    assert_eq!(told(api, &first, "nack", &json!({})).await["outcome"], "retry");
    let second = token_of(&receiver, 2).await;
    assert_ne!(first, second);
    assert_eq!(told(api, &second, "ack", &json!({})).await["outcome"], "delivered");
    assert_eq!(count(&at_rest(api, "t", 3).await, "delivered"), 3);
    let sizes: Vec<String> =
        receiver.received().iter().map(|request| request.header("eventail-batch-size").to_owned()).collect();
    assert_eq!(sizes, ["3", "3"]);
    is_refused(api, &second).await;
}

#[tokio::test]
async fn without_a_callback_the_attempt_ends_with_its_time() {
    let receiver = Receiver::with(first(vec![Reply::Accepted])).await;
    let home = home(&receiver, "timeout = \"400ms\"");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].header("eventail-attempt"), "2", "it cost an attempt");
    is_refused(api, requests[0].header(TOKEN)).await;
    assert_eq!(count(&at_rest(api, "t", 1).await, "delivered"), 1);
}

#[tokio::test]
async fn an_extension_keeps_the_event_while_others_run_out_of_time() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"3s\"");
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("kept", "order.created")).await;
    let token = token_of(&receiver, 1).await;
    let extended = told(api, &token, "extend", &json!({ "by": "5m" })).await;
    assert_eq!(extended["outcome"], "extended");
    // What came later had the same time, and runs out of it.
    api.publish("orders", &event("lost", "order.created")).await;
    eventually("the other event to come again", async || {
        (receiver.received_of("lost").len() >= 2).then_some(())
    })
    .await;
    assert_eq!(receiver.received_of("kept").len(), 1);
    assert_eq!(told(api, &token, "ack", &json!({})).await["outcome"], "delivered");
    is_refused(api, &token).await;
    trigger_until(api, "t", "the kept event to be delivered", |status| count(status, "delivered") == 1).await;
    assert_eq!(receiver.received_of("kept").len(), 1);
}

#[tokio::test]
async fn a_token_dies_with_its_broker_and_the_event_is_delivered_again() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"5m\"");
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let token = token_of(&receiver, 1).await;
    trigger_until(server.api(), "t", "the event to be under way", |status| status["in_flight"] == 1).await;
    server.kill_9().await;
    let server = home.start().await;
    let next = token_of(&receiver, 2).await;
    is_refused(server.api(), &token).await;
    assert_eq!(told(server.api(), &next, "ack", &json!({})).await["outcome"], "delivered");
    assert_eq!(count(&at_rest(server.api(), "t", 1).await, "delivered"), 1);
}

#[tokio::test]
async fn the_rust_client_settles_what_a_target_took_over() {
    let receiver = Receiver::with(always(Reply::Accepted)).await;
    let home = home(&receiver, "timeout = \"1m\"");
    let server = home.start().await;
    let client = server.client().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let first = token_of(&receiver, 1).await;
    let delivery = client.delivery(first.as_str());
    let extended = delivery.extend(Some(Duration::from_secs(300))).await.unwrap();
    assert!(matches!(extended, CallbackOutcome::Extended { .. }), "{extended:?}");
    let retry = delivery.nack(Some(Duration::from_millis(10)), "not yet").await.unwrap();
    assert!(matches!(retry, CallbackOutcome::Retry { .. }), "{retry:?}");
    let second = token_of(&receiver, 2).await;
    let delivered = client.delivery(second.as_str()).ack().await.unwrap();
    assert!(matches!(delivered, CallbackOutcome::Delivered), "{delivered:?}");
    for token in [first, second] {
        let refused = client.delivery(token.as_str()).ack().await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::DeliveryNotFound), "{refused}");
        assert!(!format!("{:?}", client.delivery(token.as_str())).contains(&token), "a token is a secret");
    }
    assert_eq!(count(&at_rest(server.api(), "t", 1).await, "delivered"), 1);
}

#[tokio::test]
async fn without_the_key_there_is_no_token_and_a_promise_to_call_back_is_dead_lettered() {
    let promise = |request: &Received| match request.id() {
        "plain" => Reply::Status(202),
        _ => Reply::Accepted,
    };
    let receiver = Receiver::with(promise).await;
    let home = Home::new(&trigger_to("t", &receiver.url("/"), QUICK, ""));
    let server = home.start().await;
    let events = ["plain", "promised"].map(|id| event(id, "order.created"));
    server.api().publish_all("orders", &events).await;
    let status = at_rest(server.api(), "t", 2).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (1, 1), "{status}");
    assert!(receiver.received().iter().all(|request| request.find(TOKEN).is_none()));
    // Nobody could have kept it: whoever answers so must hear of it, and the event must not count as delivered.
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["event_id"], &letter["attempts"]), (&json!("promised"), &json!(1)), "{letter}");
    assert!(letter["response"]["error"].as_str().unwrap().contains("callback = true"), "{letter}");
    is_refused(server.api(), "0123456789abcdef0123456789abcdef").await;
}
