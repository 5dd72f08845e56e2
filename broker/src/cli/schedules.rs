//! `eventail schedules`: what runs when, by a broker or by a configuration alone.

use std::path::PathBuf;

use clap::Args;
use eventail_triggers::schedule::{Runner, Zone};
use eventail_wire::{Clock, ScheduleName};
use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::clock::SystemClock;
use crate::config::{Config, Duration};
use crate::status::ScheduleStatus;

const EXAMPLES: &str = "\
Examples:
  eventail schedules
  eventail schedules nightly
  eventail schedules --config eventail.toml      what a file would do, without a broker
  eventail schedules -o json | jq '.schedules[].next_runs[0]'

The next ten runs are shown by the clocks of the schedule's time zone, without jitter. Without a broker a `rate` with no
`start` counts from now.";

/// The arguments of `schedules`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Which; all where none is named
    schedule: Option<ScheduleName>,
    /// Read this configuration instead of asking a broker
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let format = arguments.output.output;
    let name = arguments.schedule.as_ref();
    if let Some(file) = &arguments.config {
        let all = of_config(&Config::load(file)?);
        let Some(name) = name else { return list(&all, format, screen) };
        let Some(one) = all.iter().find(|schedule| schedule.name == *name) else {
            return Err(CliError::NoSchedule { schedule: name.clone(), file: file.clone() });
        };
        return show(one, format, screen);
    }
    let mut api = arguments.connection.api()?;
    match name {
        Some(name) => {
            let answer = api.get(&format!("/v1/schedules/{name}")).await?;
            show(&understand(&api, answer)?, format, screen)
        }
        None => {
            let mut answer: Value = api.get("/v1/schedules").await?;
            list(&api.understand::<Vec<ScheduleStatus>>(answer["schedules"].take())?, format, screen)
        }
    }
}

fn understand(api: &Api, answer: Value) -> Result<ScheduleStatus, CliError> {
    api.understand(answer)
}

/// The schedules of a configuration, as if a broker took them up now.
fn of_config(config: &Config) -> Vec<ScheduleStatus> {
    let now = SystemClock.now();
    let status = |(name, schedule): (&ScheduleName, &crate::config::Schedule)| {
        // What jitter is drawn from is of no matter: it is not shown.
        let runner = Runner::new(schedule.runs.clone(), now, 0);
        ScheduleStatus::of(name, schedule, &runner, now)
    };
    config.schedules.iter().map(status).collect()
}

fn list(schedules: &[ScheduleStatus], format: Format, screen: &mut Screen) -> Result<Exit, CliError> {
    if format == Format::Json {
        screen.json(&serde_json::json!({ "schedules": schedules }))?;
        return Ok(Exit::Done);
    }
    let headings = &["SCHEDULE", "EXPRESSION", "TIMEZONE", "TO", "LAST RUN", "RUNS", "SKIPPED", "STATE"];
    let mut table = Table::new(headings);
    for schedule in schedules {
        table.row(vec![
            schedule.name.to_string(),
            schedule.expression.clone(),
            schedule.timezone.clone(),
            to(schedule),
            schedule.last_run.map_or_else(|| "-".to_owned(), |run| by_its_clocks(schedule, run)),
            schedule.runs.to_string(),
            schedule.skipped.to_string(),
            state(schedule).to_owned(),
        ]);
    }
    table.print(screen, "There are no schedules.")?;
    for schedule in schedules {
        screen.line("")?;
        next_runs(schedule, screen)?;
    }
    Ok(Exit::Done)
}

fn show(schedule: &ScheduleStatus, format: Format, screen: &mut Screen) -> Result<Exit, CliError> {
    if format == Format::Json {
        screen.json(&serde_json::json!(schedule))?;
        return Ok(Exit::Done);
    }
    let moment = |moment: Option<_>| moment.map(|at| by_its_clocks(schedule, at)).unwrap_or_default();
    let jitter =
        (schedule.jitter_ms > 0).then(|| format!("up to {} later", Duration::from_ms(schedule.jitter_ms)));
    facts(
        screen,
        &[
            ("schedule", schedule.name.to_string()),
            ("expression", schedule.expression.clone()),
            ("timezone", schedule.timezone.clone()),
            ("start", moment(schedule.start)),
            ("end", moment(schedule.end)),
            ("jitter", jitter.unwrap_or_default()),
            ("to", to(schedule)),
            ("state", state(schedule).to_owned()),
            ("problem", schedule.problem.clone().unwrap_or_default()),
            ("last run", moment(schedule.last_run)),
            ("made at", moment(schedule.last_run_at)),
            ("runs", schedule.runs.to_string()),
            ("missed, made later", schedule.made_up.to_string()),
            ("missed, left out", schedule.skipped.to_string()),
        ],
    )?;
    screen.line("")?;
    next_runs(schedule, screen)?;
    Ok(Exit::Done)
}

fn next_runs(schedule: &ScheduleStatus, screen: &mut Screen) -> Result<(), CliError> {
    let mut table = Table::new(&["NEXT RUNS", "UTC"]).indented("  ");
    for run in &schedule.next_runs {
        table.row(vec![by_its_clocks(schedule, *run), run.to_string()]);
    }
    screen.line(&format!("{}:", super::screen::visible(schedule.name.as_str())))?;
    table.print(screen, "No run is to come.")
}

fn to(schedule: &ScheduleStatus) -> String {
    match (&schedule.topic, &schedule.trigger) {
        (Some(topic), _) => format!("topic {topic}"),
        (None, Some(trigger)) => format!("trigger {trigger}"),
        (None, None) => "-".to_owned(),
    }
}

fn state(schedule: &ScheduleStatus) -> &'static str {
    match schedule {
        ScheduleStatus { enabled: false, .. } => "disabled",
        ScheduleStatus { problem: Some(_), .. } => "cannot send",
        ScheduleStatus { next_runs, .. } if next_runs.is_empty() => "ended",
        _ => "ok",
    }
}

fn by_its_clocks(schedule: &ScheduleStatus, moment: eventail_wire::Timestamp) -> String {
    // A zone of a newer broker may be unknown here.
    Zone::named(&schedule.timezone).unwrap_or_default().show(moment)
}
