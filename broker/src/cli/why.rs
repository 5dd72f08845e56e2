//! `eventail why`: what happened to an event at every trigger, and why.

use clap::Args;
use eventail_wire::{TopicName, TriggerName};
use serde_json::Value;

use super::api::{Query, escape};
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen, snippet, visible};
use super::{Connection, Format};
use crate::status::{EventTimeline, EventTimelines, StepTold, StoryOutcome, TimelineStep, TriggerStory, Via};

const EXAMPLES: &str = "\
Examples:
  eventail why 7f3c2b1a
  eventail why 7f3c2b1a --trigger ship
  eventail why order-17 --topic orders --source /shop
  eventail why 7f3c2b1a --format json | jq '.events[].triggers[] | {trigger, outcome, because}'";

/// What is shown of a response in a line.
const RESPONSE_CHARACTERS: usize = 120;

/// The arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The event's id
    event: String,
    /// Only what this trigger did
    #[arg(long)]
    trigger: Option<TriggerName>,
    /// Only the event in this topic
    #[arg(long)]
    topic: Option<TopicName>,
    /// Only the event from this source
    #[arg(long)]
    source: Option<String>,
    #[command(flatten)]
    connection: Connection,
    /// How to print the answer: as a story, or what the API answered
    #[arg(
        long,
        short,
        alias = "output",
        short_alias = 'o',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    format: Format,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let query = Query::default()
        .with("topic", arguments.topic)
        .with("source", arguments.source)
        .with("trigger", arguments.trigger);
    let path = format!("/v1/events/{}/timeline{}", escape(&arguments.event), query.as_str());
    let answer: Value = api.get(&path).await?;
    if arguments.format == Format::Json {
        screen.json(&answer)?;
        return Ok(Exit::Done);
    }
    let told: EventTimelines = api.understand(answer)?;
    for (at, event) in told.events.iter().enumerate() {
        if at > 0 {
            screen.line("")?;
        }
        show_event(event, &told.id, screen)?;
    }
    if told.events_left_out > 0 {
        screen.line(&format!(
            "{} more events have this id: --topic or --source narrows it down",
            told.events_left_out
        ))?;
    }
    if !told.is_kept {
        screen.line("It is not kept what happens to events (`timeline.enabled`): this is what is so now.")?;
    }
    Ok(Exit::Done)
}

fn show_event(event: &EventTimeline, id: &str, screen: &mut Screen) -> Result<(), CliError> {
    let EventTimeline { topic, offset, appended_at, source, event_type, .. } = event;
    let title = screen.paint(Paint::Heading, &format!("event {}", visible(id)));
    screen.line(&format!("{title}  {} from {}", visible(event_type), visible(source)))?;
    screen.line(&format!("  came in   {appended_at}  {topic}/{offset}"))?;
    if let Some(cause) = &event.causation_id {
        screen.line(&format!("  caused by {}", visible(cause)))?;
    }
    if let Some(origin) = &event.dead_letter_of {
        screen.line(&format!(
            "  dead letter of {}/{}, which {} gave up",
            origin.topic, origin.offset, origin.trigger
        ))?;
    }
    for at in &event.duplicates {
        screen.line(&format!(
            "  repeated  {at}  published again and not appended: a duplicate of {topic}/{offset}"
        ))?;
    }
    if event.triggers.is_empty() {
        screen.line(&format!("  no trigger reads {topic}"))?;
    }
    event.triggers.iter().try_for_each(|story| show_story(story, screen))
}

