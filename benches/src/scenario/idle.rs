//! What a broker costs while nothing happens, and how soon after its start it takes the first event.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{BACKLOG_LOAD, QuicPublish, Settings, float, topic, topics};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::payload::Payloads;
use crate::process::resident_bytes;
use crate::report::{Figure, Goal, median};
use crate::requests::{self, Connection};

const RUN: u64 = 77;

#[derive(Clone, Copy, Debug)]
struct Start {
    first_ack_ms: f64,
    resident_mib: f64,
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut empty = Vec::new();
    for _ in 0..settings.runs {
        let folder = BrokerFolder::new(&settings.dir)?;
        empty.push(start(&folder, settings, 0).await?.0);
    }
    let folder = BrokerFolder::new(&settings.dir)?;
    let events = fill(&folder, settings).await?;
    let mut full = Vec::new();
    for run in 0..settings.runs {
        full.push(start(&folder, settings, events + u64::try_from(run)?).await?.0);
    }
    let figure = |what: String, value: f64, unit: &'static str, goal: f64| Figure {
        durability: settings.durability.as_str(),
        scenario: "idle".to_owned(),
        what,
        value,
        unit,
        goal: Goal::AtMost(goal),
        detail: String::new(),
    };
    let resident = median(&empty, |start| start.resident_mib).resident_mib;
    let empty = median(&empty, |start| start.first_ack_ms).first_ack_ms;
    let full = median(&full, |start| start.first_ack_ms);
    let gib = settings.log_gib;
    let mut large = figure(format!("start to first ack, {gib} GiB of log"), full.first_ack_ms, "ms", 2_000.0);
    large.detail = format!("{events} events, {:.1} MiB resident", full.resident_mib);
    Ok(vec![
        figure("resident memory after the first ack".to_owned(), resident, "MiB", 20.0),
        figure("start to first ack, empty folder".to_owned(), empty, "ms", 100.0),
        large,
    ])
}

/// Starts, publishes event `n` by HTTP as soon as anyone listens, and stops.
async fn start(folder: &BrokerFolder, settings: &Settings, n: u64) -> anyhow::Result<(Start, Duration)> {
    let payloads = Payloads::new(RUN, settings.data_bytes)?;
    let begun = Instant::now();
    let broker = folder.start(&topics(settings)).await?;
    publish_one(&broker, &payloads, n).await?;
    let elapsed = begun.elapsed();
    let resident = float(resident_bytes(broker.id()?)?) / f64::from(1 << 20);
    broker.stop().await?;
    Ok((Start { first_ack_ms: elapsed.as_secs_f64() * 1e3, resident_mib: resident }, elapsed))
}

async fn publish_one(broker: &BrokerProcess, payloads: &Payloads, n: u64) -> anyhow::Result<()> {
    let path = format!("/v1/topics/{}/events?type=bench.event&source=/bench&id={}", topic(), Payloads::id(n));
    let request = requests::post(&path, payloads.data(n));
    let (status, body) = Connection::open(broker.http).await?.exchange(request).await?;
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// Publishes until the log holds as many GiB as asked; answers how many events that took.
async fn fill(folder: &BrokerFolder, settings: &Settings) -> anyhow::Result<u64> {
    let broker = folder.start(&topics(settings)).await?;
    let payloads = Payloads::new(RUN, settings.data_bytes)?;
    let count = (settings.log_gib << 30) / u64::try_from(settings.data_bytes)?;
    QuicPublish::open(&broker, topic(), payloads, BACKLOG_LOAD).await?.exactly(count).await?;
    broker.stop().await?;
    Ok(count)
}
