//! Bytes as they come in, to frames.

use bytes::{Buf, Bytes, BytesMut};

use super::{FRAME_HEADER_BYTES, Frame, FrameError, FrameKind, body};
use crate::limits;

/// The length before each frame.
const LENGTH_BYTES: usize = 4;
/// What is set aside at least when bytes come: the next ones then need no new memory.
const RESERVE_BYTES: usize = 4096;

/// Takes bytes in pieces of any size and gives frames.
///
/// It holds no more than one frame and what came behind it, and nothing at all between frames. After an error it gives
/// the same error again: where the next frame begins cannot be known.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// Frames longer than `frame_bytes_max` (their length prefix not counted) are refused.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max, failed: None }
    }

    /// Adds bytes in the order in which they came.
    pub fn extend(&mut self, pieces: &[Bytes]) {
        if self.failed.is_some() {
            return;
        }
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if self.buffer.capacity() - self.buffer.len() < bytes {
            self.buffer.reserve(bytes.max(RESERVE_BYTES));
        }
        for piece in pieces {
            self.buffer.extend_from_slice(piece);
        }
    }

    /// Bytes that make no whole frame yet. Not 0 at the end of a stream means that its last frame was cut off.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame; `None` until more bytes come.
    ///
    /// # Errors
    /// [`FrameError`], after which the stream is of no use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.decode_next().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    fn decode_next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            self.let_go();
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix);
        let bytes = check_length(length, self.frame_bytes_max)?;
        let Some(&number) = self.buffer.get(LENGTH_BYTES) else { return Ok(None) };
        let kind = FrameKind::from_number(number).ok_or(FrameError::UnknownKind { number })?;
        if !kind.is_bulk() {
            check_length(length, limits::CONTROL_FRAME_BYTES_MAX)?;
        }
        if self.buffer.len() < LENGTH_BYTES + bytes {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(LENGTH_BYTES + bytes).freeze();
        frame.advance(FRAME_HEADER_BYTES);
        body::decode(kind, &frame).map(Some)
    }

    /// Between frames the memory belongs to the events that were sliced from it, if to anyone.
    fn let_go(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

fn check_length(length: u32, limit: usize) -> Result<usize, FrameError> {
    match usize::try_from(length) {
        Ok(0) => Err(FrameError::Empty),
        Ok(bytes) if bytes <= limit => Ok(bytes),
        _ => Err(FrameError::TooLarge { bytes: u64::from(length), limit: limit as u64 }),
    }
}
