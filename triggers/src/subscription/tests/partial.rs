//! What becomes of each event of a call: partial failures, failures of the whole, and the search for the culprit.

use super::batches::{batch_of, batching, calls, settle_call};
use super::*;
use crate::policy::{BatchPolicy, Ordering};

fn failed() -> Ending {
    retry(RetryClass::Failed, None)
}

fn bisecting(max_events: usize) -> DeliveryPolicy {
    batching(BatchPolicy { bisect: true, ..batch_of(max_events) })
}

fn burnt(subscription: &Subscription) -> Vec<(u64, u32, u32)> {
    let retries = subscription.snapshot().retries;
    retries.into_iter().map(|(offset, tries)| (offset.0, tries.burnt, tries.made)).collect()
}

#[test]
fn what_was_taken_is_delivered_and_the_rest_burns_an_attempt() {
    let mut subscription = offered(batching(batch_of(4)), 4);
    let leases = lease(&mut subscription, 0);
    let endings = vec![Ending::Ack, failed(), Ending::Ack, reject(false)];
    let (verdicts, effects) = settle_call(&mut subscription, 0, &leases, CallEnding::Each(endings));
    assert_eq!(verdicts[0], Some(Verdict::Delivered));
    assert!(matches!(verdicts[1], Some(Verdict::Retry { .. })));
    assert_eq!(verdicts[3], Some(Verdict::DeadLetter { reason: RejectReason::Permanent }));
    assert_eq!(burnt(&subscription), [(1, 1, 1)]);
    assert_eq!(subscription.snapshot().run, Run::default(), "a call that was answered is no outage");
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::DeadLetter(_))).count(), 1);
}

#[test]
fn what_nothing_is_said_of_goes_back() {
    let mut subscription = offered(batching(batch_of(3)), 3);
    let leases = lease(&mut subscription, 0);
    let (verdicts, _) = settle_call(&mut subscription, 0, &leases, CallEnding::Each(vec![Ending::Ack]));
    assert_eq!(verdicts, [Some(Verdict::Delivered), Some(Verdict::HandedBack), Some(Verdict::HandedBack)]);
    assert_eq!(calls(&lease(&mut subscription, 0)), [[1, 2]]);
}

#[test]
fn behind_a_failure_the_rest_of_its_key_goes_back_even_if_it_was_taken() {
    let policy = DeliveryPolicy { ordering: Ordering::Key, ..batching(batch_of(6)) };
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    for (offset, key) in [(0, 1), (1, 2), (2, 1), (3, 2), (4, 1)] {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), Some(key), EVENT_BYTES);
    }
    let leases = lease(&mut subscription, 0);
    assert_eq!(calls(&leases), [[0, 2, 4, 1, 3]]);
    let endings = vec![Ending::Ack, failed(), Ending::Ack, Ending::Ack, Ending::Ack];
    let (verdicts, effects) = settle_call(&mut subscription, 0, &leases, CallEnding::Each(endings));
    assert_eq!(verdicts[2], Some(Verdict::HandedBack));
    assert_eq!(subscription.account().delivered, 3);
    assert_eq!(burnt(&subscription), [(2, 1, 1)], "nothing is noted of the one behind");
    assert!(!entries(&effects).contains(&Entry::Delivered { first: Offset(4), count: 1 }));
    assert!(lease(&mut subscription, 0).is_empty(), "the key is parked");
    assert_eq!(calls(&lease(&mut subscription, 1_000)), [[2, 4]], "and goes on in order");
}

#[test]
fn without_bisect_every_event_of_a_batch_that_fails_burns() {
    let mut subscription = offered(batching(batch_of(3)), 3);
    let leases = lease(&mut subscription, 0);
    let (verdicts, _) = settle_call(&mut subscription, 0, &leases, CallEnding::Whole(failed()));
    assert_eq!(burnt(&subscription), [(0, 1, 1), (1, 1, 1), (2, 1, 1)]);
    let Some(Verdict::Retry { at }) = verdicts[0] else { panic!("{verdicts:?}") };
    assert_eq!(calls(&lease(&mut subscription, at.0)), [[0, 1, 2]], "they find each other again");
}

