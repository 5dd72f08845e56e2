//! The ledger, kept: what functions did and cost, durably for 30 days, and the budgets that follow from it.
//!
//! Runs are counted in memory. Every [`FLUSH_EVERY`], and at a stop, the hours that changed are appended to an internal log; on the
//! way back the last record of a key and hour wins. When enough was written every hour that is still kept is written again, and
//! what lies before goes: so hours older than 30 days go too, and the log stays in proportion to what it says.
//!
//! A `kill -9` loses the counts of the last ten seconds at most; a power cut as many and the last moments of a `buffered` log. No
//! delivery depends on them.
//!
//! A budget that is spent pauses its trigger, with a reason that says so; when the budget is not spent any more (the next day, UTC, or
//! because it was raised) the trigger is resumed. What an operator paused stays paused. What an operator resumes goes on for
//! that day, unless the broker is started again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use eventail_storage::log::{Log, NewRecord, ReadLimit, read_what_is_left};
use eventail_triggers::ledger::{
    Book, Budget, BudgetAction, BudgetLevel, BudgetStatus, Entry, FunctionKind, Key, Prices, Spending,
    Summary, date_of,
};
use eventail_triggers::report::Report;
use eventail_triggers::subscription::State as TriggerState;
use eventail_wire::{Clock, Timestamp, TriggerName};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::{Broker, BrokerError, Core};
use crate::config::Config;
use crate::metrics::FunctionMetrics;
use crate::status::FunctionSummary;

/// The name of the internal log.
pub(crate) const LEDGER_LOG: &str = "_ledger";
/// How often what changed is written.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// Bytes after which everything is written again; twice the last such writing if that is more.
const REWRITE_EVERY_BYTES: u64 = 8 << 20;
/// Bytes that one append takes: far below what a batch of the log can hold.
const APPEND_BYTES: usize = 4 << 20;
/// How the reason begins of a trigger that its budget paused. It tells such a pause from an operator's, also after a restart.
const PAUSED_BY_BUDGET: &str = "its budget of ";

/// What functions did and cost.
pub(crate) struct Ledger {
    log: Arc<dyn Log>,
    terms: ArcSwap<Terms>,
    state: Mutex<State>,
    /// Held by whoever writes.
    written: tokio::sync::Mutex<Written>,
    /// Rung when a budget has reached a level.
    reached: Notify,
}

/// What is decided by the configuration.
struct Terms {
    prices: Prices,
    budgets: BTreeMap<TriggerName, Budget>,
}

impl Terms {
    fn of(config: &Config) -> Self {
        let with_budget = |(name, trigger): (&TriggerName, &crate::config::Trigger)| {
            trigger.budget.map(|budget| (name.clone(), budget))
        };
        Self { prices: config.prices, budgets: config.triggers.iter().filter_map(with_budget).collect() }
    }
}

struct State {
    book: Book,
    metrics: HashMap<Key, Arc<FunctionMetrics>>,
    spendings: BTreeMap<TriggerName, Spending>,
    /// Levels that budgets have reached, to be told.
    reached: Vec<(TriggerName, BudgetLevel)>,
    /// Triggers whose budget is new, and which it may have to pause though it was spent before.
    renewed: BTreeSet<TriggerName>,
}

#[derive(Default)]
struct Written {
    /// Bytes since everything was written.
    bytes: u64,
    /// Bytes of that.
    whole_bytes: u64,
    /// The hour in which the book was pruned last.
    pruned_in: u64,
}

impl Ledger {
    /// Reads back what was counted.
    pub(crate) async fn open(
        log: Arc<dyn Log>,
        config: &Config,
        now: Timestamp,
    ) -> Result<Arc<Self>, BrokerError> {
        let mut book = replay(log.as_ref()).await?;
        book.prune(now);
        let terms = Terms::of(config);
        let resume = |(name, budget): (&TriggerName, &Budget)| {
            (name.clone(), Spending::resume(budget, now, book.spent_today(now, name)))
        };
        let spendings = terms.budgets.iter().map(resume).collect();
        let renewed = terms.budgets.keys().cloned().collect();
        let state = State { book, metrics: HashMap::new(), spendings, reached: Vec::new(), renewed };
        Ok(Arc::new(Self {
            log,
            terms: ArcSwap::from_pointee(terms),
            state: Mutex::new(state),
            written: tokio::sync::Mutex::default(),
            reached: Notify::new(),
        }))
    }

