//! Which instance runs which invocation: the pure part of the host. No process, no socket, no clock of its own.
//!
//! It promises: an instance has one invocation at a time; the one that was used last is used next, so that others grow idle;
//! invocations wait in order; processes are never more than `max_instances`, those that are being stopped included; after
//! failed starts the next one waits longer each time, and is made alone.
//!
//! Whoever calls it performs what it leaves in `begun` and `wakes_keeper`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::{RunError, StartError, ThrottleReason};
use super::instance::Running;
use super::logs::Names;
use super::{Finished, FunctionOptions, Work};

/// Invocations that may wait for an instance, and their payloads: far more than triggers have under way at once.
const WAITING_MAX: usize = 10_000;
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How soon a runtime asks for the next invocation after it answered. Waiting for it is faster than a start; one that takes
/// longer is counted as busy.
const RETURN_GRACE: Duration = Duration::from_millis(50);
const HOLD_FIRST: Duration = Duration::from_millis(100);
const HOLD_MAX: Duration = Duration::from_secs(10);
/// How long an instance may be busy with itself after an answer, before it is taken to hang.
const RETURN_MAX: Duration = Duration::from_secs(30);

/// The instances of a function and who waits for them.
pub(super) struct Pool {
    limits: Limits,
    members: BTreeMap<u64, Member>,
    /// Free ones; the last was used last.
    idle: Vec<u64>,
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    next_member: u64,
    next_ticket: u64,
    failures: u32,
    held_until: Option<Instant>,
    last_failure: Option<StartFailure>,
    starts: u64,
    planned: Option<Instant>,
    is_closed: bool,
    /// Members that were added: their processes are to be started.
    pub(super) begun: Vec<u64>,
    /// Something is due before the keeper thinks.
    pub(super) wakes_keeper: bool,
}

struct Limits {
    min: usize,
    max: usize,
    timeout: Duration,
    init_timeout: Duration,
    idle_timeout: Duration,
}

/// Why a start failed, and what the process wrote before.
#[derive(Clone)]
pub(super) struct StartFailure {
    pub(super) error: Arc<StartError>,
    pub(super) log: String,
}

pub(super) struct Member {
    phase: Phase,
    /// Started to be kept, not for an invocation.
    pub(super) is_kept_warm: bool,
    begun_at: Instant,
    /// How long its init took, until an invocation was told.
    init: Option<Duration>,
    has_answered: bool,
    running: Option<Arc<Running>>,
}

enum Phase {
    Starting,
    Idle { next: oneshot::Sender<Work>, since: Instant },
    Busy(Current),
    Returning { since: Instant },
    Stopping,
}

/// The invocation that an instance runs.
pub(super) struct Current {
    pub(super) names: Arc<Names>,
    pub(super) answer: oneshot::Sender<Finished>,
    pub(super) handed_at: Instant,
    pub(super) deadline: Instant,
    pub(super) init: Option<Duration>,
    /// Its answer broke off.
    is_truncated: bool,
}

/// An invocation that no instance has yet.
pub(super) struct Waiting {
    ticket: u64,
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Finished>,
}

pub(super) enum Admission {
    Handed,
    Queued(u64),
    Refused { error: RunError, log: String },
}

pub(super) enum Next {
    Work(Work),
    Wait(oneshot::Receiver<Work>),
    /// It had no right to ask. Where it was under way with an invocation, that has failed.
    Broken(Option<Current>),
    /// It is being stopped, and asks before it has noticed.
    Over,
}

/// What the passing of time has brought.
#[derive(Default)]
pub(super) struct Due {
    /// Invocations whose time is over (or whose answer broke off), with the instances that had them.
    pub(super) timed_out: Vec<(Arc<Running>, Current, bool)>,
    /// Instances that have to end.
    pub(super) stopped: Vec<Arc<Running>>,
    /// Instances whose init took too long.
    pub(super) init_timed_out: Vec<(u64, Option<Arc<Running>>)>,
    pub(super) next: Option<Instant>,
}

/// How an instance was when its process ended.
pub(super) enum Ended {
    Starting,
    Busy(Current),
    /// It ended by itself without ever having answered.
    Unused,
    Other,
}

