//! Targets that do as they are told: each event has a fate, each target a mood, and some of them lie.

use std::sync::Arc;
use std::time::Duration;

use eventail_broker::{CallbackAction, CallbackOutcome};
use eventail_triggers::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use rand::Rng;

use crate::attempts::{AttemptEnd, Delivery};
use crate::plan::{Mood, dice};
use crate::setup::Script;
use crate::world::World;

/// A target of one trigger.
pub(crate) struct Scripted {
    pub(crate) world: Arc<World>,
    pub(crate) script: &'static Script,
}

/// An attempt under way: whoever drops it did not wait for the answer.
struct UnderWay {
    world: Arc<World>,
    script: &'static Script,
    delivery: Delivery,
    key: Option<String>,
    number: u64,
    is_over: bool,
}

/// What becomes of one event at one target, however often it is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    Refused,
    /// Fails so many times. The broker may give up before, and does not count what it takes for an outage.
    Fails(u32),
}

/// The fate of an event: the seed decides, and nothing that happens.
pub(crate) fn fate(seed: u64, trigger: &str, event_id: &str, max_attempts: u32) -> Fate {
    let mut dice = dice(seed, &format!("fate/{trigger}/{event_id}"));
    match dice.random_range(0..100) {
        0..5 => Fate::Refused,
        5..11 => Fate::Fails(dice.random_range(1..=2 * max_attempts)),
        _ => Fate::Taken,
    }
}

/// How one attempt goes.
enum Act {
    Answer {
        outcome: Outcome,
        after_ms: u64,
    },
    Hang,
    /// Takes it over, and calls back after a time, if at all.
    CallBack {
        action: Option<CallbackAction>,
        after_ms: u64,
    },
}

impl UnderWay {
    fn begin(world: &Arc<World>, script: &'static Script, invocation: &Invocation, together: &[u64]) -> Self {
        let topic = invocation.topic.to_string();
        let delivery: Delivery = (script.name.to_owned(), topic, invocation.offset.0, invocation.is_replay);
        let key = invocation.event.attribute("partitionkey").filter(|_| script.is_keyed).map(str::to_owned);
        world.note(format_args!(
            "{} <- {}@{} attempt {}{}",
            script.name,
            invocation.event.id(),
            invocation.offset,
            invocation.attempt,
            if invocation.is_replay { " (replay)" } else { "" }
        ));
        if let Err(what) = world.is_genuine(script, invocation) {
            world.fail(what);
        }
        let began = {
            let mut state = world.state();
            let start = state.broker.as_ref().and_then(|broker| broker.topic(&invocation.topic).ok());
            if let Some(status) = start.filter(|_| world.plan.retention) {
                state.attempts.trim(invocation.topic.as_str(), status.start.0);
            }
            let (life, may_overlap) = (state.life, state.redriven.contains(&delivery));
            let max_attempts = world.plan.max_attempts;
            let ordered = match &key {
                // What is redriven comes when it comes.
                Some(key) if !delivery.3 && !may_overlap => {
                    state.attempts.keep_order(&delivery, key, together)
                }
                _ => Ok(()),
            };
            ordered
                .and_then(|()| state.attempts.begin(&delivery, invocation, life, max_attempts, may_overlap))
        };
        let number = world.check(began).unwrap_or_default();
        Self { world: Arc::clone(world), script, delivery, key, number, is_over: false }
    }

    fn end(&mut self, end: AttemptEnd) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let max_attempts = self.world.plan.max_attempts;
        let mut state = self.world.state();
        state.attempts.end(&self.delivery, self.number, end, max_attempts);
        if let Some(key) = self.key.as_ref().filter(|_| !self.delivery.3) {
            state.attempts.note_over(&self.delivery, key);
        }
        // In which order a crash drops what is under way is not part of the run.
        let is_dead = state.process.as_ref().is_none_or(|process| process.is_dead());
        drop(state);
        if is_dead && end == AttemptEnd::Dropped {
            return;
        }
        self.world
            .note(format_args!("{} {}@{}: {end:?}", self.script.name, self.delivery.1, self.delivery.2));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.end(AttemptEnd::Dropped);
    }
}

fn response(error: &str) -> Response {
    Response { error: error.to_owned(), ..Response::default() }
}

