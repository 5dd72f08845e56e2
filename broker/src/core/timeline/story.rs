//! The story of one event at one trigger, told from three sources: what the timeline kept, where the event stands in the trigger's
//! subscription now, and what the trigger's pattern of today says of it.
//!
//! Everything here is a function of those; reading them is the caller's.

use eventail_triggers::subscription::{self, Subscription, Wait, Whereabouts};
use eventail_wire::{Offset, Timestamp};

use super::Found;
use super::step::{Attempt, Step};
use crate::metrics::{class_label, reason_label};
use crate::status::{
    BreakerState, HeldBy, PatternMiss, StepTold, StoryOutcome, TimelineStep, TriggerState, TriggerStory, Via,
    WaitsFor,
};

/// Steps that are told of one event at one trigger; the ones in the middle are left out.
const STEPS_MAX: usize = 500;

/// What is known of an event at a trigger.
pub(super) struct Facts<'a> {
    pub(super) trigger: &'a str,
    pub(super) offset: Offset,
    /// What the timeline has of the event.
    pub(super) steps: Vec<Found>,
    /// What happened to the trigger since the event was appended.
    pub(super) lane: Vec<Found>,
    /// What holds now; `None` where the trigger is gone.
    pub(super) now: Option<Present>,
}

/// What holds now.
pub(super) struct Present {
    /// Whether the pattern of today matches, and where not.
    pub(super) matches: bool,
    pub(super) miss: Option<PatternMiss>,
    pub(super) stands: Stands,
    /// Where it stands among what is redriven, if it is there.
    pub(super) redriven: Option<Stands>,
}

/// Where an event stands in a subscription, and what holds that.
pub(super) struct Stands {
    whereabouts: Whereabouts,
    scanned: Offset,
    held: HeldBy,
}

impl Stands {
    pub(super) fn of(subscription: &Subscription, offset: Offset, now: Timestamp) -> Self {
        let (breaker, open_until) = match subscription.breaker() {
            subscription::BreakerState::Closed => (BreakerState::Closed, None),
            subscription::BreakerState::Open { until } => (BreakerState::Open, Some(until)),
            subscription::BreakerState::HalfOpen => (BreakerState::HalfOpen, None),
        };
        let state = match subscription.state() {
            subscription::State::Running => TriggerState::Running,
            subscription::State::Paused => TriggerState::Paused,
            subscription::State::Disabled => TriggerState::Disabled,
            subscription::State::Stopped => TriggerState::Stopped,
        };
        Self {
            whereabouts: subscription.whereabouts(offset),
            scanned: subscription.scanned(),
            held: HeldBy {
                state,
                reason: subscription.reason().map(str::to_owned),
                breaker,
                until: open_until.or(subscription.held_until(now)),
            },
        }
    }

    fn waits_for(&self) -> Option<WaitsFor> {
        let Whereabouts::Pending { wait, .. } = &self.whereabouts else { return None };
        Some(match *wait {
            Wait::Turn => WaitsFor::Turn,
            Wait::Behind(offset) => WaitsFor::Key { offset },
            Wait::Batch => WaitsFor::Batch,
            // Time 0 is at once.
            Wait::Until(Timestamp(0)) => WaitsFor::Turn,
            Wait::Until(at) => WaitsFor::Retry { at },
            Wait::Attempt { since, deadline } => WaitsFor::Attempt { since, deadline },
            Wait::DeadLetter => WaitsFor::DeadLetter,
        })
    }

    /// What holds it, where that is more than its turn.
    fn held(&self) -> Option<HeldBy> {
        let HeldBy { state, breaker, until, .. } = &self.held;
        let is_free = *state == TriggerState::Running && *breaker == BreakerState::Closed && until.is_none();
        (!is_free).then(|| self.held.clone())
    }
}

