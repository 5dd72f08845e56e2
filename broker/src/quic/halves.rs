//! Frames of which only a part has come: what they hold together is limited by `limits.in_flight_bytes_max`, as the bodies of
//! HTTP requests are.
//!
//! A client that begins a frame of megabytes on each of its streams and never ends it would else hold gigabytes. The stream that
//! goes over the limit is ended; a little is free to each stream, so that others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eventail_wire::Code;

use super::answers::Refusal;

/// What each stream may hold without being counted: frames of this size come in a few packets.
const FREE_BYTES: usize = 64 << 10;

/// What all streams hold.
#[derive(Clone, Debug)]
pub(super) struct Halves {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Halves {
    /// All streams together may hold `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { held: Arc::default(), bytes_max }
    }

    /// The part of one stream.
    pub(super) fn part(&self) -> Half {
        Half { all: self.clone(), bytes: 0 }
    }
}

/// What one stream holds.
#[derive(Debug)]
pub(super) struct Half {
    all: Halves,
    bytes: usize,
}

impl Half {
    /// Notes that the stream holds `bytes` of frames that are not whole.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), Refusal> {
        let counted = bytes.saturating_sub(FREE_BYTES);
        let before = std::mem::replace(&mut self.bytes, counted);
        if counted <= before {
            self.all.held.fetch_sub(before - counted, Ordering::Relaxed);
            return Ok(());
        }
        let all = self.all.held.fetch_add(counted - before, Ordering::Relaxed) + counted - before;
        // One alone always fits: it has its own limit.
        if all > self.all.bytes_max && all > counted {
            // It ends, so that what it held is there for others at once.
            self.let_go();
            let limit = self.all.bytes_max;
            let message = format!(
                "{all} bytes of all frames that have come in part are over limits.in_flight_bytes_max of {limit}"
            );
            return Err(Refusal::new(Code::Overloaded, message));
        }
        Ok(())
    }
}

impl Half {
    fn let_go(&mut self) {
        self.all.held.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_frames_keep_within_what_all_may_hold() {
        let halves = Halves::new(100 << 10);
        let (mut first, mut second, mut third) = (halves.part(), halves.part(), halves.part());
        first.set(FREE_BYTES + (60 << 10)).unwrap();
        second.set(FREE_BYTES + (40 << 10)).unwrap();
        third.set(FREE_BYTES).unwrap();
        let refused = third.set(FREE_BYTES + 1).unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        assert!(refused.message.contains("limits.in_flight_bytes_max of 102400"), "{}", refused.message);
        drop(third.set(FREE_BYTES + (60 << 10)).unwrap_err());
        first.set(0).unwrap();
        third.set(FREE_BYTES + (60 << 10)).unwrap();
        drop((first, second, third));
        let mut alone = halves.part();
        alone.set(1 << 20).unwrap();
        drop(alone);
        assert_eq!(halves.held.load(Ordering::Relaxed), 0);
    }
}
