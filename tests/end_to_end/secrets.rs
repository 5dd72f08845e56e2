//! Secrets stay where they are used: recognisable ones are planted in every place that takes one, and nothing that a person gets to see
//! may have them in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventail_tests::aws::KEYS;
use eventail_tests::events::event;
use eventail_tests::script::always;
use eventail_tests::{Api, Home, Received, Receiver, Reply, Server, eventually};
use serde_json::{Value, json};

use crate::support::trigger_until;

/// Where the interface is described.
const OPENAPI: &str = include_str!("../../broker/src/http/openapi.json");

/// What is planted, by the variable of the environment that holds it. None is a part of another, or of anything else.
fn planted() -> BTreeMap<&'static str, String> {
    let key = |byte: u8| STANDARD.encode([byte; 32]);
    BTreeMap::from([
        ("PLANT_HMAC", format!("whsec_{}", key(b'h'))),
        ("PLANT_ED25519", format!("whsk_{}", key(b'e'))),
        ("PLANT_PASSWORD", "planted-password-1".to_owned()),
        ("PLANT_BEARER", "planted-bearer-2".to_owned()),
        ("PLANT_HEADER", "planted-header-3".to_owned()),
        ("PLANT_AUTH_HEADER", "planted-auth-header-4".to_owned()),
        ("PLANT_CLIENT_SECRET", "planted-client-secret-5".to_owned()),
        ("PLANT_QUERY", "planted-query-6".to_owned()),
        ("PLANT_TEXT", "planted-text-7".to_owned()),
        ("PLANT_FUNCTION", "planted-function-8".to_owned()),
        ("PLANT_INVOKE", "planted-invoke-9".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "planted/aws/secret/10".to_owned()),
        ("AWS_SESSION_TOKEN", "planted-aws-session-11".to_owned()),
    ])
}

/// The token that the token endpoint gives, which is a secret too.
const ACCESS_TOKEN: &str = "planted-access-token-12";

/// What must be found nowhere: each secret as it is, without its prefix, and as `Basic` has it.
fn forbidden() -> Vec<String> {
    let mut forbidden: Vec<String> = planted().into_values().collect();
    forbidden.push(ACCESS_TOKEN.to_owned());
    let bare = |text: &String| {
        text.split_once("wh").and_then(|(_, key)| key.split_once('_')).map(|(_, key)| key.to_owned())
    };
    let stripped: Vec<String> = forbidden.iter().filter_map(bare).collect();
    forbidden.extend(stripped);
    forbidden.push(STANDARD.encode("user:planted-password-1"));
    forbidden.push(STANDARD.encode("client:planted-client-secret-5"));
    forbidden
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for secret in forbidden() {
        let Some(at) = text.find(&secret) else { continue };
        let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        panic!("{what} has {secret:?}: {}", &text[line..end]);
    }
}

