//! `eventail what-if`: what a new configuration would have done with the events that a broker still has. Nothing is delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use eventail_wire::{Code, Timestamp, TopicName, TriggerName};
use indicatif::ProgressBar;
use serde::Serialize;

use super::api::{Api, Query};
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen, snippet};
use super::table::Table;
use super::tail::{From, Page, Stored, decode, parse_from};
use super::{Connection, Format, Output};
use crate::config::Config;
use crate::rehearsal::{Comparison, Difference, Place, Rehearsal, Sample, SampleKind};
use crate::status::{ConfigStatus, TopicStatus};

const EXAMPLES: &str = "\
The events come from a running broker; both configurations are read here, and no target is called.

Examples:
  eventail what-if --config new.toml
  eventail what-if --config new.toml --from 2026-11-22T00:00:00Z --fail-on-change
  eventail what-if --config new.toml --against eventail.toml --topic orders --output json";

/// Events of one request.
const PAGE: u64 = 1_000;
/// What is shown of an input in a line.
const SHOWN_CHARACTERS: usize = 160;

/// The arguments of `what-if`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The new configuration
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// What it is compared with; by default the file that the broker runs from
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Only this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// Where to begin: earliest, an offset or a time
    #[arg(long, value_parser = parse_from, default_value = "earliest")]
    from: From,
    /// Where to end: latest, an offset or a time; that event is not among them
    #[arg(long, value_parser = parse_from, default_value = "latest")]
    to: From,
    /// How many events of each kind are shown for each trigger
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1000))]
    samples: u16,
    /// Exit with 1 where anything would be otherwise
    #[arg(long)]
    fail_on_change: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    events: u64,
    changed: bool,
    triggers: &'a BTreeMap<TriggerName, Difference>,
}

/// Exit 1 where something would be otherwise and that is asked for.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let after = Config::load(&arguments.config)?;
    let before = match &arguments.against {
        Some(file) => Config::load(file)?,
        None => Config::load(running_file(&mut api).await?)?,
    };
    let rehearse = |config: &Config| Rehearsal::new(config).map_err(|source| CliError::Rehearsal { source });
    let mut comparison =
        Comparison::new(rehearse(&before)?, rehearse(&after)?, usize::from(arguments.samples));
    let bar = if Screen::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    for topic in comparison.topics() {
        if arguments.topic.as_ref().is_none_or(|wanted| *wanted == topic) {
            read_topic(&mut api, &topic, &arguments, &mut comparison, &bar).await?;
        }
    }
    bar.finish_and_clear();
    let (events, triggers) = comparison.finish();
    let changed = triggers.values().any(Difference::is_change);
    match arguments.output.output {
        Format::Json => screen.json(&Report { events, changed, triggers: &triggers })?,
        Format::Table => show(events, &triggers, screen)?,
    }
    Ok(if changed && arguments.fail_on_change { Exit::Negative } else { Exit::Done })
}

/// The file that the broker runs from, where it can be read here too.
async fn running_file(api: &mut Api) -> Result<PathBuf, CliError> {
    let status: ConfigStatus = api.get("/v1/config").await?;
    let file = status.file.map(PathBuf::from);
    file.filter(|file| file.is_absolute() || Path::new(file).exists()).ok_or(CliError::NoRunningFile)
}

async fn read_topic(
    api: &mut Api,
    topic: &TopicName,
    arguments: &Arguments,
    comparison: &mut Comparison,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let status: TopicStatus = match api.get(&format!("/v1/topics/{topic}")).await {
        Ok(status) => status,
        // A topic that only the new configuration has is empty.
        Err(CliError::Refused { code: Code::UnknownTopic, .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let end = match arguments.to {
        From::Offset(offset) => offset.min(status.end.0),
        From::Earliest | From::Latest | From::Time(_) => status.end.0,
    };
    let mut from = match &arguments.from {
        // What retention took is not there to be looked at.
        From::Offset(offset) => From::Offset((*offset).max(status.start.0)),
        from => from.clone(),
    };
    loop {
        let query = Query::default().with("from", Some(&from)).with("limit", Some(PAGE));
        let page: Page = api.get(&format!("/v1/topics/{topic}/events{}", query.as_str())).await?;
        for stored in &page.events {
            if stored.offset >= end || is_behind(stored, &arguments.to) {
                return Ok(());
            }
            let event = decode(stored)?;
            let appended_at = Timestamp::parse_rfc3339(&stored.appended_at).unwrap_or(Timestamp(0));
            let offset = eventail_wire::Offset(stored.offset);
            comparison.take(&Place { event: &event, topic, offset, appended_at });
        }
        if page.events.is_empty() || page.next >= end {
            return Ok(());
        }
        bar.set_message(format!("{topic}: {} of {end} events", page.next));
        from = From::Offset(page.next);
    }
}

fn is_behind(stored: &Stored, to: &From) -> bool {
    match to {
        From::Time(time) => Timestamp::parse_rfc3339(&stored.appended_at).is_some_and(|at| at >= *time),
        From::Earliest => true,
        From::Latest | From::Offset(_) => false,
    }
}

fn show(
    events: u64,
    triggers: &BTreeMap<TriggerName, Difference>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "TRIGGER",
        "MATCHED",
        "WILL MATCH",
        "NEW",
        "NO LONGER",
        "INPUT CHANGED",
        "INPUT FAILS",
        "CALLS",
    ]);
    for (name, difference) in triggers {
        table.row(vec![
            name.to_string(),
            difference.matched_before.to_string(),
            difference.matched_after.to_string(),
            difference.newly_matched.to_string(),
            difference.no_longer_matched.to_string(),
            difference.input_changed.to_string(),
            difference.input_fails.to_string(),
            format!("{} -> {}", difference.calls_before, difference.calls_after),
        ]);
    }
    table.print(screen, "no triggers")?;
    for (name, difference) in triggers {
        for sample in &difference.samples {
            screen.line(&line(name, sample, screen))?;
        }
    }
    let changed = triggers.values().filter(|difference| difference.is_change()).count();
    screen.line(&format!("{events} events; {changed} of {} triggers would do otherwise", triggers.len()))
}

fn line(trigger: &TriggerName, sample: &Sample, screen: &Screen) -> String {
    let cut = |text: &String| snippet(text, SHOWN_CHARACTERS);
    let what = match sample.kind {
        SampleKind::NewlyMatched => "newly matched",
        SampleKind::NoLongerMatched => "no longer matched",
        SampleKind::InputChanged => "input changed",
        SampleKind::InputFails => "input fails",
    };
    let why = sample.why.as_ref().map(|why| format!(": {}", cut(why))).unwrap_or_default();
    let inputs = match (&sample.before, &sample.after) {
        (Some(before), Some(after)) => format!("\n    before {}\n    after  {}", cut(before), cut(after)),
        _ => String::new(),
    };
    let trigger = screen.paint(Paint::Name, trigger.as_str());
    let (topic, offset, id) = (&sample.topic, sample.offset, snippet(&sample.event_id, 80));
    format!("{trigger}: {what}: {topic}/{offset} {id}{why}{inputs}")
}
