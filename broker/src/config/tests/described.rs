//! What is said of the configuration file for editors and people, against what the reader takes.

use serde_json::Value;

use super::super::outline::Outline;
use super::super::shape::{self, Kind};
use super::*;

/// Whether a value fits a schema, in the parts of JSON Schema that the generator uses.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(target) = schema["$ref"].as_str() {
        let definition = root.pointer(target.trim_start_matches('#')).expect("a definition");
        fits(root, definition, value)?;
    }
    let is_type = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("no type {other}"),
    };
    if let Some(name) = schema["type"].as_str()
        && !is_type(name)
    {
        return Err(format!("{value} is no {name}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !matches(pattern, text)
    {
        return Err(format!("{value} is not like {pattern}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{value} is none of {words:?}"));
    }
    let counted = |list: &str| {
        let all = schema[list].as_array()?;
        Some(all.iter().filter(|schema| fits(root, schema, value).is_ok()).count())
    };
    if counted("anyOf") == Some(0) {
        return Err(format!("{value} fits none of {}", schema["anyOf"]));
    }
    if counted("oneOf").is_some_and(|fitting| fitting != 1) {
        return Err(format!("{value} does not fit one of {}", schema["oneOf"]));
    }
    for item in value.as_array().into_iter().flatten() {
        fits(root, &schema["items"], item)?;
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap()).is_none() {
            return Err(format!("{required} is missing in {value}"));
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let inner = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
        let has_pattern = schema.get("patternProperties").is_some();
        if *inner == Value::Bool(false) && !has_pattern {
            return Err(format!("{key} is not known"));
        }
        fits(root, inner, value).map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(())
}

/// Whether a text is like one of the patterns that the generator uses.
fn matches(pattern: &str, text: &str) -> bool {
    let is_unit = |unit: &str| pattern.contains(unit);
    text.contains("${")
        || (is_unit("|ms|") || is_unit("(ms|")) && text.parse::<Duration>().is_ok()
        || is_unit("KiB") && text.parse::<ByteSize>().is_ok()
}

fn as_json(text: &str) -> Value {
    let document = toml::de::DeTable::parse(text).unwrap();
    super::super::pattern::json(&toml::de::DeValue::Table(document.into_inner())).unwrap()
}

fn fitting(text: &str) -> Result<(), String> {
    let schema = json_schema();
    fits(&schema, &schema, &as_json(text))
}

/// A file in which a section has these keys, and what else the reader asks for.
fn file_with(section: &str, inside: &str) -> String {
    let path = schema::words_of(section).into_iter().map(|word| match word {
        "NAME" => "n".to_owned(),
        "ARCHITECTURE" => "x86".to_owned(),
        word => word.to_owned(),
    });
    let path = path.collect::<Vec<_>>().join(".");
    match path.as_str() {
        "" => inside.to_owned(),
        _ if schema::is_list(section) => format!("[[{path}]]\n{inside}"),
        _ => format!("[{path}]\n{inside}"),
    }
}

fn problems(text: &str) -> Vec<Problem> {
    let refused = parse(text).err();
    refused
        .map(|refused| refused.errors().iter().map(|error| error.problem().clone()).collect())
        .unwrap_or_default()
}

fn sections() -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    schema::SECTIONS.iter().filter(|(title, _)| *title != shape::SECRET)
}

#[test]
fn the_default_file_and_its_examples_fit_the_schema() {
    fitting(DEFAULT_FILE).unwrap();
    fitting(&with_examples()).unwrap();
}

#[test]
fn what_the_reader_refuses_by_form_does_not_fit_the_schema() {
    for (text, why) in [
        ("colour = 1", "colour is not known"),
        ("drain = 10", "is no string"),
        ("limits.topics_max = \"many\"", "is no integer"),
        ("topics.durability = \"synced\"", "fits none"),
        ("topics.orders.auto_create = true", "auto_create is not known"),
        ("triggers.t.topic = \"a\"", "target"),
        ("triggers.t.target = {}", "one of"),
        ("triggers.t.target.http = { url = \"http://a/\", secret = \"whsec\" }", "fits none"),
        ("functions.f.command = \"run\"", "is no array"),
    ] {
        let told = fitting(text).expect_err(text);
        assert!(told.contains(why), "{text}: {told}");
    }
}

#[test]
fn short_forms_and_variables_of_the_environment_fit_the_schema() {
    for text in [
        "triggers.t.target.function = \"thumbnail\"",
        "triggers.t.target.topic = \"audit\"",
        "triggers.t = { target.topic = \"audit\", pattern = \"{}\", concurrency = 3 }",
        "triggers.t.target.http = { url = \"${URL}\", secret = [{ env = \"A\" }, { file = \"b\" }] }",
        "drain = \"${DRAIN:-10s}\"\ntopics.durability = \"${DURABILITY}\"\nlimits.event_bytes_max = 4096",
    ] {
        fitting(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    }
}

#[test]
fn every_key_is_described_and_has_a_kind() {
    let outline = Outline::of(DEFAULT_FILE);
    for (title, keys) in sections() {
        for key in *keys {
            let holds = schema::section_in(title, key).or_else(|| schema::names_in(title, key)).is_some();
            assert!(holds || shape::kind_of(&outline, title, key).is_some(), "{title} {key} has no kind");
            // The keys of a table that stands in one line share the comment of the line.
            let is_of_line = schema::keys_of(title).iter().all(|key| {
                let entry = outline.find(shape::explained_in(title, key), Some(key));
                entry.is_some_and(|entry| entry.comment.is_empty())
            });
            let comment = super::super::json_schema::comment(&outline, title, key);
            assert!(!comment.is_empty() || is_of_line, "{title} {key} has no comment");
        }
    }
}

#[test]
fn comments_go_to_the_keys_that_they_are_for() {
    let outline = Outline::of(DEFAULT_FILE);
    let comment = |title, key| super::super::json_schema::comment(&outline, title, key);
    assert!(comment("[triggers.NAME.input]", "path").starts_with("A part of the event"));
    assert!(comment("[triggers.NAME.input]", "jq").starts_with("The first result of a jq expression"));
    assert!(comment("[triggers.NAME.input]", "template").starts_with("A text with places"));
    assert!(comment("[triggers.NAME.target.function]", "timeout").starts_with("How long one invocation"));
    assert!(comment("[topics.NAME]", "durability").starts_with("When a publish is acknowledged"));
    assert!(comment(schema::TOP, "triggers").starts_with("A trigger: "));
}

/// What has to stand beside a key for the reader to look at it.
fn beside(title: &str, key: &str) -> &'static str {
    match (title, key) {
        ("[[tests]]", "input") => "\ntriggers = []",
        ("[triggers.NAME.input]", "paths") => "\ntemplate = \"x\"",
        ("[triggers.NAME.target.function]", key) if key != "command" => "\ncommand = [\"run\"]",
        _ => "",
    }
}

/// The reader's verdict on the type of a value alone.
fn takes_type(title: &str, key: &str, value: &str) -> bool {
    let is_text = value.starts_with('"');
    let of_type = |problem: &Problem| match problem {
        Problem::WrongType { key: at, .. } | Problem::InlineSecret { key: at } => at == key,
        // A number without a unit.
        Problem::Unit { key: at, .. } => at == key && !is_text,
        _ => false,
    };
    !problems(&file_with(title, &format!("{key} = {value}{}", beside(title, key)))).iter().any(of_type)
}

#[test]
fn the_schema_takes_the_types_that_the_reader_takes() {
    let outline = Outline::of(DEFAULT_FILE);
    let root = json_schema();
    for (title, keys) in sections() {
        for key in *keys {
            if schema::section_in(title, key).or_else(|| schema::names_in(title, key)).is_some() {
                continue;
            }
            let kind = shape::kind_of(&outline, title, key).unwrap();
            let text = match kind {
                Kind::Duration => "\"1s\"".to_owned(),
                Kind::Word(words) => format!("{:?}", words[0]),
                _ => "\"1\"".to_owned(),
            };
            for value in [text.as_str(), "1", "1.5", "true", "[]", "{}"] {
                let described = super::super::json_schema::plain(Some(kind));
                let json = as_json(&format!("v = {value}"))["v"].clone();
                let fits = fits(&root, &described, &json).is_ok();
                // Of a secret without a source the reader says so, and not that it is no table.
                let fits = fits
                    || (value == "{}" && matches!(kind, Kind::Secret | Kind::Secrets | Kind::TextOrSecret));
                assert_eq!(fits, takes_type(title, key, value), "{title} {key} = {value}");
            }
        }
    }
}

#[test]
fn words_are_those_of_the_reader() {
    let outline = Outline::of(DEFAULT_FILE);
    let mut checked = 0;
    for (title, keys) in sections() {
        for key in *keys {
            let Some(Kind::Word(words)) = shape::kind_of(&outline, title, key) else { continue };
            let told = problems(&file_with(title, &format!("{key} = \"\"\nfunction = \"f\"")));
            let allowed = told.iter().find_map(|problem| match problem {
                Problem::UnknownChoice { key: at, allowed, .. } if at == key => Some(*allowed),
                _ => None,
            });
            assert_eq!(allowed, Some(words), "{title} {key}");
            checked += 1;
        }
    }
    assert!(checked > 5);
}

#[test]
fn the_reader_misses_what_the_schema_requires_and_nothing_else() {
    for (title, _) in sections() {
        let told = problems(&file_with(title, ""));
        let named = schema::words_of(title).join(".").replace("NAME", "n").replace("ARCHITECTURE", "x86");
        let is_here = |section: &str| section.trim_matches(['[', ']']).replace('"', "") == named;
        let mut missing: Vec<&str> = told
            .iter()
            .filter_map(|problem| match problem {
                Problem::MissingKey { key, section } if is_here(section) => Some(*key),
                _ => None,
            })
            .collect();
        missing.sort_unstable();
        let mut required = shape::of_section(shape::REQUIRED, title).unwrap_or_default().to_vec();
        required.sort_unstable();
        assert_eq!(missing, required, "{title}");
        let one_of = told.iter().find_map(|problem| match problem {
            Problem::MissingOneOf { keys, section } if is_here(section) => Some(*keys),
            _ => None,
        });
        let described = shape::of_section(shape::ONE_OF, title).or(shape::of_section(shape::ANY_OF, title));
        assert_eq!(one_of, described, "{title}");
    }
}

#[test]
fn the_reference_page_is_what_the_comments_say() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).unwrap();
    assert!(
        page == reference(),
        "docs/configuration.md is not what the comments of broker/config.default.toml say: run \
         `cargo run -p eventail-broker -- schema --reference > docs/configuration.md`"
    );
}
