//! The HTTP target: one POST per attempt or batch, to an address that was screened after it was resolved.
//!
//! It promises that every attempt ends by its deadline with an [`crate::outcome::Outcome`] that says whose fault a failure
//! was, that secrets stay in the request, that redirects and proxies are never followed, and that a request is sent a
//! second time within one attempt only where the first connection took no byte of it. It must not retry otherwise, nor ask
//! for the time: the invocation brings it.
//!
//! The way of an attempt: `caller` takes a connection from `pool` (or a fresh one from `connect`, screened by `egress`) and
//! sends what `request` made and `signature` signed; `target` lets `classify` judge the answer. `batch` does the same for
//! several events at once.
//!
//! Before that, where the configuration wants it, `handshake` asks the target for its leave, and `oauth` brings the access token that
//! `auth` does not have. Without either nothing is sent, and no event is charged for it.
//!
//! A target that needs longer than a request may take answers 202 with [`CALLBACK_HEADER`]`: `[`CALLBACK_ACCEPTED`], where its
//! trigger says `callback = true`. Each request then carries a token in [`CALLBACK_TOKEN_HEADER`], by which the target settles the
//! event later, at an address of the broker that it knows: `POST /v1/deliveries/TOKEN/ack`. Without `callback = true` such an
//! answer is an error and never an ack.

mod auth;
mod batch;
mod body;
mod caller;
mod classify;
mod connect;
mod dynamic;
mod egress;
mod endpoint;
mod error;
mod handshake;
mod link;
mod oauth;
mod pool;
mod request;
mod retry_after;
mod secret;
mod server_timing;
mod signature;
mod target;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use crate::outcome::RetryClass;

pub use auth::HttpAuth;
#[cfg(feature = "aws")]
pub(crate) use caller::Caller;
pub use egress::{
    AddressRange, AddressRangeError, Egress, Origin, OriginError, PortRange, PortRangeError, Resolver,
    forbidden,
};
pub use error::{ConnectError, HttpTargetError};
pub use oauth::{ClientAuthentication, OAuthOptions};
pub use secret::Secret;
pub use signature::{SignedRequest, VerifyError, WebhookKey, verify};
pub use target::HttpTarget;
#[cfg(feature = "aws")]
pub(crate) use {
    body::Body,
    classify::snippet,
    error::{AttemptError, chain},
    link::Outgoing,
    request::AGENT,
    retry_after::parse as parse_retry_after,
};

/// The request header with the token for a callback.
pub const CALLBACK_TOKEN_HEADER: &str = "eventail-callback-token";
/// The header of a 202 by which a target takes an event over.
pub const CALLBACK_HEADER: &str = "eventail-callback";
/// Its value.
pub const CALLBACK_ACCEPTED: &str = "accepted";

/// Connections that are kept open while idle, where nobody says how many.
const IDLE_CONNECTIONS: usize = 32;

/// How the event is put into the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMode {
    /// CloudEvents binary mode: attributes are headers, the body is the data.
    #[default]
    Binary,
    /// CloudEvents structured mode: the body is the whole event as JSON.
    Structured,
    /// The data alone, with its content type.
    Raw,
}

/// What a response status means, where a trigger says so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMeaning {
    /// The event was taken.
    Ack,
    /// Try again, charged to this class.
    Retry(RetryClass),
    /// Dead-letter it.
    Reject,
}

/// What an HTTP target needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTargetOptions {
    /// Where to: `http` or `https`, no user info. Path and query may have places for values of the event, such as
    /// `{$.data.id}` or `{$.data.id|none}`.
    pub url: http::Uri,
    /// How the event is put into the request.
    pub mode: HttpMode,
    /// Headers that every request carries; their values may be secrets, and may have the same places.
    pub headers: Vec<(http::HeaderName, Secret)>,
    /// How requests say who sends them.
    pub auth: Option<HttpAuth>,
    /// Standard Webhooks signing secrets (`whsec_…` or `whsk_…`), the newest first; each signs.
    pub signing_secrets: Vec<Secret>,
    /// Meanings that differ from the default table.
    pub statuses: BTreeMap<u16, StatusMeaning>,
    /// Connections that are kept open while idle.
    pub idle_connections: usize,
    /// Whether the target may answer 202 with [`CALLBACK_HEADER`] and settle the event later.
    pub callback: bool,
    /// Whether the target is asked for its leave first, by CloudEvents' handshake.
    pub handshake: bool,
}

impl HttpTargetOptions {
    /// Events go to this URL in binary mode, and nothing else is said.
    #[must_use]
    pub fn to(url: http::Uri) -> Self {
        Self {
            url,
            mode: HttpMode::default(),
            headers: Vec::new(),
            auth: None,
            signing_secrets: Vec::new(),
            statuses: BTreeMap::new(),
            idle_connections: IDLE_CONNECTIONS,
            callback: false,
            handshake: false,
        }
    }

    /// Whether the URL or a header has places for values of the event, so that each event has a request of its own.
    #[must_use]
    pub fn has_places(&self) -> bool {
        let path = self.url.path_and_query().map(http::uri::PathAndQuery::as_str);
        let mut headers = self.headers.iter().map(|(_, value)| value.expose());
        path.is_some_and(dynamic::has_place) || headers.any(dynamic::has_place)
    }
}
