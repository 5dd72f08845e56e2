//! The AWS Lambda Runtime API, version 2018-06-01, as one instance sees it.
//!
//! Paths, headers, statuses and error types are those of AWS's own runtime interface emulator
//! (aws/aws-lambda-runtime-interface-emulator, `internal/lambda/rapi`), which is what runtimes are tested against. A
//! payload is handed on as it came, without a copy, unless it comes in several pieces.
//!
//! Who connects is checked once (`peer`), before the first byte is read: nobody but the instance itself is heard.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eventail_wire::limits;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::error::{RunError, reported};
use super::host::Host;
use super::instance::Running;
use super::peer::Refused;
use super::pool::Next;
use super::{Work, memory, peer, trace};

const PREFIX: &str = "/2018-06-01/runtime/";
/// Connections of one instance at once: a runtime has one or two.
const CONNECTIONS_MAX: usize = 16;
/// How long accepting pauses after it failed: a process without a file descriptor left has none a moment later either.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Python's client puts a description of the error, up to 1 MiB of it, into a header.
const HEAD_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// What is read and thrown away of an answer that is too large, so that the client comes to read the refusal.
const DISCARDED_BYTES_MAX: usize = 256 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const FUNCTION_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const COGNITO_IDENTITY: HeaderName = HeaderName::from_static("lambda-runtime-cognito-identity");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");

type Reply = Response<Full<Bytes>>;

/// Serves one instance until its process is over and its connections are read to their end. What is not accepted by then is
/// nobody's any more.
pub(super) async fn serve(listener: TcpListener, host: Arc<Host>, running: Arc<Running>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(function = %host.options.name, %error, "a connection of a function was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            () = running.over.notified() => break,
        };
        connections.spawn(connection(stream, Arc::clone(&host), Arc::clone(&running)));
    }
    while connections.join_next().await.is_some() {}
}

/// Whether the other end is the instance. Told as a warning once for each instance: whoever tries may try often.
async fn is_its_own(stream: &TcpStream, host: &Host, running: &Running) -> bool {
    let Some(owner) = running.owner() else { return false };
    let checked = match peer::ends(stream) {
        Ok((theirs, ours)) => tokio::task::spawn_blocking(move || peer::check(owner, theirs, ours)).await,
        Err(error) => Ok(Err(Refused::Unknown(error))),
    };
    let refused = match checked {
        // Looked at again: the process may have ended meanwhile, and its number be another's.
        Ok(Ok(())) => return running.owner().is_some(),
        Ok(Err(refused)) => refused,
        // The broker is ending.
        Err(_) => return false,
    };
    let (function, instance) = (&host.options.name, running.id);
    let source = std::error::Error::source(&refused).map(tracing::field::display);
    if running.is_first_stranger() {
        warn!(%function, instance, error = %refused, source, "somebody else connected to a function's Runtime API: not served");
    } else {
        debug!(%function, instance, error = %refused, source, "somebody else connected to a function's Runtime API: not served");
    }
    false
}

async fn connection(stream: TcpStream, host: Arc<Host>, running: Arc<Running>) {
    if !is_its_own(&stream, &host, &running).await {
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        debug!(function = %host.options.name, %error, "a connection of a function cannot be set to send at once");
    }
    talk(stream, host, running).await;
}

/// Answers what comes on a connection of the instance, until it ends.
pub(super) async fn talk<S>(stream: S, host: Arc<Host>, running: Arc<Running>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let brings_something = request.method() == Method::POST;
        let future = Box::pin(answer(Arc::clone(&host), Arc::clone(&running), request));
        Answering { future, is_to_finish: brings_something }
    });
    let served = http1::Builder::new()
        .title_case_headers(true)
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(function = %host.options.name, instance = running.id, %error, "a connection of a function broke");
    }
}

/// The answer to a request, in the making. When the connection ends it is dropped, and a runtime may well end right after it
/// sent its last answer: what has come whole is taken in all the same.
struct Answering<F: Future<Output = Reply>> {
    future: Pin<Box<F>>,
    is_to_finish: bool,
}

impl<F: Future<Output = Reply>> Future for Answering<F> {
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(self.future.as_mut().poll(context));
        self.is_to_finish = false;
        Poll::Ready(Ok(reply))
    }
}

