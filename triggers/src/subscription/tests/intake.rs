//! What is taken in, how far the cursor is, and how much memory that costs.

use super::*;

#[test]
fn the_cursor_passes_what_did_not_match() {
    let mut subscription = Subscription::new(policy(), Offset(10), 7);
    subscription.advance(Offset(20));
    assert_eq!((subscription.cursor(), subscription.scanned()), (Offset(20), Offset(20)));
    subscription.offer(Timestamp(0), Offset(25), Timestamp(3), None, EVENT_BYTES);
    subscription.advance(Offset(30));
    assert_eq!((subscription.cursor(), subscription.scanned()), (Offset(25), Offset(30)));
    assert_eq!(subscription.oldest_pending_at(), Some(Timestamp(3)));
    assert!(
        !subscription.offer(Timestamp(0), Offset(29), Timestamp(0), None, EVENT_BYTES),
        "it lies before what was scanned"
    );
    let leases = lease(&mut subscription, 5);
    settle(&mut subscription, 5, &leases[0], Ending::Ack);
    assert_eq!(subscription.cursor(), Offset(30));
}

#[test]
fn there_is_no_room_while_too_much_is_parked() {
    let policy = DeliveryPolicy { parked_max: 3, breaker_failures: 100, ..policy() };
    let mut subscription = offered(policy, 4);
    let leases = lease(&mut subscription, 0);
    assert_eq!(subscription.room(), 3);
    for one in &leases[..3] {
        settle(&mut subscription, 0, one, retry(RetryClass::Failed, None));
    }
    assert_eq!((subscription.room(), subscription.retrying()), (0, 3));
    let leases = lease(&mut subscription, 1_000);
    settle(&mut subscription, 1_000, &leases[0], Ending::Ack);
    assert_eq!(subscription.room(), 3);
}

#[test]
fn one_event_that_is_retried_for_long_does_not_make_what_passes_cost_memory() {
    let mut subscription = offered(policy(), 1);
    let leases = lease(&mut subscription, 0);
    settle(&mut subscription, 0, &leases[0], retry(RetryClass::Failed, Some(60_000)));
    for offset in 1..50_000 {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), None, EVENT_BYTES);
        let leases = lease(&mut subscription, 1);
        settle(&mut subscription, 1, &leases[0], Ending::Ack);
    }
    assert_eq!(subscription.cursor(), Offset(0));
    assert!(subscription.window.len() < 5_000);
    let snapshot = subscription.snapshot();
    assert_eq!((snapshot.cursor, snapshot.settled.len(), snapshot.retries.len()), (Offset(0), 1, 1));
    assert!(subscription.is_checkpoint_due());
    subscription.checkpoint();
    assert!(!subscription.is_checkpoint_due());
}

#[test]
fn retention_takes_pending_events_and_unread_ones_and_tells_both() {
    let mut subscription = offered(policy(), 3);
    assert_eq!(subscription.lost(Offset(0)), None);
    assert_eq!(subscription.lost(Offset(8)), Some(Entry::Lost { start: Offset(8), lost: 5, expired: 3 }));
    assert_eq!((subscription.cursor(), subscription.lost_events()), (Offset(8), 5));
    assert_eq!(subscription.account().expired, 3);
}

#[test]
fn damage_takes_what_lies_in_it_and_nothing_before_or_behind() {
    let mut subscription = offered(policy(), 3);
    assert_eq!(subscription.damaged(Offset(5), Offset(6)), None, "what lies before is not read yet");
    assert_eq!(
        subscription.damaged(Offset(1), Offset(2)),
        Some(Entry::Damaged { first: Offset(1), next: Offset(2), lost: 0, expired: 1 })
    );
    assert_eq!(subscription.damaged(Offset(1), Offset(2)), None, "once");
    assert_eq!(
        subscription.damaged(Offset(3), Offset(8)),
        Some(Entry::Damaged { first: Offset(3), next: Offset(8), lost: 5, expired: 0 })
    );
    assert_eq!((subscription.cursor(), subscription.scanned()), (Offset(0), Offset(8)));
    let leases = lease(&mut subscription, 0);
    let leased: Vec<_> = leases.iter().map(|lease| lease.offset).collect();
    assert_eq!(leased, [Offset(0), Offset(2)]);
    for one in &leases {
        settle(&mut subscription, 0, one, Ending::Ack);
    }
    let account = subscription.account();
    assert_eq!((subscription.cursor(), subscription.lost_events()), (Offset(8), 5));
    assert_eq!((account.delivered, account.expired, account.pending), (2, 1, 0));
}

#[test]
fn an_event_under_way_that_is_damaged_is_settled_once() {
    let mut subscription = offered(policy(), 2);
    let leases = lease(&mut subscription, 0);
    assert!(subscription.damaged(Offset(0), Offset(1)).is_some());
    assert!(subscription.settle(Timestamp(0), leases[0].token, Ending::Ack, &mut Vec::new()).is_err());
    assert_eq!((subscription.cursor(), subscription.account().expired), (Offset(1), 1));
}

#[test]
fn skipping_back_changes_nothing() {
    let mut subscription = offered(policy(), 3);
    subscription.skip_to(Offset(2));
    assert_eq!(subscription.skip_to(Offset(1)), Entry::Skipped { to: Offset(2), expired: 0 });
    assert_eq!((subscription.cursor(), subscription.account().expired), (Offset(2), 2));
}
