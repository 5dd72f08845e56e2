//! Functions: what they did and cost.

use std::time;

use eventail_wire::limits;
use http::StatusCode;
use serde::Serialize;

use super::api::Call;
use super::problem::{Problem, Reply, json};
use super::query::Parameters;
use crate::config::Duration;
use crate::status::FunctionSummary;

/// The window where nothing is said.
const WINDOW_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// All at once: the ledger bounds how many there are.
#[derive(Serialize)]
struct Functions {
    functions: Vec<FunctionSummary>,
}

/// `GET /v1/functions?window=`
pub(super) async fn list(call: Call) -> Result<Reply, Problem> {
    let window = window(&call.query(&["window"])?)?;
    json(StatusCode::OK, &Functions { functions: call.api.broker.functions(window) })
}

/// `GET /v1/functions/{function}?window=`
pub(super) async fn show(call: Call) -> Result<Reply, Problem> {
    let window = window(&call.query(&["window"])?)?;
    json(StatusCode::OK, &call.api.broker.function(call.segment("function"), window)?)
}

fn window(query: &Parameters) -> Result<time::Duration, Problem> {
    let expected = "a time from 1s to 30d, such as 24h";
    let within = |text: &str| {
        text.parse::<Duration>()
            .ok()
            .filter(|window| (1_000..=limits::LEDGER_KEPT_MS).contains(&window.as_ms()))
    };
    let window = query.parsed("window", expected, within)?.unwrap_or(WINDOW_DEFAULT);
    Ok(time::Duration::from_millis(window.as_ms()))
}
