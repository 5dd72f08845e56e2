//! Processes: started by one thread, each in a group of its own, killed and reaped whole.
//!
//! The parent-death signal is sent when the *thread* that forked ends. So one thread, which lives as long as the broker,
//! starts all processes; a worker of the runtime may end earlier.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::guard::{Guard, SHELL};
use super::system::{self, Bounds, Reaped};

/// Starts that may wait for the thread: each takes it a millisecond or so.
const STARTS_WAITING_MAX: usize = 256;

/// How long a process that was killed may take to be gone. One that waits for a disk cannot be killed.
pub(super) const REAP_RETRY: Duration = Duration::from_millis(5);

static STARTER: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);
static GUARD: Mutex<Guard> = Mutex::new(Guard::new(SHELL));

struct Order {
    runtime: Handle,
    command: Command,
    bounds: Bounds,
    started: oneshot::Sender<io::Result<Started>>,
}

/// A process that runs, and what it writes to.
pub(super) struct Started {
    pub(super) process: Process,
    /// Readable when the process has ended.
    pub(super) end: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// A child and the group that it leads. Dropped before it was reaped, the whole group is killed.
pub(super) struct Process {
    pid: Pid,
    is_reaped: bool,
}

/// Starts `command` in a group of its own, within `bounds`. It dies with the broker.
///
/// # Errors
/// The program cannot be executed, or the system has no room for another process. Must be called in a runtime.
pub(super) async fn start(command: Command, bounds: Bounds) -> io::Result<Started> {
    let (started, answer) = oneshot::channel();
    let order = Order { runtime: Handle::current(), command, bounds, started };
    starter()?.send(order).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
    answer.await.map_err(|_| io::ErrorKind::BrokenPipe)?
}

fn starter() -> io::Result<mpsc::Sender<Order>> {
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(orders) = starter.as_ref().filter(|orders| !orders.is_closed()) {
        return Ok(orders.clone());
    }
    let (orders, taken) = mpsc::channel(STARTS_WAITING_MAX);
    std::thread::Builder::new().name("function-starter".to_owned()).spawn(|| serve(taken))?;
    *starter = Some(orders.clone());
    Ok(orders)
}

fn serve(mut orders: mpsc::Receiver<Order>) {
    while let Some(Order { runtime, command, bounds, started }) = orders.blocking_recv() {
        let _within = runtime.enter();
        // Nobody waits any more: what was started is killed by being dropped.
        drop(started.send(spawn(command, bounds)));
    }
}

fn spawn(mut command: Command, bounds: Bounds) -> io::Result<Started> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    system::confine(&mut command, bounds);
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let process = Process { pid, is_reaped: false };
    guard().add(pid);
    let end = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let stdout: OwnedFd = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?.into();
    let stderr: OwnedFd = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?.into();
    for pipe in [&stdout, &stderr] {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    Ok(Started { process, end, stdout, stderr })
}

fn guard() -> MutexGuard<'static, Guard> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the whole group, and to the leader itself where it has moved to another. The leader pins its number,
    /// which is the group's too, until it is reaped.
    pub(super) fn signal(&self, signal: Signal) {
        if self.is_reaped {
            return;
        }
        let has_left = rustix::process::getpgid(Some(self.pid)).is_ok_and(|group| group != self.pid);
        let alone = has_left.then(|| rustix::process::kill_process(self.pid, signal));
        for sent in [Some(rustix::process::kill_process_group(self.pid, signal)), alone] {
            if let Some(Err(error)) = sent
                && error != rustix::io::Errno::SRCH
            {
                warn!(pid = %self.pid, %error, "the processes of a function cannot be sent a signal");
            }
        }
    }

    /// Kills what is left of the group and takes over the end of its leader: `None` while that runs.
    pub(super) fn reap(&mut self) -> io::Result<Option<Reaped>> {
        self.signal(Signal::KILL);
        let reaped = system::reap(self.pid)?;
        if reaped.is_some() {
            self.is_reaped = true;
            guard().remove(self.pid);
        }
        Ok(reaped)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        match self.reap() {
            Ok(Some(_)) => {}
            Ok(None) => bury(self.pid),
            Err(error) => debug!(pid = %self.pid, %error, "a killed process cannot be waited for"),
        }
    }
}

/// Takes over the end of a killed process when it comes: until then its number stays its own. Without a runtime the broker is
/// ending, and its children's ends are the system's.
fn bury(pid: Pid) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        loop {
            match system::reap(pid) {
                Ok(None) => sleep(REAP_RETRY).await,
                Ok(Some(_)) => return guard().remove(pid),
                Err(error) => return debug!(%pid, %error, "a killed process cannot be waited for"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::time::Instant;

    use super::*;

    /// A user and a group that nothing else runs as.
    const STRANGER: u32 = 1_900_000_077;

    /// What a shell script writes as another user, its errors included; `None` where this test may become no other user.
    async fn written_by(script: &str, bounds: Bounds) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("exec 2>&1; {script}")]);
        let mut started = start(command, bounds).await.unwrap();
        rustix::io::ioctl_fionbio(&started.stdout, false).unwrap();
        let mut written = String::new();
        std::fs::File::from(started.stdout).read_to_string(&mut written).unwrap();
        while started.process.reap().unwrap().is_none() {
            sleep(REAP_RETRY).await;
        }
        Some(written)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_becomes_the_user_that_it_is_told_for_good() {
        let bounds = Bounds { ids: Some((STRANGER, STRANGER + 1)), ..Bounds::default() };
        let script = "while read -r line; do case $line in Uid:*|Gid:*|Groups:*|NoNewPrivs:*|CapEff:*|CapPrm:*|CapAmb:*) \
                      echo $line;; esac; done < /proc/self/status";
        let Some(written) = written_by(script, bounds).await else { return };
        let (user, group) = (STRANGER, STRANGER + 1);
        let none = "0000000000000000";
        let wanted = [
            format!("Uid: {user} {user} {user} {user}"),
            format!("Gid: {group} {group} {group} {group}"),
            "Groups:".to_owned(),
            format!("CapPrm: {none}"),
            format!("CapEff: {none}"),
            format!("CapAmb: {none}"),
            "NoNewPrivs: 1".to_owned(),
        ];
        assert_eq!(written.lines().collect::<Vec<_>>(), wanted);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_user_has_no_more_processes_than_it_may_have() {
        let script = "for n in 1 2 3 4 5 6; do sleep 600 >/dev/null 2>&1 & echo started; done";
        for (processes, wanted) in [(None, 6), (Some(4), 3)] {
            // Another one each time: those of the first take a moment to be gone.
            let user = STRANGER + 2 + wanted;
            let ids = Some((user, user));
            let bounds = Bounds { ids, processes, ..Bounds::default() };
            let Some(written) = written_by(script, bounds).await else { return };
            assert_eq!(written.matches("started").count(), wanted as usize, "{written}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_that_nobody_wants_any_more_leaves_nothing_behind() {
        let mut all = Vec::new();
        for _ in 0..20 {
            let mut command = Command::new("sleep");
            command.arg("600");
            all.push(start(command, Bounds::default()).await.unwrap());
        }
        let entries: Vec<String> = all.iter().map(|one| format!("/proc/{}", one.process.pid())).collect();
        drop(all);
        let give_up = Instant::now() + Duration::from_secs(30);
        while entries.iter().any(|entry| std::fs::exists(entry).unwrap()) {
            assert!(Instant::now() < give_up, "it is still there, dead or alive");
            sleep(Duration::from_millis(2)).await;
        }
    }
}
