//! The task behind a subscription: hands deliveries to the program, sends outcomes and credit, and renews the stream when
//! it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventail_wire::Event;
use eventail_wire::frame::{DeliveryHeader, Frame, FrameKind, RawEvents, Subscribe};
use tokio::sync::mpsc;

use super::outbox::{Outbox, Outcome, Settlement};
use super::{Delivery, Gauge};
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::ClientError;
use crate::link::Link;

/// Outcomes that are taken from the program at once.
const SETTLEMENTS: usize = 4_096;

/// Asks for deliveries and waits for the word that they will come.
pub(super) async fn subscribe(link: &mut Link, request: &Subscribe) -> Result<(), ClientError> {
    let request =
        Subscribe { credit: request.credit.clamp(1, link.limits.credit_max.max(1)), ..request.clone() };
    link.out.push(&Frame::Subscribe(request))?;
    loop {
        match link.next_frame()? {
            Some(Frame::Subscribed(_)) => return Ok(()),
            Some(Frame::Refused(refused)) => return Err(refused.into()),
            Some(Frame::Goodbye) => return Err(ClientError::StreamEnded),
            Some(other) => return Err(ClientError::Unexpected { kind: other.kind() }),
            None => link.turn().await?,
        }
    }
}

/// Why a stream is no longer used.
enum End {
    /// The program wants no more.
    Closed,
    /// It failed.
    Failed(ClientError),
}

