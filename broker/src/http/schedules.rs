//! Schedules: what runs when.

use eventail_wire::{ScheduleName, TopicName};
use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::guard;
use super::problem::{Problem, Reply, json};
use crate::auth::{Place, Scope};
use crate::status::ScheduleStatus;

/// All at once: the configuration bounds how many there are.
#[derive(Serialize)]
struct Schedules {
    schedules: Vec<ScheduleStatus>,
}

/// `GET /v1/schedules`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let mut schedules = call.api.broker.schedules();
    schedules.retain(|schedule| match topic(&call, schedule) {
        Some(topic) => call.may(Scope::Read, &topic),
        None => call.principal.may(Scope::Read, Place::Everywhere),
    });
    json(StatusCode::OK, &Schedules { schedules })
}

/// `GET /v1/schedules/{schedule}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let name = ScheduleName::new(call.segment("schedule"))?;
    let schedule = call.api.broker.schedule(&name)?;
    match topic(&call, &schedule) {
        Some(topic) => call.demand(Scope::Read, &topic)?,
        None => guard::demand_everywhere(&call.principal, Scope::Read)?,
    }
    json(StatusCode::OK, &schedule)
}

/// The topic that a schedule's events go to, or the one that its trigger reads.
fn topic(call: &Call, schedule: &ScheduleStatus) -> Option<TopicName> {
    let of_trigger = |name| call.api.broker.trigger(name).ok().map(|trigger| trigger.topic);
    schedule.topic.clone().or_else(|| schedule.trigger.as_ref().and_then(of_trigger))
}
