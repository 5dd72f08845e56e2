//! Matching and the delivery machine: what every event passes on its way out.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use eventail_benches::scenario::matching::{matcher, typed_events};
use eventail_triggers::pattern::Scratch;
use eventail_triggers::policy::DeliveryPolicy;
use eventail_triggers::subscription::{Ending, Subscription};
use eventail_wire::{Offset, Timestamp};

/// One event of 1,000 types against 10 and against 1,000 triggers.
pub(crate) fn match_patterns(criterion: &mut Criterion) {
    let events = typed_events(1024).expect("a valid size");
    let mut group = criterion.benchmark_group("match");
    group.throughput(Throughput::Elements(1));
    for triggers in [10, 1_000] {
        let matcher = matcher(triggers).expect("valid patterns");
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let mut turn = events.iter().cycle();
        group.bench_function(BenchmarkId::new("triggers", triggers), |bencher| {
            bencher.iter(|| {
                let event = turn.next().expect("a cycle never ends");
                matcher.matches(black_box(event), &mut scratch, &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

/// Offer, lease and acknowledge, 128 at once: the whole work of the delivery machine for an event that is taken at once.
pub(crate) fn settle(criterion: &mut Criterion) {
    const AT_ONCE: u64 = 128;
    let policy = DeliveryPolicy { concurrency: 128, ..DeliveryPolicy::default() };
    let mut subscription = Subscription::new(policy, Offset(0), 1);
    let now = Timestamp(1_000);
    let (mut next, mut leases, mut effects) = (Offset(0), Vec::new(), Vec::new());
    let mut group = criterion.benchmark_group("settle");
    group.throughput(Throughput::Elements(AT_ONCE));
    group.bench_function("offer_lease_ack_128", |bencher| {
        bencher.iter(|| {
            for _ in 0..AT_ONCE {
                subscription.offer(now, next, now, None, 1_000);
                next = next.plus(1);
            }
            subscription.advance(next);
            leases.clear();
            subscription.lease(now, 128, &mut leases);
            for lease in &leases {
                subscription.settle(now, lease.token, Ending::Ack, &mut effects).expect("a fresh lease");
            }
            assert_eq!(subscription.account().pending, 0);
            effects.clear();
        });
    });
    group.finish();
}
