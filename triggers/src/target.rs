//! The one way out: whatever a trigger invokes is a [`Target`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};

use crate::outcome::Outcome;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One attempt, as a target gets to see it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The event, unchanged.
    pub event: Event,
    /// The topic that it lies in.
    pub topic: TopicName,
    /// Its offset there.
    pub offset: Offset,
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
}

/// Something that takes events. Implementations never retry: that is the delivery machine's part.
pub trait Target: Send + Sync + 'static {
    /// Makes one attempt and tells how it ended. It must end by itself soon after `invocation.deadline`.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Outcome>;
}
