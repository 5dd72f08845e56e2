//! Publishing in a closed loop: so many events under way, the next one when one is acknowledged. Every acknowledged event
//! is read back from the log of the stopped broker.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use eventail_client::{BatchHandle, Client, ClientOptions, PublishHandle, Publisher, PublisherOptions};
use eventail_wire::TopicName;
use http::Request;
use http_body_util::Full;
use tokio::sync::mpsc;

use super::{Settings, float, topic, topics};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::clock::monotonic_ns;
use crate::latencies::{Latencies, Summary};
use crate::pace::Pace;
use crate::payload::Payloads;
use crate::process::cpu_seconds;
use crate::read_back::verify;
use crate::report::{Figure, Goal, median};
use crate::requests::{closed_loop, post};

/// How a closed loop loads.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Events in one call.
    pub batch: u64,
    /// Events under way.
    pub window: usize,
}

/// What a run of publishing reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    /// Acknowledged events: `0..events` of the run.
    pub events: u64,
    /// From the first to the last acknowledgement.
    pub elapsed: Duration,
    /// From handing over to acknowledgement.
    pub latencies: Summary,
    /// Processor time that the broker took for each event.
    pub broker_cpu_us: f64,
}

impl Published {
    /// Acknowledged events per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        float(self.events) / self.elapsed.as_secs_f64()
    }
}

/// A publisher over QUIC with the client library.
pub struct QuicPublish {
    client: Client,
    publisher: Publisher,
    payloads: Payloads,
    load: Load,
}

enum Handle {
    One(PublishHandle),
    Many(BatchHandle),
}

/// When a loop stops.
#[derive(Clone, Copy, Debug)]
enum Until {
    Count(u64),
    Elapsed(Duration),
}

impl QuicPublish {
    /// Connects to a broker whose certificate is pinned.
    ///
    /// # Errors
    /// Where it is not reached.
    pub async fn open(
        broker: &BrokerProcess,
        topic: TopicName,
        payloads: Payloads,
        load: Load,
    ) -> anyhow::Result<Self> {
        let options = ClientOptions::pinned(broker.quic.to_string(), broker.fingerprint);
        let client = Client::connect(options).await?;
        let options = PublisherOptions::default().window(load.window, 64 << 20);
        let publisher = client.publisher(topic, options).await?;
        Ok(Self { client, publisher, payloads, load })
    }

    /// Publishes as fast as the window allows for a while.
    ///
    /// # Errors
    /// The first event that is not acknowledged.
    pub async fn during(&self, duration: Duration) -> anyhow::Result<Published> {
        self.closed_loop(Until::Elapsed(duration)).await
    }

    /// Publishes events `0..count`.
    ///
    /// # Errors
    /// The first event that is not acknowledged.
    pub async fn exactly(&self, count: u64) -> anyhow::Result<Published> {
        self.closed_loop(Until::Count(count)).await
    }

    async fn closed_loop(&self, until: Until) -> anyhow::Result<Published> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let acknowledged = tokio::spawn(acknowledge(receiver));
        let begun = monotonic_ns();
        let mut next = 0;
        loop {
            let left = match until {
                Until::Count(count) => count - next,
                Until::Elapsed(limit) if u128::from(monotonic_ns() - begun) < limit.as_nanos() => {
                    self.load.batch
                }
                Until::Elapsed(_) => 0,
            };
            let count = left.min(self.load.batch);
            if count == 0 {
                break;
            }
            let handle = self.publish(next, count).await?;
            if sender.send((monotonic_ns(), handle)).is_err() {
                break;
            }
            next += count;
        }
        drop(sender);
        let (events, latencies) = acknowledged.await??;
        ensure!(events == next, "{events} of {next} events were acknowledged");
        let elapsed = Duration::from_nanos(monotonic_ns() - begun);
        Ok(Published { events, elapsed, latencies: latencies.summary(), broker_cpu_us: 0.0 })
    }

    async fn publish(&self, first: u64, count: u64) -> anyhow::Result<Handle> {
        if self.load.batch == 1 {
            return Ok(Handle::One(self.publisher.publish(self.payloads.event(first)).await?));
        }
        let events = (first..first + count).map(|n| self.payloads.event(n)).collect();
        Ok(Handle::Many(self.publisher.publish_batch(events).await?))
    }

    /// Publishes events `0..count` at `rate` per second, whatever the answers; tells the latencies of the answers,
    /// counted from when each event should have been sent, and those moments.
    ///
    /// # Errors
    /// The first event that is not acknowledged.
    pub async fn open_loop(&self, rate: u64, count: u64) -> anyhow::Result<(Summary, Vec<u64>)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let acknowledged = tokio::spawn(acknowledge(receiver));
        let mut pace = Pace::start(rate, count)?;
        let mut intended = Vec::new();
        while let Some(at) = pace.next().await {
            let n = u64::try_from(intended.len())?;
            let handle = self.publisher.publish(self.payloads.event(n)).await?;
            intended.push(at);
            sender.send((at, Handle::One(handle))).context("an event was not acknowledged")?;
        }
        drop(sender);
        let (events, latencies) = acknowledged.await??;
        ensure!(events == count, "{events} of {count} events were acknowledged");
        Ok((latencies.summary(), intended))
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.client.close().await;
    }
}

