//! `limits`: what this machine can do at best. Run it beside every comparison: neighbours move such figures by 2-3 x.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use eventail_benches::target::{TargetOptions, serve};
use eventail_benches::{limits, report};

/// Measures this machine's limits: fdatasync latency, durable bandwidth, loopback HTTP.
#[derive(Parser)]
struct Arguments {
    /// Where files are made: the disk that is measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Seconds for each figure.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
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
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Target { run, data_bytes, keep_arrivals }) = arguments.command {
        return serve(TargetOptions { run, data_bytes, keep_arrivals }).await;
    }
    let duration = Duration::from_secs_f64(arguments.seconds);
    let figures = limits::measure(&arguments.dir, duration).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", report::table(&figures));
    }
    Ok(())
}
