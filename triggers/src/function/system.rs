//! The few calls into the system that Rust cannot check. This is the only module of the crate with `unsafe`.
//!
//! Proof for [`confine`] and [`lead_session`]: between `fork` and `exec` a child may only do what is safe in a signal
//! handler, since other threads of the parent may have held any lock, the allocator's too. The closures capture plain
//! numbers, call only rustix functions that are single raw system calls (`prctl`, `getppid`, `setrlimit`, `setsid`,
//! `setgroups`, `setresgid`, `setresuid`, `fcntl`; the Linux backend of rustix enters the kernel without libc) and
//! `libc::syscall`, which is one as well, allocate nothing, take no lock and do not panic. An error is a number in an
//! `io::Error`, which allocates nothing either. `close_range` with its flag only marks descriptors, and what is marked is
//! used by nobody behind the `exec`; a number that is borrowed for `fcntl` is used for that one call, and one that names no
//! descriptor is an error of it and nothing else.
//!
//! Proof for [`watch`]: an `OwnedFd` names the same open file from its making until it is dropped, which is what the
//! runtime relies on.
//!
//! Proof for [`reap`]: `wait4` writes to the two places that it is given and to nothing else; both are our own, of the
//! right type, and live until it returns. All bytes zero is a value of `rusage`, which is made of integers.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::io::FdFlags;
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a process ended, and the most memory that it had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    pub(super) status: ExitStatus,
    pub(super) peak_kib: u64,
}

/// The first descriptor that is neither input, output nor errors.
const FIRST_DESCRIPTOR: RawFd = 3;
/// Where the kernel cannot mark all descriptors at once (before Linux 5.11), so many are marked one by one.
const DESCRIPTORS_MARKED_MAX: u64 = 65_536;

/// What a process may have, and who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Private memory that can be written.
    pub(super) memory_bytes: Option<u64>,
    /// Descriptors at once.
    pub(super) open_files: Option<u64>,
    /// Processes and threads of its user at once.
    pub(super) processes: Option<u64>,
    /// The user and the group that it becomes; `None` leaves it what the broker is.
    pub(super) ids: Option<(u32, u32)>,
}

/// Makes the child die with the thread that starts it, leave no core dump, inherit no descriptor and no capability, and have at
/// most what it may have.
///
/// The memory's limit is `RLIMIT_DATA`, which counts private memory that can be written: what a function takes by allocating.
/// `RLIMIT_AS` would count address space, and V8, Go and the JVM reserve gigabytes of that without using them.
pub(super) fn confine(command: &mut Command, bounds: Bounds) {
    let parent = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    let descriptors_max = descriptors.current.unwrap_or(u64::MAX).min(DESCRIPTORS_MARKED_MAX);
    // Nobody may raise what the broker itself may have at most.
    let open_files = bounds.open_files.map(|most| most.min(descriptors.maximum.unwrap_or(u64::MAX)));
    let limits = [
        (Resource::Core, Some(0)),
        (Resource::Data, bounds.memory_bytes),
        (Resource::Nofile, open_files),
        (Resource::Nproc, bounds.processes),
    ];
    let prepare = move || {
        if let Some((user, group)) = bounds.ids {
            become_user(user, group)?;
        }
        // Behind the change of user, which would take it back.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the call above sends no signal any more.
        if rustix::process::getppid().map(Pid::as_raw_pid) != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        mark_descriptors(descriptors_max)?;
        rustix::thread::clear_ambient_capability_set()?;
        for (resource, most) in limits {
            if most.is_some() {
                rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?;
            }
        }
        Ok(())
    };
    // SAFETY: see the module's documentation.
    unsafe { command.pre_exec(prepare) };
}

/// Becomes another user for good: no program that it runs gives it more.
fn become_user(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Lets every descriptor but input, output and errors end with the `exec`. Our own do that anyway; those that the broker itself
/// inherited from who started it need not.
fn mark_descriptors(count_max: u64) -> io::Result<()> {
    // SAFETY: see the module's documentation.
    let marked = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_DESCRIPTOR, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if marked == 0 {
        return Ok(());
    }
    let count_max = RawFd::try_from(count_max).unwrap_or(RawFd::MAX);
    for number in FIRST_DESCRIPTOR..count_max {
        // SAFETY: see the module's documentation.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
            Ok(()) | Err(rustix::io::Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
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
