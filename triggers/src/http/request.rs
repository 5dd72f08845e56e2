//! Making requests: what all requests of a target share is made once, and attribute values are shared with the event.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use eventail_wire::cloudevents::{
    BATCH_MEDIA_TYPE, STRUCTURED_MEDIA_TYPE, binary_headers, encode_structured_correlated,
};
use eventail_wire::event::rules;
use eventail_wire::{Event, Timestamp};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::auth::HttpAuth;
use super::dynamic::has_place;
use super::error::HttpTargetError;
use super::handshake::REQUEST_ORIGIN;
use super::link::Outgoing;
use super::signature::Signer;
use super::{CALLBACK_TOKEN_HEADER, HttpMode, HttpTargetOptions, batch};
use crate::payload::{self, PayloadShape};
use crate::target::Invocation;

pub(crate) static AGENT: HeaderValue =
    HeaderValue::from_static(concat!("eventail/", env!("CARGO_PKG_VERSION")));
static APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
static TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
static CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
static CE_ID: HeaderName = HeaderName::from_static("ce-id");
static CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
static CE_TYPE: HeaderName = HeaderName::from_static("ce-type");
static CE_SUBJECT: HeaderName = HeaderName::from_static("ce-subject");
static CE_TIME: HeaderName = HeaderName::from_static("ce-time");
static CE_CORRELATIONID: HeaderName = HeaderName::from_static("ce-correlationid");
static CE_TRACEPARENT: HeaderName = HeaderName::from_static("ce-traceparent");
static EVENTAIL_ATTEMPT: HeaderName = HeaderName::from_static("eventail-attempt");
static EVENTAIL_BATCH_SIZE: HeaderName = HeaderName::from_static("eventail-batch-size");
static EVENTAIL_CALLBACK_TOKEN: HeaderName = HeaderName::from_static(CALLBACK_TOKEN_HEADER);
static EVENTAIL_DELIVERY: HeaderName = HeaderName::from_static("eventail-delivery");
static EVENTAIL_DEADLINE: HeaderName = HeaderName::from_static("eventail-deadline");
static EVENTAIL_OFFSET: HeaderName = HeaderName::from_static("eventail-offset");
static EVENTAIL_TOPIC: HeaderName = HeaderName::from_static("eventail-topic");
static EVENTAIL_TRIGGER: HeaderName = HeaderName::from_static("eventail-trigger");
static PREFER: HeaderName = HeaderName::from_static("prefer");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
static WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
static WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");

/// Headers beyond the static ones that a request usually has; room for them is made at once.
const USUAL_HEADERS: usize = 20;

/// What all requests of one target share.
pub(super) struct Template {
    mode: HttpMode,
    headers: HeaderMap,
    /// The same for a batch.
    batch_headers: HeaderMap,
    /// What of them goes with a handshake.
    handshake_headers: HeaderMap,
    signer: Signer,
    /// A content type that the configuration gives: it stands for inputs, which have none of their own.
    content_type: Option<HeaderValue>,
}

