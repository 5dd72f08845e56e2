//! Calls as targets see them: batches, permits, callbacks and reports.

use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use eventail_triggers::outcome::BatchOutcome;
use eventail_triggers::policy::BatchPolicy;
use eventail_triggers::report::{Architecture, Report, RunEnd};
use eventail_wire::frame::{CallbackAction, CallbackOutcome};

use super::*;
use crate::status::{Observation, Observer};

/// A target that takes batches and answers by script, and acknowledges when the script is over.
#[derive(Default)]
struct Batched {
    script: Mutex<VecDeque<BatchOutcome>>,
    seen: Mutex<Vec<Vec<Invocation>>>,
    allows_callback: bool,
    panics: AtomicUsize,
}

impl Batched {
    fn answering(script: impl IntoIterator<Item = BatchOutcome>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() }
    }

    fn seen(&self) -> Vec<Vec<Invocation>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ids(&self) -> Vec<String> {
        let ids =
            |batch: &Vec<Invocation>| batch.iter().map(|one| one.event.id()).collect::<Vec<_>>().join(" ");
        self.seen().iter().map(ids).collect()
    }

    fn token(&self) -> Arc<str> {
        self.seen().last().and_then(|batch| batch[0].callback.clone()).unwrap()
    }
}

impl Target for Batched {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        unreachable!("with a batch policy a single event is a batch too")
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        let panics = self.panics.fetch_update(Atomic::Relaxed, Atomic::Relaxed, |left| left.checked_sub(1));
        assert!(panics.is_err(), "the script says so");
        let next = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        Box::pin(async move { next.unwrap_or(BatchOutcome::Whole(Outcome::Ack { reply: None })).into() })
    }

    fn allows_callback(&self) -> bool {
        self.allows_callback
    }
}

fn batched(
    dir: &tempfile::TempDir,
    target: Arc<dyn Target>,
    change: impl FnOnce(&mut DeliveryPolicy),
) -> Config {
    let mut config = config(dir, target);
    let policy = &mut config.triggers.get_mut(&name()).unwrap().policy;
    policy.concurrency = 1;
    policy.batch = Some(BatchPolicy { max_events: 4, max_bytes: 1 << 20, window_ms: 0, bisect: false });
    change(policy);
    config
}

fn events(count: usize) -> Vec<Event> {
    (0..count).map(|id| event(&id.to_string())).collect()
}

fn whole(outcome: Outcome) -> BatchOutcome {
    BatchOutcome::Whole(outcome)
}

