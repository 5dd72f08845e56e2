//! A small HTTP/1.1 client for the tests: one connection per request, bytes in and bytes out.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(90);

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("status {}, no JSON ({error}): {}", self.status, self.text()))
    }

    /// The same answer where its status is `status`; panics with the body otherwise.
    #[track_caller]
    #[allow(
        clippy::must_use_candidate,
        clippy::return_self_not_must_use,
        reason = "often only the check is wanted"
    )]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The stable code of a problem answer.
    #[must_use]
    #[track_caller]
    pub fn code(&self) -> String {
        let media_type = self.headers.get("content-type").and_then(|value| value.to_str().ok());
        assert_eq!(media_type, Some("application/problem+json"), "status {}: {}", self.status, self.text());
        self.json()["code"].as_str().expect("a problem has a code").to_owned()
    }
}

/// The HTTP interface of one server.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    address: SocketAddr,
}

impl Api {
    /// The interface at `address`.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let (mut parts, body) = request.into_parts();
        if !parts.headers.contains_key("host") {
            parts.headers.insert("host", self.address.to_string().parse().context("host")?);
        }
        let exchange = async {
            let stream = TcpStream::connect(self.address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            let response = sender.send_request(Request::from_parts(parts, body)).await;
            // The answer's body is read by the connection's task, so that may end only after it.
            let answer = async {
                let (parts, body) = response?.into_parts();
                let body = body.collect().await?.to_bytes();
                anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
            }
            .await;
            driver.abort();
            answer
        };
        tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")?
    }

    /// Sends a request that must be answered.
    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a valid request");
        self.send(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Bytes::new()).await
    }

    /// `GET path`, which must be answered 200 with JSON.
    pub async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.expect_status(200).json()
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let body = Bytes::from(body.to_string());
        self.request(Method::POST, path, &[("content-type", "application/json")], body).await
    }

    /// Publishes CloudEvents in one request (structured batch); answers `(offset, duplicate)` of each.
    pub async fn publish_all(&self, topic: &str, events: &[Value]) -> Vec<(u64, bool)> {
        let body = Bytes::from(Value::from(events.to_vec()).to_string());
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let path = format!("/v1/topics/{topic}/events");
        let answer = self.request(Method::POST, &path, &headers, body).await;
        results(&answer.expect_status(200))
    }

    /// Publishes one CloudEvent in structured mode; answers its offset and whether it was a duplicate.
    pub async fn publish(&self, topic: &str, event: &Value) -> (u64, bool) {
        let headers = [("content-type", "application/cloudevents+json")];
        let path = format!("/v1/topics/{topic}/events");
        let answer = self.request(Method::POST, &path, &headers, Bytes::from(event.to_string())).await;
        results(&answer.expect_status(200))[0]
    }

    /// A trigger's status.
    pub async fn trigger(&self, name: &str) -> Value {
        self.get_json(&format!("/v1/triggers/{name}")).await
    }

    /// All dead letters that `query` chooses, at most a page.
    pub async fn dead_letters(&self, query: &str) -> Vec<Value> {
        let page = self.get_json(&format!("/v1/dead-letters?{query}")).await;
        page["dead_letters"].as_array().expect("a list of dead letters").clone()
    }
}

/// The `results` of a publish.
#[must_use]
pub fn results(answer: &Answer) -> Vec<(u64, bool)> {
    let json = answer.json();
    let results = json["results"].as_array().unwrap_or_else(|| panic!("no results: {json}"));
    let pair = |result: &Value| Some((result["offset"].as_u64()?, result["duplicate"].as_bool()?));
    results.iter().map(|result| pair(result).unwrap_or_else(|| panic!("not a result: {result}"))).collect()
}
