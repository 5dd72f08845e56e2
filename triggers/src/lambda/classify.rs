//! What Lambda's answer means (Lambda API reference, `Invoke`).
//!
//! | answer | meaning |
//! | --- | --- |
//! | 2xx | taken; the payload is the function's answer |
//! | 2xx with `X-Amz-Function-Error` | the function failed, or ran out of its time: tried again |
//! | 429, 502 `EC2ThrottledException` | throttled |
//! | 408, 409, other 5xx | failed, tried again: a function that is not ready, a trouble of Lambda's |
//! | 403 for expired or unknown credentials or a clock that is off | unreachable: new credentials are looked up |
//! | 403 for a signature that is wrong | rejected like other 4xx; new credentials are looked up for the next call |
//! | 413 | rejected as too large |
//! | 3xx, other 4xx | rejected, with AWS's error type and message |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eventail_wire::Timestamp;
use http::header::RETRY_AFTER;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::http::{Body, parse_retry_after, snippet};
use crate::ledger::report_line::{self, ReportStatus, RunFacts};
use crate::outcome::{Outcome, RejectReason, Response, RetryClass};
use crate::report::RunEnd;

const FUNCTION_ERROR: &str = "x-amz-function-error";
const LOG_RESULT: &str = "x-amz-log-result";
const ERROR_TYPE: &str = "x-amzn-errortype";

/// The largest answer of a function (Lambda quotas: 6 MB, and some bytes of its own).
const ANSWER_BYTES_MAX: usize = (6 << 20) + (64 << 10);
/// What is read of an error: its type and message stand in front of the stack trace or behind it.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// AWS's words for credentials that are no good any more or not yet, or a clock that is off: with time or new ones it passes.
const CREDENTIAL_ERRORS: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "UnrecognizedClientException",
];
/// AWS's words for a signature that is wrong: the secret is another, or the message says that the clock is off.
const SIGNATURE_ERRORS: [&str; 2] = ["InvalidSignatureException", "SignatureDoesNotMatch"];
/// What that message begins with then.
const CLOCK_IS_OFF: [&str; 2] = ["Signature expired", "Signature not yet current"];

/// The head of an answer, judged: how much of its body is wanted.
pub(super) fn body_bytes_wanted(head: &Parts, wants_answer: bool) -> usize {
    if !head.status.is_success() || head.headers.contains_key(FUNCTION_ERROR) {
        ERROR_BYTES_MAX
    } else if wants_answer {
        ANSWER_BYTES_MAX
    } else {
        0
    }
}

/// An answer, judged.
pub(super) struct Verdict {
    /// The function's answer, or how the attempt ended without one.
    pub(super) ended: Result<Bytes, Outcome>,
    /// How the run ended, where there was one or it was throttled.
    pub(super) run: Option<RunEnd>,
    /// What Lambda says of the run.
    pub(super) facts: Option<RunFacts>,
    /// Whether AWS refused the credentials.
    pub(super) refuses_credentials: bool,
}

/// Judges an answer.
pub(super) fn judge(head: &Parts, body: Body, now: Timestamp) -> Verdict {
    if !head.status.is_success() {
        return refused(head.status, &head.headers, &body, now);
    }
    let log = log_tail(&head.headers);
    let facts = report_line::parse(&log);
    let (ended, run) = if head.headers.contains_key(FUNCTION_ERROR) {
        let (outcome, run) = function_error(head.status, &body, log, facts.as_ref());
        (Err(outcome), run)
    } else {
        (Ok(body.kept), RunEnd::Succeeded)
    };
    Verdict { ended, run: Some(run), facts, refuses_credentials: false }
}

#[derive(Default, Deserialize)]
struct FunctionError {
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default, rename = "errorMessage")]
    message: Option<String>,
}

