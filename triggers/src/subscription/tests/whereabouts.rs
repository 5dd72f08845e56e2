//! What is told of one event.

use super::*;
use crate::policy::Ordering;

#[test]
fn an_event_is_ahead_then_pending_then_settled() {
    let mut subscription = offered(policy(), 2);
    subscription.advance(Offset(2));
    assert_eq!(subscription.whereabouts(Offset(2)), Whereabouts::Ahead);
    assert_eq!(subscription.whereabouts(Offset(0)), Whereabouts::Pending { wait: Wait::Turn, tries: None });
    let leases = lease(&mut subscription, 5);
    let (since, deadline) = (Timestamp(5), leases[0].deadline);
    assert_eq!(
        subscription.whereabouts(Offset(0)),
        Whereabouts::Pending { wait: Wait::Attempt { since, deadline }, tries: None }
    );
    settle(&mut subscription, 6, &leases[0], Ending::Ack);
    assert_eq!(subscription.whereabouts(Offset(0)), Whereabouts::Settled);
}

#[test]
fn a_retry_tells_its_time_and_a_dead_letter_that_it_is_being_written() {
    let mut subscription = offered(DeliveryPolicy { max_attempts: 2, ..policy() }, 1);
    let leases = lease(&mut subscription, 0);
    settle(&mut subscription, 1, &leases[0], retry(RetryClass::Failed, None));
    let Whereabouts::Pending { wait: Wait::Until(due), tries: Some(tries) } =
        subscription.whereabouts(Offset(0))
    else {
        panic!("{:?}", subscription.whereabouts(Offset(0)));
    };
    assert_eq!((tries.due, tries.burnt, tries.response.status), (due, 1, Some(500)));
    // Over a restart it is known before it is read again.
    let restored = Subscription::restore(policy(), subscription.snapshot(), 8);
    assert!(matches!(restored.whereabouts(Offset(0)), Whereabouts::Pending { wait: Wait::Until(_), .. }));
    let leases = lease(&mut subscription, 10_000);
    settle(&mut subscription, 10_001, &leases[0], retry(RetryClass::Failed, None));
    assert!(matches!(
        subscription.whereabouts(Offset(0)),
        Whereabouts::Pending { wait: Wait::DeadLetter, .. }
    ));
}

#[test]
fn an_event_behind_its_key_names_the_one_that_it_waits_for() {
    let mut subscription =
        Subscription::new(DeliveryPolicy { ordering: Ordering::Key, ..policy() }, Offset(0), 7);
    for (offset, key) in [(0, 1), (1, 2), (2, 2)] {
        subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), Some(key), EVENT_BYTES);
    }
    assert!(matches!(
        subscription.whereabouts(Offset(2)),
        Whereabouts::Pending { wait: Wait::Behind(Offset(1)), .. }
    ));
}
