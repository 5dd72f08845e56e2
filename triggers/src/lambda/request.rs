//! Making requests: where a function is called, and the signature of a call.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use eventail_wire::Timestamp;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, InvalidHeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;

use super::name::{FunctionName, check_region};
use super::{InvocationType, LambdaTargetError};
use crate::http::{AGENT, Caller, Egress, Outgoing};

const SERVICE: &str = "lambda";
/// Connections to Lambda that are kept open while idle: as many as a busy trigger has calls under way.
const IDLE_CONNECTIONS: usize = 64;
/// What Lambda takes by default; every call with its own answer.
static INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
static LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
static TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Why a request was not signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the request could not be signed")]
    Signing(#[from] SigningError),
    #[error("the AWS session token holds characters that a header cannot have")]
    Token,
    #[error("a header of the signature holds characters that a header cannot have")]
    Header(#[from] InvalidHeaderValue),
    #[error("the AWS credentials are incomplete")]
    Incomplete,
}

/// Where a function is called.
pub(super) struct Place {
    pub(super) region: String,
    pub(super) caller: Caller,
    /// The URL as it is signed.
    url: String,
    /// The host as it is sent and signed.
    host: String,
}

impl Place {
    /// `endpoint` is screened by `egress`; AWS's own endpoints are not.
    pub(super) fn new(
        name: &FunctionName,
        qualifier: Option<&str>,
        region: &str,
        endpoint: Option<&Uri>,
        egress: &Egress,
    ) -> Result<Self, LambdaTargetError> {
        check_region(region)?;
        let (base, egress) = match endpoint {
            Some(endpoint) if endpoint.query().is_some() => return Err(LambdaTargetError::EndpointQuery),
            Some(endpoint) => (endpoint.to_string(), egress.clone()),
            None => {
                let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
                (format!("https://lambda.{region}.amazonaws.com{suffix}"), egress.unscreened())
            }
        };
        let base = base.trim_end_matches('/');
        let mut url = format!("{base}/2015-03-31/functions/{}/invocations", Encoded(name.as_str()));
        if let Some(qualifier) = qualifier {
            url.push_str("?Qualifier=");
            url.push_str(&Encoded(qualifier).to_string());
        }
        let refused = |source| LambdaTargetError::Endpoint { source };
        let no_host = || refused(crate::http::HttpTargetError::Host { host: base.to_owned() });
        let uri: Uri = url.parse().map_err(|_| no_host())?;
        let caller = Caller::new(&uri, egress, IDLE_CONNECTIONS).map_err(refused)?;
        let host = caller.endpoint().authority.to_str().map_err(|_| no_host())?.to_owned();
        Ok(Self { region: region.to_owned(), caller, url, host })
    }

    /// A signed call, without URI and Host: those depend on the connection.
    pub(super) fn request(
        &self,
        credentials: &aws_smithy_runtime_api::client::identity::Identity,
        invocation: InvocationType,
        payload: Bytes,
        trace: Option<String>,
        now: Timestamp,
    ) -> Result<Outgoing, RequestError> {
        let token = credentials.data::<Credentials>().ok_or(RequestError::Incomplete)?.session_token();
        // The signer would panic.
        token
            .map_or(Ok(()), |token| HeaderValue::from_str(token).map(drop))
            .map_err(|_| RequestError::Token)?;
        let invocation_type = match invocation {
            InvocationType::Sync => "RequestResponse",
            InvocationType::Async => "Event",
        };
        let mut signed = vec![
            ("host", self.host.as_str()),
            ("content-type", "application/json"),
            ("x-amz-invocation-type", invocation_type),
        ];
        if invocation == InvocationType::Sync {
            signed.push(("x-amz-log-type", "Tail"));
        }
        let parameters = v4::SigningParams::builder()
            .identity(credentials)
            .region(&self.region)
            .name(SERVICE)
            .time(UNIX_EPOCH + Duration::from_millis(now.0))
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| RequestError::Incomplete)?
            .into();
        let body = SignableBody::Bytes(&payload);
        let signable = SignableRequest::new("POST", self.url.as_str(), signed.into_iter(), body)?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let (additions, _) = instructions.into_parts();

        let mut request = Request::new(Full::new(payload.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        for addition in &additions {
            let mut value = HeaderValue::from_str(addition.value())?;
            value.set_sensitive(addition.sensitive());
            headers.insert(HeaderName::from_static(addition.name()), value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(INVOCATION_TYPE.clone(), HeaderValue::from_static(invocation_type));
        if invocation == InvocationType::Sync {
            headers.insert(LOG_TYPE.clone(), HeaderValue::from_static("Tail"));
        }
        if let Some(trace) = trace {
            headers.insert(TRACE_ID.clone(), HeaderValue::try_from(trace)?);
        }
        headers.insert(USER_AGENT, AGENT.clone());
        Ok(request)
    }
}

/// A text as one segment of a path, or one value of a query: all but unreserved characters are percent-encoded, as SigV4
/// demands.
struct Encoded<'a>(&'a str);

impl std::fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for &byte in self.0.as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}
