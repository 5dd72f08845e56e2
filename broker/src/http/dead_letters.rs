//! Dead letters: listed, shown, redriven, purged.

use eventail_triggers::outcome::RejectReason;
use eventail_wire::cloudevents::write_structured_correlated;
use eventail_wire::{Offset, Timestamp, TopicName, TriggerName};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::{Api, Call};
use super::guard;
use super::problem::{Problem, Reply, json, json_bytes};
use super::query::offset;
use crate::auth::{Place, Principal, Scope};
use crate::status::{DeadLetterFilter, DeadLetterSummary, RedriveRequest};

const LIMIT_DEFAULT: usize = 100;

#[derive(Serialize)]
struct Page {
    dead_letters: Vec<DeadLetterSummary>,
    next: Option<String>,
}

/// What a redrive or purge may be asked. It spells out [`DeadLetterFilter`], because serde cannot refuse unknown members of
/// a struct that another is flattened into, and a misspelt member would select everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    #[serde(default)]
    topic: Option<TopicName>,
    #[serde(default)]
    offset: Option<Offset>,
    #[serde(default)]
    origin_topic: Option<TopicName>,
    #[serde(default)]
    trigger: Option<TriggerName>,
    #[serde(default)]
    reason: Option<RejectReason>,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
    #[serde(default)]
    include_redriven: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    per_second: Option<u32>,
}

impl Selection {
    /// As a redrive; a purge is one without a rate.
    fn request(self) -> Result<RedriveRequest, Problem> {
        if self.offset.is_some() && self.topic.is_none() {
            return Err(Problem::parameter("`offset` is the place in a dead-letter topic: it needs `topic`"));
        }
        let filter = DeadLetterFilter {
            topic: self.topic,
            offset: self.offset,
            origin_topic: self.origin_topic,
            trigger: self.trigger,
            reason: self.reason,
            event_id: self.event_id,
            since: self.since,
            until: self.until,
            include_redriven: self.include_redriven,
        };
        if self.per_second == Some(0) {
            return Err(Problem::parameter("`per_second` must be 1 or more"));
        }
        Ok(RedriveRequest { filter, per_second: self.per_second, dry_run: self.dry_run })
    }
}

/// `GET /v1/dead-letters`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&[
        "trigger",
        "reason",
        "topic",
        "origin_topic",
        "since",
        "until",
        "event_id",
        "include_redriven",
        "limit",
        "after",
    ])?;
    let reasons = "permanent, max_attempts, max_age, refused, hop_limit, invalid_reply or too_large";
    let filter = DeadLetterFilter {
        topic: query.parsed("topic", "a topic's name", |text| TopicName::new(text).ok())?,
        offset: None,
        origin_topic: query.parsed("origin_topic", "a topic's name", |text| TopicName::new(text).ok())?,
        trigger: query.parsed("trigger", "a trigger's name", |text| TriggerName::new(text).ok())?,
        reason: query.parsed("reason", reasons, parse_reason)?,
        event_id: query.get("event_id").map(str::to_owned),
        since: query.time("since")?,
        until: query.time("until")?,
        include_redriven: query.flag("include_redriven")?,
    };
    let limit = query.limit(LIMIT_DEFAULT)?;
    let after = query.parsed("after", "the `next` of the page before, topic/offset", parse_place)?;
    let mut dead_letters = call.api.broker.dead_letters(&filter, after, limit).await?;
    let next = dead_letters
        .last()
        .filter(|_| dead_letters.len() == limit)
        .map(|last| format!("{}/{}", last.topic, last.offset));
    dead_letters.retain(|letter| may(&call.principal, Scope::Read, letter));
    json(StatusCode::OK, &Page { dead_letters, next })
}

/// Whether who asks may do this with a dead letter: he may where he may do it with the topic that its event came from, or with the one
/// that it is in.
fn may(principal: &Principal, scope: Scope, letter: &DeadLetterSummary) -> bool {
    let topics = [&letter.origin_topic, &letter.topic];
    topics.iter().any(|topic| principal.may(scope, Place::Topic(topic.as_str())))
}

/// Refuses who may not.
fn check(principal: &Principal, scope: Scope, letter: &DeadLetterSummary) -> Result<(), Problem> {
    if may(principal, scope, letter) { Ok(()) } else { guard::demand(principal, scope, &letter.origin_topic) }
}

