//! Publishing in every mode, and what is refused.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Client, Served};

const EVENTS: &str = "/v1/topics/default/events";
const BINARY: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "b-1"),
    ("ce-source", "/orders"),
    ("ce-type", "order.created"),
    ("content-type", "application/json"),
];
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json; charset=utf-8");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

/// Target, headers and body; status, code and what the detail names.
type Refusal<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str, &'a str);

fn structured(id: &str) -> String {
    json!({"specversion": "1.0", "id": id, "source": "/orders", "type": "order.created", "data": {"total": 3}})
        .to_string()
}

#[tokio::test]
async fn every_mode_appends_and_reads_back() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let first = client.ask(Method::POST, EVENTS, &BINARY, r#"{"total": 1}"#).await;
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(first.ok(200), json!({"results": [{"offset": 0, "duplicate": false}]}));
    let second = client.ask(Method::POST, EVENTS, &[STRUCTURED], structured("s-1")).await;
    assert_eq!(second.ok(200), json!({"results": [{"offset": 1, "duplicate": false}]}));
    let batch = format!("[{},{},{}]", structured("s-2"), structured("s-1"), structured("s-3"));
    let third = client.ask(Method::POST, EVENTS, &[BATCH], batch).await.ok(200);
    assert_eq!(
        third["results"],
        json!([{"offset": 2, "duplicate": false}, {"offset": 1, "duplicate": true}, {"offset": 3, "duplicate": false}])
    );
    let plain =
        "/v1/topics/default/events?type=note&source=/notes&id=p-1&subject=a%20b&time=2026-11-23T10:00:00Z";
    client.ask(Method::POST, plain, &[("content-type", "text/plain")], "hello").await.ok(200);
    let form = "/v1/topics/default/events?type=form&source=/forms";
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    client.ask(Method::POST, form, &form_type, "a=1&b=2").await.ok(200);

    let page = client.ask(Method::GET, EVENTS, &[], "").await.ok(200);
    let event = |index: usize| page["events"][index]["event"].clone();
    assert_eq!(event(0)["data"], json!({"total": 1}));
    assert_eq!((&event(0)["id"], &event(0)["correlationid"]), (&json!("b-1"), &json!("b-1")));
    assert_eq!(event(1)["data"], json!({"total": 3}));
    assert_eq!(event(2)["id"], "s-2");
    assert_eq!(event(4)["data"], "hello");
    assert_eq!((&event(4)["subject"], &event(4)["time"]), (&json!("a b"), &json!("2026-11-23T10:00:00Z")));
    assert_eq!(event(5)["data"], "a=1&b=2");
    let id = event(5)["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_event_is_refused_with_a_code_and_nothing_is_appended() {
    let served = Served::start().await;
    let plain = "/v1/topics/default/events?type=t&source=/s";
    let without =
        |name: &'static str| BINARY.into_iter().filter(move |(there, _)| *there != name).collect::<Vec<_>>();
    let with = |more: (&'static str, &'static str)| BINARY.into_iter().chain([more]).collect::<Vec<_>>();
    let half = format!("[{},{{\"specversion\":\"1.0\"}}]", structured("ok"));
    let cases: Vec<Refusal<'_>> = vec![
        (EVENTS, without("ce-id"), "{}", 400, "invalid_event", "`id`"),
        (EVENTS, without("ce-specversion"), "{}", 400, "invalid_event", "specversion"),
        (EVENTS, with(("ce-time", "yesterday")), "{}", 400, "invalid_event", "`time`"),
        (EVENTS, with(("ce-bad_name", "1")), "{}", 400, "invalid_event", "bad_name"),
        (EVENTS, with(("ce-text", "%ff")), "{}", 400, "invalid_event", "text"),
        (EVENTS, vec![STRUCTURED], "{", 400, "malformed", "JSON object"),
        (EVENTS, vec![STRUCTURED], "[]", 400, "malformed", "JSON object"),
        (EVENTS, vec![STRUCTURED], "{\"specversion\":\"1.0\"}", 400, "invalid_event", "`id`"),
        (EVENTS, vec![BATCH], "{}", 400, "malformed", "JSON array"),
        (EVENTS, vec![BATCH], &half, 400, "invalid_event", "event 1 of the batch"),
        (
            EVENTS,
            vec![("content-type", "application/cloudevents+avro")],
            "x",
            415,
            "unsupported_media_type",
            "avro",
        ),
        (EVENTS, vec![], "x", 400, "invalid_event", "?type= and ?source="),
        ("/v1/topics/default/events?type=t", vec![], "x", 400, "invalid_event", "`source`"),
        ("/v1/topics/default/events?type=t&source=a%20b", vec![], "x", 400, "invalid_event", "source"),
        (
            "/v1/topics/default/events?type=t&source=/s&kind=x",
            vec![],
            "x",
            400,
            "invalid_parameter",
            "\"kind\"",
        ),
        ("/v1/topics/default/events?type=t&type=u", vec![], "x", 400, "invalid_parameter", "twice"),
        (plain, BINARY.to_vec(), "{}", 400, "invalid_parameter", "plain bodies"),
        ("/v1/topics/_x/events?type=t&source=/s", vec![], "x", 400, "invalid_name", "'_'"),
        ("/v1/topics/a%2Fb/events?type=t&source=/s", vec![], "x", 400, "invalid_name", "'/'"),
        ("/v1/topics/%ff/events?type=t&source=/s", vec![], "x", 400, "invalid_parameter", "UTF-8"),
    ];
    let mut client = served.client().await;
    for (target, headers, body, status, code, detail) in cases {
        let answer = client.ask(Method::POST, target, &headers, body.to_owned()).await;
        let said = answer.problem(status, code);
        assert!(said.contains(detail), "{target} {headers:?}: {said}");
    }
    assert_eq!(served.get("/v1/topics/default").await.ok(200)["end"], 0);
    served.stop().await;
}

