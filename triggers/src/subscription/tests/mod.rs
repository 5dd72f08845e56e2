//! The machine's rules as statements; `property` holds them against a naive model.

mod model;
mod property;

use eventail_wire::{Offset, Timestamp};

use super::*;
use crate::outcome::{RejectReason, Response, RetryClass};
use crate::policy::{DeliveryPolicy, Ordering};

fn policy() -> DeliveryPolicy {
    DeliveryPolicy {
        concurrency: 4,
        timeout_ms: 1_000,
        max_attempts: 3,
        backoff_initial_ms: 100,
        backoff_max_ms: 1_000,
        retry_after_max_ms: 60_000,
        breaker_failures: 3,
        breaker_open_ms: 500,
        breaker_open_max_ms: 4_000,
        ..DeliveryPolicy::default()
    }
}

/// A subscription with `count` events offered, each appended at time 0.
fn offered(policy: DeliveryPolicy, count: u64) -> Subscription {
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    for offset in 0..count {
        assert!(subscription.offer(Offset(offset), Timestamp(0), None));
    }
    subscription
}

fn lease(subscription: &mut Subscription, now: u64) -> Vec<Lease> {
    let mut leases = Vec::new();
    subscription.lease(Timestamp(now), usize::MAX, &mut leases);
    leases
}

fn retry(class: RetryClass, after_ms: Option<u64>) -> Ending {
    Ending::Retry { class, after_ms, response: Response { status: Some(500), ..Response::default() } }
}

fn settle(
    subscription: &mut Subscription,
    now: u64,
    lease: &Lease,
    ending: Ending,
) -> (Verdict, Vec<Effect>) {
    let mut effects = Vec::new();
    let settled = subscription.settle(Timestamp(now), lease.token, ending, &mut effects).unwrap();
    (settled.verdict, effects)
}

#[test]
fn an_event_that_fails_alone_burns_its_attempts_and_is_dead_lettered() {
    let mut subscription = offered(policy(), 1);
    let mut now = 0;
    for attempt in 1..=2 {
        let leases = lease(&mut subscription, now);
        assert_eq!(leases[0].attempt, attempt);
        let (verdict, _) = settle(&mut subscription, now, &leases[0], retry(RetryClass::Failed, None));
        let Verdict::Retry { at } = verdict else { panic!("{verdict:?}") };
        assert_eq!(subscription.next_wakeup(), Some(at));
        assert!(lease(&mut subscription, at.0 - 1).is_empty());
        now = at.0;
    }
    let leases = lease(&mut subscription, now);
    let (verdict, effects) = settle(&mut subscription, now, &leases[0], retry(RetryClass::Failed, None));
    assert_eq!(verdict, Verdict::DeadLetter { reason: RejectReason::MaxAttempts });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::DeadLetter(order) if order.attempts == 3)));
    assert_eq!((subscription.cursor(), subscription.account().pending), (Offset(0), 1));
    assert!(subscription.dead_letter_written(Offset(0)).is_some());
    assert_eq!((subscription.cursor(), subscription.account().dead_lettered), (Offset(1), 1));
    assert!(subscription.dead_letter_written(Offset(0)).is_none());
}

#[test]
fn an_outage_gives_attempts_back_and_a_probe_ends_it() {
    let mut subscription = offered(policy(), 6);
    let leases = lease(&mut subscription, 0);
    assert_eq!(leases.len(), 4);
    for one in &leases[..3] {
        settle(&mut subscription, 10, one, retry(RetryClass::Failed, None));
    }
    assert_eq!(subscription.breaker(), BreakerState::Open { until: Timestamp(510) });
    settle(&mut subscription, 20, &leases[3], retry(RetryClass::Timeout, None));
    assert_eq!(subscription.breaker(), BreakerState::Open { until: Timestamp(510) });
    assert!(lease(&mut subscription, 509).is_empty());
    assert_eq!(subscription.next_wakeup(), Some(Timestamp(510)));
    let probe = lease(&mut subscription, 510);
    assert_eq!((probe.len(), probe[0].offset, probe[0].is_probe), (1, Offset(4), true));
    assert_eq!(subscription.breaker(), BreakerState::HalfOpen);
    settle(&mut subscription, 520, &probe[0], retry(RetryClass::Unreachable, None));
    assert_eq!(subscription.breaker(), BreakerState::Open { until: Timestamp(1_520) });
    let probe = lease(&mut subscription, 1_520);
    assert_eq!(probe[0].offset, Offset(5));
    settle(&mut subscription, 1_530, &probe[0], Ending::Ack);
    assert_eq!(subscription.breaker(), BreakerState::Closed);
    let leases = lease(&mut subscription, 5_000);
    assert_eq!(leases.len(), 4);
    assert!(leases.iter().all(|lease| lease.attempt == 1));
}

#[test]
fn order_per_key_holds_while_other_keys_flow() {
    let mut subscription =
        Subscription::new(DeliveryPolicy { ordering: Ordering::Key, ..policy() }, Offset(0), 7);
    for (offset, key) in [(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, None), (4, None)] {
        subscription.offer(Offset(offset), Timestamp(0), key);
    }
    let leases = lease(&mut subscription, 0);
    assert_eq!(leases.iter().map(|lease| lease.offset.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
    settle(&mut subscription, 0, &leases[1], Ending::Ack);
    let reject =
        Ending::Reject { reason: RejectReason::Permanent, response: Response::default(), disable: false };
    settle(&mut subscription, 0, &leases[0], reject);
    assert!(lease(&mut subscription, 0).is_empty());
    subscription.dead_letter_written(Offset(0));
    assert_eq!(lease(&mut subscription, 0)[0].offset, Offset(1));
}
