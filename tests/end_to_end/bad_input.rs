//! What bad input gets over HTTP: a stable code, a message that says the limit and the value, and nothing half-written.

use std::time::Duration;

use bytes::Bytes;
use eventail_tests::events::event;
use eventail_tests::{Answer, Api, Home};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATH: &str = "/v1/topics/orders/events";
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

async fn post(api: Api, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    api.request(Method::POST, PATH, headers, body.into()).await
}

/// Sends bytes as they are and reads until the server closes or is silent.
async fn raw(api: Api, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    // The server may refuse and close before it has read everything.
    let _closed_early = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn nothing_was_written(api: Api) {
    let answer = api.get("/v1/topics/orders").await;
    assert!(answer.status == 404 || answer.json()["end"] == 0, "{}", answer.text());
    // And the server still takes what is right.
    assert_eq!(api.publish("orders", &event("good", "t")).await.0, 0);
}

/// What is wrong, the headers, the body; then status, code, and what the message must mention.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Bytes, u16, &'a str, &'a str);

#[tokio::test]
async fn events_that_break_the_rules_are_refused_by_name() {
    let home = Home::new("[limits]\nevent_bytes_max = \"4KiB\"\nbatch_events_max = 10");
    let server = home.start().await;
    let api = server.api();
    let without = |name: &str| {
        let mut broken = event("1", "t");
        broken.as_object_mut().unwrap().remove(name);
        broken.to_string()
    };
    let with = |name: &str, value: Value| {
        let mut broken = event("1", "t");
        broken[name] = value;
        broken.to_string()
    };
    let too_large = with("data", "x".repeat(5000).into());
    let eleven: Vec<Value> = (0..11).map(|n| event(&n.to_string(), "t")).collect();
    let one_bad = json!([event("1", "t"), { "specversion": "1.0", "id": "2" }]).to_string();
    let cases: Vec<Case<'_>> = vec![
        ("no id", vec![STRUCTURED], without("id").into(), 400, "invalid_event", "id"),
        ("no source", vec![STRUCTURED], without("source").into(), 400, "invalid_event", "source"),
        ("no type", vec![STRUCTURED], without("type").into(), 400, "invalid_event", "type"),
        ("empty id", vec![STRUCTURED], with("id", "".into()).into(), 400, "invalid_event", "id"),
        ("bad time", vec![STRUCTURED], with("time", "noon".into()).into(), 400, "invalid_event", "time"),
        ("bad name", vec![STRUCTURED], with("Bad-Name", "x".into()).into(), 400, "invalid_event", "Bad-Name"),
        ("no JSON", vec![STRUCTURED], "{\"specversion\"".into(), 400, "malformed", ""),
        ("not UTF-8", vec![STRUCTURED], Bytes::from_static(b"{\"id\": \"\xff\"}"), 400, "malformed", ""),
        ("too large", vec![STRUCTURED], too_large.into(), 413, "event_too_large", "4096"),
        ("too many", vec![BATCH], Value::from(eleven).to_string().into(), 413, "batch_too_large", "10"),
        ("one bad of a batch", vec![BATCH], one_bad.into(), 400, "invalid_event", ""),
        ("neither event nor type", vec![], "x".into(), 400, "invalid_event", "type"),
        (
            "unknown format",
            vec![("content-type", "application/cloudevents+avro")],
            "x".into(),
            415,
            "unsupported_media_type",
            "",
        ),
        (
            "unknown binary version",
            vec![("ce-specversion", "0.3"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")],
            "x".into(),
            400,
            "invalid_event",
            "specversion",
        ),
    ];
    for (what, headers, body, status, code, mention) in cases {
        let answer = post(api, &headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text());
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(mention), "{what}: {detail:?} does not mention {mention:?}");
    }
    nothing_was_written(api).await;
}

#[tokio::test]
async fn names_routes_and_parameters_that_are_wrong_are_refused() {
    let home = Home::new("");
    let server = home.start().await;
    let api = server.api();
    let long = format!("/v1/topics/{}/events?type=t&source=/s", "x".repeat(129));
    for (method, path, status, code) in [
        (Method::POST, "/v1/topics/_internal/events?type=t&source=/s", 400, "invalid_name"),
        (Method::POST, "/v1/topics/..%2Fetc/events?type=t&source=/s", 400, "invalid_name"),
        (Method::POST, long.as_str(), 400, "invalid_name"),
        (Method::GET, "/v1/topics/default/events?from=noon", 400, "invalid_parameter"),
        (Method::GET, "/v1/topics/default/events?limit=-1", 400, "invalid_parameter"),
        (Method::GET, "/v1/topics/default/events?wait=soon", 400, "invalid_parameter"),
        (Method::GET, "/v1/topics/nothing/events", 404, "unknown_topic"),
        (Method::DELETE, "/v1/topics/default/events", 405, "method_not_allowed"),
        (Method::GET, "/v2/everything", 404, "not_found"),
    ] {
        let headers = [("content-type", "application/json")];
        let answer = api.request(method.clone(), path, &headers, Bytes::from_static(b"{}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path}: {}",
            answer.text()
        );
    }
    nothing_was_written(api).await;
}

#[tokio::test]
async fn a_connection_that_lies_or_stalls_harms_nobody_else() {
    let home = Home::new("[limits]\nrequest_timeout = \"500ms\"\nheader_bytes_max = \"8KiB\"");
    let server = home.start().await;
    let api = server.api();
    let refused = raw(api, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP at all\r\n\r\n").await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 400"), "{refused}");
    let huge = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx-large: {}\r\n\r\n", "y".repeat(64 << 10));
    let refused = raw(api, huge.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431") || refused.is_empty(), "{refused}");
    // Half a body, and then nothing: the request times out, and nothing of it is published.
    let half = format!(
        "POST {PATH}?type=t&source=/s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"half\""
    );
    let refused = raw(api, half.as_bytes()).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 408"), "{refused}");
    // Half a header, and then nothing.
    let refused = raw(api, b"POST /v1/top").await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    nothing_was_written(api).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_longer_than_its_limit_is_refused_before_it_is_read() {
    let home = Home::new("[limits]\nbatch_bytes_max = \"64KiB\"\nevent_bytes_max = \"32KiB\"");
    let server = home.start().await;
    let api = server.api();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\ncontent-length: 999999999\r\n\r\n"
    );
    let refused = raw(api, request.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    nothing_was_written(api).await;
}
