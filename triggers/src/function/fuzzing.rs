//! The way in for the fuzz target of the Runtime API: the bytes of one connection meet an instance without a process. No part of
//! the library's interface: it may change at any time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::{Clock, Timestamp};
use rustix::process::getpid;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::host::Host;
use super::instance::Running;
use super::logs::{Logs, Names};
use super::memory::Memory;
use super::peer::Owner;
use super::{Confinement, FunctionOptions, Work, runtime_api};

/// What one connection may take: nothing in it waits for anybody but the bytes themselves.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What one that waits for an invocation is waited for, before the function is closed.
const WAIT: Duration = Duration::from_millis(20);
/// What lies between the two ends of the connection.
const PIPE_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

/// Lets `input` be all that an instance sends on one connection, while the invocation `1` waits for it. Must be called in a
/// runtime. Answers what it was answered, and how the invocation ended.
///
/// # Panics
/// Where the connection is not over in time, or nobody tells how the invocation ended.
///
/// # Errors
/// The system has no room for two pipes.
pub async fn converse(input: &[u8]) -> io::Result<(Vec<u8>, String)> {
    let host = Host::new(options(), Arc::new(Fixed));
    let names = Names { request_id: "1".to_owned(), event_id: None, correlation_id: None };
    let work = Work {
        names: Arc::new(names),
        payload: Bytes::from_static(b"{}"),
        deadline: Instant::now() + TIME_MAX,
        client_context: None,
        cognito_identity: None,
        trace: None,
    };
    let (answer, mut finished) = oneshot::channel();
    // Straight to the pool: what it asks for, a process, is not started.
    let begun = host.with_pool(|pool| {
        pool.admit(work, true, answer, Instant::now());
        std::mem::take(&mut pool.begun)
    });
    let id = begun.first().copied().unwrap_or_default();
    let (stdout, stderr) = (io::pipe()?.0, io::pipe()?.0);
    let logs = Logs::new(host.options.name.clone(), id, stdout.into(), stderr.into())?;
    let owner = Owner { leader: getpid(), user: 0 };
    let running = Arc::new(Running::new(id, logs, owner, Memory::new(getpid())));
    host.with_pool(|pool| pool.launched(id, &running));

    let (mut ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let talking = runtime_api::talk(theirs, Arc::clone(&host), running);
    let mut heard = Vec::new();
    let speaking = async {
        let (mut read, mut write) = tokio::io::split(&mut ours);
        let speak = async {
            // One that hung up hears no more.
            write.write_all(input).await.ok();
            write.shutdown().await.ok();
        };
        tokio::join!(speak, tokio::io::copy(&mut read, &mut heard))
    };
    let mut conversing = Box::pin(async { tokio::join!(talking, speaking) });
    // One that asked for an invocation, and then began another request, waits for as long as the function is there.
    let is_over = timeout(WAIT, &mut conversing).await.is_ok();
    host.close();
    let is_over = is_over || timeout(TIME_MAX, &mut conversing).await.is_ok();
    assert!(is_over, "the connection outlives its function");
    drop(conversing);
    host.remove(id);
    let finished = finished.try_recv().expect("an invocation that was let in ends");
    let end =
        finished.result.map_or_else(|error| error.to_string(), |answer| format!("{} bytes", answer.len()));
    Ok((heard, end))
}

fn options() -> FunctionOptions {
    FunctionOptions {
        name: "fuzzed".parse().expect("it is a name"),
        command: Vec::new(),
        directory: None,
        environment: Vec::new(),
        handler: None,
        memory_mb: None,
        confinement: Confinement::default(),
        timeout_ms: 60_000,
        init_timeout_ms: 60_000,
        min_instances: 0,
        max_instances: 1,
        idle_timeout_ms: 60_000,
    }
}
