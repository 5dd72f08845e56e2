//! The real webhook payloads of GitHub, as the npm package `@octokit/webhooks-examples` has them. `tests/run` fetches it.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::binary::root;

/// One payload, byte for byte as it stands in the package.
#[derive(Clone, Debug)]
pub struct Payload {
    /// GitHub's name of the event, for instance `pull_request`.
    pub name: String,
    /// Which GitHub: `api.github.com`, or a version of the enterprise server.
    pub server: String,
    /// Its place among the payloads of this server and name.
    pub number: usize,
    /// The body.
    pub body: Bytes,
}

#[derive(Deserialize)]
struct Entry<'a> {
    name: String,
    #[serde(borrow)]
    examples: Vec<&'a RawValue>,
}

fn package() -> PathBuf {
    root().join(".cache/node_modules/@octokit/webhooks-examples")
}

/// Every payload of the package, of all its servers.
///
/// # Panics
/// Where the package is not there: `tests/run` fetches it.
#[must_use]
pub fn payloads() -> Vec<Payload> {
    let folder = package();
    let servers = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/run, which fetches it", folder.display()));
    let mut files: Vec<PathBuf> =
        servers.filter_map(|entry| Some(entry.ok()?.path().join("index.json"))).collect();
    files.retain(|file| file.exists());
    files.sort();
    let found: Vec<Payload> = files.iter().flat_map(|file| payloads_of(file)).collect();
    assert!(found.len() > 300, "the package has only {} payloads", found.len());
    found
}

fn payloads_of(file: &std::path::Path) -> Vec<Payload> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let entries: Vec<Entry<'_>> = serde_json::from_str(&text).expect("the package's index is JSON");
    let server = file.parent().and_then(std::path::Path::file_name).expect("index.json lies in a folder");
    let server = server.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for Entry { name, examples } in entries {
        for (number, example) in examples.into_iter().enumerate() {
            let body = Bytes::copy_from_slice(example.get().as_bytes());
            found.push(Payload { name: name.clone(), server: server.clone(), number, body });
        }
    }
    found
}