#[tokio::test]
async fn a_topic_comes_by_publishing_only_where_that_is_allowed() {
    let served = Served::start().await;
    assert_eq!(served.publish("fresh", "1").await.ok(200)["results"][0]["offset"], 0);
    assert_eq!(served.publish("a%2Eb", "1").await.ok(200)["results"][0]["offset"], 0);
    assert_eq!(served.get("/v1/topics/a.b").await.ok(200)["end"], 1);
    served.stop().await;

    let closed = Served::start_with(|config| config.topics.auto_create = false).await;
    closed.publish("fresh", "1").await.problem(404, "unknown_topic");
    closed.publish("default", "1").await.ok(200);
    closed.stop().await;
}

#[tokio::test]
async fn there_are_no_more_topics_than_there_may_be() {
    let served = Served::start_with(|config| config.limits.topics_max = 2).await;
    served.publish("one", "1").await;
    served.publish("two", "1").await;
    let said = served.publish("three", "1").await.problem(507, "too_many_topics");
    assert!(said.contains("three") && said.contains('2'), "{said}");
    served.stop().await;
}

#[tokio::test]
async fn publishers_are_held_back_where_too_much_is_under_way() {
    let served = Served::start_with(|config| config.limits.in_flight_bytes_max = 500).await;
    let target = "/v1/topics/default/events?type=t&source=/s";
    let mut slow = TcpStream::connect(served.addr()).await.unwrap();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n{}",
        "x".repeat(450)
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The slow body counts from when it has arrived; until then the others are taken.
    let refused = loop {
        let answer = served.ask(Method::POST, target, &[], &"x".repeat(100)).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert!(refused.problem(429, "overloaded").contains("limit of 500"));
    slow.write_all("x".repeat(50).as_bytes()).await.unwrap();
    let mut start = [0; 12];
    slow.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    served.ask(Method::POST, target, &[], &"x".repeat(100)).await.ok(200);
    served.stop().await;
}

#[tokio::test]
async fn an_empty_batch_is_legal() {
    let served = Served::start().await;
    let answer = served.ask(Method::POST, EVENTS, &[BATCH], "[]").await;
    assert_eq!(answer.ok(200), json!({"results": []}));
    served.stop().await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_publishes_and_reads() {
    let served = Served::start().await;
    let mut client = Client::connect_http2(served.addr()).await;
    for offset in 0..3 {
        let answer = client.ask(Method::POST, EVENTS, &[STRUCTURED], structured(&format!("{offset}"))).await;
        assert_eq!(answer.ok(200)["results"][0]["offset"], offset);
    }
    client.ask(Method::GET, "/v1/nothing", &[], "").await.problem(404, "not_found");
    assert_eq!(client.ask(Method::GET, EVENTS, &[], "").await.ok(200)["next"], 3);
    served.stop().await;
}
