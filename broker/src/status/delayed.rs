//! Events that are held until their time, as they are told of.

use eventail_wire::{HeldId, Offset, Timestamp, TopicName};
use serde::{Deserialize, Serialize};

/// What became of a delayed event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayedState {
    /// It waits for its time.
    Held,
    /// It is in its topic.
    Released,
    /// It was cancelled.
    Cancelled,
}

/// A delayed event without its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayedEvent {
    /// Its handle.
    pub id: HeldId,
    /// The topic that it is for.
    pub topic: TopicName,
    /// Its time.
    pub deliver_at: Timestamp,
    /// Since when it is held.
    pub held_at: Timestamp,
    /// The event's id.
    pub event_id: String,
    /// The event's source.
    pub event_source: String,
    /// The event's type.
    pub event_type: String,
    /// The event's size.
    pub bytes: u64,
    /// What became of it.
    pub state: DelayedState,
    /// When it was released or cancelled.
    pub ended_at: Option<Timestamp>,
    /// Where it is in its topic, once it was released.
    pub offset: Option<Offset>,
}

/// Which held events are meant. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayedFilter {
    /// For this topic.
    pub topic: Option<TopicName>,
    /// Due before this.
    pub until: Option<Timestamp>,
}

/// What is held at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayedStatus {
    /// Events that are held.
    pub pending: u64,
    /// What they count against `limits.delayed_bytes_max`.
    pub pending_bytes: u64,
    /// When the next of them is due; `None` where none is held.
    pub next_at: Option<Timestamp>,
}
