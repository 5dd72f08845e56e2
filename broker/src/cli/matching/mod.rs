//! `eventail match`: whether a pattern matches an event, and if not, why; without a broker.
//!
//! An event with `specversion` is read as a broker reads a CloudEvent; any other JSON object is matched as it stands.

mod lines;

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{ArgGroup, Args};
use eventail_triggers::pattern::{Explanation, Found, Matcher, Miss, Pattern, Scratch};
use eventail_wire::cloudevents::decode_structured;
use serde_json::{Value, json};

use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen, visible};
use super::{Format, Output};
use crate::config::{Config, FILE_NAME, files};

const EXAMPLES: &str = "\
PATTERN and EVENT are a file, - for standard input, or JSON text that begins with a brace.

Exit codes of this command: 0 it matches, 1 it does not, 2 the pattern, the event or the command line is wrong.

With --lines, each line of standard input is {\"pattern\": TEXT, \"event\": TEXT or null}, both JSON as strings, and is
answered with a line: true, false or invalid; where the event is null, whether the pattern is valid: true or invalid.

Examples:
  eventail match --pattern '{\"type\": [{\"prefix\": \"order.\"}]}' --event event.json
  eventail match --trigger ship --event event.json
  eventail tail orders -n 1 -o json | jq .event | eventail match --trigger ship --event -
  eventail match --lines < cases.ndjson";

/// The arguments of `match`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").required(true))]
pub(super) struct Arguments {
    /// The pattern
    #[arg(long, short, group = "what", value_name = "PATTERN", requires = "event")]
    pattern: Option<String>,
    /// Take the pattern of this trigger
    #[arg(long, short, group = "what", value_name = "NAME", requires = "event")]
    trigger: Option<String>,
    /// Answer many lines of patterns and events
    #[arg(long, group = "what", conflicts_with_all = ["event", "config"])]
    lines: bool,
    /// The configuration that the trigger is in
    #[arg(long, short, value_name = "FILE", requires = "trigger", default_value = FILE_NAME)]
    config: PathBuf,
    /// The event
    #[arg(long, short, value_name = "EVENT")]
    event: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Exit 0 where it matches, 1 where not, 2 where nothing can be said.
pub(super) fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    if arguments.lines {
        return lines::run(std::io::stdin().lock(), screen);
    }
    let explanation = match explain(arguments) {
        Ok(explanation) => explanation,
        Err(error) => {
            error.print(&mut Screen::stderr())?;
            return Ok(Exit::Usage);
        }
    };
    match arguments.output.output {
        Format::Json => screen.json(&as_json(&explanation))?,
        Format::Table => screen.line(&in_words(&explanation, screen))?,
    }
    Ok(if explanation.is_match() { Exit::Done } else { Exit::Negative })
}

fn explain(arguments: &Arguments) -> Result<Explanation, CliError> {
    let event = arguments.event.as_deref().unwrap_or_default();
    if arguments.pattern.as_deref() == Some(STDIN) && event == STDIN {
        return Err(CliError::SecondStdin);
    }
    let pattern = match (&arguments.pattern, &arguments.trigger) {
        (Some(pattern), _) => Some(text_of(pattern)?),
        (None, name) => pattern_of(&arguments.config, name.as_deref().unwrap_or_default())?,
    };
    let pattern = pattern.as_deref().map(Pattern::parse).transpose();
    let pattern = pattern.map_err(|source| CliError::Pattern { source })?;
    explain_text(pattern.as_ref(), text_of(event)?)
}

/// No pattern matches every event, and only events.
fn explain_text(pattern: Option<&Pattern>, event: String) -> Result<Explanation, CliError> {
    let is_cloud_event = serde_json::from_str::<Value>(&event)
        .is_ok_and(|event| event.as_object().is_some_and(|members| members.contains_key("specversion")));
    if is_cloud_event {
        let event =
            decode_structured(&Bytes::from(event)).map_err(|source| CliError::CloudEvent { source })?;
        return Ok(pattern.map_or(Explanation::Match, |pattern| pattern.explain(&event)));
    }
    let explanation = match pattern {
        Some(pattern) => pattern.explain_json(event.as_bytes()),
        None => Matcher::new(&[None])
            .matches_json(event.as_bytes(), &mut Scratch::default(), &mut Vec::new())
            .map(|()| Explanation::Match),
    };
    explanation.map_err(|source| CliError::EventText { source })
}

const STDIN: &str = "-";

/// The JSON text that an argument is or names.
fn text_of(argument: &str) -> Result<String, CliError> {
    if argument.trim_start().starts_with(['{', '[']) {
        return Ok(argument.to_owned());
    }
    let failed = |name: &str, source| CliError::Input { name: name.to_owned(), source };
    if argument == STDIN {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(files::FILE_BYTES_MAX).read_to_string(&mut text);
        return read.map(|_| text).map_err(|source| failed("standard input", source));
    }
    files::read_text(Path::new(argument)).map_err(|source| failed(argument, source))
}

/// The pattern of a trigger in a configuration; `None` where it takes every event.
fn pattern_of(config: &Path, name: &str) -> Result<Option<String>, CliError> {
    let config = Config::load(config)?;
    let trigger = config.triggers.into_iter().find(|(known, _)| known.as_str() == name);
    match trigger {
        Some((_, trigger)) => Ok(trigger.pattern),
        None => Err(CliError::NoTrigger { name: name.to_owned() }),
    }
}

fn in_words(explanation: &Explanation, screen: &Screen) -> String {
    match explanation {
        Explanation::Match => screen.paint(Paint::Success, "match"),
        Explanation::NoMatch(miss) => {
            format!("{}: {}", screen.paint(Paint::Failure, "no match"), visible(&miss.to_string()))
        }
    }
}

fn as_json(explanation: &Explanation) -> Value {
    let Explanation::NoMatch(miss) = explanation else { return json!({ "match": true }) };
    let Miss { path, expected, found, failed_fields, is_elsewhere } = miss;
    let (is_json, found) = match found {
        Found::Absent => (true, None),
        Found::Value(text) => (true, Some(text)),
        Found::NotJson => (false, None),
    };
    json!({
        "match": false,
        "path": path,
        "expected": serde_json::from_str::<Value>(expected).unwrap_or_else(|_| expected.as_str().into()),
        "found": found,
        "is_json": is_json,
        "failed_fields": failed_fields,
        "is_elsewhere": is_elsewhere,
    })
}
