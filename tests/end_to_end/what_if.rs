//! A configuration is tested before it runs: by its own tests, and against the events that are there.

use eventail_tests::events::event;
use eventail_tests::{Home, Receiver, Server, until};
use serde_json::{Value, json};

use crate::support::{at_rest, trigger};

const HOLDS: &str = "[[tests]]\nname = \"created\"\ntopic = \"orders\"\nevent = { type = \"order.created\" }\ntriggers = [\"ship\"]\n";
const FAILS: &str = "[[tests]]\nname = \"paid\"\ntopic = \"orders\"\nevent = { type = \"order.paid\" }\ntriggers = [\"ship\"]\n";

fn created(url: &str) -> String {
    trigger("ship", url, "pattern = { type = [\"order.created\"] }")
}

async fn run(home: &Home, arguments: &[&str]) -> (i32, String) {
    let output = home.command(arguments).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

async fn status(server: &Server, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
    until(what, wish, async || server.api().get_json("/v1/config").await).await
}

#[tokio::test]
async fn a_configuration_whose_tests_fail_is_not_loaded_and_one_whose_tests_hold_is() {
    let receiver = Receiver::start().await;
    let home = Home::new(&(created(&receiver.url("/")) + HOLDS));
    let server = home.start().await;
    let path = home.write_config().display().to_string();
    assert_eq!(run(&home, &["check", "--test", "--config", &path]).await.0, 0);

    home.set_config("", &(created(&receiver.url("/other")) + HOLDS + FAILS));
    drop(home.write_config());
    let (exit, shown) = run(&home, &["check", "--test", "--config", &path]).await;
    assert_eq!(exit, 1, "{shown}");
    assert!(shown.contains("test \"paid\": trigger ship does not match: type: expected"), "{shown}");
    assert!(shown.contains("1 of 2 tests hold"), "{shown}");
    let refused = status(&server, "the refusal", |status| !status["last_error"].is_null()).await;
    let message = refused["last_error"]["message"].as_str().unwrap();
    assert!(message.contains("test \"paid\"") && refused["reloads"] == 0, "{refused}");
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "ship", 1).await;
    assert_eq!(receiver.received()[0].path, "/", "the last good one stays");

    home.set_config("", &(created(&receiver.url("/other")) + HOLDS));
    drop(home.write_config());
    status(&server, "the reload", |status| status["reloads"] == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_is_included_is_read_again_when_it_changes() {
    let receiver = Receiver::start().await;
    let home = Home::new("");
    let parts = home.path().join("parts");
    std::fs::create_dir_all(&parts).unwrap();
    std::fs::write(parts.join("ship.toml"), created(&receiver.url("/"))).unwrap();
    home.set_config("include = [\"parts/*.toml\"]", "");
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "ship", 1).await;

    std::fs::write(parts.join("ship.toml"), created(&receiver.url("/changed"))).unwrap();
    status(&server, "the reload", |status| status["reloads"] == 1).await;
    server.api().publish("orders", &event("2", "order.created")).await;
    at_rest(server.api(), "ship", 2).await;
    let paths: Vec<_> = receiver.received().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/", "/changed"]);
    server.stop().await;
}

#[tokio::test]
async fn what_a_new_configuration_would_do_is_told_and_nothing_is_delivered() {
    let receiver = Receiver::start().await;
    let home = Home::new(&created(&receiver.url("/")));
    let server = home.start().await;
    let events: Vec<Value> = (0..20)
        .map(|number| {
            event(&number.to_string(), if number % 2 == 0 { "order.created" } else { "order.paid" })
        })
        .collect();
    server.api().publish_all("orders", &events).await;
    at_rest(server.api(), "ship", 10).await;

    let new = home.path().join("new.toml");
    let keys = "pattern = { type = [\"order.paid\"] }\ninput = { template = '{\"id\": <$.id>}' }";
    std::fs::write(&new, trigger("ship", &receiver.url("/"), keys) + &trigger("all", &receiver.url("/"), ""))
        .unwrap();
    let (new, url) = (new.display().to_string(), server.url());
    let arguments = ["what-if", "--config", &new, "--url", &url, "-o", "json", "--from", "2"];
    let (exit, shown) = run(&home, &arguments).await;
    assert_eq!(exit, 0, "{shown}");
    let report: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&report["events"], &report["changed"]), (&json!(18), &json!(true)));
    let ship = &report["triggers"]["ship"];
    assert_eq!((&ship["newly_matched"], &ship["no_longer_matched"]), (&json!(9), &json!(9)));
    assert_eq!(ship["samples"].as_array().unwrap().len(), 6, "{ship}");
    assert!(shown.contains("{\\\"id\\\": \\\"3\\\"}"), "{shown}");
    assert_eq!(report["triggers"]["all"]["calls_after"], 18);

    let (exit, table) = run(&home, &["what-if", "--config", &new, "--url", &url, "--fail-on-change"]).await;
    assert_eq!(exit, 1, "{table}");
    assert!(table.contains("20 events; 2 of 2 triggers would do otherwise"), "{table}");
    assert!(table.contains("ship: no longer matched: orders/0"), "{table}");
    let same = home.write_config().display().to_string();
    let (exit, table) = run(&home, &["what-if", "--config", &same, "--url", &url, "--fail-on-change"]).await;
    assert_eq!(exit, 0, "{table}");
    assert_eq!(receiver.count(), 10, "nothing was delivered by it");
    server.stop().await;
}
