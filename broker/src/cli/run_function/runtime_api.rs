//! A client of AWS Lambda's Runtime API (version 2018-06-01): the next call, its answer or its error.
//!
//! One kept connection. Waiting for the next call has no time limit, since an idle function waits as long as its broker
//! lets it.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

/// The variable that tells where the API is, as `address:port`.
pub(super) const ADDRESS: &str = "AWS_LAMBDA_RUNTIME_API";

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const INVOCATION: &str = "/2018-06-01/runtime/invocation";

/// Why calls cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeApiError {
    /// Nobody told where calls come from.
    #[error("{ADDRESS} is not set: this is the process of a function, which a broker starts")]
    NoAddress,
    /// The address makes no request.
    #[error("{ADDRESS} is no address: {0}")]
    Address(#[source] http::Error),
    /// No connection.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The connection ended, most likely with the broker.
    #[error("the connection ended: {0}")]
    Broken(#[from] hyper::Error),
    /// A call without the id that its answer needs.
    #[error("a call came without {REQUEST_ID}")]
    NoRequestId,
    /// The API said no.
    #[error("the Runtime API said {0}")]
    Status(StatusCode),
}

impl RuntimeApiError {
    /// Whether the same may go well later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken(_))
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    /// What its answer is sent under.
    request_id: String,
    /// What the function is given.
    pub(super) payload: Bytes,
}

/// The API.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl RuntimeApi {
    /// Connects to nothing yet.
    pub(super) fn at(address: Option<&str>) -> Result<Self, RuntimeApiError> {
        let address = address.ok_or(RuntimeApiError::NoAddress)?;
        Ok(Self { address: address.to_owned(), sender: None })
    }

    /// Waits for a call.
    pub(super) async fn next(&mut self) -> Result<Call, RuntimeApiError> {
        let request = self.request(Method::GET, &format!("{INVOCATION}/next"), Bytes::new())?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(RuntimeApiError::Status(response.status()));
        }
        let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let request_id = request_id.ok_or(RuntimeApiError::NoRequestId)?.to_owned();
        Ok(Call { request_id, payload: response.into_body().collect().await?.to_bytes() })
    }

    /// Ends a call with its answer.
    pub(super) async fn respond(&mut self, call: &Call, answer: Bytes) -> Result<(), RuntimeApiError> {
        let path = format!("{INVOCATION}/{}/response", call.request_id);
        let request = self.request(Method::POST, &path, answer)?;
        self.post(request).await
    }

    /// Ends a call with an error of the function.
    pub(super) async fn fail(
        &mut self,
        call: &Call,
        error_type: &'static str,
        message: &str,
    ) -> Result<(), RuntimeApiError> {
        let path = format!("{INVOCATION}/{}/error", call.request_id);
        let body = json!({ "errorType": error_type, "errorMessage": message, "stackTrace": [] });
        let mut request = self.request(Method::POST, &path, body.to_string().into())?;
        request.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error_type));
        self.post(request).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, RuntimeApiError> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, &self.address);
        request.body(Full::new(body)).map_err(RuntimeApiError::Address)
    }

    async fn post(&mut self, request: Request<Full<Bytes>>) -> Result<(), RuntimeApiError> {
        let response = self.send(request).await?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        response.into_body().collect().await?;
        if status == StatusCode::ACCEPTED { Ok(()) } else { Err(RuntimeApiError::Status(status)) }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, RuntimeApiError> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        self.sender = Some(sender);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, RuntimeApiError> {
        let unreachable = |source| RuntimeApiError::Unreachable { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its error, if any, is also that of the request under way.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(sender)
    }
}
