//! What survives a restart.

use super::*;

/// The snapshot that is left when only `entries` were journaled.
fn replay(entries: &[Entry]) -> Snapshot {
    let mut snapshot = Snapshot::new(Offset(0));
    entries.iter().for_each(|entry| snapshot.apply(entry));
    snapshot
}

#[test]
fn attempts_due_times_and_the_last_answer_survive() {
    let mut subscription = offered(policy(), 3);
    let leases = lease(&mut subscription, 0);
    let (_, mut effects) = settle(&mut subscription, 0, &leases[0], retry(RetryClass::Failed, Some(9_000)));
    effects.extend(settle(&mut subscription, 0, &leases[2], Ending::Ack).1);
    let mut subscription = Subscription::restore(policy(), replay(&entries(&effects)), 8);
    assert_eq!((subscription.cursor(), subscription.scanned()), (Offset(0), Offset(0)));
    assert_eq!(subscription.last_failure().and_then(|response| response.status), Some(500));
    assert!(subscription.offer(Timestamp(0), Offset(0), Timestamp(0), None, EVENT_BYTES));
    assert!(
        !subscription.offer(Timestamp(0), Offset(2), Timestamp(0), None, EVENT_BYTES),
        "it is delivered already"
    );
    assert!(subscription.offer(Timestamp(0), Offset(1), Timestamp(0), None, EVENT_BYTES));
    assert_eq!(subscription.scanned(), Offset(3), "what is settled is not read again");
    assert_eq!(offsets(&lease(&mut subscription, 8_999)), [1]);
    let leases = lease(&mut subscription, 9_000);
    assert_eq!((leases[0].offset, leases[0].attempt), (Offset(0), 2));
}

#[test]
fn a_dead_letter_that_was_not_written_is_tried_again_as_the_same_attempt() {
    let mut subscription = offered(DeliveryPolicy { max_attempts: 1, ..policy() }, 1);
    let leases = lease(&mut subscription, 0);
    let (verdict, effects) = settle(&mut subscription, 0, &leases[0], retry(RetryClass::Failed, None));
    assert_eq!(verdict, Verdict::DeadLetter { reason: RejectReason::MaxAttempts });
    let mut subscription = Subscription::restore(policy(), replay(&entries(&effects)), 8);
    assert!(subscription.offer(Timestamp(0), Offset(0), Timestamp(0), None, EVENT_BYTES));
    assert_eq!(lease(&mut subscription, 5_000)[0].attempt, 1);
}

#[test]
fn dead_letters_that_could_not_be_written_are_ordered_again_after_a_resume() {
    let mut subscription = offered(policy(), 2);
    let leases = lease(&mut subscription, 0);
    settle(&mut subscription, 0, &leases[0], reject(false));
    subscription.stop("the disk is full".to_owned());
    settle(&mut subscription, 0, &leases[1], reject(false));
    assert_eq!((subscription.state(), subscription.cursor()), (State::Stopped, Offset(0)));
    subscription.resume();
    let orders: Vec<u64> = subscription.dead_letter_orders().map(|order| order.offset.0).collect();
    assert_eq!(orders, [0, 1]);
}

#[test]
fn holds_the_breaker_and_the_state_survive() {
    let mut subscription = offered(policy(), 5);
    let mut journal = Vec::new();
    let leases = lease(&mut subscription, 0);
    journal.extend(settle(&mut subscription, 0, &leases[3], retry(RetryClass::Throttled, Some(300))).1);
    for one in &leases[..3] {
        journal.extend(settle(&mut subscription, 10, one, retry(RetryClass::Failed, None)).1);
    }
    let mut journal = entries(&journal);
    journal.push(subscription.pause("lunch".to_owned()));
    let restored = Subscription::restore(policy(), replay(&journal), 8);
    assert_eq!(restored.breaker(), BreakerState::Open { until: Timestamp(510) });
    assert_eq!(restored.held_until(Timestamp(0)), Some(Timestamp(510)));
    assert_eq!((restored.state(), restored.reason()), (State::Paused, Some("lunch")));
    assert_eq!(restored.snapshot().held_until, Some(Timestamp(300)));
}

