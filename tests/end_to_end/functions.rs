//! Local functions: what they get, how long their processes live, how many there are, and what becomes of their output.

use eventail_tests::events::{event, with_data};
use eventail_tests::function::{
    called, calls, event_ids, gone, instances, instances_of, is_running, process_of, table,
};
use eventail_tests::{Api, Home, eventually, until};
use serde_json::{Value, json};

use crate::support::{at_rest, count, trigger_function, trigger_until};

/// One call at a time.
const IN_TURN: &str = "concurrency = 1";

#[tokio::test]
async fn a_function_gets_the_event_and_its_process_stays_warm() {
    let home = Home::new(&format!("{}{}", table("work", "", ""), trigger_function("t", "work", IN_TURN, "")));
    let server = home.start().await;
    assert!(calls(&home, "work").is_empty());
    let batch: Vec<Value> = (0..5).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
    assert_eq!(count(&at_rest(server.api(), "t", 5).await, "delivered"), 5);

    let calls = calls(&home, "work");
    let numbers: Vec<&Value> = calls.iter().map(|call| &call["call"]).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "one process for all: {calls:?}");
    for (n, call) in calls.iter().enumerate() {
        let payload = &call["payload"];
        assert_eq!(payload["specversion"], "1.0", "{call}");
        assert_eq!((&payload["id"], &payload["type"]), (&json!(n.to_string()), &json!("order.created")));
        assert_eq!(payload["data"], json!({ "id": n.to_string() }));
        assert!(call["arn"].as_str().unwrap().ends_with(":function:work"), "{call}");
        assert!(call["deadline_ms"].as_u64() > Some(0), "{call}");
        assert!(call["trace"].as_str().unwrap().starts_with("Root=1-"), "{call}");
        let same = calls.iter().filter(|other| other["request_id"] == call["request_id"]);
        assert_eq!(same.count(), 1, "a request id of its own: {call}");
    }
    server.stop().await;
}

#[tokio::test]
async fn each_shape_of_payload_is_what_its_name_says() {
    let mut tables = String::new();
    for shape in ["cloudevent", "eventbridge", "sqs", "raw"] {
        tables += &table(shape, "", "");
        tables += &trigger_function(shape, shape, IN_TURN, &format!("payload = \"{shape}\""));
    }
    let home = Home::new(&tables);
    let server = home.start().await;
    let data = json!({ "total": 12 });
    server.api().publish("orders", &with_data("o-1", "order.created", data.clone())).await;
    let payload = async |name: &str| called(&home, name, 1).await[0]["payload"].clone();
    assert_eq!(payload("cloudevent").await["data"], data);
    let envelope = payload("eventbridge").await;
    assert_eq!((&envelope["detail-type"], &envelope["detail"]), (&json!("order.created"), &data));
    let record = &payload("sqs").await["Records"][0];
    assert_eq!(serde_json::from_str::<Value>(record["body"].as_str().unwrap()).unwrap(), data);
    assert_eq!((&record["eventSource"], &record["messageId"].is_string()), (&json!("aws:sqs"), &true));
    assert_eq!(payload("raw").await, data);
}

#[tokio::test]
async fn an_idle_process_is_stopped_and_the_next_event_starts_another() {
    let tables = table("work", "idle_timeout = \"200ms\"", "");
    let home = Home::new(&format!("{tables}{}", trigger_function("t", "work", IN_TURN, "")));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let first = process_of(&called(&home, "work", 1).await[0]);
    gone(first).await;
    server.api().publish("orders", &event("2", "order.created")).await;
    let calls = called(&home, "work", 2).await;
    assert_ne!(process_of(&calls[1]), first);
    assert_eq!(calls[1]["call"], 1);
    assert_eq!(count(&at_rest(server.api(), "t", 2).await, "delivered"), 2);
}

#[tokio::test]
async fn the_least_number_of_instances_is_there_before_any_event() {
    let home = Home::new(&table("work", "min_instances = 2\nidle_timeout = \"100ms\"", ""));
    let server = home.start().await;
    let warm = instances(server.process_id(), 2).await;
    assert_eq!(warm.len(), 2);
    assert!(calls(&home, "work").is_empty());
    server.stop().await;
    for process in warm {
        gone(process).await;
    }
}

#[tokio::test]
async fn events_side_by_side_use_no_more_instances_than_allowed() {
    let keys = "max_instances = 2\ntimeout = \"60s\"";
    let trigger_keys =
        "concurrency = 8\nretry = { max_attempts = 1, backoff_initial = \"20ms\", backoff_max = \"100ms\" }";
    let home =
        Home::new(&format!("{}{}", table("work", keys, ""), trigger_function("t", "work", trigger_keys, "")));
    let server = home.start().await;
    let gate = home.path().join("gate");
    let wait = json!({ "do": "wait-for-file", "path": gate });
    let batch: Vec<Value> =
        (0..8).map(|n| with_data(&n.to_string(), "order.created", wait.clone())).collect();
    server.api().publish_all("orders", &batch).await;
    let busy = called(&home, "work", 2).await;
    assert_eq!(busy.len(), 2, "the others wait: {busy:?}");
    assert_eq!(instances_of(server.process_id()).len(), 2);
    std::fs::write(&gate, "").unwrap();
    // One attempt is allowed, and waiting for an instance costs none.
    let status = at_rest(server.api(), "t", 8).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (8, 0), "{status}");
    let mut processes: Vec<u32> = calls(&home, "work").iter().map(process_of).collect();
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), 2);
}

