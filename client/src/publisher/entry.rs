//! One publish of the program: its events, its part of the window, and where its answer goes.

use eventail_wire::Event;
use eventail_wire::frame::PeerLimits;
use tokio::sync::oneshot;

use super::Share;
use super::handle::PublishAck;
use crate::error::ClientError;

/// Events that are answered together.
#[derive(Debug)]
pub(crate) enum Batch {
    One(Event),
    Many(Vec<Event>),
}

impl Batch {
    pub(super) fn as_slice(&self) -> &[Event] {
        match self {
            Self::One(event) => std::slice::from_ref(event),
            Self::Many(events) => events,
        }
    }
}

/// Where an answer goes. Whoever waits may have gone: then it goes nowhere.
#[derive(Debug)]
pub(crate) enum Reply {
    One(oneshot::Sender<Result<PublishAck, ClientError>>),
    Many(oneshot::Sender<Result<Vec<PublishAck>, ClientError>>),
    Marker(oneshot::Sender<()>),
}

impl Reply {
    pub(super) fn send(self, outcome: Result<Vec<PublishAck>, ClientError>) {
        match self {
            Self::One(sender) => {
                let one = outcome.and_then(|acks| acks.first().copied().ok_or(ClientError::StreamEnded));
                let _ = sender.send(one);
            }
            Self::Many(sender) => drop(sender.send(outcome)),
            Self::Marker(sender) => drop(sender.send(())),
        }
    }
}

/// One publish of the program.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    pub(super) share: Share,
    pub(super) reply: Reply,
    /// Set before its turn where the answer of an earlier one is still out.
    pub(super) outcome: Option<Result<Vec<PublishAck>, ClientError>>,
}

impl Entry {
    pub(crate) fn new(batch: Batch, share: Share, reply: Reply) -> Self {
        let bytes = batch.as_slice().iter().map(|event| event.as_bytes().len()).sum();
        // Markers and empty batches have nothing to wait for but their turn.
        let outcome = batch.as_slice().is_empty().then(|| Ok(Vec::new()));
        Self { batch, bytes, share, reply, outcome }
    }

    pub(super) fn events(&self) -> usize {
        self.batch.as_slice().len()
    }

    pub(crate) const fn is_marker(&self) -> bool {
        matches!(self.reply, Reply::Marker(_))
    }

    pub(super) fn check(&self, limits: &PeerLimits) -> Result<(), ClientError> {
        let limit = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let event_limit = limit(limits.event_bytes_max);
        let largest = self.batch.as_slice().iter().map(|event| event.as_bytes().len()).max().unwrap_or(0);
        if largest > event_limit {
            return Err(ClientError::EventTooLarge { bytes: largest, limit: event_limit });
        }
        for (value, limit, unit) in [
            (self.events(), limit(limits.batch_events_max), "events"),
            // One event within its own limit is always taken.
            (if self.events() > 1 { self.bytes } else { 0 }, limit(limits.batch_bytes_max), "bytes"),
        ] {
            if value > limit {
                return Err(ClientError::BatchTooLarge { value, limit, unit });
            }
        }
        Ok(())
    }
}
