//! One connection to a target, and moving it forward.
//!
//! An HTTP/1.1 connection is driven by the very task that waits for its answer: no task of its own, so that a delivery
//! costs no hand-over between threads. In return nobody watches it while it is idle; the pool looks at it before it is
//! used again. An HTTP/2 connection carries many requests and has a task of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};

use super::dynamic::OwnPath;
use super::endpoint::Endpoint;

pub(crate) type Outgoing = Request<Full<Bytes>>;
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An HTTP/1.1 connection that carries one request at a time.
pub(super) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
}

impl Http1 {
    pub(super) fn new(sender: http1::SendRequest<Full<Bytes>>, driver: Driver) -> Self {
        Self { sender, driver: Some(driver) }
    }

    /// Whether it can take a request, as far as can be known without waiting.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            drive_once(&mut self.driver, context);
            Poll::Ready(self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }
}

/// A connection in use.
pub(super) enum Link {
    Http1(Http1),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Link {
    /// Sends a request and waits for the head of its answer. An error holds the request again where no byte of it was sent.
    pub(super) async fn exchange(
        &mut self,
        mut request: Outgoing,
        endpoint: &Endpoint,
    ) -> Result<Response<Incoming>, TrySendError<Outgoing>> {
        let own_path = request.extensions().get::<OwnPath>().map(|OwnPath(path)| path.clone());
        match self {
            Self::Http1(http1) => {
                *request.uri_mut() = own_path.map_or_else(|| endpoint.origin_form.clone(), Uri::from);
                request.headers_mut().insert(HOST, endpoint.authority.clone());
                let answer = http1.sender.try_send_request(request);
                drive(&mut http1.driver, answer).await
            }
            Self::Http2(sender) => {
                // The host is a pseudo-header there, taken from the URI.
                *request.uri_mut() =
                    own_path.map_or_else(|| endpoint.absolute_form.clone(), |path| endpoint.with_path(path));
                request.headers_mut().remove(HOST);
                sender.try_send_request(request).await
            }
        }
    }

    /// Waits for something that comes through this connection, such as the body of an answer.
    pub(super) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            Self::Http1(http1) => drive(&mut http1.driver, future).await,
            Self::Http2(_) => future.await,
        }
    }
}

async fn drive<F: Future>(driver: &mut Option<Driver>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        // The future puts its request into the connection, the connection gets the answer, the future takes it.
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        drive_once(driver, context);
        future.as_mut().poll(context)
    })
    .await
}

fn drive_once(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(connection) = driver
        && connection.as_mut().poll(context).is_ready()
    {
        // Dropping it answers whoever still waits for it; why it ended is told there.
        *driver = None;
    }
}
