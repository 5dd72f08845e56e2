//! The command line against a running broker: what it prints, and its exit codes.

use std::process::{Output, Stdio};

use eventail_tests::events::event;
use eventail_tests::script::always;
use eventail_tests::{Home, Receiver, Reply, Server};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{QUICK, at_rest, trigger};

/// Runs a command against the server; answers its exit code, output and errors.
pub(crate) async fn run(
    home: &Home,
    server: &Server,
    arguments: &[&str],
    input: &str,
) -> (i32, String, String) {
    let mut command = home.command(arguments);
    command.env("EVENTAIL_URL", server.url());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads no input may be gone already.
    let _unread = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    texts(&child.wait_with_output().await.unwrap())
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
pub(crate) fn done((code, output, errors): (i32, String, String)) -> String {
    assert_eq!(code, 0, "{output}\n{errors}");
    output
}

#[tokio::test]
async fn events_go_in_and_come_out() {
    let home = Home::new("");
    let server = home.start().await;
    let run = async |arguments: &[&str], input: &str| run(&home, &server, arguments, input).await;
    let said =
        done(run(&["publish", "orders", "--type", "order.created", "--id", "o-1"], r#"{"total":7}"#).await);
    assert!(said.contains("published 1 event to orders at offset 0"), "{said}");
    let lines: String = (0..50).map(|n| format!("{}\n", event(&format!("l-{n}"), "line"))).collect();
    std::fs::write(home.path().join("events.ndjson"), &lines).unwrap();
    done(run(&["publish", "orders", "--ndjson", "events.ndjson"], "").await);
    let again: Value =
        serde_json::from_str(&done(run(&["publish", "orders", "--ndjson", "-o", "json"], &lines).await))
            .unwrap();
    assert_eq!((&again["published"], &again["duplicates"]), (&json!(50), &json!(50)));

    let tail = done(run(&["tail", "orders", "--from", "earliest", "-o", "json"], "").await);
    let events: Vec<Value> = tail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 51);
    let filter = r#"{"type": ["order.created"]}"#;
    let one = done(run(&["tail", "orders", "--from", "earliest", "--filter", filter], "").await);
    assert!(one.contains("o-1") && !one.contains("l-1"), "{one}");
    let topics: Value = serde_json::from_str(&done(run(&["topics", "-o", "json"], "").await)).unwrap();
    let orders = topics["topics"].as_array().unwrap().iter().find(|topic| topic["name"] == "orders").unwrap();
    assert_eq!(orders["end"], 51);
    assert!(done(run(&["topics"], "").await).contains("orders"));
}

#[tokio::test]
async fn triggers_and_dead_letters_are_seen_and_moved() {
    let receiver = Receiver::with(always(Reply::Status(400))).await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    let run = async |arguments: &[&str]| run(&home, &server, arguments, "").await;
    server.api().publish("orders", &event("1", "order.created")).await;
    at_rest(server.api(), "ship", 1).await;
    assert!(done(run(&["triggers"]).await).contains("ship"));
    done(run(&["triggers", "pause", "ship", "--reason", "moving"]).await);
    let shown: Value =
        serde_json::from_str(&done(run(&["triggers", "show", "ship", "-o", "json"]).await)).unwrap();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("paused"), &json!("moving")));
    done(run(&["triggers", "resume", "ship"]).await);

    let listed = done(run(&["dead-letters"]).await);
    assert!(listed.contains("dead-letters/0") && listed.contains("permanent"), "{listed}");
    assert!(done(run(&["dead-letters", "show", "dead-letters/0"]).await).contains("order.created"));
    receiver.set(eventail_tests::script::accept);
    done(run(&["dead-letters", "redrive", "--trigger", "ship"]).await);
    receiver.wait_for(2).await;
}

#[tokio::test]
async fn exit_codes_say_what_went_wrong() {
    let home = Home::new("");
    let server = home.start().await;
    let code = async |arguments: &[&str]| run(&home, &server, arguments, "x").await.0;
    assert_eq!(code(&["--version"]).await, 0);
    assert_eq!(code(&["no-such-command"]).await, 2);
    assert_eq!(code(&["tail", "nothing", "--from", "earliest"]).await, 1);
    assert_eq!(code(&["triggers", "show", "nobody"]).await, 1);
    assert_eq!(code(&["publish", "orders", "absent-file.json"]).await, 1);
    let unreachable = home.command(&["topics", "--url", "http://127.0.0.1:1"]).output().await.unwrap();
    assert_eq!(texts(&unreachable).0, 3);
    for shell in ["bash", "zsh", "fish"] {
        let script = home.command(&["completions", shell]).output().await.unwrap();
        assert!(done(texts(&script)).contains("eventail"));
    }
}

#[tokio::test]
async fn check_tells_every_mistake_at_once_with_its_place() {
    let home = Home::new("");
    let good = home.write_config();
    let check = async |path: &std::path::Path| {
        let path = path.display().to_string();
        texts(&home.command(&["check", "--config", &path]).output().await.unwrap())
    };
    done(check(&good).await);
    let bad = home.path().join("bad.toml");
    std::fs::write(&bad, "[topics]\nduribility = \"sync\"\n\n[listen]\nhttp = \"nowhere\"\n").unwrap();
    let (code, _, errors) = check(&bad).await;
    assert_eq!(code, 1);
    for part in ["duribility", "durability", "bad.toml:2", "nowhere", "bad.toml:5"] {
        assert!(errors.contains(part), "no {part} in:\n{errors}");
    }
}

