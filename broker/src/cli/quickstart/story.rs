//! The way of every event as it happens: one aligned line for each step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use eventail_wire::{Offset, TriggerName};
use tokio::sync::mpsc;

use super::events::TOPIC;
use crate::cli::dead_letters::word;
use crate::cli::error::CliError;
use crate::cli::screen::{Paint, Screen, snippet};
use crate::status::{Observation, Observer};

const TYPE_WIDTH: usize = 17;
const TRIGGER_WIDTH: usize = 15;

/// Takes steps on the delivery path and hands them on, which never waits.
#[derive(Debug)]
pub(super) struct Watcher(Mutex<mpsc::UnboundedSender<Observation>>);

impl Watcher {
    /// A watcher, and where what it sees arrives.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Observation>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Mutex::new(sender)), receiver)
    }
}

impl Observer for Watcher {
    fn observe(&self, observation: &Observation) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // When nobody reads any more the quickstart is over, and so is the story.
        sender.send(observation.clone()).unwrap_or_default();
    }
}

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The types of the events whose append was told.
    types: BTreeMap<Offset, String>,
    matched: BTreeSet<Offset>,
    /// Steps that came before the append that they follow from: the publisher and the triggers learn of it side by side.
    early: HashMap<Offset, Vec<Observation>>,
    /// What is dead-lettered, with the steps that came before their redrive was told: it, too, is told side by side.
    buried: HashMap<(TriggerName, Offset), Vec<Observation>>,
    settled: u64,
}

impl Story {
    /// The heading of the lines.
    pub(super) fn heading(screen: &mut Screen) -> Result<(), CliError> {
        let (event, trigger) = ("EVENT", "TRIGGER");
        let heading = format!("  OFFSET  {event:<TYPE_WIDTH$}  {trigger:<TRIGGER_WIDTH$}  WHAT HAPPENED");
        let heading = screen.paint(Paint::Heading, &heading);
        screen.line(&heading)
    }

    /// How many deliveries ended by now, well or not.
    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }

    /// The events that no trigger wanted: offset and type of each.
    pub(super) fn unmatched(&self) -> Vec<String> {
        let unmatched = self.types.iter().filter(|(offset, _)| !self.matched.contains(offset));
        unmatched.map(|(offset, kind)| format!("{offset} {kind}")).collect()
    }

    /// Tells a step, or keeps it until its event's append was told.
    pub(super) fn tell(&mut self, step: Observation, screen: &mut Screen) -> Result<(), CliError> {
        let Some(offset) = offset_of(&step) else { return Ok(()) };
        if let Observation::Appended { event, .. } = &step {
            self.types.insert(offset, event.event_type().to_owned());
            let said = format!("appended, safe on disk (id {})", snippet(event.id(), 40));
            self.line(offset, None, &said, screen)?;
            for step in self.early.remove(&offset).unwrap_or_default() {
                self.tell(step, screen)?;
            }
            return Ok(());
        }
        if !self.types.contains_key(&offset) {
            self.early.entry(offset).or_default().push(step);
            return Ok(());
        }
        match &step {
            Observation::Attempted { trigger, .. } => {
                if let Some(early) = self.buried.get_mut(&(trigger.clone(), offset)) {
                    early.push(step);
                    return Ok(());
                }
            }
            Observation::DeadLettered { trigger, .. } => {
                self.buried.insert((trigger.clone(), offset), Vec::new());
            }
            Observation::Matched { .. } => {
                self.matched.insert(offset);
            }
            _ => {}
        }
        let told = self.words(&step, screen);
        if let Some((trigger, said)) = told {
            self.line(offset, Some(&trigger), &said, screen)?;
        }
        if let Observation::Redriven { trigger, .. } = step {
            for step in self.buried.remove(&(trigger, offset)).unwrap_or_default() {
                self.tell(step, screen)?;
            }
        }
        Ok(())
    }

    /// The trigger and what there is to say of a step.
    fn words(&mut self, step: &Observation, screen: &Screen) -> Option<(String, String)> {
        Some(match step {
            Observation::Matched { trigger, .. } => (trigger.to_string(), "matched".to_owned()),
            Observation::Attempted { trigger, attempt, took_ms, outcome, response, next_at, .. } => {
                let paint = match *outcome {
                    "delivered" => Paint::Success,
                    _ => Paint::Failure,
                };
                self.settled += u64::from(*outcome == "delivered");
                let answer = response.as_ref().map(|response| {
                    let status = response.status.map(|status| format!(" {status}")).unwrap_or_default();
                    let said = if response.body.is_empty() { &response.error } else { &response.body };
                    format!("{status} \"{}\"", snippet(said, 40))
                });
                let again = if next_at.is_some() { ", to be tried again" } else { "" };
                let outcome = screen.paint(paint, outcome);
                let answer = answer.unwrap_or_default();
                (trigger.to_string(), format!("attempt {attempt}: {outcome}{answer} in {took_ms} ms{again}"))
            }
            Observation::DeadLettered { trigger, dead_letter_topic, dead_letter_offset, reason, .. } => {
                self.settled += 1;
                let title = screen.paint(Paint::Failure, "dead-lettered");
                let place = format!("{dead_letter_topic}/{dead_letter_offset}");
                (trigger.to_string(), format!("{title} as {place} ({})", word(*reason)))
            }
            Observation::Redriven { trigger, .. } => (trigger.to_string(), "redriven".to_owned()),
            Observation::Appended { .. } => return None,
        })
    }

    fn line(
        &self,
        offset: Offset,
        trigger: Option<&str>,
        said: &str,
        screen: &mut Screen,
    ) -> Result<(), CliError> {
        let event = self.types.get(&offset).map(|kind| snippet(kind, TYPE_WIDTH)).unwrap_or_default();
        let event = screen.paint(Paint::Name, &format!("{event:<TYPE_WIDTH$}"));
        let trigger = format!("{:<TRIGGER_WIDTH$}", trigger.unwrap_or("-"));
        screen.line(&format!("  {:>6}  {event}  {trigger}  {said}", offset.0))
    }
}