/// A trigger for each way in which a secret reaches a target, all of which fail.
fn tables(refusing: &Receiver, tokens: &Receiver, broken: &Receiver) -> String {
    let mut tables = String::from(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[invoke]\nkeys = { AKIDPLANTED = { env = \"PLANT_INVOKE\" } }\n",
    );
    let oauth = |url: String, how: &str| {
        format!(
            "auth = {{ oauth = {{ token_url = \"{url}\", client_id = \"client\", client_secret = {{ env = \"PLANT_CLIENT_SECRET\" }}, client_authentication = \"{how}\" }} }}"
        )
    };
    let ways = [
        ("signed", "/hook", "secret = [{ env = \"PLANT_HMAC\" }, { env = \"PLANT_ED25519\" }, { file = \"key\" }]".to_owned()),
        ("basic", "/hook", "auth = { basic = { user = \"user\", password = { env = \"PLANT_PASSWORD\" } } }".to_owned()),
        ("bearer", "/hook", "auth = { bearer = { env = \"PLANT_BEARER\" } }\nhandshake = true".to_owned()),
        ("auth-header", "/hook", "auth = { header = { name = \"x-key\", value = { env = \"PLANT_AUTH_HEADER\" } } }".to_owned()),
        ("headers", "/hook", "headers = { x-a = { env = \"PLANT_HEADER\" }, x-b = \"planted-text-7\", x-c = \"${PLANT_TEXT} {$.id}\" }".to_owned()),
        ("query", "/hook?token=${PLANT_QUERY}", String::new()),
        ("places", "/hook/{$.id}?token=${PLANT_QUERY}", String::new()),
        ("oauth", "/hook", oauth(tokens.url("/token"), "basic")),
        ("oauth-post", "/hook", oauth(tokens.url("/token"), "post")),
        ("oauth-query", "/hook", oauth(tokens.url("/token?key=${PLANT_QUERY}"), "post")),
        ("oauth-out", "/hook", oauth(broken.url("/token"), "basic")),
    ];
    for (name, path, keys) in ways {
        let target = format!("[triggers.{name}.target.http]\nurl = \"{}\"\n{keys}\n", refusing.url(path));
        tables.push_str(&format!("[triggers.{name}]\ntopic = \"orders\"\nstart = \"earliest\"\n{target}"));
    }
    // Nobody is there: the request is signed all the same.
    let lambda = "function = \"work\"\nregion = \"eu-west-1\"\nendpoint = \"http://127.0.0.1:1\"";
    tables.push_str(&format!("[triggers.lambda]\ntopic = \"orders\"\nstart = \"earliest\"\n[triggers.lambda.target.lambda]\n{lambda}\n"));
    let environment = "{ PLANTED = { env = \"PLANT_FUNCTION\" } }";
    tables.push_str(&format!("[functions.work]\ncommand = [\"/bin/false\"]\nenvironment = {environment}\n"));
    tables
        .push_str("[triggers.work]\ntopic = \"orders\"\nstart = \"earliest\"\ntarget.function = \"work\"\n");
    tables
}

/// The names that paths of the interface have in braces, for what there is.
const NAMES: [(&str, &str); 4] =
    [("{topic}", "orders"), ("{id}", "1"), ("{function}", "work"), ("{offset}", "0")];

/// Every GET of the interface, with what was found in it.
async fn every_answer(api: Api, triggers: &[String]) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut answers = Vec::new();
    let paths = document["paths"].as_object().unwrap();
    for (path, _) in paths.iter().filter(|(_, methods)| methods.get("get").is_some()) {
        let path = NAMES.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
        let paths: Vec<String> = if path.contains("{trigger}") {
            triggers.iter().map(|name| path.replace("{trigger}", name)).collect()
        } else if path.contains("dead-letters/") {
            vec![path.replace("orders", "dead-letters")]
        } else {
            vec![path]
        };
        for path in paths {
            let answer = api.get(&path).await;
            answers.push((path, answer.text()));
        }
    }
    assert!(answers.len() > 20, "{answers:?}");
    answers
}

async fn command(home: &Home, arguments: &[&str]) -> String {
    let output = home.command(arguments).output().await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A home in which every secret is planted, at the chattiest level of the log.
fn plant(tables: &str) -> Home {
    let mut home = Home::new(tables).environment("EVENTAIL_LOG", "trace");
    for (name, value) in planted() {
        home = home.environment(name, &value);
    }
    std::fs::write(home.path().join("key"), &planted()["PLANT_HMAC"]).unwrap();
    home.environment("AWS_ACCESS_KEY_ID", KEYS.0).environment("AWS_EC2_METADATA_DISABLED", "true")
}

/// Waits until every trigger has failed at its event.
async fn all_failed(api: Api, triggers: &[String]) {
    for name in triggers {
        trigger_until(api, name, "a failure that is told", |status| {
            !status["last_failure"].is_null() || status["state"] == "paused"
        })
        .await;
    }
}

async fn everything_told(home: &Home, server: &Server, triggers: &[String]) -> Vec<(String, String)> {
    let url = server.url();
    let mut told = every_answer(server.api(), triggers).await;
    for arguments in [
        &["config", "status"][..],
        &["config", "status", "-o", "json"],
        &["config", "plan"],
        &["triggers"],
        &["triggers", "-o", "json"],
        &["functions"],
        &["dead-letters"],
        &["dead-letters", "-o", "json"],
        &["tail", "dead-letters", "-n", "100", "-o", "json"],
        &["why", "1"],
    ] {
        let text = command(home, &[arguments, &["--url", &url]].concat()).await;
        told.push((format!("eventail {}", arguments.join(" ")), text));
    }
    for arguments in [
        &["serve", "--print-config"][..],
        &["check", "--config", "eventail.toml"],
        &["check", "--config", "eventail.toml", "--probe"],
        &["schema"],
    ] {
        told.push((format!("eventail {}", arguments.join(" ")), command(home, arguments).await));
    }
    told
}

#[tokio::test]
async fn no_secret_is_seen_in_logs_errors_answers_or_dead_letters() {
    let refusing = Receiver::with(|request: &Received| {
        // The failures go every way that there is: dead letters, retries, throttles and a refused handshake.
        if request.method == http::Method::OPTIONS {
            Reply::Status(403)
        } else {
            Reply::Status([400, 500, 401, 429][request.headers.len() % 4])
        }
    })
    .await;
    let token = json!({ "access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 600 });
    let tokens = Receiver::with(always(Reply::Json(token))).await;
    let broken = Receiver::with(always(Reply::Status(500))).await;
    let home = plant(&tables(&refusing, &tokens, &broken));
    let server = home.start().await;
    let api = server.api();
    api.publish("orders", &event("1", "order.created")).await;
    let listed = api.get_json("/v1/triggers").await;
    let named = |trigger: &Value| trigger["name"].as_str().map(str::to_owned);
    let list = listed["triggers"].as_array().or_else(|| listed.as_array()).expect("a list of triggers");
    let triggers: Vec<String> = list.iter().filter_map(named).collect();
    assert!(triggers.len() >= 13, "{listed}");
    let own: Vec<String> = triggers.iter().filter(|name| !name.starts_with("invoke.")).cloned().collect();
    all_failed(api, &own).await;
    // They did go out, so there was something to keep.
    let sent = |wanted: &str| {
        refusing.received().iter().any(|request| {
            request.path.contains(wanted)
                || request.headers.values().any(|value| value.as_bytes() == wanted.as_bytes())
        })
    };
    for wanted in [
        "planted-query-6",
        "planted-header-3",
        "planted-auth-header-4",
        "Bearer planted-bearer-2",
        "Bearer planted-access-token-12",
    ] {
        assert!(sent(wanted), "{wanted} was not sent");
    }
    assert!(!api.dead_letters("").await.is_empty());

    for (what, text) in everything_told(&home, &server, &triggers).await {
        assert_clean(&what, &text);
    }
    // A reload that is refused keeps its errors, with the lines that they are about.
    let path = home.path().join("eventail.toml");
    let running = std::fs::read_to_string(&path).unwrap();
    let wrong = "\n[triggers.wrong.target.http]\nurl = \"http://user:planted-password-1@127.0.0.1/\"\nheaders = { x = \"planted-text-7\", y = 1 }\nsecret = \"planted-bearer-2\"\nauth = { bearer = \"planted-bearer-2\", basic = { user = \"u\", password = \"planted-password-1\" } }\n";
    std::fs::write(&path, format!("{running}{wrong}")).unwrap();
    let refused = api.post("/v1/config/reload", &json!({})).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_clean("a refused reload", &refused.text());
    assert_clean("GET /v1/config", &api.get("/v1/config").await.text());
    assert_clean("eventail check", &command(&home, &["check", "--config", "eventail.toml"]).await);
    let seen = eventually("the log to tell of the refusal", async || {
        Some(server.log_text()).filter(|log| log.contains("reload"))
    });
    assert!(seen.await.contains("TRACE"), "the log is as chatty as it can be");
    server.stop().await;
    assert_clean("the log", &home.log_text());
}
