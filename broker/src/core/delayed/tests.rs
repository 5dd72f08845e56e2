//! Held events on a broker whole, with a clock that the tests move, and on a log alone.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use eventail_storage::DiskStore;
use eventail_storage::disk_io::OsDisk;
use eventail_storage::index::timers::ROWS_AT_ONCE;
use eventail_storage::index::{Index, IndexBatch, IndexError, MemoryIndex, RowVisitor};
use eventail_storage::log::LogOptions;
use eventail_wire::{Clock, Code, Event, HeldId, Offset, Timestamp, TopicName, limits};

use super::note::{HeldHeader, Note};
use super::{DELAYED_LOG, Delayed, Tuning};
use crate::config::Config;
use crate::core::{Broker, BrokerError};
use crate::status::{DelayedFilter, DelayedState, Published};

const MINUTE_MS: u64 = 60_000;

/// A clock that stands until it is moved.
#[derive(Clone, Debug)]
struct Moved(Arc<AtomicU64>);

impl Moved {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_763_892_000_000)))
    }

    fn forward(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::AcqRel);
    }

    fn after(&self, milliseconds: u64) -> Timestamp {
        self.now().plus_ms(milliseconds)
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire))
    }
}

fn topic() -> TopicName {
    "orders".parse().unwrap()
}

fn event(id: &str) -> Event {
    Event::builder(id, "/shop", "order.created").json_data("{}").build().unwrap()
}

fn event_at(id: &str, at: Timestamp) -> Event {
    event(id).to_builder().deliver_at(at).build().unwrap()
}

async fn open(dir: &Path, clock: &Moved) -> Broker {
    open_with(Config::embedded(dir), clock).await
}

async fn open_with(config: Config, clock: &Moved) -> Broker {
    Broker::builder(config).clock(Arc::new(clock.clone())).open().await.unwrap()
}

async fn hold(broker: &Broker, event: Event) -> HeldId {
    let placed = broker.publish(&topic(), vec![event]).await.unwrap();
    placed[0].held().unwrap_or_else(|| panic!("not held: {placed:?}"))
}

