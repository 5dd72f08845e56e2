//! What an answer means: the table of Knative's delivery contract, with the trigger's own meanings before it.
//!
//! | status | meaning |
//! | --- | --- |
//! | 2xx | taken; a 200 may carry a reply, and any of them partial failures of a batch |
//! | 202 with `eventail-callback: accepted` | taken over; rejected where the trigger allows no callback |
//! | 410 | rejected, and the target wants no more events |
//! | 429, 503 | throttled |
//! | 404, 408, 409, 5xx, anything unlisted | failed, tried again |
//! | 1xx, 3xx, other 4xx | rejected |

use std::collections::BTreeMap;

use eventail_wire::cloudevents::{CloudEventError, Mode, decode_binary, decode_structured};
use eventail_wire::{Event, EventError, Timestamp, limits};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use super::body::Body;
use super::{CALLBACK_ACCEPTED, CALLBACK_HEADER, StatusMeaning, batch, retry_after};
use crate::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use crate::target::Invocation;

const NO_CALLBACK: &str = "the target says that it will call back, which its trigger does not allow: set `callback = true` in its target";

/// What a status means by default.
pub(super) const fn meaning(status: StatusCode) -> StatusMeaning {
    match status.as_u16() {
        200..=299 => StatusMeaning::Ack,
        429 | 503 => StatusMeaning::Retry(RetryClass::Throttled),
        404 | 408 | 409 => StatusMeaning::Retry(RetryClass::Failed),
        100..=199 | 300..=499 => StatusMeaning::Reject,
        _ => StatusMeaning::Retry(RetryClass::Failed),
    }
}

/// What the caller would like to find in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// A CloudEvent.
    pub(super) reply: bool,
    /// The events of a batch that failed.
    pub(super) failures: bool,
    /// Whether the target may take the event over.
    pub(super) callback: bool,
}

/// The head of an answer, judged.
pub(super) struct Verdict {
    status: StatusCode,
    meaning: StatusMeaning,
    has_own_meaning: bool,
    /// Set where the body is said to be a CloudEvent and one is wanted.
    reply: Option<Result<Mode, CloudEventError>>,
    wanted: Wanted,
    /// The target says that it will call back.
    is_taken_over: bool,
}

impl Verdict {
    pub(super) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        statuses: &BTreeMap<u16, StatusMeaning>,
        wanted: Wanted,
    ) -> Self {
        let own = statuses.get(&status.as_u16()).copied();
        let meaning = own.unwrap_or(meaning(status));
        let may_reply = wanted.reply && status == StatusCode::OK && meaning == StatusMeaning::Ack;
        let reply = if may_reply { claimed_mode(headers) } else { None };
        let is_taken_over =
            status == StatusCode::ACCEPTED && meaning == StatusMeaning::Ack && says_accepted(headers);
        Self { status, meaning, has_own_meaning: own.is_some(), reply, wanted, is_taken_over }
    }

    /// Whether the target does not know who sends, and says so in the usual way.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED && self.meaning != StatusMeaning::Ack
    }

    /// How much of the body is needed.
    pub(super) const fn body_bytes_wanted(&self) -> usize {
        match (&self.reply, self.meaning) {
            (Some(_), _) => limits::RESPONSE_BODY_BYTES_MAX,
            (None, StatusMeaning::Ack) if self.is_taken_over => 0,
            (None, StatusMeaning::Ack) if self.wanted.failures => limits::RESPONSE_BODY_BYTES_MAX,
            (None, StatusMeaning::Ack) => 0,
            (None, _) => limits::RESPONSE_SNIPPET_BYTES_MAX,
        }
    }

    /// How the attempt at a batch ended, once as much of the body was read.
    pub(super) fn batch_outcome(
        self,
        headers: &HeaderMap,
        body: Body,
        batch: &[Invocation],
        now: Timestamp,
    ) -> BatchOutcome {
        if self.meaning == StatusMeaning::Ack && !self.is_taken_over {
            return batch::judge(self.status.as_u16(), &body, batch);
        }
        BatchOutcome::Whole(self.outcome(headers, body, now))
    }

    /// How the attempt ended, once as much of the body was read.
    pub(super) fn outcome(self, headers: &HeaderMap, body: Body, now: Timestamp) -> Outcome {
        let response = |error: String| Response {
            status: Some(self.status.as_u16()),
            body: snippet(&body.kept),
            error,
            ..Response::default()
        };
        match self.meaning {
            StatusMeaning::Ack if self.is_taken_over && self.wanted.callback => Outcome::Accepted,
            StatusMeaning::Ack if self.is_taken_over => Outcome::Reject {
                reason: RejectReason::Permanent,
                response: response(NO_CALLBACK.to_owned()),
                disable: false,
            },
            StatusMeaning::Ack => match self.reply {
                None => Outcome::Ack { reply: None },
                Some(mode) => match mode.and_then(|mode| decode_reply(mode, headers, &body)) {
                    Ok(reply) => Outcome::Ack { reply: Some(reply) },
                    Err(error) => Outcome::Reject {
                        reason: RejectReason::InvalidReply,
                        response: response(format!("the reply is no event that can be published: {error}")),
                        disable: false,
                    },
                },
            },
            StatusMeaning::Retry(class) => {
                let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let after_ms = after.and_then(|value| retry_after::parse(value, now));
                Outcome::Retry { class, after_ms, response: response(answered(self.status)) }
            }
            StatusMeaning::Reject => Outcome::Reject {
                reason: RejectReason::Permanent,
                response: response(answered(self.status)),
                disable: self.status == StatusCode::GONE && !self.has_own_meaning,
            },
        }
    }
}

