//! Schedules at work: a task for each sleeps until its next run, sends the run's event and notes that it was made.
//!
//! The event is durable first, and only then is the run noted: a crash between repeats the run, with the same event id, which the topic
//! recognises. What is noted is a record of an internal log, the last of each schedule counts, and now and then all are
//! written anew so that what lies before can go. A run that cannot be sent is tried again until it can; it delays the runs of
//! its own schedule and of no other.
//!
//! A schedule that names a trigger sends into the topic `schedules`, of which the trigger has a lane of its own: what is
//! delivered there is retried, dead-lettered and counted like everything else that the trigger does.
//!
//! When something is due is decided in `eventail_triggers::schedule`, not here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use eventail_storage::log::{Log, NewRecord, ReadLimit, read_what_is_left};
use eventail_triggers::schedule::{Memory, Run, Runner, Step};
use eventail_wire::{ScheduleName, Timestamp, TopicName, limits};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Broker, BrokerError, Core};
use crate::config::{SCHEDULES_TOPIC, Schedule, ScheduleTo};
use crate::panics::contained;
use crate::status::ScheduleStatus;

/// The name of the internal log.
pub(crate) const SCHEDULES_LOG: &str = "_schedules";
/// The longest sleep: sleeping goes by a clock that nobody sets, so one that is set is noticed after this.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The wait before a run that could not be sent is tried again, doubled each time up to [`LOOK_EVERY`].
const RETRY_INITIAL: Duration = Duration::from_secs(1);
/// Bytes after which everything is written again; twice the last such writing if that is more.
const REWRITE_EVERY_BYTES: u64 = 1 << 20;
/// Records that one append takes.
const APPEND_RECORDS: usize = 1_000;

/// All schedules.
pub(crate) struct Schedules {
    log: Arc<dyn Log>,
    /// Those of the configuration.
    slots: Mutex<BTreeMap<ScheduleName, Arc<Slot>>>,
    /// What the log has of each.
    noted: Mutex<BTreeMap<ScheduleName, Memory>>,
    /// Held by whoever writes.
    written: tokio::sync::Mutex<Written>,
}

/// One schedule.
struct Slot {
    name: ScheduleName,
    state: Mutex<State>,
    /// Rung when another schedule has taken its place, or none.
    changed: Notify,
}

struct State {
    schedule: Arc<Schedule>,
    runner: Runner,
    /// Why the run that is due could not be sent, and how often in a row.
    failure: Option<(String, u32)>,
    is_gone: bool,
}

#[derive(Default)]
struct Written {
    /// Bytes since everything was written.
    bytes: u64,
    /// Bytes of that.
    whole_bytes: u64,
}

/// A record of the log. Without a memory it says that the schedule is gone.
#[derive(Serialize, Deserialize)]
struct Record {
    name: ScheduleName,
    memory: Option<Memory>,
}

/// What a schedule does next.
enum Next {
    /// It sleeps for so long, unless it is changed.
    Sleep(Duration),
    /// It ends.
    End,
}

impl Schedules {
    /// Reads back what was noted.
    pub(crate) async fn open(log: Arc<dyn Log>) -> Result<Self, BrokerError> {
        let noted = replay(log.as_ref()).await?;
        Ok(Self {
            log,
            slots: Mutex::default(),
            noted: Mutex::new(noted),
            written: tokio::sync::Mutex::default(),
        })
    }

    /// The schedules as they are now.
    fn all(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().cloned().collect()
    }

    /// Notes what must be kept of these schedules; nothing is told apart from a schedule that is gone.
    async fn note(&self, records: Vec<Record>) -> Result<(), BrokerError> {
        let mut written = self.written.lock().await;
        let bytes = self.append(&records).await?;
        written.bytes += bytes;
        {
            let mut noted = lock(&self.noted);
            for Record { name, memory } in records {
                match memory {
                    Some(memory) => drop(noted.insert(name, memory)),
                    None => drop(noted.remove(&name)),
                }
            }
        }
        if written.bytes > REWRITE_EVERY_BYTES.max(2 * written.whole_bytes) {
            self.write_whole(&mut written).await?;
        }
        Ok(())
    }