impl Template {
    /// `origin` is what deliveries say of their sender, where the target was asked for its leave.
    pub(super) fn new(
        options: &HttpTargetOptions,
        origin: Option<&HeaderValue>,
    ) -> Result<Self, HttpTargetError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, AGENT.clone());
        let (given, handshake_headers) = given_headers(options)?;
        let content_type = given.get(CONTENT_TYPE).cloned();
        headers.extend(given);
        if let Some(origin) = origin {
            headers.insert(&REQUEST_ORIGIN, origin.clone());
        }
        let mut batch_headers = headers.clone();
        batch_headers.insert(CONTENT_TYPE, HeaderValue::from_static(BATCH_MEDIA_TYPE));
        match options.mode {
            HttpMode::Binary => drop(headers.insert(CE_SPECVERSION.clone(), HeaderValue::from_static("1.0"))),
            HttpMode::Structured => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED_MEDIA_TYPE));
            }
            HttpMode::Raw => {}
        }
        let signer = Signer::new(&options.signing_secrets)?;
        Ok(Self { mode: options.mode, headers, batch_headers, handshake_headers, signer, content_type })
    }

    /// What goes with the question for the target's leave: what it knows the sender by.
    pub(super) const fn handshake_headers(&self) -> &HeaderMap {
        &self.handshake_headers
    }

    /// The request of one attempt, without URI and Host: those depend on the connection.
    pub(super) fn request(&self, invocation: &Invocation) -> Outgoing {
        let event = &invocation.event;
        let mut headers = self.headers.clone();
        headers.reserve(USUAL_HEADERS);
        let trace = event.traceparent();
        let body = match self.mode {
            _ if invocation.input.is_some() => self.put_input(invocation, &trace, &mut headers),
            HttpMode::Binary => {
                put_attributes(event, &trace, &mut headers);
                event.data().unwrap_or_default()
            }
            HttpMode::Structured => Bytes::from(encode_structured_correlated(event)),
            HttpMode::Raw => {
                if let Some(media_type) = event.data_content_type() {
                    put(&mut headers, &CONTENT_TYPE, share(event, media_type));
                }
                event.data().unwrap_or_default()
            }
        };
        if body.is_empty() {
            // hyper leaves it out then, and some servers refuse a POST without a length (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.put_delivery(invocation, &trace, &body, &mut headers);
        post(headers, body)
    }

    /// The input in place of the event: its headers, and its bytes for the body. Attributes are headers where they always are.
    fn put_input(&self, invocation: &Invocation, trace: &str, headers: &mut HeaderMap) -> Bytes {
        let Some(input) = &invocation.input else { return Bytes::new() };
        if self.mode == HttpMode::Binary {
            put_attributes(&invocation.event, trace, headers);
        }
        let own = if input.is_json { &APPLICATION_JSON } else { &TEXT_PLAIN };
        headers.insert(CONTENT_TYPE, self.content_type.as_ref().unwrap_or(own).clone());
        input.bytes.clone()
    }

    /// The request of one attempt at several events. What differs between them stands in the body.
    pub(super) fn batch_request(&self, batch: &[Invocation], deadline: Timestamp) -> Outgoing {
        let mut headers = self.batch_headers.clone();
        headers.reserve(USUAL_HEADERS);
        let body = if batch.iter().any(|invocation| invocation.input.is_some()) {
            headers.insert(CONTENT_TYPE, self.content_type.as_ref().unwrap_or(&APPLICATION_JSON).clone());
            payload::encode_batch(PayloadShape::CloudEvent, batch)
        } else {
            batch::encode(batch)
        };
        let mut texts = Texts(BytesMut::with_capacity(256));
        put(&mut headers, &EVENTAIL_BATCH_SIZE, texts.text(batch.len()));
        if let Some(first) = batch.first() {
            self.put_shared(first, &batch::id(batch), deadline, &body, &mut texts, &mut headers);
        }
        post(headers, body)
    }

    /// What a request with one event and one with several have in common.
    fn put_shared(
        &self,
        first: &Invocation,
        id: &str,
        deadline: Timestamp,
        body: &Bytes,
        texts: &mut Texts,
        headers: &mut HeaderMap,
    ) {
        let timestamp = texts.text(first.now.0 / 1000);
        if !self.signer.is_idle() {
            let seconds = std::str::from_utf8(&timestamp).unwrap_or_default();
            put(headers, &WEBHOOK_SIGNATURE, Bytes::from(self.signer.sign(id, seconds, body)));
        }
        put(headers, &WEBHOOK_ID, texts.copy(id));
        put(headers, &WEBHOOK_TIMESTAMP, timestamp);
        put(headers, &EVENTAIL_TRIGGER, texts.copy(first.trigger.as_str()));
        put(headers, &EVENTAIL_TOPIC, texts.copy(first.topic.as_str()));
        if first.is_replay {
            headers.insert(EVENTAIL_DELIVERY.clone(), HeaderValue::from_static("replay"));
        }
        if deadline != Timestamp::MAX {
            put(headers, &EVENTAIL_DEADLINE, texts.text(deadline));
        }
        if let Some(token) = &first.callback
            && let Ok(mut token) = HeaderValue::from_maybe_shared(texts.copy(token))
        {
            // Whoever has it may settle the event.
            token.set_sensitive(true);
            headers.insert(&EVENTAIL_CALLBACK_TOKEN, token);
        }
    }

    fn put_delivery(&self, invocation: &Invocation, trace: &str, body: &Bytes, headers: &mut HeaderMap) {
        let mut texts = Texts(BytesMut::with_capacity(256));
        let (id, deadline) = (&*invocation.delivery_id, invocation.deadline);
        self.put_shared(invocation, id, deadline, body, &mut texts, headers);
        put(headers, &EVENTAIL_ATTEMPT, texts.text(invocation.attempt));
        put(headers, &EVENTAIL_OFFSET, texts.text(invocation.offset));
        let span = span(invocation);
        match trace_and_flags(trace) {
            Some((trace, flags)) => {
                put(headers, &TRACEPARENT, texts.text(format_args!("00-{trace}-{span:016x}-{flags}")));
            }
            None => {
                let trace = invocation.event.fingerprint().max(1);
                put(headers, &TRACEPARENT, texts.text(format_args!("00-{trace:032x}-{span:016x}-01")));
            }
        }
        if invocation.wants_reply {
            headers.insert(PREFER.clone(), HeaderValue::from_static("reply"));
        }
    }
}

