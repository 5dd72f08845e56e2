//! What functions did and cost: the API, the command, what a restart keeps, and what a budget does.

use eventail_tests::events::{event, with_data};
use eventail_tests::function::{calls, table};
use eventail_tests::{Api, Home, Receiver, until};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger, trigger_function, trigger_until};

/// What the API tells of one function.
async fn function(api: Api, name: &str) -> Value {
    let all = api.get_json("/v1/functions").await;
    let functions = all["functions"].as_array().unwrap_or_else(|| panic!("no functions in {all}"));
    functions.iter().find(|function| function["name"] == name).cloned().unwrap_or(Value::Null)
}

/// Waits until so many calls are in the ledger: it is written a moment after the settlement.
async fn with_calls(api: Api, name: &str, calls: u64) -> Value {
    let what = format!("{calls} calls of {name} in the ledger");
    until(&what, |function: &Value| function["calls"] == calls, async || function(api, name).await).await
}

fn home(keys: &str) -> Home {
    let keys = format!("concurrency = 1\n{QUICK}\n{keys}");
    let tables = table("work", "memory = \"512MiB\"\ntimeout = \"1s\"\nmax_instances = 1", "");
    Home::new(&format!("{tables}{}", trigger_function("t", "work", &keys, "")))
}

#[tokio::test]
async fn calls_cold_starts_and_money_are_counted_and_survive_a_kill() {
    let home = home("");
    let server = home.start().await;
    let batch: Vec<Value> = (0..20).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
    at_rest(server.api(), "t", 20).await;
    let told = with_calls(server.api(), "work", 20).await;
    assert_eq!(
        (&told["kind"], &told["events"], &told["cold_starts"]),
        (&json!("function"), &json!(20), &json!(1)),
        "{told}"
    );
    assert_eq!((&told["cold_percent"], &told["memory_mb"]), (&json!(5.0), &json!(512)), "{told}");
    for number in [
        "init_p50_ms",
        "init_p99_ms",
        "duration_p50_ms",
        "duration_p99_ms",
        "billed_ms",
        "cost",
        "cost_per_1000_events",
        "memory_used_mb",
    ] {
        assert!(told[number].as_f64().is_some_and(|number| number > 0.0), "{number} of {told}");
    }
    assert_eq!(
        (&told["triggers"][0]["trigger"], &told["triggers"][0]["calls"]),
        (&json!("t"), &json!(20)),
        "{told}"
    );
    server.stop().await;

    let server = home.start().await;
    let after = with_calls(server.api(), "work", 20).await;
    for same in ["cold_starts", "events", "billed_ms", "memory_used_mb"] {
        assert_eq!(after[same], told[same], "{same}");
    }
    server.api().publish("orders", &event("20", "order.created")).await;
    let more = with_calls(server.api(), "work", 21).await;
    assert_eq!(more["cold_starts"], 2, "a new broker starts a new process: {more}");
    server.kill_9().await;
    let server = home.start().await;
    let kept = until(
        "the hour of the killed broker",
        |told: &Value| told["calls"].as_u64() >= Some(20),
        async || function(server.api(), "work").await,
    )
    .await;
    assert!(kept["calls"].as_u64() <= Some(21), "nothing is counted twice: {kept}");
}

#[tokio::test]
async fn each_kind_of_failure_is_counted_as_what_it_is() {
    let home = home("");
    let server = home.start().await;
    for (id, wish) in [("1", "fail"), ("2", "hang"), ("3", "crash"), ("4", "echo")] {
        let data = json!({ "do": wish });
        server.api().publish("orders", &with_data(id, "order.created", data)).await;
    }
    at_rest(server.api(), "t", 4).await;
    let told = with_calls(server.api(), "work", 10).await;
    let numbers = ["errors", "timeouts", "out_of_memory", "events"].map(|name| told[name].as_u64());
    assert_eq!(numbers, [Some(6), Some(3), Some(0), Some(1)], "{told}");
    let text = server.api().get("/metrics").await.text();
    assert!(
        text.lines().any(|line| line.starts_with("eventail_function_") && line.contains("work")),
        "{text}"
    );
}

#[tokio::test]
async fn an_http_target_tells_its_cold_starts_by_server_timing() {
    let receiver = Receiver::with(|request| {
        let timing = if request.path == "/cold" { "init;dur=120.5, db;dur=3" } else { "db;dur=3" };
        eventail_tests::Reply::Header("server-timing", timing.to_owned())
    })
    .await;
    let home = Home::new(&format!(
        "{}{}",
        trigger("cold", &receiver.url("/cold"), ""),
        trigger("warm", &receiver.url("/warm"), "")
    ));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "cold", 1).await;
    at_rest(server.api(), "warm", 1).await;
    let host = receiver.url("").replace("http://", "");
    let told = with_calls(server.api(), &host, 2).await;
    assert_eq!((&told["kind"], &told["cold_starts"]), (&json!("http"), &json!(1)), "{told}");
    let init = told["init_p50_ms"].as_f64().unwrap();
    assert!((110.0..132.0).contains(&init), "{told}");
}

#[tokio::test]
async fn the_command_shows_the_same_as_a_table_and_as_json() {
    let home = home("");
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "t", 1).await;
    let told = with_calls(server.api(), "work", 1).await;
    let url = server.url();
    let run = async |arguments: &[&str]| {
        let output = home.command(arguments).env("EVENTAIL_URL", &url).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let table = run(&["functions"]).await;
    let (head, row) = table.split_once('\n').unwrap();
    for column in ["FUNCTION", "CALLS", "COLD", "INIT", "P50", "P99"] {
        assert!(head.contains(column), "no {column} in {head}");
    }
    assert!(row.contains("work") && row.contains("100"), "{table}");
    let json: Value = serde_json::from_str(&run(&["functions", "--output", "json"]).await).unwrap();
    let listed = json.as_array().or_else(|| json["functions"].as_array()).unwrap_or_else(|| panic!("{json}"));
    let work = listed.iter().find(|function| function["name"] == "work").unwrap_or_else(|| panic!("{json}"));
    for same in ["calls", "cold_starts", "billed_ms", "init_p50_ms"] {
        assert_eq!(work[same], told[same], "{same}");
    }
}

#[tokio::test]
async fn a_budget_that_is_spent_pauses_its_trigger_until_the_next_day() {
    let home = home("budget = { per_day = 0.0000003, action = \"pause\" }");
    let server = home.start().await;
    let batch: Vec<Value> = (0..50).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
    let paused = |status: &Value| status["state"] == "paused";
    let status = trigger_until(server.api(), "t", "the budget to pause it", paused).await;
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains("budget")), "{status}");
    assert!(count(&status, "delivered") >= 1 && count(&status, "pending") > 0, "{status}");
    assert_eq!(count(&status, "dead_lettered"), 0, "{status}");
    server.kill_9().await;

    // A restart does not make new money.
    let server = home.start().await;
    let status = trigger_until(server.api(), "t", "it to be paused still", paused).await;
    assert!(count(&status, "pending") > 0, "{status}");
    assert!(calls(&home, "work").len() < 50);
}

#[tokio::test]
async fn a_budget_that_only_warns_lets_everything_through_and_says_so() {
    let home = home("budget = { per_day = 0.0000003, action = \"warn\" }");
    let server = home.start().await;
    let batch: Vec<Value> = (0..50).map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
    assert_eq!(count(&at_rest(server.api(), "t", 50).await, "delivered"), 50);
    let said = async || server.log_text().lines().filter(|line| line.contains("budget")).count().to_string();
    until("the log to say it", |lines: &String| lines != "0", said).await;
}
