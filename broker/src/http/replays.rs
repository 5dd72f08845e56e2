//! Replays: started, listed, shown, cancelled.

use eventail_wire::{TopicName, TriggerName, limits};
use http::StatusCode;
use serde::Serialize;

use super::api::{Api, Call};
use super::guard;
use super::problem::{Problem, Reply, json};
use super::topics::Nothing;
use crate::auth::{Principal, Scope};
use crate::status::{ReplayRequest, ReplayStatus};

#[derive(Serialize)]
struct Page {
    replays: Vec<ReplayStatus>,
    next: Option<String>,
}

/// `POST /v1/replays`. It is durably begun when this answers; a dry run is answered with what it would deliver.
pub(super) async fn start(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let (principal, subject) = (call.principal.clone(), call.subject.clone());
    let (api, request) = call.json::<ReplayRequest>().await?;
    subject.is(told(&request));
    check_start(&api, &principal, &request)?;
    if request.dry_run {
        return json(StatusCode::OK, &api.broker.preview_replay(&request).await?);
    }
    json(StatusCode::CREATED, &api.broker.start_replay(&request).await?)
}

/// Whether who asks may operate the topic whose events are meant, and publish to the one that they go to. An address that is no trigger's
/// is nothing that a topic's operators have to say: whoever names one reads the events, and has the broker call what it can reach.
fn check_start(api: &Api, principal: &Principal, request: &ReplayRequest) -> Result<(), Problem> {
    let of_trigger = request.trigger.as_ref().map(|name| api.broker.trigger(name)).transpose()?;
    let topics = of_trigger.iter().map(|trigger| &trigger.topic).chain(&request.topic);
    for topic in topics {
        guard::demand(principal, Scope::Operate, topic)?;
    }
    if request.to_url.is_some() {
        guard::demand_everywhere(principal, Scope::Operate)?;
    }
    request.to_topic.as_ref().map_or(Ok(()), |to| guard::demand(principal, Scope::Publish, to))
}

/// What is replayed, in the words of the audit log. The address that it goes to may hold a password.
fn told(request: &ReplayRequest) -> String {
    let named = |what: &str, name: Option<&str>| name.map(|name| format!("{what}={name}"));
    let told = [
        named("trigger", request.trigger.as_ref().map(TriggerName::as_str)),
        named("topic", request.topic.as_ref().map(TopicName::as_str)),
        named("to_topic", request.to_topic.as_ref().map(TopicName::as_str)),
        request.to_url.as_ref().map(|_| "to_url".to_owned()),
        request.dry_run.then(|| "dry_run".to_owned()),
    ];
    told.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// `GET /v1/replays?limit=&after=`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["limit", "after"])?;
    let limit = query.limit(limits::PAGE_EVENTS_MAX)?;
    let after = query.get("after").map(str::to_owned);
    let mut replays = call.api.broker.replays();
    replays.retain(|replay| call.may(Scope::Read, &replay.topic));
    replays.retain(|replay| after.as_ref().is_none_or(|after| replay.id > *after));
    let more = replays.len() > limit;
    replays.truncate(limit);
    let next = replays.last().filter(|_| more).map(|last| last.id.clone());
    json(StatusCode::OK, &Page { replays, next })
}

/// `GET /v1/replays/{id}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let replay = call.api.broker.replay(call.segment("id"))?;
    call.demand(Scope::Read, &replay.topic)?;
    json(StatusCode::OK, &replay)
}

/// `POST /v1/replays/{id}/cancel`
pub(super) async fn cancel(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let id = call.segment("id").to_owned();
    call.demand(Scope::Operate, &call.api.broker.replay(&id)?.topic)?;
    let (api, Nothing {}) = call.json_or_default().await?;
    json(StatusCode::OK, &api.broker.cancel_replay(&id).await?)
}
