//! Telling by its content type how a message carries its event (HTTP binding, section 3).

use super::error::{CloudEventError, shorten};

/// The media type of one event as JSON.
pub const STRUCTURED_MEDIA_TYPE: &str = "application/cloudevents+json";
/// The media type of several events as a JSON array.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

const STRUCTURED_PREFIX: &str = "application/cloudevents";
const BATCH_PREFIX: &str = "application/cloudevents-batch";

/// How a message carries its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The attributes are headers and the body is the data.
    Binary,
    /// The body is one event as JSON.
    Structured,
    /// The body is a JSON array of events.
    Batched,
}

impl Mode {
    /// The mode that a message's `Content-Type` declares; without one it is [`Mode::Binary`].
    ///
    /// # Errors
    /// [`CloudEventError::MediaType`] where it declares an event format or character set that is not understood.
    pub fn of_content_type(content_type: Option<&str>) -> Result<Self, CloudEventError> {
        let Some(content_type) = content_type else { return Ok(Self::Binary) };
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim();
        // The batch prefix begins with the structured one, so it is tried first.
        let (mode, format) = if let Some(format) = strip_prefix(essence, BATCH_PREFIX) {
            (Self::Batched, format)
        } else if let Some(format) = strip_prefix(essence, STRUCTURED_PREFIX) {
            (Self::Structured, format)
        } else {
            return Ok(Self::Binary);
        };
        let is_json = format.is_empty() || format.eq_ignore_ascii_case("+json");
        if is_json && is_utf8(parameters) {
            return Ok(mode);
        }
        Err(CloudEventError::MediaType { media_type: shorten(content_type) })
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// JSON between systems is UTF-8 (RFC 8259, section 8.1), whatever else a charset parameter might promise.
fn is_utf8(parameters: &str) -> bool {
    parameters.split(';').all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_tells_the_mode() {
        for (content_type, mode) in [
            (None, Mode::Binary),
            (Some(""), Mode::Binary),
            (Some("application/json"), Mode::Binary),
            (Some("application/cloudevent"), Mode::Binary),
            (Some(STRUCTURED_MEDIA_TYPE), Mode::Structured),
            (Some("application/cloudevents"), Mode::Structured),
            (Some("Application/CloudEvents+JSON; Charset=\"UTF-8\""), Mode::Structured),
            (Some("application/cloudevents+json;x=y"), Mode::Structured),
            (Some(BATCH_MEDIA_TYPE), Mode::Batched),
            (Some("APPLICATION/cloudevents-batch+json ; charset=utf-8"), Mode::Batched),
        ] {
            assert_eq!(Mode::of_content_type(content_type).unwrap(), mode, "{content_type:?}");
        }
    }

    #[test]
    fn formats_that_are_not_json_are_refused() {
        for content_type in [
            "application/cloudevents+avro",
            "application/cloudevents-batch+protobuf",
            "application/cloudeventsx",
            "application/cloudevents+json; charset=utf-16",
        ] {
            let error = Mode::of_content_type(Some(content_type)).unwrap_err();
            assert_eq!(error.code(), crate::Code::UnsupportedMediaType, "{content_type}");
        }
    }
}
