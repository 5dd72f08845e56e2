//! One instance, from the start of its process to the last of it.

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::account::{Account, AccountError};
use super::error::{ProcessEnd, StartError};
use super::host::Host;
use super::logs::Logs;
use super::memory::Memory;
use super::peer::Owner;
use super::pool::StartFailure;
use super::process::{self, Process, REAP_RETRY, Started};
use super::system::{self, Bounds, Reaped};
use super::{FunctionOptions, environment, runtime_api};

/// What a process has between SIGTERM and SIGKILL.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(500);
/// How long an answer is waited for that a process sent just before it ended. It lies in our sockets, so it is there at once
/// unless the machine is busy.
const LAST_WORDS_GRACE: Duration = Duration::from_secs(1);

/// An instance whose process runs.
pub(super) struct Running {
    pub(super) id: u64,
    pub(super) logs: Logs,
    /// Who may speak to it.
    owner: Owner,
    /// Its process may have been reaped: the number that the owner has may be another's.
    is_ending: AtomicBool,
    /// Somebody else has tried to.
    had_stranger: AtomicBool,
    memory: Mutex<Memory>,
    stop: Notify,
    /// The process is gone: no connection will come that is not there.
    pub(super) over: Notify,
}

impl Running {
    pub(super) fn new(id: u64, logs: Logs, owner: Owner, memory: Memory) -> Self {
        Self {
            id,
            logs,
            owner,
            is_ending: AtomicBool::new(false),
            had_stranger: AtomicBool::new(false),
            memory: Mutex::new(memory),
            stop: Notify::new(),
            over: Notify::new(),
        }
    }

    /// Makes the process end, soon.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Who may speak to it; `None` once its process is over.
    pub(super) fn owner(&self) -> Option<Owner> {
        (!self.is_ending.load(Ordering::Acquire)).then_some(self.owner)
    }

    /// Notes that somebody else has tried to speak to it; `true` the first time.
    pub(super) fn is_first_stranger(&self) -> bool {
        !self.had_stranger.swap(true, Ordering::Relaxed)
    }

    /// The most memory that it has had, as far as is known.
    pub(super) fn peak_mb(&self) -> Option<u32> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).peak_mb(Instant::now())
    }

    fn note_peak(&self, peak_kib: u64) -> Option<u32> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).note_end(peak_kib)
    }
}

/// A task that ends when this is dropped.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an instance is made of, once its process runs.
struct Launched {
    running: Arc<Running>,
    process: Process,
    end: AsyncFd<std::os::fd::OwnedFd>,
    server: Owned,
    pump: Owned,
}

/// Starts the process of a member of the pool, serves it and sees to its end.
pub(super) async fn run(host: Arc<Host>, id: u64) {
    match launch(&host, id).await {
        Ok(launched) => supervise(&host, launched).await,
        Err(error) => {
            let failure = StartFailure { error: Arc::new(error), log: String::new() };
            host.start_failed(id, failure);
        }
    }
    host.remove(id);
}

async fn launch(host: &Arc<Host>, id: u64) -> Result<Launched, StartError> {
    let listen = |source| StartError::Listen { source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(listen)?;
    let account = account(&host.options)?;
    let command = command(host, id, listener.local_addr().map_err(listen)?, account.as_ref())?;
    let program = host.options.command.first().cloned().unwrap_or_default();
    let Started { process, end, stdout, stderr } =
        process::start(command, bounds(&host.options, account.as_ref()))
            .await
            .map_err(|source| StartError::Command { program, source })?;
    let watch = |source| StartError::Watch { source };
    let logs = Logs::new(host.options.name.clone(), id, stdout, stderr).map_err(watch)?;
    let user = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.user);
    let owner = Owner { leader: process.pid(), user };
    let running = Arc::new(Running::new(id, logs, owner, Memory::new(process.pid())));
    let end = system::watch(end).map_err(watch)?;
    let pumped = Arc::clone(&running);
    let pump = Owned(tokio::spawn(async move { pumped.logs.pump().await }));
    let server = runtime_api::serve(listener, Arc::clone(host), Arc::clone(&running));
    let server = Owned(tokio::spawn(server));
    if !host.with(|pool, _| pool.launched(id, &running)) {
        running.stop();
    }
    debug!(function = %host.options.name, instance = id, pid = %process.pid(), "an instance was started");
    Ok(Launched { running, process, end, server, pump })
}

