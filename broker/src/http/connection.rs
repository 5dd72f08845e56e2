//! One connection: HTTP/1.1 or HTTP/2, whichever the peer begins to speak, and the way of each of its requests.
//!
//! Publishing has its own short way: no router, no boxed body. Everything else goes through the router. A panic on either way
//! becomes a 500, counted and logged, and the connection lives on.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use eventail_wire::{Code, TopicName, limits};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service;
use tracing::{debug, error};

use super::answers::{Guarded, NoRoom, Untaken};
use super::api::Api;
use super::door::Seat;
use super::guard;
use super::problem::{Problem, Reply};
use super::publish;
use super::routes::{PUBLISH, ROUTES, publish_topic, router};
use super::server::Phase;
use super::stall::StallGuard;
use crate::auth::Need;
use crate::metrics::{CUT_CONNECTIONS, HTTP_PANICS};
use crate::peer::Peer;

/// hyper refuses a head over its own limits without a body. So those are this many times wider than ours, which are checked
/// here and answered with a problem that says the limit and the value.
const HEAD_SLACK: usize = 2;
/// The least that hyper's buffer may be.
const BUFFER_BYTES_MIN: usize = 8192;
/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 256;
/// An HTTP/2 connection on which nothing moves is asked this often whether somebody is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// An answer may take so many times as long to be read as a request may take to arrive: it is up to 8 times as large.
const ANSWER_TIMES: u32 = 10;

type Whole = Either<Full<Bytes>, axum::body::Body>;
type Outgoing = Response<Guarded<Whole>>;

/// The two ways of a request.
#[derive(Debug)]
pub(super) struct Ways {
    api: Api,
    router: Router,
}

impl Ways {
    pub(super) fn new(api: Api) -> Arc<Self> {
        let router = router(&api);
        Arc::new(Self { api, router })
    }

    /// Whether the server takes requests.
    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.api.phase.clone()
    }
}

/// Serves a connection until it ends, or until the server stops.
pub(super) async fn serve<S>(ways: Arc<Ways>, stream: S, peer: Peer, seat: Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let api = &ways.api;
    let time = Duration::from_millis(api.limits.request_timeout_ms);
    let mut phase = api.phase.clone();
    let mut cut = api.phase.clone();
    let builder = builder(api, time);
    let untaken = Arc::new(Untaken::default());
    let has_asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (seat, ways, untaken) = (seat.clone(), ways.clone(), untaken.clone());
        let has_asked = has_asked.clone();
        move |mut request: Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(seat.clone());
            answer(ways.clone(), request, untaken.clone())
        }
    });
    let io = TokioIo::new(StallGuard::new(stream, time));
    let mut connection = pin!(builder.serve_connection(io, service));
    // hyper's own timer begins when it knows which protocol is spoken, so silence before that is cut off here.
    let mut look = pin!(tokio::time::sleep(time));
    let mut told = false;
    let mut is_unwanted = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if is_unwanted && !seat.is_kept() {
                    return cut_for("stranger");
                }
                if let Err(error) = result {
                    if let Some(reason) = reason_of(&*error) {
                        cut_for(reason);
                    }
                    debug!(error, "http connection ended");
                }
                return;
            }
            _ = phase.wait_for(|phase| *phase != Phase::Running), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = cut.wait_for(|phase| *phase == Phase::Cut) => return,
            () = look.as_mut() => {
                if !seat.is_kept() {
                    let reason = if has_asked.load(Ordering::Relaxed) { "stranger" } else { "silent" };
                    if is_unwanted || reason == "silent" {
                        return cut_for(reason);
                    }
                    // What he asked last is still answered.
                    is_unwanted = true;
                    connection.as_mut().graceful_shutdown();
                }
                if untaken.oldest().is_some_and(|since| since.elapsed() > time.saturating_mul(ANSWER_TIMES)) {
                    return cut_for("unread");
                }
                look.as_mut().reset(Instant::now() + time);
            }
            () = seat.is_needed(), if !seat.is_kept() => return cut_for("needed"),
        }
    }
}

fn builder(api: &Api, time: Duration) -> auto::Builder<TokioExecutor> {
    let header_bytes = api.limits.header_bytes_max.saturating_mul(HEAD_SLACK).max(BUFFER_BYTES_MIN);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(time)
        .max_headers(limits::HEADERS_MAX * HEAD_SLACK)
        .max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(time);
    builder
}

/// Counts a connection that is not ended by its peer.
pub(super) fn cut_for(reason: &'static str) {
    counter!(CUT_CONNECTIONS, "listener" => "http", "reason" => reason).increment(1);
}

/// What the peer did, where that is why the connection ended.
fn reason_of(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return Some("silent");
            }
            if error.is_parse() {
                return Some("malformed");
            }
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::TimedOut
        {
            return Some("unread");
        }
        cause = error.source();
    }
    None
}

