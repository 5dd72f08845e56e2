//! What a target gets to see.

use super::*;
use crate::outcome::BatchOutcome;
use eventail_wire::cloudevents::{decode_binary, decode_structured};
use eventail_wire::event::rules;
use http::HeaderName;

fn headers(parts: &Parts) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    headers.sort_unstable();
    headers
}

#[tokio::test]
async fn binary_mode_sends_exactly_these_headers_and_the_data() {
    let server = Server::answering(|_, _| status(204)).await;
    assert!(is_acked(&invoke(&server.target()).await));
    let (parts, body) = server.last();
    assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("POST", "/hook?a=1"));
    assert_eq!(parts.version, http::Version::HTTP_11);
    let event = event();
    let trace = event.traceparent();
    let span = parts.headers["traceparent"].to_str().unwrap().to_owned();
    let (host, agent) = (server.address.to_string(), format!("eventail/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        headers(&parts),
        [
            ("ce-correlationid", "id%201"),
            ("ce-id", "id%201"),
            ("ce-partitionkey", "k1"),
            ("ce-source", "/orders"),
            ("ce-specversion", "1.0"),
            ("ce-subject", "%C3%B6"),
            ("ce-time", "2026-11-23T09:59:59Z"),
            ("ce-traceparent", trace.as_str()),
            ("ce-type", "order.created"),
            ("content-length", "14"),
            ("content-type", "application/json"),
            ("eventail-attempt", "3"),
            ("eventail-deadline", "2026-11-23T10:00:10.000Z"),
            ("eventail-offset", "7"),
            ("eventail-topic", "orders"),
            ("eventail-trigger", "ship"),
            ("host", host.as_str()),
            ("traceparent", span.as_str()),
            ("user-agent", agent.as_str()),
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1795428000"),
        ]
    );
    assert_eq!(body, event.data().unwrap());
    assert!(rules::is_traceparent(&span));
    assert_eq!(span[..35], trace[..35]);
    assert_ne!(span, trace);

    let pairs = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let received = decode_binary(pairs, body).unwrap();
    assert_eq!(received.correlation_id(), event.correlation_id());
    assert_eq!(received.fingerprint(), event.fingerprint());
}

#[tokio::test]
async fn an_event_without_data_has_an_empty_body_and_no_content_type() {
    let server = Server::answering(|_, _| status(200)).await;
    let bare = Event::builder("1", "/s", "t").build().unwrap();
    assert!(is_acked(&server.target().invoke(invocation(bare)).await.outcome));
    let (parts, body) = server.last();
    assert_eq!(body, Bytes::new());
    assert!(!parts.headers.contains_key("content-type"));
    assert_eq!(parts.headers["content-length"], "0");
}

#[tokio::test]
async fn structured_mode_sends_the_whole_event() {
    let server = Server::answering(|_, _| status(200)).await;
    let url = format!("http://{}", server.address);
    let target =
        HttpTarget::new(HttpTargetOptions { mode: HttpMode::Structured, ..options(&url) }, loopback())
            .unwrap();
    assert!(is_acked(&invoke(&target).await));
    let (parts, body) = server.last();
    assert_eq!(parts.uri.path(), "/");
    assert_eq!(parts.headers["content-type"], "application/cloudevents+json");
    assert!(!parts.headers.keys().any(|name| name.as_str().starts_with("ce-")));
    let received = decode_structured(&body).unwrap();
    assert_eq!(received.attribute("correlationid"), Some("id 1"));
    assert_eq!(received.attribute("traceparent"), Some(event().traceparent().as_str()));
    assert_eq!(received.data_slice(), event().data_slice());
}

#[tokio::test]
async fn raw_mode_sends_the_data_alone() {
    let server = Server::answering(|_, _| status(200)).await;
    let url = format!("http://{}", server.address);
    let target =
        HttpTarget::new(HttpTargetOptions { mode: HttpMode::Raw, ..options(&url) }, loopback()).unwrap();
    assert!(is_acked(&invoke(&target).await));
    let (parts, body) = server.last();
    assert_eq!(parts.headers["content-type"], "application/json");
    assert!(!parts.headers.keys().any(|name| name.as_str().starts_with("ce-")));
    assert_eq!(body, event().data().unwrap());
}

