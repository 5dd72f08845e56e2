//! `eventail replays`: listed, shown, cancelled.

use clap::Args;
use serde_json::{Value, json};

use super::api::{Api, Query, escape};
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Screen, snippet};
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::status::{ReplayState, ReplayStatus};

const EXAMPLES: &str = "\
Examples:
  eventail replays
  eventail replays mi0zy1k2
  eventail replays mi0zy1k2 --cancel";

/// The arguments of `replays`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Only this one, as a whole
    id: Option<String>,
    /// Stop it for good
    #[arg(long, requires = "id")]
    cancel: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let format = arguments.output.output;
    let Some(id) = arguments.id else {
        list(&mut api, format, screen).await?;
        return Ok(Exit::Done);
    };
    let answer: Value = if arguments.cancel {
        api.post(&format!("{}/cancel", path_of(&id)), &json!({})).await?
    } else {
        api.get(&path_of(&id)).await?
    };
    print(&api, answer, format, screen)?;
    Ok(Exit::Done)
}

/// Where the API has a replay.
pub(super) fn path_of(id: &str) -> String {
    format!("/v1/replays/{}", escape(id))
}

/// Prints one replay as a whole.
pub(super) fn print(api: &Api, answer: Value, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        return screen.json(&answer);
    }
    show(&api.understand(answer)?, screen)
}

async fn list(api: &mut Api, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    let replays = api.pages("/v1/replays", "replays", &Query::default(), None).await?;
    if format == Format::Json {
        return screen.json(&json!({ "replays": replays }));
    }
    let mut table = Table::new(&[
        "REPLAY",
        "STARTED",
        "TOPIC",
        "TARGET",
        "FROM",
        "TO",
        "STATE",
        "UNREAD",
        "SELECTED",
        "DELIVERED",
        "DEAD",
        "EXPIRED",
        "PENDING",
    ]);
    for replay in api.understand::<Vec<ReplayStatus>>(Value::Array(replays))? {
        let account = replay.account;
        let mut row = vec![replay.id, replay.created_at.to_string(), replay.topic.to_string(), replay.target];
        row.extend([replay.start.to_string(), replay.end.to_string(), word(replay.state).to_owned()]);
        let numbers = [
            replay.unread,
            account.matched,
            account.delivered,
            account.dead_lettered,
            account.expired,
            account.pending,
        ];
        row.extend(numbers.map(|number| number.to_string()));
        table.row(row);
    }
    table.print(screen, "There are no replays: `eventail replay` starts one.")
}

fn show(replay: &ReplayStatus, screen: &mut Screen) -> Result<(), CliError> {
    let account = replay.account;
    let failure = replay.last_failure.as_ref().map(|response| {
        let status = response.status.map(|status| format!("{status} ")).unwrap_or_default();
        snippet(&format!("{status}{} {}", response.error, response.body), 200)
    });
    facts(
        screen,
        &[
            ("replay", replay.id.clone()),
            ("trigger", replay.trigger.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("topic", replay.topic.to_string()),
            ("target", replay.target.clone()),
            ("offsets", format!("{} to {}", replay.start, replay.end)),
            ("filter", replay.filter.as_deref().map(|filter| snippet(filter, 200)).unwrap_or_default()),
            ("rate", replay.per_second.map(|rate| format!("{rate} a second")).unwrap_or_default()),
            ("started", replay.created_at.to_string()),
            ("ended", replay.ended_at.map(|at| at.to_string()).unwrap_or_default()),
            ("state", word(replay.state).to_owned()),
            ("reason", replay.reason.clone().unwrap_or_default()),
            ("unread", replay.unread.to_string()),
            ("lost", replay.lost.to_string()),
            ("selected", account.matched.to_string()),
            ("  delivered", account.delivered.to_string()),
            ("  dead-lettered", account.dead_lettered.to_string()),
            ("  expired", account.expired.to_string()),
            ("  pending", account.pending.to_string()),
            ("last failure", failure.unwrap_or_default()),
        ],
    )
}

/// One word for how a replay stands.
pub(super) const fn word(state: ReplayState) -> &'static str {
    match state {
        ReplayState::Running => "running",
        ReplayState::Paused => "paused",
        ReplayState::Completed => "completed",
        ReplayState::Cancelled => "cancelled",
        ReplayState::Failed => "failed",
    }
}
