//! How a command ended, as a number for scripts. The numbers are stable.

use std::process::ExitCode;

/// What the process's exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The answer is negative: a check failed, something was not found, an input or a file is wrong.
    Negative = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The broker cannot be reached.
    Unreachable = 3,
    /// The broker refused, with a code.
    Refused = 4,
    /// Ended at once by a second SIGINT.
    Interrupted = 130,
    /// Ended at once by a second SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
