//! `POST /v1/topics/{topic}/events`: events in, acknowledged when they are as safe as their topic promises.
//!
//! The content type tells the mode (CloudEvents HTTP binding). A request that carries no CloudEvents header at all is a plain
//! body: the data of one event whose attributes are query parameters.

use std::time::Duration;

use bytes::Bytes;
use eventail_wire::cloudevents::{
    BatchLimits, CloudEventError, Mode, decode_batch, decode_binary, decode_structured,
};
use eventail_wire::event::delay::{Delay, parse_duration_ms};
use eventail_wire::{Code, Event, EventError, TopicName};
use http::{HeaderMap, StatusCode, header, request};

use super::api::{Api, Call};
use super::body::BodyLimit;
use super::problem::{Problem, Reply, json_bytes};
use super::query::Parameters;
use crate::config::Limits;
use crate::status::Published;

/// The attributes that a plain body takes from the query.
const PLAIN_PARAMETERS: &[&str] = &["type", "source", "id", "subject", "time"];
/// What the query may say of any request: when its events are to be delivered.
const PARAMETERS: &[&str] = &["type", "source", "id", "subject", "time", "deliver_at", "delay"];

/// The route's handler.
pub(super) async fn answer(call: Call) -> Result<Reply, Problem> {
    let topic = call.topic()?;
    publish(&call.api, &topic, &call.parts, call.body).await
}

/// Publishes what a request carries.
pub(super) async fn publish<B>(
    api: &Api,
    topic: &TopicName,
    parts: &request::Parts,
    body: B,
) -> Result<Reply, Problem>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let request = Request::read(parts)?;
    let received = api.receive(&parts.headers, body, body_limit(&api.limits, request.mode)).await?;
    let events = request.events(&api.limits, received.bytes().clone(), || api.new_id())?;
    let published = api.broker.publish(topic, events).await?;
    Ok(json_bytes(StatusCode::OK, results(&published)))
}

/// What the head of a request says of its events.
struct Request<'a> {
    headers: &'a HeaderMap,
    content_type: Option<&'a str>,
    mode: Mode,
    /// No CloudEvent: the data of one, whose attributes are parameters.
    is_plain: bool,
    query: Parameters,
    delay: Option<Delay>,
}

impl<'a> Request<'a> {
    /// Checks all that can be told before the body is received.
    fn read(parts: &'a request::Parts) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let content_type = content_type(headers)?;
        let mode = Mode::of_content_type(content_type)?;
        let query = Parameters::parse(parts.uri.query(), PARAMETERS)?;
        let delay = delay(&query)?;
        let is_plain = mode == Mode::Binary && !has_cloudevents_headers(headers);
        if !is_plain && PLAIN_PARAMETERS.iter().any(|name| query.get(name).is_some()) {
            let why = "type, source, id, subject and time are parameters for plain bodies; a CloudEvent carries its own";
            return Err(Problem::parameter(why));
        }
        if is_plain {
            check_plain(&query)?;
        }
        Ok(Self { headers, content_type, mode, is_plain, query, delay })
    }

    /// The events that it carries. No I/O: the same bytes are the same events, but for the ids of those that came without one.
    fn events(
        &self,
        limits: &Limits,
        body: Bytes,
        new_id: impl Fn() -> String,
    ) -> Result<Vec<Event>, Problem> {
        let events = match self.mode {
            Mode::Binary if self.is_plain => vec![plain_event(&self.query, self.content_type, body, new_id)?],
            Mode::Binary => vec![binary_event(self.headers, body)?],
            Mode::Structured => vec![decode_structured(&body)?],
            Mode::Batched => {
                let (events_max, bytes_max) = (limits.batch_events_max, limits.batch_bytes_max);
                decode_batch(&body, BatchLimits { events_max, bytes_max })?
            }
        };
        let events = match self.delay {
            Some(delay) => events.into_iter().map(|event| delayed(event, delay)).collect::<Result<_, _>>()?,
            None => events,
        };
        check_sizes(limits, &events, self.mode)?;
        Ok(events)
    }
}

