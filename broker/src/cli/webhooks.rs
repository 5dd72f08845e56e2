//! `eventail webhooks`: keys for signing requests, and whether a request was signed with one. No broker is asked.
//!
//! A secret is taken from a file or the environment and never from the command line, which every process of the machine can read.

use std::io::{self, Read};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use eventail_triggers::http::{Secret, SignedRequest, VerifyError, WebhookKey, verify};
use eventail_wire::Clock as _;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use super::table::facts;
use super::{Format, Output};
use crate::clock::SystemClock;
use crate::config::{Duration, files};

const EXAMPLES: &str = "\
Examples:
  eventail webhooks keygen --ed25519
  eventail webhooks verify --key-file key.txt --id \"$ID\" --timestamp \"$TIMESTAMP\" --signature \"$SIGNATURE\" body.json";

const KEYGEN_HELP: &str = "\
The secret is what a target's `secret` has, from a file or the environment. Receivers need the same one (whsec_...), or with --ed25519
the public key alone (whpk_...).

While keys change a target can have both, the newest first: `secret = [{ file = \"new.key\" }, { file = \"old.key\" }]`. Each signs, so that
receivers may hold either of them.";

const VERIFY_HELP: &str = "\
The key is the secret that sender and receiver share (whsec_...), the sender's public key (whpk_...), or its private key (whsk_...).

Exit codes of this command: 0 the request is signed with the key, 1 it is not, 2 the command line is wrong.";

const STDIN: &str = "-";

/// The arguments of `webhooks`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key that signs requests
    #[command(after_help = KEYGEN_HELP)]
    Keygen {
        /// Make a pair of keys for ed25519 in place of one for HMAC-SHA256
        #[arg(long)]
        ed25519: bool,
    },
    /// Tell whether a request was signed with a key
    #[command(after_help = VERIFY_HELP)]
    Verify(Verify),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("key").required(true))]
struct Verify {
    /// The file that holds the key
    #[arg(long, group = "key", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The environment variable that holds the key
    #[arg(long, group = "key", value_name = "NAME")]
    key_env: Option<String>,
    /// The sender's public key itself
    #[arg(long, group = "key", value_name = "WHPK")]
    public_key: Option<String>,
    /// The header `webhook-id`
    #[arg(long, value_name = "ID")]
    id: String,
    /// The header `webhook-timestamp`
    #[arg(long, value_name = "SECONDS")]
    timestamp: String,
    /// The header `webhook-signature`
    #[arg(long, value_name = "SIGNATURES")]
    signature: String,
    /// How old the request may be, or how far ahead of its time
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    tolerance: Duration,
    /// Take a request of any age
    #[arg(long, conflicts_with = "tolerance")]
    any_age: bool,
    /// The file with the body, byte for byte; - is standard input
    #[arg(default_value = STDIN, value_name = "FILE")]
    body: String,
}

/// Does it.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let is_json = arguments.output.output == Format::Json;
    match arguments.action {
        Action::Keygen { ed25519 } => keygen(ed25519, is_json, screen),
        Action::Verify(request) => request.run(is_json, screen),
    }
}

fn keygen(ed25519: bool, is_json: bool, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut random = Zeroizing::new([0; 32]);
    let filled = OsRng.try_fill_bytes(&mut random[..]);
    filled.map_err(|error| CliError::Runtime { source: io::Error::other(error) })?;
    let unmade = || CliError::Runtime { source: io::ErrorKind::InvalidData.into() };
    let key =
        if ed25519 { WebhookKey::ed25519(&random).ok_or_else(unmade)? } else { WebhookKey::hmac(&random) };
    // Printing it is what the command is for.
    let secret = key.secret.expose();
    match (key.public, is_json) {
        (Some(public), true) => screen.json(&json!({ "secret": secret, "public": public }))?,
        (None, true) => screen.json(&json!({ "secret": secret }))?,
        (Some(public), false) => facts(screen, &[("secret", secret.to_owned()), ("public", public)])?,
        (None, false) => facts(screen, &[("secret", secret.to_owned())])?,
    }
    Ok(Exit::Done)
}

impl Verify {
    fn run(&self, is_json: bool, screen: &mut Screen) -> Result<Exit, CliError> {
        let (key, body) = (self.key()?, self.body()?);
        let Self { id, timestamp, signature, .. } = self;
        let request = SignedRequest { id, timestamp, signatures: signature, body: &body };
        let within = (!self.any_age).then(|| (SystemClock.now(), self.tolerance.as_ms() / 1_000));
        let verified = verify(&key, &request, within);
        match (&verified, is_json) {
            (Err(source @ VerifyError::Key { .. }), _) => {
                return Err(CliError::WebhookKey { source: source.clone() });
            }
            (Ok(()), false) => screen.line("signed with this key")?,
            (Err(why), false) => screen.line(&format!("not to be believed: {why}"))?,
            (Ok(()), true) => screen.json(&json!({ "valid": true }))?,
            (Err(why), true) => screen.json(&json!({ "valid": false, "why": why.to_string() }))?,
        }
        Ok(if verified.is_ok() { Exit::Done } else { Exit::Negative })
    }

    fn key(&self) -> Result<Secret, CliError> {
        let failed = |name: String, source| CliError::Input { name, source };
        let text = match (&self.key_file, &self.key_env, &self.public_key) {
            (Some(file), ..) => {
                files::read_text(file).map_err(|source| failed(file.display().to_string(), source))?
            }
            (None, Some(variable), _) => std::env::var(variable).map_err(|error| {
                failed(format!("the variable {variable}"), io::Error::other(not_told(error)))
            })?,
            (None, None, Some(public)) => public.clone(),
            (None, None, None) => String::new(),
        };
        let text = Zeroizing::new(text);
        Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn body(&self) -> Result<Vec<u8>, CliError> {
        let failed = |source| CliError::Input { name: self.body.clone(), source };
        if self.body != STDIN {
            return std::fs::read(&self.body).map_err(failed);
        }
        let mut body = Vec::new();
        let read = io::stdin().lock().take(files::FILE_BYTES_MAX).read_to_end(&mut body);
        read.map(|_| body).map_err(failed)
    }
}

/// The error for a variable that is no text has the text in it.
fn not_told(error: std::env::VarError) -> &'static str {
    match error {
        std::env::VarError::NotPresent => "it is not set",
        std::env::VarError::NotUnicode(_) => "it is no text",
    }
}
