//! The real `eventail serve` in a process of its own, with a configuration that the run writes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use eventail_client::Fingerprint;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::requests;

/// Where one broker lives: its data and its configuration.
#[derive(Debug)]
pub struct BrokerFolder {
    folder: tempfile::TempDir,
    binary: PathBuf,
}

/// A running broker. Dropping it kills the process.
#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
    /// Its HTTP listener.
    pub http: SocketAddr,
    /// Its QUIC listener.
    pub quic: SocketAddr,
    /// The SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// From the start of the process to its word that it is ready.
    pub ready_after: Duration,
    log: PathBuf,
}

impl BrokerFolder {
    /// A fresh folder in `parent`, the disk that is measured, for the broker that was built beside this program.
    ///
    /// # Errors
    /// Where the folder cannot be made or the binary is missing.
    pub fn new(parent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::TempDir::with_prefix_in("eventail-bench-", parent)?;
        let program = std::env::current_exe()?;
        let binary = program.with_file_name("eventail");
        ensure!(
            binary.exists(),
            "{} is missing: build it with the same profile (cargo build --release -p eventail-broker)",
            binary.display()
        );
        Ok(Self { folder, binary })
    }

    /// Where the broker keeps its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the broker with these tables in its configuration and waits until it is ready.
    ///
    /// # Errors
    /// Where it ends or does not become ready.
    pub async fn start(&self, tables: &str) -> anyhow::Result<BrokerProcess> {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0)), tables, &[]).await
    }

    /// Writes the configuration with these tables; a broker that runs reads it again.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn configure(&self, http: SocketAddr, tables: &str) -> anyhow::Result<PathBuf> {
        let (config, aside) =
            (self.folder.path().join("eventail.toml"), self.folder.path().join("eventail.toml.new"));
        let data = self.data().display().to_string();
        std::fs::write(
            &aside,
            format!(
                "data_dir = {data:?}\n[listen]\nhttp = \"{http}\"\nquic = \"127.0.0.1:0\"\n[egress]\nallow = [\"127.0.0.0/8\"]\n{tables}\n"
            ),
        )?;
        std::fs::rename(&aside, &config)?;
        Ok(config)
    }

    /// Starts the broker at this address, with these variables in its environment.
    ///
    /// # Errors
    /// Where it ends or does not become ready.
    pub async fn start_at(
        &self,
        http: SocketAddr,
        tables: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<BrokerProcess> {
        let config = self.configure(http, tables)?;
        let log = self.folder.path().join("serve.log");
        // A file of its own for each start: the addresses of the one before must not be taken for its own.
        let output = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(&log)?;
        let begun = Instant::now();
        let child = Command::new(&self.binary)
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&config)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        BrokerProcess::ready(child, log, begun).await
    }
}

/// What `eventail serve` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    message: String,
    http: SocketAddr,
    quic: SocketAddr,
    fingerprint: String,
}

impl BrokerProcess {
    async fn ready(mut child: Child, log: PathBuf, begun: Instant) -> anyhow::Result<Self> {
        while begun.elapsed() < Duration::from_secs(120) {
            let text = std::fs::read_to_string(&log)?;
            if let Some(status) = child.try_wait()? {
                bail!("the broker ended with {status}:\n{text}");
            }
            let ready =
                |line: &str| serde_json::from_str(line).ok().filter(|ready: &Ready| ready.message == "ready");
            if let Some(Ready { http, quic, fingerprint, .. }) = text.lines().find_map(ready) {
                let (fingerprint, ready_after) = (fingerprint.parse()?, begun.elapsed());
                return Ok(Self { child, http, quic, fingerprint, ready_after, log });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("the broker was not ready in two minutes:\n{}", std::fs::read_to_string(&log)?);
    }

    /// The process's number.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the broker has ended")
    }

    /// What it wrote.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, and waits for exit code 0.
    ///
    /// # Errors
    /// Where it ends otherwise.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.id()?)?).context("a process id")?;
        kill_process(id, Signal::TERM)?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "the broker ended with {status}:\n{}", self.log_text());
        Ok(())
    }

    /// The answer to `GET path` as JSON.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn json(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&requests::get(self.http, path).await?.1)?)
    }
}
