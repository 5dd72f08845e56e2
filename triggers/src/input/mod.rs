//! What a target gets to see of an event where it is not the whole event: a part of it, a constant, a template or what a jq
//! expression makes of it.

use bytes::Bytes;

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
        paths: std::collections::BTreeMap<String, String>,
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
