//! A crowd: thousands of publishers' connections, over HTTP kept alive and over QUIC, beside as many topics and triggers. Tells what a
//! connection at rest takes of memory, and what all of them publish together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use eventail_wire::TopicName;
use tokio::task::JoinSet;

use super::deliver::arrived;
use super::publish::cloud_event_to;
use super::{Settings, float, topics};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::latencies::{Latencies, Summary};
use crate::payload::Payloads;
use crate::process::{TargetProcess, resident_bytes};
use crate::quic_crowd::{QuicPublisher, Sockets};
use crate::report::{Figure, Goal, median};
use crate::requests::{Connection, nanoseconds};
use crate::system::raise_descriptors;
use crate::target::TargetOptions;

/// What a connection at rest should take at most.
const CONNECTION_KIB: f64 = 64.0;
/// Files that a broker and a load have open beside connections: logs, and what they began with.
const SPARE_DESCRIPTORS: usize = 1_024;
/// Connections that are made at once.
const AT_ONCE: usize = 64;
/// QUIC connections on one socket of the load.
const PER_SOCKET: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Reached {
    per_second: f64,
    latencies: Summary,
    /// Of the broker, with all topics and triggers and no connection.
    base_mib: f64,
    /// With all connections, each of which has published once.
    rest_mib: f64,
    /// After the load.
    end_mib: f64,
    connection_kib: f64,
}

/// Publishes one event after the other on one connection.
enum Publisher {
    Http(Connection),
    Quic(QuicPublisher),
}

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let crowd = settings.crowd;
    let descriptors = 2 * crowd.connections + 2 * crowd.triggers + SPARE_DESCRIPTORS;
    raise_descriptors(u64::try_from(descriptors)?)?;
    let mut figures = Vec::new();
    for over_quic in [false, true] {
        let mut runs = Vec::new();
        for run in 0..settings.runs {
            runs.push(once(settings, u64::try_from(run)?, over_quic).await?);
        }
        let middle = median(&runs, |reached: &Reached| reached.per_second);
        let name = if over_quic { "QUIC" } else { "HTTP" };
        let figure = |what: String, value: f64, unit: &'static str, goal: Goal, detail: String| Figure {
            durability: settings.durability.as_str(),
            scenario: "crowd".to_owned(),
            what,
            value,
            unit,
            goal,
            detail,
        };
        let (connections, triggers) = (crowd.connections, crowd.triggers);
        let what = format!("{connections} {name} connections, {triggers} triggers and topics");
        let memory = format!(
            "{:.1} MiB without connections, {:.1} MiB at rest, {:.1} MiB after the load",
            middle.base_mib, middle.rest_mib, middle.end_mib
        );
        let each = format!("memory of a {name} connection at rest");
        figures.push(figure(what, middle.per_second, "/s", Goal::None, middle.latencies.text()));
        figures.push(figure(each, middle.connection_kib, "KiB", Goal::AtMost(CONNECTION_KIB), memory));
    }
    Ok(figures)
}

fn topic(number: usize) -> TopicName {
    TopicName::new(&format!("crowd-{number}")).expect("a valid name")
}

/// A topic and a trigger for each number.
fn tables(settings: &Settings, url: &str) -> String {
    let mut tables = topics(settings);
    for number in 0..settings.crowd.triggers {
        let name = topic(number);
        tables += &format!(
            "[topics.{name}]\n[triggers.{name}]\ntopic = \"{name}\"\nstart = \"earliest\"\nconcurrency = 4\n[triggers.{name}.target.http]\nurl = \"{url}\"\nidle_connections = 1\n"
        );
    }
    tables += &format!(
        "[limits]\nrequest_timeout = \"10m\"\nconnections_max = {}\n",
        settings.crowd.connections + SPARE_DESCRIPTORS
    );
    tables
}

fn mib(broker: &BrokerProcess) -> anyhow::Result<f64> {
    Ok(float(resident_bytes(broker.id()?)?) / f64::from(1 << 20))
}

