//! Places for values of the event in a target's URL and headers: `https://api.example.com/orders/{$.data.id}?by={$.source}`.
//!
//! `{$…}` is a path as inputs have it, `{$.data.id|none}` one with a text for events that have nothing there. A value is a
//! string, a number or a boolean; anything else, and a place without its text that finds nothing or `null`, makes the event
//! fail for good.
//!
//! It promises that a value stays inside of its part of the request. In the URL all but RFC 3986's unreserved characters
//! are percent-encoded, so that it cannot begin another segment, parameter or part, and a segment of the path is never
//! empty, `.` or `..` because of it. In a header's value what is not printable ASCII is percent-encoded, so that it cannot
//! begin another header. Scheme, host and port have no places: what may be called is decided by the configuration alone.
//!
//! Inside of the braces a URL may have its path percent-encoded, for characters that no URL can have.

use std::fmt::Write as _;

use eventail_wire::Event;
use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use zeroize::Zeroizing;

use super::HttpTargetOptions;
use super::error::HttpTargetError;
use super::link::Outgoing;
use super::secret::header_value;
use crate::input::{ValuePath, percent};

/// The path and query of one request, in place of those that its target has.
#[derive(Clone)]
pub(super) struct OwnPath(pub(super) PathAndQuery);

/// What differs from event to event.
pub(super) struct Dynamic {
    /// The pieces of path and query, if there is a place in them.
    url: Vec<Piece>,
    headers: Vec<(HeaderName, Vec<Piece>)>,
}

enum Piece {
    /// It may be a part of a secret.
    Literal(Zeroizing<String>),
    Place {
        path: ValuePath,
        default: Option<String>,
    },
}

/// Why an event makes no URL or header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DynamicError {
    #[error("the event has nothing at `{path}`, which the target's {what} needs")]
    Missing { path: String, what: &'static str },
    #[error(
        "the event has an object or a list at `{path}`, where the target's {what} needs a text or a number"
    )]
    NoText { path: String, what: &'static str },
    #[error("with this event a segment of the target's path would be {segment:?}")]
    Segment { segment: String },
    #[error("with this event the target's {what} would be too long")]
    TooLong { what: &'static str },
}

const URL: &str = "URL";
const HEADER: &str = "header";
/// Of a URL's path and query: what servers commonly take.
const URL_BYTES_MAX: usize = 8 << 10;
/// Of a header's value: the same.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// Whether a text has a place.
pub(super) fn has_place(text: &str) -> bool {
    text.contains("{$")
}

impl Dynamic {
    /// `None` where nothing depends on the event.
    pub(super) fn new(options: &HttpTargetOptions) -> Result<Option<Self>, HttpTargetError> {
        if options.url.authority().is_some_and(|authority| authority.as_str().contains('{')) {
            return Err(HttpTargetError::DynamicHost);
        }
        let mut dynamic = Self { url: Vec::new(), headers: Vec::new() };
        if let Some(path) = options.url.path_and_query().map(PathAndQuery::as_str)
            && has_place(path)
        {
            dynamic.url = parse(path, true).map_err(|why| HttpTargetError::UrlPlace { why })?;
        }
        for (name, value) in &options.headers {
            if has_place(value.expose()) {
                let refused = |why| HttpTargetError::HeaderPlace { name: name.clone(), why };
                let pieces = parse(value.expose(), false).map_err(refused)?;
                if !is_header_text(&pieces) {
                    return Err(HttpTargetError::HeaderValue { name: name.clone() });
                }
                dynamic.headers.push((name.clone(), pieces));
            }
        }
        let is_static = dynamic.url.is_empty() && dynamic.headers.is_empty();
        Ok((!is_static).then_some(dynamic))
    }

    /// Whether the URL has places.
    pub(super) const fn has_url(&self) -> bool {
        !self.url.is_empty()
    }

    /// Fills the places of a request.
    pub(super) fn apply(&self, event: &Event, request: &mut Outgoing) -> Result<(), DynamicError> {
        if !self.url.is_empty() {
            request.extensions_mut().insert(OwnPath(self.path(event)?));
        }
        for (name, pieces) in &self.headers {
            let text = fill(pieces, event, HEADER, HEADER_BYTES_MAX, encode_header)?;
            let too_long = |_| DynamicError::TooLong { what: HEADER };
            let value = header_value(Zeroizing::new(text.into_bytes())).map_err(too_long)?;
            request.headers_mut().insert(name.clone(), value);
        }
        Ok(())
    }

    fn path(&self, event: &Event) -> Result<PathAndQuery, DynamicError> {
        let text =
            fill(&self.url, event, URL, URL_BYTES_MAX, |value, out| percent::encode(value.as_bytes(), out))?;
        let path = text.split('?').next().unwrap_or_default();
        // Its own segments are as the configuration has them; places can only have filled them.
        let written = self.segments();
        for (segment, is_written) in path.split('/').skip(1).zip(written) {
            if !is_written && matches!(segment, "" | "." | "..") {
                return Err(DynamicError::Segment { segment: segment.to_owned() });
            }
        }
        PathAndQuery::try_from(text).map_err(|_| DynamicError::TooLong { what: URL })
    }

    /// For each segment of the path, whether it stands there as it is written.
    fn segments(&self) -> Vec<bool> {
        let mut segments = Vec::new();
        for piece in &self.url {
            match piece {
                Piece::Literal(text) => {
                    let (path, has_query) =
                        text.split_once('?').map_or((text.as_str(), false), |(path, _)| (path, true));
                    segments.extend(path.bytes().filter(|byte| *byte == b'/').map(|_| true));
                    if has_query {
                        break;
                    }
                }
                Piece::Place { .. } => {
                    if let Some(last) = segments.last_mut() {
                        *last = false;
                    }
                }
            }
        }
        segments
    }
}

fn fill(
    pieces: &[Piece],
    event: &Event,
    what: &'static str,
    bytes_max: usize,
    encode: impl Fn(&str, &mut String),
) -> Result<String, DynamicError> {
    let mut out = String::with_capacity(128);
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Place { path, default } => {
                let value = path.value_of(event).filter(|value| !value.is_null());
                match (&value, default) {
                    (Some(value), _) => {
                        let text = value
                            .scalar()
                            .ok_or_else(|| DynamicError::NoText { path: path.as_str().to_owned(), what })?;
                        encode(&text, &mut out);
                    }
                    (None, Some(default)) => encode(default, &mut out),
                    (None, None) => {
                        return Err(DynamicError::Missing { path: path.as_str().to_owned(), what });
                    }
                }
            }
        }
        if out.len() > bytes_max {
            return Err(DynamicError::TooLong { what });
        }
    }
    Ok(out)
}

