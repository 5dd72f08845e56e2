//! How an attempt ended, as a value: what the delivery machine needs to decide, and nothing of HTTP or Lambda.

use eventail_wire::{Event, limits};
use serde::{Deserialize, Serialize};

/// Why an attempt may be tried again. Each class has its own budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// The target asks for less (429, 503 with `Retry-After`, a concurrency limit). Costs no attempt.
    Throttled,
    /// The target was not reached (refused, no route, name not found, TLS failed). Never the event's fault: costs no attempt.
    Unreachable,
    /// The target did not answer in time. The event's fault unless others fail too.
    Timeout,
    /// The target answered with a failure that may pass (5xx, 404, 408, 409). The event's fault unless others fail too.
    Failed,
}

/// Why an event will not be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The target refused it for good (other 4xx, 3xx).
    Permanent,
    /// `max_attempts` were burnt.
    MaxAttempts,
    /// `max_age` passed.
    MaxAge,
    /// A subscriber refused it.
    Refused,
    /// The reply would have been one hop too many.
    HopLimit,
    /// The target's reply is no event that can be published.
    InvalidReply,
    /// What would be sent is larger than the target takes.
    TooLarge,
    /// The trigger's input could not be made of it.
    Transform,
}

/// What a target answered, for people: kept with retries and dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// HTTP status, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The first bytes of the body as text (at most [`eventail_wire::limits::RESPONSE_SNIPPET_BYTES_MAX`]).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// One line: what went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The last bytes of what the function logged (at most [`eventail_wire::limits::LOG_TAIL_BYTES_MAX`]).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
}

impl Response {
    /// Cut to what is kept: the first [`limits::RESPONSE_SNIPPET_BYTES_MAX`] of each text, the last
    /// [`limits::LOG_TAIL_BYTES_MAX`] of the log.
    #[must_use]
    pub fn cut(mut self) -> Self {
        for text in [&mut self.body, &mut self.error] {
            let end = text.floor_char_boundary(limits::RESPONSE_SNIPPET_BYTES_MAX);
            text.truncate(end);
        }
        let begin = self.log.len().saturating_sub(limits::LOG_TAIL_BYTES_MAX);
        self.log.drain(..self.log.ceil_char_boundary(begin));
        self
    }
}

/// How one attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The target took the event over and will call back: the lease is held until it does, or runs out. Only an invocation
    /// with a callback may be answered so.
    Accepted,
    /// The target took the event; its answer may be an event of its own.
    Ack {
        /// The reply, where the answer was a CloudEvent.
        reply: Option<Event>,
    },
    /// Try again.
    Retry {
        /// Which budget it is charged to.
        class: RetryClass,
        /// How long the target asked us to wait at least.
        after_ms: Option<u64>,
        /// What the target said.
        response: Response,
    },
    /// Do not try again.
    Reject {
        /// Why.
        reason: RejectReason,
        /// What the target said.
        response: Response,
        /// The target wants no more events at all (410).
        disable: bool,
    },
    /// Nothing was sent: the target wants no events until somebody sees to it, or may not be called where it is. The event goes back as if it had never been tried, and
    /// its trigger pauses.
    Withheld {
        /// Why, for whoever sees to it.
        reason: String,
    },
}

impl Outcome {
    /// The same, with a response that is cut to what is kept.
    #[must_use]
    pub fn cut(self) -> Self {
        match self {
            Self::Accepted | Self::Ack { .. } | Self::Withheld { .. } => self,
            Self::Retry { class, after_ms, response } => {
                Self::Retry { class, after_ms, response: response.cut() }
            }
            Self::Reject { reason, response, disable } => {
                Self::Reject { reason, response: response.cut(), disable }
            }
        }
    }
}

/// How one call with several events ended.
#[derive(Clone, Debug)]
pub enum BatchOutcome {
    /// It ended for all of them alike. Where that is a failure, none of them is known to be the culprit.
    Whole(Outcome),
    /// It ended for each by itself, in the order of the batch and as many.
    Each(Vec<Outcome>),
}
