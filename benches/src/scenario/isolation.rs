//! Fifty live triggers beside a dead one, and beside one with a long backlog: what it costs the live ones.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::deliver::PATIENCE;
use super::{BACKLOG_LOAD, QuicPublish, Settings, float, topic, topics};
use crate::abuser::{AbuserProcess, Manner};
use crate::broker_process::BrokerFolder;
use crate::payload::Payloads;
use crate::process::{TargetProcess, resident_bytes};
use crate::report::{Figure, Goal, median};
use crate::target::TargetOptions;

/// Triggers whose target answers.
const LIVE: u64 = 50;
/// Events that each of them gets for every second of load.
const EVENTS_PER_SECOND: u64 = 500;
/// What is left to them at least: as much as two runs of the same differ.
const SHARE: f64 = 0.95;
/// The topic of the backlog.
const OLD: &str = "old";

/// Who is beside the live ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nobody,
    /// A target that never answers.
    Dead,
    /// The same, with a backlog on a topic of its own.
    Backlog,
    /// A target that refuses connections.
    Refusing,
}

#[derive(Clone, Copy, Debug)]
struct Drained {
    per_second: f64,
    resident_mib: f64,
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (beside, what) in [
        (Beside::Dead, "live triggers beside one whose target never answers".to_owned()),
        (Beside::Refusing, "live triggers beside one whose target refuses connections".to_owned()),
        (Beside::Backlog, format!("live triggers beside a backlog of {}", settings.backlog)),
    ] {
        let mut runs = Vec::new();
        for run in 0..settings.runs {
            let run = u64::try_from(run)?;
            // In turns, so that what changes on the machine meanwhile changes for both.
            runs.push((once(settings, run, Beside::Nobody).await?, once(settings, run, beside).await?));
        }
        let ratio = |(alone, both): &(Drained, Drained)| both.per_second / alone.per_second;
        let middle = median(&runs, ratio);
        let (alone, both) = middle;
        figures.push(Figure {
            durability: settings.durability.as_str(),
            scenario: "isolation".to_owned(),
            what,
            value: ratio(&middle),
            unit: "x",
            goal: Goal::AtLeast(SHARE),
            detail: format!(
                "{LIVE} triggers: {:.0} deliveries/s against {:.0}/s alone, {:.0} against {:.0} MiB",
                both.per_second, alone.per_second, both.resident_mib, alone.resident_mib
            ),
        });
    }
    Ok(figures)
}

fn triggers(url: &str) -> String {
    let one = |number| {
        format!(
            "[triggers.live-{number}]\ntopic = \"{}\"\nstart = \"earliest\"\nconcurrency = 4\n[triggers.live-{number}.target.http]\nurl = \"{url}\"\n",
            topic()
        )
    };
    (0..LIVE).map(one).collect()
}

fn dead_trigger(topic: &str, url: &str) -> String {
    format!(
        "[triggers.dead]\ntopic = \"{topic}\"\nstart = \"earliest\"\ntimeout = \"2s\"\n[triggers.dead.target.http]\nurl = \"{url}\"\n"
    )
}

async fn once(settings: &Settings, run: u64, beside: Beside) -> anyhow::Result<Drained> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let broker = folder.start(&topics(settings)).await?;
    let count = EVENTS_PER_SECOND * settings.duration.as_secs().max(1);
    QuicPublish::open(&broker, topic(), payloads.clone(), BACKLOG_LOAD).await?.exactly(count).await?;
    if beside == Beside::Backlog {
        let old = eventail_wire::TopicName::new(OLD)?;
        QuicPublish::open(&broker, old, payloads, BACKLOG_LOAD).await?.exactly(settings.backlog).await?;
    }
    broker.stop().await?;

    let options = TargetOptions { run, data_bytes: settings.data_bytes, keep_arrivals: false };
    let target = TargetProcess::start(options).await?;
    let abuser = AbuserProcess::start(Manner::DeadTarget, target.address()).await?;
    let mut tables = format!("{}\n{}", topics(settings), triggers(&target.url()));
    tables += &match beside {
        Beside::Nobody => String::new(),
        Beside::Dead => dead_trigger(topic().as_str(), &abuser.url()),
        Beside::Backlog => dead_trigger(OLD, &abuser.url()),
        // Nobody ever listens there.
        Beside::Refusing => dead_trigger(topic().as_str(), "http://127.0.0.1:1/"),
    };
    let begun = Instant::now();
    let broker = folder.start(&tables).await?;
    let report = loop {
        let report = target.report().await?;
        let arrivals = report.distinct + report.repeated;
        if arrivals >= LIVE * count {
            break report;
        }
        ensure!(begun.elapsed() < PATIENCE, "only {arrivals} of {} arrived", LIVE * count);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let elapsed = begun.elapsed().saturating_sub(broker.ready_after).as_secs_f64();
    ensure!(report.wrong == 0 && report.distinct == count, "the target saw {report:?}");
    let resident_mib = float(resident_bytes(broker.id()?)?) / f64::from(1 << 20);
    for number in 0..LIVE {
        let status = broker.json(&format!("/v1/triggers/live-{number}")).await?;
        ensure!(status["account"]["matched"] == count, "live-{number}'s account is off: {status}");
        ensure!(status["account"]["dead_lettered"] == 0, "live-{number} gave something up: {status}");
    }
    broker.stop().await?;
    Ok(Drained { per_second: float(LIVE * count) / elapsed, resident_mib })
}
