//! What runs beside the events: retention, and the end of it all.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::{BrokerError, Core, blocking};
use crate::panics::{REST, contained};

/// How often retention is applied.
const RETENTION_EVERY: Duration = Duration::from_secs(5);

/// The broker's tasks: those that deliver, and those that serve them and end after them.
#[derive(Default)]
pub(crate) struct Tasks {
    lanes: Mutex<JoinSet<()>>,
    below: Mutex<JoinSet<()>>,
    /// Those that panicked and were not to begin anew.
    lost: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Tasks {
    /// Runs a task that ends when lanes stop.
    pub(crate) fn spawn_lane(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.lanes, name, self.once(name, task));
    }

    /// Runs a task that ends when lanes stop, and begins anew where it panicked.
    pub(crate) fn spawn_lane_again<F>(&self, name: &'static str, make: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        spawn(&self.lanes, name, again(name, make));
    }

    /// Runs a task that ends after the lanes.
    pub(crate) fn spawn_below(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.below, name, self.once(name, task));
    }

    /// Runs a task that ends after the lanes, and begins anew where it panicked.
    pub(crate) fn spawn_below_again<F>(&self, name: &'static str, make: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        spawn(&self.below, name, again(name, make));
    }

    fn once(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let lost = Arc::clone(&self.lost);
        async move {
            if let Err(error) = contained(task).await {
                tracing::error!(task = name, %error, "a task of the broker ended too early; a restart begins it anew");
                lost.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            }
        }
    }

    /// The kinds of tasks of which one panicked and is gone.
    pub(crate) fn lost(&self) -> Vec<&'static str> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

fn spawn(set: &Mutex<JoinSet<()>>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
    // What a reload ended must not gather for as long as the broker runs.
    while let Some(ended) = set.try_join_next() {
        tell(ended);
    }
    set.spawn(async move {
        task.await;
        tracing::debug!(task = name, "task ended");
    });
}

async fn again<F: Future<Output = ()>>(name: &'static str, mut make: impl FnMut() -> F) {
    while let Err(error) = contained(make()).await {
        tracing::error!(task = name, %error, "a task of the broker begins anew");
        tokio::time::sleep(REST).await;
    }
}

impl Core {
    pub(crate) fn start_upkeep(self: &Arc<Self>) {
        let (core, ended) = (Arc::downgrade(self), self.ended.subscribe());
        self.tasks.spawn_below_again("upkeep", move || keep_up(Weak::clone(&core), ended.clone()));
    }

    /// Lets go of what the operator no longer wants kept, and tells the triggers that had not read it.
    async fn apply_retention(&self) {
        let now = self.clock.now();
        for topic in self.topics.all() {
            if let Err(error) = topic.log.retain(now).await {
                tracing::warn!(topic = %topic.name, %error, "retention was not applied");
            }
        }
        if let Err(error) = self.timeline.retain(now).await {
            tracing::warn!(%error, "retention was not applied to the timeline");
        }
        for lane in self.replays.lanes() {
            if let Some(topic) = self.topics.get(&lane.topic) {
                lane.lose_before(topic.start());
            }
        }
        self.replays.tidy(now).await;
        for trigger in self.triggers.all() {
            if let Some(topic) = self.topics.get(&trigger.lane.topic) {
                trigger.lane.lose_before(topic.start());
            }
            if let Some(scheduled) = trigger.scheduled()
                && let Some(topic) = self.topics.get(&scheduled.topic)
            {
                scheduled.lose_before(topic.start());
            }
            if let Some(redrives) = trigger.redrives()
                && let Err(error) = redrives.trim_settled().await
            {
                tracing::warn!(trigger = %trigger.lane.trigger, %error, "redriven events that were settled are kept for now");
            }
        }
    }

    /// Ends what runs: lanes first, within the drain time, then what serves them.
    pub(crate) async fn shutdown(self: &Arc<Self>) -> Result<(), BrokerError> {
        // In a task of its own, so that it ends even if the caller does not wait for it.
        let core = Arc::clone(self);
        tokio::spawn(async move { core.stop_all().await }).await?
    }

    async fn stop_all(&self) -> Result<(), BrokerError> {
        if self.stopping.swap(true, Ordering::AcqRel) {
            wait_until(self.closed.subscribe()).await;
            return Ok(());
        }
        tracing::info!("the broker stops taking events");
        // A reload that is under way ends first: what it starts must be stopped too.
        let changing = self.changing.lock().await;
        self.stop.send_replace(true);
        drop(changing);
        let mut lanes = std::mem::take(&mut *self.tasks.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        let drain_ms = self.config().drain_ms;
        let drain = Duration::from_millis(drain_ms);
        let drained = tokio::time::timeout(drain, join(&mut lanes)).await.is_ok();
        if !drained {
            tracing::warn!(drain_ms, "attempts were still under way; their events will be delivered again");
        }
        lanes.shutdown().await;
        self.functions.close().await;
        let kept = self.journal.snapshot_all().await;
        self.backups.cancel();
        self.ended.send_replace(true);
        let mut below = std::mem::take(&mut *self.tasks.below.lock().unwrap_or_else(PoisonError::into_inner));
        join(&mut below).await;
        let store = Arc::clone(&self.store);
        let closed = blocking::run(store.may_block(), move || store.close()).await;
        self.clear_marker().await;
        self.closed.send_replace(true);
        tracing::info!("the broker has stopped");
        closed?;
        kept
    }
}

impl Core {
    async fn clear_marker(&self) {
        let marker = self.marker.clone();
        if let Err(error) = blocking::run(self.store.may_block(), move || marker.clear()).await {
            tracing::debug!(%error, "the next start will take this stop for a crash");
        }
    }
}

async fn keep_up(core: Weak<Core>, mut ended: watch::Receiver<bool>) {
    let mut retention = tokio::time::interval(RETENTION_EVERY);
    retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = retention.tick() => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        let Some(core) = core.upgrade() else { return };
        core.apply_retention().await;
        core.forget_orphans().await;
        core.tidy_index().await;
    }
}

async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        tell(ended);
    }
}

fn tell(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the broker failed");
    }
}

async fn wait_until(mut signal: watch::Receiver<bool>) {
    // The sender lives as long as the broker, and a broker that is gone is closed too.
    drop(signal.wait_for(|is_set| *is_set).await);
}