/// The headers that the configuration gives, but for those with places; and those among them that go with a handshake.
fn given_headers(options: &HttpTargetOptions) -> Result<(HeaderMap, HeaderMap), HttpTargetError> {
    let auth = options.auth.as_ref();
    if let Some(name) = auth.map(HttpAuth::header_name).filter(is_reserved) {
        return Err(HttpTargetError::ReservedHeader { name });
    }
    let mut given = HeaderMap::new();
    for (name, secret) in &options.headers {
        if is_reserved(name) {
            return Err(HttpTargetError::ReservedHeader { name: name.clone() });
        }
        if auth.is_some_and(|auth| auth.header_name() == *name) {
            return Err(HttpTargetError::AuthHeaderTwice { name: name.clone() });
        }
        if has_place(secret.expose()) {
            continue;
        }
        let value = secret.header_value().map_err(|_| HttpTargetError::HeaderValue { name: name.clone() })?;
        given.append(name, value);
    }
    if let Some(auth) = auth
        && let Some(value) = auth.header_value()?
    {
        given.insert(auth.header_name(), value);
    }
    let mut handshake = given.clone();
    handshake.remove(CONTENT_TYPE);
    Ok((given, handshake))
}

fn post(headers: HeaderMap, body: Bytes) -> Outgoing {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

/// Small texts in one allocation.
struct Texts(BytesMut);

impl Texts {
    fn text(&mut self, value: impl std::fmt::Display) -> Bytes {
        // Writing to memory that grows does not fail.
        let _ = write!(self.0, "{value}");
        self.0.split().freeze()
    }

    fn copy(&mut self, text: &str) -> Bytes {
        self.0.extend_from_slice(text.as_bytes());
        self.0.split().freeze()
    }
}

/// The attributes as headers, correlation and trace among them whether the event has its own or not.
fn put_attributes(event: &Event, trace: &str, headers: &mut HeaderMap) {
    let mut id = Bytes::new();
    let (mut is_correlated, mut is_traced) = (false, false);
    for header in binary_headers(event) {
        let value = match &header.value {
            Cow::Borrowed(text) => share(event, text),
            Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
        };
        match header.attribute {
            "specversion" => {}
            "id" => {
                id = value.clone();
                put(headers, &CE_ID, value);
            }
            "source" => put(headers, &CE_SOURCE, value),
            "type" => put(headers, &CE_TYPE, value),
            "subject" => put(headers, &CE_SUBJECT, value),
            "time" => put(headers, &CE_TIME, value),
            "datacontenttype" => put(headers, &CONTENT_TYPE, value),
            "correlationid" => {
                is_correlated = true;
                put(headers, &CE_CORRELATIONID, value);
            }
            "traceparent" => {
                is_traced = true;
                put(headers, &CE_TRACEPARENT, value);
            }
            _ => match HeaderName::from_bytes(header.name().as_bytes()) {
                Ok(name) => put(headers, &name, value),
                Err(error) => tracing::warn!(%error, "an attribute's name cannot be a header's"),
            },
        }
    }
    if !is_correlated {
        put(headers, &CE_CORRELATIONID, id);
    }
    if !is_traced {
        put(headers, &CE_TRACEPARENT, Bytes::copy_from_slice(trace.as_bytes()));
    }
}

/// Values are attributes that were checked, percent-encoded where they are not plain, or written here: a header can have
/// each of them. Were one damaged after all, its header alone would be missing.
fn put(headers: &mut HeaderMap, name: &HeaderName, value: Bytes) {
    match HeaderValue::from_maybe_shared(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(error) => tracing::warn!(%name, %error, "an attribute cannot be sent as a header"),
    }
}

/// The bytes of `text`, shared with the event where it lies within it.
fn share(event: &Event, text: &str) -> Bytes {
    let (whole, part) = (event.as_bytes().as_ptr_range(), text.as_bytes().as_ptr_range());
    if whole.start <= part.start && part.end <= whole.end {
        event.as_bytes().slice_ref(text.as_bytes())
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    }
}

/// The span of this attempt: one of its own for each delivery and attempt.
fn span(invocation: &Invocation) -> u64 {
    const SECRETS: RapidSecrets = RapidSecrets::seed(0x2545_f491_4f6c_dd1d);
    let delivery = rapidhash_v3_seeded(invocation.delivery_id.as_bytes(), &SECRETS);
    delivery.wrapping_add(u64::from(invocation.attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
}

/// The parts of the event's trace context that its attempts keep; a publisher may have given what is none.
fn trace_and_flags(trace: &str) -> Option<(&str, &str)> {
    rules::is_traceparent(trace).then_some(())?;
    Some((trace.get(3..35)?, trace.get(53..55)?))
}

/// Headers that frame the request or that the delivery sets itself.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["ce-", "webhook-", "eventail-"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "upgrade"
                | "te"
                | "trailer"
                | "expect"
                | "traceparent"
                | "prefer"
        )
}
