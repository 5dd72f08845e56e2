//! The function's own loop: the same process on a Runtime API that does nothing but hand out the next event. What the host of
//! local functions adds is measured against this.

use std::cell::RefCell;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::clock::monotonic_ns;
use crate::function::{FunctionRun, NAME};
use crate::latencies::Latencies;
use crate::payload::Payloads;

struct State {
    payloads: Payloads,
    next: u64,
    handed_ns: u64,
    answered: u64,
    wrong: u64,
    latencies: Latencies,
    ends_at: Instant,
}

/// What the loop reached.
#[derive(Debug)]
pub struct BareFunction {
    /// Calls per second.
    pub per_second: f64,
    /// From the moment an event is handed out to its answer.
    pub latencies: Latencies,
}

/// Runs the function alone for `duration`.
///
/// # Errors
/// Where the process does not run, or an answer is wrong.
pub async fn bare_function(
    function: &FunctionRun,
    payloads: &Payloads,
    duration: Duration,
) -> anyhow::Result<BareFunction> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut command = Command::new(function.binary());
    for (name, value) in [
        ("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", NAME.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", NAME.to_owned()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", NAME.to_owned()),
    ] {
        command.env(name, value);
    }
    let _child = command
        .envs(function.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("the function starts")?;
    let begun = Instant::now();
    let state = Rc::new(RefCell::new(State {
        payloads: payloads.clone(),
        next: 0,
        handed_ns: 0,
        answered: 0,
        wrong: 0,
        latencies: Latencies::default(),
        ends_at: begun + duration,
    }));
    let local = tokio::task::LocalSet::new();
    let serving = serve(listener, Rc::clone(&state));
    local.run_until(async move { tokio::time::timeout(duration, serving).await }).await.unwrap_or(Ok(()))?;
    let state = state.borrow();
    ensure!(state.wrong == 0 && state.answered > 0, "{} answers, {} wrong", state.answered, state.wrong);
    Ok(BareFunction {
        per_second: super::scenario::float(state.answered) / begun.elapsed().as_secs_f64(),
        latencies: state.latencies.clone(),
    })
}

async fn serve(listener: TcpListener, state: Rc<RefCell<State>>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Rc::clone(&state);
        let service = service_fn(move |request| answer(request, Rc::clone(&state)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // The process may keep several connections, and leaves them all at the end.
        tokio::task::spawn_local(async move { drop(connection.await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Rc<RefCell<State>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() == Method::GET {
        return Ok(next(&state).await);
    }
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let now = monotonic_ns();
    let mut state = state.borrow_mut();
    let took = now - state.handed_ns;
    state.latencies.record_ns(took);
    state.answered += 1;
    let right = path.ends_with("/response") && body[..] == *b"1";
    state.wrong += u64::from(!right);
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// The next event at once; after the end, never.
async fn next(state: &RefCell<State>) -> Response<Full<Bytes>> {
    let over = Instant::now() >= state.borrow().ends_at;
    if over {
        std::future::pending::<()>().await;
    }
    let mut state = state.borrow_mut();
    let n = state.next;
    state.next += 1;
    let mut response = Response::new(Full::new(state.payloads.data(n)));
    let headers = response.headers_mut();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", n.to_string()),
        ("lambda-runtime-deadline-ms", "4102444800000".to_owned()),
        ("lambda-runtime-invoked-function-arn", format!("arn:aws:lambda:local:0:function:{NAME}")),
        ("lambda-runtime-trace-id", format!("Root=1-00000000-{n:024x};Sampled=0")),
    ] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    state.handed_ns = monotonic_ns();
    response
}
