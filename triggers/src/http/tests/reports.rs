//! Callbacks, what the ledger is told of a call, and what targets share.

use super::*;
use crate::report::{Report, RunEnd};

async fn reported(answer: Response<Full<Bytes>>) -> Box<Report> {
    let server = Server::answering(move |_, _| answer.clone()).await;
    let report = server.target().invoke(invocation(event())).await.report.expect("the target answered");
    assert_eq!(&*report.function, format!("http {}", server.address));
    report
}

fn accepted(header: Option<&str>) -> Response<Full<Bytes>> {
    let mut answer = status(202);
    if let Some(header) = header {
        answer.headers_mut().insert(CALLBACK_HEADER, header.parse().unwrap());
    }
    answer
}

async fn with_callback(answer: Response<Full<Bytes>>, callback: Option<&str>) -> (Outcome, Parts) {
    let server = Server::answering(move |_, _| answer.clone()).await;
    let mut invocation = invocation(event());
    invocation.callback = callback.map(Into::into);
    let outcome = server.target().invoke(invocation).await.outcome;
    (outcome, server.last().0)
}

#[tokio::test]
async fn a_target_that_got_a_token_may_take_the_event_over() {
    for header in ["accepted", " Accepted"] {
        let (outcome, parts) = with_callback(accepted(Some(header)), Some("t0k3n")).await;
        assert!(matches!(outcome, Outcome::Accepted), "{outcome:?}");
        assert_eq!(parts.headers[CALLBACK_TOKEN_HEADER], "t0k3n");
    }
    for answer in [accepted(None), accepted(Some("maybe")), status(200)] {
        assert!(is_acked(&with_callback(answer, Some("t0k3n")).await.0));
    }
    let mut failed = accepted(Some("accepted"));
    *failed.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    assert_eq!(retried(with_callback(failed, Some("t0k3n")).await.0).0, RetryClass::Failed);
}

#[tokio::test]
async fn a_promise_to_call_back_without_a_token_is_an_error_and_no_ack() {
    let (outcome, parts) = with_callback(accepted(Some("accepted")), None).await;
    assert!(!parts.headers.contains_key(CALLBACK_TOKEN_HEADER));
    let (reason, disable, response) = rejected(outcome);
    assert_eq!((reason, disable, response.status), (RejectReason::Permanent, false, Some(202)));
    assert!(response.error.contains("set `callback = true`"), "{}", response.error);
}

#[test]
fn only_a_target_that_was_told_so_allows_callbacks() {
    let mut options = options("http://127.0.0.1/");
    assert!(!HttpTarget::new(options.clone(), loopback()).unwrap().allows_callback());
    options.callback = true;
    assert!(HttpTarget::new(options, loopback()).unwrap().allows_callback());
}

#[test]
fn targets_at_one_server_share_a_key_whatever_their_paths() {
    let key = |url: &str| HttpTarget::new(options(url), loopback()).unwrap().shared_key().unwrap();
    assert_eq!(key("https://Example.com/a"), "https://example.com:443");
    assert_eq!(key("https://example.com:443/b?c=d"), key("https://Example.com/a"));
    assert_ne!(key("http://example.com/"), key("https://example.com/"));
    assert_ne!(key("http://example.com:81/"), key("http://example.com/"));
    assert_eq!(key("http://[::1]/"), "http://[::1]:80");
}

#[tokio::test]
async fn every_call_that_got_through_is_reported_with_its_end() {
    for (code, end) in [
        (200, RunEnd::Succeeded),
        (500, RunEnd::Error),
        (400, RunEnd::Error),
        (429, RunEnd::Throttled),
        (503, RunEnd::Throttled),
    ] {
        let report = reported(status(code)).await;
        assert_eq!((report.end, report.init_ms, report.billed_ms), (end, None, None), "{code}");
        assert!(report.duration_ms > 0.0);
    }
    let silent = Server::silent().await;
    let mut invocation = invocation(event());
    invocation.deadline = invocation.now.plus_ms(30);
    let report = silent.target().invoke(invocation).await.report.unwrap();
    assert_eq!(report.end, RunEnd::Timeout);
    assert!(report.duration_ms >= 29.0, "{report:?}");
}

#[tokio::test]
async fn a_target_that_was_not_reached_ran_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = HttpTarget::new(options(&format!("http://{address}")), loopback()).unwrap();
    let answer = target.invoke(invocation(event())).await;
    assert_eq!(retried(answer.outcome).0, RetryClass::Unreachable);
    assert!(answer.report.is_none());
}

#[tokio::test]
async fn a_cold_start_is_told_by_server_timing_and_not_counted_twice() {
    let mut answer = status(200);
    answer.headers_mut().insert("server-timing", "init;dur=1234567.5, app;dur=2".parse().unwrap());
    let report = reported(answer.clone()).await;
    assert_eq!((report.init_ms, report.duration_ms), (Some(1_234_567.5), 0.0));
    *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    let report = reported(answer.clone()).await;
    assert_eq!((report.init_ms, report.end), (Some(1_234_567.5), RunEnd::Error));
    let server = Server::answering(move |_, _| answer.clone()).await;
    let batch = vec![invocation(event()), invocation(event())];
    let report = server.target().invoke_batch(batch).await.report.unwrap();
    assert_eq!((report.init_ms, report.end), (Some(1_234_567.5), RunEnd::Error));
}
