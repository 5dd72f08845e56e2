//! Schedules: what runs when.

use eventail_wire::ScheduleName;
use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::problem::{Problem, Reply, json};
use crate::status::ScheduleStatus;

/// All at once: the configuration bounds how many there are.
#[derive(Serialize)]
struct Schedules {
    schedules: Vec<ScheduleStatus>,
}

/// `GET /v1/schedules`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    json(StatusCode::OK, &Schedules { schedules: call.api.broker.schedules() })
}

/// `GET /v1/schedules/{schedule}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let name = ScheduleName::new(call.segment("schedule"))?;
    json(StatusCode::OK, &call.api.broker.schedule(&name)?)
}
