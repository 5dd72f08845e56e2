//! Repeats by business key.

use super::*;
use crate::subscription::Keys;

const WINDOW_MS: u64 = 1_000;

fn window() -> DeliveryPolicy {
    DeliveryPolicy { dedup_window_ms: WINDOW_MS, ..policy() }
}

fn offer(subscription: &mut Subscription, offset: u64, at: u64, key: u128) -> Offered {
    let offer = Offer {
        offset: Offset(offset),
        appended_at: Timestamp(at),
        key: None,
        bytes: EVENT_BYTES,
        expires_at: None,
        dedup_key: Some(key),
    };
    subscription.take_in(Timestamp(at), &offer, &mut Vec::new())
}

fn deliver(subscription: &mut Subscription, snapshot: &mut Snapshot) {
    for lease in lease(subscription, 0) {
        let (_, effects) = settle(subscription, 0, &lease, Ending::Ack);
        entries(&effects).iter().for_each(|entry| snapshot.apply(entry));
    }
}

#[test]
fn a_repeat_of_what_is_pending_or_delivered_is_not_delivered_and_is_counted() {
    let mut subscription = offered(window(), 0);
    assert_eq!(offer(&mut subscription, 0, 0, 7), Offered::Pending);
    assert_eq!(offer(&mut subscription, 1, 10, 7), Offered::Repeat, "of what is pending");
    assert_eq!(offer(&mut subscription, 2, 10, 8), Offered::Pending, "another key");
    deliver(&mut subscription, &mut Snapshot::default());
    assert_eq!(offer(&mut subscription, 3, 999, 7), Offered::Repeat, "of what was delivered");
    assert_eq!(offer(&mut subscription, 4, 1_000, 7), Offered::Pending, "its window is over");
    assert_eq!(offer(&mut subscription, 5, 1_999, 7), Offered::Repeat, "a new one began");
    let account = subscription.account();
    assert_eq!((account.matched, account.deduplicated, account.delivered, account.pending), (6, 3, 2, 1));
}

#[test]
fn the_next_one_gets_its_chance_when_the_first_is_given_up() {
    let mut subscription = offered(window(), 0);
    offer(&mut subscription, 0, 0, 7);
    let [first] = lease(&mut subscription, 0)[..] else { unreachable!() };
    settle(&mut subscription, 0, &first, reject(false));
    assert_eq!(offer(&mut subscription, 1, 10, 7), Offered::Repeat, "it is still pending");
    subscription.dead_letter_written(Offset(0)).unwrap();
    assert_eq!(offer(&mut subscription, 2, 20, 7), Offered::Pending);
}

#[test]
fn the_next_one_gets_its_chance_when_the_first_is_passed_over_or_expires() {
    let mut subscription = offered(window(), 0);
    offer(&mut subscription, 0, 0, 7);
    subscription.skip_to(Offset(1));
    assert_eq!(offer(&mut subscription, 1, 10, 7), Offered::Pending);
    subscription.lost(Offset(2)).unwrap();
    let expiring = Offer {
        offset: Offset(2),
        appended_at: Timestamp(20),
        key: None,
        bytes: EVENT_BYTES,
        expires_at: Some(Timestamp(25)),
        dedup_key: Some(7),
    };
    assert_eq!(subscription.take_in(Timestamp(20), &expiring, &mut Vec::new()), Offered::Pending);
    subscription.expire(Timestamp(25), &mut Vec::new());
    assert_eq!(offer(&mut subscription, 3, 30, 7), Offered::Pending);
}

#[test]
fn keys_outlive_a_restart_and_answer_a_backlog_as_if_it_were_live() {
    let mut subscription = offered(window(), 0);
    let mut snapshot = Snapshot::new(Offset(0));
    offer(&mut subscription, 0, 0, 7);
    deliver(&mut subscription, &mut snapshot);
    offer(&mut subscription, 1, 100, 8);
    // Offset 1 is still pending: its key is found again with it.
    let mut again = Subscription::restore(window(), snapshot.clone(), 2);
    assert_eq!(again.remembered_keys(), 1);
    assert_eq!(offer(&mut again, 1, 100, 8), Offered::Pending);
    assert_eq!(offer(&mut again, 2, 150, 8), Offered::Repeat);
    // However late it is read: the times of the appends decide.
    assert_eq!(offer(&mut again, 3, 999, 7), Offered::Repeat);
    assert_eq!(offer(&mut again, 4, 1_000, 7), Offered::Pending);
    assert_eq!(Subscription::restore(policy(), snapshot, 3).remembered_keys(), 0, "nobody asks for them");
}

#[test]
fn what_was_tried_before_a_restart_is_no_repeat_of_what_came_after_it() {
    let mut snapshot = Snapshot::new(Offset(0));
    let mut subscription = offered(window(), 0);
    offer(&mut subscription, 0, 0, 7);
    let [first] = lease(&mut subscription, 0)[..] else { unreachable!() };
    let (_, effects) = settle(&mut subscription, 0, &first, retry(RetryClass::Failed, Some(60_000)));
    entries(&effects).iter().for_each(|entry| snapshot.apply(entry));
    offer(&mut subscription, 1, 5_000, 7);
    deliver(&mut subscription, &mut snapshot);
    let mut again = Subscription::restore(window(), snapshot, 2);
    assert_eq!(offer(&mut again, 0, 0, 7), Offered::Pending);
    assert_eq!(offer(&mut again, 2, 5_500, 7), Offered::Repeat);
}

#[test]
fn the_oldest_keys_are_forgotten_where_there_are_too_many() {
    let mut subscription = offered(DeliveryPolicy { dedup_keys_max: 3, ..window() }, 0);
    for offset in 0..5 {
        assert_eq!(offer(&mut subscription, offset, 0, offset.into()), Offered::Pending);
    }
    assert_eq!((subscription.remembered_keys(), subscription.evicted_keys()), (3, 2));
    assert_eq!(offer(&mut subscription, 5, 0, 4), Offered::Repeat);
    assert_eq!(offer(&mut subscription, 6, 0, 0), Offered::Pending, "delivered rather than lost");
}

#[test]
fn a_log_that_lost_its_end_takes_its_keys_along() {
    let mut snapshot = Snapshot::new(Offset(0));
    let entry = |offset| Entry::DeliveredOnce { offset: Offset(offset), at: Timestamp(0), key: (0, offset) };
    (0..4).for_each(|offset| snapshot.apply(&entry(offset)));
    assert!(snapshot.cut(Offset(2)));
    let left: Vec<u128> = snapshot.keys.rows().map(|(key, _)| key).collect();
    assert_eq!(left, [0, 1]);
    assert_ne!(snapshot.keys, Keys::default());
}