#[tokio::test]
async fn events_go_in_batches_and_each_has_its_own_attempt_and_delivery_id() {
    let dir = tempfile::tempdir().unwrap();
    let ack = Outcome::Ack { reply: None };
    let each = BatchOutcome::Each(vec![ack.clone(), failed(), ack.clone(), rejected()]);
    let target = Arc::new(Batched::answering([each]));
    let broker = Broker::open(batched(&dir, target.clone(), |_| {})).await.unwrap();
    broker.publish(&topic(), events(4)).await.unwrap();
    settled(&broker, 4).await;
    assert_eq!(target.ids(), ["0 1 2 3", "1"]);
    let seen = target.seen();
    assert_eq!((seen[0][1].attempt, seen[1][0].attempt), (1, 2));
    assert_eq!(seen[0][1].delivery_id, seen[1][0].delivery_id);
    assert_ne!(seen[0][0].delivery_id, seen[0][1].delivery_id);
    let account = broker.trigger(&name()).unwrap().account;
    assert_eq!((account.delivered, account.dead_lettered), (3, 1));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_poison_event_is_found_by_halving_and_the_others_are_delivered() {
    struct Poisoned(Mutex<usize>);
    impl Target for Poisoned {
        fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
            unreachable!("with a batch policy a single event is a batch too")
        }
        fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
            *self.0.lock().unwrap() += 1;
            let is_bad = batch.iter().any(|one| one.event.id() == "5");
            let outcome = if is_bad { failed() } else { Outcome::Ack { reply: None } };
            Box::pin(async move { whole(outcome).into() })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let config = batched(&dir, Arc::new(Poisoned(Mutex::new(0))), |policy| {
        policy.max_attempts = 2;
        policy.batch = Some(BatchPolicy { max_events: 8, max_bytes: 1 << 20, window_ms: 0, bisect: true });
    });
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), events(8)).await.unwrap();
    settled(&broker, 8).await;
    let account = broker.trigger(&name()).unwrap().account;
    assert_eq!((account.delivered, account.dead_lettered), (7, 1));
    let letters = broker.dead_letters(&DeadLetterFilter::default(), None, 9).await.unwrap();
    assert_eq!((letters[0].event_id.as_str(), letters[0].attempts), ("5", 2));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_window_delivers_what_does_not_fill_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let target = Arc::new(Batched::default());
    let config = batched(&dir, target.clone(), |policy| policy.batch.as_mut().unwrap().window_ms = 50);
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), events(1)).await.unwrap();
    broker.publish(&topic(), vec![event("a")]).await.unwrap();
    settled(&broker, 2).await;
    assert_eq!(target.ids(), ["0 a"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_whose_target_panics_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let target = Arc::new(Batched { panics: AtomicUsize::new(1), ..Batched::default() });
    let broker = Broker::open(batched(&dir, target.clone(), |_| {})).await.unwrap();
    broker.publish(&topic(), events(3)).await.unwrap();
    settled(&broker, 3).await;
    assert_eq!(target.ids(), ["0 1 2", "0 1 2"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_redriven_dead_letter_goes_in_a_batch_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let target = Arc::new(Batched::answering([whole(rejected())]));
    let broker = Broker::open(batched(&dir, target.clone(), |_| {})).await.unwrap();
    broker.publish(&topic(), events(2)).await.unwrap();
    settled(&broker, 2).await;
    broker.redrive(&RedriveRequest::default()).await.unwrap();
    eventually("both are delivered", async || broker.trigger(&name()).unwrap().account.delivered == 2).await;
    let seen = target.seen();
    assert_eq!(seen[0][0].delivery_id, seen[1][0].delivery_id);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_call_that_was_taken_over_ends_with_its_callback() {
    let dir = tempfile::tempdir().unwrap();
    let script = [whole(Outcome::Accepted), whole(Outcome::Accepted)];
    let target = Arc::new(Batched { allows_callback: true, ..Batched::answering(script) });
    let broker = Broker::open(batched(&dir, target.clone(), |_| {})).await.unwrap();
    broker.publish(&topic(), events(2)).await.unwrap();
    eventually("it is called", async || target.seen().len() == 1).await;
    assert!(target.seen()[0][1].callback.is_none(), "a batch has one token");
    let token = target.token();
    let longer = broker.callbacks().call_back(&token, CallbackAction::Extend { by_ms: Some(60_000) }).await;
    assert!(matches!(longer, Ok(CallbackOutcome::Extended { .. })));
    assert_eq!(broker.trigger(&name()).unwrap().in_flight, 2);
    let again = CallbackAction::Nack { after_ms: None, reason: "busy".to_owned() };
    let told = broker.callbacks().call_back(&token, again).await;
    assert!(matches!(told, Ok(CallbackOutcome::Retry { .. })), "{told:?}");
    eventually("it is called again", async || target.seen().len() == 2).await;
    assert_eq!(target.seen()[1][0].attempt, 2);
    let done = broker.callbacks().call_back(&target.token(), CallbackAction::Ack).await;
    assert!(matches!(done, Ok(CallbackOutcome::Delivered)));
    assert_eq!(broker.trigger(&name()).unwrap().account.delivered, 2);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_call_that_nobody_calls_back_about_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let target =
        Arc::new(Batched { allows_callback: true, ..Batched::answering([whole(Outcome::Accepted)]) });
    let config = batched(&dir, target.clone(), |policy| policy.timeout_ms = 20);
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), events(1)).await.unwrap();
    settled(&broker, 1).await;
    let seen = target.seen();
    assert_eq!(seen.iter().map(|batch| batch[0].attempt).collect::<Vec<_>>(), [1, 2]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_callback_does_not_hold_the_stop_up_and_is_delivered_again() {
    let dir = tempfile::tempdir().unwrap();
    let target =
        Arc::new(Batched { allows_callback: true, ..Batched::answering([whole(Outcome::Accepted)]) });
    let config = batched(&dir, target.clone(), |_| {});
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&topic(), events(2)).await.unwrap();
    eventually("it is called", async || target.seen().len() == 1).await;
    let stop = tokio::time::timeout(Duration::from_secs(8), broker.shutdown());
    stop.await.expect("it does not wait for the lease").unwrap();
    let broker = Broker::open(config).await.unwrap();
    settled(&broker, 2).await;
    assert_eq!(target.seen()[1][0].attempt, 1, "nothing was burnt");
    broker.shutdown().await.unwrap();
}

/// A target that counts the calls under way, and lets each go when it is told to.
struct Counted {
    now: AtomicUsize,
    most: AtomicUsize,
    go: tokio::sync::Semaphore,
}

impl Target for Counted {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let now = self.now.fetch_add(1, Atomic::Relaxed) + 1;
            self.most.fetch_max(now, Atomic::Relaxed);
            self.go.acquire().await.unwrap().forget();
            self.now.fetch_sub(1, Atomic::Relaxed);
            Outcome::Ack { reply: None }.into()
        })
    }

    fn shared_key(&self) -> Option<String> {
        Some("http shop".to_owned())
    }
}

