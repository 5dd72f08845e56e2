//! What a failure costs: the budgets of throttles, outages and bad events.

use super::*;

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
fn a_bad_event_among_passing_ones_burns_while_the_breaker_stays_closed() {
    let mut subscription = offered(policy(), 1);
    let mut now = 0;
    for offset in 1..20 {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), None, EVENT_BYTES);
        for one in lease(&mut subscription, now) {
            let ending = if one.offset == Offset(0) { retry(RetryClass::Failed, None) } else { Ending::Ack };
            settle(&mut subscription, now, &one, ending);
        }
        assert_eq!(subscription.breaker(), BreakerState::Closed);
        now += 1_000;
    }
    let orders: Vec<_> = subscription.dead_letter_orders().collect();
    assert_eq!((orders.len(), orders[0].offset, orders[0].attempts), (1, Offset(0), 3));
    assert_eq!((orders[0].first_attempt_at, orders[0].last_attempt_at), (Timestamp(0), Timestamp(2_000)));
}

#[test]
fn a_throttle_holds_everything_and_costs_no_attempt() {
    let mut subscription = offered(policy(), 6);
    let leases = lease(&mut subscription, 0);
    let (verdict, _) = settle(&mut subscription, 10, &leases[1], retry(RetryClass::Throttled, Some(5_000)));
    assert_eq!(verdict, Verdict::Retry { at: Timestamp(5_010) });
    settle(&mut subscription, 20, &leases[0], Ending::Ack);
    assert!(lease(&mut subscription, 5_009).is_empty(), "others are held as well");
    assert_eq!(subscription.held_until(Timestamp(20)), Some(Timestamp(5_010)));
    assert_eq!(subscription.next_wakeup(), Some(Timestamp(1_000)), "the deadline of the other leases");
    let leases = lease(&mut subscription, 5_010);
    assert_eq!((offsets(&leases), leases[0].attempt), (vec![1, 4], 1), "the throttled one is first again");
    assert_eq!(subscription.held_until(Timestamp(5_010)), None);
}

#[test]
fn holds_grow_with_each_burst_of_throttles_not_with_each_throttle() {
    let mut subscription = offered(policy(), 4);
    let mut now = 0;
    let mut holds = Vec::new();
    for _ in 0..6 {
        let leases = lease(&mut subscription, now);
        assert_eq!(leases.len(), 4);
        for one in &leases {
            settle(&mut subscription, now, one, retry(RetryClass::Throttled, None));
        }
        let until = subscription.held_until(Timestamp(now)).unwrap().0;
        holds.push(until - now);
        now = until;
    }
    for (hold, ceiling) in holds.into_iter().zip([100, 200, 400, 800, 1_000, 1_000]) {
        assert!((ceiling / 2..=ceiling).contains(&hold), "{hold} of {ceiling}");
    }
    let leases = lease(&mut subscription, now);
    settle(&mut subscription, now, &leases[0], Ending::Ack);
    settle(&mut subscription, now, &leases[1], retry(RetryClass::Throttled, None));
    assert!(subscription.held_until(Timestamp(now)).unwrap().0 - now <= 100, "a success ends the growth");
}

#[test]
fn a_throttled_event_can_become_too_old() {
    let mut subscription = offered(DeliveryPolicy { max_age_ms: 10_000, ..policy() }, 1);
    let leases = lease(&mut subscription, 0);
    let (verdict, _) = settle(&mut subscription, 0, &leases[0], retry(RetryClass::Throttled, Some(10_001)));
    assert_eq!(verdict, Verdict::DeadLetter { reason: RejectReason::MaxAge });
}

#[test]
fn age_counts_from_the_append_to_the_next_try() {
    let mut subscription = offered(DeliveryPolicy { max_age_ms: 60_000, ..policy() }, 1);
    let leases = lease(&mut subscription, 59_999);
    assert_eq!(leases.len(), 1, "a first try is made however old the event is");
    let (verdict, effects) =
        settle(&mut subscription, 59_999, &leases[0], retry(RetryClass::Failed, Some(2)));
    assert_eq!(verdict, Verdict::DeadLetter { reason: RejectReason::MaxAge });
    let order = effects.iter().find_map(|effect| match effect {
        Effect::DeadLetter(order) => Some(order),
        Effect::Journal(_) => None,
    });
    let order = order.unwrap();
    assert_eq!((order.class, order.attempts), (Some(RetryClass::Failed), 1));
}

#[test]
fn a_target_that_is_not_reached_opens_the_breaker_with_a_single_event() {
    let mut subscription = offered(policy(), 1);
    let mut now = 0;
    for failures in 1..=3 {
        let leases = lease(&mut subscription, now);
        assert_eq!(leases[0].attempt, 1);
        let (verdict, _) = settle(&mut subscription, now, &leases[0], retry(RetryClass::Unreachable, None));
        let Verdict::Retry { at } = verdict else { panic!("{verdict:?}") };
        assert_eq!(subscription.breaker() != BreakerState::Closed, failures == 3);
        now = at.0;
    }
}