fn encode_header(value: &str, out: &mut String) {
    for character in value.chars() {
        if matches!(character, ' '..='~') {
            out.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to memory does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

fn is_header_text(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| match piece {
        Piece::Literal(text) => HeaderValue::from_str(text).is_ok(),
        Piece::Place { .. } => true,
    })
}

/// Takes a text with places apart.
fn parse(text: &str, is_encoded: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{$") {
        if start > 0 {
            pieces.push(Piece::Literal(Zeroizing::new(rest[..start].to_owned())));
        }
        let inside = &rest[start + 1..];
        let ends = ends(inside).ok_or("a place begins with `{$` and needs its `}`")?;
        let decode = |text: &str| if is_encoded { decode(text) } else { Ok(text.to_owned()) };
        let path = decode(&inside[..ends.path])?;
        let default = match inside.get(ends.path + 1..ends.place) {
            Some(default) => Some(decode(default)?),
            None => None,
        };
        let path = path.parse().map_err(|error: crate::input::ValuePathError| error.to_string())?;
        pieces.push(Piece::Place { path, default });
        rest = &inside[ends.place + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(Zeroizing::new(rest.to_owned())));
    }
    Ok(pieces)
}

/// Where the place whose inside this is ends.
pub(super) fn end_of_place(inside: &str) -> Option<usize> {
    ends(inside).map(|ends| ends.place)
}

/// Where the path of a place ends, and where the place does.
struct Ends {
    path: usize,
    place: usize,
}

/// Quotes of the path may hold what would end it.
fn ends(inside: &str) -> Option<Ends> {
    let (mut quote, mut path, mut is_escaped) = (None, None, false);
    for (at, character) in inside.char_indices() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) => {
                if character == open {
                    quote = None;
                }
            }
            (None, '\'' | '"') if path.is_none() => quote = Some(character),
            (None, '|') if path.is_none() => path = Some(at),
            (None, '}') => return Some(Ends { path: path.unwrap_or(at), place: at }),
            (None, _) => {}
        }
    }
    None
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.ok_or("two hexadecimal digits must follow `%` inside of a place")?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| "what a place has percent-encoded is not UTF-8".to_owned())
}
