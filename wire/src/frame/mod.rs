//! The frames of Eventail's own protocol: values to bytes and back, without any I/O. The crate's documentation draws the
//! protocol itself.
//!
//! Promises: no input makes the decoder panic; a length over the limit is refused before a byte of its body is kept; the
//! bytes of an event are never encoded again, only sliced. It must not look into an event: that is
//! [`crate::Event::decode`]'s part, which whoever receives a publish calls exactly once.

mod body;
mod buffer;
mod control;
mod decoder;
mod error;
mod events;
mod held;

#[cfg(test)]
mod tests;

pub use buffer::FrameBuffer;
pub use control::{
    CallBack, CallbackAction, CallbackOutcome, CalledBack, Credit, DeliveryHeader, Fault, Hello, Nack,
    PeerLimits, PublishHeader, Published, Refused, Reject, ResultRun, Start, Subscribe, Subscribed, Tokens,
    Welcome, result_runs,
};
pub use decoder::FrameDecoder;
pub use error::FrameError;
pub use events::RawEvents;
pub use held::{Held, HeldResult};

/// The version of the protocol. A peer with another one is answered [`crate::Code::ProtocolVersion`].
pub const PROTOCOL_VERSION: u32 = 1;
/// The ALPN name under which QUIC connections speak this protocol.
pub const ALPN: &[u8] = b"eventail/1";
/// The length prefix and the kind: what stands before each body.
pub const FRAME_HEADER_BYTES: usize = 5;

/// What a frame is, by its number on the wire. Bit 7 is set in what only a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Opens a stream.
    Hello = 0x01,
    /// Events to be appended.
    Publish = 0x02,
    /// Asks for deliveries.
    Subscribe = 0x03,
    /// Allows more deliveries.
    Credit = 0x04,
    /// Deliveries that are done.
    Ack = 0x05,
    /// Deliveries to be tried again.
    Nack = 0x06,
    /// Deliveries to be given up.
    Reject = 0x07,
    /// Leases to be prolonged.
    Extend = 0x08,
    /// The last frame of whoever sends it.
    Goodbye = 0x09,
    /// What became of an event that a target took over.
    CallBack = 0x0a,
    /// Answers a hello.
    Welcome = 0x81,
    /// Answers a publish: its events are durable.
    Published = 0x82,
    /// Answers a publish, subscribe or callback: it was not done.
    Refused = 0x83,
    /// Answers a subscribe: deliveries follow.
    Subscribed = 0x84,
    /// Deliveries.
    Deliver = 0x85,
    /// Leases that were no longer held when their outcome came.
    Stale = 0x86,
    /// Why the server ends the stream.
    Fault = 0x87,
    /// Answers a callback.
    CalledBack = 0x88,
    /// Answers a publish: its events are durable, and some of them are held until their time.
    Held = 0x89,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Hello,
        Self::Publish,
        Self::Subscribe,
        Self::Credit,
        Self::Ack,
        Self::Nack,
        Self::Reject,
        Self::Extend,
        Self::Goodbye,
        Self::CallBack,
        Self::Welcome,
        Self::Published,
        Self::Refused,
        Self::Subscribed,
        Self::Deliver,
        Self::Stale,
        Self::Fault,
        Self::CalledBack,
        Self::Held,
    ];

    /// The kind with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|&kind| kind as u8 == number)
    }

    /// Whether the frame grows with a batch; all others are held to [`crate::limits::CONTROL_FRAME_BYTES_MAX`].
    #[must_use]
    pub const fn is_bulk(self) -> bool {
        matches!(self, Self::Publish | Self::Published | Self::Held | Self::Deliver)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Opens a stream; nothing may come before it.
    Hello(Hello),
    /// Events to be appended, all or none of them.
    Publish(PublishHeader, RawEvents),
    /// Asks for deliveries; one for each stream.
    Subscribe(Subscribe),
    /// Allows more deliveries.
    Credit(Credit),
    /// Deliveries that are done.
    Ack(Tokens),
    /// Deliveries to be tried again.
    Nack(Nack),
    /// Deliveries to be given up.
    Reject(Reject),
    /// Leases to be prolonged to the subscription's lease time from now.
    Extend(Tokens),
    /// The sender begins nothing more. What is under way is still answered.
    Goodbye,
    /// What became of an event that a target took over.
    CallBack(CallBack),
    /// Answers a hello.
    Welcome(Welcome),
    /// Answers a publish: its events are durable.
    Published(Published),
    /// Answers a publish, subscribe or callback: it was not done.
    Refused(Refused),
    /// Answers a subscribe: deliveries follow.
    Subscribed(Subscribed),
    /// Deliveries; as many events as headers.
    Deliver(Vec<DeliveryHeader>, RawEvents),
    /// Leases that were no longer held when their outcome came.
    Stale(Tokens),
    /// Why the server ends the stream.
    Fault(Fault),
    /// Answers a callback.
    CalledBack(CalledBack),
    /// Answers a publish: its events are durable, and some of them are held until their time.
    Held(Held),
}

impl Frame {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Publish(..) => FrameKind::Publish,
            Self::Subscribe(_) => FrameKind::Subscribe,
            Self::Credit(_) => FrameKind::Credit,
            Self::Ack(_) => FrameKind::Ack,
            Self::Nack(_) => FrameKind::Nack,
            Self::Reject(_) => FrameKind::Reject,
            Self::Extend(_) => FrameKind::Extend,
            Self::Goodbye => FrameKind::Goodbye,
            Self::CallBack(_) => FrameKind::CallBack,
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Published(_) => FrameKind::Published,
            Self::Refused(_) => FrameKind::Refused,
            Self::Subscribed(_) => FrameKind::Subscribed,
            Self::Deliver(..) => FrameKind::Deliver,
            Self::Stale(_) => FrameKind::Stale,
            Self::Fault(_) => FrameKind::Fault,
            Self::CalledBack(_) => FrameKind::CalledBack,
            Self::Held(_) => FrameKind::Held,
        }
    }
}
