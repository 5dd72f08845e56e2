//! Whether the broker lives and is ready, what it counts, and what it offers.

use bytes::Bytes;
use http::StatusCode;

use super::OPENAPI;
use super::api::Call;
use super::problem::{Problem, Reply, json, json_bytes, with_type};
use crate::auth::{Place, Scope};

/// The media type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /healthz`: answered for as long as the process can answer at all.
pub(super) async fn alive(_call: Call) -> Result<Reply, Problem> {
    Ok(json_bytes(StatusCode::OK, Bytes::from_static(b"{\"alive\":true}")))
}

/// `GET /readyz`
pub(super) async fn ready(call: Call) -> Result<Reply, Problem> {
    let mut readiness = call.api.broker.readiness();
    // What is wrong names topics and triggers, which is not for everybody.
    if !call.principal.may(Scope::Read, Place::Everywhere) {
        readiness.problems.clear();
    }
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

/// `GET /metrics`: empty where this process has no recorder for Prometheus.
pub(super) async fn metrics(call: Call) -> Result<Reply, Problem> {
    let text = match &call.api.exposition {
        Some(exposition) => {
            call.api.broker.look_for_near_misses().await;
            crate::metrics::record(&call.api.broker.topics(), &call.api.broker.triggers());
            crate::metrics::record_replays(&call.api.broker.replay_totals());
            crate::metrics::record_schedules(&call.api.broker.schedules());
            crate::metrics::record_config(
                &call.api.broker.config_status(),
                &call.api.broker.orphaned_triggers(),
            );
            crate::metrics::record_delayed(&call.api.broker.delayed_status());
            exposition.render()
        }
        None => String::new(),
    };
    Ok(with_type(StatusCode::OK, PROMETHEUS_TEXT, text.into()))
}

/// `GET /openapi.json`
pub(super) async fn openapi(_call: Call) -> Result<Reply, Problem> {
    Ok(json_bytes(StatusCode::OK, Bytes::from_static(OPENAPI.as_bytes())))
}
