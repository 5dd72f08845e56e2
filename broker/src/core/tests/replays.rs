//! Replays: what they select, deliver, survive and leave alone.

use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use eventail_wire::{Code, Timestamp, limits};
use tokio::sync::watch;

use super::*;
use crate::core::BrokerError;
use crate::status::{ReplayPoint, ReplayRequest, ReplayState, ReplayStatus};

fn ack() -> Outcome {
    Outcome::Ack { reply: None }
}

/// All of the trigger's events.
fn everything() -> ReplayRequest {
    ReplayRequest { trigger: Some(name()), from: ReplayPoint::Earliest, ..ReplayRequest::default() }
}

async fn publish(broker: &Broker, count: usize) {
    let events = (0..count).map(|number| event(&number.to_string())).collect();
    broker.publish(&topic(), events).await.unwrap();
    settled(broker, count as u64).await;
}

async fn until(broker: &Broker, id: &str, what: &str, holds: impl Fn(&ReplayStatus) -> bool) -> ReplayStatus {
    eventually(what, async || holds(&broker.replay(id).unwrap())).await;
    broker.replay(id).unwrap()
}

async fn completed(broker: &Broker, id: &str) -> ReplayStatus {
    let status = until(broker, id, "the replay is over", |status| status.state.is_final()).await;
    assert_eq!(status.state, ReplayState::Completed, "{status:?}");
    status
}

/// Takes live events. Of what is replayed it takes so many, and answers the next ones only when it is let go.
struct Holding {
    seen: Mutex<Vec<Invocation>>,
    left: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Holding {
    fn after(count: usize) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            left: AtomicUsize::new(count),
            open: watch::Sender::new(false),
        })
    }

    /// The ids of what was replayed.
    fn replayed(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| seen.is_replay).map(|seen| seen.event.id().to_owned()).collect()
    }
}

impl Target for Holding {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        let is_free = !invocation.is_replay
            || self.left.fetch_update(Atomic::SeqCst, Atomic::SeqCst, |left| left.checked_sub(1)).is_ok();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(invocation);
        let mut open = self.open.subscribe();
        Box::pin(async move {
            if !is_free {
                let _ = open.wait_for(|open| *open).await;
            }
            ack().into()
        })
    }
}

