//! Figures in a table and as JSON. The durability stands first: a figure without it says nothing.

use serde::Serialize;

/// What a figure is held against.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
    /// Nothing: it stands beside the others.
    None,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// `sync`, `buffered`, or `-` where nothing is stored.
    pub durability: &'static str,
    /// The scenario.
    pub scenario: String,
    /// What was counted.
    pub what: String,
    /// The median of the runs.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be.
    pub goal: Goal,
    /// Latencies, counts and whatever explains it.
    pub detail: String,
}

impl Figure {
    /// Whether the goal is reached; `None` without one.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtLeast(goal) => Some(self.value >= goal),
            Goal::AtMost(goal) => Some(self.value <= goal),
            Goal::None => None,
        }
    }
}

/// The value in the middle; of an even number, the higher of the two.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn median<T: Clone>(values: &[T], key: impl Fn(&T) -> f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    sorted[sorted.len() / 2].clone()
}

/// A table for people.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let head = ["durability", "scenario", "what", "figure", "goal", "met", "detail"].map(str::to_owned);
    let rows = figures.iter().map(|figure| {
        let goal = match figure.goal {
            Goal::AtLeast(goal) => format!(">= {}", number(goal)),
            Goal::AtMost(goal) => format!("<= {}", number(goal)),
            Goal::None => String::new(),
        };
        let met = match figure.met() {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        let value = format!("{} {}", number(figure.value), figure.unit);
        [
            figure.durability.to_owned(),
            figure.scenario.clone(),
            figure.what.clone(),
            value,
            goal,
            met.to_owned(),
            figure.detail.clone(),
        ]
    });
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(at, (cell, &width))| {
                    if at == 3 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `12,345` above a hundred, and three significant places below.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let digits = if value.abs() < 10.0 { 3 } else { 1 };
        return format!("{value:.digits$}");
    }
    let text = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, goal: Goal) -> Figure {
        let (scenario, what, detail) = ("publish".to_owned(), "events".to_owned(), String::new());
        Figure { durability: "sync", scenario, what, value, unit: "/s", goal, detail }
    }

    #[test]
    fn the_table_says_what_was_reached() {
        let text = table(&[figure(150_000.0, Goal::AtLeast(150_000.0)), figure(0.3, Goal::AtMost(0.25))]);
        assert!(text.starts_with("durability"), "{text}");
        assert!(text.contains("150,000 /s  >= 150,000  met"), "{text}");
        assert!(text.contains("0.300 /s  <= 0.250    NOT MET"), "{text}");
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0], |&value| value) - 2.0).abs() < f64::EPSILON);
    }
}