/// What the route makes of a request, without a broker, or how it refuses it: for the fuzz targets.
pub(crate) fn decode(parts: &request::Parts, limits: &Limits, body: Bytes) -> Result<Vec<Event>, Box<Reply>> {
    let decoded = Request::read(parts).and_then(|request| {
        let limit = body_limit(limits, request.mode);
        if body.len() > limit.bytes {
            return Err(Problem::over_limit(limit.code, limit.what, body.len() as u64, limit.bytes as u64));
        }
        request.events(limits, body, || "made".to_owned())
    });
    decoded.map_err(|problem| Box::new(problem.into_reply()))
}

/// When the query says that the events of the request are to be delivered.
fn delay(query: &Parameters) -> Result<Option<Delay>, Problem> {
    let at = query.time("deliver_at")?;
    let expected = "a number and a unit (ms, s, m, h or d), such as 15m";
    let after_ms = query.parsed("delay", expected, parse_duration_ms)?;
    match (at, after_ms) {
        (Some(_), Some(_)) => {
            Err(Problem::parameter("`deliver_at` and `delay` say the same in two ways: give one of them"))
        }
        (at, after_ms) => Ok(at.map(Delay::At).or(after_ms.map(Delay::AfterMs))),
    }
}

/// The event with what the query says; an event that says it by itself is left as it is.
fn delayed(event: Event, delay: Delay) -> Result<Event, EventError> {
    if event.has_delay() {
        return Ok(event);
    }
    match delay {
        Delay::At(at) => event.to_builder().deliver_at(at).build(),
        Delay::AfterMs(ms) => event.to_builder().deliver_after(Duration::from_millis(ms)).build(),
    }
}

/// The body's limit by mode. JSON may spell an event's bytes twice as long (escapes, base64), so one structured event has
/// more room than its bytes may take in the end; what it really takes is checked when it is decoded.
fn body_limit(limits: &Limits, mode: Mode) -> BodyLimit {
    let event_bytes_max = limits.event_bytes_max;
    match mode {
        Mode::Binary => {
            BodyLimit { bytes: event_bytes_max, code: Code::EventTooLarge, what: "bytes of the event's data" }
        }
        Mode::Structured => BodyLimit {
            bytes: event_bytes_max.saturating_mul(2),
            code: Code::EventTooLarge,
            what: "bytes of the event as JSON",
        },
        Mode::Batched => {
            BodyLimit { bytes: limits.batch_bytes_max, code: Code::BatchTooLarge, what: "bytes of the batch" }
        }
    }
}

fn check_sizes(limits: &Limits, events: &[Event], mode: Mode) -> Result<(), Problem> {
    let limit = limits.event_bytes_max;
    match events.iter().position(|event| event.as_bytes().len() > limit) {
        None => Ok(()),
        Some(index) => {
            let value = events[index].as_bytes().len() as u64;
            let what = "bytes of the event (limits.event_bytes_max)";
            let problem = Problem::over_limit(Code::EventTooLarge, what, value, limit as u64);
            Err(if mode == Mode::Batched {
                problem.at(format_args!("event {index} of the batch"))
            } else {
                problem
            })
        }
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Code::Malformed, "the header content-type is given twice"));
    }
    let text = first.to_str().map_err(|_| {
        Problem::new(Code::Malformed, "the header content-type has characters that are not ASCII")
    })?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

fn has_cloudevents_headers(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("ce-"))
}

fn binary_event(headers: &HeaderMap, body: Bytes) -> Result<Event, CloudEventError> {
    let relevant =
        headers.iter().filter(|(name, _)| *name == header::CONTENT_TYPE || name.as_str().starts_with("ce-"));
    decode_binary(relevant.map(|(name, value)| (name.as_str(), value.as_bytes())), body)
}

