//! Schedules in a whole broker, on a real disk, with a clock that is moved.

use std::sync::atomic::{AtomicU64, Ordering};

use eventail_triggers::outcome::{Outcome, RejectReason, Response};
use eventail_triggers::policy::DeliveryPolicy;
use eventail_triggers::schedule::{MissedRuns, Timetable, Zone};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{Clock, Event, Offset, TriggerName};

use super::*;
use crate::config::{Config, SCHEDULED_TIME_ATTRIBUTE, TargetOptions, Trigger};
use crate::status::{DeadLetterFilter, RedriveRequest};

/// A clock that stands until it is set. Tokio's time is paused besides, so that whoever sleeps looks at it again at once.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Hand {
    fn at(moment: &str) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(utc(moment).0)))
    }

    fn set(&self, moment: &str) {
        self.0.store(utc(moment).0, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A target that answers by script, and takes everything when the script is over.
#[derive(Default)]
struct Scripted {
    script: Mutex<Vec<Outcome>>,
    seen: Mutex<Vec<Event>>,
}

impl Target for Scripted {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        lock(&self.seen).push(invocation.event);
        let next = lock(&self.script).pop();
        Box::pin(async move { next.unwrap_or(Outcome::Ack { reply: None }).into() })
    }
}

fn utc(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("{text}Z")).unwrap()
}

fn name() -> ScheduleName {
    "nightly".parse().unwrap()
}

fn jobs() -> TopicName {
    "jobs".parse().unwrap()
}

fn schedule(expression: &str, zone: &str, missed: MissedRuns) -> Schedule {
    let timetable =
        Timetable { zone: Zone::named(zone).unwrap(), ..Timetable::new(expression.parse().unwrap()) };
    let mut schedule = Schedule::new(timetable, ScheduleTo::Topic(jobs()));
    schedule.runs.missed = missed;
    schedule
}

async fn open(dir: &tempfile::TempDir, clock: &Arc<Hand>, schedule: &Schedule) -> Broker {
    let mut config = Config::embedded(dir.path());
    config.schedules.insert(name(), schedule.clone());
    let clock: Arc<dyn Clock> = Arc::<Hand>::clone(clock);
    Broker::builder(config).clock(clock).seed(7).open().await.unwrap()
}

/// The times of the runs in the topic, in its order.
async fn made(broker: &Broker) -> Vec<String> {
    let Ok(stored) = broker.read(&jobs(), Offset(0), 1_000, Duration::ZERO).await else { return Vec::new() };
    stored.iter().map(|one| one.event.attribute(SCHEDULED_TIME_ATTRIBUTE).unwrap().to_owned()).collect()
}

/// Lets every schedule look at the clock several times.
async fn looked() {
    tokio::time::sleep(4 * LOOK_EVERY).await;
}

/// Waits until so many runs were made, and answers all that are in the topic.
async fn until_made(broker: &Broker, runs: u64) -> Vec<String> {
    eventually(async || broker.schedule(&name()).unwrap().runs >= runs).await;
    made(broker).await
}

async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..100_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        // The log's thread goes by no clock of ours.
        std::thread::yield_now();
    }
    panic!("it never happened");
}

