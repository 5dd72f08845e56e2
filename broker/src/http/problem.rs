//! Errors as answers: `application/problem+json` (RFC 9457) with the stable code of [`Code`].
//!
//! Every refusal of this API is made here, so that none lacks its code, its status or, where a retry can help, the time
//! after which to retry.

use std::borrow::Cow;

use bytes::Bytes;
use eventail_wire::{Code, EventError, NameError};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use tracing::{debug, warn};

use crate::BrokerError;

/// What every handler answers: the body is whole and in memory.
pub(super) type Reply = Response<Full<Bytes>>;

/// How long a refused publisher waits where nothing better is known.
const RETRY_AFTER_MS: u64 = 1_000;

/// Why a request was refused.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    limit: Option<Exceeded>,
    retry_after_ms: Option<u64>,
}

/// A limit and the value that was over it.
#[derive(Clone, Copy, Debug)]
struct Exceeded {
    limit: u64,
    value: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'a str,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), limit: None, retry_after_ms: None }
    }

    /// A parameter or member has a value that it cannot have.
    pub(super) fn parameter(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidParameter, detail)
    }

    /// `what` (with its unit) is `value` and may be `limit` at most.
    pub(super) fn over_limit(code: Code, what: &str, value: u64, limit: u64) -> Self {
        let detail = format!("{what}: {value} is more than the limit of {limit}");
        Self { code, detail: detail.into(), limit: Some(Exceeded { limit, value }), retry_after_ms: None }
    }

    /// Says when to come again, if ever.
    #[must_use]
    pub(super) const fn retry_after_ms(mut self, milliseconds: Option<u64>) -> Self {
        self.retry_after_ms = milliseconds;
        self
    }

    pub(super) const fn code(&self) -> Code {
        self.code
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Says where the problem is: `event 3: …`.
    #[must_use]
    pub(super) fn at(mut self, place: impl std::fmt::Display) -> Self {
        self.detail = format!("{place}: {}", self.detail).into();
        self
    }

    /// The answer. Each is logged here, the one place that all of them pass.
    pub(super) fn into_reply(self) -> Reply {
        let status =
            StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            warn!(code = %self.code, detail = &*self.detail, "http request failed");
        } else {
            debug!(code = %self.code, detail = &*self.detail, "http request refused");
        }
        let document = Document {
            r#type: format!("/errors/{}", self.code),
            title: title(self.code),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code,
            limit: self.limit.map(|exceeded| exceeded.limit),
            value: self.limit.map(|exceeded| exceeded.value),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut reply = Response::new(Full::new(Bytes::from(body)));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"eventail\""));
        }
        let known = self.retry_after_ms.filter(|_| self.code.is_retryable());
        let always = (status == StatusCode::TOO_MANY_REQUESTS).then_some(RETRY_AFTER_MS);
        if let Some(milliseconds) = known.or(always) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1000).max(1)));
        }
        reply
    }
}

/// `event_too_large` in words: `Event too large`.
fn title(code: Code) -> String {
    let words = code.as_str().replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        let retry_after_ms = error.retry_after_ms();
        Self { retry_after_ms, ..Self::new(error.code(), error.to_string()) }
    }
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Limit { what, value, limit } => {
                Self::over_limit(error.code(), what, value as u64, limit as u64)
            }
            _ => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(Code::InvalidName, error.to_string())
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Problem> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(Code::Internal, format!("the answer could not be written: {error}")))?;
    Ok(json_bytes(status, body.into()))
}

/// A JSON answer that is written already.
pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Reply {
    with_type(status, "application/json", body)
}

/// An answer of any media type.
pub(super) fn with_type(status: StatusCode, media_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_becomes_a_whole_problem() {
        for &code in Code::ALL {
            let reply = Problem::new(code, "why").into_reply();
            assert_eq!(reply.status().as_u16(), code.http_status());
            assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert!(!title(code).contains('_') && title(code).starts_with(char::is_uppercase), "{code}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_only_where_a_retry_can_help() {
        let after = |code, retry_after_ms| {
            let problem = Problem { retry_after_ms, ..Problem::new(code, "") };
            problem
                .into_reply()
                .headers()
                .get(header::RETRY_AFTER)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(after(Code::Overloaded, None), Some("1".to_owned()));
        assert_eq!(after(Code::Overloaded, Some(2_001)), Some("3".to_owned()));
        assert_eq!(after(Code::ShuttingDown, Some(10)), Some("1".to_owned()));
        assert_eq!(after(Code::ShuttingDown, None), None);
        assert_eq!(after(Code::Malformed, Some(10)), None);
    }
}
