//! The Lambda target over real, signed requests: the endpoint is another broker that serves local functions, so the whole path is
//! tested without a cloud.

use eventail_tests::aws::{KEYS, with_keys};
use eventail_tests::events::{event, with_data};
use eventail_tests::function::{called, calls, event_ids, python_table, table};
use eventail_tests::{Home, Server};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, only_letter, trigger_until};

/// A trigger `t` for the function `work` behind `endpoint`.
fn trigger(endpoint: &str, keys: &str, target_keys: &str) -> String {
    let target =
        format!("function = \"work\"\nregion = \"eu-west-1\"\nendpoint = \"{endpoint}\"\n{target_keys}");
    format!(
        "[triggers.t]\ntopic = \"orders\"\nstart = \"earliest\"\n{keys}\n[triggers.t.target.lambda]\n{target}\n"
    )
}

/// The broker that calls, with credentials in its environment.
async fn caller(endpoint: &Server, secret: &str, keys: &str, target_keys: &str) -> (Home, Server) {
    let home = Home::new(&trigger(&endpoint.url(), keys, target_keys))
        .environment("AWS_ACCESS_KEY_ID", KEYS.0)
        .environment("AWS_SECRET_ACCESS_KEY", secret)
        .environment("AWS_EC2_METADATA_DISABLED", "true");
    let server = home.start().await;
    (home, server)
}

#[tokio::test]
async fn events_reach_a_function_through_signed_requests() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let (_home, server) = caller(&endpoint, KEYS.1, "concurrency = 1", "").await;
    let batch: Vec<Value> = (0..4).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
    assert_eq!(count(&at_rest(server.api(), "t", 4).await, "delivered"), 4);
    let ids: Vec<String> = calls(&cloud, "work").iter().flat_map(event_ids).collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    assert!(!server.log_text().contains(KEYS.1) && !endpoint.log_text().contains(KEYS.1));
    server.stop().await;
}

#[tokio::test]
async fn an_asynchronous_invocation_is_done_when_it_is_taken() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let (_home, server) = caller(&endpoint, KEYS.1, "", "invocation = \"async\"").await;
    // The function fails, which is not this trigger's affair any more.
    server.api().publish("orders", &with_data("1", "order.created", json!({ "do": "fail" }))).await;
    let status = at_rest(server.api(), "t", 1).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (1, 0), "{status}");
    assert_eq!(event_ids(&called(&cloud, "work", 1).await[0]), ["1"]);
}

#[tokio::test]
async fn a_function_error_is_the_functions_failure_with_its_log_in_the_dead_letter() {
    let cloud = with_keys(&python_table("work", "small.fail", ""));
    let endpoint = cloud.start().await;
    let (_home, server) = caller(&endpoint, KEYS.1, QUICK, "").await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!(
        (&letter["reason"], &letter["class"], &letter["attempts"]),
        (&json!("max_attempts"), &json!("failed"), &json!(3))
    );
    let said = letter["response"].to_string();
    for part in ["KeyError", "'total'", "REPORT RequestId: "] {
        assert!(said.contains(part), "no {part:?} in {letter}");
    }
}

#[tokio::test]
async fn a_function_that_runs_out_of_its_time_is_told_apart() {
    let cloud = with_keys(&table("work", "timeout = \"300ms\"", ""));
    let endpoint = cloud.start().await;
    let (_home, server) = caller(&endpoint, KEYS.1, QUICK, "").await;
    server.api().publish("orders", &with_data("1", "order.created", json!({ "do": "hang" }))).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!(
        (&letter["reason"], &letter["class"], &letter["attempts"]),
        (&json!("max_attempts"), &json!("timeout"), &json!(3)),
        "{letter}"
    );
    assert!(letter["response"].to_string().contains("Task timed out after 0.30 seconds"), "{letter}");
}

#[tokio::test]
async fn of_a_batch_only_the_listed_events_are_retried() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let keys = format!("concurrency = 1\nbatch = {{ max_events = 4, window = \"5s\" }}\n{QUICK}");
    let (_home, server) = caller(&endpoint, KEYS.1, &keys, "payload = \"sqs\"").await;
    let mut batch: Vec<Value> = (0..4).map(|n| event(&n.to_string(), "order.created")).collect();
    batch[1] = with_data("1", "order.created", json!({ "do": "fail-item" }));
    server.api().publish_all("orders", &batch).await;
    let status = at_rest(server.api(), "t", 4).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (3, 1), "{status}");
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["event_id"], &letter["attempts"]), (&json!("1"), &json!(3)), "{letter}");
    let seen: Vec<Vec<String>> = calls(&cloud, "work").iter().map(event_ids).collect();
    assert_eq!(seen, [vec!["0", "1", "2", "3"], vec!["1"], vec!["1"]]);
}