fn retry(class: RetryClass, after_ms: Option<u64>) -> Outcome {
    Outcome::Retry { class, after_ms, response: response("the script says so") }
}

fn end_of(outcome: &Outcome) -> AttemptEnd {
    match outcome {
        Outcome::Ack { .. } => AttemptEnd::Taken,
        Outcome::Reject { .. } => AttemptEnd::Refused,
        Outcome::Retry { .. } | Outcome::Withheld { .. } | Outcome::Accepted => AttemptEnd::Failed,
    }
}

impl Scripted {
    fn by_fate(&self, invocation: &Invocation) -> Outcome {
        let plan = &self.world.plan;
        match fate(plan.seed, self.script.name, invocation.event.id(), plan.max_attempts) {
            Fate::Refused => Outcome::Reject {
                reason: RejectReason::Permanent,
                response: response("poison"),
                disable: false,
            },
            Fate::Fails(times) if self.times_tried(invocation) <= times => retry(RetryClass::Failed, None),
            Fate::Taken | Fate::Fails(_) => Outcome::Ack { reply: None },
        }
    }

    fn times_tried(&self, invocation: &Invocation) -> u32 {
        let topic = invocation.topic.to_string();
        let delivery: Delivery =
            (self.script.name.to_owned(), topic, invocation.offset.0, invocation.is_replay);
        self.world.state().attempts.of(&delivery).map_or(0, |seen| seen.attempts)
    }

    fn act(&self, first: &Invocation) -> Act {
        let mood = self.world.mood(self.script.name);
        let timeout_ms = self.world.plan.timeout_ms;
        let fated = self.by_fate(first);
        let mut state = self.world.state();
        let dice = &mut state.dice;
        let quick = dice.random_range(0..8);
        let answer = |outcome, after_ms| Act::Answer { outcome, after_ms };
        match mood {
            Mood::Fine => answer(fated, quick),
            Mood::Throttles => {
                let after_ms = dice.random_bool(0.5).then(|| dice.random_range(0..2_000));
                answer(retry(RetryClass::Throttled, after_ms), quick)
            }
            Mood::Unreachable => answer(retry(RetryClass::Unreachable, None), quick),
            Mood::Fails => answer(retry(RetryClass::Failed, None), quick),
            Mood::Hangs => Act::Hang,
            Mood::Slow => answer(fated, dice.random_range(0..timeout_ms)),
            Mood::Late => answer(fated, timeout_ms + dice.random_range(0..2_000)),
            Mood::CallsBack if first.callback.is_some() => {
                let action = match dice.random_range(0..8) {
                    0 => None,
                    1 => Some(CallbackAction::Nack { after_ms: None, reason: "not now".to_owned() }),
                    2 => Some(CallbackAction::Extend { by_ms: None }),
                    _ => match &fated {
                        Outcome::Reject { .. } => {
                            Some(CallbackAction::Reject { reason: "poison".to_owned() })
                        }
                        Outcome::Ack { .. } => Some(CallbackAction::Ack),
                        _ => Some(CallbackAction::Nack { after_ms: None, reason: "fate".to_owned() }),
                    },
                };
                Act::CallBack { action, after_ms: dice.random_range(0..2 * timeout_ms) }
            }
            Mood::CallsBack => answer(fated, quick),
            Mood::Lies => answer(Outcome::Accepted, quick),
        }
    }

    /// Calls back about an attempt, on its own time.
    fn call_back(
        &self,
        deliveries: Vec<(Delivery, u64)>,
        token: Arc<str>,
        action: CallbackAction,
        after_ms: u64,
    ) {
        let world = Arc::clone(&self.world);
        let is_final = matches!(action, CallbackAction::Ack | CallbackAction::Reject { .. });
        let is_ack = matches!(action, CallbackAction::Ack);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let Some(broker) = world.state().broker.clone() else { return };
            if is_final {
                // The broker may settle it and die before it answers.
                let mut state = world.state();
                for (delivery, _) in &deliveries {
                    state.attempts.may_be_over(delivery, is_ack);
                }
            }
            let outcome = broker.call_back(&token, action).await;
            world.note(format_args!(
                "called back about {:?}: {outcome:?}",
                deliveries.first().map(|one| &one.0)
            ));
            if let Ok(CallbackOutcome::Delivered | CallbackOutcome::DeadLettered) = outcome {
                let stale = deliveries.iter().find(|(delivery, number)| {
                    let state = world.state();
                    state.attempts.of(delivery).is_some_and(|seen| seen.latest != *number)
                        && !state.redriven.contains(delivery)
                });
                if let Some((delivery, number)) = stale {
                    world.fail(format_args!(
                        "{delivery:?}: a late callback of attempt {number} settled a later one"
                    ));
                }
            }
        });
    }

    fn wants_callback(&self, act: &Act, invocation: &Invocation, deliveries: Vec<(Delivery, u64)>) {
        if let (Act::CallBack { action: Some(action), after_ms }, Some(token)) = (act, &invocation.callback) {
            self.call_back(deliveries, Arc::clone(token), action.clone(), *after_ms);
        }
    }
}

