//! Publishing requests as the HTTP API reads them, in every content mode.

use bytes::Bytes;
use eventail_broker::config::Config;
use eventail_broker::fuzzing;
use eventail_wire::Event;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::BodyExt as _;

/// The first line is the query, lines up to an empty one are headers, and the rest is the body. What is accepted keeps the rules
/// and the limits; what is not is told in a document that says so.
pub fn ingest(input: &[u8]) {
    let (head, body) = split(input);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let uri = format!("/v1/topics/default/events?{}", lines.next().unwrap_or_default());
    let Ok(request) = Request::post(uri).body(()) else { return };
    let (mut parts, ()) = request.into_parts();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            parts.headers.append(name, value);
        }
    }
    let mut limits = Config::embedded("unused").limits;
    // Small, so that they show soon.
    (limits.event_bytes_max, limits.batch_bytes_max, limits.batch_events_max) = (2 << 10, 4 << 10, 16);
    match fuzzing::ingest(&parts, &limits, Bytes::copy_from_slice(body)) {
        Ok(events) => {
            assert!(events.len() <= limits.batch_events_max, "{} events", events.len());
            for event in events {
                assert!(event.as_bytes().len() <= limits.event_bytes_max, "an event is over its limit");
                let checked =
                    Event::decode(event.as_bytes().clone()).expect("an accepted event keeps the rules");
                assert_eq!(checked, event);
            }
        }
        Err(refusal) => {
            assert!(refusal.status().is_client_error(), "{}", refusal.status());
            let body = whole(*refusal);
            let document: serde_json::Value = serde_json::from_slice(&body).expect("a refusal is a document");
            assert!(document["code"].is_string() && document["detail"].is_string(), "{document}");
        }
    }
}

/// The bytes of an answer that is whole.
fn whole(answer: http::Response<http_body_util::Full<Bytes>>) -> Bytes {
    let mut body = std::pin::pin!(answer.into_body().collect());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::future::Future::poll(body.as_mut(), &mut context) {
        std::task::Poll::Ready(Ok(collected)) => collected.to_bytes(),
        std::task::Poll::Ready(Err(never)) => match never {},
        std::task::Poll::Pending => panic!("the answer is not whole"),
    }
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &[]),
    }
}
