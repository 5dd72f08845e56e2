//! What happened to an event, and why.

use eventail_wire::{Code, TopicName, TriggerName, limits};
use http::StatusCode;

use super::api::Call;
use super::problem::{Problem, Reply, json};
use crate::auth::{Place, Scope};
use crate::status::TimelineRequest;

/// `GET /v1/events/{id}/timeline?topic=&source=&trigger=`
pub(super) async fn answer(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["topic", "source", "trigger"])?;
    let trigger = query.parsed("trigger", "a trigger's name", |text| TriggerName::new(text).ok())?;
    let request = TimelineRequest {
        id: call.segment("id").to_owned(),
        topic: query.parsed("topic", "a topic's name", |text| TopicName::new(text).ok())?,
        source: query.get("source").map(str::to_owned),
        trigger: trigger.map(|trigger| trigger.to_string()),
    };
    let principal = call.principal.clone();
    let may_read = |topic: &TopicName| principal.may(Scope::Read, Place::Topic(topic.as_str()));
    let told = call.api.broker.timeline_where(&request, may_read).await?;
    if told.events.is_empty() {
        return Err(unknown(&call, &request));
    }
    json(StatusCode::OK, &told)
}

/// Says what was searched, so that nobody takes an event that retention took for one that never came.
fn unknown(call: &Call, request: &TimelineRequest) -> Problem {
    let id: String = request.id.chars().take(limits::NAME_BYTES_MAX).collect();
    let mut topics = call.api.broker.topics();
    topics.retain(|topic| call.may(Scope::Read, &topic.name));
    let searched = match &request.topic {
        Some(topic) => format!("topic {topic}"),
        None => format!("all {} topics", topics.len()),
    };
    let source =
        request.source.as_ref().map(|source| format!(" and the source {source:?}")).unwrap_or_default();
    let is_trimmed = topics
        .iter()
        .any(|topic| topic.start.0 > 0 && request.topic.as_ref().is_none_or(|asked| topic.name == *asked));
    let trimmed =
        if is_trimmed { "; retention removed older events, which are not known any more" } else { "" };
    let detail = format!("no event with the id {id:?}{source} in {searched}{trimmed}");
    Problem::new(Code::UnknownEvent, detail)
}
