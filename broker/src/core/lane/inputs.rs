//! What targets get in place of events: made before the call, so that an event that makes none costs no call.

use eventail_triggers::input::InputContext;
use eventail_triggers::outcome::{RejectReason, Response, RetryClass};
use eventail_triggers::subscription::{CallEnding, Ending};
use eventail_triggers::target::Invocation;

use super::drive::Driver;

impl Driver {
    /// The invocation with the trigger's input, or how it ends where the event makes none: the same event would fail again.
    pub(super) fn with_input(&self, mut invocation: Invocation) -> Result<Invocation, Ending> {
        let Some(input) = &self.input else { return Ok(invocation) };
        let context = InputContext {
            event: &invocation.event,
            topic: &invocation.topic,
            offset: invocation.offset,
            appended_at: invocation.appended_at,
            trigger: &invocation.trigger,
        };
        match input.render(&context) {
            Ok(rendered) => {
                invocation.input = Some(rendered);
                Ok(invocation)
            }
            Err(error) => {
                let response = Response { error: error.to_string(), ..Response::default() }.cut();
                Err(if error.is_retryable() {
                    Ending::Retry { class: RetryClass::Unreachable, after_ms: None, response }
                } else {
                    Ending::Reject { reason: RejectReason::Transform, response, disable: false }
                })
            }
        }
    }
}

/// A call's ending together with those of events that made no input and were left out of it.
pub(super) fn with_refused(
    ending: CallEnding,
    count: usize,
    refused: impl IntoIterator<Item = (usize, Ending)>,
) -> CallEnding {
    let mut refused = refused.into_iter().peekable();
    if refused.peek().is_none() {
        return ending;
    }
    let mut endings = match ending {
        CallEnding::Whole(ending) => vec![ending; count],
        CallEnding::Each(endings) => endings,
    };
    for (at, ending) in refused {
        endings[at] = ending;
    }
    CallEnding::Each(endings)
}
