//! The house stands as DESIGN draws it: who may import whom, how long a file may get, and that each says what it is for.
//!
//! Reads manifests, `Cargo.lock` and sources; compiles and runs nothing.

#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines that are not tests, in one file.
const FILE_LINES_MAX: usize = 800;

/// What each crate may import of ours. `tests`, `benches` and the examples may import everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("storage", &["eventail-wire"]),
    ("triggers", &["eventail-wire"]),
    ("client", &["eventail-wire"]),
    ("broker", &["eventail-triggers", "eventail-storage", "eventail-wire"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn toml(path: &Path) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in `[dependencies]`, and in every target's and every build's table as well; tests may need more.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = toml(&root().join(folder).join("Cargo.toml"));
    let mut tables: Vec<&toml::Value> =
        ["dependencies", "build-dependencies"].iter().filter_map(|name| manifest.get(*name)).collect();
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(|target| target.get("dependencies")));
    }
    let keys = tables.into_iter().filter_map(toml::Value::as_table).flat_map(toml::Table::keys);
    keys.cloned().collect()
}

/// Every crate that `folder` compiles, by the lock file. It counts the dependencies of all platforms, and for our own
/// crates further down only those of `[dependencies]`.
fn dependency_tree(folder: &str) -> BTreeSet<String> {
    let lock = toml(&root().join("Cargo.lock"));
    let packages = lock["package"].as_array().unwrap();
    let mut graph: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let needs = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        // An entry is `name` or `name version`: versions of one crate are joined, which can only find too much.
        let names = needs.map(|entry| entry.as_str().unwrap().split(' ').next().unwrap().to_owned());
        graph.entry(package["name"].as_str().unwrap()).or_default().extend(names);
    }
    let mut seen = BTreeSet::new();
    let mut open: Vec<String> = dependencies(folder).into_iter().collect();
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        match name.strip_prefix("eventail-") {
            Some(ours) => open.extend(dependencies(ours)),
            None => open.extend(graph.get(name.as_str()).into_iter().flatten().cloned()),
        }
    }
    seen
}

fn members() -> Vec<String> {
    let manifest = toml(&root().join("Cargo.toml"));
    let members = manifest["workspace"]["members"].as_array().unwrap();
    members.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file of the repository, with its path from the root and its text.
fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 20, "found only {} files: is the root right?", found.len());
    let root = root();
    let named = |path: PathBuf| (path.strip_prefix(&root).unwrap().display().to_string(), read(&path));
    found.into_iter().map(named).collect()
}

/// The lines before the unit tests, which stand at the end of a file.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |at: usize| {
        lines[at].starts_with("#[cfg(test)]")
            && lines[at + 1..].iter().find(|line| !line.starts_with("#[")).is_some_and(|next| {
                next.starts_with("mod tests {") || next.starts_with("pub(crate) mod tests {")
            })
    };
    (0..lines.len()).find(|&at| is_tests(at)).unwrap_or(lines.len())
}

#[test]
fn nothing_imports_upwards_or_sideways() {
    for (folder, allowed) in LAYERS {
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        let ours: BTreeSet<String> =
            dependencies(folder).into_iter().filter(|name| name.starts_with("eventail-")).collect();
        assert!(ours.is_subset(&allowed), "{folder} may import {allowed:?} of ours and imports {ours:?}");
    }
}

#[test]
fn every_crate_has_its_layer() {
    let free = ["tests", "benches"];
    for member in members() {
        let known = LAYERS.iter().any(|(folder, _)| *folder == member)
            || free.contains(&member.as_str())
            || member.starts_with("examples/");
        assert!(known, "{member} has no layer: DESIGN section 3 says who may import whom");
    }
}

#[test]
fn wire_does_no_io() {
    let tree = dependency_tree("wire");
    for banned in ["tokio", "hyper", "quinn", "mio", "rustix"] {
        assert!(!tree.contains(banned), "wire compiles {banned}");
    }
}

#[test]
fn a_user_of_the_client_compiles_neither_sled_nor_an_http_server() {
    let tree = dependency_tree("client");
    assert!(tree.contains("quinn-proto"), "the tree is not the client's: {tree:?}");
    for banned in ["sled", "axum", "hyper", "hyper-util", "tower"] {
        assert!(!tree.contains(banned), "the client compiles {banned}");
    }
}

#[test]
fn only_the_storage_crate_knows_sled_and_only_the_edge_knows_servers() {
    for (folder, banned) in [
        ("wire", &["sled", "axum", "quinn", "tokio"][..]),
        ("storage", &["axum", "quinn", "hyper", "http"]),
        ("triggers", &["sled", "axum", "quinn"]),
        ("client", &["sled", "axum", "hyper"]),
        ("broker", &["sled"]),
    ] {
        let direct = dependencies(folder);
        for name in banned {
            assert!(!direct.contains(*name), "{folder} depends on {name}");
        }
    }
}

#[test]
fn every_crate_inherits_the_lints() {
    for member in members() {
        let manifest = toml(&root().join(&member).join("Cargo.toml"));
        let inherits =
            manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{member} has no `lints.workspace = true`");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in all_sources() {
        assert!(text.starts_with("//!"), "{path} does not begin with `//!`");
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in all_sources() {
        let lines = lines_without_tests(&text);
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines without its tests, over {FILE_LINES_MAX}");
    }
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_open() {
    // Written apart, so that this file does not find itself.
    let banned = [concat!("#[", "ignore"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    for (path, text) in all_sources() {
        for word in banned {
            assert!(!text.contains(word), "{path} contains `{word}`");
        }
    }
}
