//! What `config.default.toml` says of every key: its comment, and its default or an example. The schema and the reference page
//! are made of this, so that nothing is said twice.
//!
//! The file keeps to a few rules. Comments stand right above the section or key that they are for; a line with nothing but `#`
//! parts them. A part that has `{ KEY = …` and stands above another key is for KEY, which has no line of its own. What is
//! commented out is an example, what is not is a default.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{pattern, schema};

/// A section of the file, or a key in one.
pub(super) struct Entry {
    /// As [`schema::SECTIONS`] names it.
    pub(super) section: &'static str,
    /// `None` for the section itself.
    pub(super) key: Option<&'static str>,
    /// The comment, its lines joined; parts of it are parted by an empty line. Empty where the key stands in a table of one line.
    pub(super) comment: String,
    /// What stands there; `None` for a section, and for a key without a line of its own.
    pub(super) value: Option<Value>,
    /// Whether that is the default.
    pub(super) is_default: bool,
}

/// The whole file.
#[derive(Default)]
pub(super) struct Outline {
    /// What it says before everything else.
    pub(super) preface: String,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
}

impl Outline {
    /// Reads a file that keeps to the rules. What does not is left out; a test holds the default file to them.
    pub(super) fn of(text: &str) -> Self {
        let mut outline = Self::default();
        let mut section = schema::TOP;
        let mut comments = Comments::default();
        for line in text.lines() {
            if line.is_empty() {
                if outline.preface.is_empty() {
                    outline.preface = comments.take();
                }
                comments.clear();
            } else if let Some(words) = line.strip_prefix("# ") {
                comments.add(words);
            } else if line == "#" {
                comments.part();
            } else {
                let (code, is_default) = line.strip_prefix('#').map_or((line, true), |code| (code, false));
                if code.starts_with('[') {
                    if let Some(named) = section_of(code) {
                        section = named;
                        outline.add(section, None, comments.take(), None, is_default);
                    }
                } else {
                    outline.add_line(section, code, &mut comments, is_default);
                }
            }
        }
        outline
    }

    /// The entry of a key or section that says the most: one with a comment, or else the first.
    pub(super) fn find(&self, section: &str, key: Option<&str>) -> Option<&Entry> {
        let all = || self.entries.iter().filter(|entry| entry.section == section && entry.key == key);
        all().find(|entry| !entry.comment.is_empty()).or_else(|| all().next())
    }

    fn add_line(&mut self, section: &'static str, code: &str, comments: &mut Comments, is_default: bool) {
        let Ok(line) = DeTable::parse(code) else { return };
        for (name, value) in line.get_ref() {
            let Some(key) = schema::known_key(section, name.get_ref()) else { continue };
            for (other, comment) in comments.of_others(section, key) {
                self.add(section, Some(other), comment, None, false);
            }
            self.add(section, Some(key), comments.take(), pattern::json(value.get_ref()).ok(), is_default);
            self.add_members(section, key, value.get_ref(), is_default);
        }
    }

    /// The keys of a section that is written as a table of one line.
    fn add_members(&mut self, section: &'static str, key: &str, value: &DeValue<'_>, is_default: bool) {
        let (Some(inner), Some(table)) = (schema::section_in(section, key), value.as_table()) else { return };
        for (name, value) in table {
            if let Some(key) = schema::known_key(inner, name.get_ref()) {
                self.add(inner, Some(key), String::new(), pattern::json(value.get_ref()).ok(), is_default);
            }
        }
    }

    fn add(
        &mut self,
        section: &'static str,
        key: Option<&'static str>,
        comment: String,
        value: Option<Value>,
        is_default: bool,
    ) {
        self.entries.push(Entry { section, key, comment, value, is_default });
    }
}

/// The section of a header such as `[triggers.ship.retry]`.
fn section_of(header: &str) -> Option<&'static str> {
    let parsed = DeTable::parse(header).ok()?;
    let mut path = Vec::new();
    let mut table = parsed.get_ref();
    while let Some((key, value)) = table.iter().next() {
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    schema::section_at(&path)
}

/// The comments above a line, part by part.
#[derive(Default)]
struct Comments(Vec<String>);

impl Comments {
    fn add(&mut self, words: &str) {
        match self.0.last_mut() {
            Some(part) if !part.is_empty() => {
                part.push(' ');
                part.push_str(words);
            }
            Some(part) => part.push_str(words),
            None => self.0.push(words.to_owned()),
        }
    }

    fn part(&mut self) {
        self.0.push(String::new());
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.0).join("\n\n")
    }

    /// Takes out the parts that are for other keys of the section than the one that follows.
    fn of_others(&mut self, section: &str, key: &str) -> Vec<(&'static str, String)> {
        let keys = schema::keys_of(section);
        let meant = |part: &str| {
            let others = keys.iter().copied().filter(|other| *other != key);
            others.into_iter().find(|other| part.contains(&format!("{{ {other} = ")))
        };
        let (others, own) = self.0.drain(..).partition::<Vec<_>, _>(|part| meant(part).is_some());
        self.0 = own;
        others.into_iter().filter_map(|part| Some((meant(&part)?, part))).collect()
    }
}