/// The user that it is to run as, where one is configured.
pub(super) fn account(options: &FunctionOptions) -> Result<Option<Account>, StartError> {
    let Some(user) = &options.confinement.user else { return Ok(None) };
    let account = Account::find(user, options.confinement.group.as_deref());
    let account = account.map_err(|source| StartError::Account { source })?;
    if account.user == 0 && options.confinement.processes_max.is_some() {
        return Err(StartError::Account { source: AccountError::Unlimited });
    }
    Ok(Some(account))
}

fn bounds(options: &FunctionOptions, account: Option<&Account>) -> Bounds {
    Bounds {
        memory_bytes: options.memory_mb.map(|mb| u64::from(mb) << 20),
        open_files: Some(options.confinement.open_files_max),
        processes: options.confinement.processes_max,
        ids: account.filter(|account| !account.is_ours()).map(|account| (account.user, account.group)),
    }
}

fn command(
    host: &Host,
    id: u64,
    api: std::net::SocketAddr,
    account: Option<&Account>,
) -> Result<Command, StartError> {
    let options = &host.options;
    let (program, arguments) = options.command.split_first().ok_or(StartError::NoCommand)?;
    let is_kept_warm = host.with_pool(|pool| pool.is_kept_warm(id));
    let ours = |name: &str| std::env::var_os(name);
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    let log_stream = host.log_stream(id);
    command.envs(environment::variables(options, &ours, account, api, &log_stream, is_kept_warm));
    if let Some(directory) = &options.directory {
        command.current_dir(directory);
    }
    Ok(command)
}

async fn supervise(host: &Arc<Host>, launched: Launched) {
    let Launched { running, mut process, end, mut server, pump } = launched;
    let is_asked = tokio::select! {
        ended = end.readable() => { watched(host, ended.map(|_| ())); false }
        () = running.stop.notified() => true,
    };
    if is_asked {
        process.signal(Signal::TERM);
        if timeout(STOP_GRACE, end.readable()).await.is_err() {
            process.signal(Signal::KILL);
            watched(host, end.readable().await.map(|_| ()));
        }
    }
    running.is_ending.store(true, Ordering::Release);
    let reaped = reap(host, &mut process).await;
    if !is_asked {
        running.over.notify_one();
        // Whether it is done in time shows in the pool.
        timeout(LAST_WORDS_GRACE, &mut server.0).await.ok();
    }
    running.logs.finish();
    drop(pump);
    let Some(Reaped { status, peak_kib }) = reaped else { return };
    let end = ProcessEnd(status);
    let peak_mb = running.note_peak(peak_kib);
    if is_asked {
        debug!(function = %host.options.name, instance = running.id, %end, "an instance was stopped");
    } else {
        info!(function = %host.options.name, instance = running.id, %end, "an instance ended by itself");
    }
    host.ended(&running, end, peak_mb);
}

fn watched(host: &Host, end: io::Result<()>) {
    if let Err(error) = end {
        warn!(function = %host.options.name, %error, "the end of an instance cannot be waited for: it is killed");
    }
}

/// Kills what is left of the group and takes over the end of its leader.
async fn reap(host: &Host, process: &mut Process) -> Option<Reaped> {
    loop {
        match process.reap() {
            Ok(Some(reaped)) => return Some(reaped),
            Ok(None) => sleep(REAP_RETRY).await,
            Err(error) => {
                warn!(function = %host.options.name, %error, "an instance's end is not known");
                return None;
            }
        }
    }
}
