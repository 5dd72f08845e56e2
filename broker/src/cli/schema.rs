//! `eventail schema`: the configuration file described for editors, and for people.

use clap::Args;

use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use crate::config;

const EXAMPLES: &str = "\
With `#:schema eventail.schema.json` as the first line of a configuration, editors that know TOML complete its keys and mark
mistakes.

Examples:
  eventail schema > eventail.schema.json
  eventail schema --reference > configuration.md";

/// The arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the reference of all keys instead, in Markdown
    #[arg(long)]
    reference: bool,
}

/// Prints it.
pub(super) fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    if arguments.reference {
        screen.raw(&config::reference())?;
    } else {
        screen.json(&config::json_schema())?;
    }
    Ok(Exit::Done)
}
