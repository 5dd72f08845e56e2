//! Order per key.

use super::*;
use crate::policy::Ordering;

fn keyed(events: &[(u64, Option<u64>)]) -> Subscription {
    let policy = DeliveryPolicy { ordering: Ordering::Key, ..policy() };
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    for (offset, key) in events {
        subscription.offer(Timestamp(0), Offset(*offset), Timestamp(0), *key, EVENT_BYTES);
    }
    subscription
}

#[test]
fn a_dead_lettered_head_lets_the_next_go_only_when_its_letter_is_written() {
    let mut subscription = keyed(&[(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, None), (4, None)]);
    let leases = lease(&mut subscription, 0);
    assert_eq!(offsets(&leases), [0, 2, 3, 4]);
    settle(&mut subscription, 0, &leases[0], reject(false));
    settle(&mut subscription, 0, &leases[1], Ending::Ack);
    assert!(lease(&mut subscription, 0).is_empty());
    subscription.dead_letter_written(Offset(0));
    assert_eq!(offsets(&lease(&mut subscription, 0)), [1]);
}

#[test]
fn a_failing_key_parks_alone() {
    let mut subscription = keyed(&[(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, Some(2))]);
    let leases = lease(&mut subscription, 0);
    assert_eq!(offsets(&leases), [0, 2]);
    let (verdict, _) = settle(&mut subscription, 0, &leases[0], retry(RetryClass::Failed, None));
    settle(&mut subscription, 0, &leases[1], Ending::Ack);
    let leases = lease(&mut subscription, 0);
    assert_eq!(offsets(&leases), [3]);
    let Verdict::Retry { at } = verdict else { panic!("{verdict:?}") };
    let leases = lease(&mut subscription, at.0);
    assert_eq!(offsets(&leases), [0], "the retry goes before what is behind it");
    settle(&mut subscription, at.0, &leases[0], Ending::Ack);
    assert_eq!(offsets(&lease(&mut subscription, at.0)), [1]);
}

#[test]
fn passing_over_a_head_lets_what_is_behind_it_go() {
    let mut subscription = keyed(&[(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, Some(1)), (4, Some(2))]);
    let leases = lease(&mut subscription, 0);
    assert_eq!(subscription.skip_to(Offset(2)), Entry::Skipped { to: Offset(2), expired: 2 });
    let mut effects = Vec::new();
    assert!(subscription.settle(Timestamp(0), leases[0].token, Ending::Ack, &mut effects).is_err());
    assert_eq!(offsets(&lease(&mut subscription, 0)), [3]);
    settle(&mut subscription, 0, &leases[1], Ending::Ack);
    assert_eq!(offsets(&lease(&mut subscription, 0)), [4]);
}

#[test]
fn a_policy_without_order_lets_everything_go() {
    let mut subscription = keyed(&[(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, Some(1))]);
    let leases = lease(&mut subscription, 0);
    assert_eq!(offsets(&leases), [0, 2]);
    subscription.set_policy(policy());
    assert_eq!(offsets(&lease(&mut subscription, 0)), [1, 3]);
    settle(&mut subscription, 0, &leases[0], Ending::Ack);
    assert_eq!(subscription.cursor(), Offset(1));
}

#[test]
fn a_key_with_many_events_does_not_go_before_what_came_earlier() {
    let keys = [Some(1), Some(1), Some(2), Some(1), Some(3), Some(1)];
    let policy = DeliveryPolicy { ordering: Ordering::Key, concurrency: 1, ..policy() };
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    let mut went = Vec::new();
    for (offset, key) in (0..).zip(keys) {
        subscription.offer(Timestamp(offset), Offset(offset), Timestamp(0), key, EVENT_BYTES);
    }
    while let [one] = lease(&mut subscription, 10)[..] {
        went.push(one.offset.0);
        settle(&mut subscription, 10, &one, Ending::Ack);
    }
    assert_eq!(went, [0, 1, 2, 3, 4, 5]);
}
