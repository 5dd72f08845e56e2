//! Raw HTTP/1.1 connections: the fastest client that hyper allows, for publishing and for the machine's ceiling.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::latencies::Latencies;

/// One kept-alive connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: http::HeaderValue,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its error, if any, is also that of the request under way.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, host: address.to_string().parse()? })
    }

    /// Sends one request and reads the answer whole.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let (parts, body) = self.exchange_whole(request).await?;
        Ok((parts.status, body))
    }

    /// The same, with the headers of the answer.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn exchange_whole(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(http::response::Parts, Bytes)> {
        request.headers_mut().insert(http::header::HOST, self.host.clone());
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        Ok((parts, body.collect().await?.to_bytes()))
    }
}

/// One `GET` on a connection of its own.
///
/// # Errors
/// Where there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = Request::builder().method(Method::GET).uri(path).body(Full::default())?;
    Connection::open(address).await?.exchange(request).await
}

/// What a closed loop over connections reached.
#[derive(Debug, Default)]
pub struct Driven {
    /// Requests that were answered with success.
    pub requests: u64,
    /// How long that took.
    pub elapsed: Duration,
    /// From each request to its answer.
    pub latencies: Latencies,
}

impl Driven {
    /// Requests per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends requests `0, 1, 2 …` over `connections`, one under way on each, for `duration`. Every answer must be a success.
///
/// # Errors
/// The first connection that breaks, or the first answer that is no success.
pub async fn closed_loop<F>(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    request: F,
) -> anyhow::Result<Driven>
where
    F: Fn(u64) -> Request<Full<Bytes>> + Send + Sync + 'static,
{
    let shared = std::sync::Arc::new((request, std::sync::atomic::AtomicU64::new(0)));
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in open {
        let shared = std::sync::Arc::clone(&shared);
        tasks.spawn(async move {
            let (mut count, mut latencies) = (0, Latencies::default());
            while start.elapsed() < duration {
                let n = shared.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let sent = Instant::now();
                let (status, body) = connection.exchange((shared.0)(n)).await?;
                ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
                latencies.record_ns(nanoseconds(sent.elapsed()));
                count += 1;
            }
            anyhow::Ok((count, latencies))
        });
    }
    let mut driven = Driven::default();
    while let Some(ended) = tasks.join_next().await {
        let (count, latencies) = ended.context("a connection's task")??;
        driven.requests += count;
        driven.latencies.add(&latencies);
    }
    driven.elapsed = start.elapsed();
    Ok(driven)
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A plain `POST` of `data`.
#[must_use]
pub fn post(path: &str, data: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(data));
    *request.method_mut() = Method::POST;
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    request
}
