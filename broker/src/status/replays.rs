//! Replays: what may be asked, and what is told of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use eventail_triggers::outcome::Response;
use eventail_wire::{Offset, Timestamp, TopicName, TriggerName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Account;
use crate::config::Duration;

/// Where a range of a topic begins or ends. It is written as `earliest`, `latest`, an offset, a time (RFC 3339) or an age
/// such as `2h`, and prints as it parses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayPoint {
    /// The oldest event that is kept.
    Earliest,
    /// The end of the topic when the replay is started.
    #[default]
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first event that was appended at or after this time.
    Time(Timestamp),
    /// The same, so many milliseconds before the replay is started.
    Age(u64),
}

/// A text names no place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be earliest, latest, an offset, a time such as 2026-11-23T10:00:00Z, or an age such as 2h")]
pub struct ReplayPointError;

impl FromStr for ReplayPoint {
    type Err = ReplayPointError;

    fn from_str(text: &str) -> Result<Self, ReplayPointError> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let offset = text.parse().ok().map(|offset| Self::Offset(Offset(offset)));
        let age = || text.parse::<Duration>().ok().map(|age| Self::Age(age.as_ms()));
        let time = || Timestamp::parse_rfc3339(text).map(Self::Time);
        offset.or_else(age).or_else(time).ok_or(ReplayPointError)
    }
}

impl fmt::Display for ReplayPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => offset.fmt(f),
            Self::Time(time) => time.fmt(f),
            Self::Age(ms) => Duration::from_ms(*ms).fmt(f),
        }
    }
}

impl Serialize for ReplayPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReplayPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(offset) => Ok(Self::Offset(Offset(offset))),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What is to be replayed, where to, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The trigger whose events are meant; they go to its target unless another is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerName>,
    /// The topic whose events are meant, in place of a trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicName>,
    /// The first event of the range.
    pub from: ReplayPoint,
    /// The first event behind the range.
    #[serde(default)]
    pub to: ReplayPoint,
    /// A pattern that must match too, as JSON text. In JSON it may also be written as the object that it is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "pattern_text")]
    pub filter: Option<String>,
    /// Events per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// The topic that the events go into, in place of the trigger's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_topic: Option<TopicName>,
    /// The HTTP endpoint that the events go to, in place of the trigger's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_url: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

fn pattern_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw: Option<Box<serde_json::value::RawValue>> = Option::deserialize(deserializer)?;
    raw.map(|raw| match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Ok(text),
        Err(_) if raw.get().starts_with('{') => Ok(raw.get().to_owned()),
        Err(_) => Err(serde::de::Error::custom("`filter` must be a pattern: an object, or its text")),
    })
    .transpose()
}

/// How a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It delivers.
    Running,
    /// It waits: its trigger is paused, disabled, stopped or not in the configuration.
    Paused,
    /// Everything in its range is settled.
    Completed,
    /// Somebody stopped it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl ReplayState {
    /// Whether nothing more will come of it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// A replay at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayStatus {
    /// Its id.
    pub id: String,
    /// The trigger whose events they are.
    pub trigger: Option<TriggerName>,
    /// The topic that they lie in.
    pub topic: TopicName,
    /// Where they go, without secrets.
    pub target: String,
    /// The pattern that must match beside the trigger's.
    pub filter: Option<String>,
    /// The first offset of its range.
    pub start: Offset,
    /// The first offset behind its range.
    pub end: Offset,
    /// Events per second at most.
    pub per_second: Option<f64>,
    /// When it was started.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: ReplayState,
    /// Why, where that says not everything.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Everything in the range before this is settled.
    pub cursor: Offset,
    /// Offsets of the range that were not looked at yet.
    pub unread: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events that wait for a retry.
    pub retrying: u64,
    /// Events that retention took before they were read.
    pub lost: u64,
    /// What became of what was selected, so far.
    pub account: Account,
    /// What the target said at the last failure.
    pub last_failure: Option<Response>,
}

/// All replays together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayTotals {
    /// Those that are under way.
    pub running: u64,
    /// What became of what they selected, those that ended included.
    pub account: Account,
}

/// How many events of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCount {
    /// Events.
    pub events: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
}

/// What a replay would deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayPreview {
    /// The topic.
    pub topic: TopicName,
    /// The first offset of the range.
    pub start: Offset,
    /// The first offset behind it.
    pub end: Offset,
    /// Events that were looked at.
    pub scanned: u64,
    /// Events that would be delivered.
    pub selected: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// When the first of them was appended.
    pub first_at: Option<Timestamp>,
    /// When the last of them was appended.
    pub last_at: Option<Timestamp>,
    /// They by type. Where there are too many types, the rest is counted under the empty one.
    pub by_type: BTreeMap<String, TypeCount>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_print_as_they_parse() {
        for text in ["earliest", "latest", "7", "2h", "250ms", "2026-11-23T10:00:00.000Z"] {
            assert_eq!(text.parse::<ReplayPoint>().unwrap().to_string(), text);
        }
        for text in ["yesterday", "-1", "", "2x"] {
            assert!(text.parse::<ReplayPoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn requests_are_strict_and_take_a_filter_in_both_spellings() {
        let read = |text| serde_json::from_str::<ReplayRequest>(text).map_err(|error| error.to_string());
        let object = read(r#"{"trigger":"ship","from":"2h","filter":{"type":["a"]}}"#).unwrap();
        let text = read(r#"{"trigger":"ship","from":"2h","filter":"{\"type\":[\"a\"]}"}"#).unwrap();
        assert_eq!(object, text);
        assert_eq!((object.from, object.to), (ReplayPoint::Age(7_200_000), ReplayPoint::Latest));
        assert_eq!(read(r#"{"from":3}"#).unwrap().from, ReplayPoint::Offset(Offset(3)));
        assert_eq!(read(r#"{"from":3,"filter":null}"#).unwrap().filter, None);
        for (text, named) in [
            (r#"{"trigger":"ship"}"#, "from"),
            (r#"{"from":"soon"}"#, "earliest"),
            (r#"{"from":1,"filter":[1]}"#, "filter"),
            (r#"{"from":1,"rate":1}"#, "rate"),
        ] {
            assert!(read(text).unwrap_err().contains(named), "{text}");
        }
        let written = serde_json::to_string(&object).unwrap();
        assert_eq!(read(&written).unwrap(), object, "what is written is read again");
    }
}
