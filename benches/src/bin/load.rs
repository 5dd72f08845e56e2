//! `load`: loads the real broker, proves every event, and tells what was reached beside what should be.
//!
//! ```text
//! cargo build --release -p eventail-broker -p eventail-benches --bins
//! target/release/load all
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use eventail_benches::abuser::{Manner, abuse};
use eventail_benches::limits;
use eventail_benches::report::{Figure, table};
use eventail_benches::scenario::{Crowd, Durability, Scenario, Settings, custom};
use eventail_benches::target::{TargetOptions, serve};

/// Loads the broker that was built beside it. A wrong or missing event ends it with exit code 1.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// Where data folders are made: the disk that is measured.
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// Runs of each figure; the median counts.
    #[arg(long, global = true, default_value_t = 3)]
    runs: usize,
    /// Seconds of load in each run.
    #[arg(long, global = true, default_value_t = 4.0)]
    seconds: f64,
    /// Bytes of each event's data.
    #[arg(long, global = true, default_value_t = 1024)]
    bytes: usize,
    /// When the broker acknowledges.
    #[arg(long, global = true, value_enum, default_value = "sync")]
    durability: Durability,
    /// Events of the backlog that `deliver` drains.
    #[arg(long, global = true, default_value_t = 300_000)]
    backlog: u64,
    /// GiB of log that `idle` starts with.
    #[arg(long, global = true, default_value_t = 10)]
    log_gib: u64,
    /// Publishers' connections of `crowd`.
    #[arg(long, global = true, default_value_t = 10_000)]
    connections: usize,
    /// Triggers, and topics, of `crowd`.
    #[arg(long, global = true, default_value_t = 1_000)]
    triggers: usize,
    /// Seconds of `overload`.
    #[arg(long, global = true, default_value_t = 60.0)]
    overload_seconds: f64,
    /// Also write the figures to this file, as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// The machine's limits and the scenarios up to `idle`, in one table.
    All,
    #[command(flatten)]
    Scenario(Scenario),
    /// A run of your own.
    Run(custom::Shape),
    /// The HTTP target, for the processes of a run.
    #[command(hide = true)]
    Target {
        #[arg(long)]
        run: u64,
        #[arg(long)]
        data_bytes: usize,
        #[arg(long)]
        keep_arrivals: bool,
    },
    /// An abuser, for the processes of a run.
    #[command(hide = true)]
    Abuser {
        #[arg(long, value_enum)]
        manner: Manner,
        #[arg(long)]
        broker: SocketAddr,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let common = arguments.common;
    let settings = Settings {
        dir: common.dir,
        runs: common.runs.max(1),
        duration: Duration::from_secs_f64(common.seconds),
        data_bytes: common.bytes,
        durability: common.durability,
        backlog: common.backlog,
        log_gib: common.log_gib,
        crowd: Crowd { connections: common.connections.max(1), triggers: common.triggers.max(1) },
        overload: Duration::from_secs_f64(common.overload_seconds),
    };
    let figures = match arguments.command {
        Command::Target { run, data_bytes, keep_arrivals } => {
            return serve(TargetOptions { run, data_bytes, keep_arrivals }).await;
        }
        Command::Abuser { manner, broker } => return abuse(manner, broker).await,
        Command::All => {
            let mut figures = limits::measure(&settings.dir, settings.duration / 2).await?;
            figures.extend(scenarios(Scenario::ALL, &settings).await?);
            figures
        }
        Command::Scenario(scenario) => scenarios(&[scenario], &settings).await?,
        Command::Run(shape) => custom::run(&settings, &shape).await?,
    };
    print!("{}", table(&figures));
    if let Some(path) = common.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

async fn scenarios(scenarios: &[Scenario], settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for scenario in scenarios {
        eprintln!("{scenario:?} …");
        figures.extend(scenario.run(settings).await?);
    }
    Ok(figures)
}