impl<F: Future<Output = Reply>> Drop for Answering<F> {
    fn drop(&mut self) {
        if self.is_to_finish {
            // Nothing but the rest of the body is waited for, and no more of it will come.
            drop(self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        }
    }
}

async fn answer(host: Arc<Host>, running: Arc<Running>, request: Request<Incoming>) -> Reply {
    let (host, running) = (&host, &*running);
    let (head, body) = request.into_parts();
    let (wanted, action) = match head.uri.path().strip_prefix(PREFIX).and_then(action) {
        Some(known) => known,
        None => return refuse_all(&NOT_FOUND, body).await,
    };
    if head.method != wanted {
        return refuse_all(&METHOD_NOT_ALLOWED, body).await;
    }
    match action {
        Action::Next => next(host, running).await,
        Action::InitError => init_error(host, running, &head.headers, body).await,
        Action::Response(id) => response(host, running, id, &head.headers, body).await,
        Action::Error(id) => error(host, running, id, &head.headers, body).await,
    }
}

fn action(path: &str) -> Option<(Method, Action<'_>)> {
    match path {
        "invocation/next" => return Some((Method::GET, Action::Next)),
        "init/error" => return Some((Method::POST, Action::InitError)),
        _ => {}
    }
    match path.strip_prefix("invocation/")?.split_once('/')? {
        (id, "response") => Some((Method::POST, Action::Response(id))),
        (id, "error") => Some((Method::POST, Action::Error(id))),
        _ => None,
    }
}

/// Refuses after the whole request was read: else the connection could not be kept, and the client might not come to see why.
async fn refuse_all(refusal: &Refusal, body: Incoming) -> Reply {
    read(body).await;
    refuse(refusal)
}

enum Action<'a> {
    Next,
    InitError,
    Response(&'a str),
    Error(&'a str),
}

async fn next(host: &Arc<Host>, running: &Running) -> Reply {
    running.logs.drain();
    let work = match host.with(|pool, now| pool.next(running.id, now)) {
        Next::Work(work) => work,
        Next::Wait(work) => match work.await {
            Ok(work) => work,
            Err(_) => return refuse(&INVALID_STATE),
        },
        Next::Broken(current) => {
            let rule = "it asked for an invocation while it had one, or was waiting for one";
            host.broke(running, current, rule);
            return refuse(&INVALID_STATE);
        }
        Next::Over => return refuse(&INVALID_STATE),
    };
    running.logs.begin(Arc::clone(&work.names));
    invocation(host, work)
}

/// The invocation as the runtime gets it. Its body is the payload itself.
fn invocation(host: &Host, work: Work) -> Reply {
    let now = host.clock.now();
    let left = work.deadline.saturating_duration_since(Instant::now());
    let deadline_ms = now.plus_ms(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)).0;
    let trace = match &work.trace {
        Some(trace) => trace::header(trace),
        None => trace::fresh(&work.names.request_id, now),
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(DEADLINE, HeaderValue::from(deadline_ms));
    headers.insert(FUNCTION_ARN, host.arn.clone());
    let texts = [
        (REQUEST_ID, Some(work.names.request_id.clone())),
        (TRACE_ID, Some(trace)),
        (CLIENT_CONTEXT, work.client_context),
        (COGNITO_IDENTITY, work.cognito_identity),
    ];
    for (name, text) in texts {
        // What cannot stand in a header came from a caller who sent it in one that was decoded since.
        if let Some(value) = text.and_then(|text| HeaderValue::from_maybe_shared(Bytes::from(text)).ok()) {
            headers.insert(name, value);
        }
    }
    let mut reply = Response::new(Full::new(work.payload));
    *reply.headers_mut() = headers;
    reply
}

async fn response(
    host: &Arc<Host>,
    running: &Running,
    id: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Reply {
    if let Some(refusal) = check(host, running, id) {
        return refuse_all(refusal, body).await;
    }
    let is_known_mode = headers.get(RESPONSE_MODE).is_none_or(|mode| mode == "streaming");
    if !is_known_mode {
        host.settle(
            running,
            id,
            Err(function_error("Runtime.InvalidResponseModeHeader", "Invalid function response mode")),
        );
        return refuse_all(&INVALID_MODE, body).await;
    }
    let (result, reply) = match read_of(host, running, id, body).await {
        Read::Whole(answer, trailers) => match trailers.as_ref().and_then(late_error) {
            None => (Ok(answer), accepted()),
            Some(late) => (Err(late), accepted()),
        },
        Read::TooLarge => {
            let message = format!(
                "Response payload size exceeded maximum allowed payload size ({} bytes).",
                limits::FUNCTION_PAYLOAD_BYTES_MAX
            );
            (Err(function_error("Function.ResponseSizeTooLarge", &message)), refuse(&TOO_LARGE))
        }
        Read::Broken => return refuse(&TRUNCATED),
    };
    if !host.settle(running, id, result) {
        return refuse(&INVALID_REQUEST_ID);
    }
    // Whoever waits for the answer gets it first: the instance has nothing to do with this reply but to ask for more.
    tokio::task::yield_now().await;
    reply
}

async fn error(host: &Arc<Host>, running: &Running, id: &str, headers: &HeaderMap, body: Incoming) -> Reply {
    if let Some(refusal) = check(host, running, id) {
        return refuse_all(refusal, body).await;
    }
    let (document, reply) = match read_of(host, running, id, body).await {
        Read::Whole(document, _) => (document, accepted()),
        Read::TooLarge => (Bytes::new(), refuse(&TOO_LARGE)),
        Read::Broken => return refuse(&TRUNCATED),
    };
    let error = reported_error(document, header(headers, &ERROR_TYPE), host.options.memory_mb);
    if host.settle(running, id, Err(error)) { reply } else { refuse(&INVALID_REQUEST_ID) }
}

async fn init_error(host: &Arc<Host>, running: &Running, headers: &HeaderMap, body: Incoming) -> Reply {
    let document = match read(body).await {
        Read::Whole(document, _) => document,
        Read::TooLarge | Read::Broken => Bytes::new(),
    };
    let (kind, message) = reported(&document, header(headers, &ERROR_TYPE));
    if host.init_failed(running, kind, message) { accepted() } else { refuse(&INVALID_STATE) }
}

/// Why this instance may not answer this invocation, if it may not. One that answers out of the blue has to end.
fn check(host: &Arc<Host>, running: &Running, id: &str) -> Option<&'static Refusal> {
    let (is_running, may_answer) =
        host.with(|pool, _| (pool.is_running(running.id, id), pool.may_answer(running.id)));
    if is_running {
        return None;
    }
    if may_answer {
        return Some(&INVALID_REQUEST_ID);
    }
    let current = host.with(|pool, _| pool.expel(running.id));
    host.broke(running, current, "it answered an invocation that it did not have");
    Some(&INVALID_STATE)
}

fn function_error(kind: &str, message: &str) -> RunError {
    let document = serde_json::json!({ "errorType": kind, "errorMessage": message }).to_string();
    RunError::Function { kind: kind.to_owned(), message: message.to_owned(), document: document.into() }
}

fn reported_error(document: Bytes, kind: Option<&str>, memory_mb: Option<u32>) -> RunError {
    let (kind, message) = reported(&document, kind);
    if memory::is_reported(&kind, &message) {
        let cause = if message.is_empty() { kind } else { format!("{kind}: {message}") };
        return RunError::OutOfMemory { memory_mb, cause };
    }
    let document = if document.is_empty() {
        serde_json::json!({ "errorType": kind, "errorMessage": message }).to_string().into()
    } else {
        document
    };
    RunError::Function { kind, message, document }
}

/// An error that came up while the answer was streamed: it stands in the trailers, its body in base64.
fn late_error(trailers: &HeaderMap) -> Option<RunError> {
    use base64::Engine as _;
    let kind = header(trailers, &ERROR_TYPE)?;
    let body = header(trailers, &ERROR_BODY).unwrap_or_default();
    let document = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_else(|_| body.into());
    Some(reported_error(document.into(), Some(kind), None))
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

enum Read {
    Whole(Bytes, Option<HeaderMap>),
    TooLarge,
    Broken,
}

/// Reads what an instance says of its invocation. Where that breaks off, the host is told, also when this is dropped.
async fn read_of(host: &Arc<Host>, running: &Running, id: &str, body: Incoming) -> Read {
    struct Telling<'a>(Option<(&'a Arc<Host>, &'a Running, &'a str)>);
    impl Drop for Telling<'_> {
        fn drop(&mut self) {
            if let Some((host, running, id)) = self.0 {
                host.truncated(running, id);
            }
        }
    }
    let mut telling = Telling(Some((host, running, id)));
    let read = read(body).await;
    if !matches!(read, Read::Broken) {
        telling.0 = None;
    }
    read
}

