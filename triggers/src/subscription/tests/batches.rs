//! How events are put together into calls.

use super::*;
use crate::policy::{BatchPolicy, Ordering};

pub(super) fn batching(batch: BatchPolicy) -> DeliveryPolicy {
    DeliveryPolicy { batch: Some(batch), ..policy() }
}

pub(super) const fn batch_of(max_events: usize) -> BatchPolicy {
    BatchPolicy { max_events, max_bytes: 1_000_000, window_ms: 0, bisect: false }
}

/// The offsets of each call.
pub(super) fn calls(leases: &[Lease]) -> Vec<Vec<u64>> {
    leases.chunk_by(|a, b| a.call == b.call).map(offsets).collect()
}

pub(super) fn settle_call(
    subscription: &mut Subscription,
    now: u64,
    call: &[Lease],
    ending: CallEnding,
) -> (Vec<Option<Verdict>>, Vec<Effect>) {
    let mut effects = Vec::new();
    let settled = subscription.settle_call(Timestamp(now), call[0].call, ending, &mut effects).unwrap();
    (settled.into_iter().map(|one| one.map(|one| one.verdict)).collect(), effects)
}

#[test]
fn a_call_is_closed_by_events_and_calls_are_what_concurrency_counts() {
    let policy = DeliveryPolicy { concurrency: 2, ..batching(batch_of(3)) };
    let mut subscription = offered(policy, 10);
    let leases = lease(&mut subscription, 0);
    assert_eq!(calls(&leases), [vec![0, 1, 2], vec![3, 4, 5]]);
    assert_eq!((subscription.in_flight(), subscription.calls_in_flight()), (6, 2));
    assert!(lease(&mut subscription, 0).is_empty());
    settle_call(&mut subscription, 0, &leases[..3], CallEnding::Whole(Ending::Ack));
    assert_eq!(calls(&lease(&mut subscription, 0)), [[6, 7, 8]]);
    let mut one = Vec::new();
    settle_call(&mut subscription, 0, &leases[3..], CallEnding::Whole(Ending::Ack));
    subscription.lease(Timestamp(0), 1, &mut one);
    assert_eq!(calls(&one), [[9]], "`max` counts calls");
}

#[test]
fn a_call_is_closed_by_bytes_but_has_one_event_at_least() {
    let batch = BatchPolicy { max_bytes: 2 * EVENT_BYTES + 99, ..batch_of(100) };
    let mut subscription = offered(batching(batch), 5);
    assert_eq!(calls(&lease(&mut subscription, 0)), [vec![0, 1], vec![2, 3], vec![4]]);
    let batch = BatchPolicy { max_bytes: 1, ..batch_of(100) };
    let mut subscription = offered(batching(batch), 2);
    assert_eq!(calls(&lease(&mut subscription, 0)), [[0], [1]]);
}

#[test]
fn what_does_not_fill_a_call_waits_until_its_window_is_over() {
    let batch = BatchPolicy { window_ms: 50, ..batch_of(3) };
    let mut subscription = Subscription::new(batching(batch), Offset(0), 7);
    for (offset, now) in [(0, 100), (1, 120)] {
        subscription.offer(Timestamp(now), Offset(offset), Timestamp(0), None, EVENT_BYTES);
    }
    assert!(lease(&mut subscription, 149).is_empty() && !subscription.may_lease(Timestamp(149)));
    assert_eq!(subscription.next_lease_at(), Some(Timestamp(150)));
    assert_eq!(calls(&lease(&mut subscription, 150)), [[0, 1]], "the first one's window counts");
    for offset in 2..6 {
        subscription.offer(Timestamp(200), Offset(offset), Timestamp(0), None, EVENT_BYTES);
    }
    assert_eq!(calls(&lease(&mut subscription, 200)), [[2, 3, 4]], "a full call waits for nobody");
    assert_eq!(subscription.next_lease_at(), Some(Timestamp(250)));
    assert_eq!(calls(&lease(&mut subscription, 250)), [[5]]);
}

#[test]
fn a_window_ends_where_there_is_no_room_for_more() {
    let batch = BatchPolicy { window_ms: 60_000, ..batch_of(100) };
    let policy = DeliveryPolicy { parked_max: 2, ordering: Ordering::Key, ..batching(batch) };
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    for offset in 0..3 {
        assert!(subscription.room() > 0);
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), Some(1), EVENT_BYTES);
    }
    assert_eq!(subscription.room(), 0);
    assert_eq!(calls(&lease(&mut subscription, 0)), [[0, 1, 2]]);
}

#[test]
fn there_is_room_for_the_largest_call() {
    let subscription = offered(DeliveryPolicy { concurrency: 1, ..batching(batch_of(5_000)) }, 0);
    assert!(subscription.room() >= 5_000);
}

