//! One stream to the server: frames out, frames in, after the hello is done.

use std::time::Duration;

use bytes::Bytes;
use eventail_wire::frame::{Frame, FrameBuffer, FrameDecoder, FrameKind, Hello, PeerLimits};
use eventail_wire::limits;
use quinn::{Connection, RecvStream, SendStream, WriteError};

use crate::error::ClientError;

/// Received pieces that are taken at once: each is what one packet held.
const PIECES: usize = 64;

/// A stream after its hello.
#[derive(Debug)]
pub(crate) struct Link {
    send: SendStream,
    receive: RecvStream,
    pieces: Box<[Bytes]>,
    /// The server takes nothing more; what it still has to say, for instance why, is read.
    stopped: bool,
    decoder: FrameDecoder,
    /// What waits to be written; [`Link::turn`] writes it.
    pub(crate) out: FrameBuffer,
    /// What the server takes.
    pub(crate) limits: PeerLimits,
}

impl Link {
    /// Opens a stream and says hello.
    pub(crate) async fn open(
        connection: &Connection,
        hello: Hello,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let what = "the answer to a hello";
        let limit_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(timeout, Self::greet(connection, hello))
            .await
            .unwrap_or(Err(ClientError::Timeout { what, limit_ms }))
    }

    async fn greet(connection: &Connection, hello: Hello) -> Result<Self, ClientError> {
        let (send, receive) = connection.open_bi().await?;
        let mut link = Self {
            send,
            receive,
            pieces: vec![Bytes::new(); PIECES].into_boxed_slice(),
            stopped: false,
            decoder: FrameDecoder::new(limits::FRAME_BYTES_MAX),
            out: FrameBuffer::new(),
            limits: PeerLimits {
                event_bytes_max: 0,
                batch_events_max: 0,
                batch_bytes_max: 0,
                frame_bytes_max: 0,
                credit_max: 0,
            },
        };
        link.out.push(&Frame::Hello(hello))?;
        loop {
            if let Some(frame) = link.next_frame()? {
                let Frame::Welcome(welcome) = frame else {
                    return Err(ClientError::Unexpected { kind: frame.kind() });
                };
                link.limits = welcome.limits;
                return Ok(link);
            }
            link.turn().await?;
        }
    }

    /// The next frame that came whole; a fault is an error.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, ClientError> {
        match self.decoder.next_frame()? {
            Some(Frame::Fault(fault)) => Err(fault.into()),
            frame => Ok(frame),
        }
    }

    /// Writes what waits, and returns when something came in. Nothing is lost where it is dropped.
    pub(crate) async fn turn(&mut self) -> Result<(), ClientError> {
        loop {
            tokio::select! {
                biased;
                written = self.send.write_chunks(self.out.pieces()), if !self.stopped && !self.out.is_empty() => {
                    match written {
                        Ok(written) => self.out.consume(written.bytes, written.chunks),
                        Err(WriteError::Stopped(_)) => self.stopped = true,
                        Err(error) => return Err(error.into()),
                    }
                }
                came = self.receive.read_chunks(&mut self.pieces) => {
                    let pieces = came?.ok_or(ClientError::StreamEnded)?;
                    self.decoder.extend(&self.pieces[..pieces]);
                    self.pieces[..pieces].fill(Bytes::new());
                    return Ok(());
                }
            }
        }
    }

    /// Says goodbye and waits until the server has ended its side, which it does when all is answered.
    pub(crate) async fn finish(mut self, mut answer: impl FnMut(Frame)) -> Result<(), ClientError> {
        self.out.push(&Frame::Goodbye)?;
        loop {
            while let Some(frame) = self.next_frame()? {
                if frame.kind() != FrameKind::Goodbye {
                    answer(frame);
                }
            }
            match self.turn().await {
                Err(ClientError::StreamEnded) => return Ok(()),
                other => other?,
            }
        }
    }
}