impl<E: Into<ClientError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    request: Subscribe,
    gauge: Arc<Gauge>,
    to_program: mpsc::UnboundedSender<Result<Delivery, ClientError>>,
    settle: mpsc::WeakUnboundedSender<Settlement>,
    from_program: mpsc::UnboundedReceiver<Settlement>,
    came: Vec<Settlement>,
    outbox: Outbox,
    backoff: Backoff,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        request: Subscribe,
        gauge: Arc<Gauge>,
        to_program: mpsc::UnboundedSender<Result<Delivery, ClientError>>,
        settle: mpsc::WeakUnboundedSender<Settlement>,
        from_program: mpsc::UnboundedReceiver<Settlement>,
    ) -> Self {
        Self {
            backoff: shared.backoff(),
            shared,
            request,
            gauge,
            to_program,
            settle,
            from_program,
            came: Vec::new(),
            outbox: Outbox::default(),
        }
    }

    /// Runs until the program wants no more, or nothing can help any more.
    pub(super) async fn run(mut self, link: Link) {
        let mut link = Some(link);
        loop {
            let end = match link.take() {
                Some(link) => self.converse(link).await,
                None => match self.reconnect().await {
                    Ok(renewed) => {
                        link = Some(renewed);
                        continue;
                    }
                    Err(end) => end,
                },
            };
            // What the program still holds belongs to a stream that is gone.
            self.gauge.stream.fetch_add(1, Ordering::AcqRel);
            match end {
                End::Closed | End::Failed(ClientError::Closed) => return,
                End::Failed(error) if error.is_retryable() => {
                    tracing::warn!(subscription = %self.request.name, %error, "subscription lost its stream");
                    let at_least = Duration::from_millis(error.retry_after_ms().unwrap_or(0));
                    let delay = self.backoff.after_failure(at_least);
                    if self.sleep(delay).await.is_err() {
                        return;
                    }
                }
                End::Failed(error) => {
                    tracing::error!(subscription = %self.request.name, %error, "subscription ended");
                    // Whoever does not listen any more need not know.
                    let _ = self.to_program.send(Err(error));
                    return;
                }
            }
        }
    }

    async fn reconnect(&mut self) -> Result<Link, End> {
        let shared = self.shared.clone();
        let renew = async {
            let mut link = shared.open_link().await?;
            subscribe(&mut link, &self.request).await?;
            Ok::<_, ClientError>(link)
        };
        tokio::select! {
            () = self.to_program.closed() => Err(End::Closed),
            () = shared.closed() => Err(End::Closed),
            link = renew => Ok(link?),
        }
    }

    async fn sleep(&self, delay: Duration) -> Result<(), End> {
        tokio::select! {
            () = self.to_program.closed() => Err(End::Closed),
            () = self.shared.closed() => Err(End::Closed),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// Uses one stream until it ends.
    async fn converse(&mut self, mut link: Link) -> End {
        let end = self.exchange(&mut link).await.err().unwrap_or(End::Closed);
        if matches!(end, End::Closed) {
            // What was given before the program closed is still sent, and the server's end of the stream awaited.
            let sent = self.outbox.write(&mut link.out).map_err(ClientError::from);
            let finished = match sent {
                Ok(()) => link.finish(|frame| self.count_stale(&frame)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = finished {
                tracing::debug!(subscription = %self.request.name, %error, "subscription closed without an answer");
            }
        }
        end
    }

    async fn exchange(&mut self, link: &mut Link) -> Result<(), End> {
        let shared = self.shared.clone();
        let mut closed = std::pin::pin!(shared.closed());
        let to_program = self.to_program.clone();
        let mut unwanted = std::pin::pin!(to_program.closed());
        loop {
            while let Some(frame) = link.next_frame()? {
                self.take(frame)?;
            }
            self.outbox.write(&mut link.out)?;
            tokio::select! {
                biased;
                turn = link.turn() => turn?,
                came = self.from_program.recv_many(&mut self.came, SETTLEMENTS) => {
                    if came == 0 || self.gather() {
                        return Err(End::Closed);
                    }
                }
                () = &mut closed => return Err(ClientError::Closed.into()),
                () = &mut unwanted => {
                    // Outcomes may have come before the last hand let go.
                    while let Ok(settlement) = self.from_program.try_recv() {
                        self.came.push(settlement);
                    }
                    self.gather();
                    return Err(End::Closed);
                }
            }
        }
    }

    /// Sorts what came from the program; true where it wants no more.
    fn gather(&mut self) -> bool {
        let current = self.gauge.stream.load(Ordering::Acquire);
        let mut wants_no_more = false;
        for settlement in self.came.drain(..) {
            match settlement {
                Settlement::Outcome { stream, token, outcome } if stream == current => {
                    self.outbox.add(token, outcome);
                }
                // Of a stream that was lost: nobody waits for what was only dropped.
                Settlement::Outcome { outcome: Outcome::Dropped, .. } => {}
                Settlement::Outcome { .. } => drop(self.gauge.stale.fetch_add(1, Ordering::Relaxed)),
                Settlement::Close => wants_no_more = true,
            }
        }
        wants_no_more
    }

    fn take(&mut self, frame: Frame) -> Result<(), End> {
        match frame {
            Frame::Deliver(headers, events) => {
                self.backoff.after_success();
                self.deliver(&headers, &events)
            }
            Frame::Stale(_) => {
                self.count_stale(&frame);
                Ok(())
            }
            // The server is stopping: the end of the stream follows.
            Frame::Goodbye => Ok(()),
            other => Err(ClientError::Unexpected { kind: other.kind() }.into()),
        }
    }

    fn count_stale(&self, frame: &Frame) {
        if let Frame::Stale(tokens) = frame {
            let count = tokens.tokens.len() as u64;
            self.gauge.stale.fetch_add(count, Ordering::Relaxed);
            tracing::debug!(subscription = %self.request.name, count, "outcomes came after their leases had run out");
        }
    }

    fn deliver(&self, headers: &[DeliveryHeader], events: &RawEvents) -> Result<(), End> {
        let stream = self.gauge.stream.load(Ordering::Acquire);
        // The subscription holds a strong one until it is dropped or closed, and then nothing is delivered.
        let Some(settle) = self.settle.upgrade() else { return Err(End::Closed) };
        for (&header, event) in headers.iter().zip(events.iter()) {
            let event = Event::from_stored(event)
                .map_err(|_| End::Failed(ClientError::Unexpected { kind: FrameKind::Deliver }))?;
            let delivery = Delivery::new(event, header, stream, self.gauge.clone(), settle.clone());
            // A program that does not listen any more is noticed by the loop.
            let _ = self.to_program.send(Ok(delivery));
        }
        Ok(())
    }
}