#[tokio::test]
async fn check_refuses_what_serve_refuses_with_the_same_words() {
    let home = Home::new("");
    let auth = "[auth]\n";
    for (tables, word) in [
        ("[listen]\nhttp = \"0.0.0.0:0\"\nquic = \"off\"\n", "nobody is asked"),
        (&format!("[listen]\nhttp = \"0.0.0.0:0\"\nquic = \"off\"\n{auth}"), "not encrypted"),
    ] {
        std::fs::write(home.path().join("eventail.toml"), format!("data_dir = \"data\"\n{tables}")).unwrap();
        let (code, _, served) = texts(&home.command(&["serve"]).output().await.unwrap());
        assert_eq!(code, 1, "{served}");
        let (code, output, checked) = texts(&home.command(&["check"]).output().await.unwrap());
        assert_eq!(code, 1, "{output}");
        let error = |said: &str| {
            said.lines().skip_while(|line| !line.starts_with("error")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(error(&checked), error(&served));
        assert!(checked.contains(word), "{checked}");
    }
}

#[tokio::test]
async fn the_printed_configuration_is_the_file_in_the_repository_and_is_valid() {
    let home = Home::new("");
    let printed = done(texts(&home.command(&["serve", "--print-config"]).output().await.unwrap()));
    let file = eventail_tests::binary::root().join("broker/config.default.toml");
    assert_eq!(printed, std::fs::read_to_string(file).unwrap());
    let path = home.path().join("printed.toml");
    std::fs::write(&path, printed).unwrap();
    done(texts(&home.command(&["check", "--config", "printed.toml"]).output().await.unwrap()));
}

#[tokio::test]
async fn storage_check_finds_a_flipped_bit_and_names_the_file() {
    let home = Home::new("");
    let server = home.start().await;
    let batch: Vec<Value> = (0..100).map(|n| event(&n.to_string(), "t")).collect();
    server.api().publish_all("orders", &batch).await;
    server.api().publish_all("orders", &[event("second", "t")]).await;
    server.stop().await;
    let data = home.data().display().to_string();
    let check = async || texts(&home.command(&["storage", "check", &data]).output().await.unwrap());
    done(check().await);

    let segment = largest_file(&home.data(), "orders");
    let mut bytes = std::fs::read(&segment).unwrap();
    let needle = b"\"id\":\"50\"";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the data lies there as it came");
    bytes[at + 7] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (code, output, errors) = check().await;
    assert_eq!(code, 1, "{output}{errors}");
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    assert!(output.contains(&name), "no {name} in:\n{output}{errors}");
    assert!(output.contains("offsets 0 to 99 are lost"), "{output}");

    // What is left is served without a repair; a repair ends the complaints and changes nothing else.
    let serves_the_rest = async || {
        let server = home.start().await;
        let (code, tail, told) =
            run(&home, &server, &["tail", "orders", "--from", "earliest", "-o", "json"], "").await;
        assert_eq!(code, 0, "{told}");
        let events: Vec<Value> = tail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((events.len(), &events[0]["offset"]), (1, &json!(100)));
        assert!(told.contains("offsets 0 to 99"), "what is missing is told beside it: {told}");
        let shown = done(run(&home, &server, &["topics", "show", "orders"], "").await);
        assert!(shown.contains("lost 100") && shown.contains(&name), "{shown}");
        server.stop().await;
    };
    serves_the_rest().await;
    let repair = home.command(&["storage", "repair", &data, "--quarantine"]).output().await.unwrap();
    let repaired = done(texts(&repair));
    assert!(repaired.contains("1 damaged place put aside"), "{repaired}");
    let aside = home.data().join("quarantine").join("orders").join(format!("{name}.0"));
    assert!(
        std::fs::read(&aside).unwrap().windows(7).any(|window| window == b"\"id\":\"5"),
        "the bytes are kept"
    );
    let checked = done(check().await);
    assert!(checked.contains("repaired"), "{checked}");
    serves_the_rest().await;
}

#[tokio::test]
async fn torture_tells_what_it_tried_and_takes_no_folder_of_others() {
    let home = Home::new("");
    let torture = async |arguments: &[&str]| {
        let arguments = [&["torture"], arguments].concat();
        texts(&home.command(&arguments).output().await.unwrap())
    };
    let told = done(torture(&["disk", "--rounds", "2", "--output", "json"]).await);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["rounds"], &told["losses"]), (&json!(2), &json!([])), "{told}");
    assert_eq!(told["crashes"]["kills"], 2, "{told}");
    for (part, count) in
        [("crashes", "acknowledged_events"), ("crashes", "compared_events"), ("power_cuts", "states")]
    {
        assert!(told[part][count].as_u64().unwrap() > 0, "{part} {count}: {told}");
    }
    let left = std::fs::read_dir(home.path().join("disk")).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind where nothing was lost");

    std::fs::create_dir(home.path().join("mine")).unwrap();
    std::fs::write(home.path().join("mine").join("file"), "precious").unwrap();
    let (code, _, errors) = torture(&["mine"]).await;
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("not of `eventail torture`"), "{errors}");
    assert_eq!(std::fs::read(home.path().join("mine").join("file")).unwrap(), b"precious");
    let shown = done(torture(&["disk", "--rounds", "1", "--seed", "9"]).await);
    assert!(shown.contains("Nothing that was acknowledged was lost"), "{shown}");
}

/// The file in which a topic's records lie.
fn largest_file(data: &std::path::Path, topic: &str) -> std::path::PathBuf {
    let mut open = vec![data.to_owned()];
    let mut found: Vec<(u64, std::path::PathBuf)> = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.components().any(|part| part.as_os_str() == topic) {
                found.push((entry.metadata().unwrap().len(), path));
            }
        }
    }
    found.into_iter().max().unwrap_or_else(|| panic!("no files of {topic} in {}", data.display())).1
}
