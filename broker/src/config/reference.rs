//! The reference page of the configuration, made of the comments of `config.default.toml`. `docs/configuration.md` is this page; a
//! test holds it to that.

use super::json_schema::comment;
use super::outline::Outline;
use super::schema;
use super::shape::{self, Kind};

const TITLE: &str = "# Configuration";
/// What the page says of itself.
const NOTE: &str = "<!-- Made by `eventail schema --reference`. To change it, change the comments in broker/config.default.toml. -->";
const EDITORS: &str = "`eventail serve --print-config` prints a file with all of this in it. `eventail schema > eventail.schema.json` \
writes a JSON Schema: with `#:schema eventail.schema.json` as the first line of the file, editors that know TOML complete keys and \
mark mistakes. What the last column of a table shows is the default where it stands alone, and an example where it says so.";

/// The page.
pub(super) fn of(outline: &Outline) -> String {
    let mut page = vec![TITLE.to_owned(), NOTE.to_owned(), outline.preface.clone(), EDITORS.to_owned()];
    for (title, keys) in schema::SECTIONS {
        page.push(format!("## {}", heading(title)));
        let about = outline.find(title, None).map(|entry| entry.comment.clone()).unwrap_or_default();
        page.extend(Some(about).filter(|about| !about.is_empty()));
        page.extend(
            shape::of_section(shape::SHORT_FORMS, title).map(|kind| format!("In short: {}.", name(kind))),
        );
        page.extend(needs(title));
        let rows = keys.iter().map(|key| row(outline, title, key));
        let head = ["| key | value | meaning | default |".to_owned(), "| --- | --- | --- | --- |".to_owned()];
        page.push(head.into_iter().chain(rows).collect::<Vec<_>>().join("\n"));
    }
    page.join("\n\n") + "\n"
}

fn heading(title: &str) -> String {
    if title.starts_with('[') { format!("`{title}`") } else { capitalised(title) }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Which of its keys a section cannot do without.
fn needs(title: &str) -> Option<String> {
    let listed = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let parts = [
        shape::of_section(shape::REQUIRED, title).map(listed),
        shape::of_section(shape::ONE_OF, title).map(|keys| format!("one of {}", listed(keys))),
        shape::of_section(shape::ANY_OF, title).map(|keys| format!("at least one of {}", listed(keys))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("It needs {}.", parts.join(", and ")))
}

fn row(outline: &Outline, title: &'static str, key: &'static str) -> String {
    let held = schema::section_in(title, key).or_else(|| schema::names_in(title, key));
    let value = match held {
        Some(section) => format!("{}[`{section}`](#{})", held_as(section), anchor(section)),
        None => shape::kind_of(outline, title, key).map_or_else(String::new, name),
    };
    let source = shape::explained_in(title, key);
    let entry = outline.find(source, Some(key));
    let default = match entry.and_then(|entry| Some((entry, entry.value.as_ref()?))) {
        _ if held.is_some() => String::new(),
        Some((entry, value)) if entry.is_default && source == title => format!("`{value}`"),
        Some((_, value)) => format!("such as `{}`", toml(value)),
        None => String::new(),
    };
    let about = if held.is_some() && outline.find(title, Some(key)).is_none() {
        ""
    } else {
        comment(outline, title, key)
    };
    let cells = [format!("`{key}`"), value, about.to_owned(), default];
    format!("| {} |", cells.map(|cell| cell.replace('|', "\\|").replace("\n\n", "<br>")).join(" | "))
}

/// A value as it stands in the file.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(key, value)| {
                let is_bare =
                    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                let key = if is_bare { key.clone() } else { format!("{key:?}") };
                format!("{key} = {}", toml(value))
            });
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// How a key holds a section.
fn held_as(section: &str) -> &'static str {
    if schema::is_list(section) {
        "a list of "
    } else if section.ends_with(".NAME]") {
        "by name: "
    } else {
        ""
    }
}

/// Where GitHub puts a heading.
fn anchor(section: &str) -> String {
    section.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect()
}

/// What a value looks like, in words.
fn name(kind: Kind) -> String {
    let words =
        |words: &[&str]| words.iter().map(|word| format!("`{word:?}`")).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Text => "string".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Word(choice) => words(choice),
        Kind::Texts => "array of strings".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::TextOrSecret => "string or secret".to_owned(),
        Kind::Secrets => "secret or array of secrets".to_owned(),
        Kind::Named(kind) => format!("table of names, each with {}", name(*kind)),
        Kind::Statuses(choice) => format!("table of statuses, each with {}", words(choice)),
        Kind::TableOrText => "table or string".to_owned(),
        Kind::Anything => "anything".to_owned(),
    }
}