#[test]
fn a_window_goes_on_over_a_pause_and_a_hold() {
    let batch = BatchPolicy { window_ms: 50, ..batch_of(3) };
    let mut subscription = offered(batching(batch), 2);
    subscription.pause("lunch".to_owned());
    assert!(lease(&mut subscription, 500).is_empty());
    assert_eq!(subscription.next_lease_at(), None);
    subscription.resume();
    assert_eq!(calls(&lease(&mut subscription, 500)), [[0, 1]]);
}

#[test]
fn a_window_is_over_when_the_clock_was_set_back() {
    let batch = BatchPolicy { window_ms: 50, ..batch_of(3) };
    let mut subscription = Subscription::new(batching(batch), Offset(0), 7);
    subscription.offer(Timestamp(10_000), Offset(0), Timestamp(0), None, EVENT_BYTES);
    assert_eq!(calls(&lease(&mut subscription, 1_000)), [[0]]);
}

#[test]
fn a_call_takes_a_keys_events_in_order_and_no_other_call_has_that_key() {
    let policy = DeliveryPolicy { ordering: Ordering::Key, ..batching(batch_of(3)) };
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    for (offset, key) in [(0, 1), (1, 2), (2, 1), (3, 1), (4, 2), (5, 3)] {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), Some(key), EVENT_BYTES);
    }
    let leases = lease(&mut subscription, 0);
    assert_eq!(calls(&leases), [vec![0, 2, 3], vec![1, 4, 5]]);
    subscription.offer(Timestamp(0), Offset(6), Timestamp(0), Some(1), EVENT_BYTES);
    assert!(lease(&mut subscription, 0).is_empty(), "its key is under way");
    settle_call(&mut subscription, 0, &leases[..3], CallEnding::Whole(Ending::Ack));
    assert_eq!(calls(&lease(&mut subscription, 0)), [[6]]);
}

#[test]
fn what_goes_back_or_runs_out_goes_with_its_whole_call() {
    let mut subscription = offered(batching(batch_of(3)), 3);
    let leases = lease(&mut subscription, 0);
    assert_eq!(subscription.release(leases[1].token), Ok(Offset(1)));
    assert!(subscription.release(leases[0].token).is_err(), "it went back with the other");
    let leases = lease(&mut subscription, 0);
    assert_eq!((calls(&leases), leases[0].attempt), (vec![vec![0, 1, 2]], 1));
    assert_eq!(subscription.extend(Timestamp(0), leases[2].token, 5_000), Ok(Timestamp(5_000)));
    let mut effects = Vec::new();
    subscription.expire_leases(Timestamp(4_999), &mut effects);
    assert_eq!((effects.len(), subscription.calls_in_flight()), (0, 1));
    subscription.expire_leases(Timestamp(5_000), &mut effects);
    assert_eq!((subscription.in_flight(), subscription.calls_in_flight()), (0, 0));
    assert_eq!(subscription.retrying(), 3);
}

#[test]
fn a_lease_that_was_passed_over_leaves_its_call() {
    let mut subscription = offered(batching(batch_of(3)), 3);
    let leases = lease(&mut subscription, 0);
    subscription.skip_to(Offset(1));
    let (verdicts, _) = settle_call(&mut subscription, 0, &leases, CallEnding::Whole(Ending::Ack));
    assert_eq!(verdicts, [None, Some(Verdict::Delivered), Some(Verdict::Delivered)]);
    let mut effects = Vec::new();
    let again = CallEnding::Whole(Ending::Ack);
    assert!(subscription.settle_call(Timestamp(0), leases[0].call, again, &mut effects).is_err());
    assert!(effects.is_empty());
}

#[test]
fn a_call_whose_first_event_was_passed_over_is_still_prolonged_and_taken_back() {
    let mut subscription = offered(batching(batch_of(3)), 3);
    let call = lease(&mut subscription, 0)[0].call;
    subscription.skip_to(Offset(1));
    assert_eq!(subscription.extend(Timestamp(0), call, 5_000), Ok(Timestamp(5_000)));
    let mut effects = Vec::new();
    subscription.expire_leases(Timestamp(4_999), &mut effects);
    assert_eq!((subscription.in_flight(), subscription.calls_in_flight()), (2, 1));
    assert_eq!(subscription.release(call), Ok(Offset(1)));
    assert_eq!((subscription.in_flight(), subscription.calls_in_flight()), (0, 0));
    assert!(subscription.release(call).is_err() && subscription.extend(Timestamp(0), call, 1).is_err());
    assert_eq!(calls(&lease(&mut subscription, 0)), [[1, 2]]);
}
