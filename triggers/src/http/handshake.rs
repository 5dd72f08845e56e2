//! The handshake of CloudEvents' "HTTP 1.1 Web Hooks for Event Delivery": a target is asked for its leave before it gets events.
//!
//! An OPTIONS request names the sender; whoever wants its events answers with `WebHook-Allowed-Origin`, and says with
//! `WebHook-Allowed-Rate` how many requests a minute it takes. Of many calls that need the leave, one asks for it. It holds for a
//! while and is asked for again then. A target that answers without it refuses; one that does not answer is out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use eventail_wire::Timestamp;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::response::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use super::caller::Caller;
use super::classify::meaning;
use super::error::{AttemptError, chain};
use super::link::Outgoing;
use super::request::AGENT;
use super::{Origin, StatusMeaning};
use crate::outcome::{Outcome, Response, RetryClass};
use crate::policy::RateLimit;
use crate::target::Leave;

/// How long a leave holds.
const LEAVE_MS: u64 = 60 * 60_000;
const SECONDS_PER_MINUTE: f64 = 60.0;

/// With which a request says who sends it: the handshake's, and every delivery after it.
pub(super) static REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
static ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
static ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Why there is no leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// It does not want events. Asking again changes nothing until somebody sees to it.
    #[error("the target does not take part in the handshake: it answered {status} {why}")]
    Refused { status: StatusCode, why: &'static str },
    /// It could not be asked.
    #[error("the target could not be asked for its leave")]
    Attempt { source: Box<AttemptError> },
    /// It does not say.
    #[error("the target answered the handshake with {status}")]
    Unanswered { status: StatusCode, class: RetryClass, after_ms: Option<u64> },
    #[error("the target did not answer the handshake within {after_ms} ms")]
    Slow { after_ms: u128 },
}

impl HandshakeError {
    /// The target's refusal is for somebody to see to; whatever else it is, no event is at fault.
    pub(super) fn outcome(&self) -> Outcome {
        let (class, after_ms) = match self {
            Self::Refused { .. } => return Outcome::Withheld { reason: chain(self) },
            Self::Attempt { source } if source.is_forbidden() => {
                return Outcome::Withheld { reason: chain(self) };
            }
            Self::Unanswered { class, after_ms, .. } => (*class, *after_ms),
            Self::Attempt { .. } | Self::Slow { .. } => (RetryClass::Unreachable, None),
        };
        let response = Response { status: self.status(), error: chain(self), ..Response::default() };
        Outcome::Retry { class, after_ms, response }
    }

    /// Whether the target does not know who asks.
    pub(super) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED)
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Unanswered { status, .. } => Some(status.as_u16()),
            Self::Attempt { .. } | Self::Slow { .. } => None,
        }
    }
}

/// What is known of one target's leave.
pub(super) struct Handshake {
    origin: HeaderValue,
    /// Held by the one that asks.
    turn: tokio::sync::Mutex<()>,
    given: Mutex<Option<Given>>,
}

#[derive(Clone, Copy)]
struct Given {
    rate: Option<RateLimit>,
    until: Timestamp,
}

impl Handshake {
    pub(super) fn new(origin: &Origin) -> Self {
        // Its characters are those of names, which every header can have.
        let origin = HeaderValue::from_str(origin.as_str()).unwrap_or(HeaderValue::from_static(""));
        let (turn, given) = Default::default();
        Self { origin, turn, given }
    }

    /// What every delivery says of its sender.
    pub(super) const fn origin(&self) -> &HeaderValue {
        &self.origin
    }

    /// What is known now.
    pub(super) fn leave(&self) -> Leave {
        self.given().map_or(Leave::Unasked, |given| Leave::Given(given.rate))
    }

    /// Makes sure of the target's leave, and asks for it where it has to. `headers` go with the question.
    pub(super) async fn obtain(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<(), HandshakeError> {
        if self.holds(now) {
            return Ok(());
        }
        let begun = Instant::now();
        let asked = timeout_at(deadline, async {
            let _turn = self.turn.lock().await;
            if self.holds(now) { Ok(()) } else { self.ask(caller, headers, now, deadline).await }
        });
        let after_ms = deadline.saturating_duration_since(begun).as_millis();
        asked.await.unwrap_or(Err(HandshakeError::Slow { after_ms }))
    }

    async fn ask(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<(), HandshakeError> {
        let exchanged = caller.exchange(self.request(headers), deadline, |_| (0, ())).await;
        let (head, ..) = exchanged.map_err(|source| HandshakeError::Attempt { source: Box::new(source) })?;
        let judged = self.judge(&head, now);
        // What held before does not hold any more where it is refused now.
        if let Ok(rate) = judged {
            *self.given() = Some(Given { rate, until: now.plus_ms(LEAVE_MS) });
        } else if matches!(judged, Err(HandshakeError::Refused { .. })) {
            *self.given() = None;
        }
        judged.map(|rate| {
            tracing::debug!(per_second = rate.map(|rate| rate.per_second), "the target gave its leave")
        })
    }

    fn request(&self, headers: &HeaderMap) -> Outgoing {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = Method::OPTIONS;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(USER_AGENT, AGENT.clone());
        request.headers_mut().insert(&REQUEST_ORIGIN, self.origin.clone());
        request
    }

    /// The rate that an answer allows.
    fn judge(&self, head: &Parts, now: Timestamp) -> Result<Option<RateLimit>, HandshakeError> {
        let status = head.status;
        if status != StatusCode::NOT_IMPLEMENTED
            && let StatusMeaning::Retry(class) = meaning(status)
            && (class == RetryClass::Throttled || status.is_server_error())
        {
            let after = head.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after_ms = after.and_then(|value| super::retry_after::parse(value, now));
            // That it fails is no event's fault.
            let class = if class == RetryClass::Throttled { class } else { RetryClass::Unreachable };
            return Err(HandshakeError::Unanswered { status, class, after_ms });
        }
        let refused = |why| Err(HandshakeError::Refused { status, why });
        if matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            return refused("and does not know OPTIONS therefore");
        }
        if !status.is_success() {
            return refused("and takes no events therefore");
        }
        let text = |name| head.headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
        match text(&ALLOWED_ORIGIN) {
            None => return refused("without WebHook-Allowed-Origin"),
            Some("*") => {}
            Some(allowed) if self.origin.to_str().is_ok_and(|own| allowed.eq_ignore_ascii_case(own)) => {}
            Some(_) => return refused("with a WebHook-Allowed-Origin that is another's"),
        }
        match text(&ALLOWED_RATE) {
            None | Some("*") => Ok(None),
            Some(rate) => match rate.parse::<u32>() {
                Ok(per_minute) if per_minute > 0 => {
                    let per_second = f64::from(per_minute) / SECONDS_PER_MINUTE;
                    Ok(Some(RateLimit { per_second, burst: 1 }))
                }
                _ => refused("with a WebHook-Allowed-Rate that is neither a number above 0 nor *"),
            },
        }
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.given().is_some_and(|given| now < given.until)
    }

    fn given(&self) -> MutexGuard<'_, Option<Given>> {
        // Nothing that holds the lock can leave it half changed.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
