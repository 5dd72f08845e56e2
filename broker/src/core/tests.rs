//! The broker whole, in one process, with scripted targets and a real disk.

mod calls;
mod damage;
mod inputs;
mod reload;
mod replays;
mod settlements;
mod traffic;
mod why;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventail_triggers::outcome::{Outcome, RejectReason, Response, RetryClass};
use eventail_triggers::policy::{DeliveryPolicy, Ordering};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{Event, Offset, TopicName, TriggerName};

use super::{Broker, SubscribeOptions};
use crate::config::{Config, StartPosition, TargetOptions, Trigger};
use crate::status::{DeadLetterFilter, RedriveRequest, TriggerState};

/// A target that answers by script, and acknowledges when the script is over.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Outcome>>,
    seen: Mutex<Vec<Invocation>>,
}

impl Scripted {
    fn answering(script: impl IntoIterator<Item = Outcome>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), seen: Mutex::default() })
    }

    fn seen(&self) -> Vec<Invocation> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Target for Scripted {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(invocation);
        let next = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        Box::pin(async move { next.unwrap_or(Outcome::Ack { reply: None }).into() })
    }
}

fn failed() -> Outcome {
    Outcome::Retry { class: RetryClass::Failed, after_ms: None, response: Response::default() }
}

fn rejected() -> Outcome {
    let response =
        Response { status: Some(422), body: "no".into(), error: "HTTP 422".into(), ..Response::default() };
    Outcome::Reject { reason: RejectReason::Permanent, response, disable: false }
}

fn topic() -> TopicName {
    "orders".parse().unwrap()
}

fn name() -> TriggerName {
    "ship".parse().unwrap()
}