async fn answer(
    ways: Arc<Ways>,
    request: Request<Incoming>,
    untaken: Arc<Untaken>,
) -> Result<Outgoing, Infallible> {
    let api = &ways.api;
    if let Err(problem) = check_head(request.headers(), request.uri(), api.limits.header_bytes_max) {
        return Ok(refuse(api, None, problem));
    }
    if let Err(problem) = guard::check_site(api, &request) {
        return Ok(refuse(api, None, problem));
    }
    if api.broker.config().auth.is_none() {
        guard::keep(request.extensions());
    }
    if publish_topic(request.method(), request.uri().path()).is_none() {
        return Ok(Box::pin(route(&ways, request, &untaken)).await);
    }
    let answered = unwinding(publish_directly(api, request)).await;
    let reply = answered.unwrap_or_else(|panic| Err(panicked(&panic))).unwrap_or_else(Problem::into_reply);
    api.requests.count(Some(PUBLISH), reply.status());
    // What was published is published: however much waits to be read, this is answered.
    Ok(reply.map(|body| api.answers.count(Either::Left(body), &untaken)))
}

async fn publish_directly(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let topic = publish_topic(&parts.method, parts.uri.path()).unwrap_or_default();
    guard::check_publish(api, &parts, topic)?;
    let topic = TopicName::new(topic)?;
    publish::publish(api, &topic, &parts, body).await
}

async fn route(ways: &Ways, request: Request<Incoming>, untaken: &Untaken) -> Outgoing {
    let seat =
        (!is_open(request.uri().path())).then(|| request.extensions().get::<Arc<Seat>>().cloned()).flatten();
    let (head, body) = match unwinding(ways.router.clone().call(request)).await {
        Ok(Ok(response)) => response.into_parts(),
        Err(panic) => return refuse(&ways.api, None, panicked(&panic)),
    };
    // What only its handler could judge: a signature, or the token of a delivery.
    if let Some(seat) = seat.filter(|_| head.status.is_success()) {
        seat.keep();
    }
    match ways.api.answers.guard(Either::Right(body), untaken) {
        Ok(body) => Response::from_parts(head, body),
        Err(NoRoom { bytes, limit }) => {
            let what = "bytes of all answers that wait to be read (limits.in_flight_bytes_max)";
            refuse(&ways.api, None, Problem::over_limit(Code::Overloaded, what, bytes as u64, limit as u64))
        }
    }
}

/// Whether everybody is answered there.
fn is_open(path: &str) -> bool {
    ROUTES.iter().any(|route| route.need == Need::Nothing && route.path == path)
}

fn refuse(api: &Api, route: Option<usize>, problem: Problem) -> Outgoing {
    let reply = problem.into_reply();
    api.requests.count(route, reply.status());
    reply.map(|body| Guarded::free(Either::Left(body)))
}

/// A head may be as large as its limits, whatever the parser would take.
fn check_head(headers: &HeaderMap, uri: &Uri, header_bytes_max: usize) -> Result<(), Problem> {
    if headers.len() > limits::HEADERS_MAX {
        let (value, limit) = (headers.len() as u64, limits::HEADERS_MAX as u64);
        return Err(Problem::over_limit(Code::HeadersTooLarge, "headers of the request", value, limit));
    }
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes + target > header_bytes_max {
        let what = "bytes of the request's headers (limits.header_bytes_max)";
        let (value, limit) = ((bytes + target) as u64, header_bytes_max as u64);
        return Err(Problem::over_limit(Code::HeadersTooLarge, what, value, limit));
    }
    Ok(())
}

type Panic = Box<dyn std::any::Any + Send>;

/// Runs a handler; a panic in it is an error here. What it shares with others keeps its own locks, which poison.
async fn unwinding<T>(handler: impl Future<Output = T>) -> Result<T, Panic> {
    let mut handler = pin!(handler);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn panicked(panic: &Panic) -> Problem {
    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    error!(message, "http handler panicked");
    counter!(HTTP_PANICS).increment(1);
    Problem::new(Code::Internal, "the server made a mistake; its log says which")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_no_end() {
        let answered = unwinding(async {
            if true {
                panic!("broken {}", 1)
            }
        })
        .await;
        let problem = panicked(&answered.unwrap_err());
        assert_eq!(problem.code(), Code::Internal);
        assert_eq!(unwinding(async { 7 }).await.unwrap(), 7);
    }

    #[test]
    fn a_head_over_its_limits_is_told_by_how_much() {
        let uri: Uri = "/v1/topics/default/events?a=b".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", "1".parse().unwrap());
        assert!(check_head(&headers, &uri, 100).is_ok());
        let problem = check_head(&headers, &uri, 30).unwrap_err();
        assert_eq!(problem.code(), Code::HeadersTooLarge);
        assert!(problem.detail().contains("38 is more than the limit of 30"), "{}", problem.detail());
        for index in 0..limits::HEADERS_MAX {
            headers.insert(http::HeaderName::try_from(format!("x-{index}")).unwrap(), "1".parse().unwrap());
        }
        let problem = check_head(&headers, &uri, 1 << 20).unwrap_err();
        assert!(problem.detail().contains("129 is more than the limit of 128"), "{}", problem.detail());
    }
}
