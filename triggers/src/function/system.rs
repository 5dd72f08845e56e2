//! The few calls into the system that Rust cannot check. This is the only module of the crate with `unsafe`.
//!
//! Proof for [`confine`] and [`lead_session`]: between `fork` and `exec` a child may only do what is safe in a signal
//! handler, since other threads of the parent may have held any lock, the allocator's too. The closures capture plain
//! numbers, call only rustix functions that are single raw system calls (`prctl`, `getppid`, `setrlimit`, `setsid`; the
//! Linux backend of rustix enters the kernel without libc), allocate nothing, take no lock and do not panic. An error is a
//! number in an `io::Error`, which allocates nothing either.
//!
//! Proof for [`watch`]: an `OwnedFd` names the same open file from its making until it is dropped, which is what the
//! runtime relies on.
//!
//! Proof for [`reap`]: `wait4` writes to the two places that it is given and to nothing else; both are our own, of the
//! right type, and live until it returns. All bytes zero is a value of `rusage`, which is made of integers.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a process ended, and the most memory that it had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    pub(super) status: ExitStatus,
    pub(super) peak_kib: u64,
}

/// Makes the child die with the thread that starts it, leave no core dump, and have at most `memory_bytes` of data.
///
/// The limit is `RLIMIT_DATA`, which counts private memory that can be written: what a function takes by allocating.
/// `RLIMIT_AS` would count address space, and V8, Go and the JVM reserve gigabytes of that without using them.
pub(super) fn confine(command: &mut Command, memory_bytes: Option<u64>) {
    let parent = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the call above sends no signal any more.
        if rustix::process::getppid().map(Pid::as_raw_pid) != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        if memory_bytes.is_some() {
            let limit = Rlimit { current: memory_bytes, maximum: memory_bytes };
            rustix::process::setrlimit(Resource::Data, limit)?;
        }
        Ok(())
    };
    // SAFETY: see the module's documentation.
    unsafe { command.pre_exec(prepare) };
}

/// Makes the child lead a session of its own, so that no signal of a terminal reaches it.
pub(super) fn lead_session(command: &mut Command) {
    let prepare = || {
        rustix::process::setsid()?;
        Ok(())
    };
    // SAFETY: see the module's documentation.
    unsafe { command.pre_exec(prepare) };
}

/// Takes the end of a child over from the kernel, without waiting: `None` while it runs. After `Some` the id may be another
/// process's.
pub(super) fn reap(pid: Pid) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: see the module's documentation.
    let reaped = unsafe { libc::wait4(pid.as_raw_pid(), &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    match reaped {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => {
            // SAFETY: it was zeroed, and `wait4` has filled it in.
            let usage = unsafe { usage.assume_init() };
            let peak_kib = u64::try_from(usage.ru_maxrss).unwrap_or_default();
            Ok(Some(Reaped { status: ExitStatus::from_raw(status), peak_kib }))
        }
    }
}

/// Lets the runtime tell when there is something to read. Must be called in one.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: see the module's documentation.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}
