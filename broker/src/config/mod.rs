//! The configuration: what an operator may decide, checked while it is read.
//!
//! [`Config::load`] reads a file, [`Config::parse`] a text. Whatever is wrong is told at once, with its place; where
//! nothing is, every value is within its limits and every secret was found. Nothing here prints a secret, and nothing
//! here decides what the values do: that is [`model`] and those who read it.

mod amount;
mod auth;
mod broker;
mod cases;
mod document;
mod error;
pub mod files;
mod function;
mod http_auth;
mod http_target;
mod input;
mod invoke;
mod json_schema;
mod lambda_target;
mod ledger;
pub mod model;
mod outline;
mod pattern;
mod policy;
mod problem;
mod reader;
mod reference;
mod rename;
mod schedule;
mod schema;
mod secret;
mod shape;
pub mod source;
mod suggest;
mod target;
mod timeline;
mod tls;
mod topics;
mod traffic;
mod trigger;
mod units;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use crate::lambda_name::LambdaNameError;
pub use broker::{ListenAt, ListenAtError};
pub use error::{ConfigError, ConfigErrors};
pub use model::*;
pub use problem::{Conflict, Problem};
pub use schedule::{SCHEDULE_ATTRIBUTE, SCHEDULED_FOR_ATTRIBUTE, SCHEDULED_TIME_ATTRIBUTE};
pub use source::{ConfigSource, Loaded};

pub use units::{ByteSize, Duration, UnitError};

use document::{Document, Sources};
pub(crate) use function::lease_ms;
use reader::{Environment, Reader, Section};

/// The default configuration as a file, with a comment on every key.
pub const DEFAULT_FILE: &str = include_str!("../../config.default.toml");
/// The JSON Schema of the configuration file, for editors.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    json_schema::of(&outline::Outline::of(DEFAULT_FILE))
}

/// The reference page of the configuration file, in Markdown.
#[must_use]
pub fn reference() -> String {
    reference::of(&outline::Outline::of(DEFAULT_FILE))
}

/// The file that `eventail serve` looks for in its working directory.
pub const FILE_NAME: &str = "eventail.toml";
/// Where data goes that no configuration says where to put.
pub const DATA_DIR_DEFAULT: &str = "eventail-data";
/// The port of the HTTP listener.
pub const HTTP_PORT_DEFAULT: u16 = 4080;
/// The port of the QUIC listener.
pub const QUIC_PORT_DEFAULT: u16 = 4081;

impl Config {
    /// What `eventail serve` runs without a file: both listeners on loopback, no triggers.
    #[must_use]
    pub fn standalone() -> Self {
        let loopback = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Self {
            http: loopback(HTTP_PORT_DEFAULT),
            quic: loopback(QUIC_PORT_DEFAULT),
            ..Self::embedded(DATA_DIR_DEFAULT)
        }
    }

    /// Reads a file and what it includes. Relative paths begin at the first file's folder; secrets and variables come from the
    /// process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Self::load_with_texts(path.as_ref()).map(|(config, _)| config)
    }

    /// The same, with every file that was read and its text, the first one first.
    pub(crate) fn load_with_texts(path: &Path) -> Result<(Self, Vec<(PathBuf, String)>), ConfigErrors> {
        let text = files::read_text(path).map_err(|source| ConfigErrors::unreadable(path, source))?;
        let sources = Sources::read(path, &text);
        let config = of(&sources, &|variable| std::env::var(variable).ok())?;
        Ok((config, sources.files.into_iter().map(|file| (file.path, file.text)).collect()))
    }

    /// Reads a text as if it were the file of this name. `environment` looks up the variables that secrets and other values come from.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        file_name: &str,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        of(&Sources::read(Path::new(file_name), text), environment)
    }
}

fn of(sources: &Sources, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    let folder = sources.files.first().and_then(|first| first.path.parent());
    let folder = folder.unwrap_or_else(|| Path::new(""));
    let Document { table, problems, masks, is_broken } = sources.document(environment);
    let mut reader = Reader { environment, folder, problems: Vec::new(), masks };
    let config = read(&mut reader, &table);
    if is_broken {
        return Err(ConfigErrors::of(&sources.files, problems, &reader.masks));
    }
    reader.problems.extend(problems);
    if reader.problems.is_empty() {
        return Ok(config);
    }
    Err(ConfigErrors::of(&sources.files, reader.problems, &reader.masks))
}

fn read<'t>(reader: &mut Reader<'_>, table: &'t DeTable<'t>) -> Config {
    let root = Section::new(reader, String::new(), 0..0, table, schema::ROOT);
    if let Some(included) = root.get("include") {
        // They were read already; what is no string was passed over.
        for item in included.items(reader) {
            item.string(reader);
        }
    }
    let mut config = Config::standalone();
    broker::read(reader, &root, &mut config);
    config.topics = topics::read(reader, &root);
    config.hosts = traffic::read_hosts(reader, &root);
    let mut functions = function::Functions::read(reader, &root);
    config.triggers = trigger::read(reader, &root, &mut functions);
    config.functions = functions.resolve(reader, &mut config.triggers);
    config.schedules = schedule::read(reader, &root);
    config.tests = cases::read(reader, &root, &config.triggers);
    config.prices = ledger::read_prices(reader, &root);
    config.timeline = timeline::read(reader, &root);
    config.auth = auth::read(reader, &root);
    invoke::read(reader, &root, &mut config);
    config
}

#[cfg(test)]
mod tests;
