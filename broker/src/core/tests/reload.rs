//! Configurations that are exchanged while events flow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering as Atomically};

use eventail_triggers::function::FunctionTargetOptions;
use eventail_triggers::payload::PayloadShape;
use eventail_wire::{Clock, Timestamp, limits};
use tokio::sync::Notify;

use super::*;
use crate::ReloadError;
use crate::status::{ConfigAction, ConfigPart};

/// A clock that a test moves.
#[derive(Debug)]
struct Moved(AtomicU64);

impl Moved {
    fn at(ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(ms)))
    }

    fn forward(&self, ms: u64) {
        self.0.fetch_add(ms, Atomically::Relaxed);
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Atomically::Relaxed))
    }
}

/// A target that answers when it is let.
#[derive(Default)]
struct Held {
    seen: Mutex<Vec<Invocation>>,
    open: Notify,
}

impl Held {
    fn ids(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|invocation| invocation.event.id().to_owned()).collect()
    }
}

impl Target for Held {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        self.seen.lock().unwrap().push(invocation);
        Box::pin(async move {
            self.open.notified().await;
            Outcome::Ack { reply: None }.into()
        })
    }
}

fn ids(target: &Scripted) -> Vec<String> {
    target.seen().iter().map(|seen| seen.event.id().to_owned()).collect()
}

