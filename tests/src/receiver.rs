//! An HTTP target under the test's control: it records every request and answers as its script says. It can be taken off
//! the network and put back at the same address.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::script::{Reply, Script, accept};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// The how manyth request with this `webhook-id` it is, counted from 1 by the receiver itself.
    pub nth: usize,
    /// When it had arrived whole.
    pub at: Instant,
}

impl Received {
    /// A header as text; panics where it is missing.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }

    /// A header as text.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The event's id (binary mode).
    #[must_use]
    #[track_caller]
    pub fn id(&self) -> &str {
        self.header("ce-id")
    }
}

struct State {
    received: Mutex<Vec<Received>>,
    seen: Mutex<HashMap<String, usize>>,
    script: Mutex<Arc<Script>>,
    /// Only counts: what arrived is not kept, for long runs.
    forgetful: bool,
}

/// An HTTP target. Dropping it closes everything.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    listener: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Receiver {
    /// Listens on a free loopback port and accepts everything.
    pub async fn start() -> Self {
        Self::with(accept).await
    }

    /// Listens on a free loopback port and answers as `script` says.
    pub async fn with(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::open(Arc::new(script), false).await
    }

    /// The same, but keeps no more of a request than its headers.
    pub async fn forgetful(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::open(Arc::new(script), true).await
    }

    async fn open(script: Arc<Script>, forgetful: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = State {
            received: Mutex::default(),
            seen: Mutex::default(),
            script: Mutex::new(script),
            forgetful,
        };
        let receiver = Self { address, state: Arc::new(state), listener: Mutex::new(None) };
        receiver.serve(listener);
        receiver
    }

    fn serve(&self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let task = tokio::spawn(async move {
            // The connections live in the set, so they end with this task.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            connections.spawn(connection(stream, Arc::clone(&state)));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        *lock(&self.listener) = Some(task);
    }

    /// `http://…` and `path`, for a trigger's target.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers by another script from now on.
    pub fn set(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *lock(&self.state.script) = Arc::new(script);
    }

    /// Everything that came so far, in order of arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state.received).clone()
    }

    /// How many requests came so far.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.state.received).len()
    }

    /// What came for one event, by its `ce-id`.
    #[must_use]
    pub fn received_of(&self, id: &str) -> Vec<Received> {
        let of_id = |request: &&Received| request.find("ce-id") == Some(id);
        lock(&self.state.received).iter().filter(of_id).cloned().collect()
    }

    /// Waits until at least `count` requests came and answers all of them.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} requests at the receiver");
        crate::eventually(&what, async || (self.count() >= count).then(|| self.received())).await
    }

    /// Leaves the network: open connections are closed and new ones refused.
    pub async fn go_down(&self) {
        let task = lock(&self.listener).take();
        if let Some(task) = task {
            task.abort();
            // Only when the task has ended is its socket closed.
            let _ended = task.await;
        }
    }

    /// Comes back at the same address.
    pub async fn come_back(&self) {
        let address = self.address;
        let bind = async || TcpListener::bind(address).await.ok();
        let listener = crate::eventually("the receiver's old address to be free", bind).await;
        self.serve(listener);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listener).take() {
            task.abort();
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { answer(request, &state).await }
    });
    // A peer that goes away in the middle is part of many tests.
    let _ended =
        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the script closes the connection")]
    ByScript,
    #[error("the request did not arrive whole")]
    Body(#[from] hyper::Error),
}

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Full<Bytes>>, Broken> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let delivery = parts.headers.get("webhook-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let nth = {
        let mut seen = lock(&state.seen);
        let count = seen.entry(format!("{path} {delivery}")).or_default();
        *count += 1;
        *count
    };
    let received =
        Received { method: parts.method, path, headers: parts.headers, body, nth, at: Instant::now() };
    let script = Arc::clone(&*lock(&state.script));
    let reply = script(&received);
    let kept = if state.forgetful { Received { body: Bytes::new(), ..received } } else { received };
    lock(&state.received).push(kept);
    perform(reply).await
}

async fn perform(reply: Reply) -> Result<Response<Full<Bytes>>, Broken> {
    let mut reply = reply;
    while let Reply::After(delay, next) = reply {
        tokio::time::sleep(delay).await;
        reply = *next;
    }
    let response = Response::builder();
    let response = match reply {
        Reply::Status(status) => response.status(status).body(Full::default()),
        Reply::Text(status, body) => response.status(status).body(Full::from(body)),
        Reply::RetryAfter(status, seconds) => {
            response.status(status).header("retry-after", seconds.to_string()).body(Full::default())
        }
        Reply::Event(event) => response
            .header("content-type", "application/cloudevents+json")
            .body(Full::from(event.to_string())),
        Reply::Json(value) => {
            response.header("content-type", "application/json").body(Full::from(value.to_string()))
        }
        Reply::Header(name, value) => response.header(name, value).body(Full::default()),
        Reply::Headers(headers) => {
            let add = |response: http::response::Builder, (name, value): (&'static str, String)| {
                response.header(name, value)
            };
            headers.into_iter().fold(response, add).body(Full::default())
        }
        Reply::Accepted => response.status(202).header("eventail-callback", "accepted").body(Full::default()),
        Reply::Hang | Reply::After(..) => {
            return Ok(std::future::pending::<Infallible>().await).map(|never| match never {});
        }
        Reply::Reset => return Err(Broken::ByScript),
    };
    Ok(response.expect("a valid answer"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Api, script};

    fn post(delivery: &str) -> Request<Full<Bytes>> {
        Request::post("/x").header("webhook-id", delivery).body(Full::from("body")).unwrap()
    }

    #[tokio::test]
    async fn each_delivery_is_answered_by_the_script_and_recorded() {
        let delay = Duration::from_millis(1);
        let replies =
            vec![Reply::RetryAfter(429, 3), Reply::Reset, Reply::After(delay, Box::new(Reply::Status(500)))];
        let receiver = Receiver::with(script::first(replies)).await;
        let api = Api::new(receiver.address);
        let answer = api.send(post("a")).await.unwrap();
        assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (429, "3"));
        assert!(api.send(post("a")).await.is_err());
        assert_eq!(api.send(post("a")).await.unwrap().status, 500);
        assert_eq!(api.send(post("a")).await.unwrap().status, 204);
        assert_eq!(api.send(post("b")).await.unwrap().status, 429);
        let counted: Vec<usize> = receiver.received().iter().map(|request| request.nth).collect();
        assert_eq!(counted, [1, 2, 3, 4, 1]);
        assert!(receiver.received().iter().all(|request| request.body == "body" && request.path == "/x"));
    }

    #[tokio::test]
    async fn a_receiver_that_is_down_refuses_and_comes_back_at_its_address() {
        let receiver = Receiver::start().await;
        let api = Api::new(receiver.address);
        receiver.go_down().await;
        assert!(api.send(post("a")).await.is_err());
        receiver.come_back().await;
        assert_eq!(api.send(post("a")).await.unwrap().status, 204);
    }
}
