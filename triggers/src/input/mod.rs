//! What a target gets to see of an event where it is not the whole event: a part of it, a constant, a template or what a jq
//! expression makes of it.
//!
//! An [`Input`] is checked whole when it is compiled: paths, names, JSON and jq. Rendering does no I/O, knows no clock and
//! draws no dice: the same event makes the same input, on every attempt. What fails to render fails for good.

mod document;
mod error;
mod jq;
mod path;
pub(crate) mod percent;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};

pub use error::{InputError, TextPlace, TransformError};
pub use jq::{JQ_BYTES_MAX, JQ_STEPS_MAX};
pub use path::{PATH_STEPS_MAX, PathValue, ValuePath, ValuePathError};
pub use template::TEMPLATE_PATHS_MAX;

use crate::payload::json;
use jq::Jq;
use template::Template;

/// What a trigger says of its target's input, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputOptions {
    /// The part of the event at a path such as `$.data.order`.
    Path(String),
    /// This JSON text, whatever the event.
    Constant(String),
    /// A text with places for values of the event.
    Template {
        /// The paths of the values, by name.
        paths: BTreeMap<String, String>,
        /// The text, with `<name>` where a value goes.
        template: String,
    },
    /// A jq expression whose first result it is.
    Jq(String),
}

/// An input as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether they are JSON text; plain text if not.
    pub is_json: bool,
}

/// An event and what is known of its delivery.
#[derive(Clone, Copy, Debug)]
pub struct InputContext<'a> {
    /// The event.
    pub event: &'a Event,
    /// The topic that it lies in.
    pub topic: &'a TopicName,
    /// Its offset there.
    pub offset: Offset,
    /// When it was appended there.
    pub appended_at: Timestamp,
    /// The trigger on whose behalf it is delivered.
    pub trigger: &'a TriggerName,
}

/// A compiled input.
#[derive(Debug)]
pub struct Input(Kind);

#[derive(Debug)]
enum Kind {
    Path(ValuePath),
    Constant(Bytes),
    Template(Template),
    Jq(Jq),
}

impl Input {
    /// Checks the options and keeps what they mean.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn compile(options: &InputOptions) -> Result<Self, InputError> {
        Ok(Self(match options {
            InputOptions::Path(path) => Kind::Path(path.parse()?),
            InputOptions::Constant(text) => Kind::Constant(constant(text)?),
            InputOptions::Template { paths, template } => Kind::Template(Template::compile(template, paths)?),
            InputOptions::Jq(text) => Kind::Jq(Jq::compile(text)?),
        }))
    }

    /// The input for an event.
    ///
    /// # Errors
    /// Where the event makes none.
    pub fn render(&self, context: &InputContext<'_>) -> Result<Rendered, TransformError> {
        match &self.0 {
            Kind::Path(path) => {
                let missing = || TransformError::Missing { path: path.as_str().to_owned() };
                let value = path.value_of(context.event).ok_or_else(missing)?;
                let mut out = Vec::new();
                value.write_json(&mut out);
                Ok(Rendered { bytes: out.into(), is_json: true })
            }
            Kind::Template(template) => template.render(context),
            Kind::Jq(jq) => jq.render(context),
            Kind::Constant(bytes) => Ok(Rendered { bytes: bytes.clone(), is_json: true }),
        }
    }
}

fn constant(text: &str) -> Result<Bytes, InputError> {
    let checked = serde_json::from_str::<&serde_json::value::RawValue>(text);
    let value =
        checked.map_err(|error| InputError::Constant { place: place_of(&error), why: error.to_string() })?;
    Ok(Bytes::copy_from_slice(value.get().as_bytes()))
}

fn place_of(error: &serde_json::Error) -> TextPlace {
    TextPlace { line: error.line(), column: error.column() }
}

/// Appends a text as it stands inside of a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json::string(text, &mut quoted);
    out.extend_from_slice(&quoted[1..quoted.len() - 1]);
}
