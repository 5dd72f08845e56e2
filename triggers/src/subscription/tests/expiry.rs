//! `expirytime`: what is past it never goes out, and is counted.

use super::*;
use crate::policy::{BatchPolicy, Ordering};

fn offer(subscription: &mut Subscription, offset: u64, key: Option<u64>, expires_at: Option<u64>) -> Offered {
    let offer = Offer {
        offset: Offset(offset),
        appended_at: Timestamp(0),
        key,
        bytes: EVENT_BYTES,
        expires_at: expires_at.map(Timestamp),
        dedup_key: None,
    };
    subscription.take_in(Timestamp(0), &offer, &mut Vec::new())
}

fn expire(subscription: &mut Subscription, now: u64) -> Vec<Entry> {
    let mut effects = Vec::new();
    subscription.expire(Timestamp(now), &mut effects);
    entries(&effects)
}

fn expired(offset: u64) -> Entry {
    Entry::Expired { offset: Offset(offset) }
}

#[test]
fn what_is_past_its_time_when_it_is_offered_is_settled_then() {
    let mut subscription = offered(policy(), 0);
    let mut effects = Vec::new();
    let late = Offer {
        offset: Offset(0),
        appended_at: Timestamp(0),
        key: None,
        bytes: EVENT_BYTES,
        expires_at: Some(Timestamp(5_000)),
        dedup_key: None,
    };
    assert_eq!(subscription.take_in(Timestamp(5_000), &late, &mut effects), Offered::Expired);
    assert_eq!(entries(&effects), [expired(0)]);
    assert!(lease(&mut subscription, 5_000).is_empty());
    let account = subscription.account();
    assert_eq!((account.matched, account.expired, subscription.cursor()), (1, 1, Offset(1)));
}

#[test]
fn what_waits_is_settled_when_its_time_comes_and_not_before() {
    let mut subscription = offered(policy(), 0);
    offer(&mut subscription, 0, None, Some(1_000));
    offer(&mut subscription, 1, None, None);
    assert_eq!(subscription.next_wakeup(), Some(Timestamp(1_000)));
    assert!(expire(&mut subscription, 999).is_empty());
    assert_eq!(expire(&mut subscription, 1_000), [expired(0)]);
    assert_eq!(subscription.next_expiry(), None);
    assert_eq!(offsets(&lease(&mut subscription, 1_000)), [1]);
}

#[test]
fn an_attempt_under_way_goes_on_and_its_event_expires_instead_of_being_retried() {
    let mut subscription = offered(policy(), 0);
    offer(&mut subscription, 0, None, Some(1_000));
    let [first] = lease(&mut subscription, 999)[..] else { unreachable!() };
    assert!(expire(&mut subscription, 2_000).is_empty(), "it may still be taken");
    settle(&mut subscription, 2_000, &first, retry(RetryClass::Failed, Some(10_000)));
    assert_eq!(expire(&mut subscription, 2_000), [expired(0)], "well before the retry is due");
    assert_eq!(subscription.retrying(), 0);
    offer(&mut subscription, 1, None, Some(3_000));
    let [second] = lease(&mut subscription, 2_999)[..] else { unreachable!() };
    let (verdict, _) = settle(&mut subscription, 3_500, &second, Ending::Ack);
    assert_eq!((verdict, subscription.account().delivered), (Verdict::Delivered, 1));
}

#[test]
fn what_is_paused_or_held_expires_all_the_same() {
    let mut subscription = offered(policy(), 0);
    offer(&mut subscription, 0, None, Some(1_000));
    subscription.pause("lunch".to_owned());
    assert_eq!(expire(&mut subscription, 1_000), [expired(0)]);
}

#[test]
fn the_next_one_of_its_key_goes_when_one_expires() {
    let mut subscription = offered(DeliveryPolicy { ordering: Ordering::Key, ..policy() }, 0);
    offer(&mut subscription, 0, Some(7), None);
    offer(&mut subscription, 1, Some(7), Some(500));
    offer(&mut subscription, 2, Some(7), None);
    let [first] = lease(&mut subscription, 0)[..] else { unreachable!() };
    assert!(expire(&mut subscription, 900).is_empty(), "it is not its turn");
    settle(&mut subscription, 900, &first, Ending::Ack);
    assert_eq!(expire(&mut subscription, 900), [expired(1)]);
    assert_eq!(offsets(&lease(&mut subscription, 900)), [2]);
}

#[test]
fn what_expired_behind_another_one_of_its_key_is_in_no_call() {
    let batch = BatchPolicy { max_events: 10, max_bytes: 1 << 20, window_ms: 0, bisect: true };
    let policy = DeliveryPolicy { ordering: Ordering::Key, batch: Some(batch), ..policy() };
    let mut subscription = offered(policy, 0);
    for (offset, expires_at) in [(0, None), (1, Some(500)), (2, None)] {
        offer(&mut subscription, offset, Some(7), expires_at);
    }
    let leases = lease(&mut subscription, 600);
    assert_eq!(offsets(&leases), [0]);
    settle(&mut subscription, 600, &leases[0], Ending::Ack);
    assert_eq!(expire(&mut subscription, 600), [expired(1)]);
    assert_eq!(offsets(&lease(&mut subscription, 600)), [2]);
}
