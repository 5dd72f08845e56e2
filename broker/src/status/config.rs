//! What the broker tells about its configuration: what it runs with, what a reload did or would do, and what is left of triggers
//! that are gone. Never a value of the configuration: some are secrets, and all can be looked up in the file.

use eventail_wire::{Offset, Timestamp, TopicName, TriggerName};
use serde::{Deserialize, Serialize};

use super::{Account, TriggerState};
use crate::config::Config;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigPart {
    /// A key of the broker as a whole.
    Setting,
    /// A topic.
    Topic,
    /// A local function.
    Function,
    /// A trigger.
    Trigger,
}

impl ConfigPart {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Topic => "topic",
            Self::Function => "function",
            Self::Trigger => "trigger",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigAction {
    /// It comes, and begins anew.
    Added,
    /// It comes back, and goes on where it was.
    Resumed,
    /// It goes on under other values.
    Changed,
    /// It goes on under another name.
    Renamed,
    /// It goes. What a trigger has not delivered is kept for 7 days, and the events of a topic are.
    Removed,
}

impl ConfigAction {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Resumed => "resumed",
            Self::Changed => "changed",
            Self::Renamed => "renamed",
            Self::Removed => "removed",
        }
    }
}

/// One thing in which two configurations differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// What it is about.
    pub part: ConfigPart,
    /// Its name; of a setting, the key.
    pub name: String,
    /// What happens to it.
    pub action: ConfigAction,
    /// The keys that differ, of something that was there before.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What it was called before, of something that is renamed.
    #[serde(default)]
    pub from: Option<String>,
    /// Whether the broker must be started again for it.
    pub needs_restart: bool,
}

/// Everything in which two configurations differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadPlan {
    /// By part and name.
    pub changes: Vec<ConfigChange>,
}

impl ReloadPlan {
    /// What differs between two configurations, wherever they run.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        crate::core::reload::plan::plan(old, new, &|_, _| false)
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What takes effect only at the next start, as `setting listen.http` or `topic orders`.
    #[must_use]
    pub fn needs_restart(&self) -> Vec<String> {
        let waits = self.changes.iter().filter(|change| change.needs_restart);
        waits.map(|change| format!("{} {}", change.part.as_str(), change.name)).collect()
    }
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// When.
    pub at: Timestamp,
    /// What it changed; nothing where the configuration was the one that runs.
    #[serde(flatten)]
    pub plan: ReloadPlan,
}

/// A reload that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFailure {
    /// When.
    pub at: Timestamp,
    /// Everything that was wrong, for people, with places.
    pub message: String,
}

/// The certificate that new connections get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsStatus {
    /// Its SHA-256 in hexadecimal: what a client may pin.
    pub fingerprint: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was loaded.
    pub loaded_at: Timestamp,
    /// How often another one was loaded since the start.
    pub reloads: u64,
    /// How often one was refused.
    pub failures: u64,
    /// Why the last one was refused, where that is still so.
    pub last_error: Option<ConfigFailure>,
}

/// What the broker runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file; none where a program gave the configuration.
    pub file: Option<String>,
    /// SHA-256 of the text that is in effect, in hexadecimal.
    pub hash: Option<String>,
    /// When it took effect.
    pub loaded_at: Timestamp,
    /// Reloads that changed something since the start.
    pub reloads: u64,
    /// Reloads that were refused since the start.
    pub failures: u64,
    /// The last one that was refused, unless a good one came after it.
    pub last_error: Option<ConfigFailure>,
    /// What takes effect only at the next start.
    pub needs_restart: Vec<String>,
    /// The certificate of the listeners; none where they speak no TLS.
    #[serde(default)]
    pub tls: Option<TlsStatus>,
}

/// What is left of a trigger that is not in the configuration any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrphanStatus {
    /// Its name.
    pub name: TriggerName,
    /// The topic that it read.
    pub topic: TopicName,
    /// Since when nobody has a use for it.
    pub orphaned_at: Timestamp,
    /// When it is forgotten.
    pub forgotten_at: Timestamp,
    /// Whether it delivered.
    pub state: TriggerState,
    /// Why not, if it did not.
    pub reason: Option<String>,
    /// Every event before this one is settled.
    pub cursor: Offset,
    /// Events between that and the topic's durable end.
    pub lag: u64,
    /// Events that would be tried again.
    pub retrying: u64,
    /// What became of the events that it matched. What is pending is told by `lag`, and 0 here.
    pub account: Account,
}