    /// Goes by the prices and budgets of another configuration. What was spent counts.
    pub(crate) fn adopt(&self, config: &Config, now: Timestamp) {
        let new = Terms::of(config);
        let mut state = self.state();
        let State { book, spendings, renewed, .. } = &mut *state;
        let old = self.terms.load();
        spendings.retain(|name, _| new.budgets.contains_key(name));
        for (name, budget) in
            new.budgets.iter().filter(|(name, budget)| old.budgets.get(*name) != Some(*budget))
        {
            spendings.insert(name.clone(), Spending::resume(budget, now, book.spent_today(now, name)));
            renewed.insert(name.clone());
        }
        self.terms.store(Arc::new(new));
        drop(state);
        self.reached.notify_one();
    }

    /// Counts one call of a function, which delivered so many events (0 where it failed, or where it was for no event). `trigger` is
    /// on whose behalf; `None` for those who call a function directly.
    pub(crate) fn record(&self, now: Timestamp, trigger: Option<&TriggerName>, report: &Report, events: u32) {
        let mut state = self.state();
        let terms = self.terms.load();
        let cost = terms.prices.cost(report);
        let State { book, metrics, spendings, reached, .. } = &mut *state;
        let key = book.key(&report.function, trigger);
        let memory_used_mb = book.record(now, &key, report, events, cost);
        let counted = match metrics.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let made = Arc::new(FunctionMetrics::new(&key));
                metrics.insert(key, Arc::clone(&made));
                made
            }
        };
        let mut has_reached = false;
        if let Some(trigger) = trigger
            && let Some(budget) = terms.budgets.get(trigger)
            && let Some(spending) = spendings.get_mut(trigger)
            && let Some(level) = spending.add(budget, now, cost)
        {
            reached.push((trigger.clone(), level));
            has_reached = true;
        }
        drop(state);
        counted.called(report, cost, memory_used_mb);
        if has_reached {
            self.reached.notify_one();
        }
    }

    /// What each function did in the last `window`, by kind and name. The window begins with a whole hour.
    pub(crate) fn functions(&self, now: Timestamp, window: Duration) -> Vec<FunctionSummary> {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let summaries = self.state().book.summaries(now, window_ms);
        summaries.into_iter().map(|summary| FunctionSummary { summary, instances: None }).collect()
    }

    /// What a trigger with a budget has cost today.
    pub(crate) fn budget_status(&self, now: Timestamp, trigger: &TriggerName) -> Option<BudgetStatus> {
        let terms = self.terms.load();
        let budget = terms.budgets.get(trigger)?;
        self.state().spendings.get(trigger).map(|spending| spending.status(budget, now))
    }

    /// Writes what changed. What cannot be written now is written the next time.
    pub(crate) async fn flush(&self, now: Timestamp) -> Result<(), BrokerError> {
        let mut written = self.written.lock().await;
        self.prune(now, &mut written);
        let changed = self.state().book.changed();
        match self.append(&changed).await {
            Ok(bytes) => written.bytes += bytes,
            Err(error) => {
                self.state().book.change_again(&changed);
                return Err(error);
            }
        }
        if written.bytes > REWRITE_EVERY_BYTES.max(2 * written.whole_bytes) {
            self.write_whole(&mut written).await?;
        }
        Ok(())
    }

    /// Writes every hour again and lets go of all that was written before. A crash between leaves some hours twice, with the later one
    /// right.
    async fn write_whole(&self, written: &mut Written) -> Result<(), BrokerError> {
        let begin = *self.log.durable_end().borrow();
        let hours = self.state().book.hours();
        let mut whole_bytes = 0;
        for hour in hours {
            // Hour by hour, so that nobody who counts has to wait for long.
            let entries = self.state().book.of_hour(hour);
            whole_bytes += self.append(&entries).await?;
        }
        *written = Written { bytes: 0, whole_bytes, ..*written };
        self.log.trim(begin).await.map(drop).map_err(append_failed)
    }

    /// Appends these and answers how many bytes they took.
    async fn append(&self, entries: &[Entry]) -> Result<u64, BrokerError> {
        let (mut part, mut part_bytes, mut bytes) = (Vec::new(), 0, 0);
        for entry in entries {
            let record = encode(entry);
            if part_bytes + record.payload.len() > APPEND_BYTES && !part.is_empty() {
                self.log.append(std::mem::take(&mut part)).await.map_err(append_failed)?;
                part_bytes = 0;
            }
            part_bytes += record.payload.len();
            bytes += record.payload.len() as u64;
            part.push(record);
        }
        if !part.is_empty() {
            self.log.append(part).await.map_err(append_failed)?;
        }
        Ok(bytes)
    }

    /// Once an hour.
    fn prune(&self, now: Timestamp, written: &mut Written) {
        let hour = now.0 / 3_600_000;
        if std::mem::replace(&mut written.pruned_in, hour) == hour {
            return;
        }
        let mut state = self.state();
        let State { book, metrics, .. } = &mut *state;
        book.prune(now);
        metrics.retain(|key, _| book.has(key));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_ledger(
    core: Weak<Core>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    mut ended: watch::Receiver<bool>,
) {
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Those whose budget is spent and who were not paused for it yet.
    let mut to_pause: BTreeSet<TriggerName> = BTreeSet::new();
    loop {
        let (is_flush, is_end) = tokio::select! {
            biased;
            _ = flush.tick() => (true, false),
            () = ledger.reached.notified() => (false, false),
            _ = ended.wait_for(|ended| *ended) => (true, true),
        };
        if !is_end && let Some(core) = core.upgrade() {
            core.mind_budgets(&mut to_pause).await;
        }
        if is_flush && let Err(error) = ledger.flush(clock.now()).await {
            tracing::warn!(%error, "what functions did and cost was not written; it is tried again");
        }
        if is_end {
            return;
        }
    }
}

impl Core {
    /// Lets the ledger write what it counts, and lets budgets do what they are for.
    pub(crate) fn start_ledger(self: &Arc<Self>) {
        let (core, ledger) = (Arc::downgrade(self), Arc::clone(&self.ledger));
        let (clock, ended) = (Arc::clone(&self.clock), self.ended.subscribe());
        self.tasks.spawn_below_again("ledger", move || {
            keep_ledger(Weak::clone(&core), Arc::clone(&ledger), Arc::clone(&clock), ended.clone())
        });
    }

    /// Tells the levels that budgets have reached; pauses triggers whose budget is spent, and resumes those that were paused for one
    /// that is not.
    async fn mind_budgets(&self, to_pause: &mut BTreeSet<TriggerName>) {
        let now = self.clock.now();
        let reached = {
            let mut state = self.ledger.state();
            to_pause.append(&mut state.renewed);
            std::mem::take(&mut state.reached)
        };
        for (trigger, level) in reached {
            let Some(status) = self.ledger.budget_status(now, &trigger) else { continue };
            let (spent, per_day) = (status.spent, status.per_day);
            match level {
                BudgetLevel::Within => {}
                BudgetLevel::Warning => {
                    tracing::warn!(%trigger, spent, per_day, day = %status.day, "most of a trigger's budget for the day is spent");
                }
                BudgetLevel::Spent => {
                    tracing::warn!(%trigger, spent, per_day, day = %status.day, "a trigger's budget for the day is spent");
                    if status.action == BudgetAction::Pause {
                        to_pause.insert(trigger);
                    }
                }
            }
        }
        for trigger in self.triggers.all() {
            let name = &trigger.lane.trigger;
            let (state, reason) =
                trigger.lane.look(|lane| (lane.state(), lane.reason().unwrap_or_default().to_owned()));
            let status = self.ledger.budget_status(now, name);
            let is_spent = status.as_ref().is_some_and(|status| {
                status.action == BudgetAction::Pause && status.level == BudgetLevel::Spent
            });
            let turned = match (state, status) {
                // What stopped it may pass at any time.
                (TriggerState::Stopped, _) if is_spent => continue,
                (TriggerState::Paused, _) if !is_spent && reason.starts_with(PAUSED_BY_BUDGET) => {
                    trigger.resume().await
                }
                (TriggerState::Running, Some(status)) if is_spent && to_pause.contains(name) => {
                    trigger.pause(&spent_reason(&status, now)).await
                }
                _ => Ok(()),
            };
            match turned {
                Ok(()) => drop(to_pause.remove(name)),
                Err(error) => {
                    tracing::warn!(trigger = %name, %error, "a trigger was not paused or resumed by its budget; it is tried again");
                }
            }
        }
    }
}

impl Broker {
    /// What each function did in the last `window`, by kind and name; those of the configuration are told even if they did nothing. The
    /// window begins with a whole hour and reaches back 30 days at most.
    #[must_use]
    pub fn functions(&self, window: Duration) -> Vec<FunctionSummary> {
        let core = &self.core;
        let mut functions = core.ledger.functions(core.clock.now(), window);
        for name in core.config().functions.keys() {
            let is_it = |known: &FunctionSummary| {
                known.summary.kind == FunctionKind::Function && known.summary.name == name.as_str()
            };
            if !functions.iter().any(is_it) {
                let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                let summary = Summary::of(&format!("function {name}"), window_ms, &[]);
                functions.push(FunctionSummary { summary, instances: None });
            }
        }
        for function in &mut functions {
            if function.summary.kind == FunctionKind::Function {
                let local = function.summary.name.parse().ok().and_then(|name| core.functions.get(&name));
                function.instances = local.map(|function| function.status().into());
            }
        }
        functions.sort_by(|a, b| (a.summary.kind, &a.summary.name).cmp(&(b.summary.kind, &b.summary.name)));
        functions
    }

    /// Counts a call of a function that no trigger made, and the events that it delivered, if any.
    pub fn record_call(&self, report: &Report, events: u32) {
        self.core.ledger.record(self.core.clock.now(), None, report, events);
    }

    /// What one function did, by its name. Where a local function, one of Lambda and an endpoint have the same name it is the first of
    /// them; `kind name` tells them apart.
    ///
    /// # Errors
    /// Where none of this name is configured or did anything.
    pub fn function(&self, name: &str, window: Duration) -> Result<FunctionSummary, BrokerError> {
        let mut functions = self.functions(window);
        let is_it = |function: &FunctionSummary| {
            function.summary.name == name || function.summary.full_name() == name
        };
        let at = functions.iter().position(is_it);
        at.map(|at| functions.swap_remove(at))
            .ok_or_else(|| BrokerError::UnknownFunction { name: name.to_owned() })
    }
}

fn spent_reason(status: &BudgetStatus, now: Timestamp) -> String {
    let BudgetStatus { per_day, spent, .. } = status;
    format!("{PAUSED_BY_BUDGET}{per_day} a day is spent: {spent:.4} on {} (UTC)", date_of(now))
}

fn encode(entry: &Entry) -> NewRecord {
    let payload = rmp_serde::to_vec(entry).expect("plain data always encodes into memory");
    NewRecord { payload: Bytes::from(payload), fingerprint: None }
}

fn append_failed(source: eventail_storage::log::AppendError) -> BrokerError {
    BrokerError::Append { log: LEDGER_LOG.to_owned(), source }
}

async fn replay(log: &dyn Log) -> Result<Book, BrokerError> {
    let read_failed = |source| BrokerError::Read { log: LEDGER_LOG.to_owned(), source };
    let mut book = Book::default();
    let mut from = log.status().range.start;
    loop {
        let limit = ReadLimit { records: 4096, bytes: 4 << 20 };
        let records = read_what_is_left(log, from, limit).await.map_err(read_failed)?;
        let Some(last) = records.last() else { return Ok(book) };
        from = last.offset.plus(1);
        for record in &records {
            match rmp_serde::from_slice::<Entry>(&record.payload) {
                Ok(entry) => book.restore(entry),
                // Counts are no reason not to start.
                Err(error) => {
                    tracing::warn!(offset = %record.offset, %error, "an hour of the ledger cannot be read and is passed over");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
