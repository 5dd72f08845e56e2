//! Aligned columns. Numbers stand at the right of their column, text at the left.

use super::error::CliError;
use super::screen::{Paint, Screen, visible};

/// Between two columns.
const GAP: &str = "  ";

/// The longest unit: `MiB`.
const UNIT_BYTES_MAX: usize = 3;

/// Rows under a heading.
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    indent: &'static str,
}

impl Table {
    /// An empty table.
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), indent: "" }
    }

    /// The same, moved to the right.
    pub(super) const fn indented(mut self, indent: &'static str) -> Self {
        self.indent = indent;
        self
    }

    /// Adds a row. Cells are made visible, whoever wrote what is in them.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells.iter().map(|cell| visible(cell).replace('\n', " ")).collect());
    }

    /// The lines, heading first.
    fn lines(&self) -> Vec<String> {
        let count = self.headings.len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.headings[column].chars().count()]).max().unwrap_or(0)
        };
        let numbers =
            |column: usize| !self.rows.is_empty() && self.rows.iter().all(|row| is_number(&row[column]));
        let layout: Vec<(usize, bool)> = (0..count).map(|column| (width(column), numbers(column))).collect();
        let line = |cells: Vec<&str>| {
            let cells = cells.iter().zip(&layout).map(|(cell, (width, right))| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            format!("{}{}", self.indent, cells.collect::<Vec<_>>().join(GAP).trim_end())
        };
        let heading = line(self.headings.clone());
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        std::iter::once(heading).chain(rows).collect()
    }

    /// Prints it; an empty one says what there is none of.
    pub(super) fn print(&self, screen: &mut Screen, none: &str) -> Result<(), CliError> {
        if self.rows.is_empty() {
            return screen.line(&format!("{}{none}", self.indent));
        }
        for (index, line) in self.lines().iter().enumerate() {
            let line = if index == 0 { screen.paint(Paint::Heading, line) } else { line.clone() };
            screen.line(&line)?;
        }
        Ok(())
    }
}

/// Whether it is a number, perhaps with a unit, or the dash that stands for none.
fn is_number(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    let is_unit = unit.len() <= UNIT_BYTES_MAX && unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    text == "-" || (text.starts_with(|c: char| c.is_ascii_digit()) && is_unit)
}

/// Labels and values under each other, for one thing that is shown.
pub(super) fn facts(screen: &mut Screen, facts: &[(&str, String)]) -> Result<(), CliError> {
    let width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let label = screen.paint(Paint::Quiet, &format!("{label:<width$}"));
        screen.line(&format!("{label}{GAP}{}", visible(value)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let mut table = Table::new(&["NAME", "EVENTS", "STATE"]);
        table.row(vec!["orders".to_owned(), "7".to_owned(), "ok".to_owned()]);
        table.row(vec!["a".to_owned(), "12345678".to_owned(), "-".to_owned()]);
        assert_eq!(table.lines(), ["NAME      EVENTS  STATE", "orders         7  ok", "a       12345678  -"]);
    }

    #[test]
    fn numbers_with_a_unit_stand_right_too() {
        for number in ["-", "7", "0.000209", "3.78ms", "2.3s", "79.9 ms", "12 MiB"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "order", "7 of 256 MB", "2026-11-23T16:06:21Z", "422 unknown field", ".", "ms"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
