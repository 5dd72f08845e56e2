//! What goes wrong with an HTTP target: when it is made, when a connection is made, and during an attempt.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use super::dynamic::DynamicError;
use super::handshake::HandshakeError;
use super::oauth::TokenError;
use crate::outcome::{Outcome, RejectReason, Response, RetryClass};

/// Why options make no target. Nothing of a secret is ever shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpTargetError {
    /// Neither `http` nor `https`.
    #[error("a target's URL must begin with http:// or https://")]
    Scheme,
    /// A name or a password in the URL: it would be seen in every listing.
    #[error("a target's URL must not hold a user or password: set a header from a secret instead")]
    UserInfo,
    /// No host, or one that is no name.
    #[error("`{host}` in a target's URL is no host")]
    Host {
        /// What stands there.
        host: String,
    },
    /// What stands behind the host's colon is no port.
    #[error("`{port}` in a target's URL is no port: it must be between 1 and 65535")]
    Port {
        /// What stands there.
        port: String,
    },
    /// A header that the delivery itself sets.
    #[error("the header `{name}` is set by the delivery itself")]
    ReservedHeader {
        /// Its name.
        name: http::HeaderName,
    },
    /// A header's value holds what headers cannot.
    #[error("the value of the header `{name}` holds characters that a header cannot have")]
    HeaderValue {
        /// Its name.
        name: http::HeaderName,
    },
    /// A place for a value of the event in scheme, host or port.
    #[error("a target's host and port cannot come from the event: only path, query and headers have places")]
    DynamicHost,
    /// A place in the URL that is none.
    #[error("a place in a target's URL is wrong: {why}")]
    UrlPlace {
        /// What is wrong with it.
        why: String,
    },
    /// A place in a header's value that is none.
    #[error("a place in the value of the header `{name}` is wrong: {why}")]
    HeaderPlace {
        /// The header's name.
        name: http::HeaderName,
        /// What is wrong with it.
        why: String,
    },
    /// What `auth` has makes no header.
    #[error(
        "what `auth` has makes no value of the header `{name}`: it holds characters that a header cannot have"
    )]
    AuthValue {
        /// The header's name.
        name: http::HeaderName,
    },
    /// A colon parts user and password.
    #[error("the user of `auth` must not have a colon: that is where the password begins")]
    BasicUser,
    /// A header that `auth` sets is given as well.
    #[error("the header `{name}` is what `auth` sets, and cannot be given as well")]
    AuthHeaderTwice {
        /// Its name.
        name: http::HeaderName,
    },
    /// The token endpoint cannot be called.
    #[error("the token endpoint: {source}")]
    TokenUrl {
        /// What is wrong with its URL.
        source: Box<HttpTargetError>,
    },
    /// Each event would need a handshake of its own.
    #[error(
        "a target that is asked for its leave has one URL for all events, without places such as `{{$.data.id}}`"
    )]
    HandshakeOfPlaces,
    /// A signing secret is none.
    #[error("signing secret {index}: {why}")]
    Secret {
        /// Its place, counted from 1.
        index: usize,
        /// The rule.
        why: &'static str,
    },
}

impl HttpTargetError {
    /// The same options fail again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody knows the name.
    #[error("the name `{host}` could not be resolved")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's word.
        source: io::Error,
    },
    /// The name is known, and leads nowhere.
    #[error("the name `{host}` has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// It is in a network that is not to be called.
    #[error("`{host}` is at the {kind} address {address}, which is not called unless the configuration allows it: \
             [egress] allow = [\"{}\"]", suggestion(*address))]
    Forbidden {
        /// Its name.
        host: String,
        /// Where it is.
        address: IpAddr,
        /// What kind of network that is.
        kind: &'static str,
    },
    /// Nothing at this port is to be called.
    #[error("`{host}` is at port {port}, which is not called: `egress.ports` does not have it")]
    ForbiddenPort {
        /// Its name.
        host: String,
        /// The port.
        port: u16,
    },
    /// It takes no connection.
    #[error("no connection to {address}")]
    Connect {
        /// Where it is.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// It takes a connection, and speaks no TLS or has no certificate that is believed.
    #[error("no TLS session with `{host}`")]
    Tls {
        /// Its name.
        host: String,
        /// What is wrong.
        source: io::Error,
    },
    /// It takes a connection, and speaks no HTTP.
    #[error("no HTTP session with `{host}`")]
    Handshake {
        /// Its name.
        host: String,
        /// What is wrong.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("no connection to `{host}` within {after_ms} ms")]
    Timeout {
        /// Its name.
        host: String,
        /// How long was waited.
        after_ms: u128,
    },
}

impl ConnectError {
    /// Whether it may be otherwise the next time: a target may come up, a network may be mended.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Forbidden { .. } | Self::ForbiddenPort { .. })
    }

    pub(super) fn timeout(host: &str, begun: Instant, deadline: Instant) -> Self {
        let after_ms = deadline.saturating_duration_since(begun).as_millis();
        Self::Timeout { host: host.to_owned(), after_ms }
    }
}

/// The range to allow, as an operator would write it.
fn suggestion(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => "127.0.0.0/8".to_owned(),
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

/// Why an attempt ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Dynamic(#[from] DynamicError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the connection broke before the request was sent")]
    Unsent { source: hyper::Error },
    #[error("the connection broke before the answer was whole")]
    Broken { status: Option<u16>, source: hyper::Error },
    #[error("no whole answer within {after_ms} ms")]
    Timeout { after_ms: u128 },
}

impl AttemptError {
    /// Whether nothing is ever sent there: a port stays what it is, while the address of a name may be another one tomorrow.
    pub(crate) const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::ForbiddenPort { .. }))
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        let (class, status) = match &self {
            Self::Dynamic(error) => {
                let response = Response { error: error.to_string(), ..Response::default() };
                return Outcome::Reject { reason: RejectReason::Transform, response, disable: false };
            }
            // Without a token nothing can be sent, whatever the event.
            Self::Token(error) => {
                let response = Response { error: error.text(), ..Response::default() };
                return Outcome::Retry { class: RetryClass::Unreachable, after_ms: None, response };
            }
            Self::Handshake(error) => return error.outcome(),
            _ if self.is_forbidden() => return Outcome::Withheld { reason: chain(&self) },
            Self::Connect(_) | Self::Unsent { .. } => (RetryClass::Unreachable, None),
            Self::Broken { status, .. } => (RetryClass::Failed, *status),
            Self::Timeout { .. } => (RetryClass::Timeout, None),
        };
        let response = Response { status, error: chain(&self), ..Response::default() };
        Outcome::Retry { class, after_ms: None, response }
    }
}

/// An error and its causes on one line: what a person needs to see in a dead letter.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Some errors print their cause themselves.
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}
