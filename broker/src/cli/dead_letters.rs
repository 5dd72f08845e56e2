//! `eventail dead-letters`: listed, shown, redriven, purged.

use clap::{Args, Subcommand};
use eventail_triggers::outcome::RejectReason;
use eventail_wire::{Offset, Timestamp, TopicName, TriggerName};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde_json::{Value, json};

use super::api::{Api, Query};
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Screen, snippet, visible};
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::status::{BulkResult, DeadLetterFilter, DeadLetterSummary, RedriveRequest};

const EXAMPLES: &str = "\
Examples:
  eventail dead-letters
  eventail dead-letters list --trigger ship --since 2026-11-23T10:00:00Z
  eventail dead-letters show dead-letters/7
  eventail dead-letters redrive --trigger ship --dry-run
  eventail dead-letters redrive --trigger ship --rate 50
  eventail dead-letters redrive dead-letters/7
  eventail dead-letters purge --reason max_age";

/// The arguments of `dead-letters`.
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
    /// List dead letters, oldest first (the default)
    List {
        #[command(flatten)]
        filter: Filter,
        /// So many at most
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one dead letter with its event
    Show {
        /// Its place, as listed: TOPIC/OFFSET
        place: Place,
    },
    /// Deliver dead letters again to the triggers that gave up on them
    Redrive {
        /// Only this one: TOPIC/OFFSET
        place: Option<Place>,
        #[command(flatten)]
        filter: Filter,
        /// Events per second at most
        #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
    /// Mark dead letters as done with; they are listed no more
    Purge {
        /// Only this one: TOPIC/OFFSET
        place: Option<Place>,
        #[command(flatten)]
        filter: Filter,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which dead letters are meant; everything that is given must hold.
#[derive(Debug, Args)]
struct Filter {
    /// Given up by this trigger
    #[arg(long)]
    trigger: Option<TriggerName>,
    /// For this reason: permanent, max_attempts, max_age, refused, hop_limit, invalid_reply, too_large
    #[arg(long, value_parser = parse_reason)]
    reason: Option<RejectReason>,
    /// In this dead-letter topic
    #[arg(long)]
    topic: Option<TopicName>,
    /// Dead-lettered at or after this time (RFC 3339)
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Dead-lettered before this time (RFC 3339)
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    until: Option<Timestamp>,
    /// The topic that the event came from
    #[arg(long, value_name = "TOPIC")]
    origin_topic: Option<TopicName>,
    /// The id of the event
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Also those that were redriven already
    #[arg(long)]
    include_redriven: bool,
}

/// The place of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    topic: TopicName,
    offset: Offset,
}

/// Why a text is no place of a dead letter.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it must be TOPIC/OFFSET, such as dead-letters/7")]
struct PlaceError;

impl std::str::FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (topic, offset) = text.split_once('/').ok_or(PlaceError)?;
        let topic = TopicName::new(topic).map_err(|_| PlaceError)?;
        Ok(Self { topic, offset: Offset(offset.parse().map_err(|_| PlaceError)?) })
    }
}

fn parse_reason(text: &str) -> Result<RejectReason, ValueError> {
    let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
    RejectReason::deserialize(text)
}

/// A moment of the command line.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("it must be a time such as 2026-11-23T10:00:00Z")
}

impl Filter {
    fn query(&self) -> Query {
        Query::default()
            .with("trigger", self.trigger.as_ref())
            .with("reason", self.reason.map(word))
            .with("topic", self.topic.as_ref())
            .with("origin_topic", self.origin_topic.as_ref())
            .with("since", self.since)
            .with("until", self.until)
            .with("event_id", self.event_id.as_ref())
            .with("include_redriven", self.include_redriven.then_some("true"))
    }

    /// As a request's body; a place narrows it to one.
    fn with_place(self, place: Option<Place>) -> DeadLetterFilter {
        let (topic, offset) =
            place.map_or((self.topic, None), |place| (Some(place.topic), Some(place.offset)));
        DeadLetterFilter {
            topic,
            offset,
            origin_topic: self.origin_topic,
            trigger: self.trigger,
            reason: self.reason,
            event_id: self.event_id,
            since: self.since,
            until: self.until,
            // One that is named is meant, whatever was done with it before.
            include_redriven: self.include_redriven || offset.is_some(),
        }
    }
}

/// A reason as the API has it.
pub(super) fn word(reason: RejectReason) -> String {
    match serde_json::to_value(reason) {
        Ok(Value::String(word)) => word,
        _ => format!("{reason:?}"),
    }
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let format = arguments.output.output;
    let nothing = Action::List { filter: Filter::all(), limit: None };
    match arguments.action.unwrap_or(nothing) {
        Action::List { filter, limit } => list(&mut api, &filter.query(), limit, format, screen).await?,
        Action::Show { place } => {
            let answer: Value =
                api.get(&format!("/v1/dead-letters/{}/{}", place.topic, place.offset)).await?;
            show(&api, answer, format, screen)?;
        }
        Action::Redrive { place, filter, rate, dry_run } => {
            let request = RedriveRequest { filter: filter.with_place(place), per_second: rate, dry_run };
            let answer = api.post("/v1/dead-letters/redrive", &request).await?;
            return done(
                &api,
                answer,
                if dry_run { "would be redriven" } else { "redriven" },
                format,
                screen,
            );
        }
        Action::Purge { place, filter, dry_run } => {
            let request = RedriveRequest { filter: filter.with_place(place), per_second: None, dry_run };
            let answer = api.post("/v1/dead-letters/purge", &request).await?;
            return done(&api, answer, if dry_run { "would be purged" } else { "purged" }, format, screen);
        }
    }
    Ok(Exit::Done)
}

