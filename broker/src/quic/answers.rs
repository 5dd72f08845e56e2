//! Publishes that are under way on one stream, and their answers in order.
//!
//! Each publish is begun as it comes, so that many share a sync; only the oldest is then looked at, since no other may be
//! answered before it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use eventail_wire::Code;
use eventail_wire::Placed;
use eventail_wire::frame::{Frame, Held, Published, Refused, result_runs};

use super::connection::InFlight;

/// Why a publish was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(super) const fn new(code: Code, message: String) -> Self {
        Self { code, message, retry_after_ms: None }
    }

    pub(super) fn to_frame(&self, request: u64) -> Frame {
        Frame::Refused(Refused {
            request,
            code: self.code,
            message: self.message.clone(),
            retry_after_ms: self.retry_after_ms,
        })
    }
}

/// What becomes of a publish.
pub(super) type Outcome = Result<Vec<Placed>, Refusal>;
/// A publish under way.
pub(super) type Publishing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

enum State {
    UnderWay(Publishing),
    Known(Outcome),
}

struct Pending {
    request: u64,
    bytes: usize,
    state: State,
}

/// See the module.
pub(super) struct Answers {
    pending: VecDeque<Pending>,
    in_flight: Arc<InFlight>,
    /// The request that was refused for the time being, and why: what came behind it is refused too until it comes again.
    gap: Option<(u64, Refusal)>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("pending", &self.pending.len())
            .field("gap", &self.gap)
            .finish_non_exhaustive()
    }
}

impl Answers {
    pub(super) const fn new(in_flight: Arc<InFlight>) -> Self {
        Self { pending: VecDeque::new(), in_flight, gap: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Why `request` must be refused without a look at it, if so. The refused request itself closes the gap.
    pub(super) fn refusal_before(&mut self, request: u64) -> Option<Refusal> {
        match &self.gap {
            Some((refused, _)) if *refused == request => {
                self.gap = None;
                None
            }
            gap => gap.as_ref().map(|(_, refusal)| refusal.clone()),
        }
    }

    /// Takes a refusal that was decided without the broker.
    pub(super) fn refuse(&mut self, request: u64, refusal: Refusal) {
        self.pending.push_back(Pending { request, bytes: 0, state: State::Known(Err(refusal)) });
    }

    /// Takes a publish and begins it: what it appends is in line before this returns.
    pub(super) async fn begin(&mut self, request: u64, bytes: usize, mut publishing: Publishing) {
        let begun = poll_fn(|context| Poll::Ready(publishing.as_mut().poll(context))).await;
        let state = match begun {
            Poll::Pending => State::UnderWay(publishing),
            Poll::Ready(outcome) => {
                self.note(request, &outcome);
                State::Known(outcome)
            }
        };
        self.in_flight.add(bytes);
        self.pending.push_back(Pending { request, bytes, state });
    }

    /// All answers whose turn it is, at least one. Waits for ever where nothing is under way; safe to drop.
    pub(super) async fn next(&mut self) -> Vec<Frame> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Vec<Frame>> {
        let mut answers = Vec::new();
        while let Some(pending) = self.pending.front_mut() {
            let outcome = match &mut pending.state {
                State::UnderWay(publishing) => match publishing.as_mut().poll(context) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => break,
                },
                State::Known(outcome) => std::mem::replace(outcome, Ok(Vec::new())),
            };
            let (request, was_under_way) = (pending.request, matches!(pending.state, State::UnderWay(_)));
            self.in_flight.sub(pending.bytes);
            self.pending.pop_front();
            if was_under_way {
                self.note(request, &outcome);
            }
            answers.push(match outcome {
                Ok(placed) => answer(request, &placed),
                Err(refusal) => refusal.to_frame(request),
            });
        }
        if answers.is_empty() { Poll::Pending } else { Poll::Ready(answers) }
    }

    fn note(&mut self, request: u64, outcome: &Outcome) {
        if let Err(refusal) = outcome
            && refusal.code.is_retryable()
        {
            self.gap.get_or_insert_with(|| (request, refusal.clone()));
        }
    }
}

/// A publish of which something is held is answered by a frame of its own, which only who asks for a delay has to know.
fn answer(request: u64, placed: &[Placed]) -> Frame {
    let appended = |placed: &Placed| match *placed {
        Placed::Appended { offset, duplicate } => Some((offset, duplicate)),
        Placed::Held { .. } => None,
    };
    if placed.iter().any(|placed| placed.held().is_some()) {
        return Frame::Held(Held::new(request, placed));
    }
    Frame::Published(Published { request, runs: result_runs(placed.iter().filter_map(appended)) })
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.in_flight.sub(self.pending.iter().map(|pending| pending.bytes).sum());
    }
}
