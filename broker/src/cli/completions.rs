//! `eventail completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;

const EXAMPLES: &str = "\
Examples:
  eventail completions bash > ~/.local/share/bash-completion/completions/eventail
  eventail completions zsh > \"${fpath[1]}/_eventail\"
  eventail completions fish > ~/.config/fish/completions/eventail.fish";

/// The arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "eventail", &mut script);
    screen.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
