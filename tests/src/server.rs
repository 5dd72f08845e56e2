//! The real `eventail serve`, as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::home::{Home, free_addresses};
use crate::http::Api;
use crate::wait::{PATIENCE, within};

/// A running broker. Dropping it kills the process, and shows its log where a test is failing.
#[derive(Debug)]
pub struct Server {
    child: Child,
    api: Api,
    quic: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts the binary in `home` and waits until it is ready.
    pub(crate) async fn start(home: &Home) -> Self {
        for _ in 0..5 {
            if let Some(server) = Self::attempt(home).await {
                return server;
            }
        }
        panic!("no free address in five tries");
    }

    /// `None` where another process took an address first.
    async fn attempt(home: &Home) -> Option<Self> {
        let (http, quic) = free_addresses();
        let config = home.write_config(http, quic);
        let number = std::fs::read_dir(home.path()).map_or(0, Iterator::count);
        let log = home.path().join(format!("serve-{number}.log"));
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let errors = output.try_clone().expect("a second handle of the log file");
        let config = config.display().to_string();
        let child = home
            .command(&["serve", "--config", &config, "--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("the binary starts");
        let mut server = Self { child, api: Api::new(http), quic, log };
        let ready = async || {
            if let Some(status) = server.child.try_wait().expect("the process can be watched") {
                return Some(Err(status));
            }
            let answer = server.api.send(http::Request::get("/readyz").body(Default::default()).ok()?).await;
            answer.ok().filter(|answer| answer.status == 200).map(|_| Ok(()))
        };
        match within(PATIENCE, "the server to be ready", ready).await {
            Ok(()) => Some(server),
            Err(_) if server.log_text().to_lowercase().contains("address already in use") => None,
            Err(status) => panic!("the server ended with {status}:\n{}", server.log_text()),
        }
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
