//! The three uses, as a reader of the examples runs them.

use std::process::Stdio;
use std::time::Duration;

use eventail_tests::binary::{built, root};
use eventail_tests::function::python;
use eventail_tests::{Api, Home, Server, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{at_rest, count};

#[tokio::test]
async fn the_publisher_publishes_and_publishing_again_makes_no_second_event() {
    let home = Home::new("");
    let server = home.start().await;
    let program = built("example-publisher", "eventail-example-publisher");
    let run = async || {
        let mut command = Command::new(&program);
        command.args([&server.quic().to_string(), server.fingerprint(), "25"]);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run().await.contains("published 25, 0 of them were there already"));
    assert!(run().await.contains("published 0, 25 of them were there already"));
    assert_eq!(server.api().get_json("/v1/topics/orders").await["end"], 25);
}

#[tokio::test]
async fn the_embedded_broker_delivers_to_a_function_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let program = built("example-embedded", "eventail-example-embedded");
    let run = Command::new(program).arg(folder.path()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in ["in order: o-1 o-2 o-3", "dead-lettered o-4", "matched 4, delivered 3, dead-lettered 1"] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

/// `app.py` beside a broker that runs with the example's own configuration, but for its ports.
struct Sidecar {
    app: Child,
    api: Api,
    lines: Lines<BufReader<ChildStdout>>,
}

async fn start_app(eventail: &str, port: u16) -> Sidecar {
    let mut command = Command::new("python3");
    command.arg(root().join("examples/sidecar/app.py")).env("EVENTAIL_URL", eventail);
    command.env("APP_PORT", port.to_string()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut app = command.spawn().expect("python3 runs");
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
    let ready = lines.next_line().await.unwrap().expect("the app says where it listens");
    let address = ready.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{ready}"));
    Sidecar { app, api: Api::new(address), lines }
}

/// The example's tables with the app's port in place of its own.
fn tables(port: u16) -> String {
    let text = std::fs::read_to_string(root().join("examples/sidecar/eventail.toml")).unwrap();
    let tables = text.split_once("[egress]").expect("the one line of the sidecar case").1;
    format!("[egress]{}", tables.replace("127.0.0.1:9000", &format!("127.0.0.1:{port}")))
}

async fn order(api: Api, id: &str, work_seconds: f64) {
    let order = json!({ "id": id, "customer": "ada", "work_seconds": work_seconds });
    api.post("/orders", &order).await.expect_status(202);
}

fn terminate(child: &Child) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
}

async fn ends_well(mut sidecar: Sidecar) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(line) = sidecar.lines.next_line().await.unwrap() {
        said.push(line);
    }
    let status = sidecar.app.wait().await.unwrap();
    assert!(status.success(), "{status}: {said:?}");
    said
}

#[tokio::test]
async fn the_sidecar_and_its_app_end_in_order_when_both_are_told_at_once() {
    // The app needs the broker's address and the broker the app's: the app's port is found first.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::with_keys("drain = \"10s\"", &tables(port));
    let mut server: Server = home.start().await;
    let sidecar = start_app(&server.url(), port).await;
    order(sidecar.api, "o-1", 0.0).await;
    at_rest(server.api(), "ship", 1).await;

    // Two orders of one customer: the first takes its time, so the second waits for its turn.
    order(sidecar.api, "o-2", 1.0).await;
    order(sidecar.api, "o-3", 0.0).await;
    eventually("the slow order to be under way", async || {
        Some(server.api().trigger("ship").await).filter(|status| status["in_flight"] == 1)
    })
    .await;
    server.terminate();
    terminate(&sidecar.app);
    let status = server.ended().await;
    assert!(status.success(), "{status}: {}", server.log_text());
    let said = ends_well(sidecar).await;
    let at =
        |line: &str| said.iter().position(|there| there.contains(line)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(
        at("no more orders") < at("shipped o-2") && at("shipped o-2") < at("nothing is under way"),
        "{said:?}"
    );

    // Nothing is lost and nothing comes twice: what had no turn yet is shipped after the next start.
    let server = home.start().await;
    let sidecar = start_app(&server.url(), port).await;
    let status = at_rest(server.api(), "ship", 3).await;
    assert_eq!(count(&status, "delivered"), 3);
    let shipped = sidecar.api.get_json("/shipped").await;
    let ids: Vec<&Value> = shipped.as_array().unwrap().iter().map(|order| &order["id"]).collect();
    assert!(ids.len() <= 1 && ids.iter().all(|id| **id == "o-3"), "{shipped}");
}

/// `examples/functions/eventail.toml`, with this machine's Python and the binary that cargo built in place of a reader's own.
fn functions() -> String {
    let folder = root().join("examples/functions");
    let text = std::fs::read_to_string(folder.join("eventail.toml")).unwrap();
    let mut tables = text;
    for (theirs, ours) in [
        ("\"python3\"", python()),
        ("\"../../target/release/example-function\"", built("example-function", "eventail-example-function")),
        ("\"python\"", folder.join("python")),
    ] {
        assert_eq!(tables.matches(theirs).count(), 1, "{theirs}");
        tables = tables.replace(theirs, &format!("{:?}", ours.display().to_string()));
    }
    tables
}

#[tokio::test]
async fn the_python_and_the_rust_function_run_unmodified_behind_one_topic() {
    let home = Home::new(&functions());
    let server = home.start().await;
    let api = server.api();
    let order = |id: &str, country: &str, lines: Value| {
        let data = json!({ "id": id, "country": country, "lines": lines });
        eventail_tests::events::with_data(id, "order.created", data)
    };
    let line =
        |article: &str, quantity: u64| json!({ "article": article, "quantity": quantity, "price": 9.99 });
    let orders = [
        order("o-1", "DE", json!([line("lamp", 2), line("fan", 1)])),
        order("o-2", "FR", json!([line("lamp", 3)])),
        order("o-3", "XX", json!([])),
    ];
    api.publish_all("orders", &orders).await;
    for trigger in ["invoice", "pick"] {
        let status = at_rest(api, trigger, 3).await;
        let ends = [count(&status, "delivered"), count(&status, "dead_lettered")];
        assert_eq!(ends, [2, 1], "{trigger}: {status}\n{}", server.log_text());
    }
    let log = server.log_text();
    for said in ["I-o-1: 35.66 gross", "I-o-2: 35.96 gross", "to pick for 2 of 3 orders: 1 x fan, 5 x lamp"] {
        assert!(log.contains(said), "no {said:?} in:\n{log}");
    }
    let letters = api.dead_letters("trigger=invoice").await;
    assert!(letters[0]["response"].to_string().contains("no VAT rate for 'XX'"), "{letters:?}");
    assert_eq!(api.dead_letters("trigger=pick").await[0]["event_id"], "o-3");

    // The same function, called as a program would call it in AWS.
    let event = json!({ "data": orders[0]["data"] });
    let answer = api.post("/2015-03-31/functions/invoice/invocations", &event).await.expect_status(200);
    assert_eq!(answer.json(), json!({ "invoice": "I-o-1", "net": "29.97", "tax": "5.69", "gross": "35.66" }));
}
