//! The configuration: what runs, what a reload would change, and the reload.

use http::StatusCode;

use super::api::Call;
use super::problem::{Problem, Reply, json};
use crate::ReloadError;

/// `GET /v1/config`
pub(super) async fn status(call: Call) -> Result<Reply, Problem> {
    json(StatusCode::OK, &call.api.broker.config_status())
}

/// `GET /v1/config/plan`
pub(super) async fn plan(call: Call) -> Result<Reply, Problem> {
    json(StatusCode::OK, &call.api.broker.plan_reload_again().await.map_err(refused)?)
}

/// `POST /v1/config/reload`
pub(super) async fn reload(call: Call) -> Result<Reply, Problem> {
    json(StatusCode::OK, &call.api.broker.reload_again().await.map_err(refused)?)
}

fn refused(error: ReloadError) -> Problem {
    Problem::new(error.code(), error.message())
}
