//! `eventail run-function`: this binary as the process of a local function, so that functions can be tried with nothing
//! installed.
//!
//! It speaks AWS Lambda's Runtime API as any runtime client does, and is started by a broker that has it as the command of a
//! function. One call after the other; what a function refuses is reported as its error. It ends with the connection: a process
//! whose broker is gone has nothing to wait for.

mod built_in;
mod runtime_api;

use clap::Args;

use self::built_in::BuiltIn;
use self::runtime_api::RuntimeApi;
pub use self::runtime_api::RuntimeApiError;
use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;

const EXAMPLES: &str = "\
Examples:
  eventail run-function echo

A broker starts it, and tells it by AWS_LAMBDA_RUNTIME_API where calls come from:

  [functions.echo]
  command = [\"eventail\", \"run-function\", \"echo\"]

  curl -d '{\"hello\":1}' http://127.0.0.1:4080/2015-03-31/functions/echo/invocations";

/// The arguments of `run-function`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Which function
    #[arg(value_enum)]
    function: BuiltIn,
}

/// Takes calls until there is nobody any more to take them from.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let address = std::env::var(runtime_api::ADDRESS).ok();
    let mut api = RuntimeApi::at(address.as_deref())?;
    loop {
        one_call(&mut api, arguments.function, screen).await?;
    }
}

async fn one_call(api: &mut RuntimeApi, function: BuiltIn, screen: &mut Screen) -> Result<(), CliError> {
    let call = api.next().await?;
    match function.call(&call.payload, screen)? {
        Ok(answer) => api.respond(&call, answer).await?,
        Err(refusal) => api.fail(&call, refusal.name(), &refusal.to_string()).await?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
