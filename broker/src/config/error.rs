//! All that is wrong with a configuration, told at once, each with its place, and shown as rustc shows its errors.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::document::{Noted, SourceFile};
use super::problem::Problem;

/// One problem and its place in the file.
#[derive(Clone, Debug)]
pub struct ConfigError {
    problem: Problem,
    /// The number of its file.
    file: usize,
    /// Its place in that file.
    span: Option<Range<usize>>,
    line: usize,
    column: usize,
}

impl ConfigError {
    /// What is wrong.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The line in its file, counted from 1; 0 where the file as a whole is meant.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1; 0 where the file as a whole is meant.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }
}

/// Every problem of one configuration, in the order of the file. There is at least one.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    files: Vec<ShownFile>,
    errors: Vec<ConfigError>,
}

#[derive(Clone, Debug)]
struct ShownFile {
    name: String,
    /// The file's text with whatever may be a secret masked, so that showing a line never shows one.
    text: String,
}

impl ConfigErrors {
    /// What is wrong with files, each of which has its places behind those of the one before. `masks` are the parts that must not be
    /// shown.
    pub(super) fn of(files: &[SourceFile], mut problems: Vec<Noted>, masks: &[Range<usize>]) -> Self {
        problems.sort_by_key(|(_, span)| span.as_ref().map_or(0, |span| span.start));
        let error = |(problem, span): Noted| {
            let at = span.as_ref().map_or(0, |span| span.start);
            let file = files.iter().rposition(|file| file.start <= at).unwrap_or(0);
            let span = span.map(|span| within(&files[file], &span));
            let (line, column) = span.as_ref().map_or((0, 0), |span| place(&files[file].text, span.start));
            ConfigError { problem, file, span, line, column }
        };
        let shown = |file: &SourceFile| {
            let end = file.start + file.text.len();
            let masks: Vec<_> = masks
                .iter()
                .filter(|mask| mask.start >= file.start && mask.end <= end)
                .map(|mask| within(file, mask))
                .collect();
            ShownFile { name: file.path.display().to_string(), text: masked(&file.text, &masks) }
        };
        Self { errors: problems.into_iter().map(error).collect(), files: files.iter().map(shown).collect() }
    }

    /// What is wrong with a file that cannot be read.
    pub(super) fn unreadable(path: &Path, source: std::io::Error) -> Self {
        let file = SourceFile { path: path.to_owned(), text: String::new(), start: 0 };
        Self::of(&[file], vec![(Problem::Unreadable { source: Arc::new(source) }, None)], &[])
    }

    /// The problems, in the order of the file.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// All problems for people, with the lines that they stand in, in colours or without.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let rendered: Vec<String> =
            self.errors.iter().map(|error| renderer.render(&self.report(error))).collect();
        rendered.join("\n\n")
    }

    fn report<'a>(&'a self, error: &'a ConfigError) -> Vec<Group<'a>> {
        let title = Level::ERROR.primary_title(error.problem.to_string());
        let file = &self.files[error.file];
        let mut group = match &error.span {
            Some(span) => title.element(
                Snippet::source(file.text.as_str())
                    .path(file.name.as_str())
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            None => title.element(Origin::path(file.name.as_str())),
        };
        if let Some(help) = error.problem.help() {
            group = group.element(Level::HELP.message(help));
        }
        vec![group]
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

/// A place of all files as the one in its file.
fn within(file: &SourceFile, span: &Range<usize>) -> Range<usize> {
    let at = |place: usize| place.saturating_sub(file.start).min(file.text.len());
    at(span.start)..at(span.end)
}

/// Line and column of a byte, both counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The text with every byte of the masked parts replaced, lines kept, so that places stay what they are.
fn masked(text: &str, masks: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for byte in masks.iter().filter_map(|mask| text.get(mask.clone()).map(|_| mask.clone())).flatten() {
        if bytes[byte] != b'\n' {
            bytes[byte] = b'*';
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What to mask in a file that is not TOML. Where its secrets are cannot be told, so letters and digits of every value in
/// the sections that may have some are masked; what matters for a mistake of syntax, the punctuation, stays.
pub(super) fn masks_of_broken(text: &str) -> Vec<Range<usize>> {
    const MAY_HAVE_SECRETS: [&str; 14] = [
        "trigger",
        "secret",
        "header",
        "function",
        "environment",
        "invoke",
        "key",
        "auth",
        "token",
        "passw",
        "credential",
        "bearer",
        "basic",
        "certificate",
    ];
    let mut masks = Vec::new();
    let (mut start, mut in_secrets) = (0, false);
    for line in text.split_inclusive('\n') {
        let section = section_of(line);
        if section.is_some() {
            in_secrets = false;
        }
        let lower = line.to_ascii_lowercase();
        in_secrets |= MAY_HAVE_SECRETS.iter().any(|word| lower.contains(word));
        if in_secrets {
            let value = section.unwrap_or_else(|| line.find('=').map_or(0, |equals| equals + 1));
            let characters = line[value..].char_indices().filter(|(_, c)| c.is_alphanumeric());
            masks.extend(characters.map(|(at, c)| {
                let at = start + value + at;
                at..at + c.len_utf8()
            }));
        }
        start += line.len();
    }
    masks
}

/// Where `[section]` ends that a line begins with. What begins with a string is a value: a list may have lines of its own.
fn section_of(line: &str) -> Option<usize> {
    let inside = line.trim_start().trim_start_matches('[');
    let is_section = inside.len() < line.trim_start().len()
        && inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_section.then(|| line.find(']').map_or(line.len(), |end| end + 1))
}

/// Whether what stands under a key is a secret, or meant as one, whatever the section: somebody may have it where it does not belong.
pub(super) fn is_secret_key(key: &str) -> bool {
    const PARTS: [&str; 7] =
        ["secret", "password", "passwd", "token", "credential", "apikey", "authorization"];
    const WHOLE: [&str; 6] = ["auth", "bearer", "basic", "key", "keys", "pass"];
    /// Where tokens are.
    const HARMLESS: [&str; 2] = ["tokens_file", "token_url"];
    let key = key.to_ascii_lowercase();
    let bare: String = key.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    !HARMLESS.contains(&key.as_str())
        && (WHOLE.contains(&bare.as_str())
            || bare.ends_with("key")
            || PARTS.iter().any(|part| bare.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_in_characters() {
        assert_eq!(place("a\nbc", 0), (1, 1));
        assert_eq!(place("a\nbc", 3), (2, 2));
        assert_eq!(place("ä=1", 2), (1, 2));
    }

    #[test]
    fn masking_keeps_length_and_lines() {
        assert_eq!(masked("a = \"ä\nb\" c", std::slice::from_ref(&(4..10))), "a = ***\n** c");
    }
}
