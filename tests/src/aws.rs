//! AWS's own programs as callers of the broker: boto3 and the command line, with credentials of the test's and nothing of this
//! machine's.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::function::{python, scripts};

/// An access key id and its secret.
pub type Keys = (&'static str, &'static str);

/// The keys that the tests' brokers know.
pub const KEYS: Keys = ("AKIDTEST", "a-secret-of-the-tests");

/// `[invoke]` with [`KEYS`]; [`with_keys`] puts the secret where it is looked for.
pub const INVOKE: &str = "[invoke]\nkeys = { AKIDTEST = { env = \"TEST_INVOKE_SECRET\" } }\n";

/// A home whose broker knows [`KEYS`].
#[must_use]
pub fn with_keys(tables: &str) -> crate::Home {
    crate::Home::new(&format!("{INVOKE}{tables}")).environment("TEST_INVOKE_SECRET", KEYS.1)
}

/// A Python program that finds these credentials and no others.
fn program((id, secret): Keys) -> Command {
    let mut command = Command::new(python());
    command.env_clear().kill_on_drop(true);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_PAGER", ""),
    ] {
        command.env(name, value);
    }
    command
}

/// Invokes a function with boto3; see `tests/python/invoke.py` for what it answers. The last argument, where there is one, is the
/// invocation type.
///
/// # Panics
/// Where the program fails.
pub async fn boto3(keys: Keys, endpoint: &str, function: &str, payload: &Value, more: &[&str]) -> Value {
    let mut command = program(keys);
    command.arg(scripts().join("invoke.py")).args([endpoint, function, &payload.to_string()]).args(more);
    let output = command.output().await.expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `aws --endpoint-url ENDPOINT` with these arguments.
pub async fn command_line(keys: Keys, endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = program(keys);
    command.args(["-m", "awscli", "--endpoint-url", endpoint]).args(arguments);
    command.output().await.expect("python runs")
}