#[test]
fn a_batch_that_fails_is_halved_down_to_the_culprit_and_burns_nothing_on_the_way() {
    let mut subscription = offered(DeliveryPolicy { concurrency: 1, ..bisecting(8) }, 8);
    let mut tried = Vec::new();
    let mut now = 0;
    for _ in 0..50 {
        now = subscription.next_lease_at().map_or(now, |at| at.0.max(now));
        let leases = lease(&mut subscription, now);
        if leases.is_empty() {
            break;
        }
        let has_poison = leases.iter().any(|lease| lease.offset == Offset(5));
        tried.push((offsets(&leases), leases[0].attempt));
        let ending = if has_poison { failed() } else { Ending::Ack };
        settle_call(&mut subscription, now, &leases, CallEnding::Whole(ending));
        assert_eq!(subscription.breaker(), BreakerState::Closed);
    }
    let expected = [
        (vec![0, 1, 2, 3, 4, 5, 6, 7], 1),
        (vec![0, 1, 2, 3], 1),
        (vec![4, 5, 6, 7], 1),
        (vec![4, 5], 1),
        (vec![4], 1),
        (vec![5], 1),
        (vec![6, 7], 1),
        (vec![5], 2),
        (vec![5], 3),
    ];
    assert_eq!(tried, expected);
    let orders: Vec<_> = subscription.dead_letter_orders().collect();
    assert_eq!((orders.len(), orders[0].offset, orders[0].attempts), (1, Offset(5), 3));
    assert_eq!(subscription.account().delivered, 7);
}

#[test]
fn the_culprit_goes_alone_from_then_on() {
    let mut subscription = offered(bisecting(2), 2);
    let leases = lease(&mut subscription, 0);
    settle_call(&mut subscription, 0, &leases, CallEnding::Whole(failed()));
    let leases = lease(&mut subscription, 0);
    assert_eq!(calls(&leases), [[0], [1]]);
    settle_call(&mut subscription, 0, &leases[..1], CallEnding::Whole(Ending::Ack));
    settle_call(&mut subscription, 0, &leases[1..], CallEnding::Whole(failed()));
    for offset in 2..4 {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), None, EVENT_BYTES);
    }
    assert_eq!(calls(&lease(&mut subscription, 1_000)), [vec![1], vec![2, 3]]);
}

#[test]
fn halves_keep_the_order_of_keys() {
    let policy = DeliveryPolicy { ordering: Ordering::Key, ..bisecting(6) };
    let mut subscription = Subscription::new(policy, Offset(0), 7);
    for (offset, key) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3)] {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), Some(key), EVENT_BYTES);
    }
    let leases = lease(&mut subscription, 0);
    settle_call(&mut subscription, 0, &leases, CallEnding::Whole(failed()));
    let leases = lease(&mut subscription, 0);
    assert_eq!(calls(&leases), [vec![0, 1, 2], vec![4, 5]], "3 waits behind 2");
    settle_call(&mut subscription, 0, &leases[..3], CallEnding::Whole(Ending::Ack));
    assert_eq!(calls(&lease(&mut subscription, 0)), [[3]]);
}

#[test]
fn a_refused_batch_is_halved_where_bisect_says_so_or_it_is_too_large() {
    let refused = |reason| Ending::Reject { reason, response: Response::default(), disable: false };
    for (policy, reason, is_halved) in [
        (bisecting(4), RejectReason::Permanent, true),
        (batching(batch_of(4)), RejectReason::TooLarge, true),
        (batching(batch_of(4)), RejectReason::Permanent, false),
    ] {
        let mut subscription = offered(policy, 4);
        let leases = lease(&mut subscription, 0);
        settle_call(&mut subscription, 0, &leases, CallEnding::Whole(refused(reason)));
        let halves = if is_halved { vec![vec![0, 1], vec![2, 3]] } else { Vec::new() };
        assert_eq!(calls(&lease(&mut subscription, 0)), halves);
        assert_eq!(subscription.dead_letter_orders().count(), if is_halved { 0 } else { 4 });
        assert!(burnt(&subscription).iter().all(|(_, burnt, _)| *burnt == 0));
    }
}

#[test]
fn a_throttled_batch_holds_everything_and_burns_nothing() {
    let mut subscription = offered(bisecting(3), 6);
    let leases = lease(&mut subscription, 0);
    let throttled = retry(RetryClass::Throttled, Some(5_000));
    let (verdicts, _) = settle_call(&mut subscription, 10, &leases[..3], CallEnding::Whole(throttled));
    assert_eq!(verdicts, [Some(Verdict::Retry { at: Timestamp(5_010) }); 3]);
    assert!(lease(&mut subscription, 5_009).is_empty());
    assert_eq!(calls(&lease(&mut subscription, 5_010)), [[0, 1, 2]]);
    assert!(burnt(&subscription).iter().all(|(_, burnt, _)| *burnt == 0));
}

