//! What can be wrong with an event that comes as CloudEvents over HTTP.

use crate::code::Code;
use crate::event::EventError;

/// Why a message is no CloudEvent, or none that is understood here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudEventError {
    /// An event format other than JSON, or a character set other than UTF-8.
    #[error("the content type `{media_type}` is not supported: events are taken as JSON in UTF-8")]
    MediaType {
        /// The content type as it came.
        media_type: String,
    },
    /// The body is not JSON, or not the JSON that the content type promises.
    #[error("the body is not the JSON {expected} that its content type promises: {source}")]
    Json {
        /// `object` or `array`.
        expected: &'static str,
        /// What the parser says, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// `specversion` is missing or of another version.
    #[error("`specversion` must be \"1.0\" and is {}", found.as_deref().map_or("missing", |text| text))]
    SpecVersion {
        /// What stands there instead, cut to a readable length.
        found: Option<String>,
    },
    /// A member of the JSON object, or a header, breaks the rules of its name.
    #[error("`{name}`: {why}")]
    Member {
        /// The member's or header's name.
        name: String,
        /// The rule.
        why: &'static str,
    },
    /// The attributes or the data break the rules of CloudEvents or a limit.
    #[error(transparent)]
    Event(#[from] EventError),
    /// One element of a batch is wrong, and with it the batch.
    #[error("event {index} of the batch: {source}")]
    Element {
        /// Its place, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// A batch has more than its limits.
    #[error("{what}: {value} is more than the limit of {limit}")]
    BatchTooLarge {
        /// What was counted, with its unit.
        what: &'static str,
        /// How many there were, or how many had been seen when the reader stopped.
        value: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl CloudEventError {
    /// The stable code for it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::MediaType { .. } => Code::UnsupportedMediaType,
            Self::Json { .. } => Code::Malformed,
            Self::SpecVersion { .. } | Self::Member { .. } => Code::InvalidEvent,
            Self::Event(error) => error.code(),
            Self::Element { source, .. } => source.code(),
            Self::BatchTooLarge { .. } => Code::BatchTooLarge,
        }
    }

    /// The same message is refused again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// The place of the wrong event in its batch.
    #[must_use]
    pub const fn batch_index(&self) -> Option<usize> {
        match self {
            Self::Element { index, .. } => Some(*index),
            _ => None,
        }
    }

    pub(super) fn member(name: &str, why: &'static str) -> Self {
        Self::Member { name: shorten(name), why }
    }

    pub(super) fn spec_version(found: Option<&str>) -> Self {
        Self::SpecVersion { found: found.map(shorten) }
    }
}

/// Names and values of strangers are quoted in errors, so they are cut to what a line of a log takes.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(crate::limits::ATTRIBUTE_NAME_BYTES_MAX).collect()
}
