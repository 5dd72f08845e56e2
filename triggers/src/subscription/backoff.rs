//! How long to wait: exponential growth with jitter, within the policy's caps.

use rand::Rng;
use rand::rngs::SmallRng;

use crate::policy::DeliveryPolicy;

/// The least that any delay is, so that a retry is never made within the same turn.
const DELAY_MS_MIN: u64 = 1;

/// The most that the `nth` delay may be, counted from 1: `initial * 2^(nth - 1)`, capped.
pub(super) fn ceiling_ms(policy: &DeliveryPolicy, nth: u32) -> u64 {
    doubled_ms(policy.backoff_initial_ms, nth.saturating_sub(1)).min(policy.backoff_max_ms).max(DELAY_MS_MIN)
}

/// The `nth` delay before a retry of one event: full jitter, and no less than the target asked for.
pub(super) fn retry_ms(policy: &DeliveryPolicy, nth: u32, after_ms: Option<u64>, rng: &mut SmallRng) -> u64 {
    let jittered = rng.random_range(0..=ceiling_ms(policy, nth)).max(DELAY_MS_MIN);
    jittered.max(asked_ms(policy, after_ms))
}

/// How long a throttled subscription holds: what the target asked for, else a delay that grows with each throttle in a
/// row. Only half of it is jittered: full jitter could make a hold that is none.
pub(super) fn hold_ms(policy: &DeliveryPolicy, nth: u32, after_ms: Option<u64>, rng: &mut SmallRng) -> u64 {
    let asked_ms = asked_ms(policy, after_ms);
    if asked_ms > 0 {
        return asked_ms;
    }
    let ceiling = ceiling_ms(policy, nth);
    rng.random_range(ceiling / 2..=ceiling).max(DELAY_MS_MIN)
}

/// The delay of an event that failed in an outage, counted from the outage's end. Everything that failed is due then: it
/// is spread a little, so that bad events among it do not come all at once and look like the next outage.
pub(super) fn spread_ms(policy: &DeliveryPolicy, rng: &mut SmallRng) -> u64 {
    rng.random_range(0..=ceiling_ms(policy, 1))
}

/// What the target asked for, capped; 0 where it did not ask.
pub(super) fn asked_ms(policy: &DeliveryPolicy, after_ms: Option<u64>) -> u64 {
    after_ms.unwrap_or(0).min(policy.retry_after_max_ms)
}

/// `initial_ms` doubled `times` times, without overflow.
fn doubled_ms(initial_ms: u64, times: u32) -> u64 {
    1_u64.checked_shl(times).map_or(u64::MAX, |factor| initial_ms.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn policy() -> DeliveryPolicy {
        DeliveryPolicy {
            backoff_initial_ms: 100,
            backoff_max_ms: 1_000,
            retry_after_max_ms: 5_000,
            ..DeliveryPolicy::default()
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_never_overflows() {
        let ceilings: Vec<u64> = [1, 2, 3, 4, 5, 64, 65, u32::MAX].map(|n| ceiling_ms(&policy(), n)).into();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]);
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        let mut rng = SmallRng::seed_from_u64(1);
        let delays: Vec<u64> = (0..1_000).map(|_| retry_ms(&policy(), 4, None, &mut rng)).collect();
        assert!(delays.iter().all(|delay| (1..=800).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 100) && delays.iter().any(|delay| *delay > 700));
    }

    #[test]
    fn what_the_target_asks_for_is_a_lower_bound_within_its_cap() {
        let mut rng = SmallRng::seed_from_u64(2);
        assert_eq!(retry_ms(&policy(), 1, Some(3_000), &mut rng), 3_000);
        assert_eq!(retry_ms(&policy(), 1, Some(60_000), &mut rng), 5_000);
        assert_eq!(hold_ms(&policy(), 1, Some(60_000), &mut rng), 5_000);
    }

    #[test]
    fn a_hold_is_never_less_than_half_its_ceiling() {
        let mut rng = SmallRng::seed_from_u64(3);
        assert!((0..200).all(|_| (200..=400).contains(&hold_ms(&policy(), 3, None, &mut rng))));
    }
}