impl Filter {
    const fn all() -> Self {
        Self {
            trigger: None,
            reason: None,
            topic: None,
            origin_topic: None,
            since: None,
            until: None,
            event_id: None,
            include_redriven: false,
        }
    }
}

async fn list(
    api: &mut Api,
    query: &Query,
    limit: Option<usize>,
    format: Format,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let letters = api.pages("/v1/dead-letters", "dead_letters", query, limit).await?;
    if format == Format::Json {
        return screen.json(&json!({ "dead_letters": letters }));
    }
    let letters = api.understand::<Vec<DeadLetterSummary>>(Value::Array(letters))?;
    summary_table(&letters).print(screen, "There are no dead letters.")
}

/// Dead letters under each other.
pub(super) fn summary_table(letters: &[DeadLetterSummary]) -> Table {
    let mut table =
        Table::new(&["DEAD LETTER", "AT", "TRIGGER", "REASON", "ATTEMPTS", "EVENT", "TYPE", "ANSWER"]);
    for letter in letters {
        table.row(vec![
            format!("{}/{}", letter.topic, letter.offset),
            letter.at.to_string(),
            letter.trigger.to_string(),
            word(letter.reason),
            letter.attempts.to_string(),
            snippet(&letter.event_id, 40),
            snippet(&letter.event_type, 40),
            answer(letter, 48),
        ]);
    }
    table
}

/// What the target said last, in one line.
fn answer(letter: &DeadLetterSummary, characters: usize) -> String {
    let response = &letter.response;
    let status = response.status.map(|status| format!("{status} ")).unwrap_or_default();
    let said = if response.body.is_empty() { &response.error } else { &response.body };
    snippet(&format!("{status}{said}"), characters)
}

fn show(api: &Api, answer_of_api: Value, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        return screen.json(&answer_of_api);
    }
    let event = answer_of_api.get("event").cloned().unwrap_or_default();
    let letter: DeadLetterSummary = api.understand(answer_of_api)?;
    // Where there is no body, the error is what is shown as the answer.
    let error =
        if letter.response.body.is_empty() { String::new() } else { snippet(&letter.response.error, 2048) };
    facts(
        screen,
        &[
            ("dead letter", format!("{}/{}", letter.topic, letter.offset)),
            ("trigger", letter.trigger.to_string()),
            ("from", format!("{}/{}", letter.origin_topic, letter.origin_offset)),
            ("reason", word(letter.reason)),
            ("attempts", letter.attempts.to_string()),
            ("first tried", letter.first_attempt_at.to_string()),
            ("last tried", letter.last_attempt_at.to_string()),
            ("dead-lettered", letter.at.to_string()),
            ("answer", answer(&letter, 2048)),
            ("error", error),
            ("correlation id", letter.correlation_id.clone()),
            (
                "redriven",
                if letter.redriven > 0 { format!("{} times", letter.redriven) } else { String::new() },
            ),
            ("of replay", letter.replay.clone().unwrap_or_default()),
            ("purged", if letter.purged { "yes".to_owned() } else { String::new() }),
        ],
    )?;
    let log = letter.response.log.trim_end();
    if !log.is_empty() {
        screen.line("the function's log, its end:")?;
        for line in log.lines() {
            screen.line(&format!("  {}", visible(line)))?;
        }
    }
    screen.json(&event)
}

fn done(api: &Api, answer: Value, verb: &str, format: Format, screen: &mut Screen) -> Result<Exit, CliError> {
    let result: BulkResult = api.understand(answer.clone())?;
    if format == Format::Json {
        screen.json(&answer)?;
    } else {
        let failed =
            if result.failed > 0 { format!(", {} could not be", result.failed) } else { String::new() };
        let count = if verb.starts_with("would") { result.selected } else { result.done };
        screen.line(&format!("{count} of {} dead letters {verb}{failed}", result.selected))?;
    }
    Ok(if result.failed > 0 { Exit::Negative } else { Exit::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_reasons_are_read_as_they_are_listed() {
        let place: Place = "dead-letters/7".parse().unwrap();
        assert_eq!((place.topic.as_str(), place.offset), ("dead-letters", Offset(7)));
        assert!("7".parse::<Place>().is_err() && "a/b".parse::<Place>().is_err());
        assert_eq!(word(parse_reason("max_attempts").unwrap()), "max_attempts");
        assert!(parse_reason("because").is_err());
    }
}
