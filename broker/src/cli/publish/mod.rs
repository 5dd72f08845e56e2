//! `eventail publish`: a file or standard input as one event, or as many events in batches.

mod batch;
mod progress;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use eventail_wire::{HeldId, Timestamp, TopicName};
use http::Method;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use self::batch::{Batch, Envelope};
use self::progress::Progress;
use super::api::{Api, JSON, Query};
use super::dead_letters::parse_time;
use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use super::{Connection, Format, Output};
use crate::config::Duration;
use crate::status::Published;

const EXAMPLES: &str = "\
Without --type the input is CloudEvents in JSON: one, an array of them, or with --ndjson one on each line.
With --type the input is data, and an event is made around it: one, or with --ndjson one for each line.

Examples:
  eventail publish orders --type order.created order.json
  echo '{\"total\":7}' | eventail publish orders --type order.created --source /shop --id o-7
  eventail publish orders event.cloudevents.json
  eventail publish orders --delay 15m reminder.cloudevents.json
  eventail publish orders --ndjson events.ndjson
  zcat dump.ndjson.gz | eventail publish orders --ndjson --type order.imported --id dump-1";

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// One event is read whole; a broker takes no larger one, whatever its limits are.
const INPUT_BYTES_MAX: u64 = eventail_wire::limits::EVENT_BYTES_CEILING as u64 + 1;

/// The arguments of `publish`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The topic
    topic: TopicName,
    /// What to publish; `-` is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// Each line of the input is an event, or the JSON data of one
    #[arg(long)]
    ndjson: bool,
    /// The type of the events that are made around data
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Their source, a URI reference
    #[arg(long, default_value = "/eventail/cli", requires = "event_type")]
    source: String,
    /// Their id; with --ndjson the beginning of it, which the line's number follows. Random where absent
    #[arg(long, requires = "event_type")]
    id: Option<String>,
    /// Their subject
    #[arg(long, requires = "event_type")]
    subject: Option<String>,
    /// The media type of the data
    #[arg(long, requires = "event_type", conflicts_with = "ndjson", default_value = JSON)]
    content_type: String,
    /// Events of one request with --ndjson
    #[arg(long, default_value_t = 1000, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// When to deliver the events (RFC 3339); the broker holds them until then. An event that says so by itself is left as it is
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "delay")]
    deliver_at: Option<Timestamp>,
    /// How long to hold the events before they are delivered, such as 15m; 366d at most
    #[arg(long, value_name = "DURATION")]
    delay: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

impl Arguments {
    /// A query that says when the events are to be delivered, too.
    fn with_delay(&self, query: Query) -> Query {
        query.with("deliver_at", self.deliver_at).with("delay", self.delay)
    }
}

/// What the broker answers to a publish.
#[derive(Deserialize)]
struct Results {
    results: Vec<Published>,
}

/// What was published in all.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    published: u64,
    duplicates: u64,
    first_offset: Option<u64>,
    last_offset: Option<u64>,
    /// Those among them that are held until their time.
    held: u64,
    /// The handle and the time of the first of them.
    first_held: Option<HeldId>,
    first_held_until: Option<Timestamp>,
}

impl Tally {
    fn add(&mut self, results: &[Published]) {
        for result in results {
            self.published += 1;
            match *result {
                _ if result.is_duplicate() => self.duplicates += 1,
                Published::Appended { offset, .. } => {
                    self.first_offset.get_or_insert(offset.0);
                    self.last_offset = Some(offset.0);
                }
                Published::Held { id, deliver_at, .. } => {
                    self.held += 1;
                    self.first_held.get_or_insert(id);
                    self.first_held_until.get_or_insert(deliver_at);
                }
            }
        }
    }

    fn sentence(&self, topic: &TopicName) -> String {
        let events = if self.published == 1 { "event" } else { "events" };
        let offsets = match (self.first_offset, self.last_offset) {
            (Some(first), Some(last)) if first == last => format!(" at offset {first}"),
            (Some(first), Some(last)) => format!(" at offsets {first} to {last}"),
            _ => String::new(),
        };
        let duplicates = match self.duplicates {
            0 => String::new(),
            count => format!("; {count} of them {} there already", if count == 1 { "was" } else { "were" }),
        };
        let held = match (self.first_held, self.first_held_until) {
            (Some(id), Some(until)) if self.held == 1 => format!("; held as {id} until {until}"),
            (Some(id), Some(until)) => {
                format!("; {} of them are held, the first as {id} until {until}", self.held)
            }
            _ => String::new(),
        };
        format!("published {} {events} to {topic}{offsets}{held}{duplicates}", self.published)
    }
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let name = input_name(&arguments.file);
    let failed = |source| CliError::Input { name: name.clone(), source };
    let (input, bytes): (Box<dyn AsyncRead + Unpin>, Option<u64>) = if is_stdin(&arguments.file) {
        (Box::new(tokio::io::stdin()), None)
    } else {
        let file = File::open(&arguments.file).await.map_err(failed)?;
        let bytes = file.metadata().await.map_err(failed)?.len();
        (Box::new(file), Some(bytes))
    };
    let tally = if arguments.ndjson {
        publish_lines(&mut api, &arguments, input, bytes).await?
    } else {
        let mut body = Vec::new();
        input.take(INPUT_BYTES_MAX).read_to_end(&mut body).await.map_err(failed)?;
        publish_one(&mut api, &arguments, body.into()).await?
    };
    match arguments.output.output {
        Format::Json => screen.json(&tally)?,
        Format::Table => screen.line(&tally.sentence(&arguments.topic))?,
    }
    Ok(Exit::Done)
}

