//! The HTTP target of the benches: one thread, hyper, 204. It compares every body with what was published and counts; it
//! answers `/report` and `/arrivals` about what it saw, and `/reset` forgets it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Write as _;
use std::rc::Rc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::clock::monotonic_ns;
use crate::payload::{Payloads, Tally};

/// What the target tells about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Events that arrived at least once.
    pub distinct: u64,
    /// Arrivals beyond the first of an event.
    pub repeated: u64,
    /// Arrivals with a wrong byte.
    pub wrong: u64,
    /// The first arrival.
    pub first_ns: u64,
    /// The last first-time arrival.
    pub last_ns: u64,
}

struct State {
    payloads: Payloads,
    tally: Tally,
    arrivals: Vec<u64>,
    first_ns: u64,
    last_ns: u64,
}

/// What the target must know before it can check anything.
#[derive(Clone, Copy, Debug)]
pub struct TargetOptions {
    /// The run whose payloads come.
    pub run: u64,
    /// The size of their data.
    pub data_bytes: usize,
    /// Whether the time of each arrival is kept.
    pub keep_arrivals: bool,
}

/// Serves on a free loopback port, whose address is the first line of the output, until the input ends: the target must
/// not outlive whoever started it.
///
/// # Errors
/// Where no port can be had.
pub async fn serve(options: TargetOptions) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("a loopback port")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let state = State {
        payloads: Payloads::new(options.run, options.data_bytes)?,
        tally: Tally::default(),
        arrivals: Vec::new(),
        first_ns: 0,
        last_ns: 0,
    };
    let state = Rc::new(RefCell::new(state));
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Without this every second request of a connection could wait for a delayed acknowledgement.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let state = Rc::clone(&state);
            let service =
                service_fn(move |request| answer(request, Rc::clone(&state), options.keep_arrivals));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client may leave whenever it likes.
            tokio::task::spawn_local(async move { drop(connection.await) });
        }
    });
    local.run_until(input_ends()).await;
    Ok(())
}

/// Ends with standard input, on a thread of its own: the parent holds the other end.
pub(crate) async fn input_ends() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(sender);
    });
    let _closed = receiver.await;
}

async fn answer(
    request: Request<Incoming>,
    state: Rc<RefCell<State>>,
    keep_arrivals: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    if parts.method == http::Method::GET {
        return Ok(Response::new(Full::from(control(parts.uri.path(), &mut state.borrow_mut()))));
    }
    let answer = |status: StatusCode| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    };
    let Ok(body) = body.collect().await else { return answer(StatusCode::BAD_REQUEST) };
    let now = monotonic_ns();
    let mut state = state.borrow_mut();
    let n = state.payloads.check(&body.to_bytes());
    if state.tally.count(n) {
        if state.first_ns == 0 {
            state.first_ns = now;
        }
        state.last_ns = now;
        if let (true, Some(at)) = (keep_arrivals, n.and_then(|n| usize::try_from(n).ok())) {
            if state.arrivals.len() <= at {
                state.arrivals.resize(at + 1, 0);
            }
            state.arrivals[at] = now;
        }
    }
    answer(StatusCode::NO_CONTENT)
}

fn control(path: &str, state: &mut State) -> Vec<u8> {
    match path {
        "/arrivals" => state.arrivals.iter().flat_map(|at| at.to_le_bytes()).collect(),
        "/reset" => {
            state.tally = Tally::default();
            state.arrivals.clear();
            (state.first_ns, state.last_ns) = (0, 0);
            Vec::new()
        }
        _ => {
            let report = TargetReport {
                distinct: state.tally.distinct,
                repeated: state.tally.repeated,
                wrong: state.tally.wrong,
                first_ns: state.first_ns,
                last_ns: state.last_ns,
            };
            serde_json::to_vec(&report).unwrap_or_default()
        }
    }
}
