//! Abusers beside normal load: what others still publish and get delivered, against the same without the abuser in the same run.

use std::time::Duration;

use anyhow::ensure;
use clap::ValueEnum as _;

use super::deliver::{arrived, trigger};
use super::publish::cloud_event;
use super::{Settings, float, topics};
use crate::abuser::{AbuserProcess, Manner};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::payload::Payloads;
use crate::process::{TargetProcess, resident_bytes};
use crate::read_back::verify;
use crate::report::{Figure, Goal, median};
use crate::requests::{closed_loop, get};
use crate::target::TargetOptions;

/// Connections of the normal load.
const CONNECTIONS: usize = 32;
const CONCURRENCY: usize = 32;
/// What is left to others at least.
const SHARE: f64 = 0.8;
/// How long an abuser gets to begin.
const HEAD_START: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Beside {
    /// Published and delivered per second.
    per_second: f64,
    resident_mib: f64,
    p99_ms: f64,
    cut: f64,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    alone: Beside,
    abused: Beside,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.abused.per_second / self.alone.per_second
    }
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &manner in Manner::ALL {
        let mut runs = Vec::new();
        for run in 0..settings.runs {
            let run = u64::try_from(run)?;
            let alone = once(settings, run, None).await?;
            let abused = once(settings, run, Some(manner)).await?;
            runs.push(Pair { alone, abused });
        }
        let middle = median(&runs, Pair::ratio);
        let name = manner.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let Pair { alone, abused } = middle;
        figures.push(Figure {
            durability: settings.durability.as_str(),
            scenario: "abuse".to_owned(),
            what: format!("others' throughput beside {name}"),
            value: middle.ratio(),
            unit: "x",
            goal: Goal::AtLeast(SHARE),
            detail: format!(
                "{:.0}/s against {:.0}/s alone, p99 {:.1} against {:.1} ms, {:.0} against {:.0} MiB, {:.0} cut or refused",
                abused.per_second,
                alone.per_second,
                abused.p99_ms,
                alone.p99_ms,
                abused.resident_mib,
                alone.resident_mib,
                abused.cut
            ),
        });
    }
    Ok(figures)
}

/// The trigger whose target is an abuser.
fn abused_trigger(url: &str) -> String {
    format!(
        "[triggers.abused]\ntopic = \"load\"\nstart = \"earliest\"\ntimeout = \"5s\"\n[triggers.abused.target.http]\nurl = \"{url}\"\n"
    )
}

async fn once(settings: &Settings, run: u64, manner: Option<Manner>) -> anyhow::Result<Beside> {
    let options = TargetOptions { run, data_bytes: settings.data_bytes, keep_arrivals: false };
    let target = TargetProcess::start(options).await?;
    let folder = BrokerFolder::new(&settings.dir)?;
    let mut tables = format!("{}\n{}", topics(settings), trigger(&target.url(), CONCURRENCY));
    let mut abuser = None;
    if let Some(manner) = manner.filter(|manner| manner.is_target()) {
        // It is called and calls nobody, so any address will do.
        let process = AbuserProcess::start(manner, target.address()).await?;
        tables += &abused_trigger(&process.url());
        abuser = Some(process);
    }
    let broker = folder.start(&tables).await?;
    if let Some(manner) = manner.filter(|manner| !manner.is_target()) {
        abuser = Some(AbuserProcess::start(manner, broker.http).await?);
    }
    if abuser.is_some() {
        tokio::time::sleep(HEAD_START).await;
    }
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let source = payloads.clone();
    let begun = std::time::Instant::now();
    let request = move |n| cloud_event(n, source.data(n));
    let driven = closed_loop(broker.http, CONNECTIONS, settings.duration, request).await?;
    let report = arrived(&target, driven.requests).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    ensure!(report.wrong == 0, "the target saw {report:?}");
    let resident_mib = float(resident_bytes(broker.id()?)?) / f64::from(1 << 20);
    let cut = cut_or_refused(&broker).await?;
    drop(abuser);
    broker.stop().await?;
    verify(&folder.data(), &super::topic(), &payloads, driven.requests).await?;
    let p99_ms = driven.latencies.summary().p99_ms;
    Ok(Beside { per_second: float(driven.requests) / elapsed, resident_mib, p99_ms, cut })
}

/// What the broker counted of connections that it closed or refused.
async fn cut_or_refused(broker: &BrokerProcess) -> anyhow::Result<f64> {
    let text = String::from_utf8(get(broker.http, "/metrics").await?.1.to_vec())?;
    let counted = |line: &&str| {
        ["eventail_cut_connections_total{", "eventail_refused_connections_total{"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let values = text.lines().filter(counted).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}