/// The ids in the topic, in order, once there are so many.
async fn arrived(broker: &Broker, count: usize) -> Vec<String> {
    let waiting = async {
        loop {
            let stored = broker.read(&topic(), Offset(0), 1000, Duration::ZERO).await.unwrap();
            if stored.len() >= count && broker.delayed_status().pending == 0 {
                return stored.iter().map(|stored| stored.event.id().to_owned()).collect();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the events never came")
}

async fn listed(broker: &Broker, filter: &DelayedFilter) -> Vec<String> {
    let held = broker.delayed_events(filter, None, 100).await.unwrap();
    held.into_iter().map(|held| held.event_id).collect()
}

#[tokio::test]
async fn an_event_is_held_until_its_time_and_then_in_its_topic() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let at = clock.after(15 * MINUTE_MS);
    let after = event("1").to_builder().deliver_after(Duration::from_mins(15)).build().unwrap();
    let placed = broker.publish(&topic(), vec![after]).await.unwrap();
    let id = placed[0].held().unwrap();
    assert_eq!(placed, [Published::Held { id, deliver_at: at, duplicate: false }]);
    assert_eq!(broker.topic(&topic()).unwrap().end, Offset(0));
    let (shown, stored) = broker.delayed_event(id).await.unwrap();
    assert_eq!((shown.deliver_at, shown.state, shown.event_id.as_str()), (at, DelayedState::Held, "1"));
    assert_eq!(stored.unwrap().attribute("deliverat"), Some(at.to_string().as_str()));
    assert_eq!(broker.find_delayed("1").await.unwrap(), [shown]);

    clock.forward(15 * MINUTE_MS);
    assert_eq!(arrived(&broker, 1).await, ["1"]);
    let (shown, stored) = broker.delayed_event(id).await.unwrap();
    assert_eq!((shown.state, shown.offset, stored), (DelayedState::Released, Some(Offset(0)), None));
    assert_eq!(broker.find_delayed("1").await.unwrap(), []);
    let stored = broker.read(&topic(), Offset(0), 1, Duration::ZERO).await.unwrap();
    assert_eq!(
        stored[0].event.attribute("deliverafter"),
        None,
        "whoever publishes it again does not delay it again"
    );
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_time_that_has_passed_is_now() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let past = Timestamp(clock.now().0 - 1);
    let nothing = event("3").to_builder().deliver_after(Duration::ZERO).build().unwrap();
    let events = vec![event_at("1", past), event_at("2", clock.now()), nothing];
    let placed = broker.publish(&topic(), events).await.unwrap();
    assert_eq!(placed.iter().filter_map(Published::offset).collect::<Vec<_>>(), [0, 1, 2].map(Offset));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn events_are_released_in_the_order_of_their_times() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    for (id, minutes) in [("c", 3), ("a", 1), ("d", 300), ("b", 2)] {
        hold(&broker, event_at(id, clock.after(minutes * MINUTE_MS))).await;
    }
    assert_eq!(listed(&broker, &DelayedFilter::default()).await, ["a", "b", "c", "d"]);
    let until = DelayedFilter { until: Some(clock.after(3 * MINUTE_MS)), ..DelayedFilter::default() };
    assert_eq!(listed(&broker, &until).await, ["a", "b"]);
    let elsewhere = DelayedFilter { topic: Some("other".parse().unwrap()), ..DelayedFilter::default() };
    assert_eq!(listed(&broker, &elsewhere).await, [""; 0]);
    let first = &broker.delayed_events(&DelayedFilter::default(), None, 1).await.unwrap()[0];
    let rest = broker
        .delayed_events(&DelayedFilter::default(), Some((first.deliver_at, first.id)), 2)
        .await
        .unwrap();
    assert_eq!(rest.iter().map(|held| held.event_id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    clock.forward(400 * MINUTE_MS);
    assert_eq!(arrived(&broker, 4).await, ["a", "b", "c", "d"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn more_than_a_year_ahead_is_refused_and_a_year_is_not() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    hold(&broker, event_at("1", clock.after(limits::DELAY_MS_MAX))).await;
    let late = event_at("2", clock.after(limits::DELAY_MS_MAX + 1));
    let refused = broker.publish(&topic(), vec![event("0"), late]).await.unwrap_err();
    assert_eq!(refused.code(), Code::DelayTooLong);
    assert!(
        refused.to_string().contains("event 1 ") && refused.to_string().contains("366 days"),
        "{refused}"
    );
    assert_eq!(broker.topic(&topic()).unwrap().end, Offset(0), "all or none");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_what_is_held_and_releases_what_fell_due_meanwhile() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let early = hold(&broker, event_at("early", clock.after(MINUTE_MS))).await;
    let late = hold(&broker, event_at("late", clock.after(60 * MINUTE_MS))).await;
    broker.shutdown().await.unwrap();
    clock.forward(2 * MINUTE_MS);
    let broker = open(dir.path(), &clock).await;
    assert_eq!(broker.delayed_event(late).await.unwrap().0.state, DelayedState::Held);
    let waiting = async {
        while broker.topic(&topic()).unwrap().end < Offset(1) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        broker.delayed_event(early).await.unwrap().0
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    clock.forward(60 * MINUTE_MS);
    assert_eq!(arrived(&broker, 2).await, ["early", "late"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_kill_between_append_and_note_makes_no_second_event() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let at = clock.after(MINUTE_MS);
    let id = hold(&broker, event_at("1", at)).await;
    // What a release does first; the note that should follow never comes.
    let log = broker.core.topic(&topic()).unwrap();
    broker.core.append_taken(&log, &[event_at("1", at)]).await.unwrap();
    broker.shutdown().await.unwrap();
    drop(broker);
    clock.forward(2 * MINUTE_MS);
    let broker = open(dir.path(), &clock).await;
    assert_eq!(arrived(&broker, 1).await, ["1"]);
    let shown = broker.delayed_event(id).await.unwrap().0;
    assert_eq!((shown.state, shown.offset), (DelayedState::Released, Some(Offset(0))));
    broker.shutdown().await.unwrap();
}

/// All that a user can see of delayed events.
async fn observed(broker: &Broker, ids: &[HeldId]) -> Vec<String> {
    let mut seen = Vec::new();
    for id in ids {
        let shown = broker.delayed_event(*id).await;
        seen.push(format!("{:?}", shown.map_err(|error| error.to_string())));
    }
    seen.push(format!("{:?}", broker.delayed_events(&DelayedFilter::default(), None, 100).await.unwrap()));
    seen.push(format!("{:?}", broker.delayed_status()));
    seen.push(format!("{:?}", broker.find_delayed("held").await.unwrap()));
    seen
}

#[tokio::test]
async fn an_index_that_was_deleted_while_the_broker_was_down_changes_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let mut ids = Vec::new();
    for (id, minutes) in [("gone", 1), ("held", 60), ("cancelled", 30)] {
        ids.push(hold(&broker, event_at(id, clock.after(minutes * MINUTE_MS))).await);
    }
    broker.cancel_delayed(ids[2]).await.unwrap();
    let again = broker.publish(&topic(), vec![event_at("held", clock.after(5 * MINUTE_MS))]).await.unwrap();
    assert!(again[0].is_duplicate() && again[0].held() == Some(ids[1]));
    clock.forward(MINUTE_MS);
    let released = async {
        while broker.delayed_event(ids[0]).await.unwrap().0.state == DelayedState::Held {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), released).await.unwrap();
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = open(dir.path(), &clock).await;
    let before = observed(&broker, &ids).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let broker = open(dir.path(), &clock).await;
    assert_eq!(observed(&broker, &ids).await, before);
    let repeat = broker.publish(&topic(), vec![event_at("gone", clock.after(5 * MINUTE_MS))]).await.unwrap();
    assert!(repeat[0].is_duplicate() && repeat[0].held() == Some(ids[0]), "{repeat:?}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_handle() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let at = clock.after(MINUTE_MS);
    let later = clock.after(2 * MINUTE_MS);
    let both = vec![event_at("1", at), event_at("1", later)];
    let placed = broker.publish(&topic(), both).await.unwrap();
    let id = placed[0].held().unwrap();
    let duplicate = Published::Held { id, deliver_at: at, duplicate: true };
    assert_eq!(placed, [Published::Held { id, deliver_at: at, duplicate: false }, duplicate]);
    let again = broker.publish(&topic(), vec![event_at("1", later)]).await.unwrap();
    assert_eq!(again, [duplicate]);
    let other_topic: TopicName = "other".parse().unwrap();
    let elsewhere = broker.publish(&other_topic, vec![event_at("1", later)]).await.unwrap();
    assert!(!elsewhere[0].is_duplicate(), "another topic is another event");
    assert_eq!(broker.delayed_status().pending, 2);
    clock.forward(3 * MINUTE_MS);
    assert_eq!(arrived(&broker, 1).await, ["1"]);
    let again = broker.publish(&topic(), vec![event_at("1", clock.after(MINUTE_MS))]).await.unwrap();
    assert_eq!(again, [duplicate], "within the topic's window after its release");
    clock.forward(11 * MINUTE_MS);
    let new = broker.publish(&topic(), vec![event_at("1", clock.after(MINUTE_MS))]).await.unwrap();
    assert!(!new[0].is_duplicate() && new[0].held() != Some(id), "a repeat that comes later is new");
    assert_eq!(broker.delayed_event(id).await.unwrap_err().code(), Code::UnknownEvent);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_held_is_not_published_a_second_time_at_once() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let at = clock.after(MINUTE_MS);
    let id = hold(&broker, event_at("1", at)).await;
    let duplicate = Published::Held { id, deliver_at: at, duplicate: true };
    let placed = broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    assert_eq!(placed, [duplicate, Published::Appended { offset: Offset(0), duplicate: false }]);
    broker.shutdown().await.unwrap();
    let broker = open(dir.path(), &clock).await;
    assert_eq!(
        broker.publish(&topic(), vec![event("1")]).await.unwrap(),
        [duplicate],
        "after a restart, too"
    );
    clock.forward(MINUTE_MS);
    assert_eq!(arrived(&broker, 2).await, ["2", "1"]);
    let after = broker.publish(&topic(), vec![event("1")]).await.unwrap();
    assert_eq!(after, [Published::Appended { offset: Offset(1), duplicate: true }]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_of_both_kinds_is_taken_whole_or_not_at_all() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let mut config = Config::embedded(dir.path());
    config.limits.delayed_events_max = 3;
    let broker = open_with(config, &clock).await;
    broker.publish(&topic(), vec![event("known")]).await.unwrap();
    let at = clock.after(MINUTE_MS);
    let batch = vec![event("a"), event_at("b", at), event("known")];
    let placed = broker.publish(&topic(), batch).await.unwrap();
    assert_eq!(placed[0], Published::Appended { offset: Offset(1), duplicate: false });
    assert!(matches!(placed[1], Published::Held { deliver_at, duplicate: false, .. } if deliver_at == at));
    assert_eq!(placed[2], Published::Appended { offset: Offset(0), duplicate: true });

    let too_many = vec![event("c"), event_at("d", at), event_at("e", at)];
    let refused = broker.publish(&topic(), too_many).await.unwrap_err();
    assert_eq!(refused.code(), Code::TooManyDelayed);
    assert!(refused.to_string().contains("limits.delayed_events_max` of 3"), "{refused}");
    assert_eq!(broker.topic(&topic()).unwrap().end, Offset(2), "nothing of it was taken");
    assert_eq!(listed(&broker, &DelayedFilter::default()).await, ["b"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_bytes_of_held_events_are_limited() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let mut config = Config::embedded(dir.path());
    config.limits.delayed_bytes_max = 1_000;
    let broker = open_with(config, &clock).await;
    let at = clock.after(MINUTE_MS);
    hold(&broker, event_at("1", at)).await;
    let large = event_at("2", at).to_builder().data(vec![0; 1_000]).build().unwrap();
    let refused = broker.publish(&topic(), vec![large]).await.unwrap_err();
    assert!(refused.to_string().contains("limits.delayed_bytes_max` of 1000"), "{refused}");
    clock.forward(MINUTE_MS);
    assert_eq!(arrived(&broker, 1).await, ["1"]);
    assert_eq!(broker.delayed_status().pending_bytes, 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_event_is_never_released_and_may_be_published_anew() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let at = clock.after(MINUTE_MS);
    let (first, other) = (hold(&broker, event_at("1", at)).await, hold(&broker, event_at("2", at)).await);
    let cancelled = broker.cancel_delayed(first).await.unwrap();
    assert_eq!((cancelled.state, cancelled.ended_at), (DelayedState::Cancelled, Some(clock.now())));
    assert_eq!(broker.cancel_delayed(first).await.unwrap(), cancelled, "twice is once");
    let moved = hold(&broker, event_at("1", clock.after(2 * MINUTE_MS))).await;
    assert_ne!(moved, first);
    clock.forward(5 * MINUTE_MS);
    assert_eq!(arrived(&broker, 2).await, ["2", "1"]);
    let refused = broker.cancel_delayed(other).await.unwrap_err();
    assert!(matches!(refused, BrokerError::DelayedReleased { .. }) && refused.code() == Code::Conflict);
    assert_eq!(broker.cancel_delayed(HeldId(999)).await.unwrap_err().code(), Code::UnknownEvent);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_beside_a_release_is_one_of_both() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Moved::new());
    let broker = open(dir.path(), &clock).await;
    let at = clock.after(MINUTE_MS);
    let events = (0..200).map(|number| event_at(&number.to_string(), at)).collect();
    let placed = broker.publish(&topic(), events).await.unwrap();
    clock.forward(MINUTE_MS);
    let mut cancelled = HashSet::new();
    for id in placed.iter().rev().filter_map(Published::held) {
        match broker.cancel_delayed(id).await {
            Ok(event) => assert!(cancelled.insert(event.event_id)),
            Err(error) => assert!(matches!(error, BrokerError::DelayedReleased { .. }), "{error}"),
        }
    }
    let arrived = arrived(&broker, 200 - cancelled.len()).await;
    assert_eq!(arrived.len(), 200 - cancelled.len());
    assert!(arrived.iter().all(|id| !cancelled.contains(id)), "none is both");
    broker.shutdown().await.unwrap();
}

/// A log of delayed events alone.
async fn alone(dir: &Path, index: Arc<impl Index>, tuning: Tuning) -> (Arc<DiskStore>, Delayed) {
    let (store, _) = DiskStore::open(dir, Arc::new(OsDisk), Arc::new(Moved::new())).unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let log = store.open_or_create(DELAYED_LOG, options).unwrap();
    (Arc::new(store), Delayed::open(log, index, tuning).await.unwrap())
}

fn held_note(number: u64, now: Timestamp) -> Note {
    let header = HeldHeader {
        id: None,
        topic: topic(),
        deliver_at: now.plus_ms(1 + number),
        held_at: now,
        window_ms: 1_000,
    };
    Note::Held(header, event(&number.to_string()).to_builder().data(vec![7; 400]).build().unwrap())
}

async fn hold_alone(delayed: &Delayed, numbers: std::ops::Range<u64>, now: Timestamp) -> Vec<HeldId> {
    let notes: Vec<Note> = numbers.map(|number| held_note(number, now)).collect();
    let places = delayed.append(&notes).await.unwrap();
    delayed.catch_up().await.unwrap();
    places.iter().map(|place| HeldId(place.offset.0)).collect()
}

#[tokio::test]
async fn one_event_that_waits_does_not_keep_the_log_of_all_that_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { slack_bytes: 256 << 10, ..Tuning::default() };
    let (store, delayed) = alone(dir.path(), Arc::<MemoryIndex>::default(), tuning).await;
    let now = Timestamp(1_000);
    let waits = hold_alone(&delayed, 0..1, now).await[0];
    let repeat = delayed.append(&[held_note(0, now)]).await.unwrap();
    let mut most = 0;
    for round in 1..40 {
        let ids = hold_alone(&delayed, round * 100..round * 100 + 100, now).await;
        let events = ids.iter().map(|id| (*id, Offset(id.0))).collect();
        delayed.append(&[Note::Released { at: Timestamp(round * 5_000), events }]).await.unwrap();
        delayed.catch_up().await.unwrap();
        while delayed.tidy(Timestamp(round * 5_000 + 2_000)).await {}
        most = most.max(delayed.log.status().bytes);
    }
    assert!(most < 1 << 20, "{most} bytes of two megabytes that came");
    assert!(delayed.log.status().range.start > Offset(waits.0), "its first record is gone");
    let before = delayed.known(waits, now).await.unwrap();
    assert!(delayed.event_of(&before).await.unwrap().is_some_and(|event| event.id() == "0"));
    assert!(delayed.known(HeldId(repeat[0].offset.0), now).await.is_err(), "a repeat was never taken");
    let totals = delayed.totals();
    store.close();
    drop((store, delayed));
    let (store, rebuilt) = alone(dir.path(), Arc::<MemoryIndex>::default(), tuning).await;
    assert_eq!(rebuilt.known(waits, now).await.unwrap(), before);
    assert_eq!((rebuilt.totals().waiting, totals.waiting), (1, 1));
    store.close();
}

#[tokio::test]
async fn a_repeat_that_outlives_the_record_of_the_first_does_not_take_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { slack_bytes: 0, ..Tuning::default() };
    let (store, delayed) = alone(dir.path(), Arc::<MemoryIndex>::default(), tuning).await;
    let now = Timestamp(1_000);
    let first = hold_alone(&delayed, 0..1, now).await[0];
    let filler = hold_alone(&delayed, 1..200, now).await;
    hold_alone(&delayed, 0..1, now).await;
    let events = filler.iter().map(|id| (*id, Offset(0))).collect();
    delayed.append(&[Note::Released { at: now, events }]).await.unwrap();
    delayed.catch_up().await.unwrap();
    super::lock(&delayed.tidied).pass_to = Offset(150);
    while delayed.log.status().range.start <= Offset(first.0) {
        delayed.tidy(now.plus_ms(9_999_999)).await;
    }
    store.close();
    drop((store, delayed));
    let (store, rebuilt) = alone(dir.path(), Arc::<MemoryIndex>::default(), tuning).await;
    let found = rebuilt.ask(move |book| book.named("0")).await.unwrap();
    assert_eq!(found.iter().map(|held| held.id).collect::<Vec<_>>(), [first]);
    assert_eq!(rebuilt.totals().waiting, 1);
    store.close();
}

#[tokio::test]
async fn what_is_looked_at_at_once_does_not_grow_with_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, delayed) = alone(dir.path(), Arc::<MemoryIndex>::default(), Tuning::default()).await;
    let now = Timestamp(1_000);
    for part in 0..10 {
        hold_alone(&delayed, part * 1_000..part * 1_000 + 1_000, now).await;
    }
    assert_eq!(delayed.totals().waiting, 10_000);
    let far = Timestamp::MAX;
    let (due, next) = delayed.ask(move |book| book.due(far, 16, &HashSet::new())).await.unwrap();
    assert_eq!(due, (0..16).map(HeldId).collect::<Vec<_>>(), "the next ones and no more");
    assert_eq!(next, Some(now.plus_ms(17)));
    let without: HashSet<TopicName> = [topic()].into();
    let (due, next) = delayed.ask(move |book| book.due(far, 16, &without)).await.unwrap();
    assert_eq!((due, next), (vec![], None), "a topic that takes nothing is left out");
    store.close();
}

#[tokio::test]
async fn an_index_of_another_log_is_not_believed() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index: Arc<MemoryIndex> = Arc::default();
    let (store, delayed) = alone(one.path(), Arc::clone(&index), Tuning::default()).await;
    hold_alone(&delayed, 0..5, Timestamp(1_000)).await;
    store.close();
    let (store, delayed) = alone(other.path(), index, Tuning::default()).await;
    assert_eq!(delayed.totals().waiting, 0);
    assert!(delayed.known(HeldId(0), Timestamp(1_000)).await.is_err());
    store.close();
}

/// An index that tells the largest batch it was given.
#[derive(Debug, Default)]
struct Weighed {
    index: MemoryIndex,
    rows_max: AtomicUsize,
}

impl Index for Weighed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(key)
    }

    fn apply(&self, batch: IndexBatch) -> Result<(), IndexError> {
        self.rows_max.fetch_max(batch.rows(), Ordering::AcqRel);
        self.index.apply(batch)
    }

    fn scan(&self, prefix: &[u8], from: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), IndexError> {
        self.index.scan(prefix, from, visit)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.index.flush()
    }
}

#[tokio::test]
async fn however_much_comes_at_once_the_index_gets_it_in_small_parts() {
    let dir = tempfile::tempdir().unwrap();
    let index: Arc<Weighed> = Arc::default();
    let (store, delayed) = alone(dir.path(), Arc::<Weighed>::clone(&index), Tuning::default()).await;
    let ids = hold_alone(&delayed, 0..1_000, Timestamp(1_000)).await;
    assert_eq!((ids.len(), delayed.totals().waiting), (1_000, 1_000));
    let most = index.rows_max.load(Ordering::Acquire);
    assert!((1..2 * ROWS_AT_ONCE).contains(&most), "{most} rows at once");
    store.close();
}