    /// Writes everything again and lets go of what was written before. A crash between leaves some twice, which are the same.
    async fn write_whole(&self, written: &mut Written) -> Result<(), BrokerError> {
        let begin = *self.log.durable_end().borrow();
        let noted = lock(&self.noted).clone();
        let records: Vec<_> =
            noted.into_iter().map(|(name, memory)| Record { name, memory: Some(memory) }).collect();
        *written = Written { bytes: 0, whole_bytes: self.append(&records).await? };
        self.log.trim(begin).await.map(drop).map_err(append_failed)
    }

    /// Appends these and answers how many bytes they took.
    async fn append(&self, records: &[Record]) -> Result<u64, BrokerError> {
        let mut bytes = 0;
        for part in records.chunks(APPEND_RECORDS) {
            let part: Vec<_> = part.iter().map(encode).collect();
            bytes += part.iter().map(|record| record.payload.len() as u64).sum::<u64>();
            self.log.append(part).await.map_err(append_failed)?;
        }
        Ok(bytes)
    }
}

impl Core {
    /// Takes these schedules in place of those that there are. One that stays keeps its state by its name; where its timetable is
    /// another one it begins anew. One that is gone is forgotten, and nothing of it is made up for if it comes back.
    ///
    /// # Errors
    /// Where what began or is gone cannot be noted. The schedules run all the same.
    pub(crate) async fn replace_schedules(
        self: &Arc<Self>,
        schedules: &BTreeMap<ScheduleName, Schedule>,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let noted = lock(&self.schedules.noted).clone();
        let mut records = Vec::new();
        let mut begun = Vec::new();
        {
            let mut slots = lock(&self.schedules.slots);
            slots.retain(|name, slot| {
                let stays = schedules.contains_key(name);
                if !stays {
                    slot.state().is_gone = true;
                    slot.changed.notify_one();
                }
                stays
            });
            for name in noted.keys().filter(|name| !schedules.contains_key(*name)) {
                records.push(Record { name: name.clone(), memory: None });
            }
            for (name, schedule) in schedules {
                if let Some(slot) = slots.get(name) {
                    slot.exchange(schedule, now);
                } else {
                    let slot = Arc::new(self.slot(name, schedule, noted.get(name), now));
                    slots.insert(name.clone(), Arc::clone(&slot));
                    begun.push(slot);
                }
                let memory = slots.get(name).map(|slot| slot.state().runner.memory().clone());
                if memory.as_ref() != noted.get(name) {
                    records.push(Record { name: name.clone(), memory });
                }
            }
        }
        let is_noted = self.schedules.note(records).await;
        for slot in begun {
            let (core, stop) = (Arc::downgrade(self), self.stop.subscribe());
            let make = move || keep(Weak::clone(&core), Arc::clone(&slot), stop.clone());
            self.tasks.spawn_lane_again("schedule", make);
        }
        is_noted
    }

    fn slot(&self, name: &ScheduleName, schedule: &Schedule, noted: Option<&Memory>, now: Timestamp) -> Slot {
        let options = schedule.runs.clone();
        let runner = match noted {
            Some(memory) => Runner::resume(options, memory.clone(), now),
            None => Runner::new(options, now, self.next_seed()),
        };
        if runner.next_runs(now, 1).is_empty() && schedule.runs.enabled {
            tracing::warn!(schedule = %name, expression = %schedule.runs.timetable.expression, "the schedule has no run to come");
        }
        let state = State { schedule: Arc::new(schedule.clone()), runner, failure: None, is_gone: false };
        Slot { name: name.clone(), state: Mutex::new(state), changed: Notify::new() }
    }

