//! The real `eventail serve`, as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use eventail_client::{Client, ClientOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::Child;

use crate::home::Home;
use crate::http::Api;
use crate::wait::{PATIENCE, within};

/// A running broker. Dropping it kills the process, and shows its log where a test is failing.
#[derive(Debug)]
pub struct Server {
    child: Child,
    api: Api,
    quic: SocketAddr,
    fingerprint: String,
    log: PathBuf,
}

/// What `eventail serve` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    message: String,
    http: SocketAddr,
    quic: SocketAddr,
    fingerprint: String,
}

impl Server {
    /// Starts the binary in `home` and waits until it is ready.
    pub(crate) async fn start(home: &Home) -> Self {
        Self::start_with(home, &home.write_config()).await
    }

    /// The same with a configuration that stands in a file.
    pub(crate) async fn start_with(home: &Home, config: &Path) -> Self {
        Self::start_serving(home, config, &[]).await
    }

    /// The same without watching that file.
    pub async fn start_unwatched(home: &Home, config: &Path) -> Self {
        Self::start_serving(home, config, &["--no-watch"]).await
    }

    async fn start_serving(home: &Home, config: &Path, arguments: &[&str]) -> Self {
        let config = config.display().to_string();
        let mut number = 0;
        let log = loop {
            let log = home.path().join(format!("serve-{number}.log"));
            if !log.exists() {
                break log;
            }
            number += 1;
        };
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let errors = output.try_clone().expect("a second handle of the log file");
        let child = home
            .command(&["serve", "--config", &config, "--log-format", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("the binary starts");
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server =
            Self { child, api: Api::new(nowhere), quic: nowhere, fingerprint: String::new(), log };
        let ready = async || {
            let status = server.child.try_wait().expect("the process can be watched");
            assert!(status.is_none(), "the server ended with {status:?}:\n{}", server.log_text());
            let ready =
                |line: &str| serde_json::from_str(line).ok().filter(|ready: &Ready| ready.message == "ready");
            server.log_text().lines().find_map(ready)
        };
        let Ready { http, quic, fingerprint, .. } = within(PATIENCE, "the server to be ready", ready).await;
        (server.api, server.quic, server.fingerprint) = (Api::new(http), quic, fingerprint);
        server
    }

    /// Its HTTP interface.
    #[must_use]
    pub const fn api(&self) -> Api {
        self.api
    }

    /// Its HTTP address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.api.address())
    }

    /// Where it listens for QUIC.
    #[must_use]
    pub const fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// The SHA-256 of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A connection of the client library that pins the certificate.
    pub async fn client(&self) -> Client {
        let fingerprint = self.fingerprint.parse().expect("the server tells a fingerprint");
        let options = ClientOptions::pinned(self.quic.to_string(), fingerprint);
        Client::connect(options).await.unwrap_or_else(|error| panic!("no connection over QUIC: {error}"))
    }

    /// The process's number.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`, and waits until the process is gone.
    pub async fn kill_9(mut self) {
        self.child.start_kill().expect("the process can be killed");
        let _status = self.child.wait().await.expect("the process can be waited for");
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = i32::try_from(self.process_id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, Signal::TERM).expect("the process can be signalled");
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let id = i32::try_from(self.process_id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, Signal::HUP).expect("the process can be signalled");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.expect("the server ends in time").expect("the process can be waited for")
    }

    /// SIGTERM, the end, and exit code 0.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.log_text());
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "the log of a failing test belongs beside its message")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.log_text();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the end of {} ---\n{}\n---", self.log.display(), tail.join("\n"));
        }
    }
}
