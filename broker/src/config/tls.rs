//! `[listen.tls]`: the certificate of the listeners, and whose certificates they ask for.
//!
//! Files are not read here but where they are used, so that they may come later than the configuration; only a key in a secret is.

use std::path::PathBuf;

use super::model::{ClientCertificates, TlsKey, TlsOptions};
use super::problem::Problem;
use super::reader::{Found, Reader, Section};
use super::{schema, secret};

/// Whether clients are asked for certificates.
#[derive(Clone, Copy)]
enum Asked {
    Off,
    Optional,
    Required,
}

/// Reads the section.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<TlsOptions> {
    let certificate = path(reader, section, "certificate");
    let key = match section.get("key") {
        Some(found) => read_key(reader, &found),
        None => missing(reader, section, "key"),
    };
    let clients = read_clients(reader, section);
    Some(TlsOptions { certificate: certificate?, key: key?, clients: clients? })
}

/// A path, or a secret. What stands in a file is not taken into the configuration, so that a new key is read where it is a new file.
fn read_key(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<TlsKey> {
    if let Some(path) = found.value.as_str() {
        return Some(TlsKey::File(reader.path(path)));
    }
    let table = found.table(reader)?;
    if table.len() == 1 && table.contains_key("file") {
        let section = Section::new(reader, found.key.clone(), found.span.clone(), table, schema::SECRET);
        return section.string(reader, "file").map(|(path, _)| TlsKey::File(reader.path(path)));
    }
    secret::read(reader, found).map(TlsKey::Secret)
}

fn read_clients(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<ClientCertificates> {
    let ca = section.string(reader, "client_ca").map(|(path, _)| reader.path(path));
    let words = &["off", "optional", "required"];
    let values = [Asked::Off, Asked::Optional, Asked::Required];
    let asked = section.choice(reader, "client_certificates", words, &values);
    match (asked, ca) {
        (None, None) => Some(ClientCertificates::Off),
        // It may be wrong, and then that was told.
        (None, Some(_)) if section.get("client_certificates").is_some() => None,
        // An authority alone leaves open what is meant, and to guess "off" would let everybody in.
        (None, Some(_)) => missing(reader, section, "client_certificates"),
        (Some(Asked::Off), _) => Some(ClientCertificates::Off),
        (Some(_), None) => missing(reader, section, "client_ca"),
        (Some(Asked::Optional), Some(ca)) => Some(ClientCertificates::Optional { ca }),
        (Some(Asked::Required), Some(ca)) => Some(ClientCertificates::Required { ca }),
    }
}

fn path(reader: &mut Reader<'_>, section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    if section.get(key).is_none() {
        return missing(reader, section, key);
    }
    section.string(reader, key).map(|(path, _)| reader.path(path))
}

fn missing<T>(reader: &mut Reader<'_>, section: &Section<'_>, key: &'static str) -> Option<T> {
    reader.note(Problem::MissingKey { key, section: section.title() }, &section.span);
    None
}
