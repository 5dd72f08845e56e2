//! What Lambda's answers mean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const REPORT: &str = "START RequestId: r-1 Version: $LATEST\nhello\nEND RequestId: r-1\nREPORT RequestId: r-1\tDuration: 3.01 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t\n";

fn logged(log: &str) -> Builder {
    answer(200).header("x-amz-log-result", STANDARD.encode(log))
}

async fn one(
    respond: impl Fn() -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> (Outcome, Option<Box<Report>>) {
    let server = Server::answering(move |_, _| respond()).await;
    let answer = invoke(&target(options(&server))).await;
    (answer.outcome, answer.report)
}

#[tokio::test]
async fn a_run_is_reported_with_lambdas_own_figures() {
    let (outcome, report) = one(|| with_body(logged(REPORT), "null")).await;
    assert!(is_acked(&outcome));
    let expected = Report {
        function: "lambda ship".into(),
        end: RunEnd::Succeeded,
        init_ms: Some(110.1),
        duration_ms: 3.01,
        billed_ms: Some(114),
        memory_mb: Some(128),
        memory_used_mb: Some(36),
        architecture: crate::report::Architecture::X86,
    };
    assert_eq!(*report.unwrap(), expected);
    const JSON: &str = r#"{"time":"2026-11-23T10:00:00Z","type":"platform.report","record":{"requestId":"r-1","status":"success","metrics":{"durationMs":3.01,"billedDurationMs":114,"memorySizeMB":128,"maxMemoryUsedMB":36,"initDurationMs":110.1}}}"#;
    let (_, report) = one(|| with_body(logged(JSON), "null")).await;
    assert_eq!(*report.unwrap(), expected);
}

#[tokio::test]
async fn a_run_without_a_report_is_measured() {
    let (outcome, report) = one(|| with_body(answer(200), "{}")).await;
    assert!(is_acked(&outcome));
    let report = report.unwrap();
    assert_eq!((report.end, report.billed_ms, report.init_ms), (RunEnd::Succeeded, None, None));
    assert!(report.duration_ms > 0.0);
}

#[tokio::test]
async fn a_function_error_is_the_functions_failure_though_the_status_is_200() {
    let failed = |log: &str| logged(log).header("x-amz-function-error", "Unhandled");
    let body = r#"{"errorMessage": "no such order", "errorType": "KeyError", "stackTrace": ["line 1"]}"#;
    let (outcome, report) = one(move || with_body(failed(REPORT), body)).await;
    let (class, after_ms, response) = retried(outcome);
    assert_eq!((class, after_ms, response.status), (RetryClass::Failed, None, Some(200)));
    assert_eq!(response.error, "the function failed: KeyError: no such order");
    assert_eq!((response.body.as_str(), response.log.as_str()), (body, REPORT));
    let report = report.unwrap();
    assert_eq!((report.end, report.billed_ms), (RunEnd::Error, Some(114)));
}

#[tokio::test]
async fn timeouts_and_lack_of_memory_are_told_apart_from_other_failures() {
    let killed = "REPORT RequestId: r-1\tDuration: 9 ms\tBilled Duration: 9 ms\tMemory Size: 128 MB\tMax Memory Used: 128 MB\tStatus: error\tError Type: Runtime.OutOfMemory";
    let late = "REPORT RequestId: r-1\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tStatus: timeout";
    let timed_out = r#"{"errorMessage":"2026-11-23T10:00:03Z r-1 Task timed out after 3.00 seconds"}"#;
    let sandbox = r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r-1 Error: Task timed out"}"#;
    let exit = r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r-1 Error: Runtime exited with error: signal: killed"}"#;
    for (log, body, class, end) in [
        ("", timed_out, RetryClass::Timeout, RunEnd::Timeout),
        ("", sandbox, RetryClass::Timeout, RunEnd::Timeout),
        (late, "{}", RetryClass::Timeout, RunEnd::Timeout),
        (killed, exit, RetryClass::Failed, RunEnd::OutOfMemory),
        ("", r#"{"errorType":"Runtime.OutOfMemory"}"#, RetryClass::Failed, RunEnd::OutOfMemory),
        (REPORT, exit, RetryClass::Failed, RunEnd::Error),
        ("", "no json at all", RetryClass::Failed, RunEnd::Error),
    ] {
        let failed = move || with_body(logged(log).header("x-amz-function-error", "Unhandled"), body);
        let (outcome, report) = one(failed).await;
        let (found, _, response) = retried(outcome);
        assert_eq!((found, report.unwrap().end), (class, end), "{body}");
        assert!(response.error.starts_with("the function failed"), "{response:?}");
    }
}

/// What a refusal means.
#[derive(Debug, PartialEq)]
enum Meaning {
    Retry(RetryClass),
    Reject(RejectReason),
}

#[tokio::test]
async fn each_refusal_has_the_meaning_of_the_table() {
    use Meaning::{Reject, Retry};
    use RetryClass::{Failed, Throttled, Unreachable};
    for (status, kind, meaning) in [
        (429, "TooManyRequestsException", Retry(Throttled)),
        (502, "EC2ThrottledException", Retry(Throttled)),
        (500, "ServiceException", Retry(Failed)),
        (502, "ENILimitReachedException", Retry(Failed)),
        (502, "InvalidZipFileException", Retry(Failed)),
        (503, "ServiceUnavailableException", Retry(Failed)),
        (409, "ResourceNotReadyException", Retry(Failed)),
        (409, "ResourceConflictException", Retry(Failed)),
        (409, "SnapStartNotReadyException", Retry(Failed)),
        (408, "SnapStartTimeoutException", Retry(Failed)),
        (403, "ExpiredTokenException", Retry(Unreachable)),
        (403, "UnrecognizedClientException", Retry(Unreachable)),
        (403, "InvalidSignatureException", Reject(RejectReason::Permanent)),
        (403, "AccessDeniedException", Reject(RejectReason::Permanent)),
        (404, "ResourceNotFoundException", Reject(RejectReason::Permanent)),
        (400, "InvalidRequestContentException", Reject(RejectReason::Permanent)),
        (415, "UnsupportedMediaTypeException", Reject(RejectReason::Permanent)),
        (413, "RequestTooLargeException", Reject(RejectReason::TooLarge)),
        (301, "", Reject(RejectReason::Permanent)),
    ] {
        let refuse = move || {
            let kind = format!("{kind}:http://internal.amazon.com/coral/");
            let builder = answer(status).header("x-amzn-errortype", kind);
            with_body(builder, r#"{"Type":"User","Message":"not like this"}"#)
        };
        let (outcome, report) = one(refuse).await;
        let (found, response) = match outcome {
            Outcome::Retry { class, response, .. } => (Retry(class), response),
            Outcome::Reject { reason, response, .. } => (Reject(reason), response),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, meaning, "{status} {kind}");
        assert!(response.error.starts_with(&format!("Lambda answered {status}")), "{response:?}");
        assert!(response.error.contains(kind) && response.error.ends_with(": not like this"), "{response:?}");
        let end = (meaning == Retry(Throttled)).then_some(RunEnd::Throttled);
        assert_eq!(report.map(|report| report.end), end);
    }
}

#[tokio::test]
async fn a_signature_at_the_wrong_time_is_no_fault_of_the_event() {
    for message in [
        "Signature expired: 20261123T100000Z is now earlier than 20261123T105500Z",
        "Signature not yet current: 20261123T120000Z is still later than 20261123T100500Z",
    ] {
        let refuse = move || {
            let builder = answer(403).header("x-amzn-errortype", "InvalidSignatureException");
            with_body(builder, format!(r#"{{"message":"{message}"}}"#))
        };
        let (class, _, response) = retried(one(refuse).await.0);
        assert_eq!(class, RetryClass::Unreachable);
        assert!(response.error.ends_with(message), "{response:?}");
    }
}

#[tokio::test]
async fn a_throttle_tells_its_reason_and_how_long_to_wait() {
    let throttle = || {
        let builder = answer(429).header("retry-after", "7");
        with_body(
            builder,
            r#"{"__type":"com.amazonaws.lambda#TooManyRequestsException","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}"#,
        )
    };
    let (class, after_ms, response) = retried(one(throttle).await.0);
    assert_eq!((class, after_ms), (RetryClass::Throttled, Some(7000)));
    assert_eq!(
        response.error,
        "Lambda answered 429 Too Many Requests: TooManyRequestsException: \
         ReservedFunctionConcurrentInvocationLimitExceeded: Rate Exceeded."
    );
}

#[tokio::test]
async fn a_refused_connection_is_an_outage_and_silence_a_timeout() {
    let gone = Server::accepting(|_| std::future::ready(())).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Some(format!("http://{free}").parse().unwrap());
    let nobody = target(LambdaTargetOptions { endpoint, ..options(&gone) });
    let answer = invoke(&nobody).await;
    assert_eq!((retried(answer.outcome).0, answer.report), (RetryClass::Unreachable, None));

    let silent = Server::accepting(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut late = invocation(event());
    late.deadline = late.now.plus_ms(50);
    let answer = target(options(&silent)).invoke(late).await;
    assert_eq!(retried(answer.outcome).0, RetryClass::Timeout);
    assert_eq!(answer.report.unwrap().end, RunEnd::Timeout);
}

#[tokio::test]
async fn an_answer_is_a_reply_where_one_is_wanted() {
    let body = r#"{"specversion":"1.0","id":"r","source":"/f","type":"done"}"#;
    let server = answering(|| answer(200), body).await;
    let mut wanting = invocation(event());
    wanting.wants_reply = true;
    match target(options(&server)).invoke(wanting).await.outcome {
        Outcome::Ack { reply: Some(reply) } => assert_eq!(reply.id(), "r"),
        other => panic!("{other:?}"),
    }
}
