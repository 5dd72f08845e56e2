//! The audit log: who did what an operator or administrator does, on what, and how it ended.
//!
//! Every act is one line of the log with the target [`TARGET`], and one line of JSON in the configured file. A line holds names and
//! places, cut to a length, and never a token or a body. Writing it may fail; the act is not undone for that, but the log says so.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use eventail_wire::Timestamp;
use serde::Serialize;

use super::gate::Denied;
use super::tokens::Changes;
use crate::config::AuthOptions;
use crate::peer::Peer;

/// The target of the lines in the log.
pub(crate) const TARGET: &str = "eventail_audit";
/// What one part of a line may have.
const PART_CHARS_MAX: usize = 256;
/// Names of tokens that one line tells.
const NAMES_MAX: usize = 20;
/// How long the file may get before it becomes `FILE.1`, in place of the one that was that.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One act.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Act<'a> {
    pub(crate) at: Timestamp,
    /// `token billing`
    pub(crate) who: String,
    /// Where he is.
    pub(crate) from: String,
    /// `POST /v1/triggers/{trigger}/pause`
    pub(crate) what: &'a str,
    /// `trigger=ship`
    pub(crate) on: String,
    /// `done`, or the code of the refusal.
    pub(crate) outcome: &'a str,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Held while a line is written, so that lines stay whole.
    writing: Mutex<()>,
}

impl Audit {
    /// Notes an act.
    pub(crate) fn note(&self, auth: Option<&AuthOptions>, act: &Act<'_>) {
        let act = Act { who: cut(&act.who), from: cut(&act.from), on: cut(&act.on), ..act.clone() };
        let Act { who, from, what, on, outcome, .. } = &act;
        tracing::info!(target: TARGET, who, from, what, on, outcome, "act");
        let Some(path) = auth.and_then(|auth| auth.audit_file.as_deref()) else { return };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = append(path, &act) {
            tracing::error!(path = %path.display(), %error, "an act is missing in the audit file");
        }
    }

    /// Notes an attempt to be let in that failed.
    pub(super) fn denied(&self, auth: &AuthOptions, peer: &Peer, denied: &Denied, at: Timestamp) {
        let who = match denied {
            Denied::Expired { name, .. } => format!("token {name}, expired"),
            Denied::Unknown | Denied::TooMany { .. } => "an unknown token".to_owned(),
        };
        let (from, on) = (peer.address.ip().to_string(), String::new());
        self.note(
            Some(auth),
            &Act { at, who, from, what: "authenticate", on, outcome: denied.code().as_str() },
        );
    }

    /// Notes that tokens were made, revoked or replaced.
    pub(super) fn tokens_changed(&self, auth: &AuthOptions, path: &Path, changes: &Changes, at: Timestamp) {
        for (what, names) in [("revoke tokens", &changes.went), ("add tokens", &changes.came)] {
            if names.is_empty() {
                continue;
            }
            let mut on = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(" ");
            if let Some(more) = names.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
                on = format!("{on} and {more} more");
            }
            let (who, from) = ("who may write the file".to_owned(), path.display().to_string());
            self.note(Some(auth), &Act { at, who, from, what, on, outcome: "done" });
        }
    }
}

/// A part of a line: not longer than it may be, and on one line.
fn cut(text: &str) -> String {
    text.chars().take(PART_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn append(path: &Path, act: &Act<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(act)?;
    line.push(b'\n');
    let is_full = fs::metadata(path).is_ok_and(|file| file.len() + line.len() as u64 > FILE_BYTES_MAX);
    if is_full {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        fs::rename(path, older)?;
    }
    let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(&line)
}
