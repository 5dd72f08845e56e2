//! What can go wrong between a program and its broker.

use std::io;
use std::sync::Arc;

use eventail_wire::Code;
use eventail_wire::frame::{Fault, FrameError, FrameKind, Refused};

use crate::trust::TrustError;

/// The TLS alerts among QUIC's transport errors (RFC 9001, section 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Why the client could not do what it was asked. Cheap to clone: one lost connection fails many publishes.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's address has no port, or its name does not resolve.
    #[error("the server's address `{address}` cannot be resolved: {cause}")]
    Resolve {
        /// The address as it was given.
        address: String,
        /// What the system says.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The server's address is no name that a certificate can be checked for.
    #[error("`{name}` is no server name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// No UDP socket could be had.
    #[error("no UDP socket: {cause}")]
    Socket {
        /// What the system says.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The certificates or the fingerprint to trust cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The connection could not begin.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The server's address.
        address: String,
        /// What QUIC says.
        #[source]
        cause: quinn::ConnectError,
    },
    /// The handshake failed, or the connection was lost.
    #[error("the connection failed: {cause}")]
    Connection {
        /// What QUIC says.
        #[source]
        cause: quinn::ConnectionError,
    },
    /// The server ended a stream that was still in use.
    #[error("the server ended the stream")]
    StreamEnded,
    /// The server did not answer in time.
    #[error("{what} took longer than {limit_ms} ms")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit_ms: u64,
    },
    /// The server refused a publish, subscribe or callback.
    #[error("refused ({code}): {message}")]
    Refused {
        /// The stable code.
        code: Code,
        /// The server's words.
        message: String,
        /// When a retry makes sense, where the server can tell.
        retry_after_ms: Option<u64>,
    },
    /// The server ended the stream or connection for a reason.
    #[error("the server ended the conversation ({code}): {message}")]
    Fault {
        /// The stable code.
        code: Code,
        /// The server's words.
        message: String,
    },
    /// The server sent what is no frame.
    #[error("the server sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// The server sent a frame out of turn, or one that does not fit what it answers.
    #[error("the server sent a {kind:?} frame that fits nothing")]
    Unexpected {
        /// Of this kind.
        kind: FrameKind,
    },
    /// The event is larger than the server takes.
    #[error("an event of {bytes} bytes is over the server's limit of {limit}")]
    EventTooLarge {
        /// Its size.
        bytes: usize,
        /// The server's `limits.event_bytes_max`.
        limit: usize,
    },
    /// The batch has more events or bytes than the server takes.
    #[error("a batch of {value} {unit} is over the server's limit of {limit}")]
    BatchTooLarge {
        /// How many.
        value: usize,
        /// The server's limit.
        limit: usize,
        /// `events` or `bytes`.
        unit: &'static str,
    },
    /// The publisher or client was closed.
    #[error("closed")]
    Closed,
}

impl ClientError {
    /// The stable code, where the failure has one: what the server says, or would have said.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } | Self::Fault { code, .. } => Some(*code),
            Self::Frame(error) => Some(error.code()),
            Self::EventTooLarge { .. } => Some(Code::EventTooLarge),
            Self::BatchTooLarge { .. } => Some(Code::BatchTooLarge),
            _ => None,
        }
    }

    /// Whether the same may succeed later without a change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } | Self::Fault { code, .. } => code.is_retryable(),
            Self::Resolve { .. } | Self::Socket { .. } | Self::StreamEnded | Self::Timeout { .. } => true,
            Self::Connection { cause } => match cause {
                // A certificate that is not trusted stays so.
                quinn::ConnectionError::TransportError(error) => !TLS_ALERTS.contains(&u64::from(error.code)),
                quinn::ConnectionError::ConnectionClosed(close) => {
                    !TLS_ALERTS.contains(&u64::from(close.error_code))
                }
                quinn::ConnectionError::VersionMismatch => false,
                _ => true,
            },
            Self::Trust(_)
            | Self::ServerName { .. }
            | Self::Connect { .. }
            | Self::Frame(_)
            | Self::Unexpected { .. }
            | Self::EventTooLarge { .. }
            | Self::BatchTooLarge { .. }
            | Self::Closed => false,
        }
    }

    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Refused { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }
}

impl From<quinn::ConnectionError> for ClientError {
    fn from(cause: quinn::ConnectionError) -> Self {
        // A server that ends the whole connection for a fault gives the fault as `code: message`.
        if let quinn::ConnectionError::ApplicationClosed(close) = &cause {
            let reason = String::from_utf8_lossy(&close.reason);
            if let Some((code, message)) = reason.split_once(": ")
                && let Ok(code) = code.parse()
            {
                return Self::Fault { code, message: message.to_owned() };
            }
        }
        Self::Connection { cause }
    }
}

impl From<quinn::ReadError> for ClientError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(cause) => cause.into(),
            _ => Self::StreamEnded,
        }
    }
}

impl From<quinn::WriteError> for ClientError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(cause) => cause.into(),
            _ => Self::StreamEnded,
        }
    }
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> Self {
        Self::Refused { code: refused.code, message: refused.message, retry_after_ms: refused.retry_after_ms }
    }
}

impl From<Fault> for ClientError {
    fn from(fault: Fault) -> Self {
        Self::Fault { code: fault.code, message: fault.message }
    }
}