#[tokio::test]
async fn triggers_of_one_target_share_a_limit_and_all_get_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let go = tokio::sync::Semaphore::new(0);
    let target = Arc::new(Counted { now: AtomicUsize::new(0), most: AtomicUsize::new(0), go });
    let mut config = config(&dir, target.clone());
    let mut trigger = config.triggers[&name()].clone();
    trigger.policy.concurrency = 2;
    trigger.policy.concurrency_min = Some(2);
    let other: TriggerName = "bill".parse().unwrap();
    config.triggers = [(name(), trigger.clone()), (other.clone(), trigger)].into();
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), events(20)).await.unwrap();
    eventually("two calls are under way", async || target.now.load(Atomic::Relaxed) == 2).await;
    let in_flight = |name: &TriggerName| broker.trigger(name).unwrap().in_flight;
    assert_eq!(in_flight(&name()) + in_flight(&other), 2, "nothing is leased that waits for a permit");
    for released in 1..=20 {
        target.go.add_permits(1);
        let delivered = |name: &TriggerName| broker.trigger(name).unwrap().account.delivered;
        eventually("one is delivered", async || delivered(&name()) + delivered(&other) == released).await;
        if released == 10 {
            assert!(delivered(&name()) >= 3 && delivered(&other) >= 3, "by turns");
        }
    }
    target.go.add_permits(20);
    eventually("all are delivered", async || broker.trigger(&other).unwrap().account.delivered == 20).await;
    settled(&broker, 20).await;
    assert_eq!(target.most.load(Atomic::Relaxed), 2);
    broker.shutdown().await.unwrap();
}

/// Counts the attempts that it is told of.
#[derive(Default)]
struct Attempts(AtomicUsize);

impl Observer for Attempts {
    fn observe(&self, observation: &Observation) {
        if let Observation::Attempted { .. } = observation {
            self.0.fetch_add(1, Atomic::Relaxed);
        }
    }
}

#[tokio::test]
async fn an_observer_sees_each_event_of_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Attempts::default());
    let target = Arc::new(Batched::answering([whole(failed())]));
    let config = batched(&dir, target, |_| {});
    let broker = Broker::builder(config).observer(seen.clone()).open().await.unwrap();
    broker.publish(&topic(), events(3)).await.unwrap();
    settled(&broker, 3).await;
    eventually("each attempt is seen", async || seen.0.load(Atomic::Relaxed) == 6).await;
    broker.shutdown().await.unwrap();
}

/// A target that says what its run took.
struct Reporting;

impl Target for Reporting {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        let report = Report {
            function: "function resize".into(),
            end: RunEnd::Succeeded,
            init_ms: None,
            duration_ms: 3.0,
            billed_ms: Some(3),
            memory_mb: None,
            memory_used_mb: None,
            architecture: Architecture::X86,
        };
        Box::pin(
            async move { Answer { outcome: Outcome::Ack { reply: None }, report: Some(Box::new(report)) } },
        )
    }
}

#[tokio::test]
async fn the_ledger_hears_of_every_run() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Arc::new(Reporting))).await.unwrap();
    broker.publish(&topic(), events(3)).await.unwrap();
    settled(&broker, 3).await;
    let functions = broker.functions(Duration::from_secs(3600));
    assert_eq!(functions.len(), 1);
    assert_eq!((functions[0].summary.calls, functions[0].summary.events), (3, 3));
    broker.shutdown().await.unwrap();
}
