//! The ledger on a real disk, and in a broker whose clock is moved.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use eventail_storage::DiskStore;
use eventail_storage::disk_io::OsDisk;
use eventail_storage::log::{Durability, LogOptions};
use eventail_triggers::outcome::Outcome;
use eventail_triggers::report::{Architecture, RunEnd};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::Clock;

use super::*;
use crate::config::{TargetOptions, Trigger};
use crate::status::TriggerState as Shown;

const HOUR: u64 = 60 * 60 * 1000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
struct Hand(AtomicU64);

impl Hand {
    fn at_noon() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap().0)))
    }

    fn pass(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct Takes;

impl Target for Takes {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async { Outcome::Ack { reply: None }.into() })
    }
}

fn report(function: &str) -> Report {
    Report {
        function: function.into(),
        end: RunEnd::Succeeded,
        init_ms: Some(80.0),
        duration_ms: 12.5,
        billed_ms: Some(93),
        memory_mb: Some(1024),
        memory_used_mb: Some(40),
        architecture: Architecture::X86,
    }
}

/// A run that costs so much, and a little more.
fn costly(cost: f64) -> Report {
    Report { billed_ms: Some((cost / 0.000_016_666_7 * 1000.0) as u64), ..report("function ship") }
}

fn ship() -> TriggerName {
    "ship".parse().unwrap()
}

async fn open(dir: &Path, clock: &Arc<Hand>) -> (DiskStore, Arc<Ledger>) {
    let (store, _) = DiskStore::open(dir, Arc::new(OsDisk), Arc::<Hand>::clone(clock)).unwrap();
    let options =
        LogOptions { durability: Durability::Buffered, segment_bytes: 1 << 20, ..LogOptions::default() };
    let log = store.open_or_create(LEDGER_LOG, options).unwrap();
    let ledger = Ledger::open(log, &Config::embedded(dir), clock.now()).await.unwrap();
    (store, ledger)
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_the_rest_is_not() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let (store, ledger) = open(dir.path(), &clock).await;
    for nth in 0..3 {
        ledger.record(clock.now(), Some(&ship()), &report("function f"), 2);
        clock.pass(nth * HOUR);
        ledger.flush(clock.now()).await.unwrap();
    }
    let written = ledger.functions(clock.now(), DAY);
    assert_eq!((written[0].summary.calls, written[0].summary.events), (3, 6));
    ledger.record(clock.now(), None, &report("function lost"), 1);
    store.close();
    let (store, ledger) = open(dir.path(), &clock).await;
    assert_eq!(ledger.functions(clock.now(), DAY), written);
    store.close();
}

#[tokio::test]
async fn what_cannot_be_written_is_written_the_next_time() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let (store, ledger) = open(dir.path(), &clock).await;
    ledger.record(clock.now(), None, &report("function f"), 1);
    store.close();
    assert!(ledger.flush(clock.now()).await.is_err());
    assert!(ledger.state().book.has_changed());
}

#[tokio::test]
async fn the_log_stays_in_proportion_and_loses_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let (store, ledger) = open(dir.path(), &clock).await;
    let functions: Vec<_> = (0..900).map(|nth| report(&format!("function f{nth}"))).collect();
    ledger.record(clock.now(), None, &report("function quiet"), 1);
    let mut rounds = 0;
    while ledger.log.status().range.start.0 == 0 {
        rounds += 1;
        assert!(rounds < 500, "nothing was trimmed");
        functions.iter().for_each(|report| ledger.record(clock.now(), None, report, 1));
        clock.pass(HOUR / 20);
        ledger.flush(clock.now()).await.unwrap();
    }
    let written = ledger.functions(clock.now(), 30 * DAY);
    assert!(
        written
            .iter()
            .all(|function| function.summary.calls
                == if function.summary.name == "quiet" { 1 } else { rounds })
    );
    assert!(ledger.log.status().bytes < 3 * REWRITE_EVERY_BYTES, "{}", ledger.log.status().bytes);
    store.close();
    let (store, ledger) = open(dir.path(), &clock).await;
    assert_eq!(ledger.functions(clock.now(), 30 * DAY), written);
    store.close();
}

async fn broker(dir: &Path, clock: &Arc<Hand>, budget: Option<Budget>) -> Broker {
    let mut config = Config::embedded(dir);
    config
        .triggers
        .insert(ship(), Trigger { budget, ..Trigger::new(TargetOptions::Handler(Arc::new(Takes))) });
    Broker::builder(config).clock(Arc::<Hand>::clone(clock)).open().await.unwrap()
}

async fn minded(broker: &Broker) -> (Shown, String) {
    broker.core.mind_budgets(&mut BTreeSet::from([ship()])).await;
    let status = broker.trigger(&ship()).unwrap();
    (status.state, status.reason.unwrap_or_default())
}