#[tokio::test]
async fn what_lies_in_the_range_and_fits_both_patterns_is_delivered_again_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    // The first attempt of the replay fails.
    let target = Scripted::answering((0..6).map(|_| ack()).chain([failed()]));
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    publish(&broker, 6).await;
    let other = Event::builder("other", "/shop", "order.shipped").build().unwrap();
    broker.publish(&topic(), vec![other]).await.unwrap();
    eventually("the live lane is at the end", async || broker.trigger(&name()).unwrap().cursor == Offset(7))
        .await;
    let before = broker.trigger(&name()).unwrap();
    let request = ReplayRequest {
        from: ReplayPoint::Offset(Offset(1)),
        to: ReplayPoint::Offset(Offset(5)),
        filter: Some(r#"{"id":[{"anything-but":"3"}]}"#.to_owned()),
        ..everything()
    };
    let started = broker.start_replay(&request).await.unwrap();
    assert_eq!((started.start, started.end, started.target.as_str()), (Offset(1), Offset(5), "trigger ship"));
    let status = completed(&broker, &started.id).await;
    assert_eq!((status.account.matched, status.account.delivered), (3, 3));
    assert_eq!((status.cursor, status.unread, status.lost), (Offset(5), 0, 0));

    let (live, replayed) = {
        let seen = target.seen();
        let (live, replayed): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| !seen.is_replay);
        (live, replayed)
    };
    let mut delivered: Vec<(u64, u32)> = replayed.iter().map(|seen| (seen.offset.0, seen.attempt)).collect();
    delivered.sort_unstable();
    assert_eq!(delivered, [(1, 1), (1, 2), (2, 1), (4, 1)]);
    for seen in &replayed {
        assert_eq!(seen.event, event(&seen.offset.to_string()));
        assert_ne!(seen.delivery_id, live[usize::try_from(seen.offset.0).unwrap()].delivery_id);
        let attempts = replayed.iter().filter(|other| other.offset == seen.offset);
        assert!(attempts.map(|other| &other.delivery_id).all(|id| *id == seen.delivery_id));
    }
    let after = broker.trigger(&name()).unwrap();
    assert_eq!(
        (after.account, after.cursor),
        (before.account, before.cursor),
        "the live lane noticed nothing"
    );
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_key_keeps_its_order_within_the_replay_while_others_flow() {
    let dir = tempfile::tempdir().unwrap();
    let later =
        Outcome::Retry { class: RetryClass::Failed, after_ms: Some(20), response: Response::default() };
    let target = Scripted::answering((0..6).map(|_| ack()).chain([later]));
    let mut config = config(&dir, target.clone());
    let trigger = config.triggers.get_mut(&name()).unwrap();
    (trigger.policy.ordering, trigger.key) = (Ordering::Key, "subject".to_owned());
    let broker = Broker::open(config).await.unwrap();
    let events = ["a", "b", "a", "b", "a", "b"].iter().enumerate().map(|(number, key)| {
        let event = Event::builder(number.to_string(), "/shop", "order.created").subject(*key);
        event.json_data("{}").build().unwrap()
    });
    broker.publish(&topic(), events.collect()).await.unwrap();
    settled(&broker, 6).await;
    let started = broker.start_replay(&everything()).await.unwrap();
    completed(&broker, &started.id).await;
    let replayed: Vec<_> = target.seen().into_iter().filter(|seen| seen.is_replay).collect();
    let failed = replayed[0].offset.0 % 2;
    let of_key = |key: u64| -> Vec<u64> {
        replayed.iter().map(|seen| seen.offset.0).filter(|offset| offset % 2 == key).collect()
    };
    let in_order = |key: u64| [key, key + 2, key + 4].to_vec();
    assert_eq!(of_key(failed), [&[failed][..], &in_order(failed)].concat(), "the first one was tried twice");
    assert_eq!(of_key(1 - failed), in_order(1 - failed));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_replay_goes_on_where_it_was_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let holding = Holding::after(3);
    let with = |target: Arc<dyn Target>| {
        let mut config = config(&dir, target);
        config.drain_ms = 1;
        config.triggers.get_mut(&name()).unwrap().policy.concurrency = 1;
        config
    };
    let broker = Broker::open(with(holding.clone())).await.unwrap();
    publish(&broker, 10).await;
    let started = broker.start_replay(&everything()).await.unwrap();
    // What comes now is no part of it.
    broker.publish(&topic(), vec![event("late")]).await.unwrap();
    eventually("it is in the middle", async || holding.replayed().len() == 4).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    assert_eq!(holding.replayed(), ["0", "1", "2", "3"]);
    let under_way = holding
        .seen
        .lock()
        .unwrap()
        .iter()
        .rfind(|seen| seen.is_replay)
        .map(|seen| Arc::clone(&seen.delivery_id));

    let target = Scripted::answering([]);
    let broker = Broker::open(with(target.clone())).await.unwrap();
    let status = completed(&broker, &started.id).await;
    assert_eq!((status.account.delivered, status.start, status.end), (10, Offset(0), Offset(10)));
    let replayed: Vec<_> = target.seen().into_iter().filter(|seen| seen.is_replay).collect();
    let ids: Vec<_> = replayed.iter().map(|seen| seen.event.id()).collect();
    assert_eq!(ids, ["3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(Some(&replayed[0].delivery_id), under_way.as_ref(), "the id outlives the restart");
    broker.shutdown().await.unwrap();
    drop(broker);

    let broker = Broker::open(with(target.clone())).await.unwrap();
    assert_eq!(broker.replay(&started.id).unwrap(), status, "what became of it is told after a restart");
    assert!(!broker.core.journal.knows(&format!("replay/{}", started.id)));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_replay_delivers_no_more_and_stays_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let holding = Holding::after(2);
    let mut config = config(&dir, holding.clone());
    config.triggers.get_mut(&name()).unwrap().policy.concurrency = 1;
    let broker = Broker::open(config.clone()).await.unwrap();
    publish(&broker, 5).await;
    let started = broker.start_replay(&everything()).await.unwrap();
    eventually("it is in the middle", async || holding.replayed().len() == 3).await;
    let cancelled = broker.cancel_replay(&started.id).await.unwrap();
    assert_eq!(cancelled.state, ReplayState::Cancelled);
    holding.open.send_replace(true);
    let lane = format!("replay/{}", started.id);
    eventually("the attempt under way ends", async || !broker.core.journal.knows(&lane)).await;
    let status = broker.replay(&started.id).unwrap();
    assert_eq!((status.account.delivered, status.account.pending), (3, 2));
    assert_eq!(broker.cancel_replay(&started.id).await.unwrap(), status, "again changes nothing");
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = Broker::open(config).await.unwrap();
    publish_one_more(&broker).await;
    assert_eq!(broker.replay(&started.id).unwrap(), status);
    assert_eq!(holding.replayed(), ["0", "1", "2"]);
    assert_eq!(broker.cancel_replay("absent").await.unwrap_err().code(), Code::UnknownReplay);
    broker.shutdown().await.unwrap();
}

/// Waits until the broker has delivered something that came after everything else.
async fn publish_one_more(broker: &Broker) {
    let before = broker.trigger(&name()).unwrap().account.delivered;
    broker.publish(&topic(), vec![event("one more")]).await.unwrap();
    eventually("it is delivered", async || broker.trigger(&name()).unwrap().account.delivered > before).await;
}

#[tokio::test]
async fn what_retention_takes_from_a_replay_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let holding = Holding::after(1);
    let mut config = config(&dir, holding.clone());
    config.topics.defaults.segment_bytes = 4096;
    config.triggers.get_mut(&name()).unwrap().policy.concurrency = 1;
    let broker = Broker::open(config).await.unwrap();
    let number = 2_000;
    for at in 0..20 {
        let events = (0..100).map(|index| event(&format!("{at}-{index}"))).collect();
        broker.publish(&topic(), events).await.unwrap();
    }
    settled(&broker, number).await;
    let started = broker.start_replay(&everything()).await.unwrap();
    eventually("it is in the middle", async || holding.replayed().len() == 2).await;
    let log = Arc::clone(&broker.core.topic(&topic()).unwrap().log);
    let start = log.trim(Offset(1_500)).await.unwrap();
    assert!(start > Offset(1_000), "{start}");
    for lane in broker.core.replays.lanes() {
        lane.lose_before(start);
    }
    holding.open.send_replace(true);
    let status = completed(&broker, &started.id).await;
    let account = status.account;
    assert!(status.lost > 0 && account.expired > 0, "{status:?}");
    assert_eq!(account.delivered + account.expired + status.lost, number, "{status:?}");
    // A replay of what is gone is refused where it is named, and begins at what is kept where it is not.
    let gone = ReplayRequest { from: ReplayPoint::Offset(Offset(0)), ..everything() };
    assert_eq!(broker.start_replay(&gone).await.unwrap_err().code(), Code::OffsetTrimmed);
    assert_eq!(broker.start_replay(&everything()).await.unwrap().start, start);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dry_run_counts_and_delivers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    publish(&broker, 4).await;
    let other = Event::builder("other", "/shop", "order.shipped").build().unwrap();
    let bytes = event("0").as_bytes().len() as u64;
    broker.publish(&topic(), vec![other]).await.unwrap();
    let request = ReplayRequest { from: ReplayPoint::Offset(Offset(1)), ..everything() };
    let preview = broker.preview_replay(&request).await.unwrap();
    assert_eq!((preview.scanned, preview.selected, preview.bytes), (4, 3, 3 * bytes));
    assert_eq!(preview.by_type["order.created"].events, 3);
    assert!(preview.first_at.is_some() && preview.first_at <= preview.last_at);
    // A paused trigger can be asked about, and so can a topic.
    broker.pause_trigger(&name(), "for a test").await.unwrap();
    assert_eq!(broker.preview_replay(&request).await.unwrap(), preview);
    let whole = ReplayRequest { trigger: None, topic: Some(topic()), ..request };
    assert_eq!(broker.preview_replay(&whole).await.unwrap().selected, 4);
    assert_eq!((target.seen().len(), broker.replays().len()), (4, 0));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_range_is_told_by_times_and_ages_too() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    publish(&broker, 3).await;
    let of = async |from: ReplayPoint, to: ReplayPoint| {
        let request = ReplayRequest { from, to, ..everything() };
        broker.preview_replay(&request).await.map(|preview| (preview.start.0, preview.end.0))
    };
    let hour = ReplayPoint::Age(3_600_000);
    assert_eq!(of(hour, ReplayPoint::Latest).await.unwrap(), (0, 3));
    assert_eq!(of(ReplayPoint::Earliest, hour).await.unwrap(), (0, 0));
    assert_eq!(of(ReplayPoint::Time(Timestamp(1)), ReplayPoint::Offset(Offset(2))).await.unwrap(), (0, 2));
    let backwards = of(ReplayPoint::Latest, ReplayPoint::Earliest).await.unwrap_err();
    assert!(backwards.to_string().contains("before it begins"), "{backwards}");
    let beyond = of(ReplayPoint::Offset(Offset(9)), ReplayPoint::Latest).await.unwrap_err();
    assert!(matches!(beyond, BrokerError::OffsetBeyondEnd { .. }));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_pace_lets_no_more_in_than_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    publish(&broker, 5).await;
    let slowly = ReplayRequest { per_second: Some(0.001), ..everything() };
    let started = broker.start_replay(&slowly).await.unwrap();
    let status =
        until(&broker, &started.id, "the first one went", |status| status.account.delivered == 1).await;
    assert_eq!((status.account.matched, status.unread, status.cursor), (1, 4, Offset(1)));
    // Live events know nothing of it.
    publish_one_more(&broker).await;
    assert_eq!(target.seen().iter().filter(|seen| seen.is_replay).count(), 1);
    broker.cancel_replay(&started.id).await.unwrap();
    let quickly = ReplayRequest { per_second: Some(100_000.0), ..everything() };
    let started = broker.start_replay(&quickly).await.unwrap();
    assert_eq!(completed(&broker, &started.id).await.account.delivered, 6);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_holds_the_trigger_holds_its_replay() {
    let dir = tempfile::tempdir().unwrap();
    let holding = Holding::after(1);
    let mut config = config(&dir, holding.clone());
    config.triggers.get_mut(&name()).unwrap().policy.concurrency = 1;
    let broker = Broker::open(config.clone()).await.unwrap();
    publish(&broker, 4).await;
    broker.pause_trigger(&name(), "for a test").await.unwrap();
    let refused = broker.start_replay(&everything()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.to_string().contains("for a test"), "{refused}");
    broker.resume_trigger(&name()).await.unwrap();

    let started = broker.start_replay(&everything()).await.unwrap();
    eventually("it is in the middle", async || holding.replayed().len() == 2).await;
    broker.pause_trigger(&name(), "once more").await.unwrap();
    holding.open.send_replace(true);
    let status =
        until(&broker, &started.id, "the second one ends", |status| status.account.delivered == 2).await;
    assert_eq!((status.state, status.reason.as_deref()), (ReplayState::Paused, Some("once more")));
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = Broker::open(config).await.unwrap();
    let paused = |status: &ReplayStatus| status.state == ReplayState::Paused;
    until(&broker, &started.id, "it is held after a restart too", paused).await;
    broker.resume_trigger(&name()).await.unwrap();
    completed(&broker, &started.id).await;
    assert_eq!(holding.replayed(), ["0", "1", "2", "3"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_replay_waits_for_a_trigger_that_left_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    publish(&broker, 3).await;
    let slowly = ReplayRequest { per_second: Some(0.001), ..everything() };
    let started = broker.start_replay(&slowly).await.unwrap();
    until(&broker, &started.id, "the first one went", |status| status.account.delivered == 1).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = Broker::open(Config::embedded(dir.path())).await.unwrap();
    let status = until(&broker, &started.id, "it waits", |status| status.state == ReplayState::Paused).await;
    assert!(status.reason.unwrap().contains("no trigger `ship`"));
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    until(&broker, &started.id, "it goes on", |status| status.account.delivered == 2).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn events_are_replayed_into_another_topic_once_for_each_replay() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    publish(&broker, 2).await;
    let elsewhere: TopicName = "elsewhere".parse().unwrap();
    let request = ReplayRequest { to_topic: Some(elsewhere.clone()), ..everything() };
    for _ in 0..2 {
        let started = broker.start_replay(&request).await.unwrap();
        assert_eq!(started.target, "topic elsewhere");
        assert_eq!(completed(&broker, &started.id).await.account.delivered, 2);
    }
    let moved = broker.read(&elsewhere, Offset(0), 10, Duration::ZERO).await.unwrap();
    assert_eq!(moved.len(), 4);
    let mut ids: Vec<&str> = moved.iter().map(|stored| stored.event.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has an id of its own");
    for stored in &moved {
        assert!(["0", "1"].contains(&stored.event.attribute("causationid").unwrap()));
        assert_eq!((stored.event.source(), stored.event.data_slice()), ("/shop", &b"{}"[..]));
    }
    assert_eq!(target.seen().len(), 2, "the trigger's own target got nothing");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_says_that_it_comes_from_a_replay_and_is_redriven_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let target = Scripted::answering([ack(), rejected()]);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    publish(&broker, 1).await;
    let started = broker.start_replay(&everything()).await.unwrap();
    let status = completed(&broker, &started.id).await;
    assert_eq!((status.account.delivered, status.account.dead_lettered), (0, 1));
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters[0].replay.as_ref(), Some(&started.id));
    assert_eq!(broker.redrive(&RedriveRequest::default()).await.unwrap().done, 1);
    eventually("it comes again", async || target.seen().len() == 3).await;
    let seen = target.seen();
    assert!(seen[2].is_replay);
    assert_eq!((&seen[2].delivery_id, &seen[2].event), (&seen[1].delivery_id, &event("0")));
    assert_ne!(seen[2].delivery_id, seen[0].delivery_id);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn there_are_only_so_many_at_once_and_old_ones_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    publish(&broker, 2).await;
    let slowly = ReplayRequest { per_second: Some(0.001), ..everything() };
    let mut ids = Vec::new();
    for _ in 0..limits::REPLAYS_RUNNING_MAX {
        ids.push(broker.start_replay(&slowly).await.unwrap().id);
    }
    let refused = broker.start_replay(&slowly).await.unwrap_err();
    assert_eq!(refused.code(), Code::Overloaded);
    let listed: Vec<String> = broker.replays().into_iter().map(|status| status.id).collect();
    assert_eq!(listed, ids, "the oldest first");
    broker.cancel_replay(&ids[0]).await.unwrap();
    broker.start_replay(&slowly).await.unwrap();
    let totals = broker.replay_totals();
    assert_eq!(totals.running, limits::REPLAYS_RUNNING_MAX as u64);

    let now = broker.core.clock.now();
    broker.core.replays.tidy(now.plus_ms(limits::REPLAYS_KEPT_MS / 2)).await;
    assert_eq!(broker.replays().len(), limits::REPLAYS_RUNNING_MAX + 1);
    broker.core.replays.tidy(now.plus_ms(2 * limits::REPLAYS_KEPT_MS)).await;
    assert_eq!(broker.replay(&ids[0]).unwrap_err().code(), Code::UnknownReplay);
    assert_eq!(broker.replays().len(), limits::REPLAYS_RUNNING_MAX, "those under way are kept");
    assert!(broker.replay_totals().account.delivered >= totals.account.delivered, "counters never go back");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_no_replay_is_refused_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    let of_topic = ReplayRequest { trigger: None, topic: Some(topic()), ..everything() };
    let elsewhere = || "elsewhere".parse::<TopicName>().ok();
    let url = |url: &str| Some(url.to_owned());
    for (request, named) in [
        (ReplayRequest { trigger: None, ..everything() }, "give the `trigger`"),
        (ReplayRequest { topic: Some(topic()), ..everything() }, "either a `trigger` or a `topic`"),
        (of_topic.clone(), "give `to_topic` or `to_url`"),
        (
            ReplayRequest { to_topic: elsewhere(), to_url: url("http://a/"), ..everything() },
            "either `to_topic` or `to_url`",
        ),
        (ReplayRequest { to_topic: Some(topic()), ..of_topic.clone() }, "the topic that the events lie in"),
        (ReplayRequest { to_url: url("no url"), ..of_topic.clone() }, "`to_url`"),
        (ReplayRequest { to_url: url("http://u:p@example.com/"), ..of_topic }, "`to_url`"),
        (ReplayRequest { per_second: Some(0.0), ..everything() }, "per_second"),
        (ReplayRequest { per_second: Some(f64::NAN), ..everything() }, "per_second"),
        (ReplayRequest { filter: Some("{".to_owned()), ..everything() }, ""),
        (ReplayRequest { trigger: "absent".parse().ok(), ..everything() }, "no trigger `absent`"),
        (ReplayRequest { trigger: None, topic: elsewhere(), ..everything() }, "no topic `elsewhere`"),
    ] {
        let error = broker.start_replay(&request).await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert!(!error.is_retryable(), "{error}");
    }
    assert!(broker.replays().is_empty());
    broker.shutdown().await.unwrap();
}
