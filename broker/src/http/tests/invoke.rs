//! The Lambda Invoke API, with functions that are real processes.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventail_triggers::function::{Confinement, FunctionOptions};
use eventail_triggers::http::Secret;
use eventail_wire::{FunctionName, Offset, Timestamp, TopicName};
use http::Method;
use serde_json::{Value, json};

use super::super::sigv4::tests::Signer;
use super::support::{Answer, DRAIN, Served};
use crate::config::Config;

/// A function in the language that every machine with tests on it has: it does what the payload's `do` says.
const FUNCTION: &str = r#"
import json, os, sys, time, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as call:
        event, headers = json.load(call), call.headers
    do = event.get("do") if isinstance(event, dict) else None
    print("doing", do, flush=True)
    if do == "crash":
        os._exit(3)
    if do == "wait":
        time.sleep(60)
    path, answer = "/response", {"event": event, "context": headers.get("Lambda-Runtime-Client-Context"),
                                 "id": headers.get("Lambda-Runtime-Aws-Request-Id")}
    if do == "fail":
        path, answer = "/error", {"errorType": "ValueError", "errorMessage": "no", "stackTrace": ["a", "b"]}
    body = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(api + headers["Lambda-Runtime-Aws-Request-Id"] + path, body)).read()
"#;

fn function(name: &str) -> FunctionOptions {
    FunctionOptions {
        name: FunctionName::new(name).unwrap(),
        command: ["python3", "-c", FUNCTION].map(str::to_owned).to_vec(),
        directory: None,
        environment: Vec::new(),
        handler: None,
        memory_mb: None,
        confinement: Confinement::default(),
        timeout_ms: 10_000,
        init_timeout_ms: 30_000,
        min_instances: 0,
        max_instances: 2,
        idle_timeout_ms: 60_000,
    }
}

async fn served(change: impl FnOnce(&mut Config, &mut FunctionOptions)) -> Served {
    Served::start_with(|config| {
        let mut options = function("echo");
        change(config, &mut options);
        config.functions = BTreeMap::from([(options.name.clone(), options)]);
        config.add_invoke_triggers().unwrap();
    })
    .await
}

const ECHO: &str = "/2015-03-31/functions/echo/invocations";

async fn invoke(served: &Served, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    served.ask(Method::POST, target, headers, body).await
}

impl Answer {
    /// Checks a refusal's parts and gives its message.
    #[track_caller]
    fn refused(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["x-amzn-errortype"], kind);
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(self.headers.contains_key("x-amzn-requestid"));
        let body = self.json();
        let message = body.get("message").or(body.get("Message"));
        message.and_then(Value::as_str).unwrap_or_else(|| panic!("{body}")).to_owned()
    }
}