/// Reads a body, up to what a function may answer.
async fn read(mut body: Incoming) -> Read {
    let announced = body.size_hint().exact().unwrap_or_default();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut trailers = None;
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Broken };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        seen = seen.saturating_add(data.len());
        if seen > DISCARDED_BYTES_MAX {
            return Read::TooLarge;
        }
        if seen > limits::FUNCTION_PAYLOAD_BYTES_MAX {
            (first, rest) = (Bytes::new(), BytesMut::new());
        } else if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                let whole = usize::try_from(announced).unwrap_or_default();
                rest.reserve(whole.clamp(first.len() + data.len(), limits::FUNCTION_PAYLOAD_BYTES_MAX));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    if seen > limits::FUNCTION_PAYLOAD_BYTES_MAX {
        return Read::TooLarge;
    }
    Read::Whole(if rest.is_empty() { first } else { rest.freeze() }, trailers)
}

struct Refusal {
    status: StatusCode,
    body: &'static str,
}

const NOT_FOUND: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    body: r#"{"errorMessage":"No such resource in the Runtime API","errorType":"NotFound"}"#,
};
const METHOD_NOT_ALLOWED: Refusal = Refusal {
    status: StatusCode::METHOD_NOT_ALLOWED,
    body: r#"{"errorMessage":"Method not allowed","errorType":"MethodNotAllowed"}"#,
};
const INVALID_STATE: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    body: r#"{"errorMessage":"State transition failed for runtime","errorType":"InvalidStateTransition"}"#,
};
const INVALID_REQUEST_ID: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    body: r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#,
};
const INVALID_MODE: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    body: r#"{"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}"#,
};
const TRUNCATED: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    body: r#"{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}"#,
};
const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    body: r#"{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}"#,
};

fn refuse(refusal: &Refusal) -> Reply {
    reply(refusal.status, refusal.body)
}

fn accepted() -> Reply {
    reply(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n")
}

fn reply(status: StatusCode, body: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}