async fn publish_one(api: &mut Api, arguments: &Arguments, body: Bytes) -> Result<Tally, CliError> {
    let path = format!("/v1/topics/{}/events", arguments.topic);
    let results: Results = if let Some(event_type) = &arguments.event_type {
        let id = arguments.id.clone().unwrap_or_else(|| new_id(&mut SmallRng::from_os_rng()));
        let query = Query::default()
            .with("type", Some(event_type))
            .with("source", Some(&arguments.source))
            .with("id", Some(id))
            .with("subject", arguments.subject.as_ref());
        let path = format!("{path}{}", arguments.with_delay(query).as_str());
        api.send(Method::POST, &path, &arguments.content_type, body).await?
    } else {
        let content_type = match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(serde_json::Value::Array(_)) => BATCH,
            Ok(value) if value.get("specversion").is_some() => STRUCTURED,
            _ => return Err(CliError::NotAnEvent { name: input_name(&arguments.file) }),
        };
        let path = format!("{path}{}", arguments.with_delay(Query::default()).as_str());
        api.send(Method::POST, &path, content_type, body).await?
    };
    let mut tally = Tally::default();
    tally.add(&results.results);
    Ok(tally)
}

async fn publish_lines(
    api: &mut Api,
    arguments: &Arguments,
    input: Box<dyn AsyncRead + Unpin>,
    bytes: Option<u64>,
) -> Result<Tally, CliError> {
    let name = input_name(&arguments.file);
    let envelope = arguments.event_type.as_ref().map(|event_type| Envelope {
        id: arguments.id.clone(),
        source: arguments.source.clone(),
        event_type: event_type.clone(),
        subject: arguments.subject.clone(),
    });
    let mut ids = SmallRng::from_os_rng();
    let mut reader = BufReader::with_capacity(256 << 10, input);
    let (mut tally, mut batch, mut line) = (Tally::default(), Batch::default(), Vec::new());
    let progress = Progress::new(bytes);
    for number in 1.. {
        line.clear();
        let read = (&mut reader).take(INPUT_BYTES_MAX).read_until(b'\n', &mut line).await;
        let read = read.map_err(|source| CliError::Input { name: name.clone(), source })?;
        let text = line.trim_ascii();
        if read > 0 && text.is_empty() {
            continue;
        }
        let is_full = batch.events() >= arguments.batch || !batch.has_room(text.len());
        if batch.events() > 0 && (read == 0 || is_full) {
            send(api, arguments, &mut batch, &mut tally).await?;
            progress.published(tally.published);
        }
        if read == 0 {
            break;
        }
        let added = batch.add(number, text, envelope.as_ref(), || new_id(&mut ids));
        if let Err(problem) = added {
            let source = Box::new(CliError::Line { name, line: number, problem });
            let lines = (batch.first_line().unwrap_or(number), number);
            return Err(CliError::Stopped { published: tally.published, lines, source });
        }
        progress.read(read as u64);
    }
    progress.finish();
    Ok(tally)
}

async fn send(
    api: &mut Api,
    arguments: &Arguments,
    batch: &mut Batch,
    tally: &mut Tally,
) -> Result<(), CliError> {
    let delay = arguments.with_delay(Query::default());
    let path = format!("/v1/topics/{}/events{}", arguments.topic, delay.as_str());
    let lines = batch.lines();
    match api.send::<Results>(Method::POST, &path, BATCH, batch.take()).await {
        Ok(results) => {
            tally.add(&results.results);
            Ok(())
        }
        Err(source) => Err(CliError::Stopped { published: tally.published, lines, source: Box::new(source) }),
    }
}

/// 128 random bits, as the ids of events that nobody named.
fn new_id(random: &mut SmallRng) -> String {
    format!("{:032x}", random.random::<u128>())
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn input_name(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventail_wire::Offset;

    #[test]
    fn what_was_published_is_told_in_one_sentence() {
        let topic = TopicName::new("orders").unwrap();
        let published = |offset, duplicate| Published::Appended { offset: Offset(offset), duplicate };
        let mut tally = Tally::default();
        assert_eq!(tally.sentence(&topic), "published 0 events to orders");
        tally.add(&[published(3, false)]);
        assert_eq!(tally.sentence(&topic), "published 1 event to orders at offset 3");
        tally.add(&[published(1, true), published(4, false)]);
        assert_eq!(
            tally.sentence(&topic),
            "published 3 events to orders at offsets 3 to 4; 1 of them was there already"
        );
        let mut tally = Tally::default();
        let held = |id, duplicate| Published::Held { id: HeldId(id), deliver_at: Timestamp(0), duplicate };
        tally.add(&[held(7, false)]);
        let said = "published 1 event to orders; held as 7 until 1970-01-01T00:00:00.000Z";
        assert_eq!(tally.sentence(&topic), said);
        tally.add(&[held(7, true), held(8, false)]);
        let said = "published 3 events to orders; 2 of them are held, the first as 7 until 1970-01-01T00:00:00.000Z; \
                    1 of them was there already";
        assert_eq!(tally.sentence(&topic), said);
    }
}
