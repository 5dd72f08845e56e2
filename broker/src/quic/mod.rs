//! The server end of Eventail's own protocol, over QUIC. [`eventail_wire`]'s documentation draws the protocol.
//!
//! Promises: whatever a client sends or leaves out, other streams and connections never notice; a client that does not
//! read or does not settle makes no memory grow beyond its windows and its credit, and is let go when it has read nothing for
//! long; frames that come in part hold no more together than request bodies may; a panic in one stream ends that stream.
//! It must not know how events are stored or matched: that is the [`Broker`]'s part.

mod answers;
mod callbacks;
mod connection;
mod conversation;
mod deliveries;
mod end;
mod guard;
mod halves;
mod identity;
mod screen;
mod strangers;
mod transport;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventail_wire::frame::PeerLimits;
use eventail_wire::limits;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig, VarInt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::Broker;
use crate::config::Config;
use crate::crowd::Crowd;
use crate::tls::{self, Failures, Material, Served, TlsError};
use halves::Halves;

/// How long the endpoint may take to tell its clients that it is gone.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Why a server cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The files of the certificate that is made here cannot be written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
    /// The certificate and its key cannot be used.
    #[error("{}", .0.message())]
    Tls(#[from] TlsError),
}

impl QuicError {
    /// Whether the same may succeed later: an address in use may become free.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut, because they did not end within the drain time.
    pub cut: usize,
}

/// What every connection needs.
#[derive(Debug)]
struct Context {
    broker: Broker,
    limits: PeerLimits,
    connections_max: usize,
    crowd: Crowd,
    /// How long a stream may take to its hello.
    hello_time: Duration,
    /// Publishes that may be under way on one connection before it is read no further.
    in_flight_bytes_max: usize,
    halves: Halves,
    /// Bounds the handshakes under way.
    handshakes: Arc<Semaphore>,
    failures: Failures,
    stopping: watch::Receiver<bool>,
}

impl Context {
    fn new(broker: Broker, stopping: watch::Receiver<bool>) -> Self {
        let config = broker.config();
        Self {
            limits: peer_limits(&config),
            connections_max: config.limits.connections_max,
            crowd: Crowd::new(config.limits.per_address()),
            hello_time: Duration::from_millis(config.limits.request_timeout_ms),
            in_flight_bytes_max: 2 * config.limits.batch_bytes_max,
            halves: Halves::new(config.limits.in_flight_bytes_max),
            handshakes: Arc::new(Semaphore::new(limits::TLS_HANDSHAKES_MAX)),
            failures: Failures::new("quic"),
            stopping,
            broker,
        }
    }
}

fn peer_limits(config: &Config) -> PeerLimits {
    let caps = &config.limits;
    // One event within its own limit is always taken; each has a length of four bytes, and the header has room to spare.
    let batch_bytes = caps.batch_bytes_max.max(caps.event_bytes_max);
    let around_bytes = limits::FRAME_BYTES_MAX - limits::EVENT_BYTES_CEILING;
    let frame_bytes = batch_bytes.saturating_add(around_bytes.max(5 * caps.batch_events_max));
    PeerLimits {
        event_bytes_max: caps.event_bytes_max as u64,
        batch_events_max: caps.batch_events_max as u64,
        batch_bytes_max: batch_bytes as u64,
        frame_bytes_max: frame_bytes as u64,
        credit_max: limits::CREDIT_MAX,
    }
}

/// A running server. Dropping it cuts every connection; [`QuicServer::shutdown`] stops in order.
#[derive(Debug)]
pub struct QuicServer {
    endpoint: Endpoint,
    address: SocketAddr,
    fingerprint: String,
    stopping: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// Listens on `address` (UDP) and serves `broker`. The certificate is what `listen.tls` of the broker's configuration says, which may
/// change while it runs, or one that is made once and kept in its data folder. Must be called within a tokio runtime.
///
/// # Errors
/// Where the address cannot be listened on, or the certificate not be used or made.
pub async fn serve(broker: Broker, address: SocketAddr) -> Result<QuicServer, QuicError> {
    let mut renewals = broker.certificates().map(|certificates| certificates.subscribe());
    let (crypto, fingerprint) = match &mut renewals {
        Some(renewals) => {
            let served = renewals.borrow_and_update();
            (served.quic.clone(), served.fingerprint.clone())
        }
        None => own_identity(&broker).await?,
    };
    let endpoint = transport::endpoint(address, transport::server_config(crypto))
        .map_err(|source| QuicError::Bind { address, source })?;
    let address = endpoint.local_addr().map_err(|source| QuicError::Bind { address, source })?;
    Ok(begin(broker, endpoint, address, fingerprint, renewals))
}

/// Serves `broker` on an endpoint that `bind` makes, for instance on a simulated network, with the certificate and key of these files.
/// Must be called within a tokio runtime.
///
/// # Errors
/// As [`serve`].
pub fn serve_on(
    broker: Broker,
    address: SocketAddr,
    (certificate, key): (&Path, &Path),
    bind: impl FnOnce(SocketAddr, ServerConfig) -> io::Result<Endpoint>,
) -> Result<QuicServer, QuicError> {
    let material = Material::of_files(certificate, key)?;
    let crypto = tls::quic(&material, broker.clock())?;
    let endpoint = bind(address, transport::server_config(crypto))
        .map_err(|source| QuicError::Bind { address, source })?;
    Ok(begin(broker, endpoint, address, material.fingerprint(), None))
}

/// Lets connections in.
fn begin(
    broker: Broker,
    endpoint: Endpoint,
    address: SocketAddr,
    fingerprint: String,
    renewals: Option<watch::Receiver<Arc<Served>>>,
) -> QuicServer {
    let (stopping, watching) = watch::channel(false);
    let context = Arc::new(Context::new(broker, watching));
    let accepting = tokio::spawn(connection::accept(endpoint.clone(), context, renewals));
    tracing::info!(%address, %fingerprint, "quic listening");
    QuicServer { endpoint, address, fingerprint, stopping, accepting }
}

/// The certificate that is made here, where the configuration names none.
async fn own_identity(broker: &Broker) -> Result<(Arc<QuicServerConfig>, String), QuicError> {
    let folder = broker.config().data_dir.join("tls");
    let path = folder.clone();
    let material = tokio::task::spawn_blocking(move || identity::load_or_generate(&folder))
        .await
        .map_err(|source| QuicError::File { path, source: io::Error::other(source) })??;
    Ok((tls::quic(&material, broker.clock())?, material.fingerprint()))
}

impl QuicServer {
    /// Where it listens: with the real port where port 0 was asked for.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The SHA-256 of the certificate that it began with, in hexadecimal: what a client pins.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Stops accepting, says goodbye on every stream, and waits up to `drain` until all that is under way is answered and
    /// deliveries are settled. What is not by then is cut.
    pub async fn shutdown(mut self, drain: Duration) -> Drained {
        self.stopping.send_replace(true);
        let drained = tokio::time::timeout(drain, &mut self.accepting).await.is_ok();
        let cut = if drained { 0 } else { self.endpoint.open_connections() };
        if !drained {
            tracing::warn!(address = %self.address, cut, "quic connections cut after the drain time");
        }
        self.endpoint.close(VarInt::from_u32(0), b"the server is stopping");
        // Clients that do not hear it find out by themselves, so there is no need to wait for long.
        let _ = tokio::time::timeout(CLOSE_TIME, self.endpoint.wait_idle()).await;
        Drained { cut }
    }
}

impl Drop for QuicServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.endpoint.close(VarInt::from_u32(0), b"the server is gone");
    }
}