#[test]
fn an_attempt_from_before_the_outage_that_succeeds_closes_the_breaker() {
    let mut subscription = offered(policy(), 4);
    let leases = lease(&mut subscription, 0);
    for one in &leases[..3] {
        settle(&mut subscription, 10, one, retry(RetryClass::Failed, None));
    }
    assert_ne!(subscription.breaker(), BreakerState::Closed);
    settle(&mut subscription, 20, &leases[3], Ending::Ack);
    assert_eq!(subscription.breaker(), BreakerState::Closed);
}

#[test]
fn a_refused_event_shows_that_the_target_is_alive() {
    let mut subscription = offered(policy(), 4);
    let leases = lease(&mut subscription, 0);
    settle(&mut subscription, 10, &leases[0], retry(RetryClass::Failed, None));
    settle(&mut subscription, 10, &leases[1], retry(RetryClass::Failed, None));
    settle(&mut subscription, 10, &leases[2], reject(false));
    settle(&mut subscription, 10, &leases[3], retry(RetryClass::Failed, None));
    assert_eq!(subscription.breaker(), BreakerState::Closed);
}

#[test]
fn the_time_between_probes_doubles_up_to_its_cap_and_begins_anew_after_a_success() {
    let mut subscription = offered(policy(), 3);
    let mut now = 0;
    for one in lease(&mut subscription, now) {
        settle(&mut subscription, now, &one, retry(RetryClass::Failed, None));
    }
    for open_ms in [500, 1_000, 2_000, 4_000, 4_000] {
        assert_eq!(subscription.breaker(), BreakerState::Open { until: Timestamp(now + open_ms) });
        assert!(lease(&mut subscription, now + open_ms - 1).is_empty());
        now += open_ms + policy().backoff_initial_ms;
        let probe = lease(&mut subscription, now);
        assert_eq!(probe.len(), 1);
        assert!(lease(&mut subscription, now).is_empty(), "one probe at a time");
        settle(&mut subscription, now, &probe[0], retry(RetryClass::Timeout, None));
    }
    now += 5_000;
    let probe = lease(&mut subscription, now);
    assert_eq!(probe[0].attempt, 1, "probes burn nothing");
    settle(&mut subscription, now, &probe[0], Ending::Ack);
    assert_eq!(subscription.breaker(), BreakerState::Closed);
}

#[test]
fn a_probe_that_is_handed_back_lets_another_go() {
    let mut subscription = offered(policy(), 3);
    for one in lease(&mut subscription, 0) {
        settle(&mut subscription, 0, &one, retry(RetryClass::Failed, None));
    }
    let probe = lease(&mut subscription, 5_000);
    subscription.release(probe[0].token).unwrap();
    assert_eq!(subscription.breaker(), BreakerState::Open { until: Timestamp(500) });
    assert_eq!(lease(&mut subscription, 5_000).len(), 1);
}

#[test]
fn a_crowd_of_bad_events_does_not_keep_good_ones_waiting_for_long() {
    let mut subscription = offered(policy(), 200);
    let is_bad = |offset: Offset| offset.0 < 60;
    let mut now = 0;
    while subscription.account().delivered < 140 {
        for one in lease(&mut subscription, now) {
            let bad = is_bad(one.offset);
            let ending = if bad { retry(RetryClass::Failed, None) } else { Ending::Ack };
            settle(&mut subscription, now, &one, ending);
        }
        now += 100;
        assert!(now < 120_000, "{:?}", subscription.account());
    }
}

#[test]
fn a_target_that_wants_no_more_disables_the_subscription() {
    let mut subscription = offered(policy(), 2);
    let leases = lease(&mut subscription, 0);
    settle(&mut subscription, 0, &leases[0], reject(true));
    assert_eq!((subscription.state(), subscription.reason()), (State::Disabled, Some("410 Gone")));
    settle(&mut subscription, 0, &leases[1], Ending::Ack);
    subscription.offer(Timestamp(0), Offset(2), Timestamp(0), None, EVENT_BYTES);
    assert!(lease(&mut subscription, 0).is_empty());
    subscription.resume();
    assert_eq!(offsets(&lease(&mut subscription, 0)), [2]);
}

#[test]
fn a_lease_that_runs_out_is_a_time_out_and_its_token_is_refused() {
    let mut subscription = offered(policy(), 2);
    let leases = lease(&mut subscription, 0);
    let until = subscription.extend(Timestamp(500), leases[1].token, 1_000).unwrap();
    assert_eq!(until, Timestamp(1_500));
    let mut effects = Vec::new();
    subscription.expire_leases(Timestamp(1_000), &mut effects);
    assert!(matches!(&entries(&effects)[..], [Entry::Retried { offset: Offset(0), tries }]
        if tries.class == RetryClass::Timeout && tries.burnt == 1));
    let stale = subscription.settle(Timestamp(1_000), leases[0].token, Ending::Ack, &mut effects);
    assert_eq!(stale, Err(StaleLease { token: leases[0].token }));
    settle(&mut subscription, 1_400, &leases[1], Ending::Ack);
    assert_eq!(subscription.account().delivered, 1);
}
