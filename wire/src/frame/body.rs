//! Bodies to bytes and back.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Frame, FrameError, FrameKind, RawEvents};

/// How deep a body's MessagePack may nest: the deepest, a welcome, has two levels.
const DEPTH_MAX: usize = 8;
/// The length of the header before events.
pub(super) const HEADER_PREFIX_BYTES: usize = 4;

/// MessagePack with structs as arrays.
pub(super) fn pack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(value)
        .expect("a body of numbers, texts and lists is written to memory, which cannot fail")
}

/// Reads a value that takes all of `bytes`.
fn unpack<T: DeserializeOwned>(kind: FrameKind, bytes: &[u8]) -> Result<T, FrameError> {
    // Structs would also be read from maps; an array alone keeps one encoding for one value.
    if !matches!(bytes.first(), Some(0x90..=0x9f | 0xdc | 0xdd)) {
        return Err(FrameError::Layout { kind, what: "it does not begin with a MessagePack array" });
    }
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(bytes));
    reader.set_max_depth(DEPTH_MAX);
    let value =
        T::deserialize(&mut reader).map_err(|cause| FrameError::Body { kind, cause: Arc::new(cause) })?;
    if reader.position() != bytes.len() as u64 {
        return Err(FrameError::Layout { kind, what: "there are bytes behind its MessagePack" });
    }
    Ok(value)
}

/// Splits a body into its MessagePack header and the events behind it.
fn unpack_with_events<T: DeserializeOwned>(
    kind: FrameKind,
    body: &Bytes,
) -> Result<(T, RawEvents), FrameError> {
    let short = FrameError::Layout { kind, what: "its header is longer than the frame" };
    let Some(prefix) = body.first_chunk::<HEADER_PREFIX_BYTES>() else { return Err(short) };
    let end = usize::try_from(u32::from_le_bytes(*prefix))
        .ok()
        .and_then(|length| length.checked_add(HEADER_PREFIX_BYTES))
        .filter(|&end| end <= body.len());
    let Some(end) = end else { return Err(short) };
    let header = unpack(kind, &body[HEADER_PREFIX_BYTES..end])?;
    let events = RawEvents::parse(body.slice(end..))
        .ok_or(FrameError::Layout { kind, what: "an event is longer than what is left of the frame" })?;
    Ok((header, events))
}

/// Reads the body of a frame of `kind`.
pub(super) fn decode(kind: FrameKind, body: &Bytes) -> Result<Frame, FrameError> {
    Ok(match kind {
        FrameKind::Hello => Frame::Hello(unpack(kind, body)?),
        FrameKind::Publish => {
            let (header, events) = unpack_with_events(kind, body)?;
            Frame::Publish(header, events)
        }
        FrameKind::Subscribe => Frame::Subscribe(unpack(kind, body)?),
        FrameKind::Credit => Frame::Credit(unpack(kind, body)?),
        FrameKind::Ack => Frame::Ack(unpack(kind, body)?),
        FrameKind::Nack => Frame::Nack(unpack(kind, body)?),
        FrameKind::Reject => Frame::Reject(unpack(kind, body)?),
        FrameKind::Extend => Frame::Extend(unpack(kind, body)?),
        FrameKind::Goodbye if body.is_empty() => Frame::Goodbye,
        FrameKind::Goodbye => return Err(FrameError::Layout { kind, what: "it has a body" }),
        FrameKind::Welcome => Frame::Welcome(unpack(kind, body)?),
        FrameKind::Published => Frame::Published(unpack(kind, body)?),
        FrameKind::Refused => Frame::Refused(unpack(kind, body)?),
        FrameKind::Subscribed => Frame::Subscribed(unpack(kind, body)?),
        FrameKind::Deliver => {
            let (headers, events): (Vec<_>, _) = unpack_with_events(kind, body)?;
            if headers.len() != events.len() {
                return Err(FrameError::Layout { kind, what: "it has not as many events as headers" });
            }
            Frame::Deliver(headers, events)
        }
        FrameKind::Stale => Frame::Stale(unpack(kind, body)?),
        FrameKind::Fault => Frame::Fault(unpack(kind, body)?),
        FrameKind::CallBack => Frame::CallBack(unpack(kind, body)?),
        FrameKind::CalledBack => Frame::CalledBack(unpack(kind, body)?),
        FrameKind::Held => Frame::Held(unpack(kind, body)?),
    })
}

/// The MessagePack of a frame: its body, or what stands before its events.
pub(super) fn encode(frame: &Frame) -> Vec<u8> {
    match frame {
        Frame::Hello(body) => pack(body),
        Frame::Publish(header, _) => pack(header),
        Frame::Subscribe(body) => pack(body),
        Frame::Credit(body) => pack(body),
        Frame::Ack(body) | Frame::Extend(body) | Frame::Stale(body) => pack(body),
        Frame::Nack(body) => pack(body),
        Frame::Reject(body) => pack(body),
        Frame::Goodbye => Vec::new(),
        Frame::Welcome(body) => pack(body),
        Frame::Published(body) => pack(body),
        Frame::Refused(body) => pack(body),
        Frame::Subscribed(body) => pack(body),
        Frame::Deliver(headers, _) => pack(headers),
        Frame::Fault(body) => pack(body),
        Frame::CallBack(body) => pack(body),
        Frame::CalledBack(body) => pack(body),
        Frame::Held(body) => pack(body),
    }
}
