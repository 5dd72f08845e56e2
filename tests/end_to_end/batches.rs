//! Several events in one call: how they are gathered, and what becomes of each when the call fails in part or whole.

use eventail_tests::events::{event, keyed, with_data};
use eventail_tests::function::{calls, event_ids, python_table, table};
use eventail_tests::{Home, Received, Receiver, Reply};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, only_letter, trigger, trigger_function};

/// A home with the function `work` and the trigger `t` for it, one call at a time.
fn home(keys: &str, target_keys: &str) -> Home {
    let keys = format!("concurrency = 1\n{keys}");
    Home::new(&format!("{}{}", table("work", "", ""), trigger_function("t", "work", &keys, target_keys)))
}

fn events(count: usize) -> Vec<Value> {
    (0..count).map(|n| event(&n.to_string(), "order.created")).collect()
}

fn sizes(home: &Home) -> Vec<usize> {
    calls(home, "work").iter().map(|call| event_ids(call).len()).collect()
}

#[tokio::test]
async fn a_full_batch_goes_at_once_and_the_rest_when_the_window_ends() {
    let home = home("batch = { max_events = 10, window = \"2s\" }", "");
    let server = home.start().await;
    server.api().publish_all("orders", &events(25)).await;
    assert_eq!(count(&at_rest(server.api(), "t", 25).await, "delivered"), 25);
    assert_eq!(sizes(&home), [10, 10, 5]);
    let ids: Vec<String> = calls(&home, "work").iter().flat_map(event_ids).collect();
    let expected: Vec<String> = (0..25).map(|n: usize| n.to_string()).collect();
    assert_eq!(ids, expected, "each once, in the order of the topic");
}

#[tokio::test]
async fn events_that_come_one_by_one_share_a_call_within_the_window() {
    let home = home("batch = { max_events = 100, window = \"4s\" }", "");
    let server = home.start().await;
    for event in events(3) {
        server.api().publish("orders", &event).await;
    }
    at_rest(server.api(), "t", 3).await;
    assert_eq!(sizes(&home), [3]);
}

#[tokio::test]
async fn a_batch_holds_no_more_bytes_than_allowed_but_always_one_event() {
    let home = home("batch = { max_events = 100, max_bytes = \"8KiB\", window = \"1s\" }", "");
    let server = home.start().await;
    let sized = |(n, kib): (usize, usize)| {
        with_data(&n.to_string(), "order.created", json!({ "filler": "x".repeat(kib << 10) }))
    };
    let batch: Vec<Value> = [3, 3, 3, 20, 1, 1].into_iter().enumerate().map(sized).collect();
    server.api().publish_all("orders", &batch).await;
    assert_eq!(count(&at_rest(server.api(), "t", 6).await, "delivered"), 6);
    assert_eq!(sizes(&home), [2, 1, 1, 2]);
}

#[tokio::test]
async fn only_the_listed_events_are_retried_whatever_the_shape() {
    for shape in ["cloudevent", "eventbridge", "sqs"] {
        let home = home(
            &format!("batch = {{ max_events = 4, window = \"5s\" }}\n{QUICK}"),
            &format!("payload = \"{shape}\""),
        );
        let server = home.start().await;
        let mut batch = events(4);
        batch[2] = with_data("2", "order.created", json!({ "do": "fail-item" }));
        server.api().publish_all("orders", &batch).await;
        let status = at_rest(server.api(), "t", 4).await;
        assert_eq!(
            (count(&status, "delivered"), count(&status, "dead_lettered")),
            (3, 1),
            "{shape}: {status}"
        );
        let letter = only_letter(server.api(), "t").await;
        assert_eq!((&letter["event_id"], &letter["attempts"]), (&json!("2"), &json!(3)), "{shape}: {letter}");
        assert!(
            letter["response"]["error"].as_str().unwrap().contains("batchItemFailures"),
            "{shape}: {letter}"
        );
        let seen: Vec<Vec<String>> = calls(&home, "work").iter().map(event_ids).collect();
        assert_eq!(seen[0], ["0", "1", "2", "3"], "{shape}");
        assert!(seen[1..].iter().all(|ids| ids == &["2"]) && seen.len() == 3, "{shape}: {seen:?}");
    }
}

#[tokio::test]
async fn an_empty_list_takes_all_and_an_unknown_name_fails_all() {
    let home = home(&format!("batch = {{ max_events = 2, window = \"5s\" }}\n{QUICK}"), "");
    let server = home.start().await;
    let with_answer = |id: &str, answer: Value| with_data(id, "order.created", json!({ "answer": answer }));
    let empty = with_answer("1", json!({ "batchItemFailures": [] }));
    server.api().publish_all("orders", &[empty, event("2", "order.created")]).await;
    assert_eq!(count(&at_rest(server.api(), "t", 2).await, "delivered"), 2);

    let unknown = with_answer("3", json!({ "batchItemFailures": [{ "itemIdentifier": "nobody" }] }));
    server.api().publish_all("orders", &[unknown, event("4", "order.created")]).await;
    at_rest(server.api(), "t", 4).await;
    let seen: Vec<Vec<String>> = calls(&home, "work").iter().map(event_ids).collect();
    assert_eq!(seen[1], ["3", "4"]);
    let again = seen[2..].iter().flatten().filter(|id| *id == "4").count();
    assert!(again >= 1, "it was not named, and comes again all the same: {seen:?}");
    let letters = server.api().dead_letters("").await;
    let poison = letters.iter().find(|letter| letter["event_id"] == "3");
    let poison = poison.unwrap_or_else(|| panic!("{letters:?}"));
    assert!(poison["response"]["error"].as_str().unwrap().contains("`nobody`"), "{poison}");
}

