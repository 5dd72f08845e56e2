//! A folder with a configuration and data, in which a server is started, killed and started again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::process::Command;

use crate::binary::eventail;
use crate::server::Server;

/// The home of one broker. It outlives the servers that run in it, and is removed when it is dropped.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    config: Mutex<String>,
    environment: Vec<(String, String)>,
}

impl Home {
    /// A home with these tables in its `eventail.toml`. Listeners, data folder and loopback targets are added.
    #[must_use]
    pub fn new(tables: &str) -> Self {
        Self::with_keys("", tables)
    }

    /// A home with these top-level keys and tables in its `eventail.toml`.
    #[must_use]
    pub fn with_keys(keys: &str, tables: &str) -> Self {
        let folder = TempDir::with_prefix("eventail-test-").expect("a temporary folder");
        let home = Self { folder, config: Mutex::default(), environment: Vec::new() };
        home.set_config(keys, tables);
        home
    }

    /// The same home with a variable in the environment of all that runs in it.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the configuration; the next start reads it.
    pub fn set_config(&self, keys: &str, tables: &str) {
        let egress = if tables.contains("[egress]") { "" } else { "[egress]\nallow = [\"127.0.0.0/8\"]\n" };
        let text = format!("{keys}\n{egress}\n{tables}\n");
        *self.config.lock().expect("nothing panics while it holds this lock") = text;
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the broker keeps its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes `eventail.toml`, with free ports for its listeners, and answers its path.
    #[must_use]
    pub fn write_config(&self) -> PathBuf {
        let text = self.config.lock().expect("nothing panics while it holds this lock").clone();
        let (keys, tables) = split_tables(&text);
        let data = self.data();
        let text = format!(
            "data_dir = {:?}\n{keys}\n[listen]\nhttp = \"127.0.0.1:0\"\nquic = \"127.0.0.1:0\"\n\n{tables}",
            data.display().to_string()
        );
        let path = self.path().join("eventail.toml");
        std::fs::write(&path, text).expect("the configuration can be written");
        path
    }

    /// Starts `eventail serve` and waits until it is ready.
    pub async fn start(&self) -> Server {
        Server::start(self).await
    }

    /// The same with another `eventail.toml`, word for word.
    pub async fn start_as(&self, config: &str) -> Server {
        let path = self.path().join("eventail.toml");
        std::fs::write(&path, config).expect("the configuration can be written");
        Server::start_with(self, &path).await
    }

    /// What all servers in this home wrote, in their order.
    #[must_use]
    pub fn log_text(&self) -> String {
        let log =
            |number: usize| std::fs::read_to_string(self.path().join(format!("serve-{number}.log"))).ok();
        (0..).map_while(log).collect()
    }

    /// `eventail` with these arguments, in this folder and with this environment.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(eventail());
        command.current_dir(self.path()).args(arguments).kill_on_drop(true);
        command.env("NO_COLOR", "1").envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Top-level keys must stand before the first table.
fn split_tables(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            break;
        }
        at += line.len();
    }
    text.split_at(at)
}
