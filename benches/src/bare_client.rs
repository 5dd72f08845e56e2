//! The client that triggers deliver with, against the same target, without a broker: what delivery is measured against.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use eventail_triggers::http::{Egress, HttpTarget, HttpTargetOptions};
use eventail_triggers::outcome::Outcome;
use eventail_triggers::target::{Invocation, Target};
use eventail_wire::{Offset, Timestamp};

use crate::latencies::Latencies;
use crate::payload::Payloads;
use crate::process::TargetProcess;
use crate::requests::{Driven, nanoseconds};

/// Invokes the target over `concurrency` attempts at once for `duration`; every one must be taken.
///
/// # Errors
/// The first attempt that is not taken, or what the target saw wrong.
pub async fn bare_client(
    target: &TargetProcess,
    payloads: &Payloads,
    concurrency: usize,
    duration: Duration,
) -> anyhow::Result<Driven> {
    target.reset().await?;
    let client = Arc::new(http_target(target, concurrency)?);
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let (client, next, payloads) = (Arc::clone(&client), Arc::clone(&next), payloads.clone());
        tasks.spawn(async move {
            let (mut count, mut latencies) = (0, Latencies::default());
            while begun.elapsed() < duration {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let sent = Instant::now();
                match client.invoke(invocation(&payloads, n)?).await.outcome {
                    Outcome::Ack { .. } => count += 1,
                    other => bail!("the target did not take event {n}: {other:?}"),
                }
                latencies.record_ns(nanoseconds(sent.elapsed()));
            }
            Ok((count, latencies))
        });
    }
    let mut driven = Driven::default();
    while let Some(ended) = tasks.join_next().await {
        let (count, latencies): (u64, Latencies) = ended.context("an attempt's task")??;
        driven.requests += count;
        driven.latencies.add(&latencies);
    }
    driven.elapsed = begun.elapsed();
    let report = target.report().await?;
    ensure!(
        report.wrong == 0 && report.distinct == driven.requests,
        "the target saw something else: {report:?}"
    );
    target.reset().await?;
    Ok(driven)
}

fn http_target(target: &TargetProcess, concurrency: usize) -> anyhow::Result<HttpTarget> {
    let url = target.url().parse()?;
    let options = HttpTargetOptions { idle_connections: concurrency, ..HttpTargetOptions::to(url) };
    Ok(HttpTarget::new(options, Egress::new(["127.0.0.0/8".parse()?]))?)
}

fn invocation(payloads: &Payloads, n: u64) -> anyhow::Result<Invocation> {
    // The target reads no clock, and no deadline is near.
    let now = Timestamp(1_700_000_000_000);
    Ok(Invocation {
        event: payloads.event(n),
        topic: "load".parse()?,
        offset: Offset(n),
        appended_at: now,
        trigger: "bare".parse()?,
        attempt: 1,
        delivery_id: Payloads::id(n).into(),
        now,
        deadline: now.plus_ms(30_000),
        wants_reply: false,
        callback: None,
        input: None,
        is_replay: false,
    })
}
