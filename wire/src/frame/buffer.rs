//! Frames to bytes as they go out: many frames become few large pieces, and large events are not copied at all.

use bytes::{BufMut, Bytes, BytesMut};

use super::body::{self, HEADER_PREFIX_BYTES};
use super::events::EVENT_PREFIX_BYTES;
use super::{DeliveryHeader, FRAME_HEADER_BYTES, Frame, FrameError, FrameKind, PublishHeader};

/// From this size on an event goes out as a piece of its own. A copy of less costs less than another piece does.
const SHARED_BYTES_MIN: usize = 16 << 10;
/// What is set aside at least.
const RESERVE_BYTES: usize = 4096;

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    pieces: Vec<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl FrameBuffer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds any frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] where its length cannot be told; nothing is added then.
    pub fn push(&mut self, frame: &Frame) -> Result<(), FrameError> {
        let head = body::encode(frame);
        match frame {
            Frame::Publish(_, events) | Frame::Deliver(_, events) => {
                let bytes = events.as_bytes();
                self.begin_bulk(frame.kind(), &head, bytes.len(), bytes.len())?;
                self.put(bytes);
            }
            _ => {
                self.begin(frame.kind(), head.len(), head.len())?;
                self.put(&head);
            }
        }
        Ok(())
    }

    /// Adds a publish frame without an intermediate value.
    ///
    /// # Errors
    /// As [`FrameBuffer::push`].
    pub fn push_publish<'a>(
        &mut self,
        header: &PublishHeader,
        events: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Result<(), FrameError> {
        self.push_bulk(FrameKind::Publish, &body::pack(header), events)
    }

    /// Adds a deliver frame without an intermediate value; there must be as many events as headers.
    ///
    /// # Errors
    /// As [`FrameBuffer::push`].
    pub fn push_deliver<'a>(
        &mut self,
        headers: &[DeliveryHeader],
        events: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Result<(), FrameError> {
        self.push_bulk(FrameKind::Deliver, &body::pack(&headers), events)
    }

    /// The bytes that wait, in pieces, for a vectored write.
    pub fn pieces(&mut self) -> &mut [Bytes] {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
        &mut self.pieces
    }

    /// Forgets what was written: `bytes` in all, and the first `pieces` whole. A piece that was written in part was
    /// shortened by the writer.
    pub fn consume(&mut self, bytes: usize, pieces: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.pieces.drain(..pieces.min(self.pieces.len()));
        if self.is_empty() {
            self.tail = BytesMut::new();
        }
    }

    fn push_bulk<'a>(
        &mut self,
        kind: FrameKind,
        head: &[u8],
        events: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Result<(), FrameError> {
        let (mut bytes, mut copied) = (0, 0);
        for event in events.clone() {
            bytes += EVENT_PREFIX_BYTES + event.len();
            copied += EVENT_PREFIX_BYTES + if event.len() < SHARED_BYTES_MIN { event.len() } else { 0 };
        }
        self.begin_bulk(kind, head, bytes, copied)?;
        for event in events {
            // The whole frame's length fits a u32, so that of each part does.
            self.put(&(event.len() as u32).to_le_bytes());
            if event.len() < SHARED_BYTES_MIN {
                self.put(event);
            } else {
                self.bytes += event.len();
                let before = self.tail.split().freeze();
                self.pieces.extend([before, event.clone()]);
            }
        }
        Ok(())
    }

    fn begin_bulk(
        &mut self,
        kind: FrameKind,
        head: &[u8],
        events_bytes: usize,
        copied_bytes: usize,
    ) -> Result<(), FrameError> {
        let head_bytes = HEADER_PREFIX_BYTES + head.len();
        self.begin(kind, head_bytes + events_bytes, head_bytes + copied_bytes)?;
        self.put(&(head.len() as u32).to_le_bytes());
        self.put(head);
        Ok(())
    }

    /// Writes length and kind, with room for `copied_bytes` behind them.
    fn begin(&mut self, kind: FrameKind, body_bytes: usize, copied_bytes: usize) -> Result<(), FrameError> {
        let length = u32::try_from(body_bytes + 1)
            .map_err(|_| FrameError::TooLarge { bytes: body_bytes as u64, limit: u64::from(u32::MAX) })?;
        let wanted = FRAME_HEADER_BYTES + copied_bytes;
        if self.tail.capacity() - self.tail.len() < wanted {
            // A new allocation instead of a growing one: what stands there already is not moved.
            if !self.tail.is_empty() {
                self.pieces.push(self.tail.split().freeze());
            }
            self.tail = BytesMut::with_capacity(wanted.max(RESERVE_BYTES));
        }
        self.put(&length.to_le_bytes());
        self.put(&[kind as u8]);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.tail.put_slice(bytes);
    }
}