#[tokio::test]
async fn what_lambda_would_refuse_for_its_size_is_permanent_and_not_sent() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let target_keys = "invocation = \"async\"\npayload = \"sqs\"";
    let (_home, server) = caller(&endpoint, KEYS.1, QUICK, target_keys).await;
    // The record of a queue holds the data as a string, with a `\\` before each quote.
    let large = with_data("large", "order.created", json!({ "filler": vec![""; 300_000] }));
    server.api().publish_all("orders", &[large, event("small", "order.created")]).await;
    let status = at_rest(server.api(), "t", 2).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (1, 1), "{status}");
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("too_large"), &json!(1)), "{letter}");
    let said = letter["response"]["error"].as_str().unwrap();
    assert!(said.contains("takes 1048576 at most"), "{letter}");
    assert_eq!(event_ids(&called(&cloud, "work", 1).await[0]), ["small"]);
    assert_eq!(calls(&cloud, "work").len(), 1);
}

#[tokio::test]
async fn a_refused_signature_is_permanent_and_says_lambdas_error() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let (_home, server) = caller(&endpoint, "another-secret", QUICK, "").await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("permanent"), &json!(1)), "{letter}");
    assert_eq!(letter["response"]["status"], 403, "{letter}");
    assert!(letter["response"].to_string().contains("InvalidSignatureException"), "{letter}");
    assert!(calls(&cloud, "work").is_empty());
}

#[tokio::test]
async fn a_function_that_does_not_exist_is_permanent() {
    let cloud = with_keys(&table("another", "", ""));
    let endpoint = cloud.start().await;
    let (_home, server) = caller(&endpoint, KEYS.1, QUICK, "").await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!(
        (&letter["reason"], &letter["response"]["status"]),
        (&json!("permanent"), &json!(404)),
        "{letter}"
    );
    assert!(letter["response"].to_string().contains("ResourceNotFoundException"), "{letter}");
}

#[tokio::test]
async fn a_throttle_costs_no_attempt() {
    let cloud = with_keys(&table("work", "max_instances = 1\ntimeout = \"1m\"", ""));
    let endpoint = cloud.start().await;
    let once =
        "concurrency = 4\nretry = { max_attempts = 1, backoff_initial = \"20ms\", backoff_max = \"100ms\" }";
    let (_home, server) = caller(&endpoint, KEYS.1, once, "").await;
    let gate = cloud.path().join("gate");
    let wait = json!({ "do": "wait-for-file", "path": gate });
    let batch: Vec<Value> =
        (0..4).map(|n| with_data(&n.to_string(), "order.created", wait.clone())).collect();
    server.api().publish_all("orders", &batch).await;
    called(&cloud, "work", 1).await;
    let throttled = |status: &Value| status["last_failure"]["status"] == 429;
    trigger_until(server.api(), "t", "a throttle to be seen", throttled).await;
    std::fs::write(&gate, "").unwrap();
    let status = at_rest(server.api(), "t", 4).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (4, 0), "{status}");
    assert_eq!(calls(&cloud, "work").len(), 4);
}

#[tokio::test]
async fn an_endpoint_that_is_away_costs_no_attempt_and_nothing_is_lost() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let address = endpoint.url();
    endpoint.stop().await;
    let keys =
        "retry = { max_attempts = 1 }\nbreaker = { failures = 3, open = \"50ms\", open_max = \"200ms\" }";
    let home = Home::new(&trigger(&address, keys, ""))
        .environment("AWS_ACCESS_KEY_ID", KEYS.0)
        .environment("AWS_SECRET_ACCESS_KEY", KEYS.1);
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let open = |status: &Value| status["breaker"] == "open";
    let status = trigger_until(server.api(), "t", "the breaker to open", open).await;
    assert_eq!((count(&status, "pending"), count(&status, "dead_lettered")), (1, 0), "{status}");
}

#[tokio::test]
async fn without_credentials_the_trigger_waits_and_says_so() {
    let cloud = with_keys(&table("work", "", ""));
    let endpoint = cloud.start().await;
    let keys = "breaker = { failures = 3, open = \"50ms\", open_max = \"200ms\" }";
    let home = Home::new(&trigger(&endpoint.url(), keys, ""))
        .environment("AWS_EC2_METADATA_DISABLED", "true")
        .environment("AWS_CONFIG_FILE", "/dev/null")
        .environment("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let says =
        |status: &Value| status["last_failure"]["error"].as_str().unwrap_or("").contains("credentials");
    let status = trigger_until(server.api(), "t", "the missing credentials to be told", says).await;
    assert_eq!((count(&status, "pending"), count(&status, "dead_lettered")), (1, 0), "{status}");
}
