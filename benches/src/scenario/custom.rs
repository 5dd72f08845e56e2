//! A run of one's own: publishers over QUIC or HTTP, closed or open loop, a target and subscribers, all at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use eventail_client::{Client, ClientOptions, Start, SubscribeOptions, Subscription};
use eventail_wire::TriggerName;
use tokio::sync::watch;

use super::deliver::{PATIENCE, arrived, trigger};
use super::publish::{Load, Published, QuicPublish, cloud_event};
use super::{Settings, topic, topics};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::latencies::Latencies;
use crate::payload::{Payloads, Tally};
use crate::process::TargetProcess;
use crate::read_back::verify;
use crate::report::{Figure, Goal};
use crate::requests::closed_loop;
use crate::target::TargetOptions;

const RUN: u64 = 5;

/// How events get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The client library.
    Quic,
    /// Single POSTs.
    Http,
}

/// The shape of a run.
#[derive(Clone, Debug, Args)]
pub struct Shape {
    /// How events get in.
    #[arg(long, value_enum, default_value = "quic")]
    pub protocol: Protocol,
    /// Events per second, whatever the answers (open loop, over QUIC). Without it: as fast as the window allows.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Events under way over QUIC, connections over HTTP.
    #[arg(long, default_value_t = 1_024)]
    pub window: usize,
    /// Events in one call over QUIC.
    #[arg(long, default_value_t = 1)]
    pub batch: u64,
    /// Deliver everything to an HTTP target in its own process, so many at once.
    #[arg(long)]
    pub deliver: Option<usize>,
    /// Subscribers over QUIC, each of which gets everything.
    #[arg(long, default_value_t = 0)]
    pub subscribers: usize,
}

/// Runs it once.
///
/// # Errors
/// Where something does not run, or an answer is wrong.
pub async fn run(settings: &Settings, shape: &Shape) -> anyhow::Result<Vec<Figure>> {
    let options = TargetOptions { run: RUN, data_bytes: settings.data_bytes, keep_arrivals: true };
    let target = TargetProcess::start(options).await?;
    let folder = BrokerFolder::new(&settings.dir)?;
    let delivery = shape.deliver.map_or_else(String::new, |at_once| trigger(&target.url(), at_once));
    let broker = folder.start(&format!("{}\n{delivery}", topics(settings))).await?;
    let payloads = Payloads::new(RUN, settings.data_bytes)?;
    let mut subscribers = tokio::task::JoinSet::new();
    let expected = watch::Sender::new(None);
    for number in 0..shape.subscribers {
        let subscription = subscribe(&broker, number).await?;
        subscribers.spawn(take_all(subscription, payloads.clone(), expected.subscribe()));
    }
    let (published, intended) = load(settings, shape, &broker, &payloads).await?;
    let mut figures = vec![figure(settings, "published", &published)];
    if shape.deliver.is_some() {
        let report = arrived(&target, published.events).await?;
        ensure!(report.wrong == 0, "the target saw {report:?}");
        let elapsed = Duration::from_nanos(report.last_ns - report.first_ns);
        let arrivals = target.arrivals().await?;
        let mut latencies = Latencies::default();
        for (arrived, intended) in arrivals.iter().zip(&intended) {
            latencies.record_ns(arrived.saturating_sub(*intended));
        }
        let latencies = latencies.summary();
        figures.push(figure(settings, "delivered", &Published { elapsed, latencies, ..published }));
    }
    expected.send_replace(Some(published.events));
    while let Some(ended) = subscribers.join_next().await {
        ended??;
    }
    broker.stop().await?;
    verify(&folder.data(), &topic(), &payloads, published.events).await?;
    Ok(figures)
}

/// Loads in the shape's way. Tells also when each event should have been sent, where that is known.
async fn load(
    settings: &Settings,
    shape: &Shape,
    broker: &BrokerProcess,
    payloads: &Payloads,
) -> anyhow::Result<(Published, Vec<u64>)> {
    if shape.protocol == Protocol::Http {
        ensure!(shape.rate.is_none(), "an open loop is over QUIC only");
        let source = payloads.clone();
        let request = move |n| cloud_event(n, source.data(n));
        let driven = closed_loop(broker.http, shape.window, settings.duration, request).await?;
        let (events, elapsed, latencies) = (driven.requests, driven.elapsed, driven.latencies.summary());
        return Ok((Published { events, elapsed, latencies, broker_cpu_us: 0.0 }, Vec::new()));
    }
    let load = Load { batch: shape.batch.max(1), window: shape.window };
    let publish = QuicPublish::open(broker, topic(), payloads.clone(), load).await?;
    let Some(rate) = shape.rate else {
        return Ok((publish.during(settings.duration).await?, Vec::new()));
    };
    let count = rate * settings.duration.as_secs().max(1);
    let begun = Instant::now();
    let (latencies, intended) = publish.open_loop(rate, count).await?;
    let published = Published { events: count, elapsed: begun.elapsed(), latencies, broker_cpu_us: 0.0 };
    Ok((published, intended))
}

async fn subscribe(broker: &BrokerProcess, number: usize) -> anyhow::Result<Subscription> {
    let options = ClientOptions::pinned(broker.quic.to_string(), broker.fingerprint);
    let name = TriggerName::new(&format!("subscriber-{number}"))?;
    let options = (options, SubscribeOptions::new(name, topic()).start(Start::Earliest));
    Ok(Client::connect(options.0).await?.subscribe(options.1).await?)
}

/// Takes deliveries until every expected event was there, with the right bytes.
async fn take_all(
    mut subscription: Subscription,
    payloads: Payloads,
    expected: watch::Receiver<Option<u64>>,
) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(200);
    let (mut tally, begun) = (Tally::default(), Instant::now());
    while expected.borrow().is_none_or(|count| tally.distinct < count) {
        ensure!(begun.elapsed() < PATIENCE, "a subscriber got only {} events", tally.distinct);
        let Ok(next) = tokio::time::timeout(LOOK, subscription.next()).await else { continue };
        let delivery = next.context("the subscription ended")??;
        tally.count(payloads.check(delivery.event().data_slice()));
        ensure!(tally.wrong == 0, "a subscriber got a wrong event at offset {}", delivery.offset());
        delivery.ack();
    }
    subscription.close().await;
    Ok(())
}

fn figure(settings: &Settings, what: &str, published: &Published) -> Figure {
    Figure {
        durability: settings.durability.as_str(),
        scenario: "run".to_owned(),
        what: what.to_owned(),
        value: published.per_second(),
        unit: "/s",
        goal: Goal::None,
        detail: format!("{} events, {}", published.events, published.latencies.text()),
    }
}
