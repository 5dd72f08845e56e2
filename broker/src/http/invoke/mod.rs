//! The Lambda Invoke API, for local functions: `POST /2015-03-31/functions/{name}/invocations`.
//!
//! It promises what AWS Lambda does, so that the AWS CLI, the SDKs and Lambda targets of another Eventail can call: a function
//! that fails is a 200 with `X-Amz-Function-Error`, refusals are JSON with `x-amzn-ErrorType`, and where keys are configured
//! nobody is answered who did not sign. A local function has one version, `$LATEST`; every qualifier means it.
//!
//! An asynchronous invocation is an event of the topic `invocations`, which a trigger delivers. It is answered when that event
//! is as safe as the topic promises.

mod error;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eventail_triggers::function::{Call as FunctionCall, Run, RunError};
use eventail_wire::{Code, Event, FunctionName, TopicName, limits};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request};
use http_body_util::Full;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use self::error::InvokeError;
use super::api::{Api, Call};
use super::body::BodyLimit;
use super::problem::{Problem, Reply, json_bytes};
use super::{cross_site, guard, sigv4};
use crate::auth::{Place, Principal, Scope, Who};
use crate::config::{self, INVOCATION_TYPE, INVOCATIONS_TOPIC};
use crate::lambda_name::{LambdaName, is_qualifier};

/// What requests are signed for.
const SERVICE: &str = "lambda";
/// The source of the events of asynchronous invocations.
const SOURCE: &str = "/invoke";
/// The one version that a local function has.
const VERSION: &str = "$LATEST";

const INVOCATION_TYPE_HEADER: &str = "x-amz-invocation-type";
const LOG_TYPE_HEADER: &str = "x-amz-log-type";
const CLIENT_CONTEXT_HEADER: &str = "x-amz-client-context";
const TRACE_HEADER: &str = "x-amzn-trace-id";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");

/// Whether the caller waits for the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sync,
    Async,
    /// Everything is checked and nothing is run.
    DryRun,
}

/// What is asked for beside the payload.
struct Asked {
    kind: Kind,
    wants_log: bool,
    client_context: Option<String>,
    trace: Option<String>,
}

/// The route's handler.
pub(super) async fn answer(call: Call) -> Result<Reply, Problem> {
    let request_id = call.api.new_uuid();
    let mut reply = invoke(call, &request_id).await.unwrap_or_else(InvokeError::into_reply);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        reply.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(reply)
}

/// A refusal in the words of this API.
pub(super) fn refused(problem: Problem) -> Reply {
    InvokeError::from(problem).into_reply()
}

async fn invoke(call: Call, request_id: &str) -> Result<Reply, InvokeError> {
    let asked = Asked::of(&call.parts.headers);
    let limit = match &asked {
        Ok(Asked { kind: Kind::Async, .. }) => limits::INVOKE_ASYNC_BYTES_MAX,
        _ => limits::INVOKE_SYNC_BYTES_MAX,
    };
    let limit = BodyLimit { bytes: limit, code: Code::EventTooLarge, what: "bytes of the payload" };
    let (name, query) = (call.segment("name").to_owned(), call.query(&["Qualifier"]));
    let received = call.api.receive(&call.parts.headers, call.body, limit).await?;
    // Who did not sign learns nothing: not even which functions there are.
    check_caller(&call.api, &call.parts, &call.principal, received.bytes())?;
    guard::keep(&call.parts.extensions);
    let asked = asked?;
    let name = function_name(&call.api, &name, query?.get("Qualifier"))?;
    let payload = payload(received.bytes())?;
    match asked.kind {
        Kind::DryRun => Ok(empty(StatusCode::NO_CONTENT)),
        Kind::Async => enqueue(&call.api, &name, payload, request_id).await,
        Kind::Sync => run(&call.api, &name, payload, asked, request_id).await,
    }
}

/// Refuses who did not sign, where there are keys, and has no permission, where those are asked for. Where there is neither everybody
/// may call who reaches the listener, but no web page: whoever reads one on this machine would lend it their reach, and know nothing
/// of it. A browser names the page in `Origin` with every POST, also of a form, and also where the page's host came to mean this
/// address.
fn check_caller(
    api: &Api,
    parts: &request::Parts,
    principal: &Principal,
    body: &[u8],
) -> Result<(), InvokeError> {
    let config = api.broker.config();
    let (keys, now) = (&config.invoke_keys, api.broker.clock().now());
    let is_from_page = parts.headers.contains_key(header::ORIGIN);
    if config.auth.is_none() {
        return match (keys.is_empty(), is_from_page) {
            (true, true) => Err(InvokeError::WebPage),
            (true, false) => Ok(()),
            (false, _) => Ok(sigv4::verify(parts, body, keys, SERVICE, now)?),
        };
    }
    if principal.may(Scope::Publish, Place::Topic(INVOCATIONS_TOPIC)) {
        let is_foreign = cross_site::is_foreign(&parts.headers, &parts.uri, &config.listen);
        return if is_foreign { Err(InvokeError::WebPage) } else { Ok(()) };
    }
    let is_signed = parts.headers.contains_key(header::AUTHORIZATION);
    match principal.who() {
        Who::Token(_) => Err(InvokeError::Forbidden),
        Who::Certificate(_) if !is_signed => Err(InvokeError::Forbidden),
        _ => Ok(sigv4::verify(parts, body, keys, SERVICE, now)?),
    }
}

