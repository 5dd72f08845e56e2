//! What is too large, too slow, cut short or made up: a clear answer or a closed connection, and a server that lives on.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Served, read_to_end};

const PLAIN: &str = "/v1/topics/default/events?type=t&source=/s";
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

async fn small() -> Served {
    Served::start_with(|config| {
        config.limits.event_bytes_max = 1_000;
        config.limits.batch_bytes_max = 4_000;
        config.limits.batch_events_max = 3;
        config.limits.header_bytes_max = 8_192;
        config.limits.request_timeout_ms = 300;
    })
    .await
}

#[tokio::test]
async fn what_is_too_large_is_told_the_limit_and_the_value_and_the_connection_lives() {
    let served = small().await;
    let mut client = served.client().await;
    let event = |id: usize, bytes: usize| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"t\",\"data\":\"{}\"}}",
            "x".repeat(bytes)
        )
    };
    let many = format!("[{}]", (0..4).map(|id| event(id, 1)).collect::<Vec<_>>().join(","));
    let one_large = format!("[{},{}]", event(1, 1), event(2, 1_000));
    for (target, headers, body, code, limit) in [
        (PLAIN, vec![], "x".repeat(1_001), "event_too_large", 1_000),
        (PLAIN, vec![], "x".repeat(999), "event_too_large", 1_000),
        ("/v1/topics/default/events", vec![STRUCTURED], event(1, 1_000), "event_too_large", 1_000),
        ("/v1/topics/default/events", vec![STRUCTURED], event(1, 2_000), "event_too_large", 2_000),
        ("/v1/topics/default/events", vec![BATCH], many, "batch_too_large", 3),
        ("/v1/topics/default/events", vec![BATCH], event(1, 4_000), "batch_too_large", 4_000),
        ("/v1/topics/default/events", vec![BATCH], one_large, "event_too_large", 1_000),
        (
            "/v1/dead-letters/purge",
            vec![("content-type", "application/json")],
            " ".repeat(70_000),
            "batch_too_large",
            65_536,
        ),
    ] {
        let answer = client.ask(Method::POST, target, &headers, body).await;
        let said = answer.problem(413, code);
        let problem = answer.json();
        assert_eq!(problem["limit"], limit, "{said}");
        assert!(problem["value"].as_u64().unwrap() > limit, "{said}");
        assert!(said.contains(&limit.to_string()), "{said}");
    }
    client.ask(Method::POST, PLAIN, &[], "x".repeat(800)).await.ok(200);
    served.stop().await;
}

#[tokio::test]
async fn an_announced_excess_is_refused_before_it_is_sent() {
    let served = small().await;
    let head = format!(
        "POST {PLAIN} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n"
    );
    let mut stream = TcpStream::connect(served.addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let text = read_to_end(&mut stream).await;
    assert!(
        text.starts_with("HTTP/1.1 413") && text.contains("5000 is more than the limit of 1000"),
        "{text}"
    );
    served.stop().await;
}

#[tokio::test]
async fn a_chunked_body_is_limited_as_it_comes() {
    let served = small().await;
    let mut stream = TcpStream::connect(served.addr()).await.unwrap();
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let request = format!(
        "POST {PLAIN} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    served.stop().await;
}

#[tokio::test]
async fn headers_over_their_limits_are_a_problem_and_a_flood_is_cut_off() {
    let served = small().await;
    let long = "x".repeat(9_000);
    let answer = served.ask(Method::GET, "/healthz", &[("x-long", &long)], "").await;
    assert!(answer.problem(431, "headers_too_large").contains("limit of 8192"));
    let names: Vec<String> = (0..200).map(|index| format!("x-{index}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let answer = served.ask(Method::GET, "/healthz", &headers, "").await;
    assert!(answer.problem(431, "headers_too_large").contains("limit of 128"));

    let flood = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x-y: z\r\n".repeat(5_000));
    let text = served.raw(flood.as_bytes()).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    served.get("/healthz").await.ok(200);
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_answered_and_cut() {
    let served = small().await;
    let text = served
        .raw(
            format!("POST {PLAIN} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n12345").as_bytes(),
        )
        .await;
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("request_timeout"), "{text}");
    assert_eq!(served.get("/v1/topics/default").await.ok(200)["end"], 0);
    served.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_cut_at_every_byte() {
    let served = small().await;
    for part in
        ["", "P", "POST /v1", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost:"]
    {
        served.raw(part.as_bytes()).await;
    }
    let mut stream = TcpStream::connect(served.addr()).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea").await.unwrap();
    let text = read_to_end(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.matches("HTTP/1.1").count() == 1, "{text}");
    served.stop().await;
}

#[tokio::test]
async fn a_request_that_ends_half_way_changes_nothing() {
    let served = small().await;
    let whole = format!("POST {PLAIN} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n1234567890");
    for end in 1..whole.len() {
        let mut stream = TcpStream::connect(served.addr()).await.unwrap();
        stream.write_all(&whole.as_bytes()[..end]).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await;
    }
    assert_eq!(served.get("/v1/topics/default").await.ok(200)["end"], 0);
    served.publish("default", "1").await.ok(200);
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_and_nothing_else() {
    let served = small().await;
    for bytes in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST /v1/topics/default/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/topics/default/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /v1/topics/default/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let text = served.raw(bytes).await;
        assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
    }
    served.get("/healthz").await.ok(200);
    assert_eq!(served.get("/v1/topics/default").await.ok(200)["end"], 0);
    served.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_cap_is_told_to_come_back() {
    let served = Served::start_with(|config| config.limits.connections_max = 2).await;
    let mut first = served.client().await;
    first.ask(Method::GET, "/healthz", &[], "").await.ok(200);
    let mut second = served.client().await;
    second.ask(Method::GET, "/healthz", &[], "").await.ok(200);
    let refused = served.get("/healthz").await;
    assert!(refused.problem(429, "overloaded").contains("connections_max"));
    drop(first);
    // The place is free as soon as the server has seen the end of the first.
    loop {
        let answer =
            served.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    served.stop().await;
}