/// A function's instances at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionStatus {
    /// Processes, in whatever state.
    pub instances: usize,
    /// Those that are starting.
    pub starting: usize,
    /// Those with an invocation.
    pub busy: usize,
    /// Those that wait for one.
    pub warm: usize,
    /// Invocations that wait for an instance.
    pub waiting: usize,
    /// Processes that were started in all.
    pub starts: u64,
    /// Starts that failed in a row, up to now.
    pub failed_starts: u32,
    /// Why the last failed start failed; kept until an instance answers.
    pub last_start_error: Option<String>,
}

impl Pool {
    pub(super) fn new(options: &FunctionOptions) -> Self {
        let max = options.max_instances.max(1);
        let limits = Limits {
            min: options.min_instances.min(max),
            max,
            timeout: Duration::from_millis(options.timeout_ms),
            init_timeout: Duration::from_millis(options.init_timeout_ms),
            idle_timeout: Duration::from_millis(options.idle_timeout_ms),
        };
        Self {
            limits,
            members: BTreeMap::new(),
            idle: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            next_member: 1,
            next_ticket: 1,
            failures: 0,
            held_until: None,
            last_failure: None,
            starts: 0,
            planned: None,
            is_closed: false,
            begun: Vec::new(),
            wakes_keeper: false,
        }
    }