fn of_type(id: &str, r#type: &str) -> Event {
    Event::builder(id, "/shop", r#type).json_data("{}").build().unwrap()
}

fn trigger_of(config: &mut Config) -> &mut Trigger {
    config.triggers.get_mut(&name()).unwrap()
}

fn without(config: &Config) -> Config {
    Config { triggers: BTreeMap::new(), ..config.clone() }
}

fn renamed(config: &Config, new: &str) -> Config {
    let mut moved = config.clone();
    let trigger = moved.triggers.remove(&name()).unwrap();
    moved.triggers.insert(new.parse().unwrap(), Trigger { renamed_from: Some(name()), ..trigger });
    moved
}

/// How often each id was seen, over all targets.
fn counts<'t>(targets: impl IntoIterator<Item = &'t Arc<Scripted>>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    targets.into_iter().flat_map(|target| ids(target)).for_each(|id| *counts.entry(id).or_default() += 1);
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_that_changes_under_load_loses_no_event_and_doubles_none() {
    let dir = tempfile::tempdir().unwrap();
    let (ship, all) = (Scripted::answering([]), Scripted::answering([]));
    let mut config = config(&dir, ship.clone());
    let everything = Trigger { pattern: None, ..trigger_of(&mut config).clone() };
    config.triggers.insert(
        "all".parse().unwrap(),
        Trigger { target: TargetOptions::Handler(all.clone()), ..everything },
    );
    // Whichever of the two patterns sees an even one, it matches; the odd ones tell which pattern that was.
    trigger_of(&mut config).pattern = Some(r#"{"type":["even","odd"]}"#.to_owned());
    let mut narrow = config.clone();
    trigger_of(&mut narrow).pattern = Some(r#"{"type":["even"]}"#.to_owned());
    let broker = Broker::open(config.clone()).await.unwrap();
    let publisher = broker.clone();
    let publishing = tokio::spawn(async move {
        for batch in 0..100_u32 {
            let of = |n: u32| of_type(&n.to_string(), if n.is_multiple_of(2) { "even" } else { "odd" });
            publisher.publish(&topic(), (batch * 20..batch * 20 + 20).map(of).collect()).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut reloads = 0;
    while !publishing.is_finished() {
        let next = if reloads % 2 == 0 { &narrow } else { &config };
        broker.reload(next.clone()).await.unwrap();
        reloads += 1;
    }
    publishing.await.unwrap();
    assert!(reloads > 2, "{reloads}");
    eventually("everything is delivered", async || {
        broker.triggers().iter().all(|status| status.account.pending == 0 && status.scanned == Offset(2000))
    })
    .await;
    let all = counts([&all]);
    assert_eq!(all.len(), 2000);
    assert!(all.values().all(|&count| count == 1), "the one whose pattern stays gets each once");
    let ship = counts([&ship]);
    assert!(ship.values().all(|&count| count == 1), "none is delivered twice");
    assert_eq!(ship.keys().filter(|id| id.parse::<u32>().unwrap().is_multiple_of(2)).count(), 1000);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn attempts_under_way_end_at_the_old_target_and_keep_their_key_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Arc::new(Held::default()), Scripted::answering([]));
    let mut config = config(&dir, old.clone());
    trigger_of(&mut config).policy.ordering = Ordering::Key;
    let keyed = |id: &str, key: &str| event(id).to_builder().extension("partitionkey", key).build().unwrap();
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![keyed("1", "a"), keyed("2", "a")]).await.unwrap();
    eventually("the first is under way", async || old.ids() == ["1"]).await;

    trigger_of(&mut config).target = TargetOptions::Handler(new.clone());
    let report = broker.reload(config).await.unwrap();
    assert_eq!(report.plan.changes[0].keys, ["target"]);
    broker.publish(&topic(), vec![keyed("3", "b")]).await.unwrap();
    eventually("another key goes to the new target", async || ids(&new) == ["3"]).await;
    assert_eq!(broker.trigger(&name()).unwrap().in_flight, 1, "the old attempt still stands");
    old.open.notify_one();
    settled(&broker, 3).await;
    assert_eq!((old.ids(), ids(&new)), (vec!["1".to_owned()], vec!["3".to_owned(), "2".to_owned()]));
    assert_eq!(broker.trigger(&name()).unwrap().account.delivered, 3);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_is_removed_and_comes_back_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([Outcome::Ack { reply: None }, failed()]);
    let mut config = config(&dir, target.clone());
    // The retry comes after the removal.
    let policy = &mut trigger_of(&mut config).policy;
    (policy.backoff_initial_ms, policy.backoff_max_ms) = (3_600_000, 3_600_000);
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    eventually("one waits for its retry", async || broker.trigger(&name()).unwrap().retrying == 1).await;

    let report = broker.reload(without(&config)).await.unwrap();
    assert_eq!(report.plan.changes[0].action, ConfigAction::Removed);
    assert!(broker.trigger(&name()).is_err());
    broker.publish(&topic(), vec![event("3")]).await.unwrap();
    let orphans = broker.orphaned_triggers();
    assert_eq!((orphans[0].name.clone(), orphans[0].retrying, orphans[0].account.delivered), (name(), 1, 1));
    assert_eq!(orphans[0].forgotten_at.since_ms(orphans[0].orphaned_at), limits::ORPHAN_KEPT_MS);

    let report = broker.reload(config.clone()).await.unwrap();
    assert_eq!(report.plan.changes[0].action, ConfigAction::Resumed);
    eventually("what came meanwhile is delivered", async || ids(&target).contains(&"3".to_owned())).await;
    let status = broker.trigger(&name()).unwrap();
    assert_eq!((status.account.delivered, status.retrying), (2, 1), "and its retry is as before");
    assert_eq!(ids(&target), ["1", "2", "3"]);
    assert!(broker.orphaned_triggers().is_empty());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_under_way_when_a_trigger_leaves_is_settled_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let target = Arc::new(Held::default());
    let config = config(&dir, target.clone());
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    eventually("it is under way", async || target.ids() == ["1"]).await;
    broker.reload(without(&config)).await.unwrap();
    assert_eq!(broker.orphaned_triggers()[0].account.delivered, 0);
    target.open.notify_one();
    eventually("it is settled", async || broker.orphaned_triggers()[0].account.delivered == 1).await;
    broker.shutdown().await.unwrap();
    let broker = Broker::open(config).await.unwrap();
    assert_eq!(broker.trigger(&name()).unwrap().account.delivered, 1);
    assert_eq!(target.ids(), ["1"], "and not delivered again");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_goes_on_under_another_name_with_what_was_redriven_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected(), failed()]);
    let mut config = config(&dir, target.clone());
    let policy = &mut trigger_of(&mut config).policy;
    (policy.backoff_initial_ms, policy.backoff_max_ms) = (3_600_000, 3_600_000);
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    broker.redrive(&RedriveRequest::default()).await.unwrap();
    eventually("the redrive waits", async || broker.trigger(&name()).unwrap().retrying == 1).await;

    let moved = renamed(&config, "dispatch");
    let report = broker.reload(moved.clone()).await.unwrap();
    let change = &report.plan.changes[0];
    assert_eq!((change.action, change.from.as_deref()), (ConfigAction::Renamed, Some("ship")));
    assert_eq!(report.plan.changes.len(), 1, "the old name is not told as removed");
    let new: TriggerName = "dispatch".parse().unwrap();
    eventually("what was redriven goes to the new name", async || ids(&target).len() == 3).await;
    assert_eq!(target.seen()[2].trigger, new);
    let account = broker.trigger(&new).unwrap().account;
    assert_eq!((account.dead_lettered, account.matched), (1, 2), "it has the past of the old one");
    eventually("nothing is left of the old name", async || broker.orphaned_triggers().is_empty()).await;
    broker.shutdown().await.unwrap();

    // Said once more, at a start, it changes nothing.
    let broker = Broker::open(moved).await.unwrap();
    assert_eq!(broker.trigger(&new).unwrap().account.dead_lettered, 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_was_renamed_while_the_broker_was_down_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let config = config(&dir, target.clone());
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    broker.shutdown().await.unwrap();
    let broker = Broker::open(renamed(&config, "dispatch")).await.unwrap();
    assert_eq!(broker.triggers()[0].account.delivered, 1);
    assert_eq!(ids(&target), ["1"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_state_of_a_trigger_that_is_gone_is_forgotten_after_seven_days() {
    let dir = tempfile::tempdir().unwrap();
    let (target, clock) = (Scripted::answering([rejected()]), Moved::at(1_700_000_000_000));
    let config = config(&dir, target.clone());
    let open = |config: Config| Broker::builder(config).clock(clock.clone()).open();
    let broker = open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    broker.redrive(&RedriveRequest::default()).await.unwrap();
    settled(&broker, 2).await;
    broker.shutdown().await.unwrap();

    // Nobody has a use for it since this start.
    let broker = open(without(&config)).await.unwrap();
    clock.forward(limits::ORPHAN_KEPT_MS - 1);
    broker.shutdown().await.unwrap();
    let broker = open(without(&config)).await.unwrap();
    broker.core.forget_orphans().await;
    assert_eq!(broker.orphaned_triggers().len(), 1, "a start does not begin the time anew");
    clock.forward(1);
    broker.core.forget_orphans().await;
    assert!(broker.orphaned_triggers().is_empty());
    let on_disk = broker.core.store.names().unwrap();
    assert!(!on_disk.contains(&"_redrive.ship".to_owned()), "{on_disk:?}");
    broker.shutdown().await.unwrap();
    let broker = open(config).await.unwrap();
    assert_eq!(broker.trigger(&name()).unwrap().account.dead_lettered, 0, "it begins anew");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_reload_that_is_refused_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let config = config(&dir, target.clone());
    let broker = Broker::open(config.clone()).await.unwrap();
    let mut bad = config.clone();
    bad.drain_ms = 1;
    trigger_of(&mut bad).pattern = None;
    let absent = FunctionTargetOptions { function: "absent".parse().unwrap(), payload: PayloadShape::Raw };
    bad.triggers.insert("zzz".parse().unwrap(), Trigger::new(TargetOptions::Function(absent)));
    let error = broker.reload(bad).await.unwrap_err();
    assert!(matches!(error, ReloadError::Broker(_)), "{error}");
    assert_eq!((broker.config().drain_ms, broker.triggers().len()), (config.drain_ms, 1));
    let status = broker.config_status();
    assert_eq!((status.failures, status.reloads), (1, 0));
    assert!(status.last_error.unwrap().message.contains("zzz"));
    broker.publish(&topic(), vec![of_type("0", "other"), event("1")]).await.unwrap();
    settled(&broker, 1).await;
    assert_eq!(ids(&target), ["1"], "the old pattern still holds");
    broker.reload(config).await.unwrap();
    assert_eq!(broker.config_status().last_error, None, "a good one after it takes the error back");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_change_while_it_runs_is_told_until_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, Scripted::answering([]));
    let broker = Broker::open(config.clone()).await.unwrap();
    config.limits.event_bytes_max = 2048;
    config.limits.hops_max = 3;
    let orders = crate::config::TopicOptions { dedup_window_ms: 0, ..config.topics.defaults.clone() };
    config
        .topics
        .named
        .insert(topic(), crate::config::TopicOptions { retention_bytes: Some(1 << 30), ..orders });
    let report = broker.reload(config.clone()).await.unwrap();
    let waits = ["setting limits.event_bytes_max", "topic orders"];
    assert_eq!(report.plan.needs_restart(), waits);
    assert_eq!(broker.config_status().needs_restart, waits);
    let runs = broker.config();
    assert_eq!((runs.limits.hops_max, runs.limits.event_bytes_max), (3, limits::EVENT_BYTES_MAX));
    let again = broker.reload(config).await.unwrap();
    assert!(again.plan.is_empty(), "the same once more is no change: {:?}", again.plan);
    assert_eq!(broker.config_status().needs_restart, waits, "and still waits");
    assert_eq!(broker.config_status().reloads, 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_comes_with_a_reload_gets_what_comes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ship, bill) = (Scripted::answering([]), Scripted::answering([]));
    let mut config = config(&dir, ship.clone());
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    let added = Trigger { topic: topic(), ..Trigger::new(TargetOptions::Handler(bill.clone())) };
    config.triggers.insert("bill".parse().unwrap(), added);
    let plan = broker.plan_reload(&config);
    assert_eq!((plan.changes[0].part, plan.changes[0].name.as_str()), (ConfigPart::Trigger, "bill"));
    assert_eq!(broker.triggers().len(), 1, "a plan changes nothing");
    broker.reload(config).await.unwrap();
    broker.publish(&topic(), vec![event("2")]).await.unwrap();
    eventually("both get it", async || ids(&ship) == ["1", "2"] && ids(&bill) == ["2"]).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn dead_letters_go_where_the_new_configuration_says() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([rejected(), rejected()]);
    let mut config = config(&dir, target.clone());
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let elsewhere: TopicName = "graves".parse().unwrap();
    trigger_of(&mut config).dead_letter_topic = elsewhere.clone();
    broker.reload(config).await.unwrap();
    broker.publish(&topic(), vec![event("2")]).await.unwrap();
    settled(&broker, 2).await;
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    let topics: Vec<_> = letters.iter().map(|letter| letter.topic.as_str()).collect();
    assert_eq!(topics, ["dead-letters", "graves"]);
    broker.shutdown().await.unwrap();
}
