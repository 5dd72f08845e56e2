//! What everybody in one simulation shares: the plan, the disk, the clock, what was promised, and the trace of what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_broker::Broker;
use eventail_storage::disk_io::SimDisk;
use eventail_storage::index::MemoryIndex;
use rand::rngs::SmallRng;
use tokio::sync::Notify;

use crate::attempts::{Attempts, Delivery};
use crate::clock::SimClock;
use crate::disk::Process;
use crate::ledger::{Ledger, Sent};
use crate::network::Weather;
use crate::plan::{Mood, Plan, dice};
use crate::setup::ORDERS;

/// What an operator is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Pause(&'static str),
    Resume(&'static str),
    Reload,
    Redrive,
    Replay(&'static str),
    CancelDelayed,
}

/// What the host of the broker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Things go wrong.
    Active,
    /// Nothing goes wrong any more, and everything has to come to its end.
    Healing,
}

/// One simulation.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) disk: SimDisk,
    /// Wakes the operator.
    pub(crate) ordered: Notify,
    state: Mutex<State>,
}

/// What changes.
pub(crate) struct State {
    pub(crate) dice: SmallRng,
    pub(crate) trace: String,
    pub(crate) failure: Option<String>,
    pub(crate) phase: Phase,
    /// Which life of the broker it is, counted from 1.
    pub(crate) life: u64,
    pub(crate) process: Option<Arc<Process>>,
    pub(crate) broker: Option<Broker>,
    pub(crate) index: Arc<MemoryIndex>,
    /// Asks the present life to end in order.
    pub(crate) stop: bool,
    /// The broker says that it has to be started anew.
    pub(crate) is_sick: bool,
    /// The last life ended by itself, or could not begin.
    pub(crate) is_over: bool,
    /// What was observable at rest, before the index was deleted.
    pub(crate) observed: Option<String>,
    /// The broker was stopped to be opened without its index.
    pub(crate) is_reopened: bool,
    /// The audit at rest is done.
    pub(crate) is_audited: bool,
    pub(crate) variant: u32,
    pub(crate) orders: VecDeque<Order>,
    /// The operator is at one.
    pub(crate) is_operating: bool,
    pub(crate) moods: BTreeMap<&'static str, Mood>,
    pub(crate) weather: Weather,
    /// Those from afar who are not done.
    pub(crate) remotes: usize,
    pub(crate) ledger: Ledger,
    pub(crate) attempts: Attempts,
    /// Origins of events that were redriven: they may be under way twice.
    pub(crate) redriven: BTreeSet<Delivery>,
    /// Power cuts and kills so far.
    pub(crate) crashes: u64,
    pub(crate) power_cuts: u64,
    pub(crate) last_cut_ms: u64,
    /// Ids by offset of the topic that everything is about, in order.
    pub(crate) log: BTreeMap<u64, String>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let remotes = plan.remotes;
        let state = State {
            dice: dice(plan.seed, "targets"),
            trace: String::new(),
            failure: None,
            phase: Phase::Active,
            life: 0,
            process: None,
            broker: None,
            index: Arc::default(),
            stop: false,
            is_sick: false,
            is_over: false,
            observed: None,
            is_reopened: false,
            is_audited: false,
            variant: 0,
            orders: VecDeque::new(),
            is_operating: false,
            moods: BTreeMap::new(),
            weather: Weather::default(),
            remotes,
            ledger: Ledger::default(),
            attempts: Attempts::default(),
            redriven: BTreeSet::new(),
            crashes: 0,
            power_cuts: 0,
            last_cut_ms: 0,
            log: BTreeMap::new(),
        };
        Arc::new(Self {
            plan,
            clock: Arc::default(),
            disk: SimDisk::new(),
            ordered: Notify::new(),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line into the trace.
    pub(crate) fn note(&self, line: impl std::fmt::Display) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        let life = state.life;
        let _ = writeln!(state.trace, "{now_ms:>7} [{life}] {line}");
    }

    /// Says that a promise was broken. The first time counts.
    pub(crate) fn fail(&self, what: impl std::fmt::Display) {
        self.note(format_args!("BROKEN: {what}"));
        self.state().failure.get_or_insert_with(|| what.to_string());
    }

    /// Fails where `outcome` says so.
    pub(crate) fn check<T>(&self, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|what| self.fail(what)).ok()
    }

    pub(crate) fn is_healing(&self) -> bool {
        self.state().phase == Phase::Healing
    }

    pub(crate) fn mood(&self, trigger: &'static str) -> Mood {
        self.state().moods.get(trigger).copied().unwrap_or(Mood::Fine)
    }

    pub(crate) fn weather(&self) -> Weather {
        self.state().weather
    }

    /// One from afar is done.
    pub(crate) fn leave(&self) {
        self.state().remotes -= 1;
    }

    /// Whether everybody else is done, and everything that is known to be in the topic of orders was settled.
    pub(crate) fn has_settled(&self, settled: &BTreeMap<u64, String>) -> bool {
        let state = self.state();
        let is_settled = |sent: &Sent| {
            sent.topic != ORDERS || sent.offset.is_none_or(|offset| settled.contains_key(&offset))
        };
        state.phase == Phase::Healing
            && state.remotes == 1
            && state.ledger.all().all(|(_, sent)| is_settled(sent))
    }

    pub(crate) fn order(&self, order: Order) {
        self.state().orders.push_back(order);
        self.ordered.notify_one();
    }
}
