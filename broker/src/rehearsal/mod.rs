//! What a configuration would do with events, without doing it: which triggers match, and what they would send.
//!
//! `[[tests]]` are run with it ([`failures`]), and two configurations are held against each other ([`Comparison`]). It is pure: no
//! broker, no target, no clock.

mod comparison;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use eventail_triggers::input::{Input, InputContext, Rendered, TransformError};
use eventail_triggers::pattern::{Explanation, Matcher, Pattern, Scratch};
use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};

use crate::config::Config;
use crate::core::BrokerError;

pub use comparison::{Comparison, Difference, Sample, SampleKind};
pub use verdict::{Mismatch, TestFailure, failures};

/// The triggers of a configuration, without their targets.
pub struct Rehearsal {
    topics: BTreeMap<TopicName, Stage>,
}

/// The triggers of one topic.
struct Stage {
    matcher: Matcher,
    triggers: Vec<Actor>,
}

/// A trigger, as far as it can be told what it would do.
pub struct Actor {
    name: TriggerName,
    pattern: Option<Pattern>,
    input: Option<Arc<Input>>,
    batch_events: usize,
}

impl Rehearsal {
    /// Compiles every pattern and input.
    ///
    /// # Errors
    /// Those that cannot be compiled, which a configuration that was read from a file does not have.
    pub fn new(config: &Config) -> Result<Self, BrokerError> {
        let mut by_topic: BTreeMap<TopicName, Vec<Actor>> = BTreeMap::new();
        for (name, trigger) in &config.triggers {
            let input = trigger.input.as_ref().map(Input::compile).transpose();
            let input = input.map_err(|source| BrokerError::Input { trigger: name.clone(), source })?;
            by_topic.entry(trigger.topic.clone()).or_default().push(Actor {
                name: name.clone(),
                pattern: trigger.pattern.as_deref().map(Pattern::parse).transpose()?,
                input: input.map(Arc::new),
                batch_events: trigger.policy.batch.as_ref().map_or(1, |batch| batch.max_events.max(1)),
            });
        }
        let stage = |triggers: Vec<Actor>| {
            let patterns: Vec<_> = triggers.iter().map(|trigger| trigger.pattern.clone()).collect();
            Stage { matcher: Matcher::new(&patterns), triggers }
        };
        Ok(Self { topics: by_topic.into_iter().map(|(topic, all)| (topic, stage(all))).collect() })
    }

    /// The topics that some trigger reads.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// The triggers that match an event of a topic, by name.
    pub fn matching<'r>(
        &'r self,
        topic: &TopicName,
        event: &Event,
        scratch: &mut Scratch,
    ) -> impl Iterator<Item = &'r Actor> + use<'r> {
        let mut matched = Vec::new();
        let stage = self.topics.get(topic);
        if let Some(stage) = stage {
            stage.matcher.matches(event, scratch, &mut matched);
            matched.sort_unstable();
        }
        matched.into_iter().filter_map(move |number| stage?.triggers.get(number))
    }

    /// A trigger that reads this topic.
    #[must_use]
    pub fn trigger(&self, topic: &TopicName, name: &TriggerName) -> Option<&Actor> {
        self.topics.get(topic)?.triggers.iter().find(|trigger| trigger.name == *name)
    }
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").field("topics", &self.topics.keys()).finish_non_exhaustive()
    }
}

impl Actor {
    /// What the trigger is called.
    #[must_use]
    pub const fn name(&self) -> &TriggerName {
        &self.name
    }

    /// Why it matches an event, or not.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Explanation {
        self.pattern.as_ref().map_or(Explanation::Match, |pattern| pattern.explain(event))
    }

    /// What it would send in place of the event; `None` where it sends the event itself.
    ///
    /// # Errors
    /// Where it can make nothing of it: the event would be dead-lettered.
    pub fn render(&self, at: &Place<'_>) -> Result<Option<Rendered>, TransformError> {
        let Place { event, topic, offset, appended_at } = *at;
        let context = InputContext { event, topic, offset, appended_at, trigger: &self.name };
        self.input.as_ref().map(|input| input.render(&context)).transpose()
    }
}

/// An event where it lies, or would.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its topic.
    pub topic: &'a TopicName,
    /// Its place there.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
}
