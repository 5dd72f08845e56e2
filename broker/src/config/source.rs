//! Where a configuration comes from, so that it can be read again while the broker runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::resources;

use super::{Config, ConfigErrors, FILE_NAME};

/// A configuration with what it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// SHA-256 of its text in hexadecimal, where it has one.
    pub hash: Option<String>,
    /// The files that it was read from, the first one first.
    pub files: Vec<PathBuf>,
}

/// Where a configuration was read from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The files, the first one first.
    pub files: Vec<PathBuf>,
    /// SHA-256 of the text in hexadecimal.
    pub hash: Option<String>,
}

/// Reads a configuration, as often as it is asked.
pub trait ConfigSource: Send + Sync + 'static {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn load(&self) -> Result<Loaded, ConfigErrors>;

    /// What the configuration was read from with which the broker begins.
    fn origin(&self) -> Origin;
}

/// What a command line says on top of a file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// In place of `data_dir`.
    pub data_dir: Option<PathBuf>,
    /// In place of `listen.http`; `Some(None)` listens nowhere.
    pub http: Option<Option<SocketAddr>>,
    /// In place of `listen.quic`; `Some(None)` listens nowhere.
    pub quic: Option<Option<SocketAddr>>,
}

/// A configuration file with what the command line says on top of it.
#[derive(Clone, Debug)]
pub struct FileSource {
    path: PathBuf,
    overrides: Overrides,
    origin: Origin,
}

impl FileSource {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(path: PathBuf, overrides: Overrides) -> Result<(Self, Config), ConfigErrors> {
        let mut source = Self { path, overrides, origin: Origin::default() };
        let Loaded { config, hash, files } = source.load()?;
        source.origin = Origin { files, hash };
        Ok((source, config))
    }

    /// The file of the working directory, if it is there.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        let path = Path::new(FILE_NAME);
        path.exists().then(|| path.to_owned())
    }
}

impl Overrides {
    /// The configuration with these on top.
    #[must_use]
    pub fn over(&self, mut config: Config) -> Config {
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(http) = self.http {
            config.http = http;
        }
        if let Some(quic) = self.quic {
            config.quic = quic;
        }
        resources::adapt(&mut config, resources::memory().bytes);
        config
    }
}

impl ConfigSource for FileSource {
    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let (config, texts) = Config::load_with_texts(&self.path)?;
        let mut hasher = Sha256::new();
        for (_, text) in &texts {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        let hash = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let files = texts.into_iter().map(|(file, _)| file).collect();
        Ok(Loaded { config: self.overrides.over(config), hash: Some(hash), files })
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}
