//! What the value of a key looks like. Most say it by their default or example in `config.default.toml`; here is what those
//! cannot say: words to choose from, values of several types, what must be there. Tests hold all of it against the reader.

use serde_json::Value;

use super::outline::Outline;
use super::schema;
use super::units::{ByteSize, Duration};

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A number and a unit of time.
    Duration,
    /// Bytes: a number, or a number and a unit.
    Size,
    /// A whole number.
    Integer,
    /// A number with or without a fraction.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// `{ env = … }` or `{ file = … }`.
    Secret,
    /// Text or a secret.
    TextOrSecret,
    /// A secret, or a list of them.
    Secrets,
    /// Names of the operator's own, each with a value of this kind.
    Named(&'static Kind),
    /// Statuses of HTTP, each with one of some words.
    Statuses(&'static [&'static str]),
    /// A table of whatever keys, or text.
    TableOrText,
    /// Whatever JSON has.
    Anything,
}

const PAYLOADS: Kind = Kind::Word(&["cloudevent", "eventbridge", "sqs", "raw"]);

/// What defaults and examples cannot say.
const KINDS: &[(&str, &str, Kind)] = &[
    ("[listen.tls]", "key", Kind::TextOrSecret),
    ("[listen.tls]", "client_certificates", Kind::Word(&["off", "optional", "required"])),
    ("[topics]", "durability", Kind::Word(&["sync", "buffered"])),
    ("[functions.NAME]", "environment", Kind::Named(&Kind::TextOrSecret)),
    ("[triggers.NAME]", "pattern", Kind::TableOrText),
    ("[triggers.NAME]", "ordering", Kind::Word(&["none", "key"])),
    ("[triggers.NAME.input]", "path", Kind::Text),
    ("[triggers.NAME.input]", "constant", Kind::Anything),
    ("[triggers.NAME.input]", "jq", Kind::Text),
    ("[triggers.NAME.input]", "paths", Kind::Named(&Kind::Text)),
    ("[triggers.NAME.budget]", "action", Kind::Word(&["warn", "pause"])),
    ("[triggers.NAME.target.http]", "mode", Kind::Word(&["binary", "structured", "raw"])),
    ("[triggers.NAME.target.http]", "headers", Kind::Named(&Kind::TextOrSecret)),
    ("[triggers.NAME.target.http]", "secret", Kind::Secrets),
    ("[triggers.NAME.target.http]", "statuses", Kind::Statuses(&["ack", "retry", "throttle", "reject"])),
    ("[triggers.NAME.target.http.auth]", "bearer", Kind::Secret),
    ("[triggers.NAME.target.http.auth.basic]", "user", Kind::Text),
    ("[triggers.NAME.target.http.auth.basic]", "password", Kind::Secret),
    ("[triggers.NAME.target.http.auth.header]", "name", Kind::Text),
    ("[triggers.NAME.target.http.auth.header]", "value", Kind::Secret),
    ("[triggers.NAME.target.http.auth.oauth]", "client_secret", Kind::Secret),
    ("[triggers.NAME.target.http.auth.oauth]", "client_authentication", Kind::Word(&["basic", "post"])),
    ("[triggers.NAME.target.function]", "payload", PAYLOADS),
    ("[triggers.NAME.target.lambda]", "payload", PAYLOADS),
    ("[triggers.NAME.target.lambda]", "invocation", Kind::Word(&["sync", "async"])),
    ("[schedules.NAME]", "missed", Kind::Word(&["skip", "once", "all"])),
    ("[schedules.NAME]", "data", Kind::Anything),
    ("[invoke]", "keys", Kind::Named(&Kind::Secret)),
    ("[auth]", "certificates", Kind::Named(&Kind::Texts)),
    ("[[tests]]", "event", Kind::TableOrText),
    ("[[tests]]", "input", Kind::Named(&Kind::Anything)),
    (SECRET, "env", Kind::Text),
    (SECRET, "file", Kind::Text),
];

/// What stands for a section in short.
pub(super) const SHORT_FORMS: &[(&str, Kind)] = &[
    ("[triggers.NAME.concurrency]", Kind::Integer),
    ("[triggers.NAME.target.function]", Kind::Text),
    ("[triggers.NAME.target.topic]", Kind::Text),
];

