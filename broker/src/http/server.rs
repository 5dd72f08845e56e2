//! The listener: accepting connections up to their cap, and stopping in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use rand::rngs::SmallRng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::api::Api;
use super::connection;
use super::door::{Door, Seat, Turned};
use super::handshake::Handshakes;
use crate::Broker;
use crate::auth::exposure::is_loopback;
use crate::metrics::{CONNECTIONS, REFUSED_CONNECTIONS};
use crate::peer::Peer;

/// How long accepting pauses after it failed, for instance because the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the recorder's histograms are gathered in, without which they would grow until somebody asks for them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Connections over the cap that are told so at once; any more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How long a refused connection may take to ask and to read why not.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Whether the server takes connections and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does.
    Running,
    /// Requests under way are finished; there will be no others.
    Draining,
    /// Whatever is still open is closed.
    Cut,
}

/// What a server is given besides its broker.
#[derive(Debug)]
pub struct HttpOptions {
    /// Makes the ids of events that come without one.
    pub ids: SmallRng,
    /// What `/metrics` shows; without it the answer is empty.
    pub exposition: Option<PrometheusHandle>,
}

/// Why a server cannot be.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The listener does not tell its address.
    #[error("the listener has no address")]
    Address {
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl HttpError {
    /// Whether the same may succeed later: an address in use may become free.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let (Self::Bind { source, .. } | Self::Address { source }) = self;
        source.kind() == io::ErrorKind::AddrInUse
    }
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut, because they did not end within the drain time.
    pub cut: usize,
}

/// A running server. Dropping it cuts every connection; [`HttpServer::shutdown`] stops in order.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
    slots: Arc<Semaphore>,
    connections_max: u32,
}

/// Listens on `address` and serves the API of `broker`.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(
    broker: Broker,
    address: SocketAddr,
    options: HttpOptions,
) -> Result<HttpServer, HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })?;
    serve_on(broker, listener, options)
}

/// Serves the API of `broker` on a listener that is there already. Must be called within a tokio runtime.
///
/// # Errors
/// Where the listener does not tell its address.
pub fn serve_on(
    broker: Broker,
    listener: TcpListener,
    options: HttpOptions,
) -> Result<HttpServer, HttpError> {
    let address = listener.local_addr().map_err(|source| HttpError::Address { source })?;
    let (phase, watching) = watch::channel(Phase::Running);
    let connections_max = u32::try_from(broker.config().limits.connections_max).unwrap_or(u32::MAX);
    let slots = Arc::new(Semaphore::new(connections_max as usize));
    if let Some(exposition) = options.exposition.clone() {
        tokio::spawn(upkeep(exposition, watching.clone()));
    }
    let tls = broker.certificates().is_some();
    let api = Api::new(broker, options.ids, options.exposition, watching, is_loopback(address));
    let accepting = tokio::spawn(accept(listener, api, slots.clone()));
    info!(%address, tls, "http api listening");
    Ok(HttpServer { address, phase, accepting, slots, connections_max })
}

impl HttpServer {
    /// Where it listens: with the real port where port 0 was asked for.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests under way end within `drain`, closes idle connections at once.
    pub async fn shutdown(self, drain: Duration) -> Drained {
        self.phase.send_replace(Phase::Draining);
        // It ends by itself; were it to panic, the listener is closed just the same.
        let _joined = self.accepting.await;
        if tokio::time::timeout(drain, self.slots.acquire_many(self.connections_max)).await.is_ok() {
            return Drained { cut: 0 };
        }
        let cut = (self.connections_max as usize).saturating_sub(self.slots.available_permits());
        warn!(address = %self.address, cut, "http connections cut after the drain time");
        self.phase.send_replace(Phase::Cut);
        let _all_closed = self.slots.acquire_many(self.connections_max).await;
        Drained { cut }
    }
}

async fn upkeep(exposition: PrometheusHandle, mut phase: watch::Receiver<Phase>) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => exposition.run_upkeep(),
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        }
    }
}

