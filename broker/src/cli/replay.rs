//! `eventail replay`: starts a replay, and shows how it goes until it is over.

use std::time::Duration;

use clap::Args;
use eventail_triggers::pattern::{Pattern, PatternError};
use eventail_wire::{TopicName, TriggerName};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::exit::Exit;
use super::replays::{path_of, print};
use super::screen::Screen;
use super::signals::Signals;
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::status::{ReplayPoint, ReplayPreview, ReplayRequest, ReplayState, ReplayStatus};

const EXAMPLES: &str = "\
What is replayed is marked (`eventail-delivery: replay`) and has a `webhook-id` of its own. Live events go on beside it.
Ctrl-C stops the showing and not the replay; `eventail replays ID --cancel` stops it.

Examples:
  eventail replay ship --from 2h --dry-run
  eventail replay ship --from 2026-11-23T10:00:00Z --to 2026-11-23T12:00:00Z --rate 50
  eventail replay ship --from 1200 --to 1300 --filter '{\"data\":{\"country\":[\"FR\"]}}'
  eventail replay ship --from earliest --to-url http://127.0.0.1:9000/try
  eventail replay --topic orders --from 1d --to-topic orders-again --detach";

/// How often is asked how it goes.
const POLL: Duration = Duration::from_millis(250);

/// The arguments of `replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The trigger whose events are replayed, to its target unless another is given
    #[arg(required_unless_present = "topic", conflicts_with = "topic")]
    trigger: Option<TriggerName>,
    /// The topic whose events are replayed, in place of a trigger
    #[arg(long)]
    topic: Option<TopicName>,
    /// Where to begin: earliest, an offset, a time, or an age such as 2h
    #[arg(long, value_name = "PLACE")]
    from: ReplayPoint,
    /// Where to end, that one not included: latest, an offset, a time, or an age
    #[arg(long, value_name = "PLACE", default_value = "latest")]
    to: ReplayPoint,
    /// Replay only events that match this pattern too, in JSON as triggers have it
    #[arg(long, value_name = "PATTERN", value_parser = checked_pattern)]
    filter: Option<String>,
    /// Events per second at most
    #[arg(long, value_name = "EVENTS")]
    rate: Option<f64>,
    /// Deliver into this topic, in place of the trigger's target
    #[arg(long, value_name = "TOPIC", conflicts_with = "to_url")]
    to_topic: Option<TopicName>,
    /// Deliver to this HTTP endpoint, in place of the trigger's target
    #[arg(long, value_name = "URL")]
    to_url: Option<String>,
    /// Only count what would be delivered
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// The text of a pattern that is one: the broker gets it as it was written.
fn checked_pattern(text: &str) -> Result<String, PatternError> {
    Pattern::parse(text).map(|_| text.to_owned())
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let format = arguments.output.output;
    let request = ReplayRequest {
        trigger: arguments.trigger,
        topic: arguments.topic,
        from: arguments.from,
        to: arguments.to,
        filter: arguments.filter,
        per_second: arguments.rate,
        to_topic: arguments.to_topic,
        to_url: arguments.to_url,
        dry_run: arguments.dry_run,
    };
    let answer: Value = api.post("/v1/replays", &request).await?;
    if request.dry_run {
        preview(&api, answer, format, screen)?;
        return Ok(Exit::Done);
    }
    if arguments.detach {
        print(&api, answer, format, screen)?;
        return Ok(Exit::Done);
    }
    let started: ReplayStatus = api.understand(answer)?;
    follow(&mut api, &started.id, format, screen).await
}

/// Shows how it goes until it is over. It is a failure if not everything that was selected was delivered.
async fn follow(api: &mut Api, id: &str, format: Format, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut signals = Signals::new()?;
    let progress = progress();
    loop {
        let answer: Value = api.get(&path_of(id)).await?;
        let status: ReplayStatus = api.understand(answer.clone())?;
        tell(&progress, &status);
        if status.state.is_final() {
            progress.finish_and_clear();
            print(api, answer, format, screen)?;
            let is_whole = status.account.matched == status.account.delivered && status.lost == 0;
            let is_good = status.state == ReplayState::Completed && is_whole;
            return Ok(if is_good { Exit::Done } else { Exit::Negative });
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            exit = signals.next() => {
                progress.finish_and_clear();
                Screen::stderr().line(&format!("the replay goes on; `eventail replays {id}` shows how"))?;
                return Ok(exit);
            }
        }
    }
}

/// A bar on standard error, where somebody watches.
fn progress() -> ProgressBar {
    if !Screen::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // A bar in the default style is no reason to stop.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}  {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn tell(bar: &ProgressBar, status: &ReplayStatus) {
    let account = status.account;
    bar.set_length(status.end.since(status.start));
    bar.set_position(status.cursor.since(status.start));
    let mut message = format!("{} delivered", account.delivered);
    for (count, what) in [
        (account.dead_lettered, "dead-lettered"),
        (account.expired, "expired"),
        (status.retrying, "retrying"),
    ] {
        if count > 0 {
            message.push_str(&format!(", {count} {what}"));
        }
    }
    if status.state == ReplayState::Paused {
        message.push_str(&format!("; paused: {}", status.reason.as_deref().unwrap_or_default()));
    }
    bar.set_message(message);
}

fn preview(api: &Api, answer: Value, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        return screen.json(&answer);
    }
    let preview: ReplayPreview = api.understand(answer)?;
    let time = |at: Option<eventail_wire::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    facts(
        screen,
        &[
            ("topic", preview.topic.to_string()),
            ("offsets", format!("{} to {}", preview.start, preview.end)),
            ("looked at", preview.scanned.to_string()),
            ("would be delivered", preview.selected.to_string()),
            ("bytes", preview.bytes.to_string()),
            ("the first of", time(preview.first_at)),
            ("the last of", time(preview.last_at)),
        ],
    )?;
    if preview.by_type.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["TYPE", "EVENTS", "BYTES"]);
    for (kind, count) in preview.by_type {
        let kind = if kind.is_empty() { "(others)".to_owned() } else { kind };
        table.row(vec![kind, count.events.to_string(), count.bytes.to_string()]);
    }
    table.print(screen, "")
}
