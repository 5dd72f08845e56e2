//! Three times as much as the broker can take, for a while: whoever is refused knows it soon and clearly, what is taken is kept and
//! waits no longer than it may, and afterwards everything is as before within seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::publish::{Load, QuicPublish, cloud_event};
use super::{Settings, float, topic, topics};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::clock::monotonic_ns;
use crate::latencies::{Latencies, Summary};
use crate::pace::Pace;
use crate::payload::Payloads;
use crate::read_back::verify_chosen;
use crate::report::{Figure, Goal, median};
use crate::requests::{Connection, closed_loop};
use crate::system::raise_descriptors;

/// How many times the capacity is offered.
const TIMES: f64 = 3.0;
/// Connections that offer it: whatever finds none free is held back by the network, as at any client.
const CONNECTIONS: usize = 4_000;
/// Connections that measure the capacity.
const CAPACITY_CONNECTIONS: usize = 64;
/// What of the capacity is still taken.
const KEPT_SHARE: f64 = 0.8;
/// What one that is taken may wait: `limits.publish_wait`, and its own turn.
const ACCEPTED_P99_MS: f64 = 4_000.0;
const REFUSED_P99_MS: f64 = 1_000.0;
const RECOVERY_S: f64 = 5.0;
/// A publish that is as quick as this means that all is as before.
const QUICK: Duration = Duration::from_millis(100);
/// How many in a row must be.
const QUICK_IN_A_ROW: u32 = 10;
const RECOVERY_PATIENCE: Duration = Duration::from_secs(120);
/// Over QUIC flow control holds back: so many publishers, and events under way of each.
const PUBLISHERS: usize = 16;
const WINDOW: usize = 8_192;

/// What became of all that was offered.
#[derive(Debug, Default)]
struct Offered {
    taken: Vec<u64>,
    accepted: Latencies,
    refused: Latencies,
    /// No connection was free at its moment.
    held_back: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    capacity: f64,
    offered_per_second: f64,
    taken_per_second: f64,
    accepted: Summary,
    refused: Summary,
    held_back: u64,
    recovery_s: f64,
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    raise_descriptors(CONNECTIONS as u64 * 2)?;
    let (mut runs, mut over_quic) = (Vec::new(), Vec::new());
    for run in 0..settings.runs {
        let run = u64::try_from(run)?;
        runs.push(over_http(settings, run).await?);
        over_quic.push(windows(settings, run).await?);
    }
    let middle = median(&runs, |run: &Run| run.taken_per_second / run.capacity);
    let figure = |what: &str, value: f64, unit: &'static str, goal: Goal, detail: String| Figure {
        durability: settings.durability.as_str(),
        scenario: "overload".to_owned(),
        what: what.to_owned(),
        value,
        unit,
        goal,
        detail,
    };
    let share = format!(
        "{:.0}/s of {:.0}/s capacity while {:.0}/s were offered; {} refused, {} held back",
        middle.taken_per_second,
        middle.capacity,
        middle.offered_per_second,
        middle.refused.count,
        middle.held_back
    );
    let quic = median(&over_quic, |summary: &Summary| summary.p99_ms);
    Ok(vec![
        figure(
            "taken of the capacity",
            middle.taken_per_second / middle.capacity,
            "x",
            Goal::AtLeast(KEPT_SHARE),
            share,
        ),
        figure(
            "accepted, p99",
            middle.accepted.p99_ms,
            "ms",
            Goal::AtMost(ACCEPTED_P99_MS),
            middle.accepted.text(),
        ),
        figure(
            "refused (429), p99",
            middle.refused.p99_ms,
            "ms",
            Goal::AtMost(REFUSED_P99_MS),
            middle.refused.text(),
        ),
        figure("recovery", middle.recovery_s, "s", Goal::AtMost(RECOVERY_S), String::new()),
        figure(
            "QUIC, 16 publishers with 8,192 under way, p99",
            quic.p99_ms,
            "ms",
            Goal::AtMost(ACCEPTED_P99_MS),
            quic.text(),
        ),
    ])
}

async fn over_http(settings: &Settings, run: u64) -> anyhow::Result<Run> {
    let capacity = {
        let folder = BrokerFolder::new(&settings.dir)?;
        let broker = folder.start(&topics(settings)).await?;
        let payloads = Payloads::new(run, settings.data_bytes)?;
        let request = move |n| cloud_event(n, payloads.data(n));
        let duration = settings.duration.min(settings.overload);
        let driven = closed_loop(broker.http, CAPACITY_CONNECTIONS, duration, request).await?;
        broker.stop().await?;
        driven.per_second()
    };
    let folder = BrokerFolder::new(&settings.dir)?;
    let broker = folder.start(&topics(settings)).await?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is a small positive number"
    )]
    let rate = (capacity * TIMES) as u64;
    let count = rate * settings.overload.as_secs().max(1);
    let begun = Instant::now();
    let offered = offer(&broker, &payloads, rate, count).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    let recovery_s = recover(&broker, &payloads, count).await?;
    broker.stop().await?;
    let taken = u64::try_from(offered.taken.len())?;
    // What was refused is not there, and what was taken is there once.
    let mut chosen = offered.taken;
    chosen.extend(recovery_s.1);
    verify_chosen(&folder.data(), &topic(), &payloads, &chosen).await?;
    Ok(Run {
        capacity,
        offered_per_second: float(count) / elapsed,
        taken_per_second: float(taken) / elapsed,
        accepted: offered.accepted.summary(),
        refused: offered.refused.summary(),
        held_back: offered.held_back,
        recovery_s: recovery_s.0,
    })
}