/// The function that is meant, if there is one.
fn function_name(api: &Api, asked: &str, qualifier: Option<&str>) -> Result<FunctionName, InvokeError> {
    let parsed = LambdaName::parse(asked).map_err(InvokeError::Name)?;
    if qualifier.is_some_and(|qualifier| !is_qualifier(qualifier)) {
        return Err(InvokeError::Parameter("the qualifier is no version and no alias"));
    }
    if let (Some(of_name), Some(given)) = (parsed.qualifier, qualifier)
        && of_name != given
    {
        let why = "the derived qualifier from the function name does not match the specified qualifier";
        return Err(InvokeError::Parameter(why));
    }
    let known = FunctionName::new(parsed.name).ok();
    let known = known.filter(|name| api.broker.config().functions.contains_key(name));
    known.ok_or_else(|| InvokeError::unknown(&parsed, qualifier))
}

/// The payload, which must be JSON, and so must be text: to pass over a string does not look whether it is. Lambda gives a function that is invoked with nothing an empty object.
fn payload(body: &Bytes) -> Result<Bytes, InvokeError> {
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    serde_json::from_slice::<&RawValue>(body).map_err(InvokeError::NotJson)?;
    Ok(body.clone())
}

impl Asked {
    fn of(headers: &HeaderMap) -> Result<Self, InvokeError> {
        let kind = match text(headers, INVOCATION_TYPE_HEADER)? {
            None | Some("RequestResponse") => Kind::Sync,
            Some("Event") => Kind::Async,
            Some("DryRun") => Kind::DryRun,
            Some(_) => {
                let why = "X-Amz-Invocation-Type is RequestResponse, Event or DryRun";
                return Err(InvokeError::Parameter(why));
            }
        };
        let wants_log = match text(headers, LOG_TYPE_HEADER)? {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(_) => return Err(InvokeError::Parameter("X-Amz-Log-Type is None or Tail")),
        };
        let client_context = text(headers, CLIENT_CONTEXT_HEADER)?.map(client_context).transpose()?;
        let trace = text(headers, TRACE_HEADER)?.map(str::to_owned);
        Ok(Self { kind, wants_log, client_context, trace })
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, InvokeError> {
    let not_text = InvokeError::Parameter("a header of the request is no text");
    headers.get(name).map(|value| value.to_str().map_err(|_| not_text)).transpose()
}

/// The context as the function gets it: decoded, and JSON.
fn client_context(encoded: &str) -> Result<String, InvokeError> {
    if encoded.len() > limits::CLIENT_CONTEXT_BYTES_MAX {
        return Err(InvokeError::Parameter("X-Amz-Client-Context has more than 3583 bytes"));
    }
    let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
        // Header values have no line breaks, and JSON means nothing by them.
        .map(|text| text.replace(['\n', '\r'], " "))
        .ok_or(InvokeError::Parameter("Client context must be a valid Base64-encoded JSON object"))
}

/// Publishes the invocation as an event.
async fn enqueue(
    api: &Api,
    name: &FunctionName,
    payload: Bytes,
    request_id: &str,
) -> Result<Reply, InvokeError> {
    let event = Event::builder(request_id, SOURCE, INVOCATION_TYPE)
        .extension("subject", name.as_str())
        .data_content_type("application/json")
        .data(payload)
        .build()
        .map_err(|error| InvokeError::Refused(error.into()))?;
    let topic = TopicName::new(INVOCATIONS_TOPIC).map_err(|error| InvokeError::Refused(error.into()))?;
    let published = api.broker.publish_trusted(&topic, vec![event]).await;
    published.map_err(|error| InvokeError::Refused(error.into()))?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// Runs the function and answers with what it did.
async fn run(
    api: &Api,
    name: &FunctionName,
    payload: Bytes,
    asked: Asked,
    request_id: &str,
) -> Result<Reply, InvokeError> {
    let config = api.broker.config();
    let (options, function) = (config.functions.get(name), api.broker.local_function(name));
    let (Some(options), Some(function)) = (options, function) else {
        return Err(InvokeError::Host(RunError::Stopped));
    };
    let deadline = tokio::time::Instant::now() + Duration::from_millis(config::lease_ms(options));
    let mut call = FunctionCall::new(payload, request_id.to_owned(), deadline);
    call.client_context = asked.client_context;
    call.trace.clone_from(&asked.trace);
    // Whoever calls gets the busy answer at once, and retries as with Lambda.
    call.waits = false;
    // A caller that goes away takes nothing back: the function runs to its end, as Lambda's do.
    let broker = api.broker.clone();
    let running = tokio::spawn(async move {
        let run = function.invoke(call).await;
        broker.record_call(&run.report, u32::from(run.result.is_ok()));
        run
    });
    let run = running.await.map_err(|_| InvokeError::Host(RunError::Stopped))?;
    let mut reply = ended(&run, request_id)?;
    let headers = reply.headers_mut();
    headers.insert(EXECUTED_VERSION, HeaderValue::from_static(VERSION));
    let log = asked.wants_log.then(|| STANDARD.encode(run.tail()));
    for (name, value) in [(LOG_RESULT, log), (HeaderName::from_static(TRACE_HEADER), asked.trace)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    Ok(reply)
}

/// The answer of the function, or its error: that is no error of the API. What is not the function's doing is one.
fn ended(run: &Run, request_id: &str) -> Result<Reply, InvokeError> {
    let error = match &run.result {
        Ok(answer) => return Ok(json_bytes(StatusCode::OK, answer.clone())),
        Err(RunError::Throttled(reason)) => return Err(InvokeError::Throttled(*reason)),
        Err(error) if error::is_of_host(error) => return Err(InvokeError::Host(error.clone())),
        Err(error) => error,
    };
    let mut reply = json_bytes(StatusCode::OK, error.document(request_id));
    reply.headers_mut().insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    Ok(reply)
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    reply
}
