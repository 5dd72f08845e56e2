//! `eventail topics`: listed, shown, created.

use bytes::Bytes;
use clap::{Args, Subcommand};
use eventail_wire::TopicName;
use http::Method;
use serde_json::Value;

use super::api::{Api, JSON, Query};
use super::check::counted;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::config::ByteSize;
use crate::status::{LostEvents, TopicStatus};

const EXAMPLES: &str = "\
Examples:
  eventail topics
  eventail topics show orders
  eventail topics create orders
  eventail topics --output json | jq '.topics[].name'";

/// The arguments of `topics`.
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
    /// List all topics (the default)
    List,
    /// Show one topic
    Show {
        /// Which
        topic: TopicName,
    },
    /// Create a topic with the default options; one that exists stays as it is
    Create {
        /// Its name
        topic: TopicName,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let format = arguments.output.output;
    match arguments.action.unwrap_or(Action::List) {
        Action::List => list(&mut api, format, screen).await?,
        Action::Show { topic } => {
            let answer = api.get(&format!("/v1/topics/{topic}")).await?;
            show(&api, answer, format, screen)?;
        }
        Action::Create { topic } => {
            let path = format!("/v1/topics/{topic}");
            let answer = api.send(Method::PUT, &path, JSON, Bytes::new()).await?;
            show(&api, answer, format, screen)?;
        }
    }
    Ok(Exit::Done)
}

async fn list(api: &mut Api, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    let topics = api.pages("/v1/topics", "topics", &Query::default(), None).await?;
    if format == Format::Json {
        return screen.json(&serde_json::json!({ "topics": topics }));
    }
    let mut table =
        Table::new(&["TOPIC", "EVENTS", "START", "END", "SIZE", "SEGMENTS", "DURABILITY", "STATE"]);
    for topic in api.understand::<Vec<TopicStatus>>(Value::Array(topics))? {
        table.row(vec![
            topic.name.to_string(),
            topic.end.since(topic.start).to_string(),
            topic.start.to_string(),
            topic.end.to_string(),
            size(topic.bytes),
            topic.segments.to_string(),
            topic.durability.clone(),
            state(&topic),
        ]);
    }
    table.print(screen, "There are no topics.")
}

fn show(api: &Api, answer: Value, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        return screen.json(&answer);
    }
    let topic: TopicStatus = api.understand(answer)?;
    facts(
        screen,
        &[
            ("topic", topic.name.to_string()),
            ("events", topic.end.since(topic.start).to_string()),
            ("start", topic.start.to_string()),
            ("end", topic.end.to_string()),
            ("oldest", topic.oldest_at.map(|at| at.to_string()).unwrap_or_default()),
            ("size", format!("{} in {}", size(topic.bytes), counted(topic.segments, "segment"))),
            ("durability", topic.durability.clone()),
            ("remembered ids", format!("{} in {}", topic.dedup_ids, size(topic.dedup_bytes))),
            ("state", state(&topic)),
        ],
    )?;
    for LostEvents { first, next, file, position, cause } in &topic.lost {
        let title = screen.paint(Paint::Failure, "lost");
        let last = next.0.saturating_sub(1);
        screen.line(&format!("{title}: offsets {first} to {last}: {file} at byte {position} ({cause})"))?;
    }
    Ok(())
}

fn state(topic: &TopicStatus) -> String {
    match topic.refusal {
        Some(code) => format!("refuses: {code}"),
        None if topic.lost.is_empty() => "ok".to_owned(),
        None => format!("lost {}", topic.lost.iter().map(|lost| lost.next.since(lost.first)).sum::<u64>()),
    }
}

/// A size for people: rounded down to a unit of which there are at least ten.
fn size(bytes: u64) -> String {
    let shift = [40u32, 30, 20, 10].into_iter().find(|shift| bytes >> shift >= 10).unwrap_or(0);
    let rounded = ByteSize::from_bytes(bytes >> shift << shift).to_string();
    if shift == 0 { format!("{bytes} B") } else { rounded }
}
