//! The text of a configuration: one file, or several that it includes, as one table.
//!
//! `include` of the first file names others, which may have topics, hosts, functions, triggers, schedules and tests, each name in one
//! file only. In every string `${NAME}` stands for an environment variable, `${NAME:-default}` for one that may be missing, and
//! `$${` for `${` itself. Places in the table are unique over all files: a file's begin where those of the one before ended.
//! Secrets do not belong in such variables: what a string becomes may be shown in an error; `{ env = "…" }` is for them.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{is_secret_key, masks_of_broken};
use super::files;
use super::problem::Problem;
use super::reader::Environment;

/// Files that one configuration may include.
const INCLUDED_MAX: usize = 1_000;
/// What an included file may have: what comes by name, and tests.
pub(super) const INCLUDED_KEYS: &[&str] = &["topics", "hosts", "functions", "triggers", "schedules", "tests"];

/// One file as it was read.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// Where its places begin.
    pub(super) start: usize,
}

/// Every file, and what was wrong with reading them.
pub(super) struct Sources {
    pub(super) files: Vec<SourceFile>,
    pub(super) problems: Vec<Noted>,
}

/// A problem and its place.
pub(super) type Noted = (Problem, Option<Range<usize>>);

/// All files as one table.
pub(super) struct Document<'t> {
    pub(super) table: DeTable<'t>,
    pub(super) problems: Vec<Noted>,
    /// What must not be shown: of files that are not TOML, and of what stands under the names of secrets.
    pub(super) masks: Vec<Range<usize>>,
    /// Whether a file is not TOML: then the table is guesswork.
    pub(super) is_broken: bool,
}

impl Sources {
    /// Takes the first file's text and reads what it includes.
    pub(super) fn read(path: &Path, text: &str) -> Self {
        let mut sources = Self { files: Vec::new(), problems: Vec::new() };
        sources.add(path.to_owned(), text.to_owned());
        let (document, _) = DeTable::parse_recoverable(text);
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let Some(include) = document.get_ref().get("include").and_then(|found| found.get_ref().as_array())
        else {
            return sources;
        };
        for item in include.iter() {
            // One that is no string is told by whoever reads the key.
            if let Some(pattern) = item.get_ref().as_str() {
                sources.include(&folder.join(pattern), item.span());
            }
        }
        sources
    }

    fn include(&mut self, pattern: &Path, span: Range<usize>) {
        let found = files::matching(pattern).and_then(|paths| {
            let known = |path: &PathBuf| self.files.iter().any(|file| file.path == *path);
            let new = paths.into_iter().filter(|path| !known(path));
            new.map(|path| files::read_text(&path).map(|text| (path, text))).collect::<Result<Vec<_>, _>>()
        });
        match found {
            Ok(files) if self.files.len() + files.len() > INCLUDED_MAX => {
                self.problems.push((Problem::TooManyIncluded { limit: INCLUDED_MAX }, Some(span)));
            }
            Ok(files) => files.into_iter().for_each(|(path, text)| self.add(path, text)),
            Err(source) => {
                let pattern = pattern.display().to_string();
                self.problems.push((Problem::Include { pattern, source: Arc::new(source) }, Some(span)));
            }
        }
    }

    fn add(&mut self, path: PathBuf, text: String) {
        let start = self.files.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.files.push(SourceFile { path, text, start });
    }

    /// All files as one table.
    pub(super) fn document(&self, environment: Environment<'_>) -> Document<'_> {
        let mut document = Document {
            table: DeTable::new(),
            problems: self.problems.clone(),
            masks: Vec::new(),
            is_broken: false,
        };
        let mut syntax = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            let (parsed, errors) = DeTable::parse_recoverable(&file.text);
            if !errors.is_empty() {
                let masks = masks_of_broken(&file.text);
                document.masks.extend(masks.into_iter().map(|mask| shifted(mask, file.start)));
                syntax.extend(errors.into_iter().map(|error| {
                    let span = error.span().map(|span| shifted(span, file.start));
                    (Problem::Syntax { message: error.message().to_owned() }, span)
                }));
            }
            let (problems, masks) = (&mut document.problems, &mut document.masks);
            let mut settling =
                Settling { shift: file.start, environment, problems, masks, in_secret: false, is_root: true };
            let table = settling.table(parsed.into_inner());
            if at == 0 { document.table = table } else { document.join(table) }
        }
        if !syntax.is_empty() {
            // What was made of a broken file is guesswork: its other problems are of no use.
            document.is_broken = true;
            document.problems = syntax;
        }
        document
    }
}

