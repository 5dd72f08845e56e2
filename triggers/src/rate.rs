//! A token bucket: how often something may be done in the long run, and how often at once after a quiet time.
//!
//! It promises that within any span no more than `burst + per_second * span` tokens are given, and that a token is there when the
//! wait that was told is over. It reads no clock and never sleeps; after a restart a new one is full.

use eventail_wire::Timestamp;

use crate::policy::RateLimit;

/// What is taken for a whole token: sums of fractions never add up exactly, and nobody is to wait for the last 10^-9 of one.
const WHOLE: f64 = 1.0 - 1e-9;

/// A bucket of tokens, full at first.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    limit: RateLimit,
    tokens: f64,
    /// When `tokens` was counted.
    at: Timestamp,
}

impl Bucket {
    /// A full bucket. A burst of 0 is taken for 1: nothing could ever go otherwise.
    #[must_use]
    pub fn new(limit: RateLimit, now: Timestamp) -> Self {
        let limit = RateLimit { burst: limit.burst.max(1), ..limit };
        Self { limit, tokens: f64::from(limit.burst), at: now }
    }

    /// What it was made with.
    #[must_use]
    pub const fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The milliseconds until there is one, at least 1.
    pub fn take(&mut self, now: Timestamp) -> Result<(), u64> {
        self.fill(now);
        if self.tokens >= WHOLE {
            self.tokens = (self.tokens - 1.0).max(0.0);
            return Ok(());
        }
        Err(self.wait_ms())
    }

    /// Whole tokens that could be taken.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, at most a u32"
    )]
    pub fn free(&mut self, now: Timestamp) -> usize {
        self.fill(now);
        (self.tokens + (1.0 - WHOLE)) as usize
    }

    /// Takes a token back that was not used.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(f64::from(self.limit.burst));
    }

    /// Goes on under another limit, with as many of its tokens as that allows.
    pub fn set_limit(&mut self, limit: RateLimit, now: Timestamp) {
        self.fill(now);
        self.limit = RateLimit { burst: limit.burst.max(1), ..limit };
        self.tokens = self.tokens.min(f64::from(self.limit.burst));
    }

    /// A clock that was set back brings nothing, and goes on from there.
    fn fill(&mut self, now: Timestamp) {
        #[expect(clippy::cast_precision_loss, reason = "a span beyond 2^53 ms fills any bucket")]
        let passed_ms = now.since_ms(self.at) as f64;
        self.at = now;
        let filled = self.tokens + passed_ms * self.limit.per_second.max(0.0) / 1_000.0;
        self.tokens = filled.min(f64::from(self.limit.burst));
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and what is beyond a u64 is for ever"
    )]
    fn wait_ms(&self) -> u64 {
        let missing = WHOLE - self.tokens;
        ((missing * 1_000.0 / self.limit.per_second).ceil() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(per_second: f64, burst: u32) -> Bucket {
        Bucket::new(RateLimit { per_second, burst }, Timestamp(1_000))
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_as_tokens_come() {
        let mut bucket = bucket(10.0, 3);
        let at_once: Vec<_> = (0..5).map(|_| bucket.take(Timestamp(1_000))).collect();
        assert_eq!(at_once, [Ok(()), Ok(()), Ok(()), Err(100), Err(100)]);
        assert_eq!(bucket.take(Timestamp(1_099)), Err(1));
        assert_eq!(bucket.take(Timestamp(1_100)), Ok(()));
        assert_eq!(bucket.free(Timestamp(99_000)), 3, "a quiet time saves up no more than a burst");
    }

    #[test]
    fn a_rate_may_be_less_than_one_a_second() {
        let mut bucket = bucket(0.1, 1);
        assert_eq!(bucket.take(Timestamp(1_000)), Ok(()));
        assert_eq!(bucket.take(Timestamp(1_000)), Err(10_000));
        assert_eq!(bucket.take(Timestamp(10_999)), Err(1));
        assert_eq!(bucket.take(Timestamp(11_000)), Ok(()));
    }

    #[test]
    fn what_was_not_used_can_be_given_back() {
        let mut bucket = bucket(1.0, 1);
        assert_eq!(bucket.take(Timestamp(1_000)), Ok(()));
        bucket.give_back();
        assert_eq!(bucket.take(Timestamp(1_000)), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing_for_longer_than_a_token_takes() {
        let mut bucket = bucket(1.0, 1);
        assert_eq!(bucket.take(Timestamp(1_000)), Ok(()));
        assert_eq!(bucket.take(Timestamp(0)), Err(1_000));
        assert_eq!(bucket.take(Timestamp(1_000)), Ok(()));
    }

    #[test]
    fn another_limit_keeps_what_was_saved_up_within_its_burst() {
        let mut bucket = bucket(1.0, 10);
        bucket.set_limit(RateLimit { per_second: 2.0, burst: 2 }, Timestamp(1_000));
        assert_eq!(bucket.free(Timestamp(1_000)), 2);
        assert_eq!(bucket.limit(), RateLimit { per_second: 2.0, burst: 2 });
    }

    proptest! {
        #[test]
        fn no_more_are_given_than_the_rate_allows_and_a_wait_is_kept(
            per_second in 0.05_f64..500.0,
            burst in 1_u32..20,
            steps in proptest::collection::vec(0_u64..3_000, 1..200),
        ) {
            let mut bucket = bucket(per_second, burst);
            let (mut now, mut given) = (1_000_u64, 0_u32);
            for step in steps {
                now += step;
                match bucket.take(Timestamp(now)) {
                    Ok(()) => given += 1,
                    Err(wait_ms) => {
                        now += wait_ms;
                        prop_assert_eq!(bucket.take(Timestamp(now)), Ok(()));
                        given += 1;
                    }
                }
                let passed = f64::from(u32::try_from(now - 1_000).unwrap()) / 1_000.0;
                prop_assert!(f64::from(given) <= f64::from(burst) + per_second * passed + 1e-3);
            }
        }
    }
}