async fn invoke(api: Api, function: &str, payload: &Value) -> Value {
    let answer = api.post(&format!("/2015-03-31/functions/{function}/invocations"), payload).await;
    answer.expect_status(200).json()
}

#[tokio::test]
async fn the_environment_is_as_lambda_sets_it_and_nothing_of_the_brokers_leaks() {
    let keys = "memory = \"512MiB\"\ndirectory = \"below\"\nhandler = \"app.main\"";
    let variables = "TEST_STAGE = \"test\", TEST_KEY = { env = \"SECRET_OF_WORK\" }";
    let home = Home::new(&table("work", keys, variables))
        .environment("SECRET_OF_WORK", "hidden-key")
        .environment("AWS_SECRET_ACCESS_KEY", "the-brokers-own");
    std::fs::create_dir(home.path().join("below")).unwrap();
    let server = home.start().await;
    let answer = invoke(server.api(), "work", &json!({ "do": "environment" })).await;
    let environment = &answer["environment"];
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "work"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("_HANDLER", "app.main"),
        ("TEST_STAGE", "test"),
        ("TEST_KEY", "hidden-key"),
    ] {
        assert_eq!(environment[name], value, "{name} in {environment}");
    }
    for name in ["AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API"] {
        assert!(environment[name].is_string(), "no {name} in {environment}");
    }
    assert_ne!(environment["AWS_SECRET_ACCESS_KEY"], "the-brokers-own");
    assert!(answer["directory"].as_str().unwrap().ends_with("/below"), "{answer}");
    assert!(!server.log_text().contains("hidden-key"));
}

#[tokio::test]
async fn what_a_function_prints_becomes_log_lines_that_name_the_event() {
    let home = Home::new(&format!("{}{}", table("work", "", ""), trigger_function("t", "work", IN_TURN, "")));
    let server = home.start().await;
    let mut tied = with_data("o-1", "order.created", json!({ "do": "log", "lines": 2 }));
    tied["correlationid"] = "story-1".into();
    server.api().publish("orders", &tied).await;
    let request_id = called(&home, "work", 1).await[0]["request_id"].as_str().unwrap().to_owned();
    for said in ["line 1 of standard output", "line 1 of standard error"] {
        let line = async || {
            let text = server.log_text();
            text.lines().find(|line| line.contains(said)).map(str::to_owned)
        };
        let line = eventually("the function's line in the broker's log", line).await;
        serde_json::from_str::<Value>(&line).expect("a structured line");
        for part in ["\"work\"", request_id.as_str(), "\"o-1\"", "\"story-1\""] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
    let up = server.log_text().lines().filter(|line| line.contains("\"up\"")).count();
    assert_eq!(up, 1, "what is printed before the first call is logged as well");
}

#[tokio::test]
async fn a_process_that_dies_between_two_calls_is_replaced_and_no_event_pays_for_it() {
    let keys = "concurrency = 1\nretry = { max_attempts = 1, backoff_initial = \"20ms\" }";
    let home = Home::new(&format!("{}{}", table("work", "", ""), trigger_function("t", "work", keys, "")));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "t", 1).await;
    let first = process_of(&calls(&home, "work")[0]);
    let process = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    gone(first).await;
    server.api().publish("orders", &event("2", "order.created")).await;
    let status = at_rest(server.api(), "t", 2).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (2, 0), "{status}");
}

#[tokio::test]
async fn a_stop_lets_a_call_end_and_takes_every_process_with_it() {
    let tables =
        format!("{}{}", table("work", "timeout = \"30s\"", ""), trigger_function("t", "work", "", ""));
    let home = Home::with_keys("drain = \"20s\"", &tables);
    let mut server = home.start().await;
    let gate = home.path().join("gate");
    let wait = json!({ "do": "wait-for-file", "path": gate });
    server.api().publish("orders", &with_data("1", "order.created", wait)).await;
    let process = process_of(&called(&home, "work", 1).await[0]);
    let api = server.api();
    server.terminate();
    until(
        "the signal to be seen",
        |said: &String| said != "200",
        async || {
            let request = http::Request::get("/readyz").body(http_body_util::Full::default()).unwrap();
            api.send(request).await.map_or_else(|error| error.to_string(), |answer| answer.status.to_string())
        },
    )
    .await;
    assert!(is_running(process), "the call is under way");
    std::fs::write(&gate, "").unwrap();
    assert!(server.ended().await.success(), "{}", server.log_text());
    gone(process).await;

    let server = home.start().await;
    assert_eq!(count(&at_rest(server.api(), "t", 1).await, "delivered"), 1);
    let calls = calls(&home, "work");
    assert_eq!(calls.len(), 1, "it was not repeated: {:?}", calls.iter().map(event_ids).collect::<Vec<_>>());
    let status = trigger_until(server.api(), "t", "an account", |status| status["lag"] == 0).await;
    assert_eq!(count(&status, "delivered"), 1);
}
