//! What is sent: where to, how it is signed, and what is refused before.

use super::signature::check;
use super::*;

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:ship";

async fn ready() -> Server {
    answering(|| answer(200), "{}").await
}

#[tokio::test]
async fn every_name_qualifier_and_endpoint_is_called_with_a_good_signature() {
    let server = ready().await;
    let base = format!("http://{}", server.address);
    for (function, qualifier, endpoint, region, called) in [
        ("ship", None, "", "eu-central-1", "/2015-03-31/functions/ship/invocations"),
        (
            "ship",
            Some("$LATEST"),
            "/",
            "eu-central-1",
            "/2015-03-31/functions/ship/invocations?Qualifier=%24LATEST",
        ),
        (
            "ship:live",
            Some("live"),
            "",
            "eu-central-1",
            "/2015-03-31/functions/ship%3Alive/invocations?Qualifier=live",
        ),
        ("ship", Some("7"), "/a/b/", "x-1", "/a/b/2015-03-31/functions/ship/invocations?Qualifier=7"),
        (
            ARN,
            None,
            "",
            "eu-central-1",
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aship/invocations",
        ),
    ] {
        let target = target(LambdaTargetOptions {
            function: function.to_owned(),
            qualifier: qualifier.map(str::to_owned),
            region: Some(region.to_owned()),
            endpoint: Some(format!("{base}{endpoint}").parse().unwrap()),
            ..options(&server)
        });
        assert!(is_acked(&invoke(&target).await.outcome));
        let seen = server.last();
        assert_eq!(seen.0.uri.to_string(), called);
        let signed = check(&seen, KEY_ID, SECRET, region);
        for name in ["host", "content-type", "x-amz-date", "x-amz-invocation-type", "x-amz-log-type"] {
            assert!(signed.iter().any(|signed| signed == name), "{name} in {signed:?}");
        }
        assert_eq!(target.describe(), format!("lambda {function}"));
        assert_eq!(target.shared_key(), Some(format!("lambda {function}")));
    }
    assert_eq!(server.connections(), 5, "each target keeps its own connection");
}

#[tokio::test]
async fn the_request_has_the_event_the_trace_and_the_kind_of_invocation() {
    let server = ready().await;
    let sync = target(options(&server));
    invoke(&sync).await;
    let (head, body) = server.last();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("x-amz-invocation-type").as_deref(), Some("RequestResponse"));
    assert_eq!(header("x-amz-log-type").as_deref(), Some("Tail"));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("x-amz-date").as_deref(), Some("20261123T100000Z"));
    assert_eq!(header("x-amzn-trace-id"), crate::payload::trace_header(&event()));
    assert_eq!(header("x-amz-security-token"), None);
    assert_eq!(body, crate::payload::encode_one(PayloadShape::CloudEvent, &invocation(event())));

    let asynchronous = target(LambdaTargetOptions { invocation: InvocationType::Async, ..options(&server) });
    let answer = invoke(&asynchronous).await;
    assert!(is_acked(&answer.outcome) && answer.report.is_none(), "{answer:?}");
    let (head, _) = server.last();
    assert_eq!(head.headers["x-amz-invocation-type"], "Event");
    assert!(!head.headers.contains_key("x-amz-log-type"));
    check(&server.last(), KEY_ID, SECRET, "eu-central-1");
}

#[tokio::test]
async fn a_session_token_is_sent_and_signed() {
    let server = ready().await;
    let target =
        LambdaTarget::with_credentials(options(&server), loopback(), keys(Some("a/session+token==")));
    assert!(is_acked(&invoke(&target.unwrap()).await.outcome));
    let signed = check(&server.last(), KEY_ID, SECRET, "eu-central-1");
    assert!(signed.contains(&"x-amz-security-token".to_owned()));
    assert_eq!(server.last().0.headers["x-amz-security-token"], "a/session+token==");

    let damaged = LambdaTarget::with_credentials(options(&server), loopback(), keys(Some("two\nlines")));
    let (class, _, response) = retried(invoke(&damaged.unwrap()).await.outcome);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.contains("session token") && !response.error.contains("two"), "{response:?}");
}

#[tokio::test]
async fn envelopes_name_the_region_and_the_account_of_the_function() {
    let server = ready().await;
    let target = target(LambdaTargetOptions {
        function: ARN.to_owned(),
        region: None,
        payload: PayloadShape::EventBridge,
        ..options(&server)
    });
    invoke(&target).await;
    let seen = server.last();
    check(&seen, KEY_ID, SECRET, "eu-west-1");
    let sent: serde_json::Value = serde_json::from_slice(&seen.1).unwrap();
    assert_eq!((&sent["region"], &sent["account"]), (&"eu-west-1".into(), &"123456789012".into()));
}

/// An event whose payload in the shape `raw` has exactly so many bytes.
fn sized(bytes: usize) -> Invocation {
    let text = format!("\"{}\"", "x".repeat(bytes - 2));
    invocation(event().to_builder().json_data(text).build().unwrap())
}

#[tokio::test]
async fn what_lambda_would_refuse_for_its_size_is_not_sent() {
    let server = ready().await;
    for (invocation_type, limit, how) in
        [(InvocationType::Sync, 6_291_456, "synchronous"), (InvocationType::Async, 1_048_576, "asynchronous")]
    {
        let target = target(LambdaTargetOptions {
            invocation: invocation_type,
            payload: PayloadShape::Raw,
            ..options(&server)
        });
        assert!(is_acked(&target.invoke(sized(limit)).await.outcome));
        let sent = server.seen.lock().unwrap().len();
        let answer = target.invoke(sized(limit + 1)).await;
        let (reason, disable, response) = rejected(answer.outcome);
        assert_eq!((reason, disable, answer.report), (RejectReason::TooLarge, false, None));
        assert_eq!(
            response.error,
            format!(
                "the payload has {} bytes, and Lambda takes {limit} at most with {how} invocations",
                limit + 1
            )
        );
        assert_eq!(server.seen.lock().unwrap().len(), sent);
    }
}

#[tokio::test]
async fn an_endpoint_of_the_configuration_is_screened() {
    let server = ready().await;
    let target = LambdaTarget::with_credentials(options(&server), Egress::new([]), keys(None)).unwrap();
    let (class, _, response) = retried(invoke(&target).await.outcome);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.contains("[egress] allow"), "{response:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused() {
    let server = ready().await;
    let refused = |options| LambdaTarget::new(options, loopback()).unwrap_err();
    let endpoint =
        |text: &str| LambdaTargetOptions { endpoint: Some(text.parse().unwrap()), ..options(&server) };
    assert!(matches!(refused(endpoint("ftp://x/")), LambdaTargetError::Endpoint { .. }));
    assert!(matches!(refused(endpoint("http://u:p@x/")), LambdaTargetError::Endpoint { .. }));
    assert_eq!(refused(endpoint("http://x/?q=1")), LambdaTargetError::EndpointQuery);
    let function = |text: &str| LambdaTargetOptions { function: text.to_owned(), ..options(&server) };
    assert!(matches!(refused(function("a b")), LambdaTargetError::Name { .. }));
    let qualified =
        LambdaTargetOptions { qualifier: Some("live".to_owned()), ..function(&format!("{ARN}:test")) };
    assert!(matches!(refused(qualified), LambdaTargetError::TwoQualifiers { .. }));
    let region = LambdaTargetOptions { region: Some("evil.example/".to_owned()), ..function("ship") };
    assert!(matches!(refused(region), LambdaTargetError::Region { .. }));
}