/// The place of a step's event in the shop's topic; `None` for what happens in other topics.
fn offset_of(step: &Observation) -> Option<Offset> {
    match step {
        Observation::Appended { topic, offset, .. } => (topic.as_str() == TOPIC).then_some(*offset),
        Observation::Matched { offset, .. }
        | Observation::Attempted { offset, .. }
        | Observation::DeadLettered { offset, .. }
        | Observation::Redriven { offset, .. } => Some(*offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventail_wire::{Event, TopicName};

    #[test]
    fn what_is_told_early_waits_for_what_it_follows_from() {
        let paper = crate::cli::tests::Paper::default();
        let mut screen = Screen::plain(paper.clone());
        let trigger = TriggerName::new("ship").unwrap();
        let topic = TopicName::new(TOPIC).unwrap();
        let offset = Offset(3);
        let delivered = Observation::Attempted {
            trigger: trigger.clone(),
            offset,
            attempt: 1,
            took_ms: 2,
            outcome: "delivered",
            response: None,
            next_at: None,
            replay: None,
        };
        let dead = Observation::DeadLettered {
            trigger: trigger.clone(),
            offset,
            dead_letter_topic: TopicName::new("dead-letters").unwrap(),
            dead_letter_offset: Offset(0),
            reason: eventail_triggers::outcome::RejectReason::Permanent,
            replay: None,
        };
        let event = Event::builder("1", "/s", "order.created").build().unwrap();
        let mut story = Story::default();
        for step in [
            Observation::Matched { trigger: trigger.clone(), offset },
            Observation::Appended { topic, offset, event },
            dead,
            delivered,
            Observation::Redriven { trigger, offset },
        ] {
            story.tell(step, &mut screen).unwrap();
        }
        let told: Vec<String> = paper.text().lines().map(|line| line[46..].to_owned()).collect();
        assert_eq!(
            told,
            [
                "appended, safe on disk (id 1)",
                "matched",
                "dead-lettered as dead-letters/0 (permanent)",
                "redriven",
                "attempt 1: delivered in 2 ms",
            ]
        );
        assert_eq!(story.settled(), 2);
    }
}
