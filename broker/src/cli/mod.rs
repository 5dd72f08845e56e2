//! The command line: `eventail serve` and the commands that talk to a running broker over its HTTP API.
//!
//! - Answers go to standard output, everything else to standard error, so that output can be piped.
//! - Every listing can be had as a table or as JSON; JSON is what the API answered.
//! - A command ends with one of the exit codes of [`Exit`], which `--help` lists.
//! - Colours appear on terminals only, and not where `NO_COLOR` is set.

mod api;
mod backup;
mod certificates;
mod check;
mod completions;
mod config;
mod dead_letters;
mod delayed;
mod error;
mod exit;
mod functions;
mod logging;
mod matching;
mod probe;
mod publish;
mod quickstart;
mod replay;
mod replays;
mod run_function;
mod schedules;
mod schema;
mod screen;
mod serve;
mod server;
mod signals;
mod storage;
mod table;
mod tail;
mod tls;
mod tokens;
mod topics;
mod torture;
mod triggers;
mod watch;
mod webhooks;
mod what_if;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use eventail_triggers::http::Secret;

pub use error::CliError;
pub use exit::Exit;
pub use run_function::RuntimeApiError;

use api::{Api, ApiUrl};
use screen::Screen;
use tls::TlsArguments;

use crate::config::files::read_text;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the answer is negative: a check failed, something was not found, an input or a file is wrong
  2  the command line is wrong
  3  the broker cannot be reached
  4  the broker refused; the message ends with its stable code

Environment:
  EVENTAIL_URL          the broker's HTTP address, as --url
  EVENTAIL_TOKEN        the token that says who asks
  EVENTAIL_TOKEN_FILE   a file with that token, as --token-file
  EVENTAIL_CA_FILE      whom to trust with https://, as --ca-file
  EVENTAIL_CLIENT_CERT  the certificate to show, as --client-cert
  EVENTAIL_CLIENT_KEY   its key, as --client-key
  NO_COLOR              no colours, even on a terminal

Examples:
  eventail quickstart                       see it work, with nothing set up
  eventail serve                            run a broker on 127.0.0.1:4080
  echo '{\"total\":7}' | eventail publish orders --type order.created
  eventail tail orders --follow";

/// An event bus in one binary: events go into a durable log, and every trigger whose pattern matches calls its target.
#[derive(Debug, Parser)]
#[command(name = "eventail", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: a broker, triggers, a target and events, with nothing set up
    Quickstart(quickstart::Arguments),
    /// Run a broker
    Serve(serve::Arguments),
    /// Check a configuration and tell everything that is wrong with it
    Check(check::Arguments),
    /// Print the JSON Schema of the configuration, or its reference
    Schema(schema::Arguments),
    /// Publish events from a file or standard input
    Publish(publish::Arguments),
    /// Show the events of a topic
    Tail(tail::Arguments),
    /// List, show or create topics
    Topics(topics::Arguments),
    /// List, show, pause, resume or move triggers
    Triggers(triggers::Arguments),
    /// Tell what happened to an event, and why
    Why(why::Arguments),
    /// Tell what a new configuration would do with the events that are there
    WhatIf(what_if::Arguments),
    /// Show what the broker runs with, what a reload would change, or reload
    Config(config::Arguments),
    /// Show schedules and their next runs
    Schedules(schedules::Arguments),
    /// List or show functions: what they did, and what it cost
    Functions(functions::Arguments),
    /// List, show, redrive or purge dead letters
    DeadLetters(dead_letters::Arguments),
    /// Deliver a part of a topic once more, beside the live events
    Replay(replay::Arguments),
    /// List, show or cancel replays
    Replays(replays::Arguments),
    /// List, show or cancel events that are held until their time
    Delayed(delayed::Arguments),

    /// Make a backup of a broker, running or not, or verify one
    Backup(backup::Arguments),
    /// Restore a backup into an empty data folder
    Restore(backup::RestoreArguments),
    /// Tell whether a pattern matches an event, and if not, why
    Match(matching::Arguments),
    /// Make, list or revoke the tokens that say who may do what
    Tokens(tokens::Arguments),
    /// Make certificates to try TLS with
    Certificates(certificates::Arguments),
    /// Make keys that sign requests to targets, or check a signed request
    Webhooks(webhooks::Arguments),
    /// Look after the files of a broker that is not running
    Storage(storage::Arguments),
    /// Try on a disk what crashes and power cuts leave of acknowledged events
    Torture(torture::Arguments),
    /// Be the process of a function that is built in, for trying functions with nothing installed
    RunFunction(run_function::Arguments),
    /// Print a script that completes commands in a shell
    Completions(completions::Arguments),
}

