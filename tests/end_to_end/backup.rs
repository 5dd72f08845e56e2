//! Backups of a broker under load: what is restored is what there was at one moment, and half a backup is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use eventail_tests::{Api, Home, Received, Receiver, Reply, Server, eventually};
use serde_json::{Value, json};

fn tables(receiver: &Receiver) -> String {
    format!(
        "[topics]\nsegment_bytes = \"64KiB\"\n\
        [triggers.ship]\ntopic = \"orders\"\npattern = '{{\"type\":[\"order.created\"]}}'\n\
        target.http.url = {:?}\n\
        [triggers.refused]\ntopic = \"orders\"\npattern = '{{\"type\":[\"order.refused\"]}}'\n\
        target.http.url = {:?}\n\
        [schedules.nightly]\nexpression = \"cron(0 3 * * ? *)\"\ntopic = \"orders\"\n",
        receiver.url("/ship"),
        receiver.url("/refused")
    )
}

fn event(id: &str, kind: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": kind,
        "datacontenttype": "application/json", "data": {"id": id, "filler": "x".repeat(200)}})
}

fn shipped(receiver: &Receiver) -> Vec<Received> {
    receiver.received().into_iter().filter(|request| request.path == "/ship").collect()
}

/// Every event of a topic, by offset.
async fn events(api: Api, topic: &str) -> BTreeMap<u64, Value> {
    let mut all = BTreeMap::new();
    loop {
        let from = all.keys().last().map_or(0, |last| last + 1);
        let page = api.get_json(&format!("/v1/topics/{topic}/events?from={from}&limit=1000")).await;
        let page = page["events"].as_array().unwrap().clone();
        if page.is_empty() {
            return all;
        }
        for one in page {
            all.insert(one["offset"].as_u64().unwrap(), one);
        }
    }
}

/// What a user can observe and what does not move by itself.
async fn observed(api: Api) -> Value {
    let mut told = BTreeMap::new();
    for path in ["/v1/dead-letters", "/v1/delayed", "/v1/replays", "/v1/schedules"] {
        told.insert(path, api.get_json(path).await);
    }
    for trigger in ["ship", "refused"] {
        let status = api.trigger(trigger).await;
        told.insert(
            trigger,
            json!({"cursor": status["cursor"], "account": status["account"], "state": status["state"]}),
        );
    }
    json!(told)
}

async fn backup(server: &Server, home: &Home, dir: &Path) -> Value {
    let dir = dir.display().to_string();
    let output =
        home.command(&["backup", &dir, "--url", &server.url(), "-o", "json"]).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&told).unwrap()
}

