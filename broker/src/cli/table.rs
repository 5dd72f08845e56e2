//! Aligned columns. Numbers stand at the right of their column, text at the left.

use super::error::CliError;
use super::screen::{Paint, Screen, visible};

/// Between two columns.
const GAP: &str = "  ";

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
        let is_number =
            |text: &str| text == "-" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
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
}
