//! The pages that name tests as proof (`docs/promises.md`, `SECURITY.md`) name tests that exist, and every promise has some.
//!
//! A line such as ``- `tests/crash/main.rs` `a_name` `` is a file and a test in it. Reads pages and sources; compiles and runs nothing.

#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

use std::path::{Path, PathBuf};

/// Tests that one promise has at least.
const TESTS_LEAST: usize = 5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// The file and the test of a line that names them.
fn named(line: &str) -> Option<(&str, &str)> {
    let mut quoted = line.trim_start().strip_prefix("- `")?.split('`');
    let (file, between, test) = (quoted.next()?, quoted.next()?, quoted.next()?);
    (between == " " && file.ends_with(".rs")).then_some((file, test))
}

/// Whether a source has a function of this name right behind an attribute that makes it a test.
fn has_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    source.match_indices(&head).any(|(at, _)| {
        // Its attributes stand in the same paragraph.
        let paragraph = source[..at].rsplit("\n\n").next().unwrap_or_default();
        paragraph.contains("#[test]") || paragraph.contains("#[tokio::test")
    })
}

fn check(page: &str) {
    let text = read(page).unwrap_or_else(|| panic!("{page} is missing"));
    let mut missing = Vec::new();
    for (file, test) in text.lines().filter_map(named) {
        match read(file) {
            None => missing.push(format!("there is no {file}")),
            Some(source) if !has_test(&source, test) => missing.push(format!("{file} has no test {test}")),
            Some(_) => {}
        }
    }
    assert!(missing.is_empty(), "{page} names what is not there:\n{}", missing.join("\n"));
}

#[test]
fn every_test_that_a_promise_names_exists() {
    check("docs/promises.md");
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    check("SECURITY.md");
}

#[test]
fn every_promise_is_attacked_by_several_tests() {
    let text = read("docs/promises.md").unwrap();
    let sections: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 8, "eight promises");
    for (section, number) in sections.iter().zip(1..) {
        let title = section.lines().next().unwrap();
        assert!(title.starts_with(&format!("{number}. ")), "{title}");
        let tests = section.lines().filter_map(named).count();
        assert!(tests >= TESTS_LEAST, "{title}: only {tests} tests");
    }
}

#[test]
fn a_line_names_a_file_and_a_test_and_prose_does_not() {
    assert_eq!(named("- `a/b.rs` `c`"), Some(("a/b.rs", "c")));
    assert_eq!(named("- `a.md` `c`"), None);
    assert_eq!(named("`a.rs` `c`"), None);
    let source = "#[test]\nfn one() {}\n\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn two() {}\n\nfn three() {}\n";
    assert_eq!(["one", "two", "three", "tw"].map(|name| has_test(source, name)), [true, true, false, false]);
}
