//! How a stream ends, and what makes it end so.

use eventail_wire::Code;
use eventail_wire::frame::{Fault, FrameError};
use quinn::{ReadError, WriteError};

use super::answers::Refusal;

/// How a stream ends.
#[derive(Debug)]
pub(super) enum End {
    /// In order.
    Done,
    /// The client or the connection is gone.
    Lost,
    /// The client did something wrong, or the broker cannot go on.
    Fault(Fault),
}

impl End {
    pub(super) fn fault(code: Code, message: impl Into<String>) -> Self {
        Self::Fault(Fault { code, message: message.into() })
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::fault(error.code(), error.to_string())
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::fault(refusal.code, refusal.message)
    }
}

impl From<ReadError> for End {
    fn from(_: ReadError) -> Self {
        Self::Lost
    }
}

impl From<WriteError> for End {
    fn from(_: WriteError) -> Self {
        Self::Lost
    }
}
