//! Peers that take and do not give: slow, silent, deaf, endless, many. Each meets a limit with a name, is counted, and costs nobody
//! else anything.

use std::time::Duration;

use bytes::Bytes;
use eventail_tests::events::{event, with_data};
use eventail_tests::raw_quic::{RawStream, connect, encoded, publish};
use eventail_tests::{Api, Home, Receiver, Server, eventually, within};
use eventail_wire::frame::{ALPN, Frame, Start, Subscribe};
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{QUICK, at_rest, trigger};

const QUICK_LIMITS: &str = "[limits]\nrequest_timeout = \"300ms\"\nheader_bytes_max = \"8KiB\"";
const PATH: &str = "/v1/topics/orders/events?type=t&source=/s";
/// How long one that is to be cut may live: many times the limits, since other tests run beside.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sum of a metric's series with these labels.
pub(crate) async fn metric(api: Api, name: &str, labels: &[&str]) -> f64 {
    let text = api.get("/metrics").await.expect_status(200).text();
    let of = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until so many were cut for this reason.
async fn cut(api: Api, listener: &str, reason: &str, least: f64) {
    let labels = [format!("listener=\"{listener}\""), format!("reason=\"{reason}\"")];
    let labels = [labels[0].as_str(), labels[1].as_str()];
    let what = format!("{least} to be cut as {reason}");
    eventually(&what, async || {
        (metric(api, "eventail_cut_connections_total", &labels).await >= least).then_some(())
    })
    .await;
}

async fn open(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.api().address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Sends `piece` again and again until the server has had enough; answers what it said.
async fn drip(server: &Server, first: &str, piece: &str, every: Duration) -> String {
    let (mut reading, mut writing) = open(server, first.as_bytes()).await.into_split();
    let piece = piece.to_owned();
    let dripping = tokio::spawn(async move {
        let mut pace = tokio::time::interval(every);
        while writing.write_all(piece.as_bytes()).await.is_ok() {
            // Slowness is what this one does.
            pace.tick().await;
        }
    });
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut said)).await;
    dripping.abort();
    // A connection that is reset has ended, too.
    let _ended = read.expect("the server ends the connection");
    String::from_utf8_lossy(&said).into_owned()
}

