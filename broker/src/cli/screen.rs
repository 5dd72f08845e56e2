//! Where a command prints: standard output or standard error, with colours where they are wanted.

use std::borrow::Cow;
use std::io::{BufWriter, IsTerminal, Write};

use super::error::CliError;

/// What a piece of text means; the colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Heading,
    Quiet,
    Success,
    Failure,
    Name,
}

impl Paint {
    const fn sequence(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Quiet => "2",
            Self::Success => "32",
            Self::Failure => "1;31",
            Self::Name => "36",
        }
    }
}

/// Something to print on.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    colours: bool,
    terminal: bool,
}

impl Screen {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            out: Box::new(BufWriter::new(std::io::stdout())),
            colours: terminal && colours_wanted(),
            terminal,
        }
    }

    /// Standard error.
    pub(super) fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { out: Box::new(std::io::stderr()), colours: terminal && colours_wanted(), terminal }
    }

    /// Anything that takes bytes, without colours.
    #[cfg(test)]
    pub(super) fn plain(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), colours: false, terminal: false }
    }

    /// Whether colours are wanted here.
    pub(super) const fn colours(&self) -> bool {
        self.colours
    }

    /// Whether a person is watching.
    pub(super) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A line, flushed: whoever follows wants it now.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.line_of_many(text)?;
        self.flush()
    }

    /// A line of many; [`Screen::flush`] must follow the last.
    pub(super) fn line_of_many(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Shows what was printed by now.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.out.flush()?)
    }

    /// A text of several lines; a last newline is added where it is missing.
    pub(super) fn raw(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.out.write_all(b"\n")?;
        }
        Ok(self.out.flush()?)
    }

    /// JSON over several lines.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
        self.raw(&text)
    }

    /// The text in its colour, where colours are wanted.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        paint_if(self.colours, paint, text)
    }
}

/// The text in its colour, or as it is.
pub(super) fn paint_if(colours: bool, paint: Paint, text: &str) -> String {
    if colours { format!("\u{1b}[{}m{text}\u{1b}[0m", paint.sequence()) } else { text.to_owned() }
}

fn colours_wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Text of others in one line: what could move the cursor or change colours is shown as an escape instead.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if harmless(c) { c.to_string() } else { c.escape_default().to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The beginning of a text in one line, cut to so many characters.
pub(super) fn snippet(text: &str, characters: usize) -> String {
    let line: String = visible(text).chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
    if line.chars().count() <= characters {
        return line;
    }
    let kept: String = line.chars().take(characters.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(visible("plain"), "plain");
        assert_eq!(visible("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(snippet("one\ntwo", 10), "one two");
        assert_eq!(snippet("abcdef", 4), "abc…");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert_eq!(paint_if(false, Paint::Failure, "x"), "x");
        assert_eq!(paint_if(true, Paint::Success, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
