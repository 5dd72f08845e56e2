//! The guard: a small process that outlives the broker by a moment, to kill what functions left behind.
//!
//! The kernel kills an instance when the broker dies, but not what the instance itself started. The guard holds the reading
//! end of a pipe whose writing end only the broker has: when that closes, however the broker ended, it kills every process
//! group that it was told of. It is a shell, so that nothing needs to be installed. Where there is none, the broker goes on
//! without. Between the start of an instance and the guard being told of it lie some microseconds; the instance itself is
//! covered by its parent-death signal then. A process that leaves its group (a daemon) escapes.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;
use tracing::warn;

use super::system;

/// Lines `+GROUP` and `-GROUP` add and remove; the end of the input kills those that are left. Only what every POSIX shell has built in.
const SCRIPT: &str = r#"trap '' INT TERM HUP QUIT
groups=' '
while read -r line; do
  group=${line#?}
  case $line in
    +*) groups="$groups$group " ;;
    -*) case $groups in *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;; esac ;;
  esac
done
for group in $groups; do kill -9 "-$group" 2>/dev/null; done
"#;

/// The shell that runs the guard.
pub(super) const SHELL: &str = "/bin/sh";

/// The groups that must not outlive this process, and the guard that sees to it.
pub(super) struct Guard {
    shell: &'static str,
    groups: BTreeSet<i32>,
    state: State,
}

enum State {
    NotStarted,
    Watching(Child),
    /// It could not be started: told once.
    Missing,
}

impl Guard {
    /// A guard that is started once there is a group to guard.
    pub(super) const fn new(shell: &'static str) -> Self {
        Self { shell, groups: BTreeSet::new(), state: State::NotStarted }
    }

    /// Guards the group that `leader` leads.
    pub(super) fn add(&mut self, leader: Pid) {
        self.groups.insert(leader.as_raw_pid());
        self.tell(&format!("+{leader}\n"));
    }

    /// Guards it no longer: all of it has been killed, and its number may be used again.
    pub(super) fn remove(&mut self, leader: Pid) {
        self.groups.remove(&leader.as_raw_pid());
        self.tell(&format!("-{leader}\n"));
    }

    fn tell(&mut self, line: &str) {
        if let State::Watching(child) = &mut self.state {
            match write(child, line.as_bytes()) {
                Ok(()) => return,
                Err(error) => {
                    warn!(%error, "the guard of the functions' processes does not listen: starting another one");
                    end(child);
                    self.state = State::NotStarted;
                }
            }
        }
        if matches!(self.state, State::NotStarted) {
            self.start();
        }
    }

    fn start(&mut self) {
        let all: String = self.groups.iter().map(|group| format!("+{group}\n")).collect();
        let started = spawn(self.shell).and_then(|mut child| {
            write(&mut child, all.as_bytes()).inspect_err(|_| end(&mut child))?;
            Ok(child)
        });
        self.state = match started {
            Ok(child) => State::Watching(child),
            Err(error) => {
                warn!(
                    shell = self.shell, %error,
                    "no guard for the functions' processes: what an instance starts itself may outlive the broker"
                );
                State::Missing
            }
        };
    }
}

fn spawn(shell: &str) -> io::Result<Child> {
    let mut command = Command::new(shell);
    command.args(["-c", SCRIPT, "eventail-guard"]).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    system::lead_session(&mut command);
    let child = command.spawn()?;
    // Written to while a lock is held: never wait for a guard that does not read.
    let pipe = child.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
    rustix::io::ioctl_fionbio(pipe, true)?;
    Ok(child)
}

/// Kills a guard that is of no use. It may be there still, and only not have read for long: it must not come to take the end
/// of its pipe for the end of the broker, so that stays open until it is dead.
fn end(guard: &mut Child) {
    if let Err(error) = guard.kill().and_then(|()| guard.wait()) {
        warn!(%error, "the old guard cannot be ended");
    }
}

/// Writes one line or several. A pipe takes up to 4 KiB whole or not at all.
fn write(child: &mut Child, text: &[u8]) -> io::Result<()> {
    let pipe = child.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut rest = text;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(pipe, rest))?;
        rest = &rest[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::time::{Duration, Instant};

    use rustix::process::Signal;

    use super::*;

    /// Whether a process is there and not just its end, which nobody has asked for yet.
    fn runs(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    fn sleeper() -> (Child, Pid) {
        let child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        (child, pid)
    }

    #[test]
    fn the_guard_kills_the_groups_that_are_left_when_the_pipe_closes() {
        for shell in [SHELL, "/bin/bash"] {
            let mut guard = Guard::new(shell);
            let ((mut first, a), (mut second, b), (mut third, c)) = (sleeper(), sleeper(), sleeper());
            guard.add(a);
            guard.add(b);
            guard.add(c);
            guard.remove(b);
            drop(guard);
            assert_eq!(first.wait().unwrap().signal(), Some(9), "{shell}");
            assert_eq!(third.wait().unwrap().signal(), Some(9), "{shell}");
            assert!(second.try_wait().unwrap().is_none(), "{shell}: a group that was removed is left alone");
            second.kill().unwrap();
            second.wait().unwrap();
        }
    }

    #[test]
    fn a_guard_that_was_killed_is_replaced_and_knows_all_groups() {
        let mut guard = Guard::new(SHELL);
        let ((mut first, a), (mut second, b)) = (sleeper(), sleeper());
        guard.add(a);
        let State::Watching(child) = &mut guard.state else { panic!("it was not started") };
        child.kill().unwrap();
        child.wait().unwrap();
        guard.add(b);
        drop(guard);
        assert_eq!(first.wait().unwrap().signal(), Some(9));
        assert_eq!(second.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_guard_that_does_not_read_is_replaced_and_kills_nothing() {
        let mut guard = Guard::new(SHELL);
        let ((mut first, a), (mut second, b)) = (sleeper(), sleeper());
        guard.add(a);
        let State::Watching(child) = &guard.state else { panic!("it was not started") };
        let old = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(old, Signal::STOP).unwrap();
        // More than the pipe holds.
        for _ in 0..20_000 {
            guard.add(b);
            guard.remove(b);
        }
        let State::Watching(child) = &guard.state else { panic!("it was not replaced") };
        assert_ne!(child.id(), u32::try_from(old.as_raw_pid()).unwrap());
        // Where it still lives it reads on now, to the end of its pipe.
        rustix::process::kill_process(old, Signal::CONT).ok();
        let give_up = Instant::now() + Duration::from_secs(30);
        while runs(old) {
            assert!(Instant::now() < give_up, "the old guard lives on");
            std::thread::yield_now();
        }
        assert!(first.try_wait().unwrap().is_none(), "the old guard killed what runs still");
        drop(guard);
        assert_eq!(first.wait().unwrap().signal(), Some(9), "the new guard knows it");
        second.kill().unwrap();
        second.wait().unwrap();
    }

    #[test]
    fn without_a_shell_functions_run_unguarded() {
        let mut guard = Guard::new("/no/such/shell");
        let (mut child, pid) = sleeper();
        guard.add(pid);
        guard.remove(pid);
        assert!(matches!(guard.state, State::Missing));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
