//! What CloudEvents 1.0 demands of names and values (spec.md, "Type System" and "Context Attributes").

use super::{EventError, delay};
use crate::clock::is_rfc3339;
use crate::limits;

/// Checks an attribute's name: lower-case letters and digits, never `data`.
///
/// # Errors
/// [`EventError::Name`] or [`EventError::Limit`].
pub fn check_name(name: &str) -> Result<(), EventError> {
    let refuse = |why| Err(EventError::Name { name: shorten(name), why });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > limits::ATTRIBUTE_NAME_BYTES_MAX {
        let limit = limits::ATTRIBUTE_NAME_BYTES_MAX;
        return Err(EventError::Limit { what: "bytes of an attribute's name", value: name.len(), limit });
    }
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return refuse("names are made of a-z and 0-9");
    }
    if name == "data" || name == "data_base64" {
        return refuse("it is the name of the data member");
    }
    Ok(())
}

/// Checks the value of the attribute `name`.
///
/// # Errors
/// [`EventError::Missing`] for an empty required attribute, [`EventError::Value`] or [`EventError::Limit`].
pub fn check_value(name: &str, value: &str) -> Result<(), EventError> {
    if value.len() > limits::ATTRIBUTE_VALUE_BYTES_MAX {
        let limit = limits::ATTRIBUTE_VALUE_BYTES_MAX;
        return Err(EventError::Limit { what: "bytes of an attribute's value", value: value.len(), limit });
    }
    let refuse = |why| Err(EventError::Value { name: name.to_owned(), why });
    if !is_string(value) && !is_lines(name, value) {
        return refuse("strings hold no control characters and no non-characters");
    }
    match name {
        "id" if value.is_empty() => Err(EventError::Missing { name: "id" }),
        "source" if value.is_empty() => Err(EventError::Missing { name: "source" }),
        "type" if value.is_empty() => Err(EventError::Missing { name: "type" }),
        "source" if !is_uri_reference(value) => refuse("it must be a URI reference"),
        "dataschema" if !is_absolute_uri(value) => refuse("it must be an absolute URI"),
        "datacontenttype" if !is_media_type(value) => {
            refuse("it must be a media type such as application/json")
        }
        "subject" if value.is_empty() => refuse("it must not be empty"),
        "time" | "expirytime" if !is_rfc3339(value) => refuse("it must be an RFC 3339 timestamp"),
        "specversion" => refuse("it is always 1.0 and not given among the attributes"),
        _ => delay::check_value(name, value).map_or(Ok(()), refuse),
    }
}

/// The conformance suite itself has an extension whose value ends with a line feed, against the letter of the specification:
/// tabs and line breaks pass in extensions. In headers they are percent-encoded, so that no header can be forged with them.
fn is_lines(name: &str, value: &str) -> bool {
    let is_core = matches!(
        name,
        "id" | "source" | "type" | "subject" | "time" | "dataschema" | "datacontenttype" | "specversion"
    );
    !is_core && value.split(['\t', '\n', '\r']).all(is_string)
}

/// A CloudEvents String: no control characters, no Unicode non-characters.
#[must_use]
pub fn is_string(value: &str) -> bool {
    if value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return true;
    }
    value.chars().all(|c| {
        let code = u32::from(c);
        !(code <= 0x1f
            || (0x7f..=0x9f).contains(&code)
            || (0xfdd0..=0xfdef).contains(&code)
            || code & 0xfffe == 0xfffe)
    })
}

/// RFC 3986 characters, with whole percent escapes, and no colon in a first segment that is no scheme.
#[must_use]
pub fn is_uri_reference(value: &str) -> bool {
    if !has_uri_characters(value) {
        return false;
    }
    let first = value.split(['/', '?', '#']).next().unwrap_or_default();
    match first.split_once(':') {
        Some((scheme, _)) => {
            is_scheme(scheme) || first.split(':').next().is_some_and(is_leading_number_scheme)
        }
        None => true,
    }
}

