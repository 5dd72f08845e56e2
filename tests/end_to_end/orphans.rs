//! No process of a function outlives its broker, however the broker ends, and whatever the function does about it.

use std::time::Duration;

use eventail_tests::events::with_data;
use eventail_tests::function::{called, gone, instances, is_running, number_in, process_of, table};
use eventail_tests::{Home, Server};
use serde_json::{Value, json};

use crate::support::trigger_function;

/// Three instances at work: one that waits, one that does not hear SIGTERM, one that left a child behind. And the numbers of all
/// four processes.
async fn busy(home: &Home) -> (Server, Vec<u32>) {
    let server = home.start().await;
    let child = home.path().join("child");
    let events = [
        json!({ "do": "hang" }),
        json!({ "do": "hang-for-good" }),
        json!({ "do": "leave-child", "path": child }),
    ];
    let event = |(n, data): (usize, &Value)| with_data(&n.to_string(), "order.created", data.clone());
    let events: Vec<Value> = events.iter().enumerate().map(event).collect();
    server.api().publish_all("orders", &events).await;
    let calls = called(home, "work", events.len()).await;
    let mut processes: Vec<u32> = calls.iter().map(process_of).collect();
    processes.push(number_in(&child).await);
    assert!(processes.iter().all(|process| is_running(*process)), "{processes:?}");
    (server, processes)
}

fn home() -> Home {
    let function = table("work", "timeout = \"5m\"\nmax_instances = 3", "");
    Home::with_keys(
        "drain = \"200ms\"",
        &format!("{function}{}", trigger_function("t", "work", "concurrency = 3", "")),
    )
}

#[tokio::test]
async fn a_killed_broker_leaves_no_process_behind() {
    let home = home();
    let (server, processes) = busy(&home).await;
    server.kill_9().await;
    for process in processes {
        gone(process).await;
    }
}

#[tokio::test]
async fn a_killed_broker_leaves_none_behind_that_was_kept_warm() {
    let home = Home::new(&table("work", "min_instances = 2", ""));
    let server = home.start().await;
    let warm = instances(server.process_id(), 2).await;
    server.kill_9().await;
    for process in warm {
        gone(process).await;
    }
}

#[tokio::test]
async fn a_broker_that_is_told_to_stop_leaves_no_process_behind() {
    let home = home();
    let (server, processes) = busy(&home).await;
    server.stop().await;
    for process in processes {
        assert!(!is_running(process), "{process} is still there when the broker has ended");
    }
}

#[tokio::test]
async fn a_second_signal_leaves_no_process_behind_either() {
    let function = table("work", "timeout = \"5m\"\nmax_instances = 3", "");
    let tables = format!("{function}{}", trigger_function("t", "work", "concurrency = 3", ""));
    let home = Home::with_keys("drain = \"5m\"", &tables);
    let (mut server, processes) = busy(&home).await;
    let api = server.api();
    server.terminate();
    eventail_tests::eventually("the first signal to be seen", async || {
        let answer = api.send(http::Request::get("/readyz").body(Default::default()).unwrap()).await;
        answer.map_or(true, |answer| answer.status != 200).then_some(())
    })
    .await;
    server.terminate();
    server.ended().await;
    for process in processes {
        gone(process).await;
    }
}

#[tokio::test]
async fn a_process_that_is_stopped_while_idle_takes_its_children_along() {
    let function = table("work", "idle_timeout = \"300ms\"", "");
    let home = Home::new(&format!("{function}{}", trigger_function("t", "work", "", "")));
    let server = home.start().await;
    let child = home.path().join("child");
    let leave = json!({ "do": "leave-child", "path": child });
    server.api().publish("orders", &with_data("1", "order.created", leave)).await;
    let process = process_of(&called(&home, "work", 1).await[0]);
    let child = number_in(&child).await;
    gone(process).await;
    gone(child).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_timed_out_takes_its_children_along() {
    let function = table("work", "timeout = \"1s\"", "");
    let home = Home::new(&function);
    let server = home.start().await;
    let child = home.path().join("child");
    let path = home.path().join("never");
    // A batch of two: the first leaves the child, the second never comes to an end.
    let events =
        [json!({ "do": "leave-child", "path": child }), json!({ "do": "wait-for-file", "path": path })];
    let payload = Value::from(events.to_vec());
    let api = server.api();
    let answer = tokio::time::timeout(
        Duration::from_secs(60),
        api.post("/2015-03-31/functions/work/invocations", &payload),
    );
    let answer = answer.await.expect("the call ends").expect_status(200);
    assert_eq!(answer.headers["x-amz-function-error"], "Unhandled", "{}", answer.text());
    gone(process_of(&called(&home, "work", 1).await[0])).await;
    gone(number_in(&child).await).await;
}
