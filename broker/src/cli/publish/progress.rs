//! How far a publish is, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::screen::Screen;

/// A bar where the size of the input is known, a counter where it is not, nothing where nobody watches.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins with an input of so many bytes.
    pub(super) fn new(bytes: Option<u64>) -> Self {
        if !Screen::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{wide_bar} {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {msg}  {bytes_per_sec}"),
        };
        // A bar in the default style is no reason to stop.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many more bytes were read.
    pub(super) fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// So many events are published by now.
    pub(super) fn published(&self, events: u64) {
        self.0.set_message(format!("{events} events"));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