    /// Hands the work to an instance, or lets it wait for one.
    pub(super) fn admit(
        &mut self,
        work: Work,
        waits: bool,
        answer: oneshot::Sender<Finished>,
        now: Instant,
    ) -> Admission {
        if self.is_closed {
            return Admission::Refused { error: RunError::Stopped, log: String::new() };
        }
        if work.deadline <= now {
            return Admission::Refused { error: ThrottleReason::Deadline.into(), log: String::new() };
        }
        let mut waiting = Waiting { ticket: 0, work, answer };
        while let Some(id) = self.idle.pop() {
            match self.hand_to_idle(id, waiting, now) {
                None => return Admission::Handed,
                Some(back) => waiting = back,
            }
        }
        if let Some(failure) = self.last_failure.as_ref().filter(|_| self.is_held(now) && self.is_hopeless())
        {
            let error = RunError::Start(Arc::clone(&failure.error));
            return Admission::Refused { error, log: failure.log.clone() };
        }
        if !waits && self.busy() + self.queue.len() >= self.limits.max {
            return Admission::Refused { error: ThrottleReason::Busy.into(), log: String::new() };
        }
        let bytes = self.queued_bytes + waiting.work.payload.len();
        if self.queue.len() >= WAITING_MAX || (bytes > WAITING_BYTES_MAX && !self.queue.is_empty()) {
            return Admission::Refused { error: ThrottleReason::QueueFull.into(), log: String::new() };
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queued_bytes = bytes;
        self.queue.push_back(Waiting { ticket, ..waiting });
        self.begin(now);
        Admission::Queued(ticket)
    }

    fn busy(&self) -> usize {
        self.members.values().filter(|member| matches!(member.phase, Phase::Busy(_))).count()
    }

    /// Gives the work back where the instance has gone away meanwhile.
    fn hand_to_idle(&mut self, id: u64, waiting: Waiting, now: Instant) -> Option<Waiting> {
        let Some(member) = self.members.get_mut(&id) else { return Some(waiting) };
        let Phase::Idle { next, .. } = std::mem::replace(&mut member.phase, Phase::Returning { since: now })
        else {
            unreachable!("only idle instances are in the stack of idle ones");
        };
        let Waiting { ticket, work, answer } = waiting;
        let names = Arc::clone(&work.names);
        let call_deadline = work.deadline;
        let (deadline, work) = with_deadline(work, now + self.limits.timeout);
        if let Err(work) = next.send(work) {
            return Some(Waiting { ticket, work: Work { deadline: call_deadline, ..work }, answer });
        }
        let init = member.init.take();
        member.phase =
            Phase::Busy(Current { names, answer, handed_at: now, deadline, init, is_truncated: false });
        self.due_at(deadline);
        None
    }

    /// Takes an invocation out of the queue. `false` where it is there no more.
    pub(super) fn withdraw(&mut self, ticket: u64) -> bool {
        let Ok(index) = self.queue.binary_search_by_key(&ticket, |waiting| waiting.ticket) else {
            return false;
        };
        let withdrawn = self.queue.remove(index);
        self.queued_bytes -= withdrawn.map_or(0, |waiting| waiting.work.payload.len());
        true
    }

    /// The first one that still waits. Handing out what has no time left would cost an instance for nothing.
    fn pop_waiting(&mut self, now: Instant) -> Option<Waiting> {
        while let Some(waiting) = self.queue.pop_front() {
            self.queued_bytes -= waiting.work.payload.len();
            if waiting.answer.is_closed() {
                continue;
            }
            if now < waiting.work.deadline {
                return Some(waiting);
            }
            waiting.answer.send(Finished::unrun(ThrottleReason::Deadline.into(), String::new())).ok();
        }
        None
    }

    /// An instance asks for an invocation.
    pub(super) fn next(&mut self, id: u64, now: Instant) -> Next {
        let Some(member) = self.members.get_mut(&id) else { return Next::Over };
        match &member.phase {
            Phase::Starting => {
                let took = now.saturating_duration_since(member.begun_at);
                member.init = (!member.is_kept_warm).then_some(took);
                self.held_until = None;
            }
            Phase::Returning { .. } => {}
            // Its connection broke, and it asks again.
            Phase::Idle { next, .. } if next.is_closed() => self.idle.retain(|&idle| idle != id),
            Phase::Idle { .. } | Phase::Busy(_) => return Next::Broken(self.expel(id)),
            Phase::Stopping => return Next::Over,
        }
        let waiting = self.pop_waiting(now);
        let Some(member) = self.members.get_mut(&id) else { return Next::Over };
        if let Some(Waiting { work, answer, .. }) = waiting {
            let names = Arc::clone(&work.names);
            let (deadline, work) = with_deadline(work, now + self.limits.timeout);
            let init = member.init.take();
            let current = Current { names, answer, handed_at: now, deadline, init, is_truncated: false };
            member.phase = Phase::Busy(current);
            self.due_at(deadline);
            return Next::Work(work);
        }
        let (next, work) = oneshot::channel();
        member.phase = Phase::Idle { next, since: now };
        self.idle.push(id);
        self.due_at(now + self.limits.idle_timeout);
        Next::Wait(work)
    }

    /// Whether the instance runs this invocation.
    pub(super) fn is_running(&self, id: u64, request_id: &str) -> bool {
        let phase = self.members.get(&id).map(|member| &member.phase);
        matches!(phase, Some(Phase::Busy(current)) if current.names.request_id == request_id)
    }

    /// Whether the instance may answer at all: it has an invocation, or had one a moment ago.
    pub(super) fn may_answer(&self, id: u64) -> bool {
        let phase = self.members.get(&id).map(|member| &member.phase);
        matches!(phase, Some(Phase::Busy(_) | Phase::Returning { .. } | Phase::Stopping))
    }

    /// The instance has answered. `None` where it does not run this invocation any more.
    pub(super) fn finish(&mut self, id: u64, request_id: &str, now: Instant) -> Option<Current> {
        if !self.is_running(id, request_id) {
            return None;
        }
        let member = self.members.get_mut(&id)?;
        let Phase::Busy(current) = std::mem::replace(&mut member.phase, Phase::Returning { since: now })
        else {
            return None;
        };
        member.has_answered = true;
        self.failures = 0;
        self.last_failure = None;
        Some(current)
    }

    /// The answer broke off. Where the process ends, that tells more: it is given a moment for it.
    pub(super) fn truncated(&mut self, id: u64, request_id: &str, until: Instant) {
        let Some(Member { phase: Phase::Busy(current), .. }) = self.members.get_mut(&id) else { return };
        if current.names.request_id == request_id {
            current.is_truncated = true;
            current.deadline = current.deadline.min(until);
            self.due_at(until);
        }
    }

    /// Makes the instance end. Its invocation has failed.
    pub(super) fn expel(&mut self, id: u64) -> Option<Current> {
        let member = self.members.get_mut(&id)?;
        let phase = std::mem::replace(&mut member.phase, Phase::Stopping);
        if let Some(running) = &member.running {
            running.stop();
        }
        self.idle.retain(|&idle| idle != id);
        match phase {
            Phase::Busy(current) => Some(current),
            _ => None,
        }
    }

    /// The process was started. `false` where it has to end at once.
    pub(super) fn launched(&mut self, id: u64, running: &Arc<Running>) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        member.running = Some(Arc::clone(running));
        !matches!(member.phase, Phase::Stopping)
    }

