//! What a client is told when it connects.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::Identity;
use crate::network::{Network, SystemNetwork};
use crate::trust::{Fingerprint, Trust};

/// A token of a broker. It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Token {
    /// Takes the text; white space around it is none of it, as in what was read from a file.
    fn from(text: T) -> Self {
        let text: String = text.into();
        Self(text.trim().to_owned())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Where the server is, whom to take for it, and how patient to be.
///
/// ```
/// # use std::time::Duration;
/// # use eventail_client::{ClientOptions, Fingerprint};
/// # let fingerprint: Fingerprint = "00".repeat(32).parse()?;
/// let options = ClientOptions::pinned("127.0.0.1:4081", fingerprint)
///     .client_name("billing")
///     .connect_timeout(Duration::from_secs(2));
/// # Ok::<(), eventail_client::TrustError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// `host:port`; resolved anew for each connection.
    pub address: String,
    /// Whom to take for the server.
    pub trust: Trust,
    /// Whom to show oneself as, where the server asks for a certificate.
    pub identity: Option<Identity>,
    /// The name that the server's certificate must have; the host of `address` where absent.
    pub server_name: Option<String>,
    /// What the client calls itself in the server's log.
    pub client_name: String,
    /// What says who the client is and what it may do, where the server asks for it.
    pub token: Option<Token>,
    /// How long a handshake or the answer to a hello may take. Default 5 s.
    pub connect_timeout: Duration,
    /// After how long without a sign of life the connection counts as lost. Default 10 s.
    pub idle_timeout: Duration,
    /// How often to give a sign of life. Default 3 s.
    pub keep_alive: Duration,
    /// The delay before the second try to reconnect; doubled for each further one, with jitter. Default 50 ms.
    pub reconnect_delay: Duration,
    /// The most that it grows to. Default 5 s.
    pub reconnect_delay_max: Duration,
    /// The network that it is on. Default the system's.
    pub network: Arc<dyn Network>,
}

impl ClientOptions {
    /// A server and whom to take for it.
    #[must_use]
    pub fn new(address: impl Into<String>, trust: Trust) -> Self {
        Self {
            address: address.into(),
            trust,
            identity: None,
            server_name: None,
            client_name: concat!("eventail-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            reconnect_delay: Duration::from_millis(50),
            reconnect_delay_max: Duration::from_secs(5),
            network: Arc::new(SystemNetwork),
        }
    }

    /// A server whose certificate has this fingerprint.
    #[must_use]
    pub fn pinned(address: impl Into<String>, fingerprint: Fingerprint) -> Self {
        Self::new(address, Trust::Fingerprint(fingerprint))
    }

    /// A server whose certificate one of these authorities (PEM) vouches for.
    #[must_use]
    pub fn with_roots(address: impl Into<String>, pem: impl Into<Vec<u8>>) -> Self {
        Self::new(address, Trust::Roots(pem.into()))
    }

    /// A server whose certificate a public authority vouches for.
    #[must_use]
    pub fn with_web_roots(address: impl Into<String>) -> Self {
        Self::new(address, Trust::WebRoots)
    }

    /// Sets the certificate to show to a server that asks for one. Whether the server takes it is known when the first stream is opened:
    /// by a publisher, a subscription or a callback.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the name that the server's certificate must have.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets what the client calls itself.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// Sets the token that says who the client is and what it may do: what `eventail tokens create` prints.
    #[must_use]
    pub fn token(mut self, token: impl Into<Token>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets how long a handshake or the answer to a hello may take.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets after how long without a sign of life the connection counts as lost, and how often to give one.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration, keep_alive: Duration) -> Self {
        self.idle_timeout = timeout;
        self.keep_alive = keep_alive;
        self
    }

    /// Sets the delay before the second try to reconnect, and what it grows to.
    #[must_use]
    pub const fn reconnect_delay(mut self, initial: Duration, max: Duration) -> Self {
        self.reconnect_delay = initial;
        self.reconnect_delay_max = max;
        self
    }

    /// Sets another network than the system's.
    #[must_use]
    pub fn network(mut self, network: Arc<dyn Network>) -> Self {
        self.network = network;
        self
    }

    /// The host part of the address, without brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_never_prints() {
        let options = ClientOptions::with_roots("localhost:1", "").token("evt_secret\n");
        assert_eq!(options.token.as_ref().map(Token::expose), Some("evt_secret"));
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
    }
}