async fn restore(home: &Home, dir: &Path) -> std::process::Output {
    let (dir, config) = (dir.display().to_string(), home.write_config().display().to_string());
    home.command(&["restore", &dir, "--config", &config]).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_at_rest_is_all_that_can_be_observed() {
    let refusing = |request: &Received| Reply::Status(if request.path == "/refused" { 422 } else { 204 });
    let receiver = Receiver::with(refusing).await;
    let home = Home::new(&tables(&receiver));
    let server = home.start().await;
    let api = server.api();
    let kinds = ["order.created", "order.refused", "other"];
    let all: Vec<_> = (0..600_usize).map(|n| event(&format!("e{n}"), kinds[n % 3])).collect();
    api.publish_all("orders", &all).await;
    let later = json!({"specversion": "1.0", "id": "later", "source": "/shop", "type": "order.created", "deliverafter": "24h"});
    let headers = [("content-type", "application/cloudevents+json")];
    let held =
        api.request(http::Method::POST, "/v1/topics/orders/events", &headers, later.to_string().into()).await;
    assert!(held.status < 300, "{}", held.text());
    eventually("everything is settled", async || {
        let (ship, refused) = (api.trigger("ship").await, api.trigger("refused").await);
        (ship["account"]["delivered"] == 200 && refused["account"]["dead_lettered"] == 200).then_some(())
    })
    .await;
    let before = (observed(api).await, events(api, "orders").await, events(api, "dead-letters").await);
    let dir = home.path().join("backup");
    let told = backup(&server, &home, &dir).await;
    assert_eq!((&told["state"], &told["damaged"]), (&json!("complete"), &json!(0)), "{told}");
    let again =
        home.command(&["backup", &dir.display().to_string(), "--url", &server.url()]).output().await.unwrap();
    assert_eq!(again.status.code(), Some(4), "a folder that is used is refused");
    server.stop().await;

    let second = Home::new(&tables(&receiver));
    let restored = restore(&second, &dir).await;
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let server = second.start().await;
    let api = server.api();
    eventually("the index is there again", async || {
        (api.get_json("/v1/dead-letters?limit=1000").await["dead_letters"].as_array()?.len() == 200)
            .then_some(())
    })
    .await;
    let after = (observed(api).await, events(api, "orders").await, events(api, "dead-letters").await);
    assert_eq!(after, before);
    let found = api.get_json("/v1/events/e7").await;
    let places = found["places"].as_array().unwrap();
    assert!(places.iter().any(|place| place["topic"] == "orders" && place["offset"] == 7), "{found}");
    assert!(api.publish("orders", &event("e7", "order.created")).await.1, "repeats are known");
    // Nothing that was settled is delivered again.
    let delivered = shipped(&receiver).len();
    api.publish("orders", &event("new", "order.created")).await;
    eventually("the new one comes", async || (shipped(&receiver).len() > delivered).then_some(())).await;
    assert_eq!(shipped(&receiver).len(), delivered + 1);
    let again = restore(&second, &dir).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_acknowledged_before_it_and_loses_no_delivery() {
    let receiver = Receiver::start().await;
    let home = Home::new(&tables(&receiver));
    let server = home.start().await;
    let api = server.api();
    let mut acknowledged = 0;
    let mut publish = async |api: Api| {
        let batch: Vec<_> =
            (0..50).map(|n| event(&format!("e{}", acknowledged + n), "order.created")).collect();
        api.publish_all("orders", &batch).await;
        acknowledged += 50;
        acknowledged
    };
    for _ in 0..10 {
        publish(api).await;
    }
    let before = publish(api).await;
    let dir = home.path().join("backup");
    let after = {
        let mut made = std::pin::pin!(backup(&server, &home, &dir));
        loop {
            tokio::select! {
                told = &mut made => break told,
                _ = publish(api) => {}
            }
        }
    };
    assert_eq!(after["state"], "complete", "{after}");
    server.kill_9().await;
    let seen = shipped(&receiver).len();

    let second = Home::new(&tables(&receiver));
    let restored = restore(&second, &dir).await;
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let server = second.start().await;
    let api = server.api();
    let there = events(api, "orders").await;
    assert!(there.len() >= before, "{} of {before} that were acknowledged before", there.len());
    for (at, (offset, one)) in there.iter().enumerate() {
        assert_eq!((*offset, one["event"]["id"].as_str().unwrap()), (at as u64, format!("e{at}").as_str()));
    }
    eventually("all of it is delivered", async || {
        let account = api.trigger("ship").await["account"].clone();
        (account["delivered"] == there.len() && account["pending"] == 0).then_some(())
    })
    .await;
    assert!(seen > 0);
    let ids: BTreeSet<_> = shipped(&receiver).iter().map(|request| request.id().to_owned()).collect();
    assert!((0..there.len()).all(|n| ids.contains(&format!("e{n}"))), "each came at least once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_while_it_makes_a_backup_leaves_none() {
    let receiver = Receiver::start().await;
    let home = Home::new(&tables(&receiver));
    let server = home.start().await;
    let api = server.api();
    for batch in 0..20 {
        let all: Vec<_> = (0..200).map(|n| event(&format!("e{batch}-{n}"), "other")).collect();
        api.publish_all("orders", &all).await;
    }
    let dir = home.path().join("backup");
    api.post("/v1/backups", &json!({"dir": dir, "copies": true})).await.expect_status(202);
    server.kill_9().await;
    let dir_text = dir.display().to_string();
    if dir.join("manifest.json").exists() {
        // It was quicker than the kill: then it is whole.
        let verified = home.command(&["backup", "--verify", &dir_text]).output().await.unwrap();
        assert!(verified.status.success());
    } else {
        let second = Home::new(&tables(&receiver));
        let refused = restore(&second, &dir).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(!second.data().join("logs").exists());
    }
    // The broker starts again as ever, tells that it was killed, and makes one.
    let server = home.start().await;
    assert!(home.log_text().contains("recovered after a stop that was not orderly"), "{}", home.log_text());
    backup(&server, &home, &home.path().join("whole")).await;
    server.stop().await;
    // An orderly stop is told as one, and a backup can be made of what is stopped.
    let offline = home.path().join("offline");
    let arguments =
        ["backup", &offline.display().to_string(), "--data-dir", &home.data().display().to_string()];
    let made = tokio::time::timeout(Duration::from_secs(60), home.command(&arguments).output())
        .await
        .unwrap()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = home.start().await;
    assert!(home.log_text().contains("started after an orderly stop"));
    let busy = home.command(&["backup", "unused", arguments[2], arguments[3]]).output().await.unwrap();
    assert!(
        String::from_utf8_lossy(&busy.stderr).contains("in use"),
        "{}",
        String::from_utf8_lossy(&busy.stderr)
    );
    server.stop().await;
}

/// Every file and folder in there, with the folder itself.
fn all_in(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut at = 0;
    while at < all.len() {
        if all[at].is_dir() {
            let inside: Vec<_> =
                std::fs::read_dir(&all[at]).unwrap().map(|entry| entry.unwrap().path()).collect();
            all.extend(inside);
        }
        at += 1;
    }
    all
}

#[tokio::test]
async fn nobody_else_can_read_the_data_or_a_backup() {
    use std::os::unix::fs::PermissionsExt as _;
    let receiver = Receiver::start().await;
    let home = Home::new(&tables(&receiver));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let dir = home.path().join("backup");
    backup(&server, &home, &dir).await;
    server.stop().await;
    // What the index makes by itself, files and folders, is behind a folder into which nobody else comes.
    let index = home.data().join("index");
    for path in all_in(&home.data()).into_iter().chain(all_in(&dir)) {
        if path.starts_with(&index) && path != index {
            continue;
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o} {}", path.display());
    }
    let second = Home::new(&tables(&receiver));
    let restored = restore(&second, &dir).await;
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
}

#[tokio::test]
async fn each_backup_has_its_own_status_and_a_second_into_one_folder_harms_no_first() {
    let receiver = Receiver::start().await;
    let home = Home::new(&tables(&receiver));
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let dir = home.path().join("backup");
    backup(&server, &home, &dir).await;
    let again = json!({"dir": dir, "copies": false, "secrets": false});
    server.api().post("/v1/backups", &again).await.expect_status(202);
    let states = eventually("the second to end", async || {
        let page = server.api().get_json("/v1/backups").await;
        let states: Vec<String> =
            page["backups"].as_array()?.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect();
        (states.len() != 1 || states[0] != "running")
            .then_some(states)
            .filter(|states| states[0] != "running")
    })
    .await;
    assert_eq!(states, ["failed", "complete"], "the last one first");
    let folder = dir.display().to_string();
    let verified = home.command(&["backup", "--verify", &folder]).output().await.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    server.stop().await;
}
