//! One request and its answer over a target's connections: what every target that speaks HTTP shares.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use http::response::Parts;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::body::{self, Body};
use super::connect;
use super::egress::Egress;
use super::endpoint::Endpoint;
use super::error::{AttemptError, ConnectError, HttpTargetError};
use super::link::Outgoing;
use super::pool::{Pool, Taken};

/// Calls one URL.
pub(crate) struct Caller {
    endpoint: Endpoint,
    egress: Egress,
    pool: Arc<Pool>,
}

impl Caller {
    /// Connects nowhere yet. `idle_connections` are kept open.
    ///
    /// # Errors
    /// Where the URL cannot be called.
    pub(crate) fn new(url: &Uri, egress: Egress, idle_connections: usize) -> Result<Self, HttpTargetError> {
        let endpoint = Endpoint::new(url)?;
        let pool = Pool::new(idle_connections, endpoint.server_name.is_some());
        Ok(Self { endpoint, egress, pool })
    }

    /// Connects by `deadline` and leaves again.
    pub(crate) async fn reach(&self, deadline: Instant) -> Result<SocketAddr, ConnectError> {
        connect::reach(&self.endpoint, &self.egress, deadline).await
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, without URI and Host, and reads its answer. `judge` looks at the answer's head and says how many
    /// bytes of its body are wanted. The request is sent a second time only where the first connection took no byte of it.
    pub(crate) async fn exchange<V>(
        &self,
        request: Outgoing,
        deadline: Instant,
        judge: impl FnOnce(&Parts) -> (usize, V),
    ) -> Result<(Parts, Body, V), AttemptError> {
        let Taken { mut link, is_reused } = self.pool.take(&self.endpoint, &self.egress, deadline).await?;
        let answer = match link.exchange(request, &self.endpoint).await {
            Ok(answer) => answer,
            Err(mut error) if is_reused && error.message().is_some() => {
                // It was closed while it lay idle, and the target saw nothing of the request.
                let request = error.take_message().ok_or_else(|| broken(error))?;
                link = self.pool.fresh(&self.endpoint, &self.egress, deadline).await?.link;
                link.exchange(request, &self.endpoint).await.map_err(broken)?
            }
            Err(error) => return Err(broken(error)),
        };
        let (head, incoming) = answer.into_parts();
        let (body_bytes_wanted, verdict) = judge(&head);
        let body = body::read(&mut link, incoming, body_bytes_wanted).await;
        let status = Some(head.status.as_u16());
        let body = body.map_err(|source| AttemptError::Broken { status, source })?;
        if body.is_read {
            self.pool.put(link).await;
        }
        Ok((head, body, verdict))
    }
}

fn broken<T>(error: TrySendError<T>) -> AttemptError {
    let is_unsent = error.message().is_some();
    let source = error.into_error();
    if is_unsent { AttemptError::Unsent { source } } else { AttemptError::Broken { status: None, source } }
}
