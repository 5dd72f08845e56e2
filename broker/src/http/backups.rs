//! Backups: begun, and told how they go.

use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::problem::{Problem, Reply, json};
use crate::status::{BackupRequest, BackupStatus};

#[derive(Serialize)]
struct Page {
    backups: Vec<BackupStatus>,
}

/// `POST /v1/backups`. It is under way when this answers.
pub(super) async fn start(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let (api, request) = call.json::<BackupRequest>().await?;
    json(StatusCode::ACCEPTED, &api.broker.start_backup(&request)?)
}

/// `GET /v1/backups`: the one that is being made, and those that were made before.
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let backups = call.api.broker.backups();
    json(StatusCode::OK, &Page { backups })
}
