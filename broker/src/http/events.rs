//! Reading events: a page of a topic, waiting for it where asked, and finding an event by its id.

use std::time::Duration;

use eventail_wire::cloudevents::write_structured_correlated;
use eventail_wire::{Code, Offset, Timestamp, limits};
use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::problem::{Problem, Reply, json, json_bytes};
use super::query::{Parameters, offset};
use super::server::Phase;
use crate::auth::Scope;
use crate::config;
use crate::status::{DelayedEvent, EventPlace, LostEvents, StoredEvent, TopicStatus};

const LIMIT_DEFAULT: usize = 100;

/// Where a read begins.
enum From {
    Earliest,
    Latest,
    At(Offset),
    Since(Timestamp),
}

/// `GET /v1/topics/{topic}/events?from=&limit=&wait=`
pub(super) async fn read(call: Call) -> Result<Reply, Problem> {
    let topic = call.topic()?;
    let query = call.query(&["from", "limit", "wait"])?;
    let expected = "an offset, earliest, latest or an RFC 3339 time";
    let from = query.parsed("from", expected, parse_from)?.unwrap_or(From::Earliest);
    let limit = query.limit(LIMIT_DEFAULT)?;
    let wait = wait(&query)?;

    let broker = &call.api.broker;
    let status = broker.topic(&topic)?;
    let from = match from {
        From::Earliest => status.start,
        From::Latest => status.end,
        From::At(offset) => offset,
        From::Since(time) => broker.offset_at(&topic, time).await?,
    };
    if from < status.start {
        return Err(trimmed(from, &status));
    }
    let mut phase = call.api.phase.clone();
    let events = tokio::select! {
        events = broker.read(&topic, from, limit, wait) => events?,
        // A server that stops must not be held up by those who wait for nothing in particular.
        _ = phase.wait_for(|phase| *phase != Phase::Running) => Vec::new(),
    };
    let status = broker.topic(&topic)?;
    // Where there is nothing behind lost events, the next page begins behind them.
    let after = |from| {
        status.lost.iter().find(|lost| lost.first <= from && from < lost.next).map_or(from, |lost| lost.next)
    };
    let next = events.last().map_or_else(|| after(from), |last| last.offset.plus(1));
    let lost = status.lost.iter().filter(|lost| lost.first < next && from < lost.next);
    let lost: Vec<_> = lost.cloned().collect();
    Ok(json_bytes(StatusCode::OK, page(&events, &lost, next, status.end.max(next)).into()))
}

fn parse_from(text: &str) -> Option<From> {
    match text {
        "earliest" => Some(From::Earliest),
        "latest" => Some(From::Latest),
        _ => offset(text).map(From::At).or_else(|| Timestamp::parse_rfc3339(text).map(From::Since)),
    }
}

fn wait(query: &Parameters) -> Result<Duration, Problem> {
    let parse = |text: &str| text.parse::<config::Duration>().ok();
    let milliseconds =
        query.parsed("wait", config::Duration::FORM, parse)?.map_or(0, config::Duration::as_ms);
    if milliseconds > limits::WAIT_MS_MAX {
        let what = "`wait` in milliseconds";
        return Err(Problem::over_limit(Code::InvalidParameter, what, milliseconds, limits::WAIT_MS_MAX));
    }
    Ok(Duration::from_millis(milliseconds))
}

fn trimmed(from: Offset, status: &TopicStatus) -> Problem {
    let detail = format!(
        "offset {from} of {} was removed by retention: the first that is kept is {}",
        status.name, status.start
    );
    Problem::new(Code::OffsetTrimmed, detail)
}

/// Events are written as they are, without a tree in between: a page may be large.
fn page(events: &[StoredEvent], lost: &[LostEvents], next: Offset, end: Offset) -> Vec<u8> {
    let bytes: usize = events.iter().map(|stored| stored.event.as_bytes().len() + 320).sum();
    let mut out = Vec::with_capacity(bytes + 64);
    out.extend_from_slice(b"{\"events\":[");
    for (index, stored) in events.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let (offset, appended_at) = (stored.offset, stored.appended_at);
        out.extend_from_slice(
            format!("{comma}{{\"offset\":{offset},\"appended_at\":\"{appended_at}\",\"event\":").as_bytes(),
        );
        write_structured_correlated(&stored.event, &mut out);
        out.push(b'}');
    }
    out.push(b']');
    if !lost.is_empty() {
        out.extend_from_slice(b",\"lost\":");
        // Plain text and numbers always become JSON.
        out.extend_from_slice(serde_json::json!(lost).to_string().as_bytes());
    }
    out.extend_from_slice(format!(",\"next\":{next},\"end\":{end}}}").as_bytes());
    out
}

#[derive(Serialize)]
struct Places {
    places: Vec<EventPlace>,
    held: Vec<DelayedEvent>,
}

/// `GET /v1/events/{id}`
pub(super) async fn find(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let id = call.segment("id");
    let mut places = call.api.broker.find_event(id).await?;
    let mut held = call.api.broker.find_delayed(id).await?;
    places.retain(|place| call.may(Scope::Read, &place.topic));
    held.retain(|held| call.may(Scope::Read, &held.topic));
    if places.is_empty() && held.is_empty() {
        let id: String = id.chars().take(limits::NAME_BYTES_MAX).collect();
        return Err(Problem::new(Code::UnknownEvent, format!("no topic holds an event with the id {id:?}")));
    }
    json(StatusCode::OK, &Places { places, held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventail_wire::Event;

    #[test]
    fn a_page_is_json_with_each_events_place_and_correlation() {
        let event = Event::builder("1", "/s", "t").json_data(r#"{"a": 1}"#).build().unwrap();
        let stored = |offset| StoredEvent {
            offset: Offset(offset),
            appended_at: Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap(),
            event: event.clone(),
        };
        for count in 0..3 {
            let events: Vec<StoredEvent> = (0..count).map(|index| stored(5 + index)).collect();
            let parsed: serde_json::Value =
                serde_json::from_slice(&page(&events, &[], Offset(5 + count), Offset(9))).unwrap();
            assert_eq!(parsed["events"].as_array().unwrap().len() as u64, count);
            assert_eq!((&parsed["next"], &parsed["end"]), (&(5 + count).into(), &9.into()));
            for (index, item) in parsed["events"].as_array().unwrap().iter().enumerate() {
                assert_eq!(item["offset"], 5 + index as u64);
                assert_eq!(item["appended_at"], "2026-11-23T10:00:00.000Z");
                assert_eq!(item["event"]["data"]["a"], 1);
                assert_eq!(item["event"]["correlationid"], "1");
                assert_eq!(item["event"]["traceparent"], event.traceparent());
            }
        }
    }
}
