//! From the moment an event should have been sent to its arrival at the target, at a rate that nothing slows down: a late
//! send counts as latency.

use std::time::Duration;

use anyhow::ensure;

use super::{Load, QuicPublish, Settings, float, topic, topics};
use crate::broker_process::BrokerFolder;
use crate::latencies::{Latencies, Summary};
use crate::payload::Payloads;
use crate::process::TargetProcess;
use crate::report::{Figure, Goal, median};
use crate::scenario::deliver::{arrived, trigger};
use crate::target::TargetOptions;

const RATE: u64 = 1_000;
/// The first events warm connections and caches and are proved, but not counted.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for run in 0..settings.runs {
        runs.push(once(settings, u64::try_from(run)?).await?);
    }
    let middle = median(&runs, |summary: &Summary| summary.p50_ms);
    let p99 = median(&runs, |summary: &Summary| summary.p99_ms);
    let figure = |what: &str, value: f64, goal: f64, summary: &Summary| Figure {
        durability: settings.durability.as_str(),
        scenario: "latency".to_owned(),
        what: format!("publish to arrival at {RATE}/s, {what}"),
        value,
        unit: "ms",
        goal: Goal::AtMost(goal),
        detail: summary.text(),
    };
    Ok(vec![figure("p50", middle.p50_ms, 0.5, &middle), figure("p99", p99.p99_ms, 2.0, &p99)])
}

async fn once(settings: &Settings, run: u64) -> anyhow::Result<Summary> {
    let options = TargetOptions { run, data_bytes: settings.data_bytes, keep_arrivals: true };
    let target = TargetProcess::start(options).await?;
    let folder = BrokerFolder::new(&settings.dir)?;
    let broker = folder.start(&format!("{}\n{}", topics(settings), trigger(&target.url(), 128))).await?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let publish = QuicPublish::open(&broker, topic(), payloads, Load { batch: 1, window: 4_096 }).await?;
    let count = RATE * (settings.duration + WARM_UP).as_secs().max(2);
    let (_, intended) = publish.open_loop(RATE, count).await?;
    arrived(&target, count).await?;
    let arrivals = target.arrivals().await?;
    ensure!(arrivals.len() == intended.len(), "{} of {} arrived", arrivals.len(), intended.len());
    let mut latencies = Latencies::default();
    let warm = usize::try_from(RATE * WARM_UP.as_secs())?;
    for (arrived, intended) in arrivals.iter().zip(&intended).skip(warm) {
        latencies.record_ns(arrived.saturating_sub(*intended));
    }
    let report = target.report().await?;
    ensure!(float(report.distinct) >= float(count) && report.wrong == 0, "the target saw {report:?}");
    broker.stop().await?;
    Ok(latencies.summary())
}