    pub(super) fn is_starting(&self, id: u64) -> bool {
        matches!(self.members.get(&id), Some(Member { phase: Phase::Starting, .. }))
    }

    /// Whether it has answered an invocation, and so can be taken to work.
    pub(super) fn has_answered(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.has_answered)
    }

    pub(super) fn is_kept_warm(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.is_kept_warm)
    }

    /// A start failed: the next one waits, and who waits in vain is told.
    pub(super) fn start_failed(&mut self, id: u64, failure: StartFailure, now: Instant) {
        self.expel(id);
        self.failures = self.failures.saturating_add(1);
        let hold = HOLD_FIRST.saturating_mul(1 << (self.failures - 1).min(10)).min(HOLD_MAX);
        self.held_until = Some(now + hold);
        self.due_at(now + hold);
        if self.is_hopeless() {
            while let Some(waiting) = self.pop_waiting(now) {
                let error = RunError::Start(Arc::clone(&failure.error));
                waiting.answer.send(Finished::unrun(error, failure.log.clone())).ok();
            }
        }
        self.last_failure = Some(failure);
    }

    /// The process has ended and is gone.
    pub(super) fn ended(&mut self, id: u64) -> Ended {
        self.idle.retain(|&idle| idle != id);
        let Some(member) = self.members.get_mut(&id) else { return Ended::Other };
        match std::mem::replace(&mut member.phase, Phase::Stopping) {
            Phase::Starting => Ended::Starting,
            Phase::Busy(current) => Ended::Busy(current),
            Phase::Idle { .. } | Phase::Returning { .. } if !member.has_answered => Ended::Unused,
            _ => Ended::Other,
        }
    }

    /// Nothing is left of it: another one may take its place.
    pub(super) fn remove(&mut self, id: u64, now: Instant) {
        self.members.remove(&id);
        self.begin(now);
    }

    /// Adds members where there are too few for who waits, or fewer than are kept.
    fn begin(&mut self, now: Instant) {
        let room = self.limits.max.saturating_sub(self.members.len());
        if self.is_closed || room == 0 || self.is_held(now) {
            return;
        }
        let (mut coming, mut live, mut grace_ends) = (0, 0, None);
        for member in self.members.values() {
            live += usize::from(!matches!(member.phase, Phase::Stopping));
            match member.phase {
                Phase::Starting => coming += 1,
                Phase::Returning { since } if now < since + RETURN_GRACE => {
                    coming += 1;
                    let end = since + RETURN_GRACE;
                    grace_ends = Some(grace_ends.map_or(end, |earliest: Instant| earliest.min(end)));
                }
                _ => {}
            }
        }
        let needed = self.queue.len().saturating_sub(coming);
        let kept = self.limits.min.saturating_sub(live);
        // After a failed start one alone is tried.
        let at_once = if self.failures == 0 { room } else { usize::from(coming == 0) };
        let count = needed.max(kept).min(room).min(at_once);
        for index in 0..count {
            self.add(index >= needed, now);
        }
        if let Some(end) = grace_ends.filter(|_| !self.queue.is_empty()) {
            self.due_at(end);
        }
    }

    fn add(&mut self, is_kept_warm: bool, now: Instant) {
        let id = self.next_member;
        self.next_member += 1;
        self.starts += 1;
        let member = Member {
            phase: Phase::Starting,
            is_kept_warm,
            begun_at: now,
            init: None,
            has_answered: false,
            running: None,
        };
        self.members.insert(id, member);
        self.begun.push(id);
        self.due_at(now + self.limits.init_timeout);
    }

    /// Sees to all that is due, and tells what is next.
    pub(super) fn tick(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            let Some(member) = self.members.get(&id) else { continue };
            let running = member.running.clone();
            match &member.phase {
                Phase::Starting if now >= member.begun_at + self.limits.init_timeout => {
                    due.init_timed_out.push((id, running));
                }
                Phase::Busy(current) if now >= current.deadline => {
                    let is_truncated = current.is_truncated;
                    let current = self.expel(id);
                    due.timed_out.extend(running.zip(current).map(|(a, b)| (a, b, is_truncated)));
                }
                Phase::Returning { since } if now >= *since + RETURN_MAX => {
                    self.expel(id);
                    due.stopped.extend(running);
                }
                _ => {}
            }
        }
        self.stop_idle(now, &mut due);
        self.begin(now);
        self.plan(now);
        due.next = self.planned;
        due
    }

    fn stop_idle(&mut self, now: Instant, due: &mut Due) {
        let mut live = self.live();
        while live > self.limits.min
            && let Some(&id) = self.idle.first()
            && let Some(Member { phase: Phase::Idle { since, .. }, running, .. }) = self.members.get(&id)
            && now >= *since + self.limits.idle_timeout
        {
            due.stopped.extend(running.clone());
            self.expel(id);
            live -= 1;
        }
    }

    fn plan(&mut self, now: Instant) {
        let mut next = self.held_until.filter(|&until| until > now);
        let mut at = |moment: Instant| {
            next = Some(next.map_or(moment, |earliest| earliest.min(moment)));
        };
        for member in self.members.values() {
            match &member.phase {
                Phase::Starting => at(member.begun_at + self.limits.init_timeout),
                Phase::Busy(current) => at(current.deadline),
                Phase::Returning { since } if now < *since + RETURN_GRACE && !self.queue.is_empty() => {
                    at(*since + RETURN_GRACE);
                }
                Phase::Returning { since } => at(*since + RETURN_MAX),
                Phase::Idle { .. } | Phase::Stopping => {}
            }
        }
        if self.live() > self.limits.min
            && let Some(Member { phase: Phase::Idle { since, .. }, .. }) =
                self.idle.first().and_then(|id| self.members.get(id))
        {
            at(*since + self.limits.idle_timeout);
        }
        self.planned = next;
    }

    fn due_at(&mut self, moment: Instant) {
        if self.planned.is_none_or(|planned| moment < planned) {
            self.planned = Some(moment);
            self.wakes_keeper = true;
        }
    }

    fn live(&self) -> usize {
        self.members.values().filter(|member| !matches!(member.phase, Phase::Stopping)).count()
    }

    /// Whether no instance is there or coming that could take who waits.
    fn is_hopeless(&self) -> bool {
        self.live() == 0
    }

    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Lets nobody in any more: who waits is sent away, and all instances have to end. Gives back what they had under way.
    pub(super) fn close(&mut self, now: Instant) -> Vec<(Arc<Running>, Current)> {
        self.is_closed = true;
        while let Some(waiting) = self.pop_waiting(now) {
            waiting.answer.send(Finished::unrun(RunError::Stopped, String::new())).ok();
        }
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let mut under_way = Vec::new();
        for id in ids {
            let running = self.members.get(&id).and_then(|member| member.running.clone());
            under_way.extend(running.zip(self.expel(id)));
        }
        self.wakes_keeper = true;
        under_way
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_closed && self.members.is_empty()
    }

    pub(super) fn status(&self) -> FunctionStatus {
        let count =
            |wanted: fn(&Phase) -> bool| self.members.values().filter(|member| wanted(&member.phase)).count();
        FunctionStatus {
            instances: self.members.len(),
            starting: count(|phase| matches!(phase, Phase::Starting)),
            busy: count(|phase| matches!(phase, Phase::Busy(_))),
            warm: count(|phase| matches!(phase, Phase::Idle { .. })),
            waiting: self.queue.len(),
            starts: self.starts,
            failed_starts: self.failures,
            last_start_error: self
                .last_failure
                .as_ref()
                .map(|failure| RunError::Start(Arc::clone(&failure.error)).to_string()),
        }
    }
}

/// The earlier of the call's own deadline and the function's.
fn with_deadline(work: Work, latest: Instant) -> (Instant, Work) {
    let deadline = work.deadline.min(latest);
    (deadline, Work { deadline, ..work })
}