async fn accept(listener: TcpListener, api: Api, slots: Arc<Semaphore>) {
    let ways = connection::Ways::new(api.clone());
    let mut door = Door::new(slots, api.limits.per_address());
    let handshakes =
        api.broker.certificates().map(|certificates| Arc::new(Handshakes::new(certificates.clone())));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let refused = counter!(REFUSED_CONNECTIONS, "listener" => "http");
    let mut phase = api.phase.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an http connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and written whole; waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        match door.enter(address).await {
            Ok(seat) => {
                let serving = greet(ways.clone(), handshakes.clone(), stream, address, seat.clone());
                tokio::spawn(hold(seat, serving));
            }
            Err(turned) => {
                refused.increment(1);
                if let Ok(permit) = refusals.clone().try_acquire_owned() {
                    tokio::spawn(turn_away(handshakes.clone(), stream, (address, turned), permit));
                }
            }
        }
    }
}

/// Serves a connection: after its handshake, where the listener speaks TLS.
async fn greet(
    ways: Arc<connection::Ways>,
    handshakes: Option<Arc<Handshakes>>,
    stream: TcpStream,
    address: SocketAddr,
    seat: Arc<Seat>,
) {
    let Some(handshakes) = handshakes else {
        let peer = Peer { address, certificate_names: Arc::new([]) };
        return connection::serve(ways, stream, peer, seat).await;
    };
    let mut phase = ways.phase();
    let shaken = tokio::select! {
        shaken = handshakes.accept(stream, address) => shaken,
        _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        () = seat.is_needed() => return connection::cut_for("needed"),
    };
    if let Some((stream, peer)) = shaken {
        debug!(remote = %peer.address, names = ?peer.certificate_names, "https connection opened");
        // On the heap, so that connections without TLS need no room for one with it.
        Box::pin(connection::serve(ways, stream, peer, seat)).await;
    }
}

/// Counts a connection for as long as it is served.
async fn hold(seat: Arc<Seat>, serving: impl Future<Output = ()>) {
    struct Open(metrics::Gauge, #[allow(dead_code)] Arc<Seat>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.decrement(1.0);
        }
    }
    let open = Open(gauge!(CONNECTIONS, "listener" => "http"), seat);
    open.0.increment(1.0);
    serving.await;
}

/// Tells a connection over the cap why it is not served.
async fn turn_away(
    handshakes: Option<Arc<Handshakes>>,
    stream: TcpStream,
    (address, turned): (SocketAddr, Turned),
    _permit: OwnedSemaphorePermit,
) {
    let telling = async {
        match handshakes {
            None => refuse(stream, turned).await,
            Some(handshakes) => match handshakes.accept(stream, address).await {
                Some((stream, _)) => refuse(stream, turned).await,
                None => Ok(()),
            },
        }
    };
    // Whether the peer listens to the reason is its own affair.
    let _told = tokio::time::timeout(REFUSAL_TIME, telling).await;
}

/// What a connection over the cap reads.
fn refusal(turned: Turned) -> String {
    let detail = match turned {
        Turned::Full => "there are as many connections as limits.connections_max",
        Turned::Crowded => {
            "there are as many connections from this address as limits.connections_per_address_max"
        }
    };
    let body = format!(
        "{{\"type\":\"/errors/overloaded\",\"title\":\"Overloaded\",\"status\":429,\"detail\":\"{detail}\",\"code\":\"overloaded\"}}"
    );
    format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, turned: Turned) -> io::Result<()> {
    let mut ignored = [0; 1024];
    // Clients take an answer that comes before their request for a broken connection.
    if stream.read(&mut ignored).await? == 0 {
        return Ok(());
    }
    stream.write_all(refusal(turned).as_bytes()).await?;
    stream.shutdown().await?;
    // Closing on bytes that were not read would reset the connection before the peer has read why.
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_answer_that_names_the_limit() {
        for (turned, limit) in [
            (Turned::Full, "limits.connections_max"),
            (Turned::Crowded, "limits.connections_per_address_max"),
        ] {
            let text = refusal(turned);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(parsed["code"], "overloaded");
            assert!(parsed["detail"].as_str().unwrap().ends_with(limit), "{body}");
        }
    }
}
