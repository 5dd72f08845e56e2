//! The broker's HTTP API as a client of it: one kept connection, JSON in and out, problems as [`CliError`].

use std::io;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use eventail_triggers::http::Secret;
use eventail_wire::Code;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::CliError;
use super::tls::{Stream, TlsArguments};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take; longer than the longest poll.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// An answer that is larger is none of a broker's.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What is asked for at once of a listing.
const PAGE: usize = eventail_wire::limits::PAGE_EVENTS_MAX;
/// The content type of JSON.
pub(super) const JSON: &str = "application/json";

/// Where a broker's HTTP API is: `http` or `https`, a host, maybe a port and a path before the API's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiUrl {
    is_tls: bool,
    host: String,
    port: u16,
    authority: String,
    prefix: String,
}

/// Why a text is no address of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiUrlError {
    #[error("it is no URL such as http://127.0.0.1:4080")]
    Shape,
    #[error("it must begin with http:// or https://")]
    Scheme,
    #[error("it must have neither user info nor a query")]
    Excess,
}

impl FromStr for ApiUrl {
    type Err = ApiUrlError;

    fn from_str(text: &str) -> Result<Self, ApiUrlError> {
        let uri: Uri = text.parse().map_err(|_| ApiUrlError::Shape)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(ApiUrlError::Scheme),
            None => return Err(ApiUrlError::Shape),
        };
        let authority = uri.authority().ok_or(ApiUrlError::Shape)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(ApiUrlError::Excess);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(ApiUrlError::Shape);
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl std::fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// A connection to a broker's API, made when it is first needed.
#[derive(Debug)]
pub(super) struct Api {
    url: ApiUrl,
    /// The header with the token that says who asks.
    authorization: Option<HeaderValue>,
    tls: TlsArguments,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A refusal of the broker: the part of a problem document that is told.
#[derive(Deserialize)]
struct Problem {
    code: Code,
    detail: String,
}

impl Api {
    /// Connects to nothing yet.
    pub(super) fn new(url: ApiUrl) -> Self {
        Self { url, authorization: None, tls: TlsArguments::default(), sender: None }
    }

    /// The same, asking with a token.
    pub(super) fn with_token(mut self, token: Option<Secret>) -> Result<Self, CliError> {
        if let Some(token) = token {
            let header = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut header = header.map_err(|error| CliError::Request { source: error.into() })?;
            // So that it never prints.
            header.set_sensitive(true);
            self.authorization = Some(header);
        }
        Ok(self)
    }

    /// The same, with what `https` needs.
    pub(super) fn with_tls(mut self, tls: TlsArguments) -> Self {
        self.tls = tls;
        self
    }

    /// Asks.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, CliError> {
        self.send(Method::GET, path, JSON, Bytes::new()).await
    }