/// A scheme and something behind it.
#[must_use]
pub fn is_absolute_uri(value: &str) -> bool {
    has_uri_characters(value)
        && value.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// The specification's own example `1-555-123-4567:x` style sources begin with a digit; senders use them.
fn is_leading_number_scheme(scheme: &str) -> bool {
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn has_uri_characters(value: &str) -> bool {
    let bytes = value.as_bytes();
    let mut fragments = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let allowed = match byte {
            b'%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
            b'#' => {
                fragments += 1;
                fragments == 1
            }
            // International letters (RFC 3987) are common in sources and lose nothing.
            0x80.. => true,
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            _ => byte.is_ascii_graphic(),
        };
        if !allowed {
            return false;
        }
    }
    true
}

/// `type/subtype` with optional parameters (RFC 2046), loosely: tokens around one slash.
#[must_use]
pub fn is_media_type(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let is_token = |token: &str| {
        !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// `*/json` or `*/*+json`, whatever the case and the parameters.
#[must_use]
pub fn is_json_media_type(value: &str) -> bool {
    // Most is spelt like this, and events are asked on the way to every pattern.
    if value == "application/json" {
        return true;
    }
    let essence = value.split(';').next().unwrap_or_default().trim();
    let Some((_, subtype)) = essence.split_once('/') else { return false };
    let ends_with_json =
        subtype.len() >= 5 && subtype.as_bytes()[subtype.len() - 5..].eq_ignore_ascii_case(b"+json");
    subtype.eq_ignore_ascii_case("json") || ends_with_json
}

/// A W3C `traceparent` of version 00 with ids that are not all zero.
#[must_use]
pub fn is_traceparent(value: &str) -> bool {
    let [b'0', b'0', b'-', rest @ ..] = value.as_bytes() else { return false };
    let Some((trace, [b'-', rest @ ..])) = rest.split_first_chunk::<32>() else { return false };
    let Some((span, [b'-', flags @ ..])) = rest.split_first_chunk::<16>() else { return false };
    let is_hex = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |text: &[u8]| text.iter().all(|&byte| byte == b'0');
    let is_whole = flags.len() == 2 && is_hex(trace) && is_hex(span) && is_hex(flags);
    is_whole && !is_zero(trace) && !is_zero(span)
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(limits::ATTRIBUTE_NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_the_specification_are_uri_references() {
        for source in [
            "https://github.com/cloudevents",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "cloudevents/spec/pull/123",
            "/sensors/tn-1234567/alerts",
            "1-555-123-4567",
            "//host/path?query#fragment",
        ] {
            assert!(is_uri_reference(source), "{source}");
        }
        for source in ["with space", "a%zz", "a#b#c", "\"quoted\"", "<x>"] {
            assert!(!is_uri_reference(source), "{source}");
        }
    }

    #[test]
    fn values_are_held_to_the_rules_of_their_attribute() {
        for (name, good, bad) in [
            ("id", "1", ""),
            ("time", "2026-11-23T10:00:00Z", "yesterday"),
            ("dataschema", "https://x/y", "/relative"),
            ("datacontenttype", "application/cloudevents+json; charset=utf-8", "json"),
            ("subject", "s", ""),
            ("anything", "ü 😀", "bell\u{7}"),
        ] {
            assert_eq!(check_value(name, good), Ok(()), "{name}");
            assert!(check_value(name, bad).is_err(), "{name}");
        }
        assert!(check_value("anything", "\u{fffe}").is_err());
        assert!(check_value("anything", "line\n\tline\r\n").is_ok());
        assert!(check_value("subject", "line\n").is_err());
    }

    #[test]
    fn trace_contexts_are_told_from_what_looks_like_them() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        for bad in [
            "",
            "00-",
            &good[..54],
            &format!("{good}0"),
            &good.to_uppercase(),
            &good.replacen("00", "01", 1),
            &good.replace('-', "_"),
            &good.replace('a', "g"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &good.replace("b7ad6b7169203331", &"0".repeat(16)),
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    #[test]
    fn media_types_of_json_are_known_whatever_their_case() {
        for json in ["application/json", "text/JSON;charset=utf-8", "application/vnd.x+Json"] {
            assert!(is_json_media_type(json), "{json}");
        }
        for other in ["application/xml", "application/jsonp", "json"] {
            assert!(!is_json_media_type(other), "{other}");
        }
    }
}
