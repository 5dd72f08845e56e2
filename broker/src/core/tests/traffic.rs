//! What keeps events from going out: rate limits, repeats by business key, `expirytime`; and where they go when the target is a topic.

use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use eventail_triggers::policy::{BatchPolicy, DedupPolicy, RateLimit};
use eventail_wire::{Clock, Timestamp};

use super::*;
use crate::config::TopicTargetOptions;
use crate::status::{Account, TriggerStatus};

/// When the moved clock begins: 2026-11-23T10:00:00Z.
const BEGIN: u64 = 1_795_428_000_000;

/// A clock that goes only when it is told to.
#[derive(Debug)]
struct Moved(AtomicU64);

impl Moved {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(BEGIN)))
    }

    fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Atomic::Relaxed);
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Atomic::Relaxed))
    }
}

fn config_with(
    dir: &tempfile::TempDir,
    target: Arc<dyn Target>,
    change: impl FnOnce(&mut Trigger),
) -> Config {
    let mut config = config(dir, target);
    change(config.triggers.get_mut(&name()).unwrap());
    config
}

async fn open(config: Config, clock: &Arc<Moved>) -> Broker {
    Broker::builder(config).clock(Arc::clone(clock) as Arc<dyn Clock>).open().await.unwrap()
}

fn status(broker: &Broker) -> TriggerStatus {
    broker.trigger(&name()).unwrap()
}

#[track_caller]
fn assert_complete(account: Account) {
    let Account { matched, delivered, dead_lettered, expired, deduplicated, pending } = account;
    assert_eq!(matched, delivered + dead_lettered + expired + deduplicated + pending, "{account:?}");
}

#[tokio::test]
async fn calls_beyond_the_rate_wait_for_tokens_and_burn_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let (target, clock) = (Scripted::answering([]), Moved::new());
    let limit = RateLimit { per_second: 100.0, burst: 3 };
    let config = config_with(&dir, target.clone(), |trigger| trigger.rate_limit = Some(limit));
    let broker = open(config, &clock).await;
    broker.publish(&topic(), ["1", "2", "3", "4", "5", "6"].map(event).into()).await.unwrap();
    eventually("the burst is spent", async || {
        target.seen().len() == 3 && status(&broker).rate_limited.is_some() && status(&broker).in_flight == 0
    })
    .await;
    let wait = status(&broker).rate_limited.unwrap();
    assert_eq!((wait.limit.as_str(), wait.until), ("trigger ship", Some(Timestamp(BEGIN + 10))));
    assert_eq!(status(&broker).account.pending, 3);
    clock.pass(20);
    eventually("two tokens came", async || target.seen().len() == 5).await;
    assert!(status(&broker).rate_limited.is_some());
    clock.pass(10);
    settled(&broker, 6).await;
    let seen = target.seen();
    assert_eq!(seen.iter().map(|seen| seen.offset.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(seen.iter().all(|seen| seen.attempt == 1));
    eventually("nothing waits any more", async || status(&broker).rate_limited.is_none()).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_event_that_waits_for_a_token_expires_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (target, clock) = (Scripted::answering([]), Moved::new());
    let limit = RateLimit { per_second: 0.01, burst: 1 };
    let config = config_with(&dir, target.clone(), |trigger| trigger.rate_limit = Some(limit));
    let broker = open(config, &clock).await;
    let late = expiring("2", 40);
    broker.publish(&topic(), vec![event("1"), late]).await.unwrap();
    eventually("the first one went", async || target.seen().len() == 1).await;
    clock.pass(40);
    settled(&broker, 2).await;
    assert_eq!((status(&broker).account.expired, target.seen().len()), (1, 1));
    broker.shutdown().await.unwrap();
}

fn keyed(id: &str, order: u32) -> Event {
    Event::builder(id, "/shop", "order.created").json_data(format!(r#"{{"order":{order}}}"#)).build().unwrap()
}

fn dedup(trigger: &mut Trigger) {
    trigger.dedup = Some(DedupPolicy { key: "$.data.order".to_owned(), window_ms: 60_000 });
}

#[tokio::test]
async fn repeats_by_business_key_are_counted_and_not_delivered_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (target, clock) = (Scripted::answering([]), Moved::new());
    let broker = open(config_with(&dir, target.clone(), dedup), &clock).await;
    broker.publish(&topic(), vec![keyed("1", 7), keyed("2", 7), keyed("3", 8), event("4")]).await.unwrap();
    settled(&broker, 4).await;
    let ids =
        |target: &Scripted| target.seen().iter().map(|seen| seen.event.id().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&target), ["1", "3", "4"]);
    let account = status(&broker).account;
    assert_eq!((account.delivered, account.deduplicated), (3, 1));
    assert_complete(account);
    assert_eq!(status(&broker).dedup.unwrap().keys, 2);
    broker.shutdown().await.unwrap();
    drop(broker);

    let broker = open(config_with(&dir, target.clone(), dedup), &clock).await;
    assert_eq!(status(&broker).account, account);
    clock.pass(59_999);
    broker.publish(&topic(), vec![keyed("5", 7), event("6")]).await.unwrap();
    settled(&broker, 6).await;
    clock.pass(1);
    broker.publish(&topic(), vec![keyed("7", 8)]).await.unwrap();
    settled(&broker, 7).await;
    assert_eq!(ids(&target), ["1", "3", "4", "6", "7"]);
    assert_eq!(status(&broker).account.deduplicated, 2);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_repeat_of_what_was_given_up_gets_its_chance_and_a_redrive_is_no_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected()]);
    let broker = Broker::open(config_with(&dir, target.clone(), dedup)).await.unwrap();
    broker.publish(&topic(), vec![keyed("1", 7)]).await.unwrap();
    settled(&broker, 1).await;
    broker.publish(&topic(), vec![keyed("2", 7)]).await.unwrap();
    settled(&broker, 2).await;
    assert_eq!(status(&broker).account.delivered, 1);
    assert_eq!(broker.redrive(&RedriveRequest::default()).await.unwrap().done, 1);
    settled(&broker, 3).await;
    let account = status(&broker).account;
    assert_eq!((account.delivered, account.dead_lettered, account.deduplicated), (2, 1, 0));
    broker.shutdown().await.unwrap();
}

