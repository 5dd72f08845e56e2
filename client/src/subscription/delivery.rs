//! One delivery in the program's hands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventail_wire::frame::DeliveryHeader;
use eventail_wire::{Event, Offset, Timestamp};
use tokio::sync::mpsc;

use super::Gauge;
use super::outbox::{Outcome, Settlement};

/// An event that was delivered to this program and waits for its outcome.
///
/// Outcomes are sent without waiting for the server; [`super::Subscription::close`] waits for all of them. A delivery that
/// is dropped without one comes again when its lease has run out.
#[derive(Debug)]
#[must_use = "a delivery that is dropped comes again when its lease has run out"]
pub struct Delivery {
    event: Event,
    header: DeliveryHeader,
    stream: u64,
    gauge: Arc<Gauge>,
    settlements: mpsc::UnboundedSender<Settlement>,
    settled: bool,
}

impl Delivery {
    pub(super) const fn new(
        event: Event,
        header: DeliveryHeader,
        stream: u64,
        gauge: Arc<Gauge>,
        settlements: mpsc::UnboundedSender<Settlement>,
    ) -> Self {
        Self { event, header, stream, gauge, settlements, settled: false }
    }

    /// The event.
    #[must_use]
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// Its place in the topic.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.header.offset
    }

    /// When it was appended.
    #[must_use]
    pub const fn appended_at(&self) -> Timestamp {
        self.header.appended_at
    }

    /// Which try this is, counted from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.header.attempt
    }

    /// When the lease ends, by the server's clock, as it stood at the delivery.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.header.deadline
    }

    /// The event is done.
    pub fn ack(self) {
        self.settle(Outcome::Ack);
    }

    /// The event shall come again, after `delay` or the subscription's own backoff. It costs an attempt.
    pub fn nack(self, delay: Option<Duration>) {
        self.nack_because(delay, "");
    }

    /// The same, with a reason for people; it is kept with the dead letter if it becomes one.
    pub fn nack_because(self, delay: Option<Duration>, reason: impl Into<String>) {
        let delay_ms = delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.settle(Outcome::Nack { delay_ms, reason: reason.into() });
    }

    /// The event shall never come again: it is dead-lettered with this reason.
    pub fn reject(self, reason: impl Into<String>) {
        self.settle(Outcome::Reject { reason: reason.into() });
    }

    /// The lease shall last for its whole time again from now.
    pub fn extend(&self) {
        self.send(Outcome::Extend);
    }

    pub(super) fn is_current(&self) -> bool {
        self.stream == self.gauge.stream.load(Ordering::Acquire)
    }

    fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        self.send(outcome);
    }

    fn send(&self, outcome: Outcome) {
        // Without a task there is no stream, and without it no lease.
        let _ = self.settlements.send(Settlement::Outcome {
            stream: self.stream,
            token: self.header.token,
            outcome,
        });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            self.send(Outcome::Dropped);
        }
    }
}