#[tokio::test]
async fn a_function_is_invoked_by_every_form_of_its_name() {
    let served = served(|_, _| {}).await;
    for name in [
        "echo",
        "echo:live",
        "echo%3A%24LATEST",
        "123456789012:function:echo",
        "arn:aws:lambda:eu-west-1:123456789012:function:echo",
        "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aecho%3A3",
        "echo?x=1",
    ] {
        let target = match name.split_once('?') {
            Some((name, _)) => format!("/2015-03-31/functions/{name}/invocations?Qualifier=%24LATEST"),
            None => format!("/2015-03-31/functions/{name}/invocations"),
        };
        let answer = invoke(&served, &target, &[], r#"{"n":[1]}"#).await;
        assert_eq!(answer.ok(200)["event"], json!({"n": [1]}), "{name}");
        assert_eq!(answer.headers["x-amz-executed-version"], "$LATEST");
        assert!(!answer.headers.contains_key("x-amz-function-error"));
        assert!(!answer.headers.contains_key("x-amz-log-result"));
        let id = answer.headers["x-amzn-requestid"].to_str().unwrap();
        assert_eq!(answer.json()["id"], id);
        let dashes: Vec<usize> = id.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!((id.len(), dashes, &id[14..15]), (36, vec![8, 13, 18, 23], "4"), "{id}");
    }
    assert_eq!(invoke(&served, ECHO, &[], "").await.ok(200)["event"], json!({}));
    // The ledger knows of them.
    let listed = served.get("/v1/functions").await.ok(200);
    let ours = listed["functions"].as_array().unwrap().iter().find(|one| one["name"] == "echo");
    assert_eq!(ours.unwrap_or_else(|| panic!("{listed}"))["calls"], 8, "{listed}");
    served.stop().await;
}

#[tokio::test]
async fn the_log_comes_where_it_is_asked_for_and_the_context_reaches_the_function() {
    let served = served(|_, _| {}).await;
    let context = STANDARD.encode(r#"{"client":{"installation_id":"x"}}"#);
    let headers = [("x-amz-log-type", "Tail"), ("x-amz-client-context", context.as_str())];
    let answer = invoke(&served, ECHO, &headers, r#"{"do":"something"}"#).await;
    assert_eq!(answer.ok(200)["context"], r#"{"client":{"installation_id":"x"}}"#);
    let log = STANDARD.decode(&answer.headers["x-amz-log-result"]).unwrap();
    let (log, id) = (String::from_utf8(log).unwrap(), answer.headers["x-amzn-requestid"].to_str().unwrap());
    for part in ["doing something", "\nEND RequestId: ", "Init Duration: ", "Billed Duration: "] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(log.contains(&format!("REPORT RequestId: {id}\t")), "{log}");
    served.stop().await;
}

#[tokio::test]
async fn a_function_that_fails_is_no_failure_of_the_api() {
    let served = served(|_, options| options.timeout_ms = 2_000).await;
    let failed = |answer: &Answer| {
        let body = answer.ok(200);
        assert_eq!(answer.headers["x-amz-function-error"], "Unhandled");
        (body["errorType"].as_str().unwrap().to_owned(), body["errorMessage"].as_str().unwrap().to_owned())
    };
    let answer = invoke(&served, ECHO, &[], r#"{"do":"fail"}"#).await;
    assert_eq!(failed(&answer), ("ValueError".to_owned(), "no".to_owned()));
    assert_eq!(answer.json()["stackTrace"], json!(["a", "b"]));
    let (kind, message) = failed(&invoke(&served, ECHO, &[], r#"{"do":"crash"}"#).await);
    assert!(kind == "Runtime.ExitError" && message.contains("exit status 3"), "{kind}: {message}");
    let (_, message) = failed(&invoke(&served, ECHO, &[], r#"{"do":"wait"}"#).await);
    assert!(message.contains("Task timed out after 2.0"), "{message}");
    served.stop().await;
}

#[tokio::test]
async fn a_function_that_does_not_start_says_why() {
    let served = served(|_, options| options.command = vec!["/nowhere/bootstrap".to_owned()]).await;
    let answer = invoke(&served, ECHO, &[], "{}").await;
    assert_eq!(answer.ok(200)["errorType"], "Runtime.InvalidEntrypoint");
    assert_eq!(answer.headers["x-amz-function-error"], "Unhandled");
    served.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_refused_as_aws_does() {
    let served = served(|_, _| {}).await;
    let unknown = invoke(&served, "/2015-03-31/functions/absent:1/invocations", &[], "{}").await;
    assert_eq!(
        unknown.refused(404, "ResourceNotFoundException"),
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:absent:1"
    );
    assert_eq!(unknown.json()["Type"], "User");
    let name = invoke(&served, "/2015-03-31/functions/a%20b/invocations", &[], "{}").await;
    name.refused(400, "ValidationException");
    for body in ["{", "nope", "{} {}"] {
        let told = invoke(&served, ECHO, &[], body).await.refused(400, "InvalidRequestContentException");
        assert!(told.starts_with("Could not parse request body into json"), "{told}");
    }
    let long = "e30=".repeat(1_000);
    for (name, value) in [
        ("x-amz-invocation-type", "Later"),
        ("x-amz-log-type", "All"),
        ("x-amz-client-context", "not base64"),
        ("x-amz-client-context", "bm90IGpzb24="),
        ("x-amz-client-context", long.as_str()),
    ] {
        invoke(&served, ECHO, &[(name, value)], "{}").await.refused(400, "InvalidParameterValueException");
    }
    for query in ["Qualifier=a%20b", "Colour=red"] {
        let answer = invoke(&served, &format!("{ECHO}?{query}"), &[], "{}").await;
        answer.refused(400, "InvalidParameterValueException");
    }
    let both = "/2015-03-31/functions/echo:1/invocations?Qualifier=2";
    invoke(&served, both, &[], "{}").await.refused(400, "InvalidParameterValueException");
    served.stop().await;
}

#[tokio::test]
async fn payloads_have_their_limits() {
    let served = served(|_, _| {}).await;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let most = invoke(&served, ECHO, &[], &text(6 << 20)).await;
    assert_eq!(most.status, 200);
    assert!(most.headers.get("x-amz-function-error").is_some() || most.body.len() > 6 << 20);
    let over = text((6 << 20) + 1);
    let told = invoke(&served, ECHO, &[], &over).await.refused(413, "RequestTooLargeException");
    assert!(told.contains("6291456"), "{told}");
    let event = [("x-amz-invocation-type", "Event")];
    let told = invoke(&served, ECHO, &event, &text((1 << 20) + 1)).await;
    told.refused(413, "RequestTooLargeException");
    invoke(&served, ECHO, &event, &text(1 << 20)).await.refused(413, "RequestTooLargeException");
    assert_eq!(invoke(&served, ECHO, &event, &text(1_000_000)).await.status, 202);
    served.stop().await;
}

#[tokio::test]
async fn a_dry_run_runs_nothing_and_still_checks() {
    let served = served(|_, _| {}).await;
    let dry = [("x-amz-invocation-type", "DryRun")];
    let answer = invoke(&served, ECHO, &dry, r#"{"do":"crash"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (204, ""));
    assert_eq!(served.broker.local_function(&FunctionName::new("echo").unwrap()).unwrap().status().starts, 0);
    let absent = "/2015-03-31/functions/absent/invocations";
    invoke(&served, absent, &dry, "{}").await.refused(404, "ResourceNotFoundException");
    served.stop().await;
}

#[tokio::test]
async fn an_asynchronous_invocation_is_an_event_that_a_trigger_delivers() {
    let served = served(|_, _| {}).await;
    let answer = invoke(&served, ECHO, &[("x-amz-invocation-type", "Event")], r#"{"a":1}"#).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (202, ""));
    let topic = TopicName::new("invocations").unwrap();
    let stored = served.broker.read(&topic, Offset(0), 10, Duration::ZERO).await.unwrap();
    let event = &stored[0].event;
    assert_eq!(event.attribute("type"), Some("eventail.function.invocation"));
    assert_eq!((event.attribute("source"), event.attribute("subject")), (Some("/invoke"), Some("echo")));
    assert_eq!(event.attribute("id"), answer.headers["x-amzn-requestid"].to_str().ok());
    assert_eq!(event.attribute("datacontenttype"), Some("application/json"));
    let trigger = eventail_wire::TriggerName::new("invoke.echo").unwrap();
    let delivered = async {
        while served.broker.trigger(&trigger).unwrap().account.delivered == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), delivered).await.expect("it is delivered in time");
    served.stop().await;
}

#[tokio::test]
async fn a_broker_that_stops_says_so() {
    let served = served(|_, _| {}).await;
    served.broker.shutdown().await.unwrap();
    let answer = invoke(&served, ECHO, &[], "{}").await;
    answer.refused(500, "ServiceException");
    assert_eq!(answer.json()["Type"], "Service");
    let answer = invoke(&served, ECHO, &[("x-amz-invocation-type", "Event")], "{}").await;
    answer.refused(503, "ServiceUnavailableException");
    served.server.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_web_page_can_invoke_nothing_behind_its_readers_back() {
    let served = served(|_, _| {}).await;
    // What a form, or a script without leave, can send. Where the name of the page's host was bound anew to this address, the
    // origin is no other than the host.
    for origin in ["https://evil.example", "null", "http://localhost"] {
        let headers = [("origin", origin), ("content-type", "text/plain")];
        invoke(&served, ECHO, &headers, r#"{"a":"="}"#).await.refused(403, "AccessDeniedException");
    }
    let ours = &served.get("/v1/functions").await.ok(200)["functions"][0];
    assert_eq!(ours["instances"]["starts"], 0, "{ours}");
    served.stop().await;
}

#[tokio::test]
async fn a_payload_that_is_no_text_is_no_json() {
    let served = served(|_, _| {}).await;
    let head =
        "POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let mut request = format!("{head}content-length: 3\r\n\r\n").into_bytes();
    request.extend_from_slice(b"\"\xff\"");
    let answer = served.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("InvalidRequestContent"), "{answer}");
    served.stop().await;
}

const KEY_ID: &str = "AKIDEXAMPLE";

/// The headers of a request to `target`, signed.
fn signed(
    served: &Served,
    target: &str,
    key: (&str, &str),
    age_ms: i64,
    body: &str,
) -> Vec<(String, String)> {
    let now = served.broker.clock().now();
    let at = Timestamp(now.0.checked_add_signed(-age_ms).unwrap()).to_string();
    let at: String = at[..19].chars().filter(char::is_ascii_alphanumeric).chain(['Z']).collect();
    let request = http::Request::builder()
        .method("POST")
        .uri(target)
        .header("host", "localhost")
        .header("x-amz-date", &at)
        .header("x-amz-invocation-type", "RequestResponse");
    let parts = request.body(()).unwrap().into_parts().0;
    let signer = Signer { key_id: key.0, secret: key.1, service: "lambda", at: &at };
    let parts = signer.sign(parts, body.as_bytes());
    let without_host = parts.headers.iter().filter(|(name, _)| *name != "host");
    without_host.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn where_there_are_keys_nobody_is_answered_who_did_not_sign() {
    let served = served(|config, _| {
        config.invoke_keys = BTreeMap::from([(KEY_ID.to_owned(), Secret::new("secret".to_owned()))]);
    })
    .await;
    let absent = "/2015-03-31/functions/absent/invocations";
    for target in [ECHO, absent] {
        invoke(&served, target, &[], "{}").await.refused(403, "MissingAuthenticationTokenException");
    }
    let ask = async |target: &str, key, age_ms, signed_body: &str, body: &str| {
        let headers = signed(&served, target, key, age_ms, signed_body);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        invoke(&served, target, &headers, body).await
    };
    let key = (KEY_ID, "secret");
    let arn = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aecho/invocations?Qualifier=%24LATEST";
    for target in [ECHO, "/2015-03-31/functions/echo:live/invocations", arn] {
        assert_eq!(ask(target, key, 0, "[1]", "[1]").await.ok(200)["event"], json!([1]), "{target}");
    }
    ask(absent, key, 0, "{}", "{}").await.refused(404, "ResourceNotFoundException");
    for (key, age_ms, body, kind) in [
        (("AKIDOTHER", "secret"), 0, "{}", "UnrecognizedClientException"),
        ((KEY_ID, "other"), 0, "{}", "InvalidSignatureException"),
        (key, 301_000, "{}", "InvalidSignatureException"),
        (key, -302_000, "{}", "InvalidSignatureException"),
        (key, 0, "[]", "InvalidSignatureException"),
    ] {
        ask(ECHO, key, age_ms, "{}", body).await.refused(403, kind);
    }
    let around = "/v1/topics/invocations/events?type=eventail.function.invocation&source=/x";
    served.post_json(around, "{}").await.problem(403, "reserved_topic");
    served.stop().await;
}
