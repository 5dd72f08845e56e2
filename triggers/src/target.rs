//! The one way out: whatever a trigger invokes is a [`Target`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};

use crate::input::Rendered;
use crate::outcome::{BatchOutcome, Outcome};
use crate::policy::RateLimit;
use crate::report::Report;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One attempt at one event, as a target gets to see it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The event, unchanged.
    pub event: Event,
    /// The topic that it lies in.
    pub topic: TopicName,
    /// Its offset there.
    pub offset: Offset,
    /// When it was appended there.
    pub appended_at: Timestamp,
    /// The trigger on whose behalf it is delivered.
    pub trigger: TriggerName,
    /// Which try this is, counted from 1; throttles and outages do not count.
    pub attempt: u32,
    /// The same on every attempt of this event by this trigger: what a target deduplicates by.
    pub delivery_id: Arc<str>,
    /// When this attempt begins: the signature's time.
    pub now: Timestamp,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// Whether a CloudEvent in the answer is wanted.
    pub wants_reply: bool,
    /// The token by which the target may settle this attempt later, where the trigger allows it. A batch has one: its first
    /// event's.
    pub callback: Option<Arc<str>>,
    /// What the target gets in place of the event, where the trigger says so.
    pub input: Option<Rendered>,
    /// Whether an operator had it delivered again from the log, beside the live events.
    pub is_replay: bool,
}

/// How a call ended, and what is known of the run that it caused.
#[derive(Clone, Debug)]
pub struct Answer<T = Outcome> {
    /// How it ended.
    pub outcome: T,
    /// What the ledger is to know; `None` where nothing ran.
    pub report: Option<Box<Report>>,
}

impl<T> From<T> for Answer<T> {
    fn from(outcome: T) -> Self {
        Self { outcome, report: None }
    }
}

/// Whether a target that is asked for its leave may be called, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leave {
    /// It was not asked yet, or refused: one call at a time, which asks.
    Unasked,
    /// It gave it; `None` is as often as one likes.
    Given(Option<RateLimit>),
}

/// Something that takes events. Implementations never retry: that is the delivery machine's part.
pub trait Target: Send + Sync + 'static {
    /// Makes one attempt and tells how it ended. It must end by itself soon after `invocation.deadline`.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer>;

    /// Makes one call with several events, at least one. Unless the target can take several at once, they go one after the
    /// other.
    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(batch.len());
            for invocation in batch {
                outcomes.push(self.invoke(invocation).await.outcome);
            }
            BatchOutcome::Each(outcomes).into()
        })
    }

    /// What triggers share that invoke the same: a host or a function. They share its concurrency. `None` shares nothing.
    fn shared_key(&self) -> Option<String> {
        None
    }

    /// What is known of its leave; `None` where it is not asked for it.
    fn leave(&self) -> Option<Leave> {
        None
    }

    /// Whether its answer may be [`Outcome::Accepted`] where the invocation has a callback.
    fn allows_callback(&self) -> bool {
        false
    }
}
