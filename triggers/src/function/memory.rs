//! How much memory an instance has had, and whether the lack of it ended it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use tokio::time::Instant;

use super::error::ProcessEnd;

/// The kernel writes some 1,500 bytes.
const STATUS_BYTES_MAX: usize = 4096;
/// A look takes some 10 µs, a warm invocation little more.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An instance that died by a signal and had this share of what it may have, died of that.
const NEAR_PERCENT: u64 = 90;
/// What runtimes say at last when an allocation fails: Rust, Node, C++, Go, Python, Java.
const LAST_WORDS: [&str; 7] = [
    "memory allocation of ",
    "JavaScript heap out of memory",
    "std::bad_alloc",
    "runtime: out of memory",
    "runtime: cannot allocate memory",
    "MemoryError",
    "java.lang.OutOfMemoryError",
];

/// Looks at one process's memory now and then.
pub(super) struct Memory {
    /// `/proc/PID/status`, kept open. It names the process, not the number: another process is never read.
    status: Option<OwnedFd>,
    looked_at: Option<Instant>,
    peak_kib: u64,
}

impl Memory {
    pub(super) fn new(pid: Pid) -> Self {
        let path = format!("/proc/{pid}/status");
        let status = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        // Without /proc the figure is missing from reports, and nothing else.
        Self { status: status.ok(), looked_at: None, peak_kib: 0 }
    }

    /// The most that it has had, in MiB rounded up, as far as it was looked at.
    pub(super) fn peak_mb(&mut self, now: Instant) -> Option<u32> {
        if self.looked_at.is_none_or(|looked_at| now.saturating_duration_since(looked_at) >= LOOK_EVERY) {
            self.looked_at = Some(now);
            let mut text = [0; STATUS_BYTES_MAX];
            let status = self.status.as_ref();
            let read =
                status.and_then(|status| rustix::io::pread(status, &mut text, 0).ok()).unwrap_or_default();
            self.note(peak_kib(&text[..read]).unwrap_or_default());
        }
        (self.peak_kib > 0).then(|| megabytes(self.peak_kib))
    }

    /// Takes in what is known from elsewhere.
    pub(super) fn note(&mut self, peak_kib: u64) -> Option<u32> {
        self.peak_kib = self.peak_kib.max(peak_kib);
        (self.peak_kib > 0).then(|| megabytes(self.peak_kib))
    }
}

fn megabytes(kib: u64) -> u32 {
    u32::try_from(kib.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// `VmHWM`: the most pages that were in memory at once.
fn peak_kib(status: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Whether a reported error says that memory ran out.
pub(super) fn is_reported(kind: &str, message: &str) -> bool {
    matches!(kind, "MemoryError" | "Runtime.OutOfMemory" | "java.lang.OutOfMemoryError")
        || LAST_WORDS.iter().any(|words| kind.contains(words) || message.starts_with(words))
}

/// Whether a process that ended so ended for want of memory.
pub(super) fn explains(
    end: ProcessEnd,
    log_tail: &str,
    peak_mb: Option<u32>,
    memory_mb: Option<u32>,
) -> bool {
    if end.0.success() {
        return false;
    }
    if LAST_WORDS.iter().any(|words| log_tail.contains(words)) {
        return true;
    }
    let is_typical = end.signal().is_some_and(|signal| {
        matches!(
            signal,
            libc::SIGKILL | libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS | libc::SIGTRAP | libc::SIGILL
        )
    });
    let is_near = |peak: u32, most: u32| u64::from(peak) * 100 >= u64::from(most) * NEAR_PERCENT;
    is_typical && peak_mb.zip(memory_mb).is_some_and(|(peak, most)| is_near(peak, most))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn killed(signal: i32) -> ProcessEnd {
        ProcessEnd(ExitStatus::from_raw(signal))
    }

    #[test]
    fn the_peak_is_read_from_the_status() {
        assert_eq!(peak_kib(b"Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t   3088 kB\nVmRSS:\t 1 kB\n"), Some(3088));
        assert_eq!(peak_kib(b"Name:\tx\nState:\tZ (zombie)\n"), None);
        assert_eq!(megabytes(3088), 4);
    }

    #[test]
    fn this_process_has_a_peak() {
        let pid = rustix::process::getpid();
        assert!(Memory::new(pid).peak_mb(Instant::now()).is_some_and(|mb| mb > 0));
    }

    #[test]
    fn a_kill_near_the_limit_is_for_memory_and_others_are_crashes() {
        assert!(explains(killed(libc::SIGKILL), "", Some(120), Some(128)));
        assert!(!explains(killed(libc::SIGKILL), "", Some(60), Some(128)));
        assert!(!explains(killed(libc::SIGTERM), "", Some(128), Some(128)));
        assert!(!explains(killed(libc::SIGKILL), "", Some(120), None));
        assert!(explains(killed(libc::SIGABRT), "memory allocation of 99 bytes failed", Some(5), Some(128)));
        assert!(!explains(ProcessEnd(ExitStatus::from_raw(0)), "MemoryError", Some(128), Some(128)));
    }

    #[test]
    fn errors_that_runtimes_report_for_memory_are_known() {
        assert!(is_reported("MemoryError", ""));
        assert!(is_reported("Unhandled", "memory allocation of 8 bytes failed"));
        assert!(!is_reported("ValueError", "no such MemoryErrors"));
    }
}
