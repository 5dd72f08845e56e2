//! Runs one seed: steps the simulation, lets things go wrong as planned, heals them, and waits for the audit.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore};
use turmoil::{Builder, Sim};

use crate::network::Weather;
use crate::node::{self, Targets};
use crate::plan::{Fault, Mood, Plan, dice};
use crate::remote;
use crate::setup::SCRIPTS;
use crate::world::{Order, Phase, World};

/// The host of the broker.
pub(crate) const BROKER: &str = "broker";
/// How long one simulation may take at most, in its own time.
const MOST_MS: u64 = 3_600_000;
/// How long a host is down whose broker could not start.
const PAUSE_MS: u64 = 300;

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<String>,
    pub(crate) trace: String,
}

/// What goes away again.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Room,
    Pace,
    Mood(&'static str),
    Pause(&'static str),
    Weather,
}

/// Lets things go wrong.
struct Chaos {
    world: Arc<World>,
    dice: SmallRng,
    /// The next fault of the plan.
    next: usize,
    undos: Vec<(u64, Undo)>,
    /// When the host comes back.
    back_at: Option<u64>,
    /// How the process ends that dies at a call.
    doom: Option<(bool, u64)>,
    /// What happens while the host is down after an orderly end.
    between: Option<(bool, bool, u64)>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let world = World::new(Plan::of(seed));
    world.note(format_args!("{:?}", world.plan));
    let mut sim = Builder::new()
        .tick_duration(Duration::from_millis(world.plan.tick_ms))
        .simulation_duration(Duration::from_millis(MOST_MS * 2))
        .rng_seed(seed)
        .build();
    let targets = Targets::new(&world);
    let host = Arc::clone(&world);
    sim.host(BROKER, move || {
        let (world, targets) = (Arc::clone(&host), targets.clone());
        async move {
            node::live(world, targets).await;
            Ok(())
        }
    });
    for number in 1..world.plan.remotes {
        let world = Arc::clone(&world);
        sim.client(format!("remote-{number}"), async move {
            remote::publish(world, number).await;
            Ok(())
        });
    }
    if world.plan.remotes > 0 {
        let world = Arc::clone(&world);
        sim.client(remote::SUBSCRIPTION, async move {
            remote::subscribe(world).await;
            Ok(())
        });
    }
    let mut chaos = Chaos {
        dice: dice(seed, "chaos"),
        world: Arc::clone(&world),
        next: 0,
        undos: Vec::new(),
        back_at: None,
        doom: None,
        between: None,
    };
    loop {
        if let Err(error) = sim.step() {
            world.fail(format_args!("the simulation ended: {error}"));
        }
        let now_ms = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        chaos.turn(&mut sim, now_ms);
        let state = world.state();
        if state.failure.is_some() || state.is_audited {
            break;
        }
        drop(state);
        if now_ms > MOST_MS {
            world.fail("it does not come to an end");
        }
    }
    chaos.world.state().broker = None;
    if let Some(process) = &chaos.world.state().process {
        process.die();
    }
    drop(sim);
    let mut state = world.state();
    Outcome { failure: state.failure.take(), trace: std::mem::take(&mut state.trace) }
}

impl Chaos {
    fn turn(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        if self.back_at.is_some_and(|at| at <= now_ms) {
            self.back_at = None;
            sim.bounce(BROKER);
        }
        self.look_after(sim, now_ms);
        self.undo(now_ms);
        while let Some((at, fault)) = self.world.plan.faults.get(self.next).copied()
            && at <= now_ms
        {
            self.next += 1;
            self.strike(sim, now_ms, fault);
        }
        let (phase, active_ms) = (self.world.state().phase, self.world.plan.active_ms);
        if phase == Phase::Active && now_ms >= active_ms {
            self.heal();
        }
    }

    /// Ends what died, and brings back what ended.
    fn look_after(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        let (is_dead, is_over, is_sick, is_stopping, is_at_rest) = {
            let state = self.world.state();
            let is_dead = state.process.as_ref().is_some_and(|process| process.is_dead());
            (is_dead, state.is_over, state.is_sick, state.stop, state.observed.is_some())
        };
        if self.back_at.is_some() {
            return;
        }
        if is_dead {
            let (is_power, down_ms) = self.doom.take().unwrap_or((false, PAUSE_MS));
            self.crash(sim, now_ms, is_power, down_ms);
        } else if is_over {
            let (cut, drop_index, down_ms) = self.between.take().unwrap_or((false, false, PAUSE_MS));
            // The next life has a process of its own.
            let ended = {
                let mut state = self.world.state();
                state.is_over = false;
                state.process.take()
            };
            ended.iter().for_each(|process| process.die());
            if cut {
                self.world.note("the power fails while the broker is down");
                self.world.disk.power_cut(self.dice.next_u64());
            }
            if drop_index {
                self.world.note("the index is deleted");
                self.world.state().index = Arc::default();
            }
            self.back_at = Some(now_ms + down_ms);
        } else if is_sick && !is_stopping {
            if self.dice.random_bool(0.5) {
                self.crash(sim, now_ms, false, PAUSE_MS);
            } else {
                self.stop(false, false, PAUSE_MS);
            }
        } else if is_at_rest && !is_stopping && !self.world.state().is_reopened {
            // Once more without the index: nothing may be different.
            self.world.state().is_reopened = true;
            self.stop(false, true, 0);
        }
    }

    fn stop(&mut self, cut: bool, drop_index: bool, down_ms: u64) {
        self.world.note("the broker is asked to stop");
        self.world.state().stop = true;
        self.between = Some((cut, drop_index, down_ms));
    }

    fn crash(&mut self, sim: &mut Sim<'_>, now_ms: u64, is_power: bool, down_ms: u64) {
        self.world.note(if is_power { "the power fails" } else { "the process is killed" });
        if let Some(process) = &self.world.state().process {
            process.die();
        }
        self.world.state().broker = None;
        sim.crash(BROKER);
        if is_power {
            self.world.disk.power_cut(self.dice.next_u64());
        } else {
            self.world.disk.process_kill();
        }
        let mut state = self.world.state();
        state.index = Arc::default();
        state.crashes += 1;
        if is_power {
            state.power_cuts += 1;
            state.last_cut_ms = now_ms;
        }
        (state.is_over, state.is_sick, state.stop, state.process) = (false, false, false, None);
        drop(state);
        (self.doom, self.between) = (None, None);
        self.back_at = Some(now_ms + down_ms);
    }

    fn strike(&mut self, sim: &mut Sim<'_>, now_ms: u64, fault: Fault) {
        if self.back_at.is_some() || self.world.state().process.is_none() {
            return;
        }
        self.world.note(format_args!("{fault:?}"));
        let world = Arc::clone(&self.world);
        match fault {
            Fault::Kill { down_ms } => self.crash(sim, now_ms, false, down_ms),
            Fault::PowerCut { down_ms } => self.crash(sim, now_ms, true, down_ms),
            Fault::DieAtCall { calls, is_power, down_ms } => {
                self.doom = Some((is_power, down_ms));
                if let Some(process) = &world.state().process {
                    process.die_in(calls);
                }
            }
            Fault::Restart { down_ms, cut, drop_index } => self.stop(cut, drop_index, down_ms),
            Fault::FailCall { calls } => {
                let fault = eventail_storage::disk_io::SimFault::InputOutput;
                world.disk.fail_call(world.disk.calls() + calls, fault);
            }
            Fault::Full { room, for_ms } => {
                world.disk.set_capacity(Some(world.disk.used_bytes() + room));
                self.undos.push((now_ms + for_ms, Undo::Room));
            }
            Fault::SlowDisk { write_ms, read_ms, for_ms } => {
                if let Some(process) = &world.state().process {
                    process.set_pace(write_ms, read_ms);
                }
                self.undos.push((now_ms + for_ms, Undo::Pace));
            }
            Fault::ClockJump { by_ms } => world.clock.jump(by_ms),
            Fault::Mood { target, mood, for_ms } => {
                let name = SCRIPTS[target % SCRIPTS.len()].name;
                world.state().moods.insert(name, mood);
                self.undos.push((now_ms + for_ms, Undo::Mood(name)));
            }
            Fault::Pause { trigger, for_ms } => {
                let name = SCRIPTS[trigger % SCRIPTS.len()].name;
                world.order(Order::Pause(name));
                self.undos.push((now_ms + for_ms, Undo::Pause(name)));
            }
            Fault::Reload { variant } => {
                world.state().variant = variant;
                world.order(Order::Reload);
            }
            Fault::Redrive => world.order(Order::Redrive),
            Fault::Replay { trigger } => world.order(Order::Replay(SCRIPTS[trigger % SCRIPTS.len()].name)),
            Fault::CancelDelayed => world.order(Order::CancelDelayed),
            Fault::Weather { weather, for_ms } => {
                world.state().weather = weather;
                self.undos.push((now_ms + for_ms, Undo::Weather));
            }
        }
    }

    fn undo(&mut self, now_ms: u64) {
        let (due, later) = std::mem::take(&mut self.undos).into_iter().partition(|(at, _)| *at <= now_ms);
        self.undos = later;
        let due: Vec<(u64, Undo)> = due;
        for (_, undo) in due {
            self.world.note(format_args!("no more {undo:?}"));
            match undo {
                Undo::Room => self.world.disk.set_capacity(None),
                Undo::Pace => {
                    let plan = &self.world.plan;
                    if let Some(process) = &self.world.state().process {
                        process.set_pace(plan.write_ms, plan.read_ms);
                    }
                }
                Undo::Mood(name) => drop(self.world.state().moods.insert(name, Mood::Fine)),
                Undo::Weather => self.world.state().weather = Weather::default(),
                Undo::Pause(name) => self.world.order(Order::Resume(name)),
            }
        }
    }

    /// Nothing goes wrong any more.
    fn heal(&mut self) {
        self.world.note("everything heals");
        self.undo(u64::MAX);
        self.world.disk.clear_faults();
        self.world.disk.set_capacity(None);
        let mut state = self.world.state();
        if let Some(process) = &state.process {
            process.die_in(0);
        }
        state.phase = Phase::Healing;
        state.moods.clear();
        state.variant = 0;
        drop(state);
        self.world.order(Order::Reload);
    }
}
