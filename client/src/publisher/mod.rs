//! Publishing into one topic: a bounded window of events that are under way, and answers in their order.

mod driver;
mod entry;
mod handle;
mod window;

use std::sync::Arc;
use std::time::Duration;

use eventail_wire::{Event, TopicName};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::client::Shared;
use crate::error::ClientError;
use driver::Driver;
use entry::{Batch, Entry, Reply};

pub use handle::{BatchHandle, PublishAck, PublishHandle};

/// How a publisher gathers events, and how many it keeps under way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublisherOptions {
    /// Events that go out in one frame at most; the server's limit counts where it is lower. Default 1,000.
    pub batch_events: usize,
    /// Bytes of events in one frame at most. Default 256 KiB.
    pub batch_bytes: usize,
    /// How long an event may wait for others to share its frame. Default 0: it goes out as soon as the stream is free,
    /// and shares a frame only with what came while it was not.
    pub linger: Duration,
    /// Events that may be under way: sent or not, and not answered. Default 4,096.
    pub window_events: usize,
    /// Bytes of events that may be under way. A larger event goes alone. Default 8 MiB.
    pub window_bytes: usize,
    /// How long without progress the events under way are kept when the server is away or refuses for the time being.
    /// Then they fail with what stood in the way. Default: for ever.
    pub retry_for: Option<Duration>,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            batch_events: 1_000,
            batch_bytes: 256 << 10,
            linger: Duration::ZERO,
            window_events: 4_096,
            window_bytes: 8 << 20,
            retry_for: None,
        }
    }
}

impl PublisherOptions {
    /// Sets how many events and bytes one frame holds at most.
    #[must_use]
    pub const fn batch(mut self, events: usize, bytes: usize) -> Self {
        self.batch_events = events;
        self.batch_bytes = bytes;
        self
    }

    /// Sets how long an event may wait for others to share its frame.
    #[must_use]
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets how many events and bytes may be under way.
    #[must_use]
    pub const fn window(mut self, events: usize, bytes: usize) -> Self {
        self.window_events = events;
        self.window_bytes = bytes;
        self
    }

    /// Sets how long events are kept while there is no progress.
    #[must_use]
    pub const fn retry_for(mut self, limit: Duration) -> Self {
        self.retry_for = Some(limit);
        self
    }
}

/// Publishes into one topic. Cheap to clone; all clones share one stream and one window.
///
/// When the last clone is dropped, what is under way is still sent. [`Publisher::close`] waits for it.
#[derive(Clone, Debug)]
pub struct Publisher {
    inbox: mpsc::UnboundedSender<Entry>,
    room: Arc<Room>,
}

/// What of the window is free. Closed when the publisher is.
#[derive(Debug)]
pub(crate) struct Room {
    events: Semaphore,
    bytes: Semaphore,
    events_max: u32,
    bytes_max: u32,
}

impl Room {
    fn new(events: usize, bytes: usize) -> Self {
        // A semaphore counts in u32 at once; a window of 4 GiB is none.
        let clip = |value: usize| u32::try_from(value).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3);
        let (events_max, bytes_max) = (clip(events), clip(bytes));
        Self {
            events: Semaphore::new(events_max as usize),
            bytes: Semaphore::new(bytes_max as usize),
            events_max,
            bytes_max,
        }
    }

    /// What an entry takes; no more than there is, so that anything fits alone.
    fn share(&self, events: usize, bytes: usize) -> Share {
        let clip = |value: usize, max: u32| u32::try_from(value).unwrap_or(max).min(max);
        Share { events: clip(events, self.events_max), bytes: clip(bytes, self.bytes_max) }
    }

    async fn take(&self, share: Share) -> Result<(), ClientError> {
        let closed = |_| ClientError::Closed;
        let events = self.events.acquire_many(share.events).await.map_err(closed)?;
        let bytes = self.bytes.acquire_many(share.bytes).await.map_err(closed)?;
        events.forget();
        bytes.forget();
        Ok(())
    }

    pub(crate) fn give_back(&self, share: Share) {
        if share.events > 0 {
            self.events.add_permits(share.events as usize);
        }
        if share.bytes > 0 {
            self.bytes.add_permits(share.bytes as usize);
        }
    }

    pub(crate) fn close(&self) {
        self.events.close();
        self.bytes.close();
    }
}

/// A part of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    events: u32,
    bytes: u32,
}

impl std::ops::AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

impl Publisher {
    pub(crate) async fn open(
        shared: Arc<Shared>,
        topic: TopicName,
        options: PublisherOptions,
    ) -> Result<Self, ClientError> {
        let link = shared.open_link().await?;
        let room = Arc::new(Room::new(options.window_events, options.window_bytes));
        let (inbox, entries) = mpsc::unbounded_channel();
        tokio::spawn(Driver::new(shared, topic, options, room.clone(), entries).run(link));
        Ok(Self { inbox, room })
    }

    /// Hands over one event: waits for room in the window, and for nothing else. The handle tells where the event went;
    /// to drop it loses only the answer.
    ///
    /// ```no_run
    /// # async fn example(orders: eventail_client::Publisher, events: Vec<eventail_client::Event>)
    /// # -> Result<(), eventail_client::ClientError> {
    /// let mut handles = Vec::new();
    /// for event in events {
    ///     handles.push(orders.publish(event).await?);
    /// }
    /// for handle in handles {
    ///     println!("{}", handle.await?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Closed`]. All else that can go wrong is the handle's answer.
    pub async fn publish(&self, event: Event) -> Result<PublishHandle, ClientError> {
        let share = self.room.share(1, event.as_bytes().len());
        self.room.take(share).await?;
        let (reply, answer) = oneshot::channel();
        self.enter(Entry::new(Batch::One(event), share, Reply::One(reply)))?;
        Ok(PublishHandle::new(answer))
    }

    /// Hands over a batch, which is taken whole or not at all. An empty one is answered without the server.
    ///
    /// # Errors
    /// [`ClientError::Closed`]. The handle fails with [`ClientError::BatchTooLarge`] where the server takes no such batch.
    pub async fn publish_batch(&self, events: Vec<Event>) -> Result<BatchHandle, ClientError> {
        let bytes = events.iter().map(|event| event.as_bytes().len()).sum();
        let share = self.room.share(events.len(), bytes);
        self.room.take(share).await?;
        let (reply, answer) = oneshot::channel();
        self.enter(Entry::new(Batch::Many(events), share, Reply::Many(reply)))?;
        Ok(BatchHandle::new(answer))
    }

    /// Waits until everything that was handed over before is answered, and sends it without lingering.
    ///
    /// # Errors
    /// [`ClientError::Closed`] where the publisher ended before. What became of each event, its handle tells.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (reply, answer) = oneshot::channel();
        self.enter(Entry::new(Batch::Many(Vec::new()), Share::default(), Reply::Marker(reply)))?;
        answer.await.map_err(|_| ClientError::Closed)
    }

    /// Takes no more events, from any clone, and waits until everything is answered.
    ///
    /// # Errors
    /// As [`Publisher::flush`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.room.close();
        self.flush().await
    }

    fn enter(&self, entry: Entry) -> Result<(), ClientError> {
        self.inbox.send(entry).map_err(|_| ClientError::Closed)
    }
}
