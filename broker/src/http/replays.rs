//! Replays: started, listed, shown, cancelled.

use eventail_wire::limits;
use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::problem::{Problem, Reply, json};
use super::topics::Nothing;
use crate::status::{ReplayRequest, ReplayStatus};

#[derive(Serialize)]
struct Page {
    replays: Vec<ReplayStatus>,
    next: Option<String>,
}

/// `POST /v1/replays`. It is durably begun when this answers; a dry run is answered with what it would deliver.
pub(super) async fn start(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let (api, request) = call.json::<ReplayRequest>().await?;
    if request.dry_run {
        return json(StatusCode::OK, &api.broker.preview_replay(&request).await?);
    }
    json(StatusCode::CREATED, &api.broker.start_replay(&request).await?)
}

/// `GET /v1/replays?limit=&after=`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["limit", "after"])?;
    let limit = query.limit(limits::PAGE_EVENTS_MAX)?;
    let after = query.get("after").map(str::to_owned);
    let mut replays = call.api.broker.replays();
    replays.retain(|replay| after.as_ref().is_none_or(|after| replay.id > *after));
    let more = replays.len() > limit;
    replays.truncate(limit);
    let next = replays.last().filter(|_| more).map(|last| last.id.clone());
    json(StatusCode::OK, &Page { replays, next })
}

/// `GET /v1/replays/{id}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    json(StatusCode::OK, &call.api.broker.replay(call.segment("id"))?)
}

/// `POST /v1/replays/{id}/cancel`
pub(super) async fn cancel(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let id = call.segment("id").to_owned();
    let (api, Nothing {}) = call.json_or_default().await?;
    json(StatusCode::OK, &api.broker.cancel_replay(&id).await?)
}