/// How to reach a broker.
#[derive(Clone, Debug, Args)]
struct Connection {
    /// Where the broker's HTTP API is
    #[arg(
        long,
        global = true,
        env = "EVENTAIL_URL",
        default_value = "http://127.0.0.1:4080",
        value_name = "URL"
    )]
    url: ApiUrl,
    /// A file with the token that says who asks, in place of EVENTAIL_TOKEN
    #[arg(long, global = true, env = "EVENTAIL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArguments,
}

impl Connection {
    /// The API, with the token of the file or of the environment. There is no argument for the token itself: everybody on the machine
    /// could read it.
    fn api(&self) -> Result<Api, CliError> {
        let token = match &self.token_file {
            Some(path) => {
                let text = read_text(path);
                Some(text.map_err(|source| CliError::Input { name: path.display().to_string(), source })?)
            }
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.map(|token| Secret::new(token.trim().to_owned()));
        let api = Api::new(self.url.clone()).with_tls(self.tls.clone());
        api.with_token(token.filter(|token| !token.expose().is_empty()))
    }
}

/// Where commands find their token.
const TOKEN_VARIABLE: &str = "EVENTAIL_TOKEN";

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns, for people
    #[default]
    Table,
    /// What the API answered, for programs
    Json,
}

#[derive(Clone, Copy, Debug, Args)]
struct Output {
    /// How to print the answer
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Runs the command line of this process: all that the binary does.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

/// Runs a command line, program name first, and says what on standard error if it failed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. Where even this cannot be printed, the exit code is all there is.
            let _unprintable = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match cli.command.run(&mut Screen::stdout()) {
        Ok(exit) => exit,
        Err(error) => {
            let mut screen = Screen::stderr();
            let _unprintable = error.print(&mut screen);
            error.exit()
        }
    }
}

impl Command {
    fn run(self, screen: &mut Screen) -> Result<Exit, CliError> {
        match self {
            Self::Quickstart(arguments) => quickstart::run(&arguments, screen),
            Self::Serve(arguments) => serve::run(arguments, screen),
            Self::Check(arguments) => check::run(&arguments, screen),
            Self::Schema(arguments) => schema::run(&arguments, screen),
            Self::Publish(arguments) => block_on(publish::run(arguments, screen)),
            Self::Tail(arguments) => block_on(tail::run(arguments, screen)),
            Self::Topics(arguments) => block_on(topics::run(arguments, screen)),
            Self::Triggers(arguments) => block_on(triggers::run(arguments, screen)),
            Self::Why(arguments) => block_on(why::run(arguments, screen)),
            Self::WhatIf(arguments) => block_on(what_if::run(arguments, screen)),
            Self::Config(arguments) => block_on(config::run(arguments, screen)),
            Self::Schedules(arguments) => block_on(schedules::run(arguments, screen)),
            Self::Functions(arguments) => block_on(functions::run(arguments, screen)),
            Self::DeadLetters(arguments) => block_on(dead_letters::run(arguments, screen)),
            Self::Replay(arguments) => block_on(replay::run(arguments, screen)),
            Self::Replays(arguments) => block_on(replays::run(arguments, screen)),
            Self::Delayed(arguments) => block_on(delayed::run(arguments, screen)),

            Self::Backup(arguments) => backup::run(arguments, screen),
            Self::Restore(arguments) => backup::restore(arguments, screen),
            Self::Match(arguments) => matching::run(&arguments, screen),
            Self::Tokens(arguments) => tokens::run(arguments, screen),
            Self::Certificates(arguments) => certificates::run(arguments, screen),
            Self::Webhooks(arguments) => webhooks::run(arguments, screen),
            Self::Storage(arguments) => storage::run(arguments, screen),
            Self::Torture(arguments) => block_on(torture::run(arguments, screen)),
            Self::RunFunction(arguments) => block_on(run_function::run(arguments, screen)),
            Self::Completions(arguments) => completions::run(&arguments, screen),
        }
    }
}

/// Runs a command that waits for one connection: one thread is enough.
fn block_on<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| CliError::Runtime { source })?.block_on(command)
}

#[cfg(test)]
mod tests;
