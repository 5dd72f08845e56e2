//! Topics: listed, shown, created.

use eventail_wire::{TopicName, limits};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::Call;
use super::problem::{Problem, Reply, json};
use crate::auth::Scope;
use crate::status::TopicStatus;

#[derive(Serialize)]
struct Page {
    topics: Vec<TopicStatus>,
    next: Option<TopicName>,
}

/// A body in which nothing may stand.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `GET /v1/topics?limit=&after=`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["limit", "after"])?;
    let limit = query.limit(limits::PAGE_EVENTS_MAX)?;
    let after = query.parsed("after", "a topic's name", |text| TopicName::new(text).ok())?;
    let mut topics = call.api.broker.topics();
    topics.retain(|topic| call.may(Scope::Read, &topic.name));
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics.retain(|topic| after.as_ref().is_none_or(|after| topic.name > *after));
    let more = topics.len() > limit;
    topics.truncate(limit);
    let next = topics.last().filter(|_| more).map(|last| last.name.clone());
    json(StatusCode::OK, &Page { topics, next })
}

/// `GET /v1/topics/{topic}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    json(StatusCode::OK, &call.api.broker.topic(&call.topic()?)?)
}

/// `PUT /v1/topics/{topic}`
pub(super) async fn create(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let topic = call.topic()?;
    let (api, Nothing {}) = call.json_or_default().await?;
    let created = api.broker.create_topic(&topic).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &api.broker.topic(&topic)?)
}
