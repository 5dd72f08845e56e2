//! `[triggers.NAME.target.http]`: where an HTTP target is, and how it wants its requests.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use eventail_triggers::http::{HttpMode, HttpTargetOptions, Secret, StatusMeaning};
use eventail_triggers::outcome::RetryClass;
use http::{HeaderName, HeaderValue, Uri};
use toml::de::DeValue;

use super::amount::{Count, count};
use super::model::TargetOptions;
use super::problem::Problem;
use super::reader::{Found, Reader, Section, choose};
use super::{schema, secret};

/// Connections that are kept open while idle.
const IDLE_CONNECTIONS_DEFAULT: usize = 32;
/// Each is a file descriptor here and there.
const IDLE_CONNECTIONS_MOST: u64 = 10_000;
/// The lengths that Standard Webhooks allows for a signing key.
const SIGNING_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What a delivery sets itself.
const OWN_HEADERS: [&str; 6] =
    ["content-length", "content-type", "connection", "transfer-encoding", "traceparent", "tracestate"];
/// The beginnings of what a delivery sets itself.
const OWN_PREFIXES: [&str; 3] = ["ce-", "webhook-", "eventail-"];

/// The target of a trigger; `None` where there is none, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, trigger: &Section<'_>) -> Option<TargetOptions> {
    if trigger.get("target").is_none() {
        reader.note(Problem::MissingKey { key: "target", section: trigger.title() }, &trigger.span);
    }
    let target = trigger.section(reader, "target", schema::TARGET)?;
    if target.get("http").is_none() {
        reader.note(Problem::MissingKey { key: "http", section: target.title() }, &target.span);
    }
    let section = target.section(reader, "http", schema::HTTP)?;
    if section.get("url").is_none() {
        reader.note(Problem::MissingKey { key: "url", section: section.title() }, &section.span);
    }
    let url = read_url(reader, &section);
    let mode = section.choice(
        reader,
        "mode",
        &["binary", "structured", "raw"],
        &[HttpMode::Binary, HttpMode::Structured, HttpMode::Raw],
    );
    let headers = section.get("headers").map(|found| read_headers(reader, &found)).unwrap_or_default();
    let signing_secrets = section.get("secret").map(|found| read_secrets(reader, &found)).unwrap_or_default();
    let statuses = section.get("statuses").map(|found| read_statuses(reader, &found)).unwrap_or_default();
    let idle = section.amount(reader, "idle_connections", Count(0)..=Count(IDLE_CONNECTIONS_MOST));
    Some(TargetOptions::Http(HttpTargetOptions {
        url: url?,
        mode: mode.unwrap_or_default(),
        headers,
        signing_secrets,
        statuses,
        idle_connections: count(idle).unwrap_or(IDLE_CONNECTIONS_DEFAULT),
    }))
}

fn read_url(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Uri> {
    let (text, found) = section.string(reader, "url")?;
    url(text)
        .map_err(|why| {
            reader.masks.push(found.span.clone());
            reader.note(Problem::Url { key: "url".to_owned(), why }, &found.span);
        })
        .ok()
}

fn url(text: &str) -> Result<Uri, &'static str> {
    if text.contains('#') {
        return Err("a fragment (`#`) is never sent");
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

fn read_headers(reader: &mut Reader<'_>, found: &Found<'_>) -> Vec<(HeaderName, Secret)> {
    let mut headers = Vec::new();
    for entry in found.entries(reader) {
        let name = header_name(&entry.key).map_err(|why| {
            reader.note(Problem::Header { name: entry.key.clone(), why }, &entry.key_span);
        });
        let Some(value) = header_value(reader, &entry) else { continue };
        if let Ok(name) = name {
            headers.push((name, value));
        }
    }
    headers
}

fn header_name(text: &str) -> Result<HeaderName, &'static str> {
    let name: HeaderName = text.parse().map_err(|_| "it is no name of a header")?;
    if OWN_HEADERS.contains(&name.as_str()) || OWN_PREFIXES.iter().any(|own| name.as_str().starts_with(own)) {
        return Err("each delivery sets it itself");
    }
    Ok(name)
}

/// A header's value may be written out, or be a secret. Written out it is still not shown: it may be one all the same.
fn header_value(reader: &mut Reader<'_>, entry: &Found<'_>) -> Option<Secret> {
    let fits = |value: &str| HeaderValue::from_str(value).is_ok();
    if let Some(text) = entry.value.as_str() {
        reader.masks.push(entry.span.clone());
        if !fits(text) {
            let why = "its value has characters that no header may have";
            reader.note(Problem::Header { name: entry.key.clone(), why }, &entry.span);
        }
        return Some(Secret::new(text.to_owned()));
    }
    let sourced = secret::read(reader, entry)?;
    if !fits(sourced.secret.expose()) {
        let why = "has characters that no header may have";
        let problem = Problem::SecretShape { key: entry.key.clone(), origin: sourced.origin, why };
        reader.note(problem, &entry.span);
        return None;
    }
    Some(sourced.secret)
}

/// One signing secret, or a list with the newest first.
fn read_secrets(reader: &mut Reader<'_>, found: &Found<'_>) -> Vec<Secret> {
    let items = if found.value.is_array() { found.items(reader) } else { vec![found.clone()] };
    let mut secrets = Vec::new();
    for item in items {
        let Some(sourced) = secret::read(reader, &item) else { continue };
        match check_signing_secret(sourced.secret.expose()) {
            Ok(()) => secrets.push(sourced.secret),
            Err(why) => {
                let problem = Problem::SecretShape { key: item.key.clone(), origin: sourced.origin, why };
                reader.note(problem, &item.span);
            }
        }
    }
    secrets
}

fn check_signing_secret(secret: &str) -> Result<(), &'static str> {
    let encoded = secret.strip_prefix("whsec_").ok_or("does not begin with whsec_")?;
    let key = STANDARD.decode(encoded).map_err(|_| "is not base64 behind whsec_")?;
    if SIGNING_KEY_BYTES.contains(&key.len()) {
        Ok(())
    } else {
        Err("does not hold a key of 24 to 64 bytes behind whsec_")
    }
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
