//! A backlog drained to one HTTP target, beside what the same client reaches against the same target without a broker.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{BACKLOG_LOAD, QuicPublish, Settings, float, topic, topics};
use crate::bare_client::bare_client;
use crate::broker_process::BrokerFolder;
use crate::limits::raw_ceiling;
use crate::payload::Payloads;
use crate::process::{TargetProcess, cpu_seconds};
use crate::read_back::verify;
use crate::report::{Figure, Goal, median};
use crate::target::{TargetOptions, TargetReport};

const CONCURRENCY: usize = 128;
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Drain {
    per_second: f64,
    bare_per_second: f64,
    raw_per_second: f64,
    cpu_us: f64,
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for run in 0..settings.runs {
        runs.push(once(settings, u64::try_from(run)?).await?);
    }
    let drain = median(&runs, |drain: &Drain| drain.per_second);
    let share = median(&runs, |drain: &Drain| drain.per_second / drain.bare_per_second);
    let figure = |what: String, value: f64, unit: &'static str, goal: Goal, detail: String| Figure {
        durability: settings.durability.as_str(),
        scenario: "deliver".to_owned(),
        what,
        value,
        unit,
        goal,
        detail,
    };
    let what = format!("backlog of {} to one target, {CONCURRENCY} at once", settings.backlog);
    let detail = format!("{:.1} us of broker CPU per delivery", drain.cpu_us);
    let ceilings = format!(
        "bare client {:.0}/s, raw hyper {:.0}/s in the same run",
        share.bare_per_second, share.raw_per_second
    );
    let percent = 100.0 * share.per_second / share.bare_per_second;
    Ok(vec![
        figure(what, drain.per_second, "/s", Goal::AtLeast(40_000.0), detail),
        figure("share of the bare client's ceiling".into(), percent, "%", Goal::AtLeast(55.0), ceilings),
    ])
}

async fn once(settings: &Settings, run: u64) -> anyhow::Result<Drain> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let broker = folder.start(&topics(settings)).await?;
    let publish = QuicPublish::open(&broker, topic(), payloads.clone(), BACKLOG_LOAD).await?;
    publish.exactly(settings.backlog).await?;
    broker.stop().await?;

    let options = TargetOptions { run, data_bytes: settings.data_bytes, keep_arrivals: false };
    let target = TargetProcess::start(options).await?;
    let raw = raw_ceiling(&target, run, CONCURRENCY, settings.duration).await?;
    let bare = bare_client(&target, &payloads, CONCURRENCY, settings.duration).await?;

    let broker =
        folder.start(&format!("{}\n{}", topics(settings), trigger(&target.url(), CONCURRENCY))).await?;
    let report = arrived(&target, settings.backlog).await?;
    let cpu = cpu_seconds(broker.id()?)?;
    ensure!(report.wrong == 0 && report.repeated == 0, "the target saw {report:?}");
    settled(&broker, settings.backlog).await?;
    broker.stop().await?;
    verify(&folder.data(), &topic(), &payloads, settings.backlog).await?;
    let elapsed_ns = report.last_ns - report.first_ns;
    Ok(Drain {
        per_second: float(report.distinct) / (float(elapsed_ns) / 1e9),
        bare_per_second: bare.per_second(),
        raw_per_second: raw.per_second(),
        cpu_us: cpu * 1e6 / float(report.distinct),
    })
}

/// A trigger that takes everything from the start of the topic.
pub(super) fn trigger(url: &str, concurrency: usize) -> String {
    format!(
        "[triggers.drain]\ntopic = \"{}\"\nstart = \"earliest\"\nconcurrency = {concurrency}\n[triggers.drain.target.http]\nurl = \"{url}\"\nidle_connections = {concurrency}\n",
        topic()
    )
}

/// Waits until `count` events arrived at the target.
pub(super) async fn arrived(target: &TargetProcess, count: u64) -> anyhow::Result<TargetReport> {
    let begun = Instant::now();
    loop {
        let report = target.report().await?;
        if report.distinct >= count {
            return Ok(report);
        }
        ensure!(begun.elapsed() < PATIENCE, "only {} of {count} arrived in {PATIENCE:?}", report.distinct);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the trigger's account is complete: everything delivered, nothing pending.
async fn settled(broker: &crate::broker_process::BrokerProcess, count: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let status = broker.json("/v1/triggers/drain").await?;
        let of = |name: &str| status["account"][name].as_u64().context("an account of numbers");
        if of("delivered")? == count {
            ensure!(of("matched")? == count && of("pending")? == 0, "the account is off: {status}");
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the trigger's account never ends: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