    /// All members of a listing, page by page, or so many of them.
    pub(super) async fn pages(
        &mut self,
        path: &str,
        member: &str,
        query: &Query,
        limit: Option<usize>,
    ) -> Result<Vec<Value>, CliError> {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let page_limit = limit.map_or(PAGE, |limit| (limit - items.len()).min(PAGE));
            if page_limit == 0 {
                return Ok(items);
            }
            let query = query.clone().with("limit", Some(page_limit)).with("after", after);
            let mut page: Map<String, Value> = self.get(&format!("{path}{}", query.as_str())).await?;
            items.extend(page.remove(member).and_then(into_array).unwrap_or_default());
            after = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                return Ok(items);
            }
        }
    }

    /// An answer, or a part of one, as what it stands for.
    pub(super) fn understand<T: DeserializeOwned>(&self, value: Value) -> Result<T, CliError> {
        serde_json::from_value(value).map_err(|source| self.misunderstood(source))
    }

    /// Asks for something to be done.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(|source| self.misunderstood(source))?;
        self.send(Method::POST, path, JSON, body.into()).await
    }

    /// Sends a request and reads the answer to it whole.
    pub(super) async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<T, CliError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.prefix))
            .header(header::HOST, &self.url.authority)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::USER_AGENT, concat!("eventail/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|source| CliError::Request { source })?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let answer = timeout(ANSWER_TIME, self.exchange(request)).await;
        let (status, body) = answer.map_err(|_| self.late(ANSWER_TIME))??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|source| self.misunderstood(source));
        }
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(Problem { code, detail }) => CliError::Refused { code, detail },
            Err(_) => CliError::Status { url: self.url.to_string(), status: status.as_u16() },
        })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), CliError> {
        let mut sender = self.sender().await?;
        let answer = sender.send_request(request).await.map_err(|source| self.broken(source))?;
        let answer = self.read(answer).await?;
        self.sender = Some(sender);
        Ok(answer)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<(StatusCode, Bytes), CliError> {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| match source.downcast::<hyper::Error>() {
            Ok(source) => self.broken(*source),
            Err(_) => CliError::Status { url: self.url.to_string(), status: status.as_u16() },
        })?;
        Ok((status, body.to_bytes()))
    }

    /// The kept connection if it is still good, else a new one.
    async fn sender(&mut self) -> Result<SendRequest<Full<Bytes>>, CliError> {
        if let Some(mut kept) = self.sender.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let unreachable = |source: io::Error| CliError::Unreachable { url: self.url.to_string(), source };
        let connecting = TcpStream::connect((self.url.host.as_str(), self.url.port));
        let stream = timeout(CONNECT_TIME, connecting).await.map_err(|_| self.late(CONNECT_TIME))?;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream: Box<dyn Stream> = if self.url.is_tls {
            let url = self.url.to_string();
            let connecting = self.tls.connect(stream, &self.url.host, &url);
            timeout(CONNECT_TIME, connecting).await.map_err(|_| self.late(CONNECT_TIME))??
        } else {
            Box::new(stream)
        };
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|source| self.broken(source))?;
        // How the connection ended is told to whoever waits for an answer on it.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(sender)
    }

    fn broken(&self, source: hyper::Error) -> CliError {
        CliError::Broken { url: self.url.to_string(), source }
    }

    fn late(&self, waited: Duration) -> CliError {
        CliError::Timeout { url: self.url.to_string(), seconds: waited.as_secs() }
    }

    fn misunderstood(&self, source: serde_json::Error) -> CliError {
        CliError::Answer { url: self.url.to_string(), source }
    }
}

fn into_array(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(items) = value { Some(items) } else { None }
}

/// The parameters of a query, put together.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(String);

impl Query {
    /// Adds a parameter where there is a value.
    pub(super) fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&escape(&value.to_string()));
        }
        self
    }

    /// `?a=1&b=2`, or nothing.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text as it may stand in a path's segment or a query's value.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_apis_are_read_and_printed() {
        for text in
            ["http://127.0.0.1:4080", "http://localhost", "http://[::1]:80/bus", "https://bus.example.com/a"]
        {
            assert_eq!(text.parse::<ApiUrl>().unwrap().to_string(), text);
        }
        assert_eq!("http://[::1]:80".parse::<ApiUrl>().unwrap().host, "::1");
        assert_eq!("https://bus".parse::<ApiUrl>().unwrap().port, 443);
        for (text, error) in [
            ("127.0.0.1:4080", ApiUrlError::Shape),
            ("ftp://a", ApiUrlError::Scheme),
            ("http://u:p@a", ApiUrlError::Excess),
            ("http://a/?x=1", ApiUrlError::Excess),
        ] {
            assert_eq!(text.parse::<ApiUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        let query =
            Query::default().with("type", Some("a b/ä")).with("id", None::<&str>).with("limit", Some(3));
        assert_eq!(query.as_str(), "?type=a%20b%2F%C3%A4&limit=3");
        assert_eq!(Query::default().as_str(), "");
    }
}
