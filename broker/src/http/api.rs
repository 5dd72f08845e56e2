//! What every handler shares, and the call that it gets.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use bytes::Bytes;
use eventail_wire::{Code, Offset, TopicName, TriggerName};
use http::{HeaderMap, header, request};
use metrics_exporter_prometheus::PrometheusHandle;
use rand::RngCore;
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::answers::Answers;
use super::body::{BodyLimit, Budget, Received};
use super::problem::Problem;
use super::query::{self, Parameters};
use super::requests::RequestCounters;
use super::server::Phase;
use crate::Broker;
use crate::auth::Principal;
use crate::config::Limits;

/// Bytes of a JSON body that asks for something: names, filters and a reason.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What every handler shares. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Api(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) broker: Broker,
    pub(super) limits: Limits,
    pub(super) bodies: Budget,
    pub(super) answers: Answers,
    pub(super) requests: RequestCounters,
    pub(super) exposition: Option<PrometheusHandle>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Whether only this machine reaches the listener.
    pub(super) is_on_loopback: bool,
    ids: Mutex<SmallRng>,
}

impl std::ops::Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    pub(super) fn new(
        broker: Broker,
        ids: SmallRng,
        exposition: Option<PrometheusHandle>,
        phase: watch::Receiver<Phase>,
        is_on_loopback: bool,
    ) -> Self {
        let limits = broker.config().limits.clone();
        let time = Duration::from_millis(limits.request_timeout_ms);
        Self(Arc::new(Shared {
            bodies: Budget::new(limits.in_flight_bytes_max, time),
            answers: Answers::new(limits.in_flight_bytes_max),
            requests: RequestCounters::new(),
            ids: Mutex::new(ids),
            broker,
            limits,
            exposition,
            phase,
            is_on_loopback,
        }))
    }

    /// An id for an event that came without one: 128 random bits in hexadecimal.
    pub(super) fn new_id(&self) -> String {
        // A panic while the lock is held cannot leave the generator in a state that is wrong.
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:016x}{:016x}", ids.next_u64(), ids.next_u64())
    }

    /// An id for a request: a random UUID.
    pub(super) fn new_uuid(&self) -> String {
        let id = self.new_id();
        // Version 4, variant 1: six of the digits are not random.
        let variant = match id.as_bytes()[16] % 4 {
            0 => '8',
            1 => '9',
            2 => 'a',
            _ => 'b',
        };
        format!("{}-{}-4{}-{variant}{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..])
    }

    /// Receives a body; the headers tell whether the sender waits to be asked for it.
    pub(super) async fn receive<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        limit: BodyLimit,
    ) -> Result<Received, Problem>
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        self.bodies.receive(body, limit, !headers.contains_key(header::EXPECT)).await
    }
}

/// One request, as a handler gets it.
pub(super) struct Call {
    pub(super) api: Api,
    pub(super) parts: request::Parts,
    pub(super) body: axum::body::Body,
    /// Who asks.
    pub(super) principal: Principal,
    /// What it is about, where only the body says it; for the audit log.
    pub(super) subject: Subject,
    path: Vec<(String, String)>,
}

/// What a request is about, as far as only its body says it.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject(Arc<OnceLock<String>>);

impl Subject {
    /// Says it, once.
    pub(super) fn is(&self, subject: String) {
        // Who says it twice says the same.
        let _first = self.0.set(subject);
    }

    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

impl Call {
    pub(super) async fn new(
        api: Api,
        principal: Principal,
        subject: Subject,
        request: axum::extract::Request,
    ) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut parts, &())
            .await
            .map_err(|rejection| Problem::parameter(rejection.body_text()))?;
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { api, parts, body, principal, subject, path })
    }

    /// `trigger=ship`: the segments that vary.
    pub(super) fn named(&self) -> String {
        let named = self.path.iter().map(|(name, value)| format!("{name}={value}"));
        named.collect::<Vec<_>>().join(" ")
    }

    /// A segment of the path, decoded. Empty where the route has none of that name.
    pub(super) fn segment(&self, name: &str) -> &str {
        self.path.iter().find(|(there, _)| there == name).map_or("", |(_, value)| value.as_str())
    }

    /// The segment `{topic}`.
    pub(super) fn topic(&self) -> Result<TopicName, Problem> {
        Ok(TopicName::new(self.segment("topic"))?)
    }

    /// The segment `{trigger}`.
    pub(super) fn trigger(&self) -> Result<TriggerName, Problem> {
        Ok(TriggerName::new(self.segment("trigger"))?)
    }

    /// The segment `{offset}`.
    pub(super) fn offset(&self) -> Result<Offset, Problem> {
        let text = self.segment("offset");
        query::offset(text).ok_or_else(|| Problem::parameter(format!("an offset is a number, not {text:?}")))
    }

    /// The query's parameters, of which the route knows these.
    pub(super) fn query(&self, known: &[&'static str]) -> Result<Parameters, Problem> {
        Parameters::parse(self.parts.uri.query(), known)
    }

    /// A JSON body, strictly; `T`'s default where there is no body.
    pub(super) async fn json_or_default<T: DeserializeOwned + Default>(self) -> Result<(Api, T), Problem> {
        let (api, received) = self.received().await?;
        if received.bytes().is_empty() {
            return Ok((api, T::default()));
        }
        Ok((api, parse(received.bytes())?))
    }

    /// A JSON body, strictly. It must be there.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<(Api, T), Problem> {
        let (api, received) = self.received().await?;
        if received.bytes().is_empty() {
            return Err(Problem::new(Code::Malformed, "the request needs a JSON body"));
        }
        Ok((api, parse(received.bytes())?))
    }

    async fn received(self) -> Result<(Api, Received), Problem> {
        let limit = BodyLimit {
            bytes: REQUEST_BYTES_MAX,
            code: Code::BatchTooLarge,
            what: "bytes of the request body",
        };
        let received = self.api.receive(&self.parts.headers, self.body, limit).await?;
        if !received.bytes().is_empty() {
            check_is_json(&self.parts.headers)?;
        }
        Ok((self.api, received))
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { Code::InvalidParameter } else { Code::Malformed };
        Problem::new(code, format!("the JSON body is not as it must be: {error}"))
    })
}

/// A form of a foreign web page cannot send this content type, so it cannot pause a trigger behind its reader's back.
fn check_is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given.is_empty() || eventail_wire::event::rules::is_json_media_type(given) {
        return Ok(());
    }
    let given: String = given.chars().take(100).collect();
    Err(Problem::new(
        Code::UnsupportedMediaType,
        format!("this route takes application/json and not {given:?}"),
    ))
}