/// The keys that a section must have.
pub(super) const REQUIRED: &[(&str, &[&str])] = &[
    ("[listen.tls]", &["certificate", "key"]),
    ("[functions.NAME]", &["command"]),
    ("[triggers.NAME]", &["target"]),
    ("[triggers.NAME.concurrency]", &["max"]),
    ("[triggers.NAME.budget]", &["per_day"]),
    ("[triggers.NAME.rate_limit]", &["per_second"]),
    ("[hosts.NAME.rate_limit]", &["per_second"]),
    ("[triggers.NAME.dedup]", &["key", "window"]),
    ("[triggers.NAME.target.http]", &["url"]),
    ("[triggers.NAME.target.http.auth.basic]", &["user", "password"]),
    ("[triggers.NAME.target.http.auth.header]", &["name", "value"]),
    ("[triggers.NAME.target.http.auth.oauth]", &["token_url", "client_id", "client_secret"]),
    ("[triggers.NAME.target.lambda]", &["function"]),
    ("[triggers.NAME.target.topic]", &["name"]),
    ("[schedules.NAME]", &["expression"]),
    ("[[tests]]", &["event", "triggers"]),
];

/// Keys of a section of which one must be there, and only one.
pub(super) const ONE_OF: &[(&str, &[&str])] = &[
    ("[triggers.NAME.input]", &["path", "constant", "template", "jq"]),
    ("[triggers.NAME.target]", schema::TARGET),
    ("[triggers.NAME.target.http.auth]", schema::HTTP_AUTH),
    ("[schedules.NAME]", &["topic", "trigger"]),
    (SECRET, schema::SECRET),
];

/// Keys of a section of which one must be there, or several.
pub(super) const ANY_OF: &[(&str, &[&str])] = &[("[triggers.NAME.target.function]", &["name", "command"])];

/// Sections whose keys mean what they mean in another one.
const LIKE: &[(&str, &str)] = &[
    ("[topics.NAME]", "[topics]"),
    ("[hosts.NAME.rate_limit]", "[triggers.NAME.rate_limit]"),
    ("[triggers.NAME.target.function]", "[functions.NAME]"),
];

/// The section that is written as `{ env = … }` and `{ file = … }`.
pub(super) const SECRET: &str = "a secret";

/// Where a key of a section is explained: there, or in the section that this one is like.
pub(super) fn explained_in(section: &'static str, key: &str) -> &'static str {
    let like = LIKE.iter().find(|(own, _)| *own == section).map(|(_, like)| *like);
    like.filter(|like| schema::known_key(like, key).is_some()).unwrap_or(section)
}

/// What the value of a key looks like; `None` where neither the table above nor the file says it.
pub(super) fn kind_of(outline: &Outline, section: &'static str, key: &str) -> Option<Kind> {
    let section = explained_in(section, key);
    if let Some((.., kind)) = KINDS.iter().find(|(at, known, _)| *at == section && *known == key) {
        return Some(*kind);
    }
    let mut entries =
        outline.entries.iter().filter(|entry| entry.section == section && entry.key == Some(key));
    entries.find_map(|entry| inferred(entry.value.as_ref()?))
}

/// The entries of a list that have what the section's title says.
pub(super) fn of_section<T: Copy>(list: &[(&str, T)], section: &str) -> Option<T> {
    list.iter().find(|(title, _)| *title == section).map(|(_, found)| *found)
}

fn inferred(example: &Value) -> Option<Kind> {
    match example {
        Value::String(text) if text.parse::<Duration>().is_ok() => Some(Kind::Duration),
        Value::String(text) if text.parse::<ByteSize>().is_ok() => Some(Kind::Size),
        Value::String(_) => Some(Kind::Text),
        Value::Number(number) if number.is_f64() => Some(Kind::Number),
        Value::Number(_) => Some(Kind::Integer),
        Value::Bool(_) => Some(Kind::Boolean),
        Value::Array(_) => Some(Kind::Texts),
        Value::Null | Value::Object(_) => None,
    }
}
