//! `eventail delayed`: events that are held until their time, listed, shown, cancelled.

use bytes::Bytes;
use clap::{Args, Subcommand};
use eventail_wire::{HeldId, Timestamp, TopicName};
use http::Method;
use serde_json::{Value, json};

use super::api::{Api, JSON, Query};
use super::dead_letters::parse_time;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Screen, snippet};
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::status::{DelayedEvent, DelayedState};

const EXAMPLES: &str = "\
Examples:
  eventail publish orders --type order.reminder --delay 15m reminder.json
  eventail delayed
  eventail delayed list --topic orders --until 2026-12-01T00:00:00Z
  eventail delayed show 17
  eventail delayed cancel 17";

/// The arguments of `delayed`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List held events, the next one first (the default)
    List {
        /// For this topic
        #[arg(long)]
        topic: Option<TopicName>,
        /// Due before this time (RFC 3339)
        #[arg(long, value_parser = parse_time, value_name = "TIME")]
        until: Option<Timestamp>,
        /// So many at most
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one delayed event
    Show {
        /// Its handle, as publish and list tell it
        id: HeldId,
    },
    /// Cancel an event that is held: it is never delivered
    Cancel {
        /// Its handle, as publish and list tell it
        id: HeldId,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let format = arguments.output.output;
    match arguments.action.unwrap_or(Action::List { topic: None, until: None, limit: None }) {
        Action::List { topic, until, limit } => {
            let query = Query::default().with("topic", topic).with("until", until);
            let delayed = api.pages("/v1/delayed", "delayed", &query, limit).await?;
            if format == Format::Json {
                screen.json(&json!({ "delayed": delayed }))?;
            } else {
                let delayed = api.understand::<Vec<DelayedEvent>>(Value::Array(delayed))?;
                table(&delayed).print(screen, "No event is held.")?;
            }
        }
        Action::Show { id } => {
            let answer: Value = api.get(&format!("/v1/delayed/{id}")).await?;
            show(&api, answer, format, screen)?;
        }
        Action::Cancel { id } => {
            let path = format!("/v1/delayed/{id}");
            let answer: Value = api.send(Method::DELETE, &path, JSON, Bytes::new()).await?;
            if format == Format::Json {
                screen.json(&answer)?;
            } else {
                let delayed: DelayedEvent = api.understand(answer)?;
                let (event, topic) = (snippet(&delayed.event_id, 200), delayed.topic);
                screen.line(&format!("cancelled {id}: event {event} will not be delivered to {topic}"))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn table(delayed: &[DelayedEvent]) -> Table {
    let mut table = Table::new(&["HELD", "DELIVER AT", "TOPIC", "EVENT", "TYPE", "SOURCE", "BYTES"]);
    for delayed in delayed {
        table.row(vec![
            delayed.id.to_string(),
            delayed.deliver_at.to_string(),
            delayed.topic.to_string(),
            snippet(&delayed.event_id, 40),
            snippet(&delayed.event_type, 40),
            snippet(&delayed.event_source, 40),
            delayed.bytes.to_string(),
        ]);
    }
    table
}

fn show(api: &Api, answer: Value, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        return screen.json(&answer);
    }
    let event = answer.get("event").cloned();
    let delayed: DelayedEvent = api.understand(answer)?;
    let state = match delayed.state {
        DelayedState::Held => "held",
        DelayedState::Released => "released",
        DelayedState::Cancelled => "cancelled",
    };
    facts(
        screen,
        &[
            ("held", delayed.id.to_string()),
            ("state", state.to_owned()),
            ("deliver at", delayed.deliver_at.to_string()),
            ("topic", delayed.topic.to_string()),
            ("offset", delayed.offset.map(|offset| offset.to_string()).unwrap_or_default()),
            ("held since", delayed.held_at.to_string()),
            ("ended", delayed.ended_at.map(|ended| ended.to_string()).unwrap_or_default()),
            ("event", snippet(&delayed.event_id, 2048)),
            ("type", snippet(&delayed.event_type, 2048)),
            ("source", snippet(&delayed.event_source, 2048)),
        ],
    )?;
    event.map_or(Ok(()), |event| screen.json(&event))
}