fn function_error(
    status: StatusCode,
    body: &Body,
    log: String,
    facts: Option<&RunFacts>,
) -> (Outcome, RunEnd) {
    let error: FunctionError = serde_json::from_slice(&body.kept).unwrap_or_default();
    let kind = error.error_type.as_deref().unwrap_or_default();
    let message = error.message.as_deref().unwrap_or_default();
    let is_timeout = facts.is_some_and(|facts| facts.status == ReportStatus::Timeout)
        || kind == "Sandbox.Timedout"
        || message.contains("Task timed out after ");
    let run = if is_timeout {
        RunEnd::Timeout
    } else if kind.contains("OutOfMemory") || facts.is_some_and(RunFacts::is_out_of_memory) {
        RunEnd::OutOfMemory
    } else {
        RunEnd::Error
    };
    let class = if is_timeout { RetryClass::Timeout } else { RetryClass::Failed };
    let error = joined("the function failed", &[kind, message]);
    let response = Response { status: Some(status.as_u16()), body: snippet(&body.kept), error, log };
    (Outcome::Retry { class, after_ms: None, response: response.cut() }, run)
}

/// What AWS's services say of an error; some begin the names with a capital, some name the type in the body alone.
#[derive(Default, Deserialize)]
struct ServiceError {
    #[serde(default, rename = "__type")]
    error_type: Option<String>,
    #[serde(default, alias = "Message")]
    message: Option<String>,
    #[serde(default, rename = "Reason")]
    reason: Option<String>,
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &Body, now: Timestamp) -> Verdict {
    let error: ServiceError = serde_json::from_slice(&body.kept).unwrap_or_default();
    let named = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    let kind = named.or(error.error_type.as_deref()).map(plain_type).unwrap_or_default();
    let what = format!("Lambda answered {status}");
    let [message, reason] = [&error.message, &error.reason].map(|text| text.as_deref().unwrap_or_default());
    let is_forbidden = status == StatusCode::FORBIDDEN;
    let is_signed_wrongly = is_forbidden && SIGNATURE_ERRORS.contains(&kind);
    let passes = is_forbidden && CREDENTIAL_ERRORS.contains(&kind)
        || is_signed_wrongly && CLOCK_IS_OFF.iter().any(|start| message.starts_with(start));
    let response = Response {
        status: Some(status.as_u16()),
        body: snippet(&body.kept),
        error: joined(&what, &[kind, reason, message]),
        ..Response::default()
    }
    .cut();
    let is_throttled = status == StatusCode::TOO_MANY_REQUESTS || kind == "EC2ThrottledException";
    let class = if is_throttled {
        Some(RetryClass::Throttled)
    } else if passes {
        Some(RetryClass::Unreachable)
    } else if matches!(status.as_u16(), 408 | 409 | 500..) {
        Some(RetryClass::Failed)
    } else {
        None
    };
    let outcome = match class {
        Some(class) => {
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after_ms = after.and_then(|value| parse_retry_after(value, now));
            Outcome::Retry { class, after_ms, response }
        }
        None => {
            let is_too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
            let reason = if is_too_large { RejectReason::TooLarge } else { RejectReason::Permanent };
            Outcome::Reject { reason, response, disable: false }
        }
    };
    let run = is_throttled.then_some(RunEnd::Throttled);
    Verdict { ended: Err(outcome), run, facts: None, refuses_credentials: passes || is_signed_wrongly }
}

/// `prefix#Type:http://…` is `Type`.
fn plain_type(text: &str) -> &str {
    let text = text.split(':').next().unwrap_or_default();
    text.rsplit('#').next().unwrap_or_default().trim()
}

/// What, and those of the parts that say something, with colons between.
fn joined(what: &str, parts: &[&str]) -> String {
    let mut text = what.to_owned();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        text.push_str(": ");
        text.push_str(part);
    }
    text
}

/// The last lines of the function's log. Lambda cuts them anywhere, also within a character.
fn log_tail(headers: &HeaderMap) -> String {
    let encoded = headers.get(LOG_RESULT).map(|value| value.as_bytes()).unwrap_or_default();
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    String::from_utf8_lossy(&decoded).into_owned()
}
