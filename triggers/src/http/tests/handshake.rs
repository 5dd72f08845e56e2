//! The handshake: who is asked, what is heard, and that nothing is sent without leave.

use super::*;
use crate::outcome::BatchOutcome;
use crate::policy::RateLimit;
use crate::target::Leave;
use std::sync::atomic::AtomicU16;

/// A server that answers OPTIONS with these headers, and takes what is posted.
async fn granting(headers: &'static [(&'static str, &'static str)]) -> Server {
    Server::answering(move |head, _| {
        if head.method != http::Method::OPTIONS {
            return status(204);
        }
        let answer =
            headers.iter().fold(Response::builder(), |answer, (name, value)| answer.header(*name, *value));
        answer.body(Full::default()).unwrap()
    })
    .await
}

fn asking(server: &Server) -> HttpTarget {
    asking_with(server, loopback())
}

fn asking_with(server: &Server, egress: Egress) -> HttpTarget {
    let bearer = HttpAuth::Bearer(Secret::new("t".to_owned()));
    let url = format!("http://{}/hook?a=1", server.address);
    let headers = vec![(http::HeaderName::from_static("x-team"), Secret::new("logistics".to_owned()))];
    let options = HttpTargetOptions { handshake: true, auth: Some(bearer), headers, ..options(&url) };
    HttpTarget::new(options, egress).unwrap()
}

fn methods(server: &Server) -> Vec<String> {
    server.seen.lock().unwrap().iter().map(|(head, _)| head.method.to_string()).collect()
}

fn withheld(outcome: Outcome) -> String {
    match outcome {
        Outcome::Withheld { reason } => reason,
        other => panic!("expected nothing to be sent, got {other:?}"),
    }
}

async fn invoke_after(target: &HttpTarget, minutes: u64) -> Outcome {
    let mut invocation = invocation(event());
    invocation.now = invocation.now.plus_ms(minutes * 60_000);
    invocation.deadline = invocation.now.plus_ms(10_000);
    target.invoke(invocation).await.outcome
}

#[tokio::test]
async fn the_target_is_asked_at_its_very_address_before_the_first_delivery_and_every_hour() {
    let server =
        granting(&[("webhook-allowed-origin", "Events.Example.com"), ("webhook-allowed-rate", "120")]).await;
    let target = asking_with(&server, loopback().with_origin("events.example.com".parse().unwrap()));
    assert_eq!(target.leave(), Some(Leave::Unasked));
    for minutes in [0, 1, 59] {
        assert!(is_acked(&invoke_after(&target, minutes).await));
    }
    assert_eq!(target.leave(), Some(Leave::Given(Some(RateLimit { per_second: 2.0, burst: 1 }))));
    assert!(is_acked(&invoke_after(&target, 60).await));
    assert_eq!(methods(&server), ["OPTIONS", "POST", "POST", "POST", "OPTIONS", "POST"]);
    let seen = server.seen.lock().unwrap();
    for (head, _) in seen.iter() {
        assert_eq!(head.uri, "/hook?a=1");
        assert_eq!(head.headers["webhook-request-origin"], "events.example.com");
        assert_eq!(
            (&head.headers["authorization"], &head.headers["x-team"]),
            (&"Bearer t".parse().unwrap(), &"logistics".parse().unwrap())
        );
    }
    let question = &seen[0].0.headers;
    assert!(!question.contains_key("ce-specversion") && !question.contains_key("webhook-id"));
}

#[tokio::test]
async fn many_calls_at_once_ask_once() {
    let server = granting(&[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*")]).await;
    let target = Arc::new(asking(&server));
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let target = Arc::clone(&target);
            tokio::spawn(async move { invoke(&target).await })
        })
        .collect();
    for call in calls {
        assert!(is_acked(&call.await.unwrap()));
    }
    assert_eq!(methods(&server).iter().filter(|method| *method == "OPTIONS").count(), 1);
    assert_eq!(target.leave(), Some(Leave::Given(None)));
}