/// Looks for the parameters before the body is received: who forgot them should not have to send it first.
fn check_plain(query: &Parameters) -> Result<(), Problem> {
    for required in ["type", "source"] {
        if query.get(required).is_none_or(str::is_empty) {
            return Err(Problem::new(
                Code::InvalidEvent,
                format!(
                    "`{required}` is missing: send a CloudEvent (ce- headers, or the content type \
                     application/cloudevents+json), or a plain body with ?type= and ?source="
                ),
            ));
        }
    }
    Ok(())
}

fn plain_event(
    query: &Parameters,
    content_type: Option<&str>,
    body: Bytes,
    new_id: impl FnOnce() -> String,
) -> Result<Event, EventError> {
    let id = query.get("id").map_or_else(new_id, str::to_owned);
    let text = |name: &str| query.get(name).unwrap_or_default();
    let mut builder = Event::builder(id, text("source"), text("type"));
    for name in ["subject", "time"] {
        if let Some(value) = query.get(name) {
            builder = builder.extension(name, value);
        }
    }
    if let Some(media_type) = content_type {
        builder = builder.data_content_type(media_type);
    }
    if body.is_empty() { builder.build() } else { builder.data(body).build() }
}

/// `{"results":[{"offset":0,"duplicate":false}]}`, by hand: this is the hot path. What is held has `held` and `deliver_at` in place of
/// `offset`.
fn results(published: &[Published]) -> Bytes {
    let mut out = String::with_capacity(16 + published.len() * 44);
    out.push_str("{\"results\":[");
    for (index, place) in published.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match place {
            Published::Appended { offset, .. } => {
                out.push_str("{\"offset\":");
                push_number(&mut out, offset.0);
            }
            Published::Held { id, deliver_at, .. } => {
                out.push_str(&format!("{{\"held\":{id},\"deliver_at\":\"{deliver_at}\""));
            }
        }
        out.push_str(if place.is_duplicate() { ",\"duplicate\":true}" } else { ",\"duplicate\":false}" });
    }
    out.push_str("]}");
    out.into()
}

fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|&digit| char::from(digit)));
}

impl From<CloudEventError> for Problem {
    fn from(error: CloudEventError) -> Self {
        let code = error.code();
        match error {
            CloudEventError::Event(error) => error.into(),
            CloudEventError::Element { index, source } => {
                Self::from(*source).at(format_args!("event {index} of the batch"))
            }
            CloudEventError::BatchTooLarge { what, value, limit } => {
                Self::over_limit(code, what, value as u64, limit as u64)
            }
            other => Self::new(code, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventail_wire::{HeldId, Offset, Timestamp};
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn the_answer_by_hand_is_the_json_of_the_results() {
        let mut published: Vec<Published> = [0, 7, 10, 1_234_567_890, u64::MAX]
            .into_iter()
            .map(|offset| Published::Appended { offset: Offset(offset), duplicate: offset % 2 == 1 })
            .collect();
        let (id, deliver_at) = (HeldId(7), Timestamp(1_763_892_000_250));
        published.insert(2, Published::Held { id, deliver_at, duplicate: true });
        for count in 0..=published.len() {
            let parsed: serde_json::Value = serde_json::from_slice(&results(&published[..count])).unwrap();
            assert_eq!(parsed, serde_json::json!({ "results": &published[..count] }));
        }
    }

    proptest! {
        #[test]
        fn no_headers_panic(
            names in proptest::collection::vec("ce-[a-zA-Z0-9_-]{0,20}|content-type", 0..12),
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 12),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in names.iter().zip(&values) {
                let value = HeaderValue::from_bytes(value);
                if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name.as_bytes()), value) {
                    headers.append(name, value);
                }
            }
            let body = Bytes::from(body);
            if let Ok(content_type) = content_type(&headers) {
                let _mode = Mode::of_content_type(content_type).is_ok();
            }
            if let Ok(event) = binary_event(&headers, body.clone()) {
                prop_assert_eq!(event.attribute("specversion"), Some("1.0"));
            }
            let _structured = decode_structured(&body).is_ok();
            let _batch = decode_batch(&body, BatchLimits { events_max: 10, bytes_max: 100 }).is_ok();
        }
    }
}
