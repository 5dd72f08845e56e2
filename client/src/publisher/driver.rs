//! The task behind a publisher: writes frames on its stream, takes the answers, and renews the stream when it is lost.

use std::sync::Arc;
use std::time::Duration;

use eventail_wire::TopicName;
use eventail_wire::frame::{Frame, PublishHeader};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::entry::Entry;
use super::window::Window;
use super::{PublisherOptions, Room};
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::ClientError;
use crate::link::Link;

/// Entries that are taken from the inbox at once.
const INBOX_ENTRIES: usize = 1_024;
/// While as many frames are out, events gather until they fill the next one: under load frames get large by themselves,
/// which is what makes a datagram, a publish and a sync cheap, and the server always has the next one at hand.
const PARTIAL_FRAMES_OUT_MAX: usize = 8;
/// No further frame is built while this much waits to be written: the rest can still gather.
const OUT_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    header: PublishHeader,
    options: PublisherOptions,
    room: Arc<Room>,
    inbox: mpsc::UnboundedReceiver<Entry>,
    /// All senders are gone.
    inbox_ended: bool,
    came: Vec<Entry>,
    window: Window,
    backoff: Backoff,
    /// What waits goes out without lingering: someone flushes, or the oldest has lingered long enough.
    hurry: bool,
    /// When the oldest waiting event will have lingered long enough.
    linger_until: Option<Instant>,
    /// When what is under way is given up, unless there is progress.
    give_up_at: Option<Instant>,
    /// When a refused request is sent again.
    resume_at: Option<Instant>,
    /// The server said goodbye: it answers, but takes nothing more.
    goodbye: bool,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        topic: TopicName,
        options: PublisherOptions,
        room: Arc<Room>,
        inbox: mpsc::UnboundedReceiver<Entry>,
    ) -> Self {
        Self {
            header: PublishHeader { request: 0, topic: topic.into() },
            window: Window::new(&options),
            backoff: shared.backoff(),
            shared,
            options,
            room,
            inbox,
            inbox_ended: false,
            came: Vec::new(),
            hurry: false,
            linger_until: None,
            give_up_at: None,
            resume_at: None,
            goodbye: false,
        }
    }

    /// Runs until all senders are gone and everything is answered, or nothing can help any more.
    pub(super) async fn run(mut self, link: Link) {
        let mut link = Some(link);
        loop {
            let was_connected = link.is_some();
            let ended = match link.take() {
                Some(link) => self.converse(link).await,
                None => self.reconnect().await.map(|renewed| link = renewed),
            };
            match ended {
                Ok(()) if link.is_none() => return,
                Ok(()) => {}
                Err(error) if error.is_retryable() => {
                    let topic = &self.header.topic;
                    if was_connected {
                        tracing::warn!(topic, %error, "publisher lost its stream, will send again");
                    } else {
                        tracing::debug!(topic, %error, "publisher has no stream yet");
                    }
                    self.wait_before_retry(&error).await;
                    if self.has_nothing_left() {
                        return;
                    }
                }
                Err(error) => return self.end(&error),
            }
        }
    }

    async fn reconnect(&mut self) -> Result<Option<Link>, ClientError> {
        let shared = self.shared.clone();
        tokio::select! {
            () = shared.closed() => Err(ClientError::Closed),
            link = shared.open_link() => link.map(Some),
        }
    }

    /// Sleeps; gives up on what is under way where its time is over.
    async fn wait_before_retry(&mut self, error: &ClientError) {
        let delay = self.backoff.after_failure(Duration::ZERO);
        self.note_trouble();
        if self.give_up_at.is_some_and(|at| at <= Instant::now() + delay) {
            self.give_up(error);
        }
        let shared = self.shared.clone();
        tokio::select! {
            () = shared.closed() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }

    fn note_trouble(&mut self) {
        if let (None, Some(limit)) = (self.give_up_at, self.options.retry_for) {
            self.give_up_at = Some(Instant::now() + limit);
        }
    }

    /// Fails what is under way; what comes later is tried anew.
    fn give_up(&mut self, error: &ClientError) {
        self.drain_inbox();
        self.window.fail_all(error);
        self.hand_out();
        self.give_up_at = None;
        self.resume_at = None;
    }

    /// Nothing can help: everything fails, now and later.
    fn end(&mut self, error: &ClientError) {
        if !matches!(error, ClientError::Closed) {
            tracing::error!(topic = %self.header.topic, %error, "publisher ended");
        }
        self.room.close();
        self.inbox.close();
        self.give_up(error);
    }

    fn drain_inbox(&mut self) {
        while let Ok(entry) = self.inbox.try_recv() {
            self.window.push(entry);
        }
    }

    fn has_nothing_left(&self) -> bool {
        self.window.is_empty() && self.inbox.is_closed() && self.inbox.is_empty()
    }

    fn is_done(&self) -> bool {
        self.inbox_ended && self.window.is_empty()
    }

    /// Uses one stream until it ends; `Ok` when all is done.
    async fn converse(&mut self, mut link: Link) -> Result<(), ClientError> {
        self.window.begin(link.limits);
        (self.resume_at, self.goodbye) = (None, false);
        let shared = self.shared.clone();
        let mut closed = std::pin::pin!(shared.closed());
        loop {
            self.take_answers(&mut link)?;
            self.fill(&mut link)?;
            // The answers that came, and those of entries that the server would not take.
            self.hand_out();
            if self.is_done() {
                // Everything is answered: how the stream ends changes nothing.
                let _ = link.finish(|_| {}).await;
                return Ok(());
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                turn = link.turn() => turn?,
                came = self.inbox.recv_many(&mut self.came, INBOX_ENTRIES), if !self.inbox_ended => {
                    self.inbox_ended = came == 0;
                    for entry in self.came.drain(..) {
                        self.hurry |= entry.is_marker();
                        self.window.push(entry);
                    }
                }
                () = sleep_until(wake_at), if wake_at.is_some() => self.wake(),
                () = &mut closed => return Err(ClientError::Closed),
            }
        }
    }

    fn take_answers(&mut self, link: &mut Link) -> Result<(), ClientError> {
        while let Some(frame) = link.next_frame()? {
            match frame {
                Frame::Published(published) => {
                    self.window.take_published(&published)?;
                    self.backoff.after_success();
                    self.give_up_at = None;
                }
                Frame::Held(held) => {
                    self.window.take_held(&held)?;
                    self.backoff.after_success();
                    self.give_up_at = None;
                }
                Frame::Refused(refused) => self.window.take_refused(refused.request, refused.into())?,
                Frame::Goodbye => self.goodbye = true,
                other => return Err(ClientError::Unexpected { kind: other.kind() }),
            }
        }
        if self.resume_at.is_none()
            && let Some(refused) = self.window.refused()
        {
            let (at_least, error) = (refused.at_least(), refused.error.clone());
            let delay = self.backoff.after_failure(at_least);
            tracing::debug!(topic = %self.header.topic, %error, ?delay, "publish refused, will send again");
            self.note_trouble();
            if self.give_up_at.is_some_and(|at| at <= Instant::now() + delay) {
                self.give_up(&error);
            } else {
                self.resume_at = Some(Instant::now() + delay);
            }
        }
        Ok(())
    }

    fn hand_out(&mut self) {
        let free = self.window.hand_out();
        self.room.give_back(free);
    }

    /// Builds frames of what may go out.
    fn fill(&mut self, link: &mut Link) -> Result<(), ClientError> {
        let may_linger = !self.options.linger.is_zero() && !self.hurry && !self.inbox_ended;
        while !self.goodbye && link.out.len() < OUT_BYTES_MAX {
            if !self.window.fills_a_frame() {
                if self.window.frames_out() >= PARTIAL_FRAMES_OUT_MAX {
                    break;
                }
                if may_linger {
                    self.linger();
                    break;
                }
            }
            let Some((request, events)) = self.window.next_frame() else { break };
            self.header.request = request;
            link.out.push_publish(&self.header, events)?;
        }
        if !self.window.has_unsent() {
            (self.hurry, self.linger_until) = (false, None);
        }
        Ok(())
    }

    /// Begins the wait of the oldest waiting event where it had not begun.
    fn linger(&mut self) {
        if self.window.has_unsent() {
            let linger = self.options.linger;
            self.linger_until.get_or_insert_with(|| Instant::now() + linger);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        [self.linger_until, self.resume_at].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        if self.linger_until.is_some_and(|at| at <= Instant::now()) {
            (self.linger_until, self.hurry) = (None, true);
        }
        if self.resume_at.is_some_and(|at| at <= Instant::now()) {
            self.resume_at = None;
            self.window.resume();
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