impl<'t> Document<'t> {
    /// Adds an included file.
    fn join(&mut self, table: DeTable<'t>) {
        for (key, value) in table {
            let name = key.get_ref().to_string();
            if !INCLUDED_KEYS.contains(&name.as_str()) {
                self.problems.push((Problem::NotIncluded { key: name }, Some(key.span())));
                continue;
            }
            match self.table.get_mut(name.as_str()) {
                None => drop(self.table.insert(key, value)),
                Some(known) => match (known.get_mut(), value.into_inner()) {
                    (DeValue::Table(known), DeValue::Table(more)) => {
                        join_names(&name, known, more, &mut self.problems);
                    }
                    (DeValue::Array(known), DeValue::Array(more)) => {
                        more.into_iter().for_each(|item| known.push(item));
                    }
                    // One of the two has not the type that it must have, which its reader tells once the other is right.
                    _ => self.problems.push((Problem::Twice { key: name }, Some(key.span()))),
                },
            }
        }
    }
}

fn join_names<'t>(section: &str, known: &mut DeTable<'t>, more: DeTable<'t>, problems: &mut Vec<Noted>) {
    for (key, value) in more {
        if known.contains_key(key.get_ref().as_ref()) {
            let key_path = format!("{section}.{}", key.get_ref());
            problems.push((Problem::Twice { key: key_path }, Some(key.span())));
        } else {
            known.insert(key, value);
        }
    }
}

fn shifted(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

/// Moves the places of a file to where they are its own, and fills in environment variables.
struct Settling<'a> {
    shift: usize,
    environment: Environment<'a>,
    problems: &'a mut Vec<Noted>,
    masks: &'a mut Vec<Range<usize>>,
    /// Whether what comes stands under the name of a secret.
    in_secret: bool,
    /// Whether it is the file's own table, in which `auth` is a section.
    is_root: bool,
}

impl Settling<'_> {
    fn table<'t>(&mut self, table: DeTable<'t>) -> DeTable<'t> {
        let (was_secret, is_root) = (self.in_secret, std::mem::take(&mut self.is_root));
        let entries = table.into_iter().map(|(key, value)| {
            let key = Spanned::new(shifted(key.span(), self.shift), key.into_inner());
            let name = key.get_ref().as_ref();
            let is_section = is_root && name == "auth" && matches!(value.get_ref(), DeValue::Table(_));
            self.in_secret = was_secret || (is_secret_key(name) && !is_section);
            (key, self.value(value))
        });
        let table = entries.collect();
        self.in_secret = was_secret;
        table
    }

    fn value<'t>(&mut self, value: Spanned<DeValue<'t>>) -> Spanned<DeValue<'t>> {
        let span = shifted(value.span(), self.shift);
        if self.in_secret && !matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
            self.masks.push(span.clone());
        }
        let value = match value.into_inner() {
            DeValue::String(text) => DeValue::String(self.filled(text, &span)),
            DeValue::Array(items) => {
                let items: DeArray<'t> = items.into_iter().map(|item| self.value(item)).collect();
                DeValue::Array(items)
            }
            DeValue::Table(table) => DeValue::Table(self.table(table)),
            other => other,
        };
        Spanned::new(span, value)
    }

    fn filled<'t>(&mut self, text: Cow<'t, str>, span: &Range<usize>) -> Cow<'t, str> {
        if !text.contains("${") {
            return text;
        }
        match fill(&text, self.environment) {
            Ok(filled) => Cow::Owned(filled),
            Err(problem) => {
                self.problems.push((problem, Some(span.clone())));
                text
            }
        }
    }
}

/// A text with its variables filled in.
fn fill(text: &str, environment: Environment<'_>) -> Result<String, Problem> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let Some((inside, behind)) = rest[at + 2..].split_once('}') else {
            return Err(Problem::OpenVariable);
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(Problem::VariableName { name: name.to_owned() });
        }
        match (environment(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => filled.push_str(&value),
            (None, Some(default)) => filled.push_str(default),
            (None, None) => return Err(Problem::UnsetVariable { name: name.to_owned() }),
        }
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let environment = |name: &str| match name {
            "HOST" => Some("shop.example".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        fill(text, &environment).map_err(|problem| problem.to_string())
    }

    #[test]
    fn variables_are_filled_in_and_may_have_defaults() {
        assert_eq!(filled("https://${HOST}/x").unwrap(), "https://shop.example/x");
        assert_eq!(filled("${HOST}${HOST}").unwrap(), "shop.exampleshop.example");
        assert_eq!(filled("${PORT:-8080}").unwrap(), "8080");
        assert_eq!(filled("${HOST:-other}").unwrap(), "shop.example");
        assert_eq!(filled("${EMPTY:-other}").unwrap(), "other");
        assert_eq!(filled("${PORT:-}").unwrap(), "");
        assert_eq!(filled("$${HOST} costs $5").unwrap(), "${HOST} costs $5");
    }

    #[test]
    fn a_variable_that_is_missing_or_none_is_refused_by_name() {
        assert!(filled("${PORT}").unwrap_err().contains("PORT"));
        assert!(filled("${EMPTY}").unwrap_err().contains("EMPTY"));
        assert!(filled("${HOST").unwrap_err().contains('}'));
        assert!(filled("${a b}").unwrap_err().contains("a b"));
        assert!(filled("${}").is_err());
    }
}