async fn once(settings: &Settings, run: u64, over_quic: bool) -> anyhow::Result<Reached> {
    let options = TargetOptions { run, data_bytes: settings.data_bytes, keep_arrivals: false };
    let target = TargetProcess::start(options).await?;
    let folder = BrokerFolder::new(&settings.dir)?;
    let broker = folder.start(&tables(settings, &target.url())).await?;
    let (payloads, next) = (Payloads::new(run, settings.data_bytes)?, Arc::new(AtomicU64::new(0)));
    let base_mib = mib(&broker)?;
    let publishers = connect(settings, &broker, over_quic, &payloads, &next).await?;
    arrived(&target, next.load(Ordering::Relaxed)).await?;
    let rest_mib = mib(&broker)?;
    let begun = Instant::now();
    let before = next.load(Ordering::Relaxed);
    let latencies = load(settings, publishers, &payloads, &next).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    let count = next.load(Ordering::Relaxed);
    let report = arrived(&target, count).await?;
    ensure!(report.wrong == 0, "the target saw {report:?}");
    let stored = stored(&broker, settings).await?;
    ensure!(stored == count, "{count} events were acknowledged and {stored} are in the topics");
    let end_mib = mib(&broker)?;
    broker.stop().await?;
    Ok(Reached {
        per_second: float(count - before) / elapsed,
        latencies: latencies.summary(),
        base_mib,
        rest_mib,
        end_mib,
        connection_kib: (rest_mib - base_mib) * 1024.0 / float(u64::try_from(settings.crowd.connections)?),
    })
}

/// Makes all connections; each publishes one event, so that it is as one that is used now and then.
async fn connect(
    settings: &Settings,
    broker: &BrokerProcess,
    over_quic: bool,
    payloads: &Payloads,
    next: &Arc<AtomicU64>,
) -> anyhow::Result<Vec<(TopicName, Publisher)>> {
    let count = settings.crowd.connections;
    let (http, quic) = (broker.http, broker.quic);
    let mut sockets = Sockets::open(count.div_ceil(PER_SOCKET))?;
    let (mut publishers, mut connecting) = (Vec::with_capacity(count), JoinSet::new());
    for number in 0..count {
        let name = topic(number % settings.crowd.triggers.max(1));
        let publisher = match over_quic {
            true => Publisher::Quic(sockets.publisher(quic).await?),
            false => Publisher::Http(Connection::open(http).await?),
        };
        let (payloads, next) = (payloads.clone(), Arc::clone(next));
        connecting.spawn(async move {
            let mut publisher = publisher;
            publisher.publish(&name, &payloads, next.fetch_add(1, Ordering::Relaxed)).await?;
            anyhow::Ok((name, publisher))
        });
        while connecting.len() >= AT_ONCE {
            publishers.push(connecting.join_next().await.context("a connection")???);
        }
    }
    while let Some(connected) = connecting.join_next().await {
        publishers.push(connected??);
    }
    Ok(publishers)
}

impl Publisher {
    async fn publish(&mut self, topic: &TopicName, payloads: &Payloads, n: u64) -> anyhow::Result<()> {
        match self {
            Self::Quic(publisher) => publisher.publish(topic, &payloads.event(n)).await,
            Self::Http(connection) => {
                let request = cloud_event_to(topic, n, payloads.data(n));
                let (status, body) = connection.exchange(request).await?;
                ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
                Ok(())
            }
        }
    }
}

/// All publish at once, each one event after the other.
async fn load(
    settings: &Settings,
    publishers: Vec<(TopicName, Publisher)>,
    payloads: &Payloads,
    next: &Arc<AtomicU64>,
) -> anyhow::Result<Latencies> {
    let (duration, begun) = (settings.duration, Instant::now());
    let (mut tasks, sent) = (JoinSet::new(), tokio::sync::mpsc::unbounded_channel::<u64>());
    let (sender, mut answered) = sent;
    for (topic, mut publisher) in publishers {
        let (payloads, next, sender) = (payloads.clone(), Arc::clone(next), sender.clone());
        tasks.spawn(async move {
            while begun.elapsed() < duration {
                let at = Instant::now();
                publisher.publish(&topic, &payloads, next.fetch_add(1, Ordering::Relaxed)).await?;
                // The other end lives until the last sender is gone.
                let _taken = sender.send(nanoseconds(at.elapsed()));
            }
            if let Publisher::Quic(publisher) = &publisher {
                publisher.close();
            }
            anyhow::Ok(())
        });
    }
    drop(sender);
    // One histogram: thousands would take more memory than what is measured.
    let mut latencies = Latencies::default();
    while let Some(nanoseconds) = answered.recv().await {
        latencies.record_ns(nanoseconds);
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(latencies)
}

/// Events in all topics.
async fn stored(broker: &BrokerProcess, settings: &Settings) -> anyhow::Result<u64> {
    let mut stored = 0;
    for number in 0..settings.crowd.triggers {
        let status = broker.json(&format!("/v1/topics/{}", topic(number))).await?;
        stored += status["end"].as_u64().context("the end of a topic")?;
    }
    Ok(stored)
}

/// How large the crowd is.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Publishers' connections.
    pub connections: usize,
    /// Triggers, and topics.
    pub triggers: usize,
}
