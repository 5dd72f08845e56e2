//! Access tokens: where they come from, how long they are used, and that an event never pays for their absence.

use super::*;
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

const CLIENT_SECRET: &str = "s/e cret+1";

fn oauth(token_url: &str) -> OAuthOptions {
    OAuthOptions {
        token_url: token_url.parse().unwrap(),
        client_id: "events:1".to_owned(),
        client_secret: Secret::new(CLIENT_SECRET.to_owned()),
        scope: Some("a b".to_owned()),
        audience: None,
        client_authentication: ClientAuthentication::default(),
    }
}

fn target_with(server: &Server, oauth: OAuthOptions) -> Arc<HttpTarget> {
    let url = format!("http://{}/hook", server.address);
    let options = HttpTargetOptions { auth: Some(HttpAuth::OAuth(oauth)), ..options(&url) };
    Arc::new(HttpTarget::new(options, loopback()).unwrap())
}

fn token_url(server: &Server) -> String {
    format!("http://{}/token", server.address)
}

fn json(body: impl Into<String>) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", "application/json").body(Full::from(body.into())).unwrap()
}

/// An endpoint whose tokens are numbered and live so many seconds.
async fn endpoint(expires_in: u64) -> Server {
    let count = AtomicUsize::new(0);
    Server::answering(move |_, _| {
        let nth = count.fetch_add(1, Ordering::SeqCst) + 1;
        json(format!(r#"{{"access_token":"token-{nth}","token_type":"Bearer","expires_in":{expires_in}}}"#))
    })
    .await
}

fn count(server: &Server) -> usize {
    server.seen.lock().unwrap().len()
}

fn tokens(server: &Server) -> Vec<String> {
    let seen = server.seen.lock().unwrap();
    seen.iter().map(|(head, _)| head.headers["authorization"].to_str().unwrap().to_owned()).collect()
}

/// An attempt that begins so many seconds after the first.
async fn invoke_after(target: &HttpTarget, seconds: u64) -> Outcome {
    let mut invocation = invocation(event());
    invocation.now = invocation.now.plus_ms(seconds * 1_000);
    invocation.deadline = invocation.deadline.plus_ms(seconds * 1_000);
    target.invoke(invocation).await.outcome
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_rfc_says_and_kept() {
    let (tokens_at, server) = (endpoint(3_600).await, Server::answering(|_, _| status(204)).await);
    let target = target_with(&server, oauth(&token_url(&tokens_at)));
    for seconds in [0, 1, 3_539] {
        assert!(is_acked(&invoke_after(&target, seconds).await));
    }
    assert_eq!(tokens(&server), ["Bearer token-1"; 3]);
    let seen = tokens_at.seen.lock().unwrap();
    let [(head, body)] = seen.as_slice() else { panic!("one request, not {}", seen.len()) };
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/token"));
    assert_eq!(head.headers["content-type"], "application/x-www-form-urlencoded");
    // Both are encoded before they are joined, or the colon would part them wrongly.
    assert_eq!(head.headers["authorization"], "Basic ZXZlbnRzJTNBMTpzJTJGZSUyMGNyZXQlMkIx");
    assert_eq!(body, "grant_type=client_credentials&scope=a%20b");
}

#[tokio::test]
async fn a_client_may_say_who_it_is_in_the_body() {
    let (tokens_at, server) = (endpoint(60).await, Server::answering(|_, _| status(204)).await);
    let oauth = OAuthOptions {
        client_authentication: ClientAuthentication::Post,
        audience: Some("https://api/".to_owned()),
        ..oauth(&token_url(&tokens_at))
    };
    assert!(is_acked(&invoke(&target_with(&server, oauth)).await));
    let (head, body) = tokens_at.last();
    assert!(!head.headers.contains_key("authorization"));
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=events%3A1&client_secret=s%2Fe%20cret%2B1&scope=a%20b&audience=https%3A%2F%2Fapi%2F"
    );
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_nobody_waits_for_that() {
    let (tokens_at, server) = (endpoint(600).await, Server::answering(|_, _| status(204)).await);
    let target = target_with(&server, oauth(&token_url(&tokens_at)));
    assert!(is_acked(&invoke_after(&target, 0).await));
    // A minute before its end the old one is good still, and a new one is fetched beside.
    assert!(is_acked(&invoke_after(&target, 541).await));
    eventually("the renewal", || count(&tokens_at) == 2).await;
    let mut last = String::new();
    for _ in 0..10_000 {
        assert!(is_acked(&invoke_after(&target, 542).await));
        last = tokens(&server).pop().unwrap();
        if last == "Bearer token-2" {
            break;
        }
    }
    assert_eq!(last, "Bearer token-2");
    assert_eq!(tokens(&server)[..2], ["Bearer token-1", "Bearer token-1"]);
}

#[tokio::test]
async fn many_calls_at_once_fetch_one_token() {
    let (tokens_at, server) = (endpoint(600).await, Server::answering(|_, _| status(204)).await);
    let target = target_with(&server, oauth(&token_url(&tokens_at)));
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let target = Arc::clone(&target);
            tokio::spawn(async move { invoke(&target).await })
        })
        .collect();
    for call in calls {
        assert!(is_acked(&call.await.unwrap()));
    }
    assert_eq!((count(&tokens_at), count(&server)), (1, 32));
}

#[tokio::test]
async fn a_token_that_the_target_refuses_is_replaced_once() {
    let server = Server::answering(|head, _| {
        status(if head.headers["authorization"] == "Bearer token-2" { 204 } else { 401 })
    })
    .await;
    let tokens_at = endpoint(600).await;
    let target = target_with(&server, oauth(&token_url(&tokens_at)));
    assert!(is_acked(&invoke(&target).await));
    assert_eq!(tokens(&server), ["Bearer token-1", "Bearer token-2"]);
    assert!(is_acked(&invoke_after(&target, 1).await), "the new one is kept");
    assert_eq!((count(&tokens_at), count(&server)), (2, 3));

    let never = Server::answering(|_, _| status(401)).await;
    let target = target_with(&never, oauth(&token_url(&endpoint(600).await)));
    let (reason, ..) = rejected(invoke(&target).await);
    assert_eq!((reason, count(&never)), (RejectReason::Permanent, 2), "and the verdict is the target's");
}

#[tokio::test]
async fn without_a_token_the_target_is_out_and_gets_nothing() {
    let server = Server::answering(|_, _| status(204)).await;
    let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(70_000));
    let code = r#"{"error":"invalid_client","error_description":"hunter2"}"#;
    type Made = Box<dyn Fn() -> Response<Full<Bytes>> + Send + Sync>;
    let answers: [(&str, Made); 8] = [
        ("answered 500", Box::new(|| status(500))),
        ("answered 302", Box::new(|| status(302))),
        (
            "answered 401, invalid_client",
            Box::new(move || {
                let mut answer = json(code);
                *answer.status_mut() = http::StatusCode::UNAUTHORIZED;
                answer
            }),
        ),
        ("is no JSON object of at most 64 KiB", Box::new(|| json("hunter2"))),
        ("is no JSON object of at most 64 KiB", Box::new(move || json(long.clone()))),
        ("has no `access_token`", Box::new(|| json("{}"))),
        (
            "has a token that is no bearer token",
            Box::new(|| json(r#"{"access_token":"hunter2","token_type":"mac"}"#)),
        ),
        ("has a token that no header can have", Box::new(|| json(r#"{"access_token":"hunter2\n"}"#))),
    ];
    for (what, answer) in answers {
        let tokens_at = Server::answering(move |_, _| answer()).await;
        let target = target_with(&server, oauth(&token_url(&tokens_at)));
        let (class, _, response) = retried(invoke(&target).await);
        assert_eq!(class, RetryClass::Unreachable, "{what}");
        assert!(response.error.contains(what), "{}", response.error);
        assert!(!response.error.contains("hunter2"), "{}", response.error);
    }
    assert_eq!(count(&server), 0);
}

#[tokio::test]
async fn an_endpoint_that_fails_rests_and_the_token_that_is_good_still_is_used() {
    let is_out = Arc::new(AtomicBool::new(false));
    let out = Arc::clone(&is_out);
    let tokens_at = Server::answering(move |_, _| {
        if out.load(Ordering::SeqCst) {
            status(503)
        } else {
            json(r#"{"access_token":"token","expires_in":"600"}"#)
        }
    })
    .await;
    let server = Server::answering(|_, _| status(204)).await;
    let target = target_with(&server, oauth(&token_url(&tokens_at)));
    assert!(is_acked(&invoke_after(&target, 0).await));
    is_out.store(true, Ordering::SeqCst);
    assert!(is_acked(&invoke_after(&target, 590).await));
    eventually("the renewal that fails", || count(&tokens_at) == 2).await;
    assert!(is_acked(&invoke_after(&target, 590).await), "it is good for ten seconds more");
    assert_eq!(retried(invoke_after(&target, 601).await).0, RetryClass::Unreachable);
    let asked = count(&tokens_at);
    assert_eq!(retried(invoke_after(&target, 601).await).0, RetryClass::Unreachable);
    assert_eq!(count(&tokens_at), asked, "within the same second it is not asked again");
    is_out.store(false, Ordering::SeqCst);
    assert!(is_acked(&invoke_after(&target, 603).await));
}

#[tokio::test]
async fn an_endpoint_that_is_slow_costs_no_attempt_and_its_token_is_kept() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let tokens_at = Server::accepting(move |stream| {
        let gate = Arc::clone(&opened);
        async move {
            gate.notified().await;
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(json(r#"{"access_token":"late","expires_in":600}"#))
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await;
    let server = Server::answering(|_, _| status(204)).await;
    let target = target_with(&server, oauth(&token_url(&tokens_at)));
    let mut hurried = invocation(event());
    hurried.deadline = hurried.now.plus_ms(50);
    let (class, _, response) = retried(target.invoke(hurried).await.outcome);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.contains("in the time of the attempt"), "{}", response.error);
    gate.notify_one();
    assert!(is_acked(&invoke_after(&target, 1).await));
    assert_eq!((tokens_at.connections(), tokens(&server)), (1, vec!["Bearer late".to_owned()]));
}

#[tokio::test]
async fn the_endpoint_is_screened_as_targets_are() {
    let server = Server::answering(|_, _| status(204)).await;
    for (url, said) in [
        ("http://169.254.169.254/token", "link-local"),
        ("http://[::ffff:10.0.0.1]/token", "private"),
        ("http://127.0.0.1:1/token", "port 1"),
    ] {
        let egress = loopback().with_ports([PortRange { first: 2, last: u16::MAX }]);
        let options = HttpTargetOptions {
            auth: Some(HttpAuth::OAuth(oauth(url))),
            ..options(&format!("http://{}/", server.address))
        };
        let egress = if url.contains("127") { egress } else { egress.with_ports([]) };
        let (class, _, response) = retried(invoke(&HttpTarget::new(options, egress).unwrap()).await);
        assert_eq!(class, RetryClass::Unreachable);
        assert!(response.error.contains(said), "{}", response.error);
    }
    assert_eq!(count(&server), 0);
    let wrong = HttpTargetOptions {
        auth: Some(HttpAuth::OAuth(oauth("http://user:hunter2@a/token"))),
        ..options("http://a/")
    };
    let error = HttpTarget::new(wrong, loopback()).unwrap_err();
    assert!(
        matches!(error, HttpTargetError::TokenUrl { .. }) && !error.to_string().contains("hunter2"),
        "{error}"
    );
}

#[tokio::test]
async fn other_credentials_go_with_every_request_and_only_once() {
    let server = Server::answering(|_, _| status(204)).await;
    let url = format!("http://{}/", server.address);
    let basic = HttpAuth::Basic { user: "u".to_owned(), password: Secret::new("p".to_owned()) };
    let target =
        HttpTarget::new(HttpTargetOptions { auth: Some(basic), ..options(&url) }, loopback()).unwrap();
    assert!(is_acked(&invoke(&target).await));
    assert_eq!(server.last().0.headers["authorization"], "Basic dTpw");
    let batch = target.invoke_batch(vec![invocation(event()), invocation(event())]).await.outcome;
    assert!(matches!(batch, crate::outcome::BatchOutcome::Whole(Outcome::Ack { .. })), "{batch:?}");
    assert_eq!(server.last().0.headers["authorization"], "Basic dTpw");
    for (auth, header) in [
        (HttpAuth::Bearer(Secret::new("t".to_owned())), http::header::AUTHORIZATION),
        (HttpAuth::OAuth(oauth("http://a/")), http::header::AUTHORIZATION),
    ] {
        let headers = vec![(header.clone(), Secret::new("x".to_owned()))];
        let twice = HttpTargetOptions { auth: Some(auth), headers, ..options(&url) };
        assert_eq!(
            HttpTarget::new(twice, loopback()).unwrap_err(),
            HttpTargetError::AuthHeaderTwice { name: header }
        );
    }
    let name = http::HeaderName::from_static("webhook-id");
    let reserved = HttpAuth::Header { name: name.clone(), value: Secret::new("x".to_owned()) };
    let reserved = HttpTargetOptions { auth: Some(reserved), ..options(&url) };
    assert_eq!(HttpTarget::new(reserved, loopback()).unwrap_err(), HttpTargetError::ReservedHeader { name });
}