/// Takes the answers in their order.
async fn acknowledge(
    mut handles: mpsc::UnboundedReceiver<(u64, Handle)>,
) -> anyhow::Result<(u64, Latencies)> {
    let (mut events, mut latencies) = (0, Latencies::default());
    while let Some((sent, handle)) = handles.recv().await {
        let duplicate = match handle {
            Handle::One(handle) => {
                events += 1;
                handle.await?.is_duplicate()
            }
            Handle::Many(handle) => {
                let acks = handle.await?;
                events += u64::try_from(acks.len())?;
                acks.iter().any(|ack| ack.is_duplicate())
            }
        };
        ensure!(!duplicate, "an event was taken for a duplicate");
        latencies.record_ns(monotonic_ns() - sent);
    }
    Ok((events, latencies))
}

/// One run over QUIC against a fresh broker with these tables, read back and compared.
pub(super) async fn publish_over_quic(
    settings: &Settings,
    load: Load,
    run: u64,
    tables: &str,
) -> anyhow::Result<Published> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let broker = folder.start(tables).await?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let publish = QuicPublish::open(&broker, topic(), payloads.clone(), load).await?;
    let before = cpu_seconds(broker.id()?)?;
    let mut published = publish.during(settings.duration).await?;
    published.broker_cpu_us = (cpu_seconds(broker.id()?)? - before) * 1e6 / float(published.events);
    publish.close().await;
    broker.stop().await?;
    verify(&folder.data(), &topic(), &payloads, published.events).await?;
    Ok(published)
}

/// One run over HTTP against a fresh broker, read back and compared.
async fn publish_over_http(settings: &Settings, connections: usize, run: u64) -> anyhow::Result<Published> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let broker = folder.start(&topics(settings)).await?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let before = cpu_seconds(broker.id()?)?;
    let source = payloads.clone();
    let request = move |n| cloud_event(n, source.data(n));
    let driven = closed_loop(broker.http, connections, settings.duration, request).await?;
    let cpu = cpu_seconds(broker.id()?)? - before;
    broker.stop().await?;
    verify(&folder.data(), &topic(), &payloads, driven.requests).await?;
    Ok(Published {
        events: driven.requests,
        elapsed: driven.elapsed,
        latencies: driven.latencies.summary(),
        broker_cpu_us: cpu * 1e6 / float(driven.requests),
    })
}

/// Event `n` in binary mode, for the topic that all scenarios use.
pub(super) fn cloud_event(n: u64, data: Bytes) -> Request<Full<Bytes>> {
    cloud_event_to(&topic(), n, data)
}

/// Event `n` in binary mode.
pub(super) fn cloud_event_to(topic: &TopicName, n: u64, data: Bytes) -> Request<Full<Bytes>> {
    let mut request = post(&format!("/v1/topics/{topic}/events"), data);
    let headers = request.headers_mut();
    for (name, value) in [("ce-specversion", "1.0"), ("ce-source", "/bench"), ("ce-type", "bench.event")] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    if let Ok(id) = Payloads::id(n).parse() {
        headers.insert("ce-id", id);
    }
    request
}

pub(super) async fn window(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let load = Load { batch: 1, window: 1_024 };
    let middle = median_over_quic(settings, load).await?;
    Ok(vec![throughput(settings, "publish-window", "QUIC, 1,024 under way", &middle, 150_000.0)])
}

pub(super) async fn batch(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let load = Load { batch: 1_000, window: 8_000 };
    let middle = median_over_quic(settings, load).await?;
    let what = "QUIC, client batches of 1,000, 8 under way";
    Ok(vec![throughput(settings, "publish-batch", what, &middle, 300_000.0)])
}

pub(super) async fn one(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let middle = median_over_quic(settings, Load { batch: 1, window: 1 }).await?;
    let rate = throughput(settings, "publish-one", "QUIC, one at a time", &middle, 4_000.0);
    let latency = Figure {
        what: "QUIC, one at a time, p50".to_owned(),
        value: middle.latencies.p50_ms,
        unit: "ms",
        goal: Goal::AtMost(0.25),
        ..rate.clone()
    };
    Ok(vec![rate, latency])
}

pub(super) async fn http(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for run in 0..settings.runs {
        runs.push(publish_over_http(settings, 64, u64::try_from(run)?).await?);
    }
    let middle = median(&runs, Published::per_second);
    Ok(vec![throughput(settings, "publish-http", "single POSTs, 64 connections", &middle, 35_000.0)])
}

async fn median_over_quic(settings: &Settings, load: Load) -> anyhow::Result<Published> {
    let mut runs = Vec::new();
    for run in 0..settings.runs {
        runs.push(publish_over_quic(settings, load, u64::try_from(run)?, &topics(settings)).await?);
    }
    Ok(median(&runs, Published::per_second))
}

fn throughput(settings: &Settings, scenario: &str, what: &str, published: &Published, goal: f64) -> Figure {
    Figure {
        durability: settings.durability.as_str(),
        scenario: scenario.to_owned(),
        what: what.to_owned(),
        value: published.per_second(),
        unit: "/s",
        goal: Goal::AtLeast(goal),
        detail: format!(
            "{}, {:.1} us of broker CPU each",
            published.latencies.text(),
            published.broker_cpu_us
        ),
    }
}
