//! The configuration file as a JSON Schema, for editors. It knows every key and what its value looks like; what belongs together,
//! limits and names are for `eventail check`.

use serde_json::{Map, Value, json};

use super::outline::Outline;
use super::schema;
use super::shape::{self, Kind};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Any string may have variables of the environment in it, and what they bring is not known here.
const VARIABLE: &str = r"\$\{";

/// The schema of a file.
pub(super) fn of(outline: &Outline) -> Value {
    let mut root = section(outline, schema::TOP);
    let members = [
        ("$schema", json!(DIALECT)),
        ("title", json!("Configuration of Eventail")),
        ("description", json!(outline.preface)),
        ("$defs", definitions(outline)),
    ];
    root.extend(members.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(root)
}

fn definitions(outline: &Outline) -> Value {
    let mut secret = section(outline, shape::SECRET);
    secret.insert("description".to_owned(), json!(SECRET_COMMENT));
    json!({
        "duration": {
            "type": "string",
            "pattern": format!("^[0-9]+(ms|s|m|h|d)$|{VARIABLE}"),
        },
        "size": { "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": format!("^[0-9]+(KiB|MiB|GiB|TiB)?$|{VARIABLE}") },
        ] },
        "secret": secret,
        "text_or_secret": { "anyOf": [{ "type": "string" }, reference("secret")] },
    })
}

/// What a secret is; it has no section of its own in the file.
const SECRET_COMMENT: &str = "A secret: { env = \"VARIABLE\" } or { file = \"path\" }.";

/// A section as a table with its keys.
fn section(outline: &Outline, title: &'static str) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in schema::keys_of(title) {
        properties.insert((*key).to_owned(), property(outline, title, key));
    }
    let mut table = Map::new();
    table.insert("type".to_owned(), json!("object"));
    table.insert("properties".to_owned(), Value::Object(properties));
    table.insert("additionalProperties".to_owned(), json!(false));
    if let Some(keys) = shape::of_section(shape::REQUIRED, title) {
        table.insert("required".to_owned(), json!(keys));
    }
    let each = |keys: &[&str]| keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>();
    if let Some(keys) = shape::of_section(shape::ONE_OF, title) {
        table.insert("oneOf".to_owned(), json!(each(keys)));
    }
    if let Some(keys) = shape::of_section(shape::ANY_OF, title) {
        table.insert("anyOf".to_owned(), json!(each(keys)));
    }
    table
}

/// The value of one key, and what is said of it.
fn property(outline: &Outline, title: &'static str, key: &'static str) -> Value {
    let mut value = match schema::section_in(title, key) {
        Some(inner) => holding(outline, title, key, inner),
        None => match schema::names_in(title, key) {
            Some(named) => names(outline, named),
            None => plain(shape::kind_of(outline, title, key)),
        },
    };
    let comment = comment(outline, title, key);
    let members = value.as_object_mut();
    if let Some(members) = members {
        if !comment.is_empty() {
            members.insert("description".to_owned(), json!(comment));
        }
        let entry = outline.find(shape::explained_in(title, key), Some(key));
        if let Some((entry, example)) = entry.and_then(|entry| Some((entry, entry.value.as_ref()?))) {
            if entry.is_default && entry.section == title {
                members.insert("default".to_owned(), example.clone());
            } else {
                members.insert("examples".to_owned(), json!([example]));
            }
        }
    }
    value
}

/// A key that holds a section: as a table, as a list of tables, or in short.
fn holding(outline: &Outline, title: &'static str, key: &'static str, inner: &'static str) -> Value {
    let mut table = section(outline, inner);
    if let Some(named) = schema::names_in(title, key) {
        table.insert("additionalProperties".to_owned(), Value::Object(section(outline, named)));
    }
    if schema::is_list(inner) {
        return json!({ "type": "array", "items": table });
    }
    match shape::of_section(shape::SHORT_FORMS, inner) {
        Some(short) => json!({ "anyOf": [plain(Some(short)), table] }),
        None => Value::Object(table),
    }
}

/// Names of the operator's own, each with a section.
fn names(outline: &Outline, named: &'static str) -> Value {
    json!({ "type": "object", "additionalProperties": section(outline, named) })
}

/// What is said of a key: its comment, that of its section, or that of the sections that it holds.
pub(super) fn comment<'o>(outline: &'o Outline, title: &'static str, key: &'static str) -> &'o str {
    let of = |section: Option<&'static str>, key| {
        let entry = outline.find(section?, key)?;
        Some(entry.comment.as_str()).filter(|comment| !comment.is_empty())
    };
    of(Some(shape::explained_in(title, key)), Some(key))
        .or_else(|| of(schema::section_in(title, key), None))
        .or_else(|| of(schema::names_in(title, key), None))
        .unwrap_or_default()
}

/// A value that holds no section.
pub(super) fn plain(kind: Option<Kind>) -> Value {
    match kind {
        None | Some(Kind::Anything) => json!({}),
        Some(Kind::Text) => json!({ "type": "string" }),
        Some(Kind::Duration) => reference("duration"),
        Some(Kind::Size) => reference("size"),
        Some(Kind::Integer) => json!({ "type": "integer", "minimum": 0 }),
        Some(Kind::Number) => json!({ "type": "number", "minimum": 0 }),
        Some(Kind::Boolean) => json!({ "type": "boolean" }),
        Some(Kind::Word(words)) => {
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": VARIABLE }] })
        }
        Some(Kind::Texts) => json!({ "type": "array", "items": { "type": "string" } }),
        Some(Kind::Secret) => reference("secret"),
        Some(Kind::TextOrSecret) => reference("text_or_secret"),
        Some(Kind::Secrets) => {
            json!({ "anyOf": [reference("secret"), { "type": "array", "items": reference("secret") }] })
        }
        Some(Kind::Named(kind)) => json!({ "type": "object", "additionalProperties": plain(Some(*kind)) }),
        Some(Kind::Statuses(words)) => json!({
            "type": "object",
            "patternProperties": { "^[2-5][0-9][0-9]$": plain(Some(Kind::Word(words))) },
            "additionalProperties": false,
        }),
        Some(Kind::TableOrText) => json!({ "anyOf": [{ "type": "object" }, { "type": "string" }] }),
    }
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}