    /// Does what is to be done now.
    async fn work(self: &Arc<Self>, slot: &Slot) -> Next {
        loop {
            let now = self.clock.now();
            let (step, schedule) = {
                let mut state = slot.state();
                if state.is_gone {
                    return Next::End;
                }
                (state.runner.step(now), Arc::clone(&state.schedule))
            };
            let name = &slot.name;
            match step {
                Step::Run(run) => {
                    if let Err(error) = self.make(slot, &schedule, run).await {
                        return slot.failed(&error, run);
                    }
                }
                Step::Skipped(skipped) => {
                    let (count, first, last) = (skipped.count, skipped.first, skipped.last);
                    tracing::warn!(schedule = %name, count, %first, %last, "runs were missed and are left out");
                }
                Step::SetBack { from } => {
                    tracing::warn!(schedule = %name, %from, to = %now, "the clock was set back; the schedule goes on from now");
                }
                Step::Busy => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Step::Wait(until) => {
                    let wait = until.map_or(LOOK_EVERY, |until| Duration::from_millis(until.since_ms(now)));
                    return Next::Sleep(wait.min(LOOK_EVERY));
                }
            }
            let memory = Some(slot.state().runner.memory().clone());
            if let Err(error) = self.schedules.note(vec![Record { name: name.clone(), memory }]).await {
                tracing::warn!(schedule = %name, %error, "what a schedule did was not noted; a restart may repeat it");
            }
        }
    }

