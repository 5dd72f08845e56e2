//! A server to ask and a client that asks it, over loopback.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{HttpOptions, HttpServer, serve};
use crate::Broker;
use crate::config::Config;

/// The drain time of tests: far longer than anything in them takes.
pub(super) const DRAIN: Duration = Duration::from_secs(20);

/// A broker with its API.
pub(super) struct Served {
    pub(super) broker: Broker,
    pub(super) server: HttpServer,
    pub(super) folder: TempDir,
}

impl Served {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(TempDir::new().unwrap(), change).await
    }

    /// On what an earlier broker left.
    pub(super) async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::embedded(folder.path());
        change(&mut config);
        let broker = Broker::open(config).await.unwrap();
        let options = HttpOptions { ids: SmallRng::seed_from_u64(7), exposition: None };
        let server = serve(broker.clone(), "127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        Self { broker, server, folder }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(self.addr()).await
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.client().await.ask(method, target, headers, body.to_owned()).await
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[], "").await
    }

    /// A POST of JSON.
    pub(super) async fn post_json(&self, target: &str, body: &str) -> Answer {
        self.ask(Method::POST, target, &[("content-type", "application/json")], body).await
    }

    /// Publishes a plain body with this id.
    pub(super) async fn publish(&self, topic: &str, id: &str) -> Answer {
        let target = format!("/v1/topics/{topic}/events?type=t&source=/s&id={id}");
        self.post_json(&target, "{}").await
    }

    /// Writes bytes as they are and reads until the server closes.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Stops, and gives what stays.
    pub(super) async fn stop(self) -> TempDir {
        self.server.shutdown(DRAIN).await;
        self.broker.shutdown().await.unwrap();
        self.folder
    }
}

/// Reads until the peer closes; a reset is an end like any other.
pub(super) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A connection that is kept.
pub(super) enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    pub(super) async fn connect_http2(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::Two(sender)
    }

    pub(super) async fn ask(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let is_http2 = matches!(self, Self::Two(_));
        let target = if is_http2 { format!("http://localhost{target}") } else { target.to_owned() };
        let mut request = Request::builder().method(method).uri(target);
        if !is_http2 {
            request = request.header("host", "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = match self {
            Self::One(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Two(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of an answer that must be this status.
    #[track_caller]
    pub(super) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Checks a problem's every part and gives its detail.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/errors/{code}"));
        assert!(problem["title"].is_string());
        if status == 429 {
            assert!(self.headers.contains_key("retry-after"));
        }
        problem["detail"].as_str().unwrap().to_owned()
    }
}