/// Somebody else is served, and nothing is in the topic but what he sent.
async fn others_go_on(api: Api, id: &str) {
    api.publish("others", &event(id, "t")).await;
    let orders = api.get("/v1/topics/orders").await;
    assert!(orders.status == 404 || orders.json()["end"] == 0, "{}", orders.text());
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_are_cut_off_and_counted() {
    let home = Home::new(QUICK_LIMITS);
    let server = home.start().await;
    let mut silent = Vec::new();
    for part in
        ["", "P", "POST /v1/top", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n", "PRI * HTTP/2.0\r\n\r\n"]
    {
        silent.push(open(&server, part.as_bytes()).await);
    }
    let pace = Duration::from_millis(20);
    let said = drip(&server, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ", "a", pace).await;
    assert!(!said.starts_with("HTTP/1.1 2"), "{said}");
    others_go_on(server.api(), "1").await;
    for mut stream in silent {
        let mut said = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "a silent connection stays open");
    }
    cut(server.api(), "http", "silent", 6.0).await;
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_do_not_end_are_refused_and_counted() {
    let home =
        Home::new(&format!("{QUICK_LIMITS}\nevent_bytes_max = \"64KiB\"\nbatch_bytes_max = \"64KiB\""));
    let server = home.start().await;
    let head = |more: &str| format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n\r\n");
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for (what, head, piece, pace, status) in [
        ("a slow body", head("content-length: 1000"), "x", 20, "408"),
        ("slow chunks", head("transfer-encoding: chunked"), "1\r\nx\r\n", 20, "408"),
        ("endless chunks", head("transfer-encoding: chunked"), chunk.as_str(), 1, "413"),
        ("100 GiB", head("content-length: 107374182400"), "x", 20, "413"),
        ("100 GiB at once", head("content-length: 107374182400"), chunk.as_str(), 1, "413"),
    ] {
        let said = drip(&server, &head, piece, Duration::from_millis(pace)).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {said}");
        others_go_on(server.api(), what).await;
    }
    for (status, least) in [("408", 2.0), ("413", 3.0)] {
        let label = format!("status=\"{status}\"");
        let counted = metric(server.api(), "eventail_http_requests_total", &[&label]).await;
        assert!(counted >= least, "{counted} answers {status}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_headers_is_cut_off_and_counted() {
    let home = Home::new(QUICK_LIMITS);
    let server = home.start().await;
    let flood = "x-flood: 0123456789\r\n".repeat(100);
    let head = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n";
    let said = drip(&server, head, &flood, Duration::from_millis(1)).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    others_go_on(server.api(), "1").await;
    cut(server.api(), "http", "malformed", 1.0).await;
    server.stop().await;
}

/// Puts large events where a page of them is megabytes.
async fn large_events(api: Api, topic: &str, count: usize) {
    for n in 0..count {
        let data = json!({ "fill": "x".repeat(1_000_000) });
        api.publish(topic, &with_data(&format!("{topic}-{n}"), "large", data)).await;
    }
}

#[tokio::test]
async fn one_that_asks_and_never_reads_is_cut_off_and_counted() {
    let home = Home::new(QUICK_LIMITS);
    let server = home.start().await;
    large_events(server.api(), "large", 8).await;
    let request = "GET /v1/topics/large/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let deaf = open(&server, request.repeat(100).as_bytes()).await;
    cut(server.api(), "http", "unread", 1.0).await;
    others_go_on(server.api(), "1").await;
    drop(deaf);
    server.stop().await;
}

#[tokio::test]
async fn one_that_asks_for_much_at_once_over_http2_and_never_reads_is_refused_and_cut_off() {
    let home = Home::new(&format!(
        "{QUICK_LIMITS}\nin_flight_bytes_max = \"20MiB\"\nevent_bytes_max = \"2MiB\"\nbatch_bytes_max = \"2MiB\""
    ));
    let server = home.start().await;
    large_events(server.api(), "large", 8).await;
    let stream = TcpStream::connect(server.api().address()).await.unwrap();
    // Windows that never open.
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let (mut answers, mut refused) = (Vec::new(), 0);
    for _ in 0..10 {
        let uri = format!("http://{}/v1/topics/large/events", server.api().address());
        let request = Request::get(uri).body(Full::new(Bytes::new())).unwrap();
        let mut sender = sender.clone();
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        refused += usize::from(answer.status() == 429);
        answers.push(answer);
    }
    assert!(refused >= 5, "{refused} of 10 answers of 8 MB were refused");
    others_go_on(server.api(), "1").await;
    cut(server.api(), "http", "unread", 1.0).await;
    let _ended = tokio::time::timeout(PATIENCE, connection).await.expect("the connection is ended");
    // What it held is free again.
    eventually("another reader", async || {
        (server.api().get("/v1/topics/large/events").await.status == 200).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn half_open_connections_make_room_for_others() {
    let home = Home::new("[limits]\nconnections_max = 20\nrequest_timeout = \"1h\"");
    let server = home.start().await;
    let mut half_open = Vec::new();
    for n in 0..20 {
        half_open.push(open(&server, if n % 2 == 0 { b"" } else { b"POST /v1/topics" }).await);
    }
    // As soon as they have been silent for a second, each who comes takes the place of one.
    for n in 0..5 {
        let what = format!("somebody to be served beside {n}");
        within(PATIENCE, &what, async || (server.api().get("/healthz").await.status == 200).then_some(()))
            .await;
    }
    others_go_on(server.api(), "1").await;
    cut(server.api(), "http", "needed", 1.0).await;
    server.stop().await;
}

/// A broker that asks who somebody is, and lets nobody do more than look at the metrics.
fn asking(limits: &str) -> Home {
    Home::new(&format!("{limits}\n[auth]\nanonymous = [\"metrics\"]"))
}

/// Has the server say once what it says to this.
async fn ask(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut said = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut said)).await.expect("an answer or an end");
    read.ok().filter(|read| *read > 0).map(|read| String::from_utf8_lossy(&said[..read]).into_owned())
}

#[tokio::test]
async fn one_that_is_never_admitted_is_closed_however_often_it_asks() {
    let home = asking(QUICK_LIMITS);
    let server = home.start().await;
    for (path, status) in [("/v1/topics", "401"), ("/healthz", "200"), ("/nothing", "404")] {
        let mut stream = open(&server, b"").await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let asking = async {
            let mut answers = 0;
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            while let Some(said) = ask(&mut stream, &request).await {
                assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
                answers += 1;
                pace.tick().await;
            }
            answers
        };
        let answers = tokio::time::timeout(PATIENCE, asking).await.expect("the server ends the connection");
        assert!(answers > 0, "{path}");
    }
    cut(server.api(), "http", "stranger", 3.0).await;
    server.stop().await;
}

#[tokio::test]
async fn those_who_are_not_admitted_make_room_for_others() {
    let home = asking("[limits]\nconnections_max = 4\nrequest_timeout = \"1h\"");
    let server = home.start().await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stream = open(&server, b"").await;
        let said = ask(&mut stream, "GET /v1/topics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(said.is_some_and(|said| said.starts_with("HTTP/1.1 401")));
        strangers.push(stream);
    }
    within(PATIENCE, "somebody to be served", async || {
        (server.api().get("/healthz").await.status == 200).then_some(())
    })
    .await;
    cut(server.api(), "http", "needed", 1.0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_quic_connection_that_is_never_admitted_is_closed_however_often_it_asks() {
    let home = asking(QUICK_LIMITS);
    let server = home.start().await;
    let connection = connect(server.quic(), ALPN).await.unwrap();
    let asking = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while let Ok((mut send, _receive)) = connection.open_bi().await {
            let hello = eventail_tests::raw_quic::hello(eventail_wire::frame::PROTOCOL_VERSION);
            if send.write_all(&encoded(&hello)).await.is_err() {
                break;
            }
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server ends the connection");
    cut(server.api(), "quic", "stranger", 1.0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_quic_connection_that_says_nothing_is_closed_and_counted() {
    let home = Home::new(QUICK_LIMITS);
    let server = home.start().await;
    let silent = connect(server.quic(), ALPN).await.unwrap();
    let reason = tokio::time::timeout(PATIENCE, silent.closed()).await.expect("it is closed").to_string();
    assert!(reason.contains("request_timeout"), "{reason}");
    cut(server.api(), "quic", "silent", 1.0).await;
    server.stop().await;
}

#[tokio::test]
async fn frames_that_never_end_hold_no_more_together_than_they_may() {
    let home = Home::new(
        "[limits]\nin_flight_bytes_max = \"2MiB\"\nevent_bytes_max = \"2MiB\"\nbatch_bytes_max = \"2MiB\"",
    );
    let server = home.start().await;
    let data = json!({ "fill": "x".repeat(1_500_000) }).to_string();
    let large = eventail_wire::Event::builder("1", "/s", "t").json_data(data);
    let frame = encoded(&publish(1, "orders", &[large.build().unwrap().as_bytes().clone()]));
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = RawStream::open(server.quic()).await;
        stream.greet().await;
        stream.write(&frame[..frame.len() - 1]).await;
        streams.push(stream);
    }
    cut(server.api(), "quic", "overloaded", 1.0).await;
    others_go_on(server.api(), "1").await;
    // Those that are within the limit go on.
    let mut published = 0;
    for stream in &mut streams {
        stream.write(&frame[frame.len() - 1..]).await;
        match stream.next().await {
            Some(Frame::Published(_)) => published += 1,
            Some(Frame::Fault(fault)) => assert_eq!(fault.code, eventail_wire::Code::Overloaded),
            other => panic!("{other:?}"),
        }
    }
    assert!(published >= 1, "nobody got through");
    server.stop().await;
}

fn subscribe(name: &str, max_attempts: u32) -> Frame {
    Frame::Subscribe(Subscribe {
        request: 1,
        name: name.to_owned(),
        topic: "orders".to_owned(),
        pattern: None,
        start: Start::Earliest,
        credit: 1_000,
        lease_ms: 300,
        max_attempts,
    })
}

#[tokio::test]
async fn a_subscriber_that_never_reads_is_let_go_and_others_get_everything() {
    let receiver = Receiver::start().await;
    let home = Home::new(&format!("{QUICK_LIMITS}\n{}", trigger("ship", &receiver.url("/"), QUICK)));
    let server = home.start().await;
    let mut deaf = RawStream::open(server.quic()).await;
    deaf.greet().await;
    server.api().publish("orders", &event("first", "t")).await;
    deaf.frame(&subscribe("deaf", 1_000)).await;
    large_events(server.api(), "orders", 12).await;
    cut(server.api(), "quic", "unread", 1.0).await;
    at_rest(server.api(), "ship", 13).await;
    assert_eq!(receiver.count(), 13);
    server.stop().await;
}

#[tokio::test]
async fn a_subscriber_that_never_acks_gets_its_attempts_and_no_more_and_others_get_everything() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), QUICK));
    let server = home.start().await;
    let batch: Vec<_> = (0..20).map(|n| event(&n.to_string(), "t")).collect();
    server.api().publish_all("orders", &batch).await;
    let mut idle = RawStream::open(server.quic()).await;
    idle.greet().await;
    idle.frame(&subscribe("idle", 2)).await;
    let mut deliveries = 0;
    while deliveries < 40 {
        match idle.next().await.expect("the stream lives") {
            Frame::Deliver(headers, _) => deliveries += headers.len(),
            Frame::Subscribed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    eventually("all to be given up", async || {
        (server.api().dead_letters("trigger=idle").await.len() == 20).then_some(())
    })
    .await;
    at_rest(server.api(), "ship", 20).await;
    assert_eq!(receiver.count(), 20);
    server.stop().await;
}
