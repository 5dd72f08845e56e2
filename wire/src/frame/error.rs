//! Why bytes are not a frame. Every case ends the stream that they came on.

use std::sync::Arc;

use super::FrameKind;
use crate::code::Code;

/// Why bytes are not a frame.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is over the limit, be it a lie or not.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// The length that the frame gives or has.
        bytes: u64,
        /// What it may be.
        limit: u64,
    },
    /// The length is 0: there is no kind.
    #[error("a frame has at least one byte, its kind")]
    Empty,
    /// No frame has this number.
    #[error("there is no frame of kind {number:#04x}")]
    UnknownKind {
        /// The number.
        number: u8,
    },
    /// The MessagePack is none, or not that of this kind.
    #[error("the body of a {kind:?} frame cannot be read: {cause}")]
    Body {
        /// Whose body.
        kind: FrameKind,
        /// What MessagePack says.
        cause: Arc<rmp_serde::decode::Error>,
    },
    /// The body's parts do not fit each other.
    #[error("the body of a {kind:?} frame does not fit: {what}")]
    Layout {
        /// Whose body.
        kind: FrameKind,
        /// What does not fit.
        what: &'static str,
    },
}

impl FrameError {
    /// The stable code for it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::FrameTooLarge,
            _ => Code::Malformed,
        }
    }

    /// Never: the same bytes stay wrong.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}