fn expiring(id: &str, after_ms: u64) -> Event {
    let at = Timestamp(BEGIN + after_ms).to_string();
    event(id).to_builder().extension("expirytime", at).build().unwrap()
}

#[tokio::test]
async fn what_is_past_its_expirytime_is_never_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (target, clock) = (Scripted::answering([]), Moved::new());
    let broker = open(config(&dir, target.clone()), &clock).await;
    clock.pass(10);
    broker.publish(&topic(), vec![expiring("1", 10), event("2"), expiring("3", 1_000)]).await.unwrap();
    settled(&broker, 3).await;
    let ids: Vec<_> = target.seen().iter().map(|seen| seen.event.id().to_owned()).collect();
    assert_eq!(ids, ["2", "3"]);
    let account = status(&broker).account;
    assert_eq!((account.expired, account.delivered), (1, 2));
    assert_complete(account);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_event_expires_while_it_waits_for_its_retry_and_its_count_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let later =
        Outcome::Retry { class: RetryClass::Failed, after_ms: Some(600_000), response: Response::default() };
    let (target, clock) = (Scripted::answering([later]), Moved::new());
    let broker = open(config(&dir, target.clone()), &clock).await;
    broker.publish(&topic(), vec![expiring("1", 30)]).await.unwrap();
    eventually("it waits for its retry", async || status(&broker).retrying == 1).await;
    clock.pass(30);
    settled(&broker, 1).await;
    assert_eq!(status(&broker).account.expired, 1);
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = open(config(&dir, target.clone()), &clock).await;
    let account = status(&broker).account;
    assert_eq!((account.matched, account.expired, target.seen().len()), (1, 1, 1));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_an_operator_redrives_is_delivered_though_it_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let (target, clock) = (Scripted::answering([rejected()]), Moved::new());
    let broker = open(config(&dir, target.clone()), &clock).await;
    broker.publish(&topic(), vec![expiring("1", 30)]).await.unwrap();
    settled(&broker, 1).await;
    clock.pass(1_000);
    assert_eq!(broker.redrive(&RedriveRequest::default()).await.unwrap().done, 1);
    settled(&broker, 2).await;
    assert_eq!((status(&broker).account.delivered, target.seen().len()), (1, 2));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_subscriber_gets_nothing_that_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Moved::new();
    let broker = open(Config::embedded(dir.path()), &clock).await;
    clock.pass(10);
    broker.publish(&topic(), vec![expiring("1", 10), event("2")]).await.unwrap();
    let options = SubscribeOptions {
        name: "worker".parse().unwrap(),
        topic: topic(),
        pattern: None,
        start: StartPosition::Earliest,
        lease_ms: 30_000,
        max_attempts: 0,
    };
    let subscriber = broker.subscribe(options).await.unwrap();
    let deliveries = subscriber.next(10).await.unwrap();
    assert_eq!(deliveries.iter().map(|one| one.event.id().to_owned()).collect::<Vec<_>>(), ["2"]);
    broker.shutdown().await.unwrap();
}

