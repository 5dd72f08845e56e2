//! How long to wait before the next try: doubling, with full jitter, so that clients do not come back in step.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[derive(Debug)]
pub(crate) struct Backoff {
    random: SmallRng,
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(seed: u64, initial: Duration, max: Duration) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), initial, max, failures: 0 }
    }

    /// The delay after one more failure: at least half of the doubled delay, and no less than `at_least`.
    pub(crate) fn after_failure(&mut self, at_least: Duration) -> Duration {
        let whole = self.initial.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(self.random.random_range(0.5..=1.0)).max(at_least)
    }

    pub(crate) fn after_success(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_their_cap_and_begin_anew_after_a_success() {
        let (initial, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(1, initial, max);
        for whole_ms in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.after_failure(Duration::ZERO);
            let whole = Duration::from_millis(whole_ms);
            assert!(delay <= whole && delay >= whole / 2, "{delay:?} for {whole:?}");
        }
        backoff.after_success();
        assert!(backoff.after_failure(Duration::ZERO) <= initial);
        assert_eq!(backoff.after_failure(Duration::from_secs(9)), Duration::from_secs(9));
    }
}