/// Whether who asks may do what he asks with all that he selects: with one dead letter, with all of one trigger, or else with everything.
/// Of a trigger's dead letters only those are meant then whose events came from its topic, for a trigger and a subscription of another
/// topic may have the same name.
async fn check_selection(
    api: &Api,
    principal: &Principal,
    filter: &mut DeadLetterFilter,
    act: Act,
) -> Result<(), Problem> {
    let broker = &api.broker;
    if principal.may(Scope::Operate, Place::Everywhere) {
        return Ok(());
    }
    let trigger_of = |name: &TriggerName| broker.trigger(name).ok();
    if let (Some(topic), Some(offset)) = (&filter.topic, filter.offset) {
        let letter = broker.dead_letter(topic, offset).await?.summary;
        check(principal, Scope::Operate, &letter)?;
        // What is redriven calls the trigger's target, whatever topic the trigger reads by now.
        return match trigger_of(&letter.trigger).filter(|_| act == Act::Redrive) {
            Some(trigger) => guard::demand(principal, Scope::Operate, &trigger.topic),
            None => Ok(()),
        };
    }
    let Some(trigger) = filter.trigger.as_ref().and_then(trigger_of) else {
        return guard::demand_everywhere(principal, Scope::Operate);
    };
    guard::demand(principal, Scope::Operate, &trigger.topic)?;
    match &filter.origin_topic {
        Some(origin) => guard::demand(principal, Scope::Operate, origin),
        None => {
            filter.origin_topic = Some(trigger.topic);
            Ok(())
        }
    }
}

/// What is done with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Redrive,
    Purge,
}

/// What is selected, in the words of the audit log.
fn told(filter: &DeadLetterFilter) -> String {
    // What cannot be written is left out: the act itself is still told.
    serde_json::to_string(filter).unwrap_or_default()
}

fn parse_reason(text: &str) -> Option<RejectReason> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    RejectReason::deserialize(text).ok()
}

fn parse_place(text: &str) -> Option<(TopicName, Offset)> {
    let (topic, at) = text.split_once('/')?;
    Some((TopicName::new(topic).ok()?, offset(at)?))
}

/// `GET /v1/dead-letters/{topic}/{offset}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let letter = call.api.broker.dead_letter(&call.topic()?, call.offset()?).await?;
    check(&call.principal, Scope::Read, &letter.summary)?;
    let mut out = serde_json::to_vec(&letter.summary)
        .map_err(|error| Problem::new(eventail_wire::Code::Internal, error.to_string()))?;
    // The summary is an object that is not empty; its closing brace makes room for one more member.
    out.pop();
    out.extend_from_slice(b",\"event\":");
    write_structured_correlated(&letter.event, &mut out);
    out.push(b'}');
    Ok(json_bytes(StatusCode::OK, out.into()))
}

/// `POST /v1/dead-letters/redrive`
pub(super) async fn redrive(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let (principal, subject) = (call.principal.clone(), call.subject.clone());
    let (api, selection) = call.json::<Selection>().await?;
    let mut request = selection.request()?;
    subject.is(told(&request.filter));
    check_selection(&api, &principal, &mut request.filter, Act::Redrive).await?;
    json(StatusCode::OK, &api.broker.redrive(&request).await?)
}

/// `POST /v1/dead-letters/purge`
pub(super) async fn purge(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let (principal, subject) = (call.principal.clone(), call.subject.clone());
    let (api, selection) = call.json::<Selection>().await?;
    let mut request = selection.request()?;
    subject.is(told(&request.filter));
    check_selection(&api, &principal, &mut request.filter, Act::Purge).await?;
    if request.per_second.is_some() {
        return Err(Problem::parameter("`per_second` is for a redrive: a purge has no rate"));
    }
    json(StatusCode::OK, &api.broker.purge_dead_letters(&request.filter, request.dry_run).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_strict() {
        let read = |text| serde_json::from_str::<Selection>(text).map_err(|error| error.to_string());
        let request = read(
            r#"{"trigger":"ship","reason":"max_attempts","since":"2026-11-23T10:00:00Z","dry_run":true,"per_second":5}"#,
        )
        .unwrap()
        .request()
        .unwrap();
        let filter = request.filter;
        assert_eq!(filter.trigger.unwrap().as_str(), "ship");
        assert_eq!(filter.reason, Some(RejectReason::MaxAttempts));
        assert_eq!(filter.since, Timestamp::parse_rfc3339("2026-11-23T10:00:00Z"));
        assert_eq!((request.dry_run, request.per_second), (true, Some(5)));

        assert!(read(r#"{"triger":"ship"}"#).err().unwrap().contains("triger"));
        assert!(read(r#"{"reason":"bored"}"#).err().unwrap().contains("bored"));
        assert!(read(r#"{"offset":1}"#).unwrap().request().is_err());
        assert!(read(r#"{"per_second":0}"#).unwrap().request().is_err());
        assert_eq!(parse_reason("hop_limit"), Some(RejectReason::HopLimit));
        assert_eq!(parse_reason("HopLimit"), None);
        assert_eq!(parse_place("dead-letters/7"), Some((TopicName::new("dead-letters").unwrap(), Offset(7))));
        assert_eq!(parse_place("dead-letters"), None);
    }
}
