//! The endpoints that the quickstart's triggers call: a small HTTP server in the same process, with a fault for each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How often an event fails before the second endpoint accepts it.
const FAILURES: u32 = 2;

/// The server. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Target {
    address: SocketAddr,
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

/// What the endpoints remember.
#[derive(Debug, Default)]
struct Faults {
    failures: Mutex<HashMap<String, u32>>,
    fixed: AtomicBool,
}

impl Target {
    /// Listens on a free port of the loopback interface.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults::default());
        let accepting = tokio::spawn(accept(listener, faults.clone()));
        Ok(Self { address, faults, accepting })
    }

    /// Its address as a URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the third endpoint accepts.
    pub(super) fn fix(&self) {
        self.faults.fixed.store(true, Ordering::Release);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, faults: Arc<Faults>) {
    // A listener on loopback that fails once is of no more use; the deliveries that fail then are seen in the account.
    while let Ok((stream, _)) = listener.accept().await {
        let faults = faults.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &faults));
            // A connection that breaks is seen by the broker, which is the one to tell of it.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
        });
    }
}

async fn answer(request: Request<Incoming>, faults: &Faults) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let id = request.headers().get("ce-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    // The body is read, so that the connection can be used again; one that breaks makes no difference here.
    let _bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, body) = faults.judge(&path, &id);
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

impl Faults {
    fn judge(&self, path: &str, id: &str) -> (StatusCode, &'static str) {
        match path {
            "/payments" => {
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                let failed = failures.entry(id.to_owned()).or_default();
                if *failed < FAILURES {
                    *failed += 1;
                    return (StatusCode::INTERNAL_SERVER_ERROR, "the ledger is locked");
                }
                (StatusCode::OK, "")
            }
            "/crm" if !self.fixed.load(Ordering::Acquire) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown field: plan")
            }
            _ => (StatusCode::OK, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_its_fault() {
        let faults = Faults::default();
        let status = |path| faults.judge(path, "1").0.as_u16();
        assert_eq!([status("/ship"), status("/ship")], [200, 200]);
        assert_eq!([status("/payments"), status("/payments"), status("/payments")], [500, 500, 200]);
        assert_eq!(status("/crm"), 422);
        faults.fixed.store(true, Ordering::Release);
        assert_eq!(status("/crm"), 200);
    }
}
