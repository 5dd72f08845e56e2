//! What the target's answers lead to.

use super::*;
use eventail_wire::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn answered(answer: Response<Full<Bytes>>, wants_reply: bool) -> Outcome {
    let server = Server::answering(move |_, _| answer.clone()).await;
    let mut invocation = invocation(event());
    invocation.wants_reply = wants_reply;
    server.target().invoke(invocation).await.outcome
}

#[tokio::test]
async fn statuses_are_classified_and_remembered() {
    for taken in [200, 201, 202, 204, 299] {
        assert!(is_acked(&answered(status(taken), true).await), "{taken}");
    }
    for (failed, class) in [
        (404, RetryClass::Failed),
        (408, RetryClass::Failed),
        (409, RetryClass::Failed),
        (429, RetryClass::Throttled),
        (500, RetryClass::Failed),
        (502, RetryClass::Failed),
        (503, RetryClass::Throttled),
        (599, RetryClass::Failed),
        (700, RetryClass::Failed),
    ] {
        let (seen, after_ms, response) = retried(answered(status(failed), false).await);
        assert_eq!((seen, after_ms, response.status), (class, None, Some(failed)));
    }
    for refused in [301, 307, 400, 401, 403, 410, 413, 422] {
        let (reason, disable, response) = rejected(answered(status(refused), false).await);
        assert_eq!((reason, disable), (RejectReason::Permanent, refused == 410), "{refused}");
        assert_eq!(response.status, Some(refused));
    }
}

#[tokio::test]
async fn the_triggers_own_meanings_come_first() {
    let server = Server::answering(|_, _| status(422)).await;
    for (own, is_ack) in [(StatusMeaning::Ack, true), (StatusMeaning::Retry(RetryClass::Throttled), false)] {
        let mut options = options(&format!("http://{}", server.address));
        options.statuses.insert(422, own);
        let outcome = invoke(&HttpTarget::new(options, loopback()).unwrap()).await;
        assert_eq!(is_acked(&outcome), is_ack);
        if !is_ack {
            assert_eq!(retried(outcome).0, RetryClass::Throttled);
        }
    }
}

#[tokio::test]
async fn retry_after_is_read_in_both_forms() {
    for (value, after_ms) in [("7", 7_000), ("Mon, 23 Nov 2026 10:01:00 GMT", 60_000)] {
        for code in [429, 503, 500] {
            let mut answer = status(code);
            answer.headers_mut().insert("retry-after", value.parse().unwrap());
            assert_eq!(retried(answered(answer, false).await).1, Some(after_ms), "{code} {value}");
        }
    }
}

#[tokio::test]
async fn the_start_of_a_failures_body_is_kept_however_long_it_is() {
    let mut answer = status(500);
    *answer.body_mut() = Full::from("overloaded ".repeat(500_000));
    let server = Server::answering(move |_, _| answer.clone()).await;
    let target = server.target();
    for connections in 1..3 {
        let (class, _, response) = retried(invoke(&target).await);
        assert_eq!((class, response.body.len()), (RetryClass::Failed, limits::RESPONSE_SNIPPET_BYTES_MAX));
        assert!(response.body.starts_with("overloaded overloaded"));
        // Reading the rest would cost more than a new connection.
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::answering(|_, _| status(200)).await;
    let mut answer = status(302);
    answer.headers_mut().insert("location", format!("http://{}/", elsewhere.address).parse().unwrap());
    let (reason, disable, response) = rejected(answered(answer, false).await);
    assert_eq!((reason, disable, response.status), (RejectReason::Permanent, false, Some(302)));
    assert_eq!(elsewhere.connections(), 0);
}

fn reply(content_type: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", content_type).body(Full::new(body.into())).unwrap()
}

#[tokio::test]
async fn a_cloudevent_in_a_200_is_a_reply() {
    let structured = reply(
        "application/cloudevents+json; charset=utf-8",
        r#"{"specversion":"1.0","id":"r","source":"/r","type":"t","data":[1, 2]}"#,
    );
    let mut binary = reply("application/json", "[1, 2]");
    for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "r"), ("ce-source", "/r"), ("ce-type", "t")] {
        binary.headers_mut().insert(name, value.parse().unwrap());
    }
    let mut accepted = binary.clone();
    *accepted.status_mut() = http::StatusCode::ACCEPTED;
    for answer in [structured, binary] {
        let Outcome::Ack { reply: Some(reply) } = answered(answer.clone(), true).await else {
            panic!("no reply in {answer:?}")
        };
        assert_eq!((reply.id(), reply.data_slice()), ("r", b"[1, 2]".as_slice()));
        assert!(is_acked(&answered(answer, false).await), "an unwanted reply is ignored");
    }
    assert!(is_acked(&answered(accepted, true).await), "a 202 is never a reply");
    assert!(is_acked(&answered(reply("application/json", "{}"), true).await));
}

#[tokio::test]
async fn a_reply_that_is_no_event_is_told_apart() {
    let mut half = reply("text/plain", "x");
    half.headers_mut().insert("ce-specversion", "1.0".parse().unwrap());
    for answer in [
        half,
        reply("application/cloudevents+json", "{}"),
        reply("application/cloudevents+avro", "x"),
        reply("application/cloudevents-batch+json", "[]"),
        reply("application/cloudevents+json", vec![b' '; limits::RESPONSE_BODY_BYTES_MAX + 1]),
    ] {
        let (reason, disable, response) = rejected(answered(answer, true).await);
        assert_eq!((reason, disable, response.status), (RejectReason::InvalidReply, false, Some(200)));
        assert!(response.error.starts_with("the reply is no event that can be published: "));
    }
}

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"{\"total\": 1.0}") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_fails_the_attempt() {
    for sent in ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let server = Server::accepting(move |mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(sent.as_bytes()).await.unwrap();
        })
        .await;
        let (class, _, response) = retried(invoke(&server.target()).await);
        assert_eq!(class, RetryClass::Failed, "{sent}");
        assert_eq!(response.status, sent.contains("half").then_some(200));
        assert!(
            response.error.starts_with("the connection broke before the answer was whole: "),
            "{response:?}"
        );
        assert_eq!(server.connections(), 1, "what may have been taken is not sent again");
    }
}

#[tokio::test]
async fn what_is_not_http_fails_the_attempt() {
    let server = Server::accepting(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
    })
    .await;
    assert_eq!(retried(invoke(&server.target()).await).0, RetryClass::Failed);
}

#[tokio::test]
async fn an_attempt_ends_by_its_deadline() {
    for sent in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let server = Server::accepting(move |mut stream| async move {
            stream.write_all(sent.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let mut invocation = invocation(event());
        invocation.deadline = invocation.now.plus_ms(60);
        let (class, after_ms, response) = retried(server.target().invoke(invocation).await.outcome);
        assert_eq!((class, after_ms), (RetryClass::Timeout, None), "{sent}");
        assert_eq!(response.error, "no whole answer within 60 ms");
    }
}
