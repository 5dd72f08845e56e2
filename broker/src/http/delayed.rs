//! Delayed events: listed, shown, cancelled.

use eventail_wire::cloudevents::write_structured_correlated;
use eventail_wire::{Code, HeldId, Timestamp, TopicName};
use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::problem::{Problem, Reply, json, json_bytes};
use crate::auth::Scope;
use crate::status::{DelayedEvent, DelayedFilter};

const LIMIT_DEFAULT: usize = 100;

#[derive(Serialize)]
struct Page {
    delayed: Vec<DelayedEvent>,
    next: Option<String>,
}

/// `GET /v1/delayed?topic=&until=&limit=&after=`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["topic", "until", "limit", "after"])?;
    let limit = query.limit(LIMIT_DEFAULT)?;
    let after = query.parsed("after", "the `next` of a page", parse_place)?;
    let filter = DelayedFilter {
        topic: query.get("topic").map(TopicName::new).transpose()?,
        until: query.time("until")?,
    };
    let delayed = call.api.broker.delayed_events(&filter, after, limit + 1).await?;
    // One more than was asked for tells whether there is another page.
    let has_more = delayed.len() > limit;
    let mut delayed: Vec<DelayedEvent> = delayed.into_iter().take(limit).collect();
    let next = delayed.last().filter(|_| has_more).map(|last| format!("{}-{}", last.deliver_at.0, last.id));
    delayed.retain(|delayed| call.may(Scope::Read, &delayed.topic));
    json(StatusCode::OK, &Page { delayed, next })
}

fn parse_place(text: &str) -> Option<(Timestamp, HeldId)> {
    let (at, id) = text.split_once('-')?;
    Some((Timestamp(at.parse().ok()?), id.parse().ok()?))
}

/// `GET /v1/delayed/{id}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let (delayed, event) = call.api.broker.delayed_event(handle(&call)?).await?;
    call.demand(Scope::Read, &delayed.topic)?;
    let mut out = serde_json::to_vec(&delayed)
        .map_err(|error| Problem::new(Code::Internal, format!("the answer could not be written: {error}")))?;
    if let Some(event) = event {
        // What was written is an object that is not empty; its closing brace makes room for one more member.
        out.pop();
        out.extend_from_slice(b",\"event\":");
        write_structured_correlated(&event, &mut out);
        out.push(b'}');
    }
    Ok(json_bytes(StatusCode::OK, out.into()))
}

/// `DELETE /v1/delayed/{id}`
pub(super) async fn cancel(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let id = handle(&call)?;
    let (delayed, _) = call.api.broker.delayed_event(id).await?;
    call.demand(Scope::Operate, &delayed.topic)?;
    json(StatusCode::OK, &call.api.broker.cancel_delayed(id).await?)
}

fn handle(call: &Call) -> Result<HeldId, Problem> {
    let text = call.segment("id");
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        Problem::parameter(format!("the handle of a delayed event is a number, not {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_listing_is_a_time_and_a_handle() {
        assert_eq!(parse_place("1763892000000-7"), Some((Timestamp(1_763_892_000_000), HeldId(7))));
        for text in ["", "7", "a-7", "7-", "-7"] {
            assert_eq!(parse_place(text), None, "{text}");
        }
    }
}
