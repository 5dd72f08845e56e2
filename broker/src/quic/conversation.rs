//! One stream: hello, then publishes, callbacks and a subscription, until somebody says goodbye.
//!
//! One task does all of it, so that an event that comes alone goes through without a change of task. It reads only while
//! there is room for what it reads; the rest is left to flow control.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::frame::{
    Fault, Frame, FrameBuffer, FrameDecoder, Hello, PROTOCOL_VERSION, PublishHeader, RawEvents, Subscribe,
    Subscribed, Tokens, Welcome,
};
use eventail_wire::{Code, Event, TopicName};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::MissedTickBehavior;

use super::Context;
use super::answers::{Answers, Refusal};
use super::callbacks::Callbacks;
use super::connection::InFlight;
use super::deliveries::{Deliveries, refusal};
use super::end::End;
use super::guard::{Admission, Guard};
use super::halves::Half;
use super::screen::Screen;
use crate::peer::Peer;

/// Received pieces that are taken at once: each is what one packet held.
const PIECES: usize = 64;
/// While this much waits to be written, nothing more is read or delivered: the client does not read.
const OUT_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Conversation {
    send: SendStream,
    receive: RecvStream,
    context: Arc<Context>,
    in_flight: Arc<InFlight>,
    guard: Guard,
    pieces: Box<[Bytes]>,
    decoder: FrameDecoder,
    out: FrameBuffer,
    answers: Answers,
    callbacks: Callbacks,
    deliveries: Option<Deliveries>,
    screen: Screen,
    /// The topic of the last publish: it is there.
    publishes_to: Option<TopicName>,
    /// The client sends nothing more.
    input_ended: bool,
    /// The server is stopping and said so.
    said_goodbye: bool,
    /// What came of frames that are not whole.
    half: Half,
    /// Looks at the clock since the frame of which a part has come was begun.
    looks_at_half: u32,
    /// Something was written since the last look at the clock, or nothing had to be.
    wrote: bool,
    /// The client has read nothing from one look at the clock to the next.
    is_unread: bool,
}

impl Conversation {
    pub(super) fn new(
        send: SendStream,
        receive: RecvStream,
        context: Arc<Context>,
        in_flight: Arc<InFlight>,
        (peer, admission): (Arc<Peer>, Admission),
    ) -> Self {
        let frame_bytes_max = usize::try_from(context.limits.frame_bytes_max).unwrap_or(usize::MAX);
        Self {
            send,
            receive,
            guard: Guard::new(context.broker.clone(), peer, admission),
            answers: Answers::new(in_flight.clone()),
            in_flight,
            pieces: vec![Bytes::new(); PIECES].into_boxed_slice(),
            half: context.halves.part(),
            context,
            decoder: FrameDecoder::new(frame_bytes_max),
            out: FrameBuffer::new(),
            callbacks: Callbacks::default(),
            deliveries: None,
            screen: Screen::default(),
            publishes_to: None,
            input_ended: false,
            said_goodbye: false,
            looks_at_half: 0,
            wrote: true,
            is_unread: false,
        }
    }

    /// Talks until the end.
    pub(super) async fn run(&mut self) -> End {
        let limit = self.context.hello_time;
        let greeted = tokio::time::timeout(limit, self.greet()).await.unwrap_or_else(|_| {
            Err(End::fault(Code::RequestTimeout, format!("no hello came within {} ms", limit.as_millis())))
        });
        match greeted {
            Ok(()) => self.talk().await.err().unwrap_or(End::Done),
            Err(end) => end,
        }
    }

