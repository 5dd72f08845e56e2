//! `[triggers.NAME.target.http]`: where an HTTP target is, and how it wants its requests.

use std::collections::BTreeMap;

use eventail_triggers::http::{
    Egress, HttpMode, HttpTarget, HttpTargetError, HttpTargetOptions, Secret, StatusMeaning,
};
use eventail_triggers::outcome::RetryClass;
use http::{HeaderName, Uri};
use toml::de::DeValue;

use super::amount::{Count, count};
use super::model::TargetOptions;
use super::problem::Problem;
use super::reader::{Found, Reader, Section, choose};
use super::{http_auth, schema, secret};

/// Connections that are kept open while idle.
const IDLE_CONNECTIONS_DEFAULT: usize = 32;
/// Each is a file descriptor here and there.
const IDLE_CONNECTIONS_MOST: u64 = 10_000;

/// The target; `None` where there is none without a fix, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, target: &Section<'_>) -> Option<TargetOptions> {
    let section = target.section(reader, "http", schema::HTTP)?;
    if section.get("url").is_none() {
        reader.note(Problem::MissingKey { key: "url", section: section.title() }, &section.span);
    }
    let url = read_url(reader, &section, "url");
    let mode = section.choice(
        reader,
        "mode",
        &["binary", "structured", "raw"],
        &[HttpMode::Binary, HttpMode::Structured, HttpMode::Raw],
    );
    let headers = section.get("headers").map(|found| read_headers(reader, &found)).unwrap_or_default();
    let auth = http_auth::read(reader, &section);
    let signing_secrets = section.get("secret").map(|found| read_secrets(reader, &found)).unwrap_or_default();
    let statuses = section.get("statuses").map(|found| read_statuses(reader, &found)).unwrap_or_default();
    let idle = section.amount(reader, "idle_connections", Count(0)..=Count(IDLE_CONNECTIONS_MOST));
    let callback = section.boolean(reader, "callback").unwrap_or_default();
    let handshake = section.boolean(reader, "handshake").unwrap_or_default();
    let options = HttpTargetOptions {
        url: url?,
        mode: mode.unwrap_or_default(),
        headers,
        auth,
        signing_secrets,
        statuses,
        idle_connections: count(idle).unwrap_or(IDLE_CONNECTIONS_DEFAULT),
        callback,
        handshake,
    };
    check(reader, &section, &options);
    Some(TargetOptions::Http(options))
}

/// Asks the target itself, so that what was read here can be used there.
fn check(reader: &mut Reader<'_>, section: &Section<'_>, options: &HttpTargetOptions) {
    let Err(source) = HttpTarget::new(options.clone(), Egress::new([])) else { return };
    let culprit = match &source {
        HttpTargetError::ReservedHeader { name }
        | HttpTargetError::HeaderValue { name }
        | HttpTargetError::HeaderPlace { name, .. } => {
            let headers = section.get("headers").map(|headers| headers.entries(reader)).unwrap_or_default();
            let header = headers.into_iter().find(|header| header.key.eq_ignore_ascii_case(name.as_str()));
            header.or_else(|| section.get("auth"))
        }
        HttpTargetError::AuthValue { .. }
        | HttpTargetError::BasicUser
        | HttpTargetError::AuthHeaderTwice { .. }
        | HttpTargetError::TokenUrl { .. } => section.get("auth"),
        HttpTargetError::HandshakeOfPlaces => section.get("handshake"),
        HttpTargetError::Secret { .. } => section.get("secret"),
        _ => section.get("url"),
    };
    let span = culprit.map_or(section.span.clone(), |culprit| culprit.key_span);
    reader.note(Problem::Target { source }, &span);
}

/// An address of HTTP that can be called.
pub(super) fn read_url(reader: &mut Reader<'_>, section: &Section<'_>, key: &'static str) -> Option<Uri> {
    let (text, found) = section.string(reader, key)?;
    url(text)
        .map_err(|why| {
            // What stands before an `@` may be a password.
            if text.contains('@') {
                reader.masks.push(found.span.clone());
            }
            reader.note(Problem::Url { key: key.to_owned(), why }, &found.span);
        })
        .ok()
}

fn url(text: &str) -> Result<Uri, &'static str> {
    let text = &encode_places(text);
    if text.contains('#') {
        return Err("a fragment (`#`) is never sent");
    }
    let host = text.split("//").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if host.split('?').next().is_some_and(|host| host.contains('{')) {
        return Err("scheme, host and port cannot come from the event");
    }
    let uri: Uri = text.parse().map_err(|_| "it cannot be read")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it must begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("it must not have user info");
    }
    if authority.host().is_empty() {
        return Err("it has no host");
    }
    Ok(uri)
}

/// The inside of places such as `{$.data['odd key']}`, percent-encoded: a URL cannot have all that a path may.
fn encode_places(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{$") {
        let inside = &rest[start + "{$".len()..];
        let Some(end) = HttpTarget::end_of_place(inside) else { break };
        encoded.push_str(&rest[..start + "{$".len()]);
        for byte in inside[..end].bytes() {
            if byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'%' | b'#' | b'?' | b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'}'
                )
            {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded.push('}');
        rest = &inside[end + 1..];
    }
    encoded + rest
}

fn read_headers(reader: &mut Reader<'_>, found: &Found<'_>) -> Vec<(HeaderName, Secret)> {
    let mut headers = Vec::new();
    for entry in found.entries(reader) {
        let name = entry.key.parse::<HeaderName>().map_err(|_| {
            reader.note(Problem::HeaderName { name: entry.key.clone() }, &entry.key_span);
        });
        let Some(value) = secret::read_or_text(reader, &entry) else { continue };
        if let Ok(name) = name {
            headers.push((name, value));
        }
    }
    headers
}

/// One signing secret, or a list with the newest first.
fn read_secrets(reader: &mut Reader<'_>, found: &Found<'_>) -> Vec<Secret> {
    let items = if found.value.is_array() { found.items(reader) } else { vec![found.clone()] };
    items.iter().filter_map(|item| secret::read(reader, item)).collect()
}

fn read_statuses(reader: &mut Reader<'_>, found: &Found<'_>) -> BTreeMap<u16, StatusMeaning> {
    let meanings = [
        StatusMeaning::Ack,
        StatusMeaning::Retry(RetryClass::Failed),
        StatusMeaning::Retry(RetryClass::Throttled),
        StatusMeaning::Reject,
    ];
    let mut statuses = BTreeMap::new();
    for entry in found.entries(reader) {
        let status = entry.key.parse().ok().filter(|status| (200..=599).contains(status));
        if status.is_none() {
            reader.note(Problem::Status { status: entry.key.clone() }, &entry.key_span);
        }
        let DeValue::String(word) = entry.value else {
            reader.note(entry.wrong_type("a string"), &entry.span);
            continue;
        };
        let meaning = choose(reader, &entry, word, &["ack", "retry", "throttle", "reject"], &meanings);
        if let (Some(status), Some(meaning)) = (status, meaning) {
            statuses.insert(status, meaning);
        }
    }
    statuses
}