#[tokio::test]
async fn a_request_is_signed_with_every_secret() {
    let server = Server::answering(|_, _| status(200)).await;
    let second = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let mut options = options(&format!("http://{}", server.address));
    options.signing_secrets = [SECRET, second].map(|secret| Secret::new(secret.into())).into();
    assert!(is_acked(&invoke(&HttpTarget::new(options, loopback()).unwrap()).await));
    let (parts, body) = server.last();
    let items: Vec<_> = parts.headers["webhook-signature"].to_str().unwrap().split(' ').collect();
    for (item, secret) in items.iter().zip([SECRET, second]) {
        let signer = signature::Signer::new(&[Secret::new(secret.into())]).unwrap();
        assert_eq!(*item, signer.sign("msg_1", "1795428000", &body));
    }
    assert_eq!(items.len(), 2);
}

#[tokio::test]
async fn what_is_replayed_says_so_and_is_signed_like_everything_else() {
    let server = Server::answering(|_, _| status(204)).await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut options = options(&format!("http://{}", server.address));
    options.signing_secrets = vec![Secret::new(secret.into())];
    let target = HttpTarget::new(options, loopback()).unwrap();
    let replayed = Invocation { is_replay: true, ..invocation(event()) };
    assert!(is_acked(&target.invoke(replayed.clone()).await.outcome));
    let (parts, body) = server.last();
    assert_eq!(parts.headers["eventail-delivery"], "replay");
    let signer = signature::Signer::new(&[Secret::new(secret.into())]).unwrap();
    assert_eq!(parts.headers["webhook-signature"], signer.sign("msg_1", "1795428000", &body).as_str());
    assert!(matches!(target.invoke_batch(vec![replayed]).await.outcome, BatchOutcome::Whole(_)));
    assert_eq!(server.last().0.headers["eventail-delivery"], "replay", "so does a batch");
    assert!(is_acked(&target.invoke(invocation(event())).await.outcome));
    assert!(!server.last().0.headers.contains_key("eventail-delivery"));
}

#[tokio::test]
async fn static_headers_and_a_given_trace_are_sent() {
    let server = Server::answering(|_, _| status(200)).await;
    let mut options = options(&format!("http://{}", server.address));
    options.headers =
        [("authorization", "Bearer s3cret"), ("x-team", "a"), ("x-team", "b"), ("user-agent", "mine")]
            .map(|(name, value)| (HeaderName::from_static(name), Secret::new(value.into())))
            .into();
    let target = HttpTarget::new(options, loopback()).unwrap();
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let traced = event().to_builder().extension("traceparent", given).build().unwrap();
    let mut invocation = invocation(traced);
    invocation.wants_reply = true;
    assert!(is_acked(&target.invoke(invocation).await.outcome));
    let (parts, _) = server.last();
    assert_eq!(parts.headers["authorization"], "Bearer s3cret");
    assert_eq!(parts.headers.get_all("x-team").iter().count(), 2);
    assert_eq!(parts.headers["user-agent"], "mine");
    assert_eq!(parts.headers["prefer"], "reply");
    assert_eq!(parts.headers["ce-traceparent"], given);
    let span = parts.headers["traceparent"].to_str().unwrap();
    assert!(
        span.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && span.ends_with("-00") && span != given
    );
    assert!(!format!("{target:?}").contains("s3cret"));
}

#[test]
fn options_that_cannot_work_are_refused_without_showing_secrets() {
    let with_header = |name: &'static str, value: &str| {
        let mut options = options("http://example.com/");
        options.headers = vec![(HeaderName::from_static(name), Secret::new(value.into()))];
        HttpTarget::new(options, loopback()).unwrap_err()
    };
    for name in ["host", "content-length", "ce-id", "webhook-id", "eventail-attempt", "traceparent"] {
        assert!(matches!(with_header(name, "x"), HttpTargetError::ReservedHeader { .. }), "{name}");
    }
    let error = with_header("authorization", "line\nbreak");
    assert!(matches!(error, HttpTargetError::HeaderValue { .. }) && !error.to_string().contains("break"));
    let mut bad_secret = options("https://example.com/");
    bad_secret.signing_secrets = vec![Secret::new("whsec_short".into())];
    assert!(matches!(HttpTarget::new(bad_secret, loopback()), Err(HttpTargetError::Secret { index: 1, .. })));
    let target = HttpTarget::new(options("https://example.com/hook?token=x"), loopback()).unwrap();
    assert_eq!(target.describe(), "http https://example.com:443/hook");
}