    /// Answers what is under way, writes the last word, ends the stream, and waits until the client has it all.
    pub(super) async fn finish(&mut self, fault: Option<Fault>) {
        // What cannot be told for its length is left out; the stream ends all the same.
        while !self.answers.is_empty() {
            let answers = self.answers.next().await;
            let _ = answers.iter().try_for_each(|answer| self.out.push(answer));
        }
        while !self.callbacks.is_empty() {
            let answer = self.callbacks.next().await;
            let _ = self.out.push(&answer);
        }
        let _ = fault.map(|fault| self.out.push(&Frame::Fault(fault)));
        while !self.out.is_empty() {
            match self.send.write_chunks(self.out.pieces()).await {
                Ok(written) => self.out.consume(written.bytes, written.chunks),
                Err(_) => return,
            }
        }
        // Either fails only where the stream or connection is over already.
        let _ = self.send.finish();
        let _ = self.receive.stop(VarInt::from_u32(0));
        let _ = self.send.stopped().await;
    }

    /// Lets go of what the client did not take.
    pub(super) fn abandon(&mut self) {
        // It fails only where the stream is over already.
        let _ = self.send.reset(VarInt::from_u32(0));
    }

    /// What the client did or left undone, where the stream ends with `code` for that.
    pub(super) const fn cut_reason(&self, code: Code) -> Option<&'static str> {
        match code {
            Code::RequestTimeout if self.is_unread => Some("unread"),
            Code::RequestTimeout => Some("silent"),
            Code::Malformed | Code::FrameTooLarge => Some("malformed"),
            Code::Overloaded => Some("overloaded"),
            _ => None,
        }
    }

    async fn greet(&mut self) -> Result<(), End> {
        let frame = loop {
            if let Some(frame) = self.decoder.next_frame()? {
                break frame;
            }
            if self.input_ended {
                return Err(End::Done);
            }
            let pieces = self.receive.read_chunks(&mut self.pieces).await?;
            self.take_pieces(pieces)?;
        };
        let Frame::Hello(Hello { version, client, token }) = frame else {
            let kind = frame.kind();
            return Err(End::fault(Code::Malformed, format!("a {kind:?} frame came before the hello")));
        };
        if version != PROTOCOL_VERSION {
            let message = format!(
                "this server speaks version {PROTOCOL_VERSION} of the protocol, the client {version}"
            );
            return Err(End::fault(Code::ProtocolVersion, message));
        }
        self.guard.admit(token.as_deref())?;
        tracing::debug!(client, stream = %self.send.id(), "quic stream opened");
        self.out.push(&Frame::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            server: concat!("eventail/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: self.context.limits,
        }))?;
        Ok(())
    }

    async fn talk(&mut self) -> Result<(), End> {
        let mut stopping = self.context.stopping.clone();
        let mut stopped = std::pin::pin!(stopping.wait_for(|&stopping| stopping));
        let mut clock = tokio::time::interval(self.context.hello_time);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.take_frames().await?;
            self.weigh_half()?;
            if self.is_done() {
                return Ok(());
            }
            let (may_read, may_answer, may_deliver) =
                (self.may_read(), self.may_write() && !self.answers.is_empty(), self.may_deliver());
            let may_call_back = self.may_write() && !self.callbacks.is_empty();
            tokio::select! {
                biased;
                written = self.send.write_chunks(self.out.pieces()), if !self.out.is_empty() => {
                    let written = written?;
                    self.wrote = true;
                    self.out.consume(written.bytes, written.chunks);
                }
                answers = self.answers.next(), if may_answer => {
                    for answer in &answers {
                        self.out.push(answer)?;
                    }
                }
                answer = self.callbacks.next(), if may_call_back => {
                    self.guard.called_back(&answer);
                    self.out.push(&answer)?;
                }
                pieces = self.receive.read_chunks(&mut self.pieces), if may_read => self.take_pieces(pieces?)?,
                deliveries = next(&mut self.deliveries), if may_deliver => match deliveries {
                    Some(batch) => {
                        self.guard.check_subscription()?;
                        if let Some(deliveries) = &mut self.deliveries {
                            deliveries.write(&batch, &mut self.out)?;
                        }
                    }
                    None => self.say_goodbye()?,
                },
                _ = &mut stopped, if !self.said_goodbye => self.say_goodbye()?,
                _ = clock.tick() => self.look_at_the_clock()?,
            }
        }
    }

    /// Counts what has come of a frame that is not whole.
    fn weigh_half(&mut self) -> Result<(), End> {
        let bytes = self.decoder.pending_bytes();
        if bytes == 0 || !self.has_room() {
            // Between frames, or it is for us that it stays half.
            self.looks_at_half = 0;
        }
        if let Err(refusal) = self.half.set(bytes) {
            // Nothing more is read here, and what came is of no use.
            self.decoder = FrameDecoder::new(0);
            return Err(refusal.into());
        }
        Ok(())
    }

    /// A frame has to come whole within the time of a request, and what is written has to be read: from one look to the next is
    /// that time.
    fn look_at_the_clock(&mut self) -> Result<(), End> {
        let limit_ms = self.context.hello_time.as_millis();
        self.looks_at_half += 1;
        if self.decoder.pending_bytes() > 0 && self.looks_at_half > 1 {
            let message = format!("a part of a frame came, and within {limit_ms} ms not the rest");
            return Err(End::fault(Code::RequestTimeout, message));
        }
        let wrote = std::mem::replace(&mut self.wrote, self.out.is_empty());
        if !wrote && !self.out.is_empty() {
            self.is_unread = true;
            let message = format!("nothing was read for {limit_ms} ms");
            return Err(End::fault(Code::RequestTimeout, message));
        }
        Ok(())
    }

    fn say_goodbye(&mut self) -> Result<(), End> {
        self.said_goodbye = true;
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.stop();
        }
        Ok(self.out.push(&Frame::Goodbye)?)
    }

    const fn may_write(&self) -> bool {
        self.out.len() < OUT_BYTES_MAX
    }

    /// Whether there is room for another frame. One publish of each stream is always taken, so that no stream waits for another.
    fn has_room(&self) -> bool {
        self.may_write()
            && self.callbacks.has_room()
            && (self.answers.is_empty() || self.in_flight.bytes() < self.context.in_flight_bytes_max)
    }

    fn may_read(&self) -> bool {
        !self.input_ended && self.has_room()
    }

    fn may_deliver(&self) -> bool {
        !self.said_goodbye && self.may_write() && self.deliveries.as_ref().is_some_and(Deliveries::has_credit)
    }

    fn is_done(&self) -> bool {
        let may_end = self.input_ended
            || (self.said_goodbye && self.deliveries.as_ref().is_none_or(Deliveries::is_settled));
        may_end && self.answers.is_empty() && self.callbacks.is_empty() && self.out.is_empty()
    }

    fn take_pieces(&mut self, pieces: Option<usize>) -> Result<(), End> {
        match pieces {
            Some(pieces) => {
                self.decoder.extend(&self.pieces[..pieces]);
                self.pieces[..pieces].fill(Bytes::new());
            }
            None => self.input_ended = true,
        }
        Ok(())
    }

    async fn take_frames(&mut self) -> Result<(), End> {
        while self.has_room() {
            let Some(frame) = self.decoder.next_frame()? else {
                if self.input_ended {
                    return self.end_input();
                }
                return Ok(());
            };
            self.looks_at_half = 0;
            self.take(frame).await?;
        }
        Ok(())
    }

    /// After the client's last frame its leases go back.
    fn end_input(&mut self) -> Result<(), End> {
        self.deliveries = None;
        match self.decoder.pending_bytes() {
            0 => Ok(()),
            bytes => {
                let message = format!("the stream ended with {bytes} bytes that are no whole frame");
                Err(End::fault(Code::Malformed, message))
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        if let Err(refusal) = self.guard.check(&frame) {
            return self.refuse(&frame, refusal);
        }
        match frame {
            // What comes after the server's goodbye is not answered: the client will send it again.
            Frame::Publish(header, events) if !self.said_goodbye => self.publish(&header, &events).await,
            Frame::Publish(..) => {}
            Frame::CallBack(call) => self.callbacks.begin(&self.context.broker, call),
            Frame::Subscribe(request) => self.subscribe(request).await?,
            Frame::Goodbye => self.input_ended = true,
            Frame::Credit(credit) if self.deliveries.is_some() => {
                if let Some(deliveries) = &mut self.deliveries {
                    deliveries.add_credit(credit.deliveries)?;
                }
            }
            Frame::Ack(_) | Frame::Nack(_) | Frame::Reject(_) | Frame::Extend(_)
                if self.deliveries.is_some() =>
            {
                self.settle(frame).await?;
            }
            other => {
                let message = format!("a {:?} frame came out of turn", other.kind());
                return Err(End::fault(Code::Malformed, message));
            }
        }
        Ok(())
    }

    /// Says no to a frame: to a request in its own answer, to all else by ending the stream.
    fn refuse(&mut self, frame: &Frame, refusal: Refusal) -> Result<(), End> {
        match frame {
            Frame::Publish(..) if self.said_goodbye => {}
            Frame::Publish(header, _) => self.answers.refuse(header.request, refusal),
            Frame::Subscribe(request) => self.out.push(&refusal.to_frame(request.request))?,
            _ => return Err(refusal.into()),
        }
        Ok(())
    }

    async fn publish(&mut self, header: &PublishHeader, events: &RawEvents) {
        let request = header.request;
        let checked = match self.answers.refusal_before(request) {
            Some(refusal) => Err(refusal),
            None => self.screen.check(&self.context.limits, header, events),
        };
        match checked {
            Ok((topic, checked)) => {
                let broker = self.context.broker.clone();
                let has_delay = checked.iter().any(Event::has_delay);
                let is_there = self.publishes_to.as_ref() == Some(&topic) || broker.topic(&topic).is_ok();
                let publishes_to = Some(topic.clone());
                let publishing = Box::pin(async move {
                    broker.publish(&topic, checked).await.map_err(|error| refusal(&error))
                });
                let bytes = events.events_bytes();
                if is_there && !has_delay {
                    self.publishes_to = publishes_to;
                    self.answers.begin(request, bytes, publishing).await;
                } else {
                    // The topic is made on the way, or something is held, which takes its time: what comes behind must not
                    // overtake it.
                    let outcome = publishing.await;
                    self.answers.begin(request, bytes, Box::pin(std::future::ready(outcome))).await;
                }
            }
            Err(refusal) => self.answers.refuse(request, refusal),
        }
    }

    async fn subscribe(&mut self, request: Subscribe) -> Result<(), End> {
        let number = request.request;
        let opened = if self.deliveries.is_some() {
            Err(Refusal::new(Code::Conflict, "this stream has its subscription".to_owned()))
        } else if self.said_goodbye {
            Err(Refusal::new(Code::ShuttingDown, "the server is stopping".to_owned()))
        } else {
            Deliveries::open(&self.context.broker, request).await
        };
        match opened {
            Ok((topic, deliveries)) => {
                self.guard.subscribed(topic);
                self.deliveries = Some(deliveries);
                self.out.push(&Frame::Subscribed(Subscribed { request: number }))?;
            }
            Err(refusal) => self.out.push(&refusal.to_frame(number))?,
        }
        Ok(())
    }

    async fn settle(&mut self, frame: Frame) -> Result<(), End> {
        let Some(deliveries) = &mut self.deliveries else { return Ok(()) };
        let stale = deliveries.settle(frame).await.map_err(|error| refusal(&error))?;
        if !stale.is_empty() {
            self.out.push(&Frame::Stale(Tokens { tokens: stale }))?;
        }
        Ok(())
    }
}

async fn next(deliveries: &mut Option<Deliveries>) -> Option<Vec<crate::Delivery>> {
    match deliveries {
        Some(deliveries) => deliveries.next().await,
        None => pending().await,
    }
}
