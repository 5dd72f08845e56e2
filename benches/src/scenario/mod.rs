//! The scenarios of the load harness. Each starts what it needs, loads it, proves every event, and answers figures.

mod abuse;
mod crowd;
pub mod custom;
mod dedup;
mod deliver;
mod functions;
mod idle;
mod isolation;
mod latency;
pub mod matching;
mod overload;
mod publish;
mod soak;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use eventail_wire::TopicName;

use crate::report::Figure;

pub use crowd::Crowd;
pub use publish::{Load, Published, QuicPublish};
pub use soak::Soak;

/// What holds for every scenario.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The disk that is measured: data folders are made in it.
    pub dir: PathBuf,
    /// Runs of each figure; the median counts.
    pub runs: usize,
    /// How long each run loads.
    pub duration: Duration,
    /// Bytes of each event's data.
    pub data_bytes: usize,
    /// When the broker acknowledges.
    pub durability: Durability,
    /// Events of the backlog that is delivered.
    pub backlog: u64,
    /// How much log lies in the folder at the large start.
    pub log_gib: u64,
    /// How many publishers and triggers are a crowd.
    pub crowd: Crowd,
    /// How long more is offered than can be taken.
    pub overload: Duration,
}

/// When the broker acknowledges a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// After its sync.
    Sync,
    /// After its write.
    Buffered,
}

/// The scenarios by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Scenario {
    /// 1,024 events under way over one QUIC connection.
    PublishWindow,
    /// Batches of 1,000 over one QUIC connection.
    PublishBatch,
    /// One event after the other over QUIC.
    PublishOne,
    /// Single HTTP POSTs on 64 connections.
    PublishHttp,
    /// A backlog drained to one HTTP target, 128 at once, beside the same client without a broker.
    Deliver,
    /// Publish to arrival at 1,000 events per second, open loop.
    Latency,
    /// Publishing with and without deduplication, in turns.
    Dedup,
    /// Calls of a warm local function: a trigger's backlog, and the Invoke API.
    FunctionWarm,
    /// What the broker adds to a local function's own loop.
    FunctionOverhead,
    /// Cold starts of a local function.
    FunctionCold,
    /// Batches of 100 through one local function.
    FunctionBatch,
    /// Matching with 10 and with 1,000 triggers.
    Triggers,
    /// Memory at rest, and the time from start to the first acknowledged publish.
    Idle,
    /// 10,000 publishers' connections, over HTTP and over QUIC, beside 1,000 triggers and topics.
    Crowd,
    /// What others still reach beside each kind of abuser.
    Abuse,
    /// Three times the capacity for a minute.
    Overload,
    /// 50 live triggers beside a dead one, and beside a long backlog.
    Isolation,
    /// Hours at half of the peak, with every kind of target, faults and reloads.
    Soak(Soak),
}

impl Durability {
    /// As it stands in the configuration and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Buffered => "buffered",
        }
    }
}

impl Scenario {
    /// Those of the table, in its order. What takes long or wants a machine of its own is asked for by name.
    pub const ALL: &'static [Self] = &[
        Self::PublishWindow,
        Self::PublishBatch,
        Self::PublishOne,
        Self::PublishHttp,
        Self::Deliver,
        Self::Latency,
        Self::Dedup,
        Self::FunctionWarm,
        Self::FunctionOverhead,
        Self::FunctionCold,
        Self::FunctionBatch,
        Self::Triggers,
        Self::Idle,
    ];

    /// Runs it.
    ///
    /// # Errors
    /// Where something does not run, or an answer is wrong.
    pub async fn run(self, settings: &Settings) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::PublishWindow => publish::window(settings).await,
            Self::PublishBatch => publish::batch(settings).await,
            Self::PublishOne => publish::one(settings).await,
            Self::PublishHttp => publish::http(settings).await,
            Self::Deliver => deliver::run(settings).await,
            Self::Latency => latency::run(settings).await,
            Self::Dedup => dedup::run(settings).await,
            Self::FunctionWarm => functions::warm(settings).await,
            Self::FunctionOverhead => functions::overhead(settings).await,
            Self::FunctionCold => functions::cold(settings).await,
            Self::FunctionBatch => functions::batch(settings).await,
            Self::Triggers => matching::run(settings),
            Self::Idle => idle::run(settings).await,
            Self::Crowd => crowd::run(settings).await,
            Self::Abuse => abuse::run(settings).await,
            Self::Overload => overload::run(settings).await,
            Self::Isolation => isolation::run(settings).await,
            Self::Soak(soak) => soak::run(settings, soak).await,
        }
    }
}

/// How a backlog is filled: as fast as it goes.
pub(crate) const BACKLOG_LOAD: Load = Load { batch: 1_000, window: 8_000 };

/// The topic that all scenarios use.
pub(crate) fn topic() -> TopicName {
    TopicName::new("load").expect("a valid name")
}

/// The `[topics]` table of a run.
pub(crate) fn topics(settings: &Settings) -> String {
    format!("[topics]\ndurability = \"{}\"\n", settings.durability.as_str())
}

/// A number for the arithmetic of rates.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}
