//! Refusals of the Invoke API, told as AWS Lambda tells them: a status, `x-amzn-ErrorType`, and JSON.

use bytes::Bytes;
use eventail_triggers::function::{RunError, ThrottleReason};
use eventail_wire::Code;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::super::problem::{Problem, Reply, json_bytes};
use super::super::sigv4::SignatureError;
use crate::lambda_name::{LambdaName, LambdaNameError};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// The region and the account of functions that are nowhere but here.
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";
/// What `Retry-After` says to whom there is no room for now.
const RETRY_AFTER_SECONDS: u64 = 1;
/// What the host calls what is its own failure and none of the function's.
const HOST_FAILURE: &str = "Sandbox.Failure";

/// Why an invocation was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvokeError {
    /// It is not signed as it must be.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// A browser sent it for a web page, and nobody signed it.
    #[error(
        "a web page may not invoke functions: send no Origin, or sign the request where [invoke] has keys"
    )]
    WebPage,
    /// Whoever asks may not do this.
    #[error("this needs the permission `publish:invocations`")]
    Forbidden,
    /// The name is none.
    #[error("the function's name: {0}")]
    Name(LambdaNameError),
    /// There is no such function.
    #[error("Function not found: {arn}")]
    Unknown {
        /// Its ARN, were there one.
        arn: String,
    },
    /// A header or parameter has a value that it cannot have.
    #[error("{0}")]
    Parameter(&'static str),
    /// The payload is not JSON.
    #[error("Could not parse request body into json: {0}")]
    NotJson(serde_json::Error),
    /// All instances of the function are busy.
    #[error("Rate Exceeded.")]
    Throttled(ThrottleReason),
    /// The function could not be run, which is not its own fault.
    #[error("{0}")]
    Host(RunError),
    /// The request's body or the event of the invocation was refused.
    #[error("{}", .0.detail())]
    Refused(Problem),
}

impl From<Problem> for InvokeError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Whether the host failed, and not the function.
pub(super) fn is_of_host(error: &RunError) -> bool {
    error.kind() == HOST_FAILURE
}

impl InvokeError {
    pub(super) fn unknown(name: &LambdaName<'_>, qualifier: Option<&str>) -> Self {
        let (region, account) = (name.region.unwrap_or(REGION), name.account.unwrap_or(ACCOUNT));
        let mut arn = format!("arn:aws:lambda:{region}:{account}:function:{}", name.name);
        if let Some(qualifier) = name.qualifier.or(qualifier) {
            arn = format!("{arn}:{qualifier}");
        }
        Self::Unknown { arn }
    }

    /// The status, and what AWS calls it.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Signature(error) => (StatusCode::FORBIDDEN, error.aws_type()),
            Self::WebPage | Self::Forbidden => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::Name(_) => (StatusCode::BAD_REQUEST, "ValidationException"),
            Self::Unknown { .. } => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "InvalidParameterValueException"),
            Self::NotJson(_) => (StatusCode::BAD_REQUEST, "InvalidRequestContentException"),
            Self::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"),
            Self::Host(_) => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException"),
            Self::Refused(problem) => match problem.code() {
                Code::EventTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException"),
                Code::Malformed => (StatusCode::BAD_REQUEST, "InvalidRequestContentException"),
                Code::InvalidParameter => (StatusCode::BAD_REQUEST, "InvalidParameterValueException"),
                Code::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
                Code::Unauthenticated => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
                Code::Overloaded | Code::TooManyAttempts => {
                    (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException")
                }
                Code::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException"),
            },
        }
    }

    /// Why there is no room, in AWS's words.
    const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Throttled(_) => Some("ConcurrentInvocationLimitExceeded"),
            Self::Refused(problem) if matches!(problem.code(), Code::Overloaded) => {
                Some("CallerRateLimitExceeded")
            }
            _ => None,
        }
    }

    /// The answer. Each is logged here.
    pub(super) fn into_reply(self) -> Reply {
        let (status, kind) = self.kind();
        if status.is_server_error() {
            warn!(kind, error = %self, "invocation failed");
        } else {
            debug!(kind, error = %self, "invocation refused");
        }
        let mut body = json!({ "Type": if status.is_server_error() { "Service" } else { "User" } });
        // AWS spells it so in this one error, and clients look for either.
        let message = if status == StatusCode::NOT_FOUND { "Message" } else { "message" };
        body[message] = Value::from(self.to_string());
        if let Some(reason) = self.reason() {
            body["Reason"] = Value::from(reason);
        }
        let mut reply = json_bytes(status, Bytes::from(body.to_string()));
        let headers = reply.headers_mut();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(error: InvokeError) -> (StatusCode, Value, http::HeaderMap) {
        use http_body_util::BodyExt as _;
        let (parts, body) = error.into_reply().into_parts();
        let body = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(body.collect());
        (parts.status, serde_json::from_slice(&body.unwrap().to_bytes()).unwrap(), parts.headers)
    }

    #[test]
    fn a_throttle_says_which_and_when_to_come_back() {
        let throttled = [
            (InvokeError::Throttled(ThrottleReason::Deadline), "ConcurrentInvocationLimitExceeded"),
            (InvokeError::Throttled(ThrottleReason::QueueFull), "ConcurrentInvocationLimitExceeded"),
            (Problem::new(Code::Overloaded, "").into(), "CallerRateLimitExceeded"),
        ];
        for (error, reason) in throttled {
            let (status, body, headers) = answer(error);
            assert_eq!(
                (status.as_u16(), &body["Reason"], &body["Type"]),
                (429, &reason.into(), &"User".into())
            );
            assert_eq!(headers[ERROR_TYPE], "TooManyRequestsException");
            assert_eq!(headers[header::RETRY_AFTER], "1");
        }
    }

    #[test]
    fn the_failure_of_the_host_is_told_from_that_of_a_function() {
        assert!(is_of_host(&RunError::Stopped));
        let (kind, message) = ("ValueError".to_owned(), "no".to_owned());
        assert!(!is_of_host(&RunError::Function { kind, message, document: Bytes::new() }));
        assert!(!is_of_host(&RunError::Protocol { rule: "" }));
        let (status, body, headers) = answer(InvokeError::Host(RunError::Stopped));
        assert_eq!((status.as_u16(), &body["Type"]), (500, &"Service".into()));
        assert_eq!(headers[ERROR_TYPE], "ServiceException");
        assert!(!headers.contains_key(header::RETRY_AFTER));
    }
}
