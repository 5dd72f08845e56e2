//! Why: what is told of an event by the API and by the command, and that it outlives a kill.

use eventail_tests::events::event;
use eventail_tests::{Home, Receiver, Reply, Server, eventually};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, trigger};

async fn timeline(server: &Server, id: &str) -> Value {
    server.api().get_json(&format!("/v1/events/{id}/timeline?topic=orders")).await
}

fn story<'a>(timeline: &'a Value, trigger: &str) -> &'a Value {
    let triggers = timeline["events"][0]["triggers"].as_array().unwrap();
    triggers.iter().find(|story| story["trigger"] == trigger).unwrap_or_else(|| panic!("{timeline}"))
}

fn attempts(story: &Value) -> Vec<&str> {
    let steps = story["steps"].as_array().unwrap().iter();
    steps.filter(|step| step["kind"] == "attempt").map(|step| step["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_attempt_is_told_also_after_a_kill_and_without_the_index() {
    let receiver = Receiver::with(|request| match request.header("ce-id") {
        "bad" => Reply::Text(500, "no paper".to_owned()),
        _ => Reply::Status(204),
    })
    .await;
    let tables = trigger("ship", &receiver.url("/"), QUICK)
        + &trigger("bill", &receiver.url("/"), &format!("{QUICK}\npattern = {{ type = [\"invoice\"] }}"));
    let home = Home::new(&tables);
    let server = home.start().await;
    server.api().publish_all("orders", &[event("good", "order"), event("bad", "order")]).await;
    server.api().publish("orders", &event("good", "order")).await;
    at_rest(server.api(), "ship", 2).await;

    let good = timeline(&server, "good").await;
    assert_eq!(good["events"][0]["duplicates"].as_array().unwrap().len(), 1, "{good}");
    assert_eq!(
        (&story(&good, "ship")["outcome"], attempts(story(&good, "ship"))),
        (&json!("delivered"), vec!["delivered"])
    );
    let missed = story(&good, "bill");
    assert_eq!(
        (&missed["outcome"], &missed["miss"]["path"]),
        (&json!("not_matched"), &json!("type")),
        "{missed}"
    );
    assert_eq!(
        (&missed["miss"]["expected"], &missed["miss"]["found"]),
        (&json!("[\"invoice\"]"), &json!("\"order\""))
    );
    let bad = timeline(&server, "bad").await;
    let told = story(&bad, "ship").clone();
    assert_eq!((&told["outcome"], attempts(&told)), (&json!("dead_lettered"), vec!["failed"; 3]), "{told}");
    assert!(told.to_string().contains("no paper"), "{told}");

    server.kill_9().await;
    std::fs::remove_dir_all(home.data().join("index")).unwrap();
    let server = home.start().await;
    let again = timeline(&server, "bad").await;
    assert_eq!(story(&again, "ship"), &told);
    let output =
        home.command(&["why", "bad", "--topic", "orders", "--url", &server.url()]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("attempt 3 failed") && said.contains("dead-letters/0"), "{said}");
    let output = home.command(&["why", "nobody", "--url", &server.url()]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("topics"), "{said}");
}

#[tokio::test]
async fn a_pattern_that_nearly_matches_is_flagged() {
    let receiver = Receiver::with(|_| Reply::Status(204)).await;
    let keys = format!("{QUICK}\npattern = {{ type = [\"order\"], subject = [\"DE\"] }}");
    let home = Home::new(&trigger("ship", &receiver.url("/"), &keys));
    let server = home.start().await;
    let mut nearly = event("1", "order");
    nearly["subject"] = "de".into();
    server.api().publish("orders", &nearly).await;
    eventually("the near miss is flagged", async || {
        let ship = server.api().trigger("ship").await;
        let miss = &ship["near_miss"]["miss"];
        (miss["path"] == "subject" && miss["found"] == "\"de\"").then_some(())
    })
    .await;
}
