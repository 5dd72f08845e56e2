//! Replays: a part of a topic delivered once more, marked, beside live events, over a `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use eventail_tests::events::event;
use eventail_tests::script::always;
use eventail_tests::{Home, Receiver, Reply, Server, until};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, trigger};

const EVENTS: usize = 60;

async fn publish(server: &Server, ids: impl Iterator<Item = usize>) {
    let batch: Vec<Value> = ids.map(|n| event(&n.to_string(), "order.created")).collect();
    server.api().publish_all("orders", &batch).await;
}

/// Runs a command; answers its exit code and output.
async fn run(home: &Home, server: &Server, arguments: &[&str]) -> (i32, String) {
    let mut command = home.command(arguments);
    command.env("EVENTAIL_URL", server.url()).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn is_replay(received: &eventail_tests::Received) -> bool {
    received.find("eventail-delivery") == Some("replay")
}

async fn ended(server: &Server, id: &str) -> Value {
    let path = format!("/v1/replays/{id}");
    until(
        "the replay to end",
        |status: &Value| !status["ended_at"].is_null(),
        async || server.api().get_json(&path).await,
    )
    .await
}

#[tokio::test]
async fn a_replay_goes_on_after_a_kill_and_every_delivery_of_it_is_marked() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), &format!("concurrency = 1\n{QUICK}")));
    let server = home.start().await;
    publish(&server, 0..EVENTS).await;
    at_rest(server.api(), "ship", EVENTS as u64).await;
    let live: BTreeMap<String, String> = receiver
        .received()
        .iter()
        .map(|request| (request.id().to_owned(), request.header("webhook-id").to_owned()))
        .collect();
    assert!(receiver.received().iter().all(|request| request.find("eventail-delivery").is_none()));

    let request = json!({ "trigger": "ship", "from": "earliest", "per_second": 50 });
    let started = server.api().post("/v1/replays", &request).await.expect_status(201).json();
    let id = started["id"].as_str().unwrap();
    receiver.wait_for(EVENTS + 5).await;
    server.kill_9().await;

    let server = home.start().await;
    // Live events go on beside it.
    publish(&server, EVENTS..EVENTS + 10).await;
    at_rest(server.api(), "ship", EVENTS as u64 + 10).await;
    let status = ended(&server, id).await;
    assert_eq!(
        (&status["state"], count(&status, "delivered")),
        (&json!("completed"), EVENTS as u64),
        "{status}"
    );

    let (replayed, others): (Vec<_>, Vec<_>) = receiver.received().into_iter().partition(is_replay);
    assert_eq!(others.len(), EVENTS + 10, "live events were delivered once each");
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for request in &replayed {
        ids.entry(request.id()).or_default().insert(request.header("webhook-id"));
    }
    assert_eq!(ids.len(), EVENTS);
    for (event, ids) in &ids {
        assert_eq!(ids.len(), 1, "{event} kept its delivery id over the restart");
        assert!(!ids.contains(live[*event].as_str()), "{event} has an id of its own in the replay");
    }
    // What was under way when the process died may come twice, and nothing else.
    assert!(replayed.len() <= EVENTS + 1, "{}", replayed.len());
    let metrics = server.api().get("/metrics").await.expect_status(200).text();
    let counted = format!("eventail_replayed_events_total{{outcome=\"delivered\"}} {EVENTS}");
    assert!(metrics.contains(&counted), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn the_command_line_counts_replays_waits_and_tells() {
    let receiver = Receiver::start().await;
    let elsewhere = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    let run = async |arguments: &[&str]| run(&home, &server, arguments).await;
    publish(&server, 0..6).await;
    at_rest(server.api(), "ship", 6).await;

    let (code, dry) = run(&["replay", "ship", "--from", "1h", "--dry-run", "-o", "json"]).await;
    let dry: Value = serde_json::from_str(&dry).unwrap();
    assert_eq!(
        (code, &dry["selected"], &dry["by_type"]["order.created"]["events"]),
        (0, &json!(6), &json!(6))
    );
    assert_eq!(receiver.count(), 6);

    let filter = r#"{"id": [{"anything-but": "2"}]}"#;
    let arguments = ["replay", "ship", "--from", "1", "--to", "4", "--filter", filter, "--rate", "1000"];
    let (code, told) = run(&arguments).await;
    assert!(code == 0 && told.contains("completed"), "{told}");
    let replayed: BTreeSet<String> = receiver
        .received()
        .iter()
        .filter(|request| is_replay(request))
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!(replayed, ["1", "3"].map(str::to_owned).into());

    let (code, told) =
        run(&["replay", "--topic", "orders", "--from", "4", "--to-url", &elsewhere.url("/try?key=1")]).await;
    assert_eq!(code, 0, "{told}");
    assert!(!told.contains("key=1"), "a query may be a secret: {told}");
    assert!(elsewhere.received().iter().all(|request| is_replay(request) && request.path == "/try?key=1"));
    assert_eq!(elsewhere.count(), 2);

    let (code, told) = run(&["replay", "ship", "--from", "earliest", "--to-topic", "again"]).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(server.api().get_json("/v1/topics/again").await["end"], 6);

    receiver.set(always(Reply::Status(422)));
    let (code, told) = run(&["replay", "ship", "--from", "5"]).await;
    assert!(code == 1 && told.contains("dead-lettered"), "{code} {told}");
    let letters = server.api().dead_letters("trigger=ship").await;
    assert!(letters.len() == 1 && letters[0]["replay"].is_string(), "{letters:?}");

    let (_, detached) =
        run(&["replay", "ship", "--from", "0", "--rate", "0.01", "--detach", "-o", "json"]).await;
    let detached: Value = serde_json::from_str(&detached).unwrap();
    let id = detached["id"].as_str().unwrap();
    let (code, told) = run(&["replays", id, "--cancel", "-o", "json"]).await;
    assert!(code == 0 && told.contains("\"cancelled\""), "{told}");
    let (_, listed) = run(&["replays"]).await;
    assert!(listed.contains(id) && listed.contains("topic again") && listed.lines().count() == 6, "{listed}");
    let (code, told) = run(&["replays", "absent"]).await;
    assert!(code == 1 && told.contains("there is no replay"), "{code} {told}");
    server.stop().await;
}
