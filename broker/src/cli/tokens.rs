//! `eventail tokens`: made, listed, revoked. They work on the file of a configuration, which a running broker reads again by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use eventail_wire::{Clock, Timestamp};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde::Serialize;

use super::check::counted;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::table::{Table, facts};
use super::{Format, Output};
use crate::auth::{self, Permission, Token, TokenHash};
use crate::clock::SystemClock;
use crate::config::source::FileSource;
use crate::config::{AuthOptions, Config, Duration, UnitError};

const EXAMPLES: &str = "\
A token is shown once, when it is made; its file has only its SHA-256. A running broker takes changes up within a second. Who
can write the file can let himself in: only its owner may.

Permissions are a scope and a topic's name, in which `*` is any characters:
  publish:orders.*      publish to these topics (publish:invocations: invoke functions)
  subscribe:orders.*    subscriptions of the client library
  read:*                read events, topics, triggers, and what became of events; metrics
  operate:orders.*      pause, redrive, replay, cancel and the like; and read
  metrics               the metrics and no more
  admin                 everything

Examples:
  eventail tokens create --allow 'publish:orders.*' --expires 90d --name billing
  eventail tokens create --allow admin --expires never --output json | jq -r .token
  eventail tokens
  eventail tokens revoke billing";

/// The arguments of `tokens`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// The configuration that says where the tokens are; without it eventail.toml, if it is there
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all tokens (the default)
    List,
    /// Make a token, and show it this once
    Create {
        /// What it allows; as often as needed
        #[arg(long, required = true, value_name = "PERMISSION")]
        allow: Vec<Permission>,
        /// How long it is good: a time such as 90d, or never
        #[arg(long, value_name = "TIME")]
        expires: Expiry,
        /// What it is called in listings and logs; a random name where absent
        #[arg(long)]
        name: Option<String>,
    },
    /// Take a token back
    Revoke {
        /// Its name
        name: String,
    },
}

/// How long a token is good.
#[derive(Clone, Copy, Debug)]
struct Expiry(Option<Duration>);

impl std::str::FromStr for Expiry {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "never" { Ok(Self(None)) } else { text.parse().map(|time| Self(Some(time))) }
    }
}

/// A token as it is printed.
#[derive(Serialize)]
struct Told<'t> {
    name: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'t str>,
    allow: &'t [Permission],
    created: Timestamp,
    expires: Option<Timestamp>,
    is_expired: bool,
}

impl<'t> Told<'t> {
    fn of(token: &'t Token, now: Timestamp) -> Self {
        let is_expired = token.is_expired(now);
        let Token { name, allow, created, expires, .. } = token;
        Self { name, token: None, allow, created: *created, expires: *expires, is_expired }
    }
}

/// Does it.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let path = tokens_path(arguments.config.clone())?;
    let (now, format) = (SystemClock.now(), arguments.output.output);
    match arguments.action.unwrap_or(Action::List) {
        Action::List => list(&path, now, format, screen)?,
        Action::Create { allow, expires, name } => {
            let mut rng = StdRng::from_os_rng();
            let name = name.unwrap_or_else(|| format!("token-{:08x}", rng.next_u32()));
            let secret = auth::generate(&mut rng);
            let hash = TokenHash::of(secret.expose()).expect("a token that was just made is one");
            let expires = expires.0.map(|time| now.plus_ms(time.as_ms()));
            let token = Token { name, hash, created: now, expires, allow: allow.into() };
            auth::change(&path, |tokens| tokens.add(token.clone()))?;
            show(&token, secret.expose(), now, format, screen)?;
        }
        Action::Revoke { name } => {
            let token = auth::change(&path, |tokens| tokens.remove(&name))?;
            revoked(&token, now, format, screen)?;
        }
    }
    Ok(Exit::Done)
}

/// Where the tokens of a configuration are.
fn tokens_path(config: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let config = match config.or_else(FileSource::default_path) {
        Some(file) => Config::load(file)?,
        None => Config::standalone(),
    };
    let auth = config.auth.unwrap_or_else(AuthOptions::default);
    Ok(auth.tokens_path(&config.data_dir))
}

fn list(path: &Path, now: Timestamp, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    let tokens = auth::read(path)?;
    let told: Vec<Told<'_>> = tokens.all().map(|token| Told::of(token, now)).collect();
    if format == Format::Json {
        return screen.json(&serde_json::json!({ "tokens": told }));
    }
    let mut table = Table::new(&["NAME", "ALLOW", "CREATED", "EXPIRES"]);
    for token in told {
        table.row(vec![
            token.name.to_owned(),
            listed(token.allow),
            token.created.to_string(),
            told_expiry(token.expires, token.is_expired),
        ]);
    }
    table.print(screen, "There are no tokens.")
}

fn show(
    token: &Token,
    secret: &str,
    now: Timestamp,
    format: Format,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let told = Told { token: Some(secret), ..Told::of(token, now) };
    if format == Format::Json {
        return screen.json(&told);
    }
    let expires = told_expiry(token.expires, false);
    facts(
        screen,
        &[
            ("name", token.name.clone()),
            ("allow", listed(&token.allow)),
            ("expires", expires),
            ("token", secret.to_owned()),
        ],
    )?;
    let note = screen.paint(Paint::Quiet, "It is not shown again.");
    screen.line(&note)
}

fn revoked(token: &Arc<Token>, now: Timestamp, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    if format == Format::Json {
        return screen.json(&serde_json::json!({ "revoked": Told::of(token, now) }));
    }
    let permissions = counted(token.allow.len() as u64, "permission");
    screen.line(&format!("{} is revoked, with {permissions}: {}", token.name, listed(&token.allow)))
}

fn listed(allow: &[Permission]) -> String {
    allow.iter().map(Permission::to_string).collect::<Vec<_>>().join(" ")
}

fn told_expiry(expires: Option<Timestamp>, is_expired: bool) -> String {
    match expires {
        None => "never".to_owned(),
        Some(at) if is_expired => format!("{at} (expired)"),
        Some(at) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_duration_or_never() {
        assert_eq!("90d".parse::<Expiry>().unwrap().0.map(Duration::as_ms), Some(90 * 86_400_000));
        assert!("never".parse::<Expiry>().unwrap().0.is_none());
        assert!("soon".parse::<Expiry>().is_err());
    }
}