#[tokio::test]
async fn bisecting_finds_the_poison_and_costs_the_others_no_attempt() {
    // Two attempts are allowed: halving five times would burn them all.
    let keys = r#"
batch = { max_events = 16, window = "5s", bisect = true }
retry = { max_attempts = 2, backoff_initial = "10ms", backoff_max = "50ms" }
breaker = { failures = 1000 }
"#;
    let home = home(keys, "");
    let server = home.start().await;
    let mut batch = events(16);
    batch[11] = with_data("11", "order.created", json!({ "do": "fail" }));
    server.api().publish_all("orders", &batch).await;
    let status = at_rest(server.api(), "t", 16).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (15, 1), "{status}");
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["event_id"], &letter["attempts"]), (&json!("11"), &json!(2)), "{letter}");
    let seen: Vec<Vec<String>> = calls(&home, "work").iter().map(event_ids).collect();
    assert!(seen.iter().any(|ids| ids == &["11"]), "it was tried alone: {seen:?}");
}

#[tokio::test]
async fn after_a_failure_the_rest_of_its_key_goes_back_too() {
    let keys = format!("ordering = \"key\"\nbatch = {{ max_events = 4, window = \"5s\" }}\n{QUICK}");
    let home = home(&keys, "");
    let server = home.start().await;
    let mut batch: Vec<Value> = [("a-0", "a"), ("b-0", "b"), ("a-1", "a"), ("b-1", "b")]
        .map(|(id, key)| keyed(id, "order.created", key))
        .to_vec();
    batch[0]["data"] = json!({ "do": "fail-item", "until_call": 2 });
    server.api().publish_all("orders", &batch).await;
    assert_eq!(count(&at_rest(server.api(), "t", 4).await, "delivered"), 4);
    let seen: Vec<Vec<String>> = calls(&home, "work").iter().map(event_ids).collect();
    let of = |key: &str| -> Vec<String> {
        seen.iter().flatten().filter(|id| id.starts_with(key)).cloned().collect()
    };
    assert_eq!(of("b"), ["b-0", "b-1"], "{seen:?}");
    let a = of("a");
    assert_eq!(
        a.last().map(String::as_str),
        Some("a-1"),
        "what came after the failed one comes again after it: {seen:?}"
    );
    assert_eq!(a.iter().filter(|id| *id == "a-0").count(), 2, "{seen:?}");
    assert!(a.iter().rposition(|id| id == "a-0") < a.iter().rposition(|id| id == "a-1"), "{seen:?}");
}

#[tokio::test]
async fn a_batch_processor_written_for_sqs_runs_unchanged() {
    let keys = format!("concurrency = 1\nbatch = {{ max_events = 4, window = \"5s\" }}\n{QUICK}");
    let worker = python_table("worker", "queue_worker.handler", "timeout = \"20s\"\ninit_timeout = \"30s\"");
    let home = Home::new(&format!("{worker}{}", trigger_function("t", "worker", &keys, "payload = \"sqs\"")));
    let server = home.start().await;
    let order = |n: usize| {
        let id = n.to_string();
        with_data(&id, "order.created", json!({ "id": id, "fail": n == 1 }))
    };
    let batch: Vec<Value> = (0..4).map(order).collect();
    server.api().publish_all("orders", &batch).await;
    let status = at_rest(server.api(), "t", 4).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (3, 1), "{status}");
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["event_id"], &letter["attempts"]), (&json!("1"), &json!(3)), "{letter}");
    let log = server.log_text();
    let times = |line: &str| log.matches(line).count();
    assert_eq!([times("order 0, receive count 1"), times("order 0, receive count 2")], [1, 0]);
    for line in ["order 1, receive count 1", "order 1, receive count 2", "order 1, receive count 3"] {
        assert_eq!(times(line), 1, "{line}");
    }
}

/// The ids of a request in the batched mode of CloudEvents.
fn batch_ids(request: &Received) -> Vec<String> {
    let events: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_http_target_gets_cloudevents_batches_and_may_refuse_some() {
    let refuse_two = |request: &Received| {
        let refused = batch_ids(request).into_iter().filter(|id| id == "2");
        let list: Vec<Value> = refused.map(|id| json!({ "itemIdentifier": id })).collect();
        if list.is_empty() { Reply::Status(204) } else { Reply::Json(json!({ "batchItemFailures": list })) }
    };
    let receiver = Receiver::with(refuse_two).await;
    let keys = format!("concurrency = 1\nbatch = {{ max_events = 4, window = \"5s\" }}\n{QUICK}");
    let home = Home::new(&trigger("t", &receiver.url("/"), &keys));
    let server = home.start().await;
    server.api().publish_all("orders", &events(4)).await;
    let status = at_rest(server.api(), "t", 4).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (3, 1), "{status}");
    assert_eq!(only_letter(server.api(), "t").await["event_id"], "2");
    let requests = receiver.received();
    assert!(requests[0].header("content-type").starts_with("application/cloudevents-batch+json"));
    let seen: Vec<Vec<String>> = requests.iter().map(batch_ids).collect();
    assert_eq!(seen, [vec!["0", "1", "2", "3"], vec!["2"], vec!["2"]]);
    server.stop().await;
}
