//! `[triggers.NAME.target]`: which of the targets it is, and what all of them share.

use eventail_triggers::payload::PayloadShape;
use eventail_triggers::policy::DeliveryPolicy;
use eventail_wire::TriggerName;

use super::function::Functions;
use super::model::{TargetOptions, TopicTargetOptions};
use super::problem::Problem;
use super::reader::{Reader, Section};
use super::{http_target, lambda_target, schema, topics};

/// The target of a trigger; `None` where there is none, which was noted.
pub(super) fn read(
    reader: &mut Reader<'_>,
    (trigger, name): (&Section<'_>, Option<&TriggerName>),
    policy: &DeliveryPolicy,
    functions: &mut Functions,
) -> Option<TargetOptions> {
    if trigger.get("target").is_none() {
        reader.note(Problem::MissingKey { key: "target", section: trigger.title() }, &trigger.span);
    }
    let target = trigger.section(reader, "target", schema::TARGET)?;
    let mut given = schema::TARGET.iter().copied().filter_map(|key| Some((key, target.get(key)?)));
    let Some((first, _)) = given.next() else {
        let problem = Problem::MissingOneOf { keys: schema::TARGET, section: target.title() };
        reader.note(problem, &target.span);
        return None;
    };
    if let Some((second, found)) = given.next() {
        let problem = Problem::SecondTarget { section: target.title(), first, second };
        reader.note(problem, &found.key_span);
    }
    match first {
        "http" => http_target::read(reader, &target),
        "lambda" => lambda_target::read(reader, &target),
        "topic" => read_topic(reader, &target),
        _ => functions.read_target(reader, (trigger, name), &target, policy).map(TargetOptions::Function),
    }
}

/// A topic's name, or a table with it.
fn read_topic(reader: &mut Reader<'_>, target: &Section<'_>) -> Option<TargetOptions> {
    let found = target.get("topic")?;
    let name = if found.value.is_table() {
        let section = target.section(reader, "topic", schema::TOPIC_TARGET)?;
        if section.get("name").is_none() {
            reader.note(Problem::MissingKey { key: "name", section: section.title() }, &section.span);
        }
        section.parsed(reader, "name", topics::name)
    } else {
        target.parsed(reader, "topic", topics::name)
    };
    name.map(|name| TargetOptions::Topic(TopicTargetOptions { name }))
}

/// `payload`: what a function gets to see.
pub(super) fn payload(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<PayloadShape> {
    section.choice(
        reader,
        "payload",
        &["cloudevent", "eventbridge", "sqs", "raw"],
        &[PayloadShape::CloudEvent, PayloadShape::EventBridge, PayloadShape::Sqs, PayloadShape::Raw],
    )
}