fn show_story(story: &TriggerStory, screen: &mut Screen) -> Result<(), CliError> {
    let (word, paint) = match story.outcome {
        StoryOutcome::Delivered => ("delivered", Paint::Success),
        StoryOutcome::Pending => ("pending", Paint::Name),
        StoryOutcome::DeadLettered => ("dead-lettered", Paint::Failure),
        StoryOutcome::Expired => ("expired", Paint::Failure),
        StoryOutcome::Deduplicated => ("a repeat", Paint::Quiet),
        StoryOutcome::NotMatched => ("not matched", Paint::Quiet),
        StoryOutcome::NotRead => ("not read yet", Paint::Name),
        StoryOutcome::BeforeStart => ("before its start", Paint::Quiet),
        StoryOutcome::Skipped => ("skipped", Paint::Failure),
        StoryOutcome::Lost => ("lost to retention", Paint::Failure),
        StoryOutcome::Settled => ("settled", Paint::Quiet),
        StoryOutcome::Orphaned => ("orphaned", Paint::Failure),
    };
    let (name, word) = (screen.paint(Paint::Heading, &story.trigger), screen.paint(paint, word));
    screen.line(&format!("{name}  {word}: {}", visible(&story.because)))?;
    if story.outcome != StoryOutcome::NotMatched
        && let Some(miss) = &story.miss
    {
        screen.line(&format!("  the pattern of today does not match it: {}", visible(&miss.text)))?;
    }
    for step in &story.steps {
        screen.line(&format!("  {}  {}", step.at, line_of(step)))?;
    }
    if story.steps_left_out > 0 {
        screen.line(&format!("  {} steps in the middle are left out", story.steps_left_out))?;
    }
    Ok(())
}

fn line_of(TimelineStep { via, replay, step, .. }: &TimelineStep) -> String {
    let via = match (via, replay) {
        (Via::Live, _) => String::new(),
        (Via::Redrive, _) => "redrive: ".to_owned(),
        (Via::Replay, Some(replay)) => format!("replay {}: ", visible(replay)),
        (Via::Replay, None) => "replay: ".to_owned(),
    };
    format!("{via}{}", words_of(step))
}

fn words_of(step: &StepTold) -> String {
    match step {
        StepTold::Attempt { .. } => attempt(step),
        StepTold::DeadLettered { topic, offset, .. } => format!("dead letter {topic}/{offset} written"),
        StepTold::Redriven { topic, offset } => format!("dead letter {topic}/{offset} redriven"),
        StepTold::Replied { topic, offset, id } => {
            format!("reply {} published to {topic}/{offset}", visible(id))
        }
        StepTold::Expired => "expired before the target took it".to_owned(),
        StepTold::Deduplicated => "not delivered: an earlier event has its business key".to_owned(),
        StepTold::Breaker { until: Some(until) } => format!("breaker open until {until}"),
        StepTold::Breaker { until: None } => "breaker closed".to_owned(),
        StepTold::Throttled { until: Some(until) } => format!("throttled by the target until {until}"),
        StepTold::Throttled { until: None } => "throttled no more".to_owned(),
        StepTold::State { state, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {}", visible(reason))).unwrap_or_default();
            format!("trigger {state}{reason}")
        }
        StepTold::Skipped { to } => format!("trigger moved on to {to}"),
        StepTold::Lost { start } => format!("retention took all before {start}"),
        StepTold::Started { offset } => format!("trigger began to read at {offset}"),
        StepTold::Unknown { number } => {
            format!("a step of a kind that this version does not know ({number})")
        }
    }
}

fn attempt(step: &StepTold) -> String {
    let StepTold::Attempt { attempt, outcome, took_ms, status, error, response, next_at, reason, is_probe } =
        step
    else {
        return String::new();
    };
    let mut line = format!("attempt {attempt} {outcome} in {took_ms:.1} ms");
    if *is_probe {
        line.push_str(", a probe");
    }
    if !error.is_empty() {
        line.push_str(&format!(": {}", snippet(error, RESPONSE_CHARACTERS)));
    } else if let Some(status) = status {
        line.push_str(&format!(": {status}"));
    }
    if !response.is_empty() {
        line.push_str(&format!(" {:?}", snippet(response, RESPONSE_CHARACTERS)));
    }
    if let Some(next_at) = next_at {
        line.push_str(&format!("; next try at {next_at}"));
    }
    if reason.is_some() {
        line.push_str("; given up");
    }
    line
}
