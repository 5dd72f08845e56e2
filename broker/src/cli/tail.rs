//! `eventail tail`: the events of a topic, from anywhere in it, and those that come.

use bytes::Bytes;
use clap::Args;
use eventail_triggers::pattern::{Matcher, Pattern, PatternError, Scratch};
use eventail_wire::cloudevents::decode_structured;
use eventail_wire::{Event, Offset, Timestamp, TopicName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Api, Query};
use super::dead_letters::parse_time;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen, snippet};
use super::{Connection, Format, Output};
use crate::status::{LostEvents, TopicStatus};

const EXAMPLES: &str = "\
Examples:
  eventail tail orders                                  the last 10 events
  eventail tail orders --follow                         and those that come
  eventail tail orders --from earliest --limit 100
  eventail tail orders --from 2026-11-23T10:00:00Z
  eventail tail orders -f --filter '{\"type\":[{\"prefix\":\"order.\"}]}'
  eventail tail orders --from 0 --output json | jq .event.data";

/// How many events are shown where nothing says where to begin.
const LAST: u64 = 10;
/// How long one request waits for events to come.
const POLL: &str = "10s";
/// Events of one request.
const PAGE: u64 = 500;
/// What is shown of an event's data in a line.
const DATA_CHARACTERS: usize = 120;

/// The arguments of `tail`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The topic
    topic: TopicName,
    /// Where to begin: earliest, latest, an offset or a time; by default 10 events before the end
    #[arg(long, value_parser = parse_from)]
    from: Option<From>,
    /// Go on with the events that come
    #[arg(long, short)]
    follow: bool,
    /// Show only events that match this pattern, in JSON as triggers have it
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    filter: Option<Pattern>,
    /// Stop after so many events
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Where a tail begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Earliest,
    Latest,
    Offset(u64),
    Time(Timestamp),
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => offset.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

pub(super) fn parse_from(text: &str) -> Result<From, &'static str> {
    match text {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        _ => match text.parse() {
            Ok(offset) => Ok(From::Offset(offset)),
            Err(_) => parse_time(text).map(From::Time).map_err(
                |_| "it must be earliest, latest, an offset, or a time such as 2026-11-23T10:00:00Z",
            ),
        },
    }
}

fn parse_pattern(text: &str) -> Result<Pattern, PatternError> {
    Pattern::parse(text)
}

/// A page of events.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) events: Vec<Stored>,
    #[serde(default)]
    lost: Vec<LostEvents>,
    pub(super) next: u64,
    end: u64,
}

/// An event with its place. The event's text is kept as the broker wrote it.
#[derive(Deserialize)]
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) appended_at: String,
    event: Box<RawValue>,
}

/// Does it. Without `--follow` it ends at what was the end when it began to read the last page.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let path = format!("/v1/topics/{}/events", arguments.topic);
    let mut from = match arguments.from {
        Some(from) => from,
        None => last(&mut api, &arguments.topic).await?,
    };
    let matcher = arguments.filter.map(|pattern| Matcher::new(&[Some(pattern)]));
    let (mut scratch, mut matching) = (Scratch::default(), Vec::new());
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut told_lost = Offset(0);
    loop {
        let wait = arguments.follow.then_some(POLL);
        // With a filter it cannot be told how many must be read to show so many.
        let limit = if matcher.is_some() { PAGE } else { left.min(PAGE) };
        let query = Query::default().with("from", Some(&from)).with("limit", Some(limit)).with("wait", wait);
        let page: Page = api.get(&format!("{path}{}", query.as_str())).await?;
        for stored in page.events {
            let event = decode(&stored)?;
            if let Some(matcher) = &matcher {
                matcher.matches(&event, &mut scratch, &mut matching);
                if matching.is_empty() {
                    continue;
                }
            }
            print(&stored, &event, arguments.output.output, screen)?;
            left -= 1;
            if left == 0 {
                screen.flush()?;
                return Ok(Exit::Done);
            }
        }
        screen.flush()?;
        tell_lost(&page.lost, &mut told_lost)?;
        if !arguments.follow && page.next >= page.end {
            return Ok(Exit::Done);
        }
        from = From::Offset(page.next);
    }
}

/// Says on standard error what is missing between the events.
fn tell_lost(lost: &[LostEvents], told: &mut Offset) -> Result<(), CliError> {
    let before = *told;
    for LostEvents { first, next, file, position, cause } in lost.iter().filter(|lost| lost.next > before) {
        let title = Screen::stderr().paint(Paint::Failure, "lost");
        Screen::stderr().line(&format!(
            "{title}: offsets {first} to {}: {file} is damaged at byte {position} ({cause})",
            next.0.saturating_sub(1)
        ))?;
        *told = *next;
    }
    Ok(())
}

/// A few events before the end.
async fn last(api: &mut Api, topic: &TopicName) -> Result<From, CliError> {
    let status: TopicStatus = api.get(&format!("/v1/topics/{topic}")).await?;
    Ok(From::Offset(status.end.0.saturating_sub(LAST).max(status.start.0)))
}

pub(super) fn decode(stored: &Stored) -> Result<Event, CliError> {
    decode_structured(&Bytes::copy_from_slice(stored.event.get().as_bytes()))
        .map_err(|source| CliError::Event { offset: stored.offset, source })
}

fn print(stored: &Stored, event: &Event, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        let (offset, at, event) = (stored.offset, &stored.appended_at, stored.event.get());
        return screen
            .line_of_many(&format!("{{\"offset\":{offset},\"appended_at\":\"{at}\",\"event\":{event}}}"));
    }
    let offset = screen.paint(Paint::Heading, &format!("{:>8}", Offset(stored.offset).0));
    let at = screen.paint(Paint::Quiet, &stored.appended_at);
    let kind = screen.paint(Paint::Name, &snippet(event.event_type(), 80));
    let subject = event.attribute("subject").map(|subject| format!(" {}", snippet(subject, 60)));
    let (source, id) = (snippet(event.source(), 60), snippet(event.id(), 60));
    let data = screen.paint(Paint::Quiet, &data_of(event));
    screen.line_of_many(&format!(
        "{offset}  {at}  {kind}  {source} {id}{}  {data}",
        subject.unwrap_or_default()
    ))
}

/// What is told of an event's data in a line.
fn data_of(event: &Event) -> String {
    match std::str::from_utf8(event.data_slice()) {
        Ok(text) => snippet(text, DATA_CHARACTERS),
        Err(_) => format!("{} bytes", event.data_slice().len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_begins_where_it_is_told_to() {
        for text in ["earliest", "latest", "7", "2026-11-23T10:00:00.000Z"] {
            assert_eq!(parse_from(text).unwrap().to_string(), text);
        }
        assert!(parse_from("yesterday").is_err() && parse_from("-1").is_err());
    }

    #[test]
    fn data_is_shown_in_one_harmless_line() {
        let event = |data: &'static [u8]| Event::builder("1", "/s", "t").data(data).build().unwrap();
        assert_eq!(data_of(&event(b"{\n}")), "{ }");
        assert_eq!(data_of(&event(b"\xff\xfe")), "2 bytes");
        assert_eq!(data_of(&event(b"\x1b[2J")), "\\u{1b}[2J");
    }
}
