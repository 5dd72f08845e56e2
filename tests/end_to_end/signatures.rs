//! Signed requests, checked by the reference libraries of Standard Webhooks, and the keys that sign them.

use std::path::Path;
use std::process::Stdio;

use eventail_tests::binary::root;
use eventail_tests::events::event;
use eventail_tests::function::{python, scripts};
use eventail_tests::{Home, Received, Receiver};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::trigger_to;

const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// A key as `eventail webhooks keygen` makes it.
async fn generated(home: &Home, arguments: &[&str]) -> (String, Option<String>) {
    let arguments = [&["webhooks", "keygen", "-o", "json"], arguments].concat();
    let output = home.command(&arguments).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let key: Value = serde_json::from_slice(&output.stdout).unwrap();
    (key["secret"].as_str().unwrap().to_owned(), key["public"].as_str().map(str::to_owned))
}

/// A request that was signed with these keys, the newest first.
async fn signed_with(keys: &[&str]) -> Received {
    let receiver = Receiver::start().await;
    let names: Vec<String> = (0..keys.len()).map(|nth| format!("{{ env = \"KEY_{nth}\" }}")).collect();
    let secrets = format!("secret = [{}]", names.join(", "));
    let mut home = Home::new(&trigger_to("ship", &receiver.url("/"), "", &secrets));
    for (nth, key) in keys.iter().enumerate() {
        home = home.environment(&format!("KEY_{nth}"), key);
    }
    let server = home.start().await;
    server.api().publish("orders", &event("1", "order.created")).await;
    let request = receiver.wait_for(1).await.remove(0);
    server.stop().await;
    request
}

/// What a program that checks requests says of one.
async fn verdict(mut program: Command, key: &str, request: &Received, body: &str) -> String {
    let headers: Value =
        HEADERS.iter().map(|name| ((*name).to_owned(), json!(request.header(name)))).collect();
    let input = json!({ "secret": key, "headers": headers, "body": body }).to_string();
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = program.spawn().expect("the program starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn of_pypi() -> Command {
    let mut program = Command::new(python());
    program.arg(scripts().join("verify_webhook.py"));
    program
}

fn of_npm() -> Command {
    let mut program = Command::new("node");
    program.arg(root().join("tests/node/verify_webhook.js"));
    program
}

#[tokio::test]
async fn the_reference_libraries_believe_each_key_while_keys_change() {
    let home = Home::new("");
    let ((new, none), (old, _)) = (generated(&home, &[]).await, generated(&home, &[]).await);
    let ((private, public), (_, strange)) =
        (generated(&home, &["--ed25519"]).await, generated(&home, &["--ed25519"]).await);
    let (public, strange) = (public.unwrap(), strange.unwrap());
    assert!(none.is_none() && new != old && public != strange);
    let request = signed_with(&[&new, &private, &old]).await;
    let versions: Vec<&str> =
        request.header("webhook-signature").split(' ').map(|item| item.split_once(',').unwrap().0).collect();
    assert_eq!(versions, ["v1", "v1a", "v1"]);
    let body = std::str::from_utf8(&request.body).unwrap();
    for key in [&new, &old] {
        assert_eq!(verdict(of_pypi(), key, &request, body).await, "valid");
        assert_eq!(verdict(of_npm(), key, &request, body).await, "valid");
    }
    assert_eq!(verdict(of_npm(), &public, &request, body).await, "valid");
    let other = generated(&home, &[]).await.0;
    for (program, key, body) in [
        (of_pypi(), &other, body),
        (of_pypi(), &new, "{}"),
        (of_npm(), &other, body),
        (of_npm(), &new, "{}"),
        (of_npm(), &strange, body),
        (of_npm(), &public, "{}"),
    ] {
        assert_eq!(verdict(program, key, &request, body).await, "No matching signature found");
    }
}

/// `eventail webhooks verify` on a request: its exit code, and what it said.
async fn verified(home: &Home, key: &[&str], request: &Received, body: &Path) -> (Option<i32>, String) {
    let body = body.display().to_string();
    let [id, timestamp, signature] = HEADERS.map(|name| request.header(name));
    let given =
        ["webhooks", "verify", "--id", id, "--timestamp", timestamp, "--signature", signature, body.as_str()];
    let output = home.command(&[&given[..], key].concat()).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_request_can_be_checked_on_the_command_line() {
    let home = Home::new("");
    let (secret, _) = generated(&home, &[]).await;
    let (private, public) = generated(&home, &["--ed25519"]).await;
    let public = public.unwrap();
    let request = signed_with(&[&private, &secret]).await;
    let (body, wrong) = (home.path().join("body"), home.path().join("wrong"));
    std::fs::write(&body, &request.body).unwrap();
    std::fs::write(&wrong, "{}").unwrap();
    std::fs::write(home.path().join("key"), format!("{secret}\n")).unwrap();
    let home = home.environment("WEBHOOK_KEY", &private);
    let ways = [&["--key-file", "key"][..], &["--key-env", "WEBHOOK_KEY"], &["--public-key", &public]];
    for key in ways {
        let (code, said) = verified(&home, key, &request, &body).await;
        assert_eq!((code, said.trim()), (Some(0), "signed with this key"));
        let (code, said) = verified(&home, key, &request, &wrong).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("not to be believed") && !said.contains(&secret) && !said.contains(&private),
            "{said}"
        );
    }
    let mut old = request.clone();
    old.headers.insert("webhook-timestamp", "1600000000".parse().unwrap());
    let (code, said) = verified(&home, ways[2], &old, &body).await;
    assert!(code == Some(1) && said.contains("seconds ago, and 300 are taken"), "{said}");
    let (code, said) = verified(&home, &["--public-key", "whpk_AAAA"], &request, &body).await;
    assert!(code == Some(1) && said.contains("whpk_") && said.contains("32 bytes"), "{said}");
    assert_eq!(verified(&home, &[], &request, &body).await.0, Some(2), "a key is needed");
}