fn config(dir: &tempfile::TempDir, target: Arc<dyn Target>) -> Config {
    let mut config = Config::embedded(dir.path());
    let policy = DeliveryPolicy { backoff_initial_ms: 1, backoff_max_ms: 2, ..DeliveryPolicy::default() };
    config.triggers.insert(
        name(),
        Trigger {
            topic: topic(),
            pattern: Some(r#"{"type":["order.created"]}"#.to_owned()),
            policy,
            start: StartPosition::Earliest,
            ..Trigger::new(TargetOptions::Handler(target))
        },
    );
    config
}

fn event(id: &str) -> Event {
    Event::builder(id, "/shop", "order.created").json_data("{}").build().unwrap()
}

/// Waits until the condition holds; fails after ten seconds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

async fn settled(broker: &Broker, matched: u64) {
    eventually("the trigger settles", async || {
        let account = broker.trigger(&name()).unwrap().account;
        account.matched == matched && account.pending == 0
    })
    .await;
}

#[tokio::test]
async fn what_matches_is_delivered_and_what_does_not_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    let other = Event::builder("9", "/shop", "order.shipped").build().unwrap();
    let published = broker.publish(&topic(), vec![event("1"), other, event("2")]).await.unwrap();
    assert_eq!(published.iter().filter_map(|one| one.offset()).collect::<Vec<_>>(), [0, 1, 2].map(Offset));
    settled(&broker, 2).await;
    let ids: Vec<_> = target.seen().iter().map(|seen| seen.event.id().to_owned()).collect();
    assert_eq!(ids, ["1", "2"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_offset_and_not_delivered_again() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    let again = broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    assert!(again[0].is_duplicate() && again[0].offset() == Some(Offset(0)));
    assert!(!again[1].is_duplicate() && again[1].offset() == Some(Offset(1)));
    settled(&broker, 2).await;
    assert_eq!(target.seen().len(), 2);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_failure_is_retried_under_the_same_delivery_id() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([failed(), failed()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let seen = target.seen();
    assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(seen.iter().all(|one| one.delivery_id == seen[0].delivery_id && one.event == seen[0].event));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_given_up_is_a_dead_letter_that_can_be_redriven() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].event_id.as_str(), letters[0].reason), ("1", RejectReason::Permanent));
    assert_eq!(letters[0].response.status, Some(422));
    let whole = broker.dead_letter(&letters[0].topic, letters[0].offset).await.unwrap();
    assert_eq!(whole.event, event("1"));

    let dry = RedriveRequest { dry_run: true, ..RedriveRequest::default() };
    assert_eq!(broker.redrive(&dry).await.unwrap().done, 0);
    let result = broker.redrive(&RedriveRequest::default()).await.unwrap();
    assert_eq!((result.selected, result.done, result.failed), (1, 1, 0));
    settled(&broker, 2).await;
    let seen = target.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (&seen[1].delivery_id, &seen[1].event, seen[1].offset),
        (&seen[0].delivery_id, &event("1"), Offset(0))
    );
    assert!(broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().is_empty());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn nobody_forges_a_dead_letter_or_what_a_schedule_sends() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    let forged = |name: &str, value: &str| event("1").to_builder().extension(name, value).build().unwrap();
    let letters: TopicName = "dead-letters".parse().unwrap();
    // As the dead letter of the event that comes at offset 0, which would take the true one for a repeat.
    let delivery = format!("trigger/{}/{}/0", topic(), name());
    for name in ["eventaildelivery", "eventailtrigger", "eventailresponse"] {
        let refused = broker.publish(&letters, vec![forged(name, &delivery)]).await.unwrap_err();
        assert!(matches!(refused, crate::core::BrokerError::ReservedAttribute { .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
    let schedules: TopicName = crate::config::SCHEDULES_TOPIC.parse().unwrap();
    let call = forged(crate::config::SCHEDULED_FOR_ATTRIBUTE, "ship");
    assert!(broker.publish(&schedules, vec![call.clone()]).await.is_err());
    // A function that hands on all that it was called with does no harm elsewhere.
    broker.publish(&"elsewhere".parse().unwrap(), vec![call]).await.unwrap();

    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    assert_eq!(broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().len(), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_restart_delivers_nothing_twice_and_keeps_accounts_marks_and_ids() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    settled(&broker, 2).await;
    let before = broker.trigger(&name()).unwrap().account;
    broker.shutdown().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();

    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    assert_eq!(broker.trigger(&name()).unwrap().account, before);
    assert_eq!(broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().len(), 1);
    assert!(broker.publish(&topic(), vec![event("2")]).await.unwrap()[0].is_duplicate());
    assert_eq!(broker.find_event("2").await.unwrap()[0].offset, Offset(1));
    broker.publish(&topic(), vec![event("3")]).await.unwrap();
    settled(&broker, 3).await;
    assert_eq!(target.seen().len(), 3);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_paused_trigger_waits_and_a_skip_passes_over() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.pause_trigger(&name(), "for a test").await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    let status = broker.trigger(&name()).unwrap();
    assert_eq!((status.state, status.reason.as_deref()), (TriggerState::Paused, Some("for a test")));
    broker.skip_trigger_to(&name(), Offset(1)).await.unwrap();
    broker.resume_trigger(&name()).await.unwrap();
    eventually("the second event arrives", async || target.seen().len() == 1).await;
    assert_eq!(target.seen()[0].event.id(), "2");
    assert!(broker.skip_trigger_to(&name(), Offset(9)).await.is_err());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_triggers_of_a_topic_each_get_what_they_want_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let first = Scripted::answering([]);
    let mut config = config(&dir, first.clone());
    let mut trigger = config.triggers[&name()].clone();
    let second = Scripted::answering([]);
    trigger.target = TargetOptions::Handler(second.clone());
    trigger.pattern = Some(r#"{"id":[{"prefix":"even-"}]}"#.to_owned());
    trigger.policy.ordering = Ordering::Key;
    trigger.key = "source".to_owned();
    config.triggers.insert("even".parse().unwrap(), trigger);
    let broker = Broker::open(config).await.unwrap();
    for number in 0..5_000 {
        let id = if number % 2 == 0 { format!("even-{number}") } else { format!("odd-{number}") };
        broker.publish(&topic(), vec![event(&id)]).await.unwrap();
    }
    settled(&broker, 5_000).await;
    eventually("the second trigger gets its half", async || second.seen().len() == 2_500).await;
    let numbers: Vec<u64> = second.seen().iter().map(|seen| seen.offset.0).collect();
    assert!(numbers.is_sorted(), "one key is delivered in order");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_subscriber_gets_acks_nacks_and_resumes_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(Config::embedded(dir.path())).await.unwrap();
    let options = SubscribeOptions {
        name: "worker".parse().unwrap(),
        topic: topic(),
        pattern: None,
        start: StartPosition::Earliest,
        lease_ms: 30_000,
        max_attempts: 0,
    };
    let subscriber = broker.subscribe(options.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    let first = subscriber.next(10).await.unwrap();
    let ids: Vec<_> = first.iter().map(|delivery| delivery.event.id().to_owned()).collect();
    assert_eq!(ids, ["1", "2"]);
    let nack = Outcome::Retry { class: RetryClass::Failed, after_ms: Some(1), response: Response::default() };
    let stale = subscriber
        .settle(vec![(first[0].token, Outcome::Ack { reply: None }), (first[1].token, nack)])
        .await
        .unwrap();
    assert!(stale.is_empty());
    assert_eq!(subscriber.settle(vec![(first[0].token, failed())]).await.unwrap(), [first[0].token]);
    let again = subscriber.next(10).await.unwrap();
    assert_eq!((again[0].event.id(), again[0].attempt), ("2", 2));
    drop(subscriber);

    let subscriber = broker.subscribe(options).await.unwrap();
    let resumed = subscriber.next(10).await.unwrap();
    assert_eq!(resumed.len(), 1);
    assert_eq!((resumed[0].event.id(), resumed[0].attempt), ("2", 2));
    broker.shutdown().await.unwrap();
    assert!(subscriber.next(1).await.is_none());
}

/// A target that refuses everything for good.
struct Refusing;

impl Target for Refusing {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async { rejected().into() })
    }
}

#[tokio::test]
async fn a_redrive_that_fails_again_ends_and_makes_one_new_letter_each() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Arc::new(Refusing))).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    settled(&broker, 2).await;
    let slowly = RedriveRequest { per_second: Some(100), ..RedriveRequest::default() };
    let result = broker.redrive(&slowly).await.unwrap();
    assert_eq!((result.selected, result.done), (2, 2));
    settled(&broker, 4).await;
    let all = DeadLetterFilter { include_redriven: true, ..DeadLetterFilter::default() };
    assert_eq!(broker.dead_letters(&all, None, 10).await.unwrap().len(), 4);
    assert_eq!(broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().len(), 2);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_redrives_at_once_hand_a_letter_on_once() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let request = RedriveRequest::default();
    let (first, second) = tokio::join!(broker.redrive(&request), broker.redrive(&request));
    assert_eq!(first.unwrap().done + second.unwrap().done, 1);
    settled(&broker, 2).await;
    assert_eq!(target.seen().len(), 2);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_purged_letter_stays_purged_when_the_index_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Arc::new(Refusing))).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    settled(&broker, 2).await;
    let first = DeadLetterFilter { event_id: Some("1".to_owned()), ..DeadLetterFilter::default() };
    assert_eq!(broker.purge_dead_letters(&first, false).await.unwrap().done, 1);
    let before = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    broker.shutdown().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let broker = Broker::open(config(&dir, Arc::new(Refusing))).await.unwrap();
    assert_eq!(broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap(), before);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_redrive_of_a_paused_trigger_waits_for_the_resume() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    broker.pause_trigger(&name(), "for a test").await.unwrap();
    broker.redrive(&RedriveRequest::default()).await.unwrap();
    eventually("the redrive waits", async || broker.trigger(&name()).unwrap().account.pending == 1).await;
    assert_eq!(target.seen().len(), 1);
    broker.resume_trigger(&name()).await.unwrap();
    settled(&broker, 2).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_moves_to_another_topic_begins_there_anew() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), (0..10).map(|number| event(&number.to_string())).collect()).await.unwrap();
    settled(&broker, 10).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    let mut moved = config(&dir, target.clone());
    let elsewhere: TopicName = "elsewhere".parse().unwrap();
    moved.triggers.get_mut(&name()).unwrap().topic = elsewhere.clone();
    let broker = Broker::open(moved).await.unwrap();
    broker.publish(&elsewhere, vec![event("a")]).await.unwrap();
    settled(&broker, 1).await;
    assert_eq!(target.seen().len(), 11);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_observer_may_ask_the_broker() {
    struct Asking(Mutex<Option<Broker>>, std::sync::atomic::AtomicU64);
    impl crate::status::Observer for Asking {
        fn observe(&self, _: &crate::status::Observation) {
            let broker = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(broker) = broker {
                let statuses = broker.triggers().len() as u64;
                self.1.fetch_add(statuses, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Arc::new(Asking(Mutex::new(None), std::sync::atomic::AtomicU64::new(0)));
    let builder = Broker::builder(config(&dir, Scripted::answering([failed(), rejected()])));
    let broker = builder.observer(observer.clone()).open().await.unwrap();
    *observer.0.lock().unwrap() = Some(broker.clone());
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    eventually("appended, matched, two attempts and a dead letter were seen", async || {
        observer.1.load(std::sync::atomic::Ordering::Relaxed) == 5
    })
    .await;
    *observer.0.lock().unwrap() = None;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handlers_endless_error_is_cut_and_its_event_kept() {
    let dir = tempfile::tempdir().unwrap();
    let response =
        Response { error: "\u{7}é".repeat(50_000), body: "x".repeat(100_000), ..Response::default() };
    let endless = Outcome::Reject { reason: RejectReason::Permanent, response, disable: false };
    let broker = Broker::open(config(&dir, Scripted::answering([endless]))).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters[0].response.body.len(), eventail_wire::limits::RESPONSE_SNIPPET_BYTES_MAX);
    assert_eq!(broker.trigger(&name()).unwrap().state, TriggerState::Running);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn subscribers_that_come_and_go_lose_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(Config::embedded(dir.path())).await.unwrap();
    let options = SubscribeOptions {
        name: "worker".parse().unwrap(),
        topic: topic(),
        pattern: None,
        start: StartPosition::Latest,
        lease_ms: 30_000,
        max_attempts: 0,
    };
    drop(broker.subscribe(options.clone()).await.unwrap());
    let events: Vec<_> = (0..200).map(|number| event(&number.to_string())).collect();
    broker.publish(&topic(), events).await.unwrap();
    let other = SubscribeOptions { lease_ms: 1, ..options.clone() };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (broker, options, other) = (broker.clone(), options.clone(), other.clone());
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..50 {
                // Refused or not: neither may disturb the others.
                drop(broker.subscribe(other.clone()).await);
                let Ok(subscriber) = broker.subscribe(options.clone()).await else { continue };
                let next = tokio::time::timeout(Duration::from_millis(20), subscriber.next(1)).await;
                for delivery in next.ok().flatten().unwrap_or_default() {
                    let stale = subscriber
                        .settle(vec![(delivery.token, Outcome::Ack { reply: None })])
                        .await
                        .unwrap();
                    assert!(stale.is_empty());
                    seen.push(delivery.offset.0);
                }
            }
            seen
        });
    }
    let mut seen: Vec<u64> = tasks.join_all().await.concat();
    let last = broker.subscribe(options).await.unwrap();
    while let Ok(Some(more)) = tokio::time::timeout(Duration::from_millis(500), last.next(100)).await {
        let acks = more.iter().map(|delivery| (delivery.token, Outcome::Ack { reply: None })).collect();
        seen.extend(more.iter().map(|delivery| delivery.offset.0));
        last.settle(acks).await.unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>(), "each event once, none lost");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_was_stopped_tries_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.core.triggers.get(&name()).unwrap().lane.stop_for_burial("for a test");
    assert_eq!(broker.trigger(&name()).unwrap().state, TriggerState::Stopped);
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    settled(&broker, 1).await;
    assert_eq!(target.seen().len(), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_does_not_undo_an_operators_pause() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    let lane = Arc::clone(&broker.core.triggers.get(&name()).unwrap().lane);
    lane.stop_for_burial("for a test");
    broker.pause_trigger(&name(), "by hand").await.unwrap();
    lane.stop_for_burial("again");
    let status = broker.trigger(&name()).unwrap();
    assert_eq!((status.state, status.reason.as_deref()), (TriggerState::Paused, Some("by hand")));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_stopped_for_a_dead_letter_goes_on_when_the_event_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    let lane = super::lane::Lane::open(
        &broker.core.journal,
        super::lane::LaneOptions {
            name: "by hand".into(),
            trigger: name(),
            topic: topic(),
            log: Arc::clone(&broker.core.topic(&topic()).unwrap().log),
            pattern: None,
            key: None,
            dedup_key: None,
            policy: DeliveryPolicy::default(),
            start: Offset(0),
            dead_letter_topic: topic(),
            redrives: false,
            timeline: None,
            replay: None,
            observer: None,
            seed: 1,
        },
    );
    let now = broker.core.clock.now();
    lane.fill(now, None).await;
    let mut leased = Vec::new();
    lane.lease(now, 2, &mut leased);
    let (_, burials) = lane.settle(now, leased.iter().map(|one| (one.lease.token, rejected().into())));
    assert_eq!(burials.len(), 2);
    lane.stop_for_burial("for a test");
    lane.buried(Offset(0));
    let state = || lane.look(eventail_triggers::subscription::Subscription::state);
    assert_eq!(state(), eventail_triggers::subscription::State::Stopped, "one is not written yet");
    lane.abandon_burial();
    assert_eq!(state(), eventail_triggers::subscription::State::Running);
    broker.shutdown().await.unwrap();
}
