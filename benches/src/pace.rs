//! Keeps a rate whatever the answers: an open loop. A thread of its own waits for each moment, since the runtime's timers
//! count in milliseconds.

use anyhow::Context as _;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;
use tokio::sync::mpsc;

use crate::clock::monotonic_ns;

/// The first moment lies so far ahead that everything is ready for it.
const HEAD_START_NS: u64 = 20_000_000;

/// Moments at a fixed rate.
#[derive(Debug)]
pub struct Pace {
    moments: mpsc::UnboundedReceiver<u64>,
}

impl Pace {
    /// `count` moments at `rate` per second, beginning soon.
    ///
    /// # Errors
    /// Where the thread does not start.
    pub fn start(rate: u64, count: u64) -> anyhow::Result<Self> {
        let (sender, moments) = mpsc::unbounded_channel();
        let keep = move || {
            let begin = monotonic_ns() + HEAD_START_NS;
            for n in 0..count {
                let at = begin + n * 1_000_000_000 / rate.max(1);
                sleep_until(at);
                if sender.send(at).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("pace".to_owned()).spawn(keep).context("the pacing thread")?;
        Ok(Self { moments })
    }

    /// Waits for the next moment and tells when it should have been; `None` after the last.
    pub async fn next(&mut self) -> Option<u64> {
        self.moments.recv().await
    }
}

fn sleep_until(at_ns: u64) {
    let part = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let moment = Timespec { tv_sec: part(at_ns / 1_000_000_000), tv_nsec: part(at_ns % 1_000_000_000) };
    // Interrupted by a signal, it is called again; any other failure would only send early.
    while matches!(clock_nanosleep_absolute(ClockId::Monotonic, &moment), Err(rustix::io::Errno::INTR)) {}
}