#[test]
fn retention_before_the_log_is_read_again_counts_each_event_once() {
    let mut subscription = offered(policy(), 6);
    let leases = lease(&mut subscription, 0);
    let mut journal = Vec::new();
    journal.extend(settle(&mut subscription, 0, &leases[1], retry(RetryClass::Failed, None)).1);
    journal.extend(settle(&mut subscription, 0, &leases[2], Ending::Ack).1);
    let mut snapshot = replay(&entries(&journal));
    let mut subscription = Subscription::restore(policy(), snapshot.clone(), 8);
    let entry = subscription.lost(Offset(4)).unwrap();
    assert_eq!(entry, Entry::Lost { start: Offset(4), lost: 2, expired: 1 });
    snapshot.apply(&entry);
    assert_eq!(subscription.snapshot(), snapshot);
    assert_eq!((subscription.account().matched, subscription.account().pending), (2, 0));
}

#[test]
fn damage_behind_the_cursor_counts_each_event_once_over_a_restart() {
    let mut subscription = offered(policy(), 6);
    let leases = lease(&mut subscription, 0);
    let mut journal = Vec::new();
    journal.extend(settle(&mut subscription, 0, &leases[1], retry(RetryClass::Failed, None)).1);
    journal.extend(settle(&mut subscription, 0, &leases[2], Ending::Ack).1);
    let mut snapshot = replay(&entries(&journal));
    let mut subscription = Subscription::restore(policy(), snapshot.clone(), 8);
    let entry = subscription.damaged(Offset(0), Offset(4)).unwrap();
    assert_eq!(entry, Entry::Damaged { first: Offset(0), next: Offset(4), lost: 2, expired: 1 });
    snapshot.apply(&entry);
    assert_eq!(subscription.snapshot(), snapshot);
    assert_eq!((subscription.account().matched, subscription.account().pending), (2, 0));
}

#[test]
fn an_event_that_matches_no_more_is_forgotten() {
    let mut subscription = offered(policy(), 2);
    let leases = lease(&mut subscription, 0);
    let (_, effects) = settle(&mut subscription, 0, &leases[0], retry(RetryClass::Failed, None));
    let mut subscription = Subscription::restore(policy(), replay(&entries(&effects)), 8);
    subscription.advance(Offset(2));
    assert_eq!(subscription.cursor(), Offset(2));
    assert!(subscription.snapshot().retries.is_empty());
}

#[test]
fn every_entry_survives_a_format_without_field_names() {
    let tries = Tries {
        burnt: 1,
        made: 2,
        first_at: Timestamp(3),
        last_at: Timestamp(4),
        due: Timestamp(5),
        class: RetryClass::Unreachable,
        response: Response { error: "refused".to_owned(), ..Response::default() },
    };
    let entries = vec![
        Entry::Delivered { first: Offset(1), count: 2 },
        Entry::Retried { offset: Offset(1), tries: Box::new(tries.clone()) },
        Entry::RetriedWithin { offset: Offset(1), tries: Box::new(tries), part: CallPart::Along },
        Entry::DeadLettered { offset: Offset(1) },
        Entry::Answered,
        Entry::Breaker {
            open: Some(OpenBreaker { until: Timestamp(1), open_ms: 2 }),
            given_back: vec![GivenBack { offset: Offset(1), attempts: 1, due: Timestamp(9) }],
        },
        Entry::Held { until: None, throttles: 0 },
        Entry::State { state: State::Stopped, reason: Some("full".to_owned()) },
        Entry::Skipped { to: Offset(1), expired: 1 },
        Entry::Lost { start: Offset(1), lost: 1, expired: 1 },
        Entry::Damaged { first: Offset(1), next: Offset(2), lost: 1, expired: 0 },
        Entry::Checkpoint { scanned: Offset(9), pending: vec![Offset(3)] },
    ];
    let bytes = rmp_serde::to_vec(&entries).unwrap();
    assert_eq!(rmp_serde::from_slice::<Vec<Entry>>(&bytes).unwrap(), entries);
    let delivered = rmp_serde::to_vec(&entries[0]).unwrap();
    assert!(delivered.len() <= 6, "{delivered:x?}");
}

#[test]
fn a_snapshot_from_before_there_were_batches_is_read() {
    #[derive(serde::Serialize)]
    struct RunThen {
        events: Vec<(Offset, u32)>,
        unreachable: u32,
    }
    let bytes = rmp_serde::to_vec(&RunThen { events: Vec::new(), unreachable: 0 }).unwrap();
    assert_eq!(rmp_serde::from_slice::<Run>(&bytes).unwrap(), Run::default());
}
