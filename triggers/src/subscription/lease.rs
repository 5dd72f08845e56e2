//! Attempts as the caller sees them: what is handed out, and what comes back.

use eventail_wire::{Offset, Timestamp};

use crate::outcome::{Outcome, RejectReason, Response, RetryClass};

/// The right, and the duty, to make one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What settles it. Never used again.
    pub token: u64,
    /// The call that it is part of. Leases of one call stand side by side and have this in common; it is the token of the first.
    pub call: u64,
    /// The event's place.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// Which try this is, counted from 1; throttles and outages do not count.
    pub attempt: u32,
    /// When the lease runs out.
    pub deadline: Timestamp,
    /// Whether it tests a target that was out.
    pub is_probe: bool,
}

/// How an attempt ended: an [`Outcome`] without its reply, which is not the machine's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The target took the event.
    Ack,
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
        /// The target wants no more events at all.
        disable: bool,
    },
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ack { .. } => Self::Ack,
            // Whoever holds the lease waits for the callback instead of settling.
            Outcome::Accepted => Self::Retry {
                class: RetryClass::Failed,
                after_ms: None,
                response: Response {
                    error: "the target accepted the event but was given no callback".to_owned(),
                    ..Response::default()
                },
            },
            Outcome::Retry { class, after_ms, response } => Self::Retry { class, after_ms, response },
            // Whoever holds the lease gives it back instead of settling.
            Outcome::Withheld { reason } => Self::Retry {
                class: RetryClass::Unreachable,
                after_ms: None,
                response: Response { error: reason, ..Response::default() },
            },
            Outcome::Reject { reason, response, disable } => Self::Reject { reason, response, disable },
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnding {
    /// For all of its events alike. Where that is a failure, none of them is known to be the culprit.
    Whole(Ending),
    /// For each event by itself, in the order of the leases. Events beyond the end of the list go back.
    Each(Vec<Ending>),
}

/// What a settlement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Delivered,
    /// It will be tried again.
    Retry {
        /// Not before this.
        at: Timestamp,
    },
    /// It goes back as if it had never been leased, because an event of its key failed in the same call.
    HandedBack,
    /// It is given up; the order is among the effects.
    DeadLetter {
        /// Why.
        reason: RejectReason,
    },
}

/// An attempt that was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The event's place.
    pub offset: Offset,
    /// Which try it was.
    pub attempt: u32,
    /// What came of it.
    pub verdict: Verdict,
}

/// The token's lease was settled, handed back, ran out or was passed over. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease {token} no longer stands")]
pub struct StaleLease {
    /// The token that was shown.
    pub token: u64,
}

impl StaleLease {
    /// Never: the event is somebody else's now, or settled.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}
