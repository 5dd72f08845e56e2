//! TLS for what the broker serves: one certificate for HTTP and QUIC, which is exchanged while connections live.
//!
//! Promises:
//! - The versions and cipher suites are those that rustls has by default: TLS 1.2 and 1.3 over TCP, TLS 1.3 over QUIC.
//! - A certificate takes effect whole: chain, key and client authorities are read together, and what does not fit together, or is
//!   past its end, changes nothing. The pair before stays, and the error is logged, counted and told in the status.
//! - A connection lives on under the certificate that it began with. No session of before is resumed under another certificate,
//!   and none at all where clients show certificates: an expired one is refused at the next connection.
//! - A peer's names come from a certificate that was verified, and from nothing else.
//!
//! It must not know what is served: listeners ask for their settings, and tell whom they let in.

mod client;
mod error;
mod expiry;
mod failure;
mod material;
mod names;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use client::client;
pub use error::TlsError;
pub(crate) use failure::{Failure, Failures};
pub(crate) use material::Material;
pub(crate) use names::of_peer;
pub(crate) use settings::quic;
pub(crate) use store::{Certificates, Prepared, Served};
pub(crate) use upkeep::keep_up;

use std::time::Duration;

/// How long a handshake may take: a client that is further away than this is none.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