fn routed(dir: &tempfile::TempDir, to: &str, change: impl FnOnce(&mut Trigger)) -> Config {
    let target = TargetOptions::Topic(TopicTargetOptions { name: to.parse().unwrap() });
    config_with(dir, Scripted::answering([]), |trigger| {
        trigger.target = target;
        change(trigger);
    })
}

async fn events_of(broker: &Broker, topic: &str) -> Vec<Event> {
    let page = broker.read(&topic.parse().unwrap(), Offset(0), 100, Duration::ZERO).await.unwrap();
    page.into_iter().map(|stored| stored.event).collect()
}

#[tokio::test]
async fn events_are_routed_into_another_topic_once_though_their_settlements_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(routed(&dir, "audit", |_| {})).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    settled(&broker, 2).await;
    let first = events_of(&broker, "audit").await;
    let causes: Vec<_> = first.iter().map(|event| event.attribute("causationid").unwrap()).collect();
    assert_eq!(causes, ["1", "2"]);
    assert!(
        first.iter().all(|event| event.event_type() == "order.created" && event.id().starts_with("evt_"))
    );
    broker.shutdown().await.unwrap();
    drop(broker);
    // As a crash between the append and the settlement leaves it.
    std::fs::remove_dir_all(dir.path().join("logs").join("_settlements")).unwrap();
    let broker = Broker::open(routed(&dir, "audit", |_| {})).await.unwrap();
    settled(&broker, 2).await;
    assert_eq!(status(&broker).account.delivered, 2);
    assert_eq!(events_of(&broker, "audit").await, first, "nothing was added");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_is_routed_as_one_append() {
    let dir = tempfile::tempdir().unwrap();
    let batch = BatchPolicy { max_events: 3, max_bytes: 1 << 20, window_ms: 60_000, bisect: false };
    let config = routed(&dir, "audit", |trigger| trigger.policy.batch = Some(batch));
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), ["1", "2", "3"].map(event).into()).await.unwrap();
    settled(&broker, 3).await;
    assert_eq!(status(&broker).account.delivered, 3);
    let page = broker.read(&"audit".parse().unwrap(), Offset(0), 10, Duration::ZERO).await.unwrap();
    assert_eq!(page.len(), 3);
    assert!(page.iter().all(|stored| stored.appended_at == page[0].appended_at), "one batch, one time");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_routed_into_itself_ends_with_the_hops() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = routed(&dir, "orders", |_| {});
    config.limits.hops_max = 3;
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 4).await;
    assert_eq!(broker.topic(&topic()).unwrap().end, Offset(4), "the first event and three hops");
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.reason, letter.correlation_id.as_str()), (RejectReason::HopLimit, "1"));
    broker.shutdown().await.unwrap();
}
