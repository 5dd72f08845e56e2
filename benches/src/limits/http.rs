//! The loopback: the bare target in its own process, and the leanest client.

use std::time::Duration;

use anyhow::ensure;

use crate::payload::Payloads;
use crate::process::TargetProcess;
use crate::report::{Figure, Goal};
use crate::requests::{Driven, closed_loop, post};
use crate::target::TargetOptions;

const DATA_BYTES: usize = 1024;

/// `POST`s of 1 KiB over `connections`, one under way on each, from raw hyper connections.
///
/// # Errors
/// Where the target does not run, or saw a wrong byte.
pub async fn ceiling(connections: usize, duration: Duration) -> anyhow::Result<Figure> {
    let options = TargetOptions { run: 1, data_bytes: DATA_BYTES, keep_arrivals: false };
    let target = TargetProcess::start(options).await?;
    let driven = raw_ceiling(&target, options.run, connections, duration).await?;
    Ok(Figure {
        durability: "-",
        scenario: "limits".to_owned(),
        what: format!("POST 1 KiB -> 204, raw hyper, {connections} connections"),
        value: driven.per_second(),
        unit: "/s",
        goal: Goal::None,
        detail: driven.latencies.summary().text(),
    })
}

/// The same against a target that runs already.
///
/// # Errors
/// Where a connection breaks, or the target saw a wrong byte.
pub async fn raw_ceiling(
    target: &TargetProcess,
    run: u64,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Driven> {
    target.reset().await?;
    let payloads = Payloads::new(run, DATA_BYTES)?;
    let driven =
        closed_loop(target.address(), connections, duration, move |n| post("/", payloads.data(n))).await?;
    let report = target.report().await?;
    ensure!(
        report.wrong == 0 && report.distinct == driven.requests,
        "the target saw something else: {report:?}"
    );
    target.reset().await?;
    Ok(driven)
}
