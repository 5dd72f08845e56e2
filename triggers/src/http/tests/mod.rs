//! The HTTP target against real servers on loopback.

mod answers;
mod batches;
mod connections;
mod dynamic;
mod handshake;
mod oauth;
mod reports;
mod requests;
mod screening;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use eventail_wire::{Event, Offset, Timestamp};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::outcome::{Outcome, RejectReason};
use crate::target::{Invocation, Target as _};

const NOW: &str = "2026-11-23T10:00:00Z";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) type Seen = Arc<Mutex<Vec<(Parts, Bytes)>>>;

/// A server that answers as it is told, and remembers what it got.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    pub(crate) seen: Seen,
}

impl Server {
    /// Answers every request with what `answer` makes of it.
    pub(crate) async fn answering(
        answer: impl Fn(&Parts, &Bytes) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let seen = Seen::default();
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let mut server = Self::accepting(move |stream| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    async move { Ok::<_, Infallible>(respond(request, &log, &*answer).await) }
                });
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        })
        .await;
        server.seen = seen;
        server
    }

    /// Takes connections and never says a word.
    async fn silent() -> Self {
        Self::accepting(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await
    }

    /// Hands every connection to `handle`.
    pub(crate) async fn accepting<F>(handle: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(stream));
            }
        });
        Self { address, connections, seen: Seen::default() }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn target(&self) -> HttpTarget {
        HttpTarget::new(options(&format!("http://{}/hook?a=1", self.address)), loopback()).unwrap()
    }

    pub(crate) fn last(&self) -> (Parts, Bytes) {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

async fn respond(
    request: Request<Incoming>,
    log: &Seen,
    answer: &(impl Fn(&Parts, &Bytes) -> Response<Full<Bytes>> + ?Sized),
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let response = answer(&parts, &body);
    log.lock().unwrap().push((parts, body));
    response
}

pub(crate) fn status(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).unwrap()
}

pub(crate) fn loopback() -> Egress {
    Egress::new(["127.0.0.0/8".parse().unwrap()])
}

fn options(url: &str) -> HttpTargetOptions {
    HttpTargetOptions::to(url.parse().unwrap())
}

pub(crate) fn event() -> Event {
    Event::builder("id 1", "/orders", "order.created")
        .subject("ö")
        .time("2026-11-23T09:59:59Z")
        .extension("partitionkey", "k1")
        .json_data(r#"{"total": 1.0}"#)
        .build()
        .unwrap()
}

pub(crate) fn invocation(event: Event) -> Invocation {
    let now = Timestamp::parse_rfc3339(NOW).unwrap();
    Invocation {
        event,
        topic: eventail_wire::TopicName::new("orders").unwrap(),
        offset: Offset(7),
        appended_at: now,
        trigger: eventail_wire::TriggerName::new("ship").unwrap(),
        attempt: 3,
        delivery_id: "msg_1".into(),
        now,
        deadline: now.plus_ms(10_000),
        wants_reply: false,
        callback: None,
        input: None,
        is_replay: false,
    }
}

async fn invoke(target: &HttpTarget) -> Outcome {
    target.invoke(invocation(event())).await.outcome
}

/// The class and the error's text of an outcome that is to be tried again.
pub(crate) fn retried(outcome: Outcome) -> (RetryClass, Option<u64>, crate::outcome::Response) {
    match outcome {
        Outcome::Retry { class, after_ms, response } => (class, after_ms, response),
        other => panic!("expected a retry, got {other:?}"),
    }
}

pub(crate) fn rejected(outcome: Outcome) -> (RejectReason, bool, crate::outcome::Response) {
    match outcome {
        Outcome::Reject { reason, disable, response } => (reason, disable, response),
        other => panic!("expected a rejection, got {other:?}"),
    }
}

pub(crate) fn is_acked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ack { reply: None })
}
