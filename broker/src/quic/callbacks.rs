//! Callbacks that came on one stream, and their answers in order.
//!
//! Each is handed over as it comes; the answers of those that wait for their target's own answer come a moment later. There are
//! never more than [`PENDING_MAX`] on a stream: what comes beyond is not read yet.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::pin::Pin;

use eventail_wire::frame::{CallBack, CallbackOutcome, CalledBack, Frame};

use super::deliveries::refusal;
use crate::{Broker, BrokerError};

/// Callbacks of one stream that may wait for their answer.
const PENDING_MAX: usize = 256;

type Answering = Pin<Box<dyn Future<Output = Result<CallbackOutcome, BrokerError>> + Send>>;

/// See the module.
#[derive(Default)]
pub(super) struct Callbacks(VecDeque<(u64, Answering)>);

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Callbacks").field(&self.0.len()).finish()
    }
}

impl Callbacks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.len() < PENDING_MAX
    }

    /// Hands a callback over.
    pub(super) fn begin(&mut self, broker: &Broker, call: CallBack) {
        let answering = broker.call_back(&call.token, call.action);
        self.0.push_back((call.request, Box::pin(answering)));
    }

    /// The next answer. Waits for ever where nothing is under way; safe to drop.
    pub(super) async fn next(&mut self) -> Frame {
        let Some((request, answering)) = self.0.front_mut() else { return pending().await };
        let request = *request;
        let answer = poll_fn(|context| answering.as_mut().poll(context)).await;
        self.0.pop_front();
        match answer {
            Ok(outcome) => Frame::CalledBack(CalledBack { request, outcome }),
            Err(error) => refusal(&error).to_frame(request),
        }
    }
}
