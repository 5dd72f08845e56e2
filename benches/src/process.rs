//! Processes of a run: the target, and the figures that the system keeps of any process.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::requests;
use crate::target::{TargetOptions, TargetReport};

/// A target in its own process. Dropping it ends the process.
#[derive(Debug)]
pub struct TargetProcess {
    child: Child,
    address: SocketAddr,
}

impl TargetProcess {
    /// Runs this program's own `target` subcommand.
    ///
    /// # Errors
    /// Where the process does not start or tells no address.
    pub async fn start(options: TargetOptions) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("target").args(["--run", &options.run.to_string()]);
        command.args(["--data-bytes", &options.data_bytes.to_string()]);
        if options.keep_arrivals {
            command.arg("--keep-arrivals");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("the target starts")?;
        let output = child.stdout.take().context("the target's output")?;
        let line =
            BufReader::new(output).lines().next_line().await?.context("the target tells its address")?;
        Ok(Self { address: line.parse().context("the target's address")?, child })
    }

    /// Has it stand still, or go on.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn stop_and_go(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(kill_process(id.context("the target has ended")?, signal)?)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, for a trigger.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What it saw since the last reset.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn report(&self) -> anyhow::Result<TargetReport> {
        Ok(serde_json::from_slice(&requests::get(self.address, "/report").await?.1)?)
    }

    /// When each event arrived first; 0 where it did not.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn arrivals(&self) -> anyhow::Result<Vec<u64>> {
        let (_, body) = requests::get(self.address, "/arrivals").await?;
        let numbers = body.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
        Ok(numbers.map(u64::from_le_bytes).collect())
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn reset(&self) -> anyhow::Result<()> {
        requests::get(self.address, "/reset").await.map(drop)
    }
}

/// Resident memory of a process.
///
/// # Errors
/// Where the system does not tell.
pub fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

/// Seconds of processor time that a process took, over all its threads.
///
/// # Errors
/// Where the system does not tell.
pub fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces; the fields after it do not.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