impl Target for Scripted {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let mut under_way =
                UnderWay::begin(&self.world, self.script, &invocation, &[invocation.offset.0]);
            let act = self.act(&invocation);
            self.wants_callback(&act, &invocation, vec![(under_way.delivery.clone(), under_way.number)]);
            match act {
                Act::Answer { outcome, after_ms } => {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    under_way.end(end_of(&outcome));
                    outcome.into()
                }
                Act::Hang => std::future::pending().await,
                Act::CallBack { .. } => {
                    // The lease is held until it calls back, so the attempt is not over.
                    under_way.end(AttemptEnd::Failed);
                    Outcome::Accepted.into()
                }
            }
        })
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        Box::pin(async move {
            let offsets: Vec<u64> = batch.iter().map(|invocation| invocation.offset.0).collect();
            let mut under_way: Vec<UnderWay> = batch
                .iter()
                .map(|invocation| UnderWay::begin(&self.world, self.script, invocation, &offsets))
                .collect();
            let Some(first) = batch.first() else {
                self.world.fail("a batch without events");
                return BatchOutcome::Each(Vec::new()).into();
            };
            let act = self.act(first);
            let named = under_way.iter().map(|one| (one.delivery.clone(), one.number)).collect();
            self.wants_callback(&act, first, named);
            match act {
                Act::Answer { outcome, after_ms } => {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    let outcome = self.answer_batch(&batch, outcome);
                    end_batch(&mut under_way, &outcome);
                    outcome.into()
                }
                Act::Hang => std::future::pending().await,
                Act::CallBack { .. } => {
                    under_way.iter_mut().for_each(|one| one.end(AttemptEnd::Failed));
                    BatchOutcome::Whole(Outcome::Accepted).into()
                }
            }
        })
    }

    fn allows_callback(&self) -> bool {
        self.world.plan.calls_back
    }
}

impl Scripted {
    fn answer_batch(&self, batch: &[Invocation], first: Outcome) -> BatchOutcome {
        match self.world.mood(self.script.name) {
            Mood::Fine | Mood::Slow | Mood::Late | Mood::CallsBack => {
                let outcomes: Vec<Outcome> = batch.iter().map(|one| self.by_fate(one)).collect();
                if outcomes.iter().all(|one| matches!(one, Outcome::Ack { .. })) {
                    return BatchOutcome::Whole(Outcome::Ack { reply: None });
                }
                // Some targets cannot tell which event it was.
                if self.world.plan.bisect && outcomes.iter().any(|one| matches!(one, Outcome::Retry { .. })) {
                    return BatchOutcome::Whole(retry(RetryClass::Failed, None));
                }
                BatchOutcome::Each(outcomes)
            }
            Mood::Lies => {
                let count = self.world.state().dice.random_range(0..batch.len() + 3);
                BatchOutcome::Each(vec![Outcome::Ack { reply: None }; count])
            }
            _ => BatchOutcome::Whole(first),
        }
    }
}

fn end_batch(under_way: &mut [UnderWay], outcome: &BatchOutcome) {
    match outcome {
        BatchOutcome::Whole(outcome) => under_way.iter_mut().for_each(|one| one.end(end_of(outcome))),
        BatchOutcome::Each(outcomes) => {
            for (one, outcome) in under_way.iter_mut().zip(outcomes) {
                one.end(end_of(outcome));
            }
            under_way.iter_mut().for_each(|one| one.end(AttemptEnd::Failed));
        }
    }
}