fn says_accepted(headers: &HeaderMap) -> bool {
    let says = headers.get(CALLBACK_HEADER).and_then(|value| value.to_str().ok());
    says.is_some_and(|says| says.trim().eq_ignore_ascii_case(CALLBACK_ACCEPTED))
}

fn answered(status: StatusCode) -> String {
    // `StatusCode` prints its number and its reason.
    format!("the target answered {status}")
}

/// How the answer says that it is a CloudEvent, if it does.
fn claimed_mode(headers: &HeaderMap) -> Option<Result<Mode, CloudEventError>> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match Mode::of_content_type(content_type) {
        Ok(Mode::Binary) if !headers.contains_key("ce-specversion") => None,
        mode => Some(mode),
    }
}

fn decode_reply(mode: Mode, headers: &HeaderMap, body: &Body) -> Result<Event, CloudEventError> {
    if !body.is_whole {
        let (value, limit) = (body.kept.len() + 1, limits::RESPONSE_BODY_BYTES_MAX);
        return Err(EventError::Limit { what: "bytes of a reply", value, limit }.into());
    }
    match mode {
        Mode::Binary => {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            decode_binary(headers, body.kept.clone())
        }
        Mode::Structured => decode_structured(&body.kept),
        Mode::Batched => Err(CloudEventError::MediaType {
            media_type: eventail_wire::cloudevents::BATCH_MEDIA_TYPE.to_owned(),
        }),
    }
}

/// The first bytes of a body as text, whatever they are.
pub(crate) fn snippet(body: &[u8]) -> String {
    let mut text =
        String::from_utf8_lossy(&body[..body.len().min(limits::RESPONSE_SNIPPET_BYTES_MAX)]).into_owned();
    // Replacement characters are longer than what they replace.
    text.truncate(text.floor_char_boundary(limits::RESPONSE_SNIPPET_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted { reply: true, failures: false, callback: false };

    fn outcome(status: u16, own: &[(u16, StatusMeaning)], body: &'static [u8]) -> Outcome {
        let statuses = own.iter().copied().collect();
        let headers = HeaderMap::new();
        let verdict = Verdict::new(StatusCode::from_u16(status).unwrap(), &headers, &statuses, WANTED);
        let body = Body { kept: body.into(), is_whole: true, is_read: true };
        verdict.outcome(&headers, body, Timestamp(0))
    }

    #[test]
    fn each_status_has_the_meaning_of_the_table() {
        use RetryClass::{Failed, Throttled};
        for status in 100..=999 {
            let expected = match status {
                200..=299 => StatusMeaning::Ack,
                429 | 503 => StatusMeaning::Retry(Throttled),
                404 | 408 | 409 | 500.. => StatusMeaning::Retry(Failed),
                _ => StatusMeaning::Reject,
            };
            assert_eq!(meaning(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn gone_disables_unless_the_trigger_says_otherwise() {
        assert!(matches!(outcome(410, &[], b""), Outcome::Reject { disable: true, .. }));
        assert!(matches!(
            outcome(404, &[(404, StatusMeaning::Reject)], b""),
            Outcome::Reject { disable: false, .. }
        ));
        let own = [(410, StatusMeaning::Reject)];
        assert!(matches!(outcome(410, &own, b""), Outcome::Reject { disable: false, .. }));
        let own = [(410, StatusMeaning::Retry(RetryClass::Timeout))];
        assert!(matches!(outcome(410, &own, b""), Outcome::Retry { class: RetryClass::Timeout, .. }));
        assert!(matches!(outcome(422, &[(422, StatusMeaning::Ack)], b""), Outcome::Ack { reply: None }));
    }

    #[test]
    fn what_people_see_of_an_answer_is_bounded_text() {
        let Outcome::Retry { response, .. } = outcome(500, &[], &[0xff; 5000]) else {
            panic!("500 is retried")
        };
        assert_eq!(response.status, Some(500));
        assert_eq!(response.error, "the target answered 500 Internal Server Error");
        assert!(response.body.len() <= limits::RESPONSE_SNIPPET_BYTES_MAX);
        assert!(response.body.starts_with('\u{fffd}'));
    }
}
