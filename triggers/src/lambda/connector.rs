//! Our HTTP client as the AWS SDK's: the credential chain calls out with it (STS, the metadata services of containers and
//! instances), so that the binary holds one HTTP client and one TLS provider.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use crate::http::{AttemptError, Caller, Egress, HttpTargetError, Outgoing};

/// How long a call may take that has no limit of its own.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer: credentials are some kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Why a call of the credential chain had no answer.
#[derive(Debug, thiserror::Error)]
enum ConnectorFault {
    #[error("the request cannot be sent")]
    Request(#[from] http::Error),
    #[error("the request's body is no text in memory")]
    Body,
    #[error(transparent)]
    Url(#[from] HttpTargetError),
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes, or its head is damaged")]
    Answer,
}

/// Calls with a connection of its own each: that is once in some minutes.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    egress: Egress,
    connect_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
}

impl Connector {
    pub(super) const fn new(egress: Egress) -> Self {
        Self { egress, connect_timeout: None, read_timeout: None }
    }

    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorFault> {
        // The SDK's limits are meant for the parts of a call; together they bound the whole.
        let begun = Instant::now();
        let parts = self.connect_timeout.zip(self.read_timeout);
        let deadline = begun + parts.map_or(CALL_TIMEOUT, |(connect, read)| connect + read);
        let (url, request) = outgoing(&request)?;
        let caller = Caller::new(&url, self.egress, 0)?;
        let exchange = Box::pin(caller.exchange(request, deadline, |_| (ANSWER_BYTES_MAX, ())));
        let answered = timeout_at(deadline, exchange).await;
        let after_ms = (deadline - begun).as_millis();
        let (head, body, ()) = answered.map_err(|_| AttemptError::Timeout { after_ms })??;
        let status = StatusCode::try_from(head.status.as_u16()).map_err(|_| ConnectorFault::Answer)?;
        if !body.is_whole {
            return Err(ConnectorFault::Answer);
        }
        let mut answer = HttpResponse::new(status, body.kept.into());
        for (name, value) in &head.headers {
            let value = value.to_str().map_err(|_| ConnectorFault::Answer)?.to_owned();
            answer
                .headers_mut()
                .try_append(name.as_str().to_owned(), value)
                .map_err(|_| ConnectorFault::Answer)?;
        }
        Ok(answer)
    }
}

fn outgoing(request: &HttpRequest) -> Result<(http::Uri, Outgoing), ConnectorFault> {
    let url: http::Uri = request.uri().parse().map_err(http::Error::from)?;
    let body = Bytes::copy_from_slice(request.body().bytes().ok_or(ConnectorFault::Body)?);
    let mut outgoing = Request::builder().method(request.method());
    for (name, value) in request.headers() {
        outgoing = outgoing.header(name, value);
    }
    Ok((url, outgoing.body(Full::new(body))?))
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            connector.answer(request).await.map_err(|fault| match fault {
                ConnectorFault::Attempt(AttemptError::Timeout { .. }) => {
                    ConnectorError::timeout(fault.into())
                }
                ConnectorFault::Attempt(_) => ConnectorError::io(fault.into()),
                _ => ConnectorError::user(fault.into()),
            })
        })
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Self {
            egress: self.egress.clone(),
            connect_timeout: settings.connect_timeout(),
            read_timeout: settings.read_timeout(),
        })
    }
}