    /// Sends the event of a run.
    async fn make(self: &Arc<Self>, slot: &Slot, schedule: &Schedule, run: Run) -> Result<(), BrokerError> {
        let event = schedule.event(&slot.name, run.scheduled)?;
        let topic = match &schedule.to {
            ScheduleTo::Topic(topic) => topic.clone(),
            ScheduleTo::Trigger(trigger) => {
                self.scheduled_lane(trigger).await?;
                TopicName::new(SCHEDULES_TOPIC)?
            }
        };
        // The configuration names it: that is enough for it to be.
        self.topic_or_create(&topic).await?;
        let id = event.id().to_owned();
        let broker = Broker { core: Arc::clone(self) };
        let published = broker.publish_trusted(&topic, vec![event]).await?;
        let place = published.first();
        tracing::info!(schedule = %slot.name, id, topic = %topic, ?place, missed = run.missed, "scheduled run made");
        let mut state = slot.state();
        state.failure = None;
        state.runner.ran(run, self.clock.now());
        Ok(())
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes another schedule under the same name.
    fn exchange(&self, schedule: &Schedule, now: Timestamp) {
        let mut state = self.state();
        if *state.schedule == *schedule {
            return;
        }
        if state.schedule.runs != schedule.runs {
            state.runner = Runner::resume(schedule.runs.clone(), state.runner.memory().clone(), now);
        }
        state.schedule = Arc::new(schedule.clone());
        state.failure = None;
        self.changed.notify_one();
    }

    /// Says why a run could not be sent, once for each reason.
    fn failed(&self, error: &BrokerError, run: Run) -> Next {
        if matches!(error, BrokerError::ShuttingDown) {
            return Next::End;
        }
        let mut state = self.state();
        let reason = error.to_string();
        let times = match &state.failure {
            Some((before, times)) if *before == reason => times.saturating_add(1),
            _ => {
                tracing::warn!(schedule = %self.name, scheduled = %run.scheduled, %error, "a scheduled run could not be sent; it is tried again");
                0
            }
        };
        state.failure = Some((reason, times));
        Next::Sleep((RETRY_INITIAL * 2_u32.saturating_pow(times.min(10))).min(LOOK_EVERY))
    }

    fn status(&self, now: Timestamp) -> ScheduleStatus {
        let state = self.state();
        let problem = state.failure.as_ref().map(|(reason, _)| reason.clone());
        ScheduleStatus { problem, ..ScheduleStatus::of(&self.name, &state.schedule, &state.runner, now) }
    }
}

/// Lets one schedule run until it is gone or the broker stops.
async fn keep(core: Weak<Core>, slot: Arc<Slot>, mut stop: tokio::sync::watch::Receiver<bool>) {
    loop {
        let Some(core) = core.upgrade() else { return };
        let next = contained(core.work(&slot)).await;
        drop(core);
        let time = match next {
            Ok(Next::Sleep(time)) => time,
            Ok(Next::End) => return,
            Err(error) => {
                // The listing shows it until a run is sent again.
                slot.state().failure = Some((error.to_string(), 0));
                LOOK_EVERY
            }
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(time) => {}
            () = slot.changed.notified() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

impl Broker {
    /// All schedules, by name.
    #[must_use]
    pub fn schedules(&self) -> Vec<ScheduleStatus> {
        let now = self.core.clock.now();
        self.core.schedules.all().iter().map(|slot| slot.status(now)).collect()
    }

    /// One schedule.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn schedule(&self, name: &ScheduleName) -> Result<ScheduleStatus, BrokerError> {
        let slot = lock(&self.core.schedules.slots).get(name).cloned();
        let slot = slot.ok_or_else(|| BrokerError::UnknownSchedule(name.clone()))?;
        Ok(slot.status(self.core.clock.now()))
    }
}

impl ScheduleStatus {
    /// A schedule as its runner has it.
    #[must_use]
    pub fn of(name: &ScheduleName, schedule: &Schedule, runner: &Runner, now: Timestamp) -> Self {
        let timetable = &schedule.runs.timetable;
        let (topic, trigger) = match &schedule.to {
            ScheduleTo::Topic(topic) => (Some(topic.clone()), None),
            ScheduleTo::Trigger(trigger) => (None, Some(trigger.clone())),
        };
        let memory = runner.memory();
        Self {
            name: name.clone(),
            expression: timetable.expression.to_string(),
            timezone: timetable.zone.name().to_owned(),
            start: timetable.start,
            end: timetable.end,
            jitter_ms: schedule.runs.jitter_ms,
            enabled: schedule.runs.enabled,
            topic,
            trigger,
            next_runs: runner.next_runs(now, limits::SCHEDULE_RUNS_SHOWN),
            last_run: memory.last_run().map(|(scheduled, _)| scheduled),
            last_run_at: memory.last_run().map(|(_, at)| at),
            runs: memory.runs(),
            made_up: memory.made_up(),
            skipped: memory.skipped(),
            problem: None,
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(record: &Record) -> NewRecord {
    let payload = rmp_serde::to_vec(record).expect("plain data always encodes into memory");
    NewRecord { payload: Bytes::from(payload), fingerprint: None }
}

fn append_failed(source: eventail_storage::log::AppendError) -> BrokerError {
    BrokerError::Append { log: SCHEDULES_LOG.to_owned(), source }
}

async fn replay(log: &dyn Log) -> Result<BTreeMap<ScheduleName, Memory>, BrokerError> {
    let read_failed = |source| BrokerError::Read { log: SCHEDULES_LOG.to_owned(), source };
    let mut noted = BTreeMap::new();
    let mut from = log.status().range.start;
    loop {
        let limit = ReadLimit { records: 4096, bytes: 4 << 20 };
        let records = read_what_is_left(log, from, limit).await.map_err(read_failed)?;
        let Some(last) = records.last() else { return Ok(noted) };
        from = last.offset.plus(1);
        for record in &records {
            match rmp_serde::from_slice::<Record>(&record.payload) {
                Ok(Record { name, memory: Some(memory) }) => drop(noted.insert(name, memory)),
                Ok(Record { name, memory: None }) => drop(noted.remove(&name)),
                // Begun anew a schedule still runs; a broker that does not start runs none.
                Err(error) => {
                    tracing::warn!(offset = %record.offset, %error, "a note of a schedule cannot be read and is passed over");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
