//! A process that abuses a broker, beside others that only use it: one manner each, until its input ends. Manners that are targets tell
//! their address.
//!
//! It promises to go on whatever the broker does: what is refused or cut off begins anew.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::target::input_ends;

/// Connections of those that need many.
const MANY: usize = 1_000;
/// Connections of those that write as fast as they may.
const FEW: usize = 16;
/// How often those who are slow send a byte.
const DROP_EVERY: Duration = Duration::from_secs(1);
/// How long one that was cut off waits before it comes again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Manner {
    /// Publishers that ask for pages of events and never read them.
    NeverReads,
    /// A thousand connections whose heads come byte by byte.
    SlowLoris,
    /// A thousand connections whose bodies come byte by byte.
    SlowBody,
    /// Bodies that announce 100 GiB and are sent as fast as they are taken.
    HugeBody,
    /// Heads without end.
    HeaderFlood,
    /// A thousand connections that say nothing.
    HalfOpen,
    /// A target that never answers.
    DeadTarget,
    /// A target that answers a byte per second.
    SlowTarget,
    /// A target whose answers announce 100 GiB.
    EndlessTarget,
}

impl Manner {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NeverReads,
        Self::SlowLoris,
        Self::SlowBody,
        Self::HugeBody,
        Self::HeaderFlood,
        Self::HalfOpen,
        Self::DeadTarget,
        Self::SlowTarget,
        Self::EndlessTarget,
    ];

    /// Whether it is called by the broker and does not call it.
    #[must_use]
    pub const fn is_target(self) -> bool {
        matches!(self, Self::DeadTarget | Self::SlowTarget | Self::EndlessTarget)
    }
}

/// An abuser in its own process. Dropping it ends the process.
#[derive(Debug)]
pub struct AbuserProcess {
    _child: Child,
    address: SocketAddr,
}

impl AbuserProcess {
    /// Runs this program's own `abuser` subcommand against `broker`.
    ///
    /// # Errors
    /// Where the process does not start.
    pub async fn start(manner: Manner, broker: SocketAddr) -> anyhow::Result<Self> {
        let name = manner.to_possible_value().context("a manner has a name")?.get_name().to_owned();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("abuser").args(["--manner", &name, "--broker", &broker.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("the abuser starts")?;
        let output = child.stdout.take().context("the abuser's output")?;
        let line =
            BufReader::new(output).lines().next_line().await?.context("the abuser tells its address")?;
        Ok(Self { address: line.parse().context("the abuser's address")?, _child: child })
    }

    /// Its URL, where it is a target.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Abuses until the input ends. The address of its listener is the first line of the output.
///
/// # Errors
/// Where no port can be had.
pub async fn abuse(manner: Manner, broker: SocketAddr) -> anyhow::Result<()> {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("a loopback port")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut tasks = JoinSet::new();
    if manner.is_target() {
        tasks.spawn(serve(listener, manner));
    } else {
        let count = match manner {
            Manner::SlowLoris | Manner::SlowBody | Manner::HalfOpen => MANY,
            _ => FEW,
        };
        crate::system::raise_descriptors(2 * MANY as u64)?;
        for _ in 0..count {
            tasks.spawn(again_and_again(manner, broker));
        }
    }
    input_ends().await;
    Ok(())
}

async fn again_and_again(manner: Manner, broker: SocketAddr) {
    loop {
        // However it ended, it begins anew.
        let _ended = once(manner, broker).await;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn once(manner: Manner, broker: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(broker).await?;
    let publish = |more: &str| {
        format!("POST /v1/topics/abused/events?type=t&source=/abuser HTTP/1.1\r\nhost: x\r\n{more}\r\n")
    };
    let (head, piece, every): (String, &[u8], Duration) = match manner {
        Manner::NeverReads => {
            let page = "GET /v1/topics/load/events?from=earliest&limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n";
            (page.repeat(100), b"", DROP_EVERY)
        }
        Manner::SlowLoris => ("GET / HTTP/1.1\r\nx-slow: ".to_owned(), b"a", DROP_EVERY),
        Manner::SlowBody => (publish("content-length: 1000000\r\n"), b"a", DROP_EVERY),
        Manner::HugeBody => (publish("content-length: 107374182400\r\n"), &[b'a'; 1 << 14], Duration::ZERO),
        Manner::HeaderFlood => {
            ("GET / HTTP/1.1\r\n".to_owned(), b"x-flood: 0123456789abcdef\r\n", Duration::ZERO)
        }
        _ => (String::new(), b"", DROP_EVERY),
    };
    stream.write_all(head.as_bytes()).await?;
    if matches!(manner, Manner::NeverReads | Manner::HalfOpen) {
        // Until the broker has had enough: what it wrote is not taken.
        loop {
            stream.writable().await?;
            tokio::time::sleep(DROP_EVERY).await;
            if stream.peer_addr().is_err() || stream.take_error()?.is_some() {
                return Ok(());
            }
            if manner == Manner::HalfOpen && stream.try_read(&mut [0; 1]).is_ok() {
                return Ok(());
            }
        }
    }
    loop {
        stream.write_all(piece).await?;
        if every > Duration::ZERO {
            tokio::time::sleep(every).await;
        }
    }
}

async fn serve(listener: TcpListener, manner: Manner) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(answer(stream, manner));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(mut stream: TcpStream, manner: Manner) {
    let mut request = [0; 4096];
    let (head, piece, every): (&str, &[u8], Duration) = match manner {
        Manner::SlowTarget => ("", b"H", DROP_EVERY),
        Manner::EndlessTarget => {
            ("HTTP/1.1 200 OK\r\ncontent-length: 107374182400\r\n\r\n", &[b'a'; 1 << 14], Duration::ZERO)
        }
        _ => ("", b"", DROP_EVERY),
    };
    let Ok(1..) = stream.read(&mut request).await else { return };
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    loop {
        let gone = match piece {
            // Reads to see the broker leave.
            [] => !matches!(stream.read(&mut request).await, Ok(1..)),
            piece => stream.write_all(piece).await.is_err(),
        };
        if gone {
            return;
        }
        if every > Duration::ZERO {
            tokio::time::sleep(every).await;
        }
    }
}
