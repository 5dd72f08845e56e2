//! Deliveries that a target took over: settled or prolonged by the token that came with them.

use eventail_wire::frame::{CallbackAction, CallbackOutcome};
use eventail_wire::{Code, Timestamp, limits};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::{Api, Call};
use super::problem::{Problem, Reply, json};
use super::topics::Nothing;
use crate::config::Duration;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Nack {
    after: Option<String>,
    reason: String,
    reject: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Extend {
    by: Option<String>,
}

/// What became of a callback, as it is told.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Told {
    Delivered,
    Retry { at: Timestamp },
    DeadLettered,
    Extended { deadline: Timestamp },
    Kept,
}

/// `POST /v1/deliveries/{token}/ack`
pub(super) async fn ack(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let token = call.segment("token").to_owned();
    let (api, Nothing {}) = call.json_or_default().await?;
    call_back(&api, &token, CallbackAction::Ack).await
}

/// `POST /v1/deliveries/{token}/nack`
pub(super) async fn nack(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let token = call.segment("token").to_owned();
    let (api, Nack { after, reason, reject }) = call.json_or_default().await?;
    let (value, limit) = (reason.len() as u64, limits::RESPONSE_SNIPPET_BYTES_MAX as u64);
    if value > limit {
        return Err(Problem::over_limit(Code::InvalidParameter, "bytes of `reason`", value, limit));
    }
    let after_ms = after.map(|text| milliseconds("after", &text)).transpose()?;
    let action = match (reject, after_ms) {
        (false, after_ms) => CallbackAction::Nack { after_ms, reason },
        (true, None) => CallbackAction::Reject { reason },
        (true, Some(_)) => {
            return Err(Problem::parameter("`after` says when to try again, which `reject` rules out"));
        }
    };
    call_back(&api, &token, action).await
}

/// `POST /v1/deliveries/{token}/extend?by=`
pub(super) async fn extend(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["by"])?;
    let token = call.segment("token").to_owned();
    let (api, Extend { by }) = call.json_or_default().await?;
    let by = match (query.get("by"), by) {
        (Some(_), Some(_)) => return Err(Problem::parameter("`by` is given in the address and in the body")),
        (Some(text), None) => Some(text.to_owned()),
        (None, by) => by,
    };
    let by_ms = by.map(|text| milliseconds("by", &text)).transpose()?;
    if by_ms == Some(0) {
        return Err(Problem::parameter("`by` must be more than nothing"));
    }
    call_back(&api, &token, CallbackAction::Extend { by_ms }).await
}

async fn call_back(api: &Api, token: &str, action: CallbackAction) -> Result<Reply, Problem> {
    let told = match api.broker.call_back(token, action).await? {
        CallbackOutcome::Delivered => Told::Delivered,
        CallbackOutcome::Retry { at } => Told::Retry { at },
        CallbackOutcome::DeadLettered => Told::DeadLettered,
        CallbackOutcome::Extended { deadline } => Told::Extended { deadline },
        CallbackOutcome::Kept => Told::Kept,
    };
    let status = if matches!(told, Told::Kept) { StatusCode::ACCEPTED } else { StatusCode::OK };
    json(status, &told)
}

fn milliseconds(name: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map(Duration::as_ms).map_err(|_| {
        Problem::parameter(format!("`{name}` must be {}, not {:?}", Duration::FORM, shortened(text)))
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