/// How far the steps got.
enum Reached<'a> {
    Nothing,
    Delivered(&'a Found),
    /// Tried, and not settled by that.
    Tried(&'a Found),
    DeadLettered(&'a Found),
    Redriven(&'a Found),
    Expired(&'a Found),
    Deduplicated(&'a Found),
}

/// Tells it.
pub(super) fn tell(facts: Facts<'_>) -> TriggerStory {
    let Facts { trigger, offset, mut steps, mut lane, now } = facts;
    steps.sort_by_key(|found| found.at);
    let (outcome, because, waits_for, held) = decide(offset, &steps, &lane, now.as_ref());
    // What happened to the trigger later on is no part of the event's story.
    let is_over = !matches!(outcome, StoryOutcome::Pending | StoryOutcome::NotRead);
    let end = steps.last().map_or(Timestamp(0), |found| found.at);
    let decides = |found: &Found| is_live(found) && decides(outcome, offset, &found.step);
    lane.retain(|found| !is_over || found.at <= end || decides(found));
    if outcome == StoryOutcome::NotMatched {
        lane.clear();
    }
    steps.append(&mut lane);
    steps.sort_by_key(|found| found.at);
    let steps_left_out = steps.len().saturating_sub(STEPS_MAX);
    if steps_left_out > 0 {
        steps.drain(STEPS_MAX / 2..STEPS_MAX / 2 + steps_left_out);
    }
    TriggerStory {
        trigger: trigger.to_owned(),
        is_configured: now.is_some(),
        outcome,
        because,
        matches: now.as_ref().map(|now| now.matches),
        miss: now.and_then(|now| now.miss),
        waits_for,
        held,
        steps: steps.into_iter().map(told).collect(),
        steps_left_out,
    }
}

/// Whether a step of the lane is what made the outcome.
fn decides(outcome: StoryOutcome, offset: Offset, step: &Step) -> bool {
    match (outcome, step) {
        (StoryOutcome::BeforeStart, Step::Started { offset: start }) => offset < *start,
        (StoryOutcome::Skipped, Step::Skipped { to }) => offset < *to,
        (StoryOutcome::Lost, Step::Lost { start }) => offset < *start,
        _ => false,
    }
}

type Decided = (StoryOutcome, String, Option<WaitsFor>, Option<HeldBy>);

fn decide(offset: Offset, steps: &[Found], lane: &[Found], now: Option<&Present>) -> Decided {
    let reached = reached(steps);
    let settled = |outcome, because: String| (outcome, because, None, None);
    // What is pending now is so whatever was before: it is redriven, or it is tried again after a crash.
    if let Some(now) = now {
        let redriven = now.redriven.as_ref().filter(|stands| stands.waits_for().is_some());
        if let Some(stands) = redriven {
            let (because, waits, held) = pending(stands);
            return (StoryOutcome::Pending, format!("its dead letter was redriven: {because}"), waits, held);
        }
        if now.stands.waits_for().is_some() {
            let (because, waits, held) = pending(&now.stands);
            return (StoryOutcome::Pending, because, waits, held);
        }
    }
    match reached {
        Reached::Delivered(found) => {
            settled(StoryOutcome::Delivered, format!("the target took it at {}", found.at))
        }
        Reached::DeadLettered(found) => settled(StoryOutcome::DeadLettered, dead_lettered(&found.step)),
        Reached::Expired(found) => settled(
            StoryOutcome::Expired,
            format!("its expirytime was over at {}, before the target took it", found.at),
        ),
        Reached::Deduplicated(found) => settled(
            StoryOutcome::Deduplicated,
            format!("an earlier event has its business key, as the trigger saw at {}", found.at),
        ),
        Reached::Redriven(found) => settled(
            StoryOutcome::Pending,
            format!("its dead letter was redriven at {}, and waits to be read", found.at),
        ),
        Reached::Tried(found) if now.is_none() => settled(
            StoryOutcome::Orphaned,
            format!(
                "it was tried last at {}, and the trigger is not in the configuration any more",
                found.at
            ),
        ),
        Reached::Tried(_) | Reached::Nothing => untold(offset, lane, now, &reached),
    }
}

fn reached(steps: &[Found]) -> Reached<'_> {
    let mut reached = Reached::Nothing;
    for found in steps.iter().filter(|found| via(&found.lane).0 != Via::Replay) {
        reached = match &found.step {
            Step::Delivered { .. } => Reached::Delivered(found),
            Step::Attempt(attempt) if attempt.class.is_none() && attempt.reject.is_none() => {
                Reached::Delivered(found)
            }
            Step::Attempt(_) => Reached::Tried(found),
            Step::DeadLettered { .. } => Reached::DeadLettered(found),
            Step::Redriven { .. } => Reached::Redriven(found),
            Step::Expired => Reached::Expired(found),
            Step::Deduplicated => Reached::Deduplicated(found),
            _ => reached,
        };
    }
    reached
}

fn dead_lettered(step: &Step) -> String {
    let Step::DeadLettered { topic, offset, reason } = step else { return String::new() };
    let why = reason.map_or("it was given up", |reason| reason_label(reason));
    format!("{why}; the dead letter is {topic}/{offset}")
}

/// What became of an event of which the timeline knows no end.
fn untold(offset: Offset, lane: &[Found], now: Option<&Present>, reached: &Reached<'_>) -> Decided {
    let settled = |outcome, because: String| (outcome, because, None, None);
    let Some(now) = now else {
        return settled(StoryOutcome::Orphaned, "the trigger is not in the configuration".to_owned());
    };
    let was_tried = matches!(reached, Reached::Tried(_));
    if !now.matches && !was_tried {
        let text = now.miss.as_ref().map_or_else(
            || "the trigger's pattern does not match it".to_owned(),
            |miss| format!("the trigger's pattern does not match it: {}", miss.text),
        );
        return settled(StoryOutcome::NotMatched, text);
    }
    // Where other lanes began and went says nothing of the trigger's own.
    for found in lane.iter().rev().filter(|found| is_live(found)) {
        match found.step {
            Step::Skipped { to } if offset < to => {
                return settled(
                    StoryOutcome::Skipped,
                    format!("an operator moved the trigger on to {to} at {}", found.at),
                );
            }
            Step::Lost { start } if offset < start => {
                return settled(
                    StoryOutcome::Lost,
                    format!("retention had taken all before {start} at {}", found.at),
                );
            }
            Step::Started { offset: start } if offset < start && !was_tried => {
                return settled(
                    StoryOutcome::BeforeStart,
                    format!("it came before the trigger, which began with {start} at {}", found.at),
                );
            }
            _ => {}
        }
    }
    if now.stands.whereabouts == Whereabouts::Ahead {
        let scanned = now.stands.scanned;
        let behind = offset.since(scanned);
        let held = now.stands.held();
        let because = format!(
            "the trigger has read up to {scanned}, {behind} before it{}",
            held.as_ref().map(held_text).unwrap_or_default()
        );
        return (StoryOutcome::NotRead, because, Some(WaitsFor::Reading { scanned }), held);
    }
    let because = "the trigger is done with it, and how is not kept: it was before the timeline, is older than the timeline keeps, or the broker ended at that moment";
    settled(StoryOutcome::Settled, because.to_owned())
}

fn pending(stands: &Stands) -> (String, Option<WaitsFor>, Option<HeldBy>) {
    let (waits, held) = (stands.waits_for(), stands.held());
    let mut because = match waits {
        Some(WaitsFor::Key { offset }) => {
            format!("it waits for {offset}, which has its key and came before it")
        }
        Some(WaitsFor::Batch) => "it waits for the other events of its batch".to_owned(),
        Some(WaitsFor::Retry { at }) => format!("it is tried again at {at}"),
        Some(WaitsFor::Attempt { since, deadline }) => {
            format!("an attempt is under way since {since}, until {deadline} at most")
        }
        Some(WaitsFor::DeadLetter) => "its dead letter is being written".to_owned(),
        Some(WaitsFor::Turn | WaitsFor::Reading { .. }) | None => "it waits for its turn".to_owned(),
    };
    because.push_str(&held.as_ref().map(held_text).unwrap_or_default());
    (because, waits, held)
}

fn held_text(held: &HeldBy) -> String {
    let reason = held.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match (held.state, held.breaker, held.until) {
        (TriggerState::Paused, ..) => format!("; the trigger is paused{reason}"),
        (TriggerState::Disabled, ..) => format!("; the trigger is disabled{reason}"),
        (TriggerState::Stopped, ..) => format!("; the trigger is stopped{reason}"),
        (TriggerState::Running, BreakerState::Open, until) => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("; the target is out: the breaker is open{until}")
        }
        (TriggerState::Running, BreakerState::HalfOpen, _) => {
            "; the target was out: a probe is under way".to_owned()
        }
        (TriggerState::Running, BreakerState::Closed, Some(until)) => {
            format!("; the target throttles: nothing goes out before {until}")
        }
        (TriggerState::Running, BreakerState::Closed, None) => String::new(),
    }
}

fn is_live(found: &Found) -> bool {
    via(&found.lane).0 == Via::Live
}

/// On whose account a lane delivers, by its name.
fn via(lane: &str) -> (Via, Option<String>) {
    match lane.split_once('/') {
        Some(("redrive", _)) => (Via::Redrive, None),
        Some(("replay", replay)) => (Via::Replay, Some(replay.to_owned())),
        _ => (Via::Live, None),
    }
}

#[allow(clippy::cast_precision_loss, reason = "no attempt takes 2^52 microseconds")]
fn told(Found { lane, at, step, .. }: Found) -> TimelineStep {
    let attempt = |attempt: Attempt| StepTold::Attempt {
        attempt: attempt.number,
        outcome: match (attempt.class, attempt.reject) {
            (Some(class), _) => class_label(class),
            (None, Some(_)) => "rejected",
            (None, None) => "delivered",
        }
        .to_owned(),
        took_ms: attempt.took_us as f64 / 1_000.0,
        status: attempt.status,
        error: attempt.error,
        response: attempt.body,
        next_at: attempt.next_at.filter(|next_at| *next_at > Timestamp(0)),
        reason: attempt.reject,
        is_probe: attempt.is_probe,
    };
    let step = match step {
        Step::Delivered { took_us } => attempt(Attempt { number: 1, took_us, ..Attempt::default() }),
        Step::Attempt(one) => attempt(*one),
        Step::DeadLettered { topic, offset, reason } => {
            StepTold::DeadLettered { topic, offset: Offset(offset), reason }
        }
        Step::Redriven { letter_topic, letter_offset, .. } => {
            StepTold::Redriven { topic: letter_topic, offset: Offset(letter_offset) }
        }
        Step::Replied { topic, offset, id } => StepTold::Replied { topic, offset: Offset(offset), id },
        Step::Breaker { until } => StepTold::Breaker { until },
        Step::Held { until } => StepTold::Throttled { until },
        Step::State { state, reason } => StepTold::State { state, reason },
        Step::Skipped { to } => StepTold::Skipped { to },
        Step::Lost { start } => StepTold::Lost { start },
        Step::Started { offset } => StepTold::Started { offset },
        Step::Expired => StepTold::Expired,
        Step::Deduplicated => StepTold::Deduplicated,
        // It belongs to the topic, and is told there.
        Step::Duplicate => StepTold::Unknown { number: Step::Duplicate.kind() },
        Step::Unknown { kind } => StepTold::Unknown { number: kind },
    };
    let (via, replay) = via(&lane);
    TimelineStep { at, via, replay, step }
}
