//! `[auth]`, and what `[listen]` says of hosts, origins and strangers.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;

use super::amount::{Count, set};
use super::model::{AuthOptions, ListenOptions};
use super::problem::Problem;
use super::reader::{Found, Reader, Section};
use super::schema;
use crate::auth::Permission;

/// More attempts than that a minute are no failures but an attack.
const FAILURES_MOST: u64 = 1_000_000;

/// Reads `[auth]`; without it nobody is asked who he is.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> Option<AuthOptions> {
    let section = root.section(reader, "auth", schema::AUTH)?;
    let mut options = AuthOptions::default();
    if let Some((file, _)) = section.string(reader, "tokens_file") {
        options.tokens_file = Some(reader.path(file));
    }
    if let Some((file, _)) = section.string(reader, "audit_file") {
        options.audit_file = Some(reader.path(file));
    }
    if let Some(found) = section.get("anonymous") {
        options.anonymous = permissions(reader, &found);
    }
    let mut certificates = BTreeMap::new();
    for entry in section.get("certificates").map(|found| found.entries(reader)).unwrap_or_default() {
        let permissions = permissions(reader, &entry);
        certificates.insert(entry.key, permissions);
    }
    options.certificates = certificates;
    let failures = section.amount(reader, "failures_per_minute", Count(1)..=Count(FAILURES_MOST));
    set(&mut options.failures_per_minute, failures.and_then(|failures| u32::try_from(failures).ok()));
    Some(options)
}

fn permissions(reader: &mut Reader<'_>, found: &Found<'_>) -> Arc<[Permission]> {
    let mut permissions = Vec::new();
    for item in found.items(reader) {
        let Some(text) = item.string(reader) else { continue };
        match text.parse() {
            Ok(permission) => permissions.push(permission),
            Err(source) => {
                reader.note(Problem::Permission { key: item.key.clone(), source }, &item.span);
            }
        }
    }
    permissions.into()
}

/// Reads what `[listen]` says beside the addresses.
pub(super) fn read_listen(reader: &mut Reader<'_>, listen: &Section<'_>) -> ListenOptions {
    let mut options = ListenOptions::default();
    set(&mut options.insecure, listen.boolean(reader, "insecure"));
    for item in listen.get("hosts").map(|found| found.items(reader)).unwrap_or_default() {
        let Some(text) = item.string(reader) else { continue };
        match text.parse::<Authority>() {
            Ok(host) if !host.as_str().contains('@') => options.hosts.push(text.to_ascii_lowercase()),
            _ => reader.note(Problem::HostName { name: text.to_owned() }, &item.span),
        }
    }
    for item in listen.get("origins").map(|found| found.items(reader)).unwrap_or_default() {
        let Some(text) = item.string(reader) else { continue };
        if is_origin(text) {
            options.origins.push(text.to_ascii_lowercase());
        } else {
            reader.note(Problem::PageOrigin { value: text.to_owned() }, &item.span);
        }
    }
    options
}

/// Whether a browser could send this as an origin: a scheme, a host, perhaps a port, and nothing behind it.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    matches!(scheme, "http" | "https")
        && !authority.as_str().contains('@')
        && text.len() == scheme.len() + "://".len() + authority.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for text in ["https://console.example", "http://localhost:3000", "http://[::1]:3000"] {
            assert!(is_origin(text), "{text}");
        }
        for text in
            ["", "*", "null", "console.example", "https://a/", "https://a/b", "ftp://a", "https://u@a"]
        {
            assert!(!is_origin(text), "{text}");
        }
    }
}
