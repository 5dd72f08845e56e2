//! One step of an event's way, or of its trigger's, as the timeline keeps it. Numbers are for ever: a new kind gets a new one, and new
//! fields go to the end with a default.

use eventail_triggers::outcome::{RejectReason, Response, RetryClass};
use eventail_wire::{Offset, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes that are kept of a response's body and of its error line, each.
pub(super) const SNIPPET_BYTES_MAX: usize = 256;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The target took the event at the first attempt.
    Delivered { took_us: u64 },
    /// Any other attempt ended.
    Attempt(Box<Attempt>),
    /// Its dead letter is durable.
    DeadLettered { topic: String, offset: u64, reason: Option<RejectReason> },
    /// Its dead letter was handed to the trigger again, and lies at `lane_offset` of the log of redrives now.
    Redriven { letter_topic: String, letter_offset: u64, lane_offset: u64 },
    /// The target answered with an event, which lies there.
    Replied { topic: String, offset: u64, id: String },
    /// It was published again, and not appended.
    Duplicate,
    /// Its `expirytime` was over before the target took it.
    Expired,
    /// An earlier event has its business key, so it is not delivered.
    Deduplicated,
    /// The trigger began to read its topic here.
    Started { offset: Offset },
    /// The breaker opened, stays open or closed (`None`).
    Breaker { until: Option<Timestamp> },
    /// The target throttles (`None`: no more).
    Held { until: Option<Timestamp> },
    /// The trigger was paused, resumed, disabled or stopped.
    State { state: String, reason: Option<String> },
    /// What lay before `to` was passed over.
    Skipped { to: Offset },
    /// Retention took what lay before `start`.
    Lost { start: Offset },
    /// A kind of a later version, or one whose content cannot be read.
    Unknown { kind: u64 },
}

/// An attempt that was not a success at the first try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Which try it was; throttles and outages do not count.
    pub(crate) number: u32,
    pub(crate) took_us: u64,
    /// How it may be tried again; `None` where the target took it or refused it.
    pub(crate) class: Option<RetryClass>,
    pub(crate) reject: Option<RejectReason>,
    pub(crate) status: Option<u16>,
    pub(crate) error: String,
    pub(crate) body: String,
    pub(crate) next_at: Option<Timestamp>,
    /// Whether it tested a target that was out.
    pub(crate) is_probe: bool,
}

/// A page cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StepError {
    /// It was written by a version that writes them differently.
    #[error("the page has another format")]
    Format,
    /// It ends too early.
    #[error("the page is cut")]
    Cut,
}

impl Attempt {
    /// Takes what is kept of a response.
    pub(crate) fn responded(mut self, response: Option<&Response>) -> Self {
        if let Some(response) = response {
            self.status = response.status;
            self.error = snippet(&response.error);
            self.body = snippet(&response.body);
        }
        self
    }
}

fn snippet(text: &str) -> String {
    text[..text.floor_char_boundary(SNIPPET_BYTES_MAX)].to_owned()
}

impl Step {
    /// Its kind.
    pub(super) fn kind(&self) -> u64 {
        self.encode().0
    }

    /// Its kind and its content.
    pub(super) fn encode(&self) -> (u64, Vec<u8>) {
        match self {
            // As an attempt: side by side they are written without.
            Self::Delivered { took_us } => {
                (2, pack(&Attempt { number: 1, took_us: *took_us, ..Attempt::default() }))
            }
            Self::Attempt(attempt) => (2, pack(attempt)),
            Self::DeadLettered { topic, offset, reason } => (3, pack(&(topic, offset, reason))),
            Self::Redriven { letter_topic, letter_offset, lane_offset } => {
                (4, pack(&(letter_topic, letter_offset, lane_offset)))
            }
            Self::Replied { topic, offset, id } => (5, pack(&(topic, offset, id))),
            Self::Duplicate => (6, Vec::new()),
            Self::Expired => (7, Vec::new()),
            Self::Deduplicated => (8, Vec::new()),
            Self::Started { offset } => (64, pack(offset)),
            Self::Breaker { until } => (65, pack(until)),
            Self::Held { until } => (66, pack(until)),
            Self::State { state, reason } => (67, pack(&(state, reason))),
            Self::Skipped { to } => (68, pack(to)),
            Self::Lost { start } => (69, pack(start)),
            Self::Unknown { kind } => (*kind, Vec::new()),
        }
    }

    /// The step of a kind.
    pub(super) fn decode(kind: u64, content: &[u8]) -> Self {
        let step = match kind {
            2 => unpack(content).map(Self::Attempt),
            3 => unpack(content).map(|(topic, offset, reason)| Self::DeadLettered { topic, offset, reason }),
            4 => unpack(content).map(|(letter_topic, letter_offset, lane_offset)| Self::Redriven {
                letter_topic,
                letter_offset,
                lane_offset,
            }),
            5 => unpack(content).map(|(topic, offset, id)| Self::Replied { topic, offset, id }),
            6 => Some(Self::Duplicate),
            7 => Some(Self::Expired),
            8 => Some(Self::Deduplicated),
            64 => unpack(content).map(|offset| Self::Started { offset }),
            65 => unpack(content).map(|until| Self::Breaker { until }),
            66 => unpack(content).map(|until| Self::Held { until }),
            67 => unpack(content).map(|(state, reason)| Self::State { state, reason }),
            68 => unpack(content).map(|to| Self::Skipped { to }),
            69 => unpack(content).map(|start| Self::Lost { start }),
            _ => None,
        };
        step.unwrap_or(Self::Unknown { kind })
    }
}

fn pack(content: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(content).expect("plain data always encodes into memory")
}

fn unpack<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    rmp_serde::from_slice(content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_back_as_it_was() {
        let response = Response {
            status: Some(503),
            body: "ü".repeat(SNIPPET_BYTES_MAX),
            error: "HTTP 503".into(),
            ..Response::default()
        };
        let attempt = Attempt {
            number: 3,
            took_us: 5,
            class: Some(RetryClass::Throttled),
            next_at: Some(Timestamp(9)),
            is_probe: true,
            ..Attempt::default()
        };
        let attempt = attempt.responded(Some(&response));
        assert!(attempt.body.len() <= SNIPPET_BYTES_MAX && attempt.body.ends_with('ü'));
        for step in [
            Step::Attempt(Box::new(attempt)),
            Step::Attempt(Box::new(Attempt { reject: Some(RejectReason::Permanent), ..Attempt::default() })),
            Step::DeadLettered { topic: "d".into(), offset: 1, reason: Some(RejectReason::MaxAge) },
            Step::Redriven { letter_topic: "d".into(), letter_offset: 1, lane_offset: 2 },
            Step::Replied { topic: "r".into(), offset: 1, id: "x".into() },
            Step::Duplicate,
            Step::Expired,
            Step::Deduplicated,
            Step::Started { offset: Offset(4) },
            Step::Breaker { until: Some(Timestamp(4)) },
            Step::Breaker { until: None },
            Step::Held { until: Some(Timestamp(4)) },
            Step::State { state: "paused".into(), reason: Some("moves".into()) },
            Step::Skipped { to: Offset(9) },
            Step::Lost { start: Offset(9) },
        ] {
            let (kind, content) = step.encode();
            assert_eq!(Step::decode(kind, &content), step);
        }
        assert_eq!(Step::decode(3, b"\xc1"), Step::Unknown { kind: 3 });
    }
}
