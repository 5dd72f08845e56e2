//! Subscribing: a durable subscription's deliveries, bounded by credit, and their outcomes.

mod delivery;
mod driver;
mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use eventail_wire::frame::{Start, Subscribe};
use eventail_wire::{TopicName, TriggerName};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Shared;
use crate::error::ClientError;
use driver::{Driver, subscribe};
use outbox::Settlement;

pub use delivery::Delivery;

/// What to subscribe to, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The subscription; its state is durable under this name, and who subscribes to it shares its deliveries.
    pub name: TriggerName,
    /// The topic.
    pub topic: TopicName,
    /// A pattern as JSON text; everything where absent.
    pub pattern: Option<String>,
    /// Where it begins if it has no past. Default [`Start::Latest`].
    pub start: Start,
    /// How long a delivery is leased before it is delivered again. Default 30 s.
    pub lease: Duration,
    /// Attempts before an event is dead-lettered; 0, the default, means without end.
    pub max_attempts: u32,
    /// Deliveries that may be in the program's hands at once, and as many may be on the way. Default 256.
    pub credit: u32,
}

impl SubscribeOptions {
    /// Everything from `topic`, from now on.
    #[must_use]
    pub const fn new(name: TriggerName, topic: TopicName) -> Self {
        Self {
            name,
            topic,
            pattern: None,
            start: Start::Latest,
            lease: Duration::from_secs(30),
            max_attempts: 0,
            credit: 256,
        }
    }

    /// Sets the pattern, as JSON text.
    #[must_use]
    pub fn pattern(mut self, json: impl Into<String>) -> Self {
        self.pattern = Some(json.into());
        self
    }

    /// Sets where the subscription begins if it has no past.
    #[must_use]
    pub const fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets how long a delivery is leased.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many attempts there are before an event is dead-lettered.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets how many deliveries may be in the program's hands at once.
    #[must_use]
    pub const fn credit(mut self, deliveries: u32) -> Self {
        self.credit = deliveries;
        self
    }

    fn to_frame(&self) -> Subscribe {
        Subscribe {
            request: 1,
            name: self.name.as_str().to_owned(),
            topic: self.topic.as_str().to_owned(),
            pattern: self.pattern.clone(),
            start: self.start,
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            max_attempts: self.max_attempts,
            credit: self.credit,
        }
    }
}

/// What the subscription, its task and its deliveries tell each other.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Counts streams: outcomes and deliveries of a former one are void.
    stream: AtomicU64,
    stale: AtomicU64,
}

/// The receiving end of a subscription.
///
/// Dropping it hands back what was not settled. When the connection is lost, the subscription comes back by itself;
/// deliveries of the lost connection come again, and their outcomes count for nothing.
#[derive(Debug)]
pub struct Subscription {
    deliveries: mpsc::UnboundedReceiver<Result<Delivery, ClientError>>,
    settlements: mpsc::UnboundedSender<Settlement>,
    gauge: Arc<Gauge>,
    task: JoinHandle<()>,
}

impl Subscription {
    pub(crate) async fn open(shared: Arc<Shared>, options: SubscribeOptions) -> Result<Self, ClientError> {
        let mut link = shared.open_link().await?;
        let request = options.to_frame();
        subscribe(&mut link, &request).await?;
        let gauge = Arc::new(Gauge::default());
        let (to_program, deliveries) = mpsc::unbounded_channel();
        let (settlements, from_program) = mpsc::unbounded_channel();
        // Deliveries get a sender each; the task's own is weak, so that it sees when nobody holds one any more.
        let driver =
            Driver::new(shared, request, gauge.clone(), to_program, settlements.downgrade(), from_program);
        Ok(Self { deliveries, settlements, gauge, task: tokio::spawn(driver.run(link)) })
    }

    /// The next delivery; waits for one. After an error, and when the client was closed, there is none.
    ///
    /// ```no_run
    /// # async fn handle(event: &eventail_client::Event) -> bool { true }
    /// # async fn example(mut orders: eventail_client::Subscription) -> Result<(), eventail_client::ClientError> {
    /// while let Some(delivery) = orders.next().await {
    ///     let delivery = delivery?;
    ///     if handle(delivery.event()).await {
    ///         delivery.ack();
    ///     } else {
    ///         delivery.nack(None);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Delivery, ClientError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The same as [`Subscription::next`] for whoever makes a stream of it.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Delivery, ClientError>>> {
        loop {
            match ready!(self.deliveries.poll_recv(context)) {
                // It came by a stream that was lost since: it will come again.
                Some(Ok(delivery)) if !delivery.is_current() => {}
                next => return Poll::Ready(next),
            }
        }
    }

    /// Outcomes that came too late: their leases had run out, so the events were or will be delivered again.
    #[must_use]
    pub fn stale_outcomes(&self) -> u64 {
        self.gauge.stale.load(Ordering::Relaxed)
    }

    /// Takes no more deliveries, hands back those that were not settled, and waits until the server has taken every
    /// outcome that was given before.
    pub async fn close(self) {
        let Self { mut deliveries, settlements, task, .. } = self;
        deliveries.close();
        let _ = settlements.send(Settlement::Close);
        // A task that ended early has told why through `next`.
        let _ = task.await;
    }
}