#[test]
fn a_half_that_is_throttled_stays_a_half() {
    let mut subscription = offered(DeliveryPolicy { concurrency: 1, ..bisecting(4) }, 4);
    let leases = lease(&mut subscription, 0);
    settle_call(&mut subscription, 0, &leases, CallEnding::Whole(failed()));
    let leases = lease(&mut subscription, 0);
    let throttled = retry(RetryClass::Throttled, Some(100));
    settle_call(&mut subscription, 0, &leases, CallEnding::Whole(throttled));
    assert_eq!(calls(&lease(&mut subscription, 100)), [[0, 1]]);
}

#[test]
fn a_batch_that_fails_counts_once_towards_an_outage_which_gives_every_attempt_back() {
    let mut subscription = offered(batching(batch_of(4)), 16);
    let leases = lease(&mut subscription, 0);
    for (nth, call) in leases.chunks(4).enumerate().take(3) {
        assert_eq!(subscription.breaker(), BreakerState::Closed, "{nth} calls are no outage");
        settle_call(&mut subscription, 0, call, CallEnding::Whole(failed()));
    }
    assert_eq!(subscription.breaker(), BreakerState::Open { until: Timestamp(500) });
    assert!(burnt(&subscription).iter().all(|(_, burnt, made)| (*burnt, *made) == (0, 1)));
    assert_eq!(burnt(&subscription).len(), 12);
    settle_call(&mut subscription, 0, &leases[12..], CallEnding::Whole(failed()));
    assert_eq!(burnt(&subscription).len(), 16);
    let probe = lease(&mut subscription, 5_000);
    assert_eq!((probe.len(), probe[0].is_probe), (1, true), "a probe is one event");
    settle_call(&mut subscription, 5_000, &probe, CallEnding::Whole(Ending::Ack));
    assert_eq!(calls(&lease(&mut subscription, 60_000)).len(), 4);
}

#[test]
fn halves_outlast_an_outage_and_the_probe_leaves_its_half() {
    let policy = DeliveryPolicy { concurrency: 4, breaker_failures: 2, ..bisecting(4) };
    let mut subscription = offered(policy, 8);
    let leases = lease(&mut subscription, 0);
    settle_call(&mut subscription, 0, &leases[..4], CallEnding::Whole(failed()));
    settle_call(&mut subscription, 0, &leases[4..], CallEnding::Whole(failed()));
    assert!(matches!(subscription.breaker(), BreakerState::Open { .. }));
    let probe = lease(&mut subscription, 60_000);
    assert_eq!(offsets(&probe), [0]);
    settle_call(&mut subscription, 60_000, &probe, CallEnding::Whole(Ending::Ack));
    let mut halves = calls(&lease(&mut subscription, 60_000));
    halves.sort();
    assert_eq!(halves, [vec![1], vec![2, 3], vec![4, 5], vec![6, 7]]);
}

#[test]
fn only_one_event_of_a_batch_keeps_what_is_long_of_the_answer() {
    let response =
        Response { error: "boom".to_owned(), body: "b".to_owned(), log: "l".to_owned(), status: None };
    let ending = Ending::Retry { class: RetryClass::Failed, after_ms: None, response };
    let policy = DeliveryPolicy { max_attempts: 2, ..batching(batch_of(2)) };
    let mut subscription = offered(policy, 2);
    let leases = lease(&mut subscription, 0);
    settle_call(&mut subscription, 0, &leases, CallEnding::Whole(ending.clone()));
    let retries = subscription.snapshot().retries;
    let kept = |offset: u64| &retries[&Offset(offset)].response;
    assert_eq!((kept(0).log.as_str(), kept(1).log.as_str(), kept(1).error.as_str()), ("l", "", "boom"));
    let leases = lease(&mut subscription, 1_000);
    settle_call(&mut subscription, 1_000, &leases, CallEnding::Whole(ending));
    assert!(
        subscription.dead_letter_orders().all(|order| order.response.log == "l"),
        "each dead letter has it"
    );
}

#[test]
fn many_bad_events_in_every_batch_do_not_keep_the_good_ones_back() {
    let bad = |offset: Offset| offset.0.is_multiple_of(10);
    let mut subscription = offered(bisecting(50), 250);
    let mut now = 0;
    while subscription.account().delivered < 215 {
        now = subscription.next_lease_at().map_or(now, |at| at.0.max(now));
        for call in lease(&mut subscription, now).chunk_by(|a, b| a.call == b.call) {
            let fails = call.iter().any(|lease| bad(lease.offset));
            let ending = if fails { failed() } else { Ending::Ack };
            settle_call(&mut subscription, now, call, CallEnding::Whole(ending));
        }
        assert!(now < 30_000, "{:?}", subscription.account());
    }
}
