//! Many patterns and events, a line each: for comparing the language with other implementations of it.

use std::io::BufRead;

use eventail_triggers::pattern::Pattern;
use serde::Deserialize;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::screen::Screen;

/// Both are JSON as strings, so that their spelling survives.
#[derive(Deserialize)]
struct Row {
    pattern: String,
    event: Option<String>,
}

/// Answers every line with one of `true`, `false` and `invalid`.
pub(super) fn run(input: impl BufRead, screen: &mut Screen) -> Result<Exit, CliError> {
    for line in input.lines() {
        let line = line.map_err(|source| CliError::Input { name: "standard input".to_owned(), source })?;
        if !line.trim().is_empty() {
            screen.line(answer(&line))?;
        }
    }
    Ok(Exit::Done)
}

fn answer(line: &str) -> &'static str {
    let Ok(row) = serde_json::from_str::<Row>(line) else { return "invalid" };
    let Ok(pattern) = Pattern::parse(&row.pattern) else { return "invalid" };
    match row.event.map(|event| pattern.matches_json(event.as_bytes())) {
        None | Some(Ok(true)) => "true",
        Some(Ok(false)) => "false",
        Some(Err(_)) => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Paper;
    use super::*;

    #[test]
    fn every_line_is_answered_with_a_line() {
        let lines = [
            (r#"{"pattern": "{\"a\": [300]}", "event": "{\"a\": 3.0e2}"}"#, "true"),
            (r#"{"pattern": "{\"a\": [\"x\"]}", "event": "{\"a\": \"y\", \"a\": \"x\"}"}"#, "true"),
            (r#"{"pattern": "{\"a\": [1]}", "event": "{\"a\": \"1\"}"}"#, "false"),
            (r#"{"pattern": "{\"a\": [1]}", "event": null}"#, "true"),
            (r#"{"pattern": "{\"a\": 1}", "event": null}"#, "invalid"),
            (r#"{"pattern": "{\"a\": 1}", "event": "{}"}"#, "invalid"),
            (r#"{"pattern": "{\"a\": [1]}", "event": "[]"}"#, "invalid"),
            ("what", "invalid"),
        ];
        let input: String = lines.iter().flat_map(|(line, _)| [line, "\n"]).collect();
        let paper = Paper::default();
        assert_eq!(run(input.as_bytes(), &mut Screen::plain(paper.clone())).unwrap(), Exit::Done);
        let wanted: Vec<&str> = lines.iter().map(|(_, answer)| *answer).collect();
        assert_eq!(paper.text().lines().collect::<Vec<_>>(), wanted);
    }
}
