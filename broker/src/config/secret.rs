//! Secrets: taken from the environment or from files, never from the configuration's own text, and never told.

use std::sync::Arc;

use eventail_triggers::http::Secret;

use super::files;
use super::problem::Problem;
use super::reader::{Found, Reader, Section};
use super::schema;

/// A value that may be written out, or be a secret. Written out it is still not shown: it may be one all the same.
pub(super) fn read_or_text(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Secret> {
    if let Some(text) = found.value.as_str() {
        reader.masks.push(found.span.clone());
        return Some(Secret::new(text.to_owned()));
    }
    read(reader, found)
}

/// `{ env = "VARIABLE" }` or `{ file = "path" }`.
pub(super) fn read(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Secret> {
    if found.value.is_str() {
        reader.masks.push(found.span.clone());
        reader.note(Problem::InlineSecret { key: found.key.clone() }, &found.span);
        return None;
    }
    let table = found.table(reader)?;
    let section = Section::new(reader, found.key.clone(), found.span.clone(), table, schema::SECRET);
    let variable = section.string(reader, "env");
    let file = section.string(reader, "file");
    match (variable, file) {
        (Some((variable, place)), None) => {
            let value = (reader.environment)(variable);
            if value.is_none() {
                let problem =
                    Problem::MissingVariable { key: found.key.clone(), variable: variable.to_owned() };
                reader.note(problem, &place.span);
            }
            value.map(Secret::new)
        }
        (None, Some((file, place))) => {
            let path = reader.path(file);
            match files::read_text(&path) {
                // An editor or `echo` ends a file with a newline that belongs to no secret.
                Ok(mut text) => {
                    let length = text.trim_end_matches(['\r', '\n']).len();
                    text.truncate(length);
                    Some(Secret::new(text))
                }
                Err(source) => {
                    let path = path.display().to_string();
                    let problem =
                        Problem::SecretFile { key: found.key.clone(), path, source: Arc::new(source) };
                    reader.note(problem, &place.span);
                    None
                }
            }
        }
        _ => {
            if section.get("env").is_some() == section.get("file").is_some() {
                reader.note(Problem::SecretSource { key: found.key.clone() }, &found.span);
            }
            None
        }
    }
}
