//! The configuration changes while the broker runs: by an edit, a rename, SIGHUP and the API; and a broken one changes nothing.

use eventail_tests::events::event;
use eventail_tests::{Api, Home, Receiver, Server, until};
use serde_json::{Value, json};

use crate::support::{at_rest, count, trigger};

async fn config_until(api: Api, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
    until(what, wish, async || api.get_json("/v1/config").await).await
}

async fn reloads(api: Api, count: u64) -> Value {
    config_until(api, "a reload", |status| status["reloads"] == count).await
}

/// Writes the configuration beside its place and moves it there, as editors do.
fn replace(home: &Home, tables: &str) {
    let path = home.path().join("eventail.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    home.set_config("", tables);
    let aside = home.path().join("eventail.toml.new");
    let written = std::fs::read_to_string(home.write_config()).unwrap();
    std::fs::write(&aside, written).unwrap();
    std::fs::write(&path, before).unwrap();
    std::fs::rename(&aside, &path).unwrap();
}

async fn start_quiet(home: &Home) -> Server {
    let path = home.write_config();
    Server::start_unwatched(home, &path).await
}

#[tokio::test]
async fn an_edit_of_the_file_takes_effect_and_one_that_is_broken_does_not() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let home = Home::new(&trigger("ship", &first.url("/"), ""));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    at_rest(api, "ship", 1).await;

    home.set_config("", &trigger("ship", &second.url("/"), ""));
    drop(home.write_config());
    let status = reloads(api, 1).await;
    assert!(status["file"].as_str().unwrap().ends_with("eventail.toml"), "{status}");
    api.publish("orders", &event("2", "order.created")).await;
    at_rest(api, "ship", 2).await;
    assert_eq!((first.count(), second.count()), (1, 1));

    home.set_config("", &trigger("ship", &second.url("/"), "concurency = 1"));
    drop(home.write_config());
    let status = config_until(api, "the error", |status| !status["last_error"].is_null()).await;
    let message = status["last_error"]["message"].as_str().unwrap();
    assert!(message.contains("unknown key `concurency`") && message.contains("eventail.toml:"), "{message}");
    assert_eq!(status["reloads"], 1);
    let metrics = api.get("/metrics").await.text();
    assert!(metrics.contains("eventail_config_reload_failures_total 1"), "{metrics}");
    let shown = home.command(&["config", "status", "--url", &server.url()]).output().await.unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("1 refused") && shown.contains("concurency"), "{shown}");
    api.publish("orders", &event("3", "order.created")).await;
    at_rest(api, "ship", 3).await;
    assert_eq!(second.count(), 2, "the last good one stays");

    // Back to what runs: no reload is needed for it, and the error is gone.
    home.set_config("", &trigger("ship", &second.url("/"), ""));
    drop(home.write_config());
    config_until(api, "no error", |status| status["last_error"].is_null()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_is_replaced_by_a_rename_is_read() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    let api = server.api();
    for (number, name) in [(1, "second"), (2, "third")] {
        replace(&home, &trigger(name, &receiver.url("/"), ""));
        config_until(api, "a reload", |status| status["reloads"].as_u64() >= Some(number)).await;
        until(
            "the new trigger",
            |list: &Value| list["triggers"][0]["name"] == name,
            async || api.get_json("/v1/triggers").await,
        )
        .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn sighup_and_the_api_reload_a_file_that_is_not_watched() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = start_quiet(&home).await;
    let api = server.api();
    home.set_config("drain = \"3s\"", &trigger("ship", &receiver.url("/"), ""));
    drop(home.write_config());
    let plan = api.get_json("/v1/config/plan").await;
    assert_eq!(
        (&plan["changes"][0]["name"], &plan["changes"][0]["needs_restart"]),
        (&json!("drain"), &json!(false))
    );
    assert_eq!(api.get_json("/v1/config").await["reloads"], 0, "a plan changes nothing");
    server.hang_up();
    reloads(api, 1).await;

    home.set_config("", &trigger("dispatch", &receiver.url("/"), "renamed_from = \"ship\""));
    drop(home.write_config());
    let shown = home.command(&["config", "reload", "--url", &server.url()]).output().await.unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("renamed from ship"), "{shown}");
    let report = api.post("/v1/config/reload", &json!({})).await.expect_status(200).json();
    assert_eq!(report["changes"], json!([]), "nothing has changed since");
    home.set_config("", "[triggers.dispatch]\ntopic = 1\n");
    drop(home.write_config());
    let refused = api.post("/v1/config/reload", &json!({})).await.expect_status(422);
    assert_eq!(refused.code(), "invalid_config");
    server.stop().await;
}

#[tokio::test]
async fn a_kill_9_right_after_a_reload_keeps_the_state_of_what_was_renamed_and_of_what_left() {
    let receiver = Receiver::start().await;
    let both = trigger("ship", &receiver.url("/ship"), "") + &trigger("bill", &receiver.url("/bill"), "");
    let home = Home::new(&both);
    let server = start_quiet(&home).await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    at_rest(api, "ship", 1).await;
    at_rest(api, "bill", 1).await;
    home.set_config("", &trigger("dispatch", &receiver.url("/ship"), "renamed_from = \"ship\""));
    drop(home.write_config());
    api.post("/v1/config/reload", &json!({})).await.expect_status(200);
    server.kill_9().await;

    let server = start_quiet(&home).await;
    let api = server.api();
    assert_eq!(count(&api.trigger("dispatch").await, "delivered"), 1);
    let orphans = api.get_json("/v1/triggers?orphaned=true").await;
    assert_eq!(
        (&orphans["triggers"][0]["name"], &orphans["triggers"][0]["cursor"]),
        (&json!("bill"), &json!(1))
    );
    api.publish("orders", &event("2", "order.created")).await;
    at_rest(api, "dispatch", 2).await;
    home.set_config("", &both);
    drop(home.write_config());
    api.post("/v1/config/reload", &json!({})).await.expect_status(200);
    at_rest(api, "bill", 2).await;
    at_rest(api, "ship", 2).await;
    assert_eq!(receiver.received_of("1").len(), 3, "once for each, and for the one that begins anew");
    server.stop().await;
}