#[tokio::test]
async fn a_ledger_survives_a_restart_of_its_broker_and_lets_go_after_thirty_days() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let first = broker(dir.path(), &clock, None).await;
    first.record_call(&report("lambda resize"), 0);
    first.core.ledger.record(clock.now(), Some(&ship()), &report("lambda resize"), 10);
    let told = first.functions(DAY);
    assert_eq!((told[0].summary.calls, told[0].summary.triggers.len()), (2, 2));
    first.shutdown().await.unwrap();
    let second = broker(dir.path(), &clock, None).await;
    assert_eq!(second.functions(DAY), told);
    assert_eq!(second.function("resize", DAY).unwrap(), told[0]);
    assert_eq!(second.function("lambda resize", DAY).unwrap(), told[0]);
    clock.pass(2 * 24 * HOUR);
    assert!(matches!(second.function("resize", DAY), Err(BrokerError::UnknownFunction { .. })));
    assert_eq!(second.functions(30 * DAY).len(), 1);
    second.shutdown().await.unwrap();
    clock.pass(29 * 24 * HOUR);
    let third = broker(dir.path(), &clock, None).await;
    assert!(third.functions(60 * DAY).is_empty());
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_spent_budget_pauses_its_trigger_until_the_next_day() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let budget = Budget { per_day: 5.0, action: BudgetAction::Pause };
    let first = broker(dir.path(), &clock, Some(budget)).await;
    first.core.ledger.record(clock.now(), Some(&ship()), &costly(4.5), 1);
    let status = first.trigger(&ship()).unwrap().budget.unwrap();
    assert_eq!((status.level, status.day.as_str()), (BudgetLevel::Warning, "2026-11-23"));
    assert_eq!(minded(&first).await.0, Shown::Running);
    first.core.ledger.record(clock.now(), Some(&ship()), &costly(1.0), 1);
    let (state, reason) = minded(&first).await;
    assert_eq!(
        (state, reason.as_str()),
        (Shown::Paused, "its budget of 5 a day is spent: 5.5000 on 2026-11-23 (UTC)")
    );
    first.shutdown().await.unwrap();
    let second = broker(dir.path(), &clock, Some(budget)).await;
    assert_eq!(minded(&second).await, (Shown::Paused, reason));
    clock.pass(13 * HOUR);
    assert_eq!(minded(&second).await, (Shown::Running, String::new()));
    assert_eq!(second.triggers()[0].budget.as_ref().unwrap().spent, 0.0);
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_budget_pauses_by_itself_when_it_is_spent() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let budget = Budget { per_day: 5.0, action: BudgetAction::Pause };
    let broker = broker(dir.path(), &clock, Some(budget)).await;
    broker.core.ledger.record(clock.now(), Some(&ship()), &costly(5.5), 1);
    let paused = async {
        while broker.trigger(&ship()).unwrap().state != Shown::Paused {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), paused).await.expect("sooner than the next flush");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_operators_word_stands_above_a_budget() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let budget = Budget { per_day: 5.0, action: BudgetAction::Pause };
    let broker = broker(dir.path(), &clock, Some(budget)).await;
    broker.pause_trigger(&ship(), "warehouse moves").await.unwrap();
    broker.core.ledger.record(clock.now(), Some(&ship()), &costly(5.5), 1);
    assert_eq!(minded(&broker).await, (Shown::Paused, "warehouse moves".to_owned()));
    clock.pass(13 * HOUR);
    assert_eq!(minded(&broker).await, (Shown::Paused, "warehouse moves".to_owned()));
    broker.resume_trigger(&ship()).await.unwrap();
    broker.core.ledger.record(clock.now(), Some(&ship()), &costly(5.5), 1);
    assert_eq!(minded(&broker).await.0, Shown::Paused);
    broker.resume_trigger(&ship()).await.unwrap();
    broker.core.ledger.record(clock.now(), Some(&ship()), &costly(5.5), 1);
    broker.core.mind_budgets(&mut BTreeSet::new()).await;
    assert_eq!(broker.trigger(&ship()).unwrap().state, Shown::Running, "it was told once today");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_budget_that_only_warns_or_is_gone_lets_the_trigger_run() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let warns = Budget { per_day: 5.0, action: BudgetAction::Warn };
    let first = broker(dir.path(), &clock, Some(warns)).await;
    first.core.ledger.record(clock.now(), Some(&ship()), &costly(5.5), 1);
    assert_eq!(minded(&first).await.0, Shown::Running);
    assert_eq!(first.trigger(&ship()).unwrap().budget.unwrap().level, BudgetLevel::Spent);
    first.shutdown().await.unwrap();
    let pauses = Budget { action: BudgetAction::Pause, ..warns };
    let second = broker(dir.path(), &clock, Some(pauses)).await;
    assert_eq!(minded(&second).await.0, Shown::Paused, "what was spent before counts");
    second.shutdown().await.unwrap();
    let third = broker(dir.path(), &clock, None).await;
    assert_eq!(minded(&third).await.0, Shown::Running);
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_budget_that_is_spent_while_its_trigger_is_stopped_pauses_it_when_it_goes_on() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at_noon());
    let budget = Budget { per_day: 5.0, action: BudgetAction::Pause };
    let broker = broker(dir.path(), &clock, Some(budget)).await;
    let lane = Arc::clone(&broker.core.triggers.get(&ship()).unwrap().lane);
    broker.core.ledger.record(clock.now(), Some(&ship()), &costly(5.5), 1);
    let paused = async {
        while broker.trigger(&ship()).unwrap().state != Shown::Paused {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), paused).await.expect("then the broker's own look is over");
    broker.resume_trigger(&ship()).await.unwrap();
    lane.stop_for_burial("for a test");
    let mut to_pause = BTreeSet::from([ship()]);
    broker.core.mind_budgets(&mut to_pause).await;
    assert_eq!(broker.trigger(&ship()).unwrap().state, Shown::Stopped);
    lane.change(|subscription| subscription.resume()).await.unwrap();
    broker.core.mind_budgets(&mut to_pause).await;
    assert_eq!(broker.trigger(&ship()).unwrap().state, Shown::Paused);
    assert!(to_pause.is_empty());
    broker.shutdown().await.unwrap();
}
