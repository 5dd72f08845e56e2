//! The machine's rules as statements; `property` holds them against a naive model.

mod batches;
mod budgets;
mod calls;
mod expiry;
mod intake;
mod model;
mod order;
mod partial;
mod property;
mod repeats;
mod restart;
mod whereabouts;

use eventail_wire::{Offset, Timestamp};

use super::*;
use crate::outcome::{RejectReason, Response, RetryClass};
use crate::policy::DeliveryPolicy;

/// The size of every event.
const EVENT_BYTES: usize = 100;

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
        assert!(subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), None, EVENT_BYTES));
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

fn reject(disable: bool) -> Ending {
    let response = Response { error: "410 Gone".to_owned(), ..Response::default() };
    Ending::Reject { reason: RejectReason::Permanent, response, disable }
}

fn offsets(leases: &[Lease]) -> Vec<u64> {
    leases.iter().map(|lease| lease.offset.0).collect()
}

fn entries(effects: &[Effect]) -> Vec<Entry> {
    let entry = |effect: &Effect| match effect {
        Effect::Journal(entry) => Some(entry.clone()),
        Effect::DeadLetter(_) => None,
    };
    effects.iter().filter_map(entry).collect()
}