/// Offers events `0..count`, each at its moment, over whatever connection is free.
async fn offer(
    broker: &BrokerProcess,
    payloads: &Payloads,
    rate: u64,
    count: u64,
) -> anyhow::Result<Offered> {
    let (sender, receiver) = mpsc::channel::<(u64, u64)>(CONNECTIONS);
    let receiver = Arc::new(Mutex::new(receiver));
    let offered = Arc::new(std::sync::Mutex::new(Offered::default()));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (receiver, offered, payloads) = (Arc::clone(&receiver), Arc::clone(&offered), payloads.clone());
        let mut connection = Connection::open(broker.http).await?;
        tasks.spawn(async move {
            loop {
                let Some((n, at)) = receiver.lock().await.recv().await else { return anyhow::Ok(()) };
                let (parts, body) = connection.exchange_whole(cloud_event(n, payloads.data(n))).await?;
                let took = monotonic_ns().saturating_sub(at);
                let mut offered = offered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if parts.status.is_success() {
                    offered.accepted.record_ns(took);
                    offered.taken.push(n);
                } else {
                    let text = String::from_utf8_lossy(&body);
                    ensure!(parts.status == 429, "{}: {text}", parts.status);
                    ensure!(parts.headers.contains_key("retry-after"), "no retry-after: {text}");
                    offered.refused.record_ns(took);
                }
            }
        });
    }
    let (mut pace, mut n, mut held_back) = (Pace::start(rate, count)?, 0, 0);
    while let Some(at) = pace.next().await {
        if sender.try_send((n, at)).is_err() {
            held_back += 1;
        }
        n += 1;
    }
    drop(sender);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let offered = Arc::into_inner(offered).context("all connections have ended")?;
    let offered = offered.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Offered { held_back, ..offered })
}

/// How many seconds it takes until publishes are quick again; and the events that were taken meanwhile, from `first` on.
async fn recover(broker: &BrokerProcess, payloads: &Payloads, first: u64) -> anyhow::Result<(f64, Vec<u64>)> {
    let (begun, mut taken, mut in_a_row, mut n) = (Instant::now(), Vec::new(), 0, first);
    let mut since = begun;
    let mut connection = Connection::open(broker.http).await?;
    while in_a_row < QUICK_IN_A_ROW {
        ensure!(begun.elapsed() < RECOVERY_PATIENCE, "publishes are never quick again");
        let sent = Instant::now();
        if in_a_row == 0 {
            since = sent;
        }
        let (status, _) = connection.exchange(cloud_event(n, payloads.data(n))).await?;
        if status.is_success() {
            taken.push(n);
        }
        in_a_row = if status.is_success() && sent.elapsed() < QUICK { in_a_row + 1 } else { 0 };
        n += 1;
    }
    Ok(((since - begun).as_secs_f64(), taken))
}

/// As many events under way over QUIC as fit, for as long: flow control holds the publishers back.
async fn windows(settings: &Settings, run: u64) -> anyhow::Result<Summary> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let broker = folder.start(&topics(settings)).await?;
    let mut tasks = JoinSet::new();
    for publisher in 0..PUBLISHERS as u64 {
        // Each has events of its own.
        let payloads = Payloads::new(run * PUBLISHERS as u64 + publisher, settings.data_bytes)?;
        let publish =
            QuicPublish::open(&broker, topic(), payloads, Load { batch: 1, window: WINDOW }).await?;
        let duration = settings.overload;
        tasks.spawn(async move {
            let published = publish.during(duration).await?;
            publish.close().await;
            anyhow::Ok(published)
        });
    }
    let (mut worst, mut events) = (Summary::default(), 0);
    while let Some(ended) = tasks.join_next().await {
        let published = ended??;
        events += published.events;
        if published.latencies.p99_ms > worst.p99_ms {
            worst = published.latencies;
        }
    }
    let stored = broker.json(&format!("/v1/topics/{}", topic())).await?["end"].as_u64();
    ensure!(stored == Some(events), "{events} were acknowledged and {stored:?} are there");
    broker.stop().await?;
    Ok(worst)
}
