//! Making connections: resolve, screen every address, connect to the very address that was screened, TLS, HTTP.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::egress::Egress;
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::link::{Http1, Link};

/// How long resolving, connecting and the TLS handshake may take together: a host that is there answers in far less.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An HTTP/2 connection with requests under way is probed after this silence, and given up when the probe goes unanswered.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Headers of an answer, all together: enough for any real target, and a bound for others.
const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
const ALPN_HTTP2: &[u8] = b"h2";

/// Connects by `deadline`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    egress: &Egress,
    deadline: Instant,
) -> Result<Link, ConnectError> {
    let begun = Instant::now();
    match timeout_at(deadline, establish(endpoint, egress, deadline)).await {
        Ok(established) => established,
        Err(_) => Err(ConnectError::timeout(&endpoint.host, begun, deadline)),
    }
}

/// Finds the host, asks whether it may be called, and connects by `deadline`, without a word to whoever is there.
pub(super) async fn reach(
    endpoint: &Endpoint,
    egress: &Egress,
    deadline: Instant,
) -> Result<SocketAddr, ConnectError> {
    let begun = Instant::now();
    let reached = timeout_at(deadline, async {
        let addresses = screened(endpoint, egress).await?;
        let stream = dial(&addresses, deadline).await?;
        Ok(stream.peer_addr().unwrap_or(addresses[0]))
    });
    reached.await.unwrap_or_else(|_| Err(ConnectError::timeout(&endpoint.host, begun, deadline)))
}

async fn establish(endpoint: &Endpoint, egress: &Egress, deadline: Instant) -> Result<Link, ConnectError> {
    let addresses = screened(endpoint, egress).await?;
    let stream = dial(&addresses, deadline).await?;
    let host = || endpoint.host.clone();
    let Some(name) = &endpoint.server_name else {
        return speak_http1(TokioIo::new(stream), host).await;
    };
    let connector = TlsConnector::from(Arc::clone(&egress.tls));
    let session = connector.connect(name.clone(), stream).await;
    let stream = session.map_err(|source| ConnectError::Tls { host: host(), source })?;
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
        speak_http2(TokioIo::new(stream), host).await
    } else {
        speak_http1(TokioIo::new(stream), host).await
    }
}

/// The addresses of the endpoint, all of which may be called. One that may not refuses them all: a name that points both
/// outward and inward is a mistake or an attack, and which address would be taken must not be left to chance.
async fn screened(endpoint: &Endpoint, egress: &Egress) -> Result<Vec<SocketAddr>, ConnectError> {
    let host = || endpoint.host.clone();
    if !egress.allows_port(endpoint.port) {
        return Err(ConnectError::ForbiddenPort { host: host(), port: endpoint.port });
    }
    let addresses = match endpoint.host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, endpoint.port)],
        Err(_) => {
            let resolved = egress.resolver.resolve(&endpoint.host, endpoint.port).await;
            resolved.map_err(|source| ConnectError::Resolve { host: host(), source })?
        }
    };
    for address in addresses.iter().map(SocketAddr::ip) {
        egress.screen(address).map_err(|kind| ConnectError::Forbidden { host: host(), address, kind })?;
    }
    if addresses.is_empty() {
        return Err(ConnectError::NoAddress { host: host() });
    }
    Ok(addresses)
}

/// Tries the addresses in order, each with its share of the time that is left.
async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = None;
    for (tried, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / left;
        let connected = match timeout_at(share, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
        };
        match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(source) => last = Some(ConnectError::Connect { address, source }),
        }
    }
    Err(last.expect("the caller hands in at least one address"))
}

async fn speak_http1<T>(io: T, host: impl Fn() -> String) -> Result<Link, ConnectError>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new().max_header_size(ANSWER_HEAD_BYTES_MAX).handshake(io).await;
    let (sender, connection) =
        handshake.map_err(|source| ConnectError::Handshake { host: host(), source })?;
    Ok(Link::Http1(Http1::new(sender, Box::pin(connection))))
}

async fn speak_http2<T>(io: T, host: impl Fn() -> String) -> Result<Link, ConnectError>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .max_header_list_size(u32::try_from(ANSWER_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .handshake(io)
        .await;
    let (sender, connection) =
        handshake.map_err(|source| ConnectError::Handshake { host: host(), source })?;
    tokio::spawn(watch(connection));
    Ok(Link::Http2(sender))
}

async fn watch(connection: impl Future<Output = hyper::Result<()>>) {
    // Each request on it is told its own error; this one is for whoever looks into the connection itself.
    if let Err(error) = connection.await {
        debug!(%error, "an HTTP/2 connection to a target ended");
    }
}

/// TLS as a client: ring, the web's certificate authorities and `extra_roots`, HTTP/2 before HTTP/1.1.
pub(super) fn client_config(extra_roots: &[CertificateDer<'static>]) -> ClientConfig {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let (_, ignored) = roots.add_parsable_certificates(extra_roots.iter().cloned());
    if ignored > 0 {
        tracing::warn!(ignored, "some of the extra root certificates cannot be used");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
    config
}