#[tokio::test]
async fn a_target_that_does_not_agree_gets_nothing_and_no_event_pays() {
    for (headers, why) in [
        (&[][..], "without WebHook-Allowed-Origin"),
        (&[("webhook-allowed-origin", "others.example.com")][..], "another's"),
        (
            &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "0")][..],
            "neither a number above 0 nor *",
        ),
        (
            &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "many")][..],
            "neither a number above 0 nor *",
        ),
    ] {
        let server = granting(headers).await;
        let target = asking(&server);
        let reason = withheld(invoke(&target).await);
        assert!(
            reason.starts_with("the target does not take part in the handshake: ") && reason.contains(why),
            "{reason}"
        );
        let batch = target.invoke_batch(vec![invocation(event()), invocation(event())]).await.outcome;
        assert!(matches!(batch, BatchOutcome::Whole(Outcome::Withheld { .. })), "{batch:?}");
        assert_eq!(
            methods(&server),
            ["OPTIONS", "OPTIONS"],
            "it is asked again when somebody has seen to it"
        );
    }
    for code in [302, 401, 403, 404, 405, 410, 501] {
        let server = Server::answering(move |_, _| {
            let mut answer = status(code);
            answer.headers_mut().insert("webhook-allowed-origin", "*".parse().unwrap());
            answer
        })
        .await;
        assert!(withheld(invoke(&asking(&server)).await).contains(&code.to_string()));
        assert_eq!(methods(&server), ["OPTIONS"]);
    }
}

#[tokio::test]
async fn a_target_that_does_not_say_is_out_or_asks_for_less() {
    for (code, class) in [
        (500, RetryClass::Unreachable),
        (502, RetryClass::Unreachable),
        (503, RetryClass::Throttled),
        (429, RetryClass::Throttled),
    ] {
        let server = Server::answering(move |_, _| {
            let mut answer = status(code);
            answer.headers_mut().insert("retry-after", "7".parse().unwrap());
            answer
        })
        .await;
        let (told, after_ms, response) = retried(invoke(&asking(&server)).await);
        assert_eq!((told, after_ms, response.status), (class, Some(7_000), Some(code)));
        assert!(response.error.contains("handshake"), "{}", response.error);
    }
    let mut hurried = invocation(event());
    hurried.deadline = hurried.now.plus_ms(50);
    let silent = Server::silent().await;
    let (class, _, response) = retried(asking(&silent).invoke(hurried).await.outcome);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.contains("did not answer the handshake within"), "{}", response.error);
    let nobody = HttpTargetOptions { handshake: true, ..options("http://127.0.0.1:1/") };
    let (class, _, response) = retried(invoke(&HttpTarget::new(nobody, loopback()).unwrap()).await);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(
        response.error.starts_with("the target could not be asked for its leave: no connection"),
        "{}",
        response.error
    );
}

#[tokio::test]
async fn a_leave_that_is_taken_back_ends_with_the_hour() {
    let allows = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&allows);
    let server = Server::answering(move |head, _| {
        let code = if head.method == http::Method::OPTIONS { answered.load(Ordering::SeqCst) } else { 204 };
        let mut answer = status(code);
        answer.headers_mut().insert("webhook-allowed-origin", "*".parse().unwrap());
        answer
    })
    .await;
    let target = asking(&server);
    assert!(is_acked(&invoke_after(&target, 0).await));
    allows.store(403, Ordering::SeqCst);
    assert!(is_acked(&invoke_after(&target, 59).await));
    withheld(invoke_after(&target, 61).await);
    assert_eq!(target.leave(), Some(Leave::Unasked));
    allows.store(200, Ordering::SeqCst);
    assert!(is_acked(&invoke_after(&target, 61).await));
    assert_eq!(methods(&server), ["OPTIONS", "POST", "POST", "OPTIONS", "OPTIONS", "POST"]);
}

#[tokio::test]
async fn who_is_not_asked_is_sent_nothing_about_it() {
    let server = Server::answering(|_, _| status(204)).await;
    let target = server.target();
    assert!(is_acked(&invoke(&target).await));
    assert_eq!((target.leave(), methods(&server)), (None, vec!["POST".to_owned()]));
    assert!(!server.last().0.headers.contains_key("webhook-request-origin"));
    let places = HttpTargetOptions { handshake: true, ..options("http://a/{$.id}") };
    assert_eq!(HttpTarget::new(places, loopback()).unwrap_err(), HttpTargetError::HandshakeOfPlaces);
}
