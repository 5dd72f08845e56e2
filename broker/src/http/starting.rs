//! The listener while the broker starts: `/healthz` says that the process lives, `/readyz` how far the start is, and everything else is
//! refused with a code that says so and when to come again.
//!
//! A connection is closed after its answer, or when the start is over, so that the next request meets the real API.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::Code;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::HttpError;
use super::handshake::Handshakes;
use super::problem::{Problem, Reply, json, json_bytes};
use crate::StartProgress;

/// Connections at once: those who look whether it is ready, and clients who come early.
const CONNECTIONS_MAX: usize = 256;
/// How long one may take to ask.
const ASKING_TIME: Duration = Duration::from_secs(5);
/// How long one may last: HTTP/2 keeps it over several requests.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// When to come again.
const RETRY_AFTER_MS: u64 = 1_000;
/// How long accepting pauses after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that tells how far a start is.
#[derive(Debug)]
pub struct StartingServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<TcpListener>,
}

/// Listens on `address`, and tells how far the start is. Must be called within a tokio runtime.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve_starting(
    address: SocketAddr,
    progress: StartProgress,
) -> Result<StartingServer, HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })?;
    let address = listener.local_addr().map_err(|source| HttpError::Address { source })?;
    let (stop, stopped) = watch::channel(false);
    let accepting = tokio::spawn(accept(listener, progress, stopped));
    info!(%address, "http listening; the broker starts");
    Ok(StartingServer { address, stop, accepting })
}

impl StartingServer {
    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Hands the listener over: who comes from now on waits in its queue. Who is being answered is answered.
    ///
    /// # Errors
    /// Where it is lost, and the address cannot be listened on again.
    pub async fn end(self) -> Result<TcpListener, HttpError> {
        self.stop.send_replace(true);
        let address = self.address;
        match self.accepting.await {
            Ok(listener) => Ok(listener),
            Err(error) => {
                warn!(%error, "the listener was lost");
                TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    progress: StartProgress,
    mut stopped: watch::Receiver<bool>,
) -> TcpListener {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Known from the moment at which the certificate was read, if there is one.
    let mut tls: Option<Option<Arc<Handshakes>>> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return listener,
        };
        match (accepted, slots.clone().try_acquire_owned()) {
            (Ok((stream, address)), Ok(slot)) => {
                if tls.is_none() {
                    let known = progress.certificates();
                    tls = known.map(|certificates| certificates.map(|them| Arc::new(Handshakes::new(them))));
                }
                if let Some(tls) = tls.clone() {
                    drop(tokio::spawn(greet(
                        (stream, address),
                        tls,
                        progress.clone(),
                        stopped.clone(),
                        slot,
                    )));
                }
            }
            // One too many is closed without a word.
            (Ok(_), Err(_)) => {}
            (Err(error), _) => {
                warn!(%error, "cannot accept an http connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn greet(
    (stream, address): (TcpStream, SocketAddr),
    tls: Option<Arc<Handshakes>>,
    progress: StartProgress,
    stopped: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let Some(handshakes) = tls else { return answer_all(stream, progress, stopped).await };
    if let Some((stream, _)) = handshakes.accept(stream, address).await {
        Box::pin(answer_all(stream, progress, stopped)).await;
    }
}

async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    progress: StartProgress,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = answer(request.uri().path(), &progress).unwrap_or_else(Problem::into_reply);
        std::future::ready(Ok::<Reply, Infallible>(reply))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().keep_alive(false).timer(TokioTimer::new()).header_read_timeout(ASKING_TIME);
    builder.http2().timer(TokioTimer::new());
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut time = pin!(tokio::time::sleep(CONNECTION_TIME));
    let mut is_told = false;
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    debug!(error, "a connection during the start ended");
                }
                return;
            }
            _ = stopped.wait_for(|stopped| *stopped), if !is_told => {
                is_told = true;
                serving.as_mut().graceful_shutdown();
            }
            () = time.as_mut() => return,
        }
    }
}

fn answer(path: &str, progress: &StartProgress) -> Result<Reply, Problem> {
    match path {
        "/healthz" => Ok(json_bytes(StatusCode::OK, Bytes::from_static(b"{\"alive\":true}"))),
        "/readyz" => json(StatusCode::SERVICE_UNAVAILABLE, &progress.status()),
        _ => {
            let told = "the broker is starting; /readyz tells how far it is";
            Err(Problem::new(Code::Starting, told).retry_after_ms(Some(RETRY_AFTER_MS)))
        }
    }
}
