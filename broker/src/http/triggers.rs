//! Triggers: listed, shown, paused, resumed, moved on.

use eventail_wire::{Code, Offset, TriggerName, limits};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::Call;
use super::problem::{Problem, Reply, json};
use super::topics::Nothing;
use crate::auth::Scope;
use crate::status::{OrphanStatus, TriggerStatus};

/// What a pause's reason may have: it stands in one line of a listing.
const REASON_BYTES_MAX: usize = 512;

#[derive(Serialize)]
struct Page {
    triggers: Vec<TriggerStatus>,
    next: Option<TriggerName>,
}

/// All at once: they are few, and go after a week.
#[derive(Serialize)]
struct Orphans {
    triggers: Vec<OrphanStatus>,
    next: Option<TriggerName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    #[serde(default = "Pause::reason_default")]
    reason: String,
}

impl Pause {
    fn reason_default() -> String {
        "paused by an operator".to_owned()
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self { reason: Self::reason_default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkipTo {
    #[serde(default)]
    offset: Option<Offset>,
    #[serde(default)]
    latest: bool,
}

/// `GET /v1/triggers?limit=&after=&orphaned=`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let query = call.query(&["limit", "after", "orphaned"])?;
    if query.flag("orphaned")? {
        let mut triggers = call.api.broker.orphaned_triggers();
        triggers.retain(|trigger| call.may(Scope::Read, &trigger.topic));
        return json(StatusCode::OK, &Orphans { triggers, next: None });
    }
    let limit = query.limit(limits::PAGE_EVENTS_MAX)?;
    let after = query.parsed("after", "a trigger's name", |text| TriggerName::new(text).ok())?;
    call.api.broker.look_for_near_misses().await;
    let mut triggers = call.api.broker.triggers();
    triggers.retain(|trigger| call.may(Scope::Read, &trigger.topic));
    triggers.sort_by(|a, b| a.name.cmp(&b.name));
    triggers.retain(|trigger| after.as_ref().is_none_or(|after| trigger.name > *after));
    let more = triggers.len() > limit;
    triggers.truncate(limit);
    let next = triggers.last().filter(|_| more).map(|last| last.name.clone());
    json(StatusCode::OK, &Page { triggers, next })
}

/// `GET /v1/triggers/{trigger}`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    call.api.broker.look_for_near_misses().await;
    json(StatusCode::OK, &call.api.broker.trigger(&call.trigger()?)?)
}

/// `POST /v1/triggers/{trigger}/pause`
pub(super) async fn pause(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let name = call.trigger()?;
    let (api, Pause { reason }) = call.json_or_default().await?;
    if reason.len() > REASON_BYTES_MAX {
        let (value, limit) = (reason.len() as u64, REASON_BYTES_MAX as u64);
        return Err(Problem::over_limit(Code::InvalidParameter, "bytes of `reason`", value, limit));
    }
    json(StatusCode::OK, &api.broker.pause_trigger(&name, &reason).await?)
}

/// `POST /v1/triggers/{trigger}/resume`
pub(super) async fn resume(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let name = call.trigger()?;
    let (api, Nothing {}) = call.json_or_default().await?;
    json(StatusCode::OK, &api.broker.resume_trigger(&name).await?)
}

/// `POST /v1/triggers/{trigger}/skip-to`
pub(super) async fn skip_to(call: Call) -> Result<Reply, Problem> {
    call.query(&[])?;
    let name = call.trigger()?;
    let (api, body) = call.json::<SkipTo>().await?;
    let to = match body {
        SkipTo { offset: Some(offset), latest: false } => offset,
        SkipTo { offset: None, latest: true } => {
            let trigger = api.broker.trigger(&name)?;
            api.broker.topic(&trigger.topic)?.end
        }
        _ => return Err(Problem::parameter("give either `offset` with a number or `latest` with true")),
    };
    json(StatusCode::OK, &api.broker.skip_trigger_to(&name, to).await?)
}
