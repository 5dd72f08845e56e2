//! Connections whose handshake is not done. Where there are many, somebody new has to prove first that he is at the address that his
//! packets name: made-up addresses then take no place from anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many handshakes may be under way before addresses have to be proved: far more than honest clients have at once, since each
/// takes milliseconds.
const UNPROVED_MAX: usize = 256;

/// How many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<AtomicUsize>);

impl Strangers {
    /// Whether there are so many that addresses have to be proved.
    pub(super) fn are_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= UNPROVED_MAX
    }

    /// One more, until the answer is dropped.
    pub(super) fn come(&self) -> Stranger {
        self.0.fetch_add(1, Ordering::Relaxed);
        Stranger(self.clone())
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Stranger(Strangers);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_handshakes_under_way_are_noticed_until_they_are_done() {
        let strangers = Strangers::default();
        let mut under_way: Vec<Stranger> = (1..UNPROVED_MAX).map(|_| strangers.come()).collect();
        assert!(!strangers.are_many());
        under_way.push(strangers.come());
        assert!(strangers.are_many());
        under_way.pop();
        assert!(!strangers.are_many());
    }
}