#[tokio::test(start_paused = true)]
async fn runs_go_by_the_clocks_of_their_zone_when_those_are_put_forward() {
    let dir = tempfile::tempdir().unwrap();
    // Paris, 2026-03-29: 02:00 becomes 03:00, which is 01:00 UTC.
    let clock = Hand::at("2026-03-29T00:59:50");
    let broker = open(&dir, &clock, &schedule("cron(30 2 * * ? *)", "Europe/Paris", MissedRuns::Skip)).await;
    looked().await;
    assert_eq!(made(&broker).await.len(), 0);
    clock.set("2026-03-29T01:00:00");
    assert_eq!(until_made(&broker, 1).await, ["2026-03-29T01:00:00.000Z"]);
    let next = broker.schedule(&name()).unwrap().next_runs;
    assert_eq!(next[..2], [utc("2026-03-30T00:30:00"), utc("2026-03-31T00:30:00")]);
    assert_eq!(next.len(), 10);
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_once_when_the_clocks_are_put_back() {
    let dir = tempfile::tempdir().unwrap();
    // Paris, 2026-10-25: 03:00 becomes 02:00. 02:30 comes at 00:30 and at 01:30 UTC.
    let clock = Hand::at("2026-10-25T00:29:50");
    let broker = open(&dir, &clock, &schedule("cron(30 2 * * ? *)", "Europe/Paris", MissedRuns::Skip)).await;
    clock.set("2026-10-25T00:30:01");
    assert_eq!(until_made(&broker, 1).await, ["2026-10-25T00:30:00.000Z"]);
    clock.set("2026-10-25T01:30:01");
    looked().await;
    assert_eq!(made(&broker).await.len(), 1);
    let next = broker.schedule(&name()).unwrap().next_runs;
    assert_eq!(next[0], utc("2026-10-26T01:30:00"));
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn runs_that_were_missed_over_a_restart_become_what_the_policy_says() {
    for (missed, expected, skipped) in [
        (MissedRuns::Skip, &[][..], 4),
        (MissedRuns::Once, &["2026-11-23T14:00:00.000Z"][..], 3),
        (MissedRuns::All { most: 2 }, &["2026-11-23T13:00:00.000Z", "2026-11-23T14:00:00.000Z"][..], 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let schedule = schedule("cron(0 * * * ? *)", "UTC", missed);
        let clock = Hand::at("2026-11-23T09:59:55");
        let broker = open(&dir, &clock, &schedule).await;
        clock.set("2026-11-23T10:00:00");
        assert_eq!(until_made(&broker, 1).await, ["2026-11-23T10:00:00.000Z"]);
        broker.shutdown().await.unwrap();
        drop(broker);
        clock.set("2026-11-23T14:30:00");
        let broker = open(&dir, &clock, &schedule).await;
        eventually(async || broker.schedule(&name()).unwrap().skipped == skipped).await;
        let runs = until_made(&broker, 1 + expected.len() as u64).await;
        assert_eq!(runs[1..], *expected, "{missed:?}");
        let status = broker.schedule(&name()).unwrap();
        assert_eq!(status.made_up, expected.len() as u64);
        assert_eq!(status.next_runs[0], utc("2026-11-23T15:00:00"));
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_sent_and_not_noted_is_in_the_topic_once() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = schedule("cron(0 * * * ? *)", "UTC", MissedRuns::Once);
    let clock = Hand::at("2026-11-23T09:59:59");
    let broker = open(&dir, &clock, &schedule).await;
    // What a crash between the two would leave: the event is there, and nothing says so.
    let event = schedule.event(&name(), utc("2026-11-23T10:00:00")).unwrap();
    broker.publish_trusted(&jobs(), vec![event]).await.unwrap();
    clock.set("2026-11-23T10:00:00");
    assert_eq!(until_made(&broker, 1).await, ["2026-11-23T10:00:00.000Z"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rate_keeps_its_beat_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = schedule("rate(5 minutes)", "UTC", MissedRuns::Skip);
    let clock = Hand::at("2026-11-23T10:00:17");
    let broker = open(&dir, &clock, &schedule).await;
    let first = broker.schedule(&name()).unwrap().next_runs;
    broker.shutdown().await.unwrap();
    drop(broker);
    clock.set("2026-11-23T10:03:00");
    let broker = open(&dir, &clock, &schedule).await;
    assert_eq!(broker.schedule(&name()).unwrap().next_runs, first);
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_set_takes_the_place_of_the_schedules_and_keeps_state_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let hourly = schedule("cron(0 * * * ? *)", "UTC", MissedRuns::Skip);
    let clock = Hand::at("2026-11-23T09:59:55");
    let broker = open(&dir, &clock, &hourly).await;
    clock.set("2026-11-23T10:00:00");
    until_made(&broker, 1).await;
    let other: ScheduleName = "other".parse().unwrap();
    let minutely = schedule("cron(* * * * ? *)", "UTC", MissedRuns::Skip);
    let set = BTreeMap::from([(name(), minutely), (other.clone(), hourly.clone())]);
    broker.core.replace_schedules(&set).await.unwrap();
    // It runs by its new times at once, and counts on.
    clock.set("2026-11-23T10:01:00");
    let runs = until_made(&broker, 2).await;
    assert_eq!(runs[1], "2026-11-23T10:01:00.000Z");
    assert_eq!(broker.schedules().len(), 2);
    broker.core.replace_schedules(&BTreeMap::from([(other.clone(), hourly)])).await.unwrap();
    assert!(matches!(broker.schedule(&name()), Err(BrokerError::UnknownSchedule(_))));
    let before = made(&broker).await.len();
    clock.set("2026-11-23T10:02:00");
    looked().await;
    assert_eq!(made(&broker).await.len(), before);
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn notes_are_written_anew_and_nothing_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = schedule("rate(5 minutes)", "UTC", MissedRuns::Skip);
    let clock = Hand::at("2026-11-23T10:00:00");
    let broker = open(&dir, &clock, &schedule).await;
    let first = broker.schedule(&name()).unwrap().next_runs;
    let schedules = &broker.core.schedules;
    let begin = schedules.log.status().range.start;
    schedules.written.lock().await.bytes = REWRITE_EVERY_BYTES;
    let memory = lock(&schedules.noted).get(&name()).cloned();
    schedules.note(vec![Record { name: name(), memory }]).await.unwrap();
    schedules.write_whole(&mut *schedules.written.lock().await).await.unwrap();
    assert!(schedules.log.status().range.start >= begin);
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = open(&dir, &clock, &schedule).await;
    assert_eq!(broker.schedule(&name()).unwrap().next_runs, first);
    broker.shutdown().await.unwrap();
}

fn ship() -> TriggerName {
    "ship".parse().unwrap()
}

fn calling(dir: &tempfile::TempDir, target: &Arc<Scripted>, policy: DeliveryPolicy) -> Config {
    let mut config = Config::embedded(dir.path());
    let target: Arc<dyn Target> = Arc::<Scripted>::clone(target);
    // Nothing that is published matches: what is called is called by the schedule alone.
    let pattern = Some(r#"{"type":["never"]}"#.to_owned());
    config
        .triggers
        .insert(ship(), Trigger { pattern, policy, ..Trigger::new(TargetOptions::Handler(target)) });
    let timetable = Timetable::new("at(2026-11-23T10:00:00)".parse().unwrap());
    let schedule =
        Schedule { data: Some("{}".to_owned()), ..Schedule::new(timetable, ScheduleTo::Trigger(ship())) };
    config.schedules.insert(name(), schedule);
    config
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_a_schedule_calls_retries_buries_and_redrives_what_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let failed = Response { status: Some(422), ..Response::default() };
    let reject = Outcome::Reject { reason: RejectReason::Permanent, response: failed, disable: false };
    let target = Arc::new(Scripted { script: Mutex::new(vec![reject]), seen: Mutex::default() });
    let clock = Hand::at("2026-11-23T09:59:59");
    let config = calling(&dir, &target, DeliveryPolicy::default());
    let shared: Arc<dyn Clock> = Arc::<Hand>::clone(&clock);
    let broker = Broker::builder(config).clock(shared).seed(7).open().await.unwrap();
    clock.set("2026-11-23T10:00:00");
    eventually(async || broker.trigger(&ship()).unwrap().account.dead_lettered == 1).await;
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters[0].origin_topic.as_str(), SCHEDULES_TOPIC);
    let redriven = broker.redrive(&RedriveRequest::default()).await.unwrap();
    assert_eq!(redriven.done, 1);
    eventually(async || broker.trigger(&ship()).unwrap().account.delivered == 1).await;
    let seen = lock(&target.seen).clone();
    assert_eq!(seen.len(), 2);
    // The redriven event is the one that was scheduled, byte for byte.
    assert_eq!(seen[0].as_bytes(), seen[1].as_bytes());
    assert_eq!(seen[1].attribute(SCHEDULED_TIME_ATTRIBUTE), Some("2026-11-23T10:00:00.000Z"));
    assert_eq!(broker.schedule(&name()).unwrap().next_runs, []);
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_paused_trigger_was_sent_is_delivered_after_a_restart_without_the_schedule() {
    let dir = tempfile::tempdir().unwrap();
    let target = Arc::new(Scripted::default());
    let clock = Hand::at("2026-11-23T09:59:59");
    let config = calling(&dir, &target, DeliveryPolicy::default());
    let open = async |config: &Config| {
        let clock: Arc<dyn Clock> = Arc::<Hand>::clone(&clock);
        Broker::builder(config.clone()).clock(clock).seed(7).open().await.unwrap()
    };
    let broker = open(&config).await;
    broker.pause_trigger(&ship(), "not now").await.unwrap();
    clock.set("2026-11-23T10:00:00");
    eventually(async || broker.trigger(&ship()).unwrap().account.pending == 1).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    assert_eq!(lock(&target.seen).len(), 0);
    let broker = open(&Config { schedules: BTreeMap::new(), ..config }).await;
    broker.resume_trigger(&ship()).await.unwrap();
    eventually(async || broker.trigger(&ship()).unwrap().account.delivered == 1).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_sent_says_so_and_is_sent_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = schedule("at(2026-11-23T10:00:00)", "UTC", MissedRuns::Once);
    let clock = Hand::at("2026-11-23T09:59:59");
    let mut config = Config::embedded(dir.path());
    // There is the default topic, and no room for another one.
    config.limits.topics_max = 1;
    config.schedules.insert(name(), schedule.clone());
    let shared: Arc<dyn Clock> = Arc::<Hand>::clone(&clock);
    let broker = Broker::builder(config).clock(shared).seed(7).open().await.unwrap();
    clock.set("2026-11-23T10:00:00");
    eventually(async || broker.schedule(&name()).unwrap().problem.is_some()).await;
    let problem = broker.schedule(&name()).unwrap().problem.unwrap();
    assert!(problem.contains("limits.topics_max"), "{problem}");
    let to = ScheduleTo::Topic("default".parse().unwrap());
    let set = BTreeMap::from([(name(), Schedule { to, ..schedule })]);
    broker.core.replace_schedules(&set).await.unwrap();
    eventually(async || broker.schedule(&name()).unwrap().runs == 1).await;
    assert_eq!(broker.schedule(&name()).unwrap().problem, None);
    broker.shutdown().await.unwrap();
}
