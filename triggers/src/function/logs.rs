//! What an instance writes: lines for the broker's log, and the last of it for whoever asks why an invocation failed.
//!
//! It promises that a line belongs to the invocation during which it was written: before an invocation is settled, what the
//! pipes hold is read. Memory stays bounded: a line is cut, a flood of lines is left out (and counted), the tail is short.
//! It must not wait for anything but the pipes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventail_wire::FunctionName;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tracing::{debug, info};

use super::system;
use super::tail::Tail;

/// What is kept of one line. CloudWatch takes more; a person reads less.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Lines of one instance and second that go to the broker's log. What is beyond is counted there.
const LINES_PER_SECOND_MAX: u32 = 1_000;
/// One read: what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Reads in one go, so that a function that never stops writing holds nobody up.
const READS_MAX: usize = 4;

/// Whom lines are about.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) request_id: String,
    pub(super) event_id: Option<String>,
    pub(super) correlation_id: Option<String>,
}

/// What one instance writes.
pub(super) struct Logs {
    function: FunctionName,
    instance: u64,
    stdout: AsyncFd<OwnedFd>,
    stderr: AsyncFd<OwnedFd>,
    reading: Mutex<Reading>,
    current: Mutex<Current>,
}

/// Locked while pipes are read, so that lines stay in order.
struct Reading {
    buffer: Box<[u8]>,
    lines: [Line; 2],
    quota: Quota,
}

#[derive(Default)]
struct Current {
    names: Option<Arc<Names>>,
    tail: Tail,
}

#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    is_cut: bool,
}

struct Quota {
    since: Instant,
    lines: u32,
    left_out: u64,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Empty,
    More,
    Closed,
}

impl Logs {
    /// Must be called in a runtime.
    pub(super) fn new(
        function: FunctionName,
        instance: u64,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> std::io::Result<Self> {
        let reading = Reading {
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            lines: [Line::default(), Line::default()],
            quota: Quota { since: Instant::now(), lines: 0, left_out: 0 },
        };
        Ok(Self {
            function,
            instance,
            stdout: system::watch(stdout)?,
            stderr: system::watch(stderr)?,
            reading: Mutex::new(reading),
            current: Mutex::new(Current::default()),
        })
    }

    /// What is written from now on belongs to this invocation.
    pub(super) fn begin(&self, names: Arc<Names>) {
        let mut current = lock(&self.current);
        current.names = Some(names);
        current.tail.clear();
    }

    /// Reads what the pipes hold.
    pub(super) fn drain(&self) {
        let mut reading = lock(&self.reading);
        for stream in [0, 1] {
            for _ in 0..READS_MAX {
                if self.read(&mut reading, stream) != Pipe::More {
                    break;
                }
            }
        }
    }

    /// Reads what the pipes hold for the last time, and ends a last line that has no end.
    pub(super) fn finish(&self) {
        self.drain();
        let mut reading = lock(&self.reading);
        for stream in [0, 1] {
            self.end_line(&mut reading, stream);
        }
    }

    /// The last of what was written since [`Self::begin`].
    pub(super) fn tail(&self) -> String {
        lock(&self.current).tail.text()
    }

    /// Reads until both pipes are closed.
    pub(super) async fn pump(&self) {
        tokio::join!(self.pump_one(0), self.pump_one(1));
    }

    async fn pump_one(&self, stream: usize) {
        loop {
            let mut ready = match self.pipe(stream).readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    debug!(function = %self.function, %error, "a pipe of a function cannot be waited for");
                    return;
                }
            };
            let pipe = self.read(&mut lock(&self.reading), stream);
            match pipe {
                Pipe::Closed => return,
                Pipe::Empty => ready.clear_ready(),
                Pipe::More => tokio::task::yield_now().await,
            }
        }
    }

    const fn pipe(&self, stream: usize) -> &AsyncFd<OwnedFd> {
        if stream == 0 { &self.stdout } else { &self.stderr }
    }

    fn read(&self, reading: &mut Reading, stream: usize) -> Pipe {
        let mut buffer = std::mem::take(&mut reading.buffer);
        let read = rustix::io::read(self.pipe(stream).as_fd(), &mut *buffer);
        let pipe = match read {
            Ok(0) => Pipe::Closed,
            Ok(read) => {
                self.take(reading, stream, &buffer[..read]);
                Pipe::More
            }
            Err(Errno::INTR) => Pipe::More,
            Err(Errno::AGAIN) => Pipe::Empty,
            Err(error) => {
                debug!(function = %self.function, %error, "a pipe of a function cannot be read");
                Pipe::Closed
            }
        };
        reading.buffer = buffer;
        pipe
    }

    fn take(&self, reading: &mut Reading, stream: usize, bytes: &[u8]) {
        lock(&self.current).tail.push(stream, bytes);
        let mut parts = bytes.split(|&byte| byte == b'\n');
        let mut part = parts.next();
        while let Some(text) = part {
            reading.lines[stream].push(text);
            part = parts.next();
            if part.is_some() {
                self.end_line(reading, stream);
            }
        }
    }

    fn end_line(&self, reading: &mut Reading, stream: usize) {
        let line = &mut reading.lines[stream];
        if line.bytes.is_empty() {
            return;
        }
        if tracing::enabled!(target: "function", tracing::Level::INFO) {
            let left_out = reading.quota.take(Instant::now());
            if let Some(left_out @ 1..) = left_out {
                info!(target: "function", function = %self.function, instance = self.instance, left_out,
                    "lines of this function were left out: it writes too many");
            }
            if left_out.is_some() {
                self.emit(&String::from_utf8_lossy(&line.bytes), stream, line.is_cut);
            }
        }
        line.bytes.clear();
        line.is_cut = false;
    }

    fn emit(&self, line: &str, stream: usize, is_cut: bool) {
        let names = lock(&self.current).names.clone();
        let names = names.as_deref();
        info!(
            target: "function",
            function = %self.function,
            instance = self.instance,
            request_id = names.map(|names| names.request_id.as_str()),
            event_id = names.and_then(|names| names.event_id.as_deref()),
            correlation_id = names.and_then(|names| names.correlation_id.as_deref()),
            stream = if stream == 0 { "stdout" } else { "stderr" },
            is_cut = is_cut.then_some(true),
            "{}",
            line.trim_end_matches('\r')
        );
    }
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        let room = LINE_BYTES_MAX - self.bytes.len();
        self.is_cut |= text.len() > room;
        self.bytes.extend_from_slice(&text[..text.len().min(room)]);
    }
}

impl Quota {
    /// Whether one more line may go out: `Some` with the number of those that were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.lines = 0;
        }
        if self.lines == LINES_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
