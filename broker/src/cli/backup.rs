//! `eventail backup` and `eventail restore`: everything that a broker keeps, as it was at one moment, and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::Args;
use eventail_storage::DiskStore;
use eventail_storage::disk_io::{Disk, OsDisk};
use eventail_wire::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::api::Api;
use super::check::counted;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::signals::Signals;
use super::storage::LOGS;
use super::table::facts;
use super::{Connection, Format, Output, block_on};
use crate::backup::{self, BackupError, BackupManifest, BackupOptions, Progress};
use crate::clock::SystemClock;
use crate::config::{Config, FILE_NAME};
use crate::panics;
use crate::status::{BackupRequest, BackupState, BackupStatus};

const BACKUP_EXAMPLES: &str = "\
The broker at --url makes it while everything goes on; DIR is a folder of its machine, which does not exist yet or is empty.
Without a broker that runs, --config or --data-dir tells where its data are. On one file system closed segments are not copied but
get a second name there: that takes no room, and is no protection against damage of the disk; see --copy.
Ctrl-C stops the showing and not the backup.

Examples:
  eventail backup /var/backups/eventail/monday
  eventail backup /mnt/nas/eventail --secrets --copy
  eventail backup /var/backups/eventail/monday --data-dir /var/lib/eventail
  eventail backup --verify /var/backups/eventail/monday";

const RESTORE_EXAMPLES: &str = "\
Every checksum is verified before anything is written. The data folder must be empty, or not there; the broker must not run. What
was delivered shortly before the moment of the backup may be delivered again.

Examples:
  eventail restore /var/backups/eventail/monday --config /etc/eventail/eventail.toml
  eventail restore /var/backups/eventail/monday --data-dir /var/lib/eventail";

/// How often is looked how far it is.
const POLL: Duration = Duration::from_millis(200);

/// The arguments of `backup`.
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(super) struct Arguments {
    /// Where it goes, or what is verified
    dir: PathBuf,
    /// Read a backup through and compare it with its checksums, and change nothing
    #[arg(long, conflicts_with_all = ["copy", "secrets", "config", "data_dir"])]
    verify: bool,
    /// Copy closed segments even where a second name for the same file would do
    #[arg(long)]
    copy: bool,
    /// Tokens and the key of the certificate too
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// The arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(super) struct RestoreArguments {
    /// The backup
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// Where the data of a broker are that does not run.
#[derive(Debug, Args)]
struct Place {
    /// The configuration of a broker that is stopped
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its data folder, in place of what the configuration says
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn is_told(&self) -> bool {
        self.config.is_some() || self.data_dir.is_some()
    }

    fn data_dir(&self) -> Result<PathBuf, CliError> {
        let dir = match (&self.data_dir, &self.config) {
            (Some(dir), _) => dir.clone(),
            (None, Some(file)) => Config::load(file)?.data_dir,
            (None, None) => Config::load(Path::new(FILE_NAME))?.data_dir,
        };
        Ok(std::path::absolute(dir)?)
    }
}

/// Makes or verifies a backup.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let format = arguments.output.output;
    let dir = std::path::absolute(&arguments.dir)?;
    if arguments.verify {
        let manifest = watched(|progress| backup::verify(&OsDisk, &dir, progress))?;
        return tell(screen, format, "sound", &dir, &manifest);
    }
    let options = BackupOptions { copies: arguments.copy, secrets: arguments.secrets };
    if !arguments.place.is_told() {
        return block_on(ask(arguments.connection.api()?, dir, options, format, screen));
    }
    let data_dir = arguments.place.data_dir()?;
    let manifest = watched(|progress| make(&data_dir, &dir, options, progress))?;
    tell(screen, format, "complete", &dir, &manifest)
}

/// Restores a backup.
pub(super) fn restore(arguments: RestoreArguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let data_dir = arguments.place.data_dir()?;
    let dir = std::path::absolute(&arguments.dir)?;
    let manifest = watched(|progress| backup::restore(&OsDisk, &dir, &data_dir, progress))?;
    tell(screen, arguments.output.output, "restored", &data_dir, &manifest)
}

/// A backup of a broker that does not run.
fn make(
    data_dir: &Path,
    dir: &Path,
    options: BackupOptions,
    progress: &Progress,
) -> Result<BackupManifest, BackupError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let logs = data_dir.join(LOGS);
    disk.list(&logs).map_err(|source| BackupError::File { path: logs.clone(), source })?;
    let (store, _) = DiskStore::open(&logs, Arc::clone(&disk), Arc::new(SystemClock))?;
    let at = SystemClock.now();
    let moment = store.moment()?;
    backup::make(&*disk, data_dir, dir, &moment, at, options, progress)
}

/// Has the broker make one, and shows how it goes.
async fn ask(
    mut api: Api,
    dir: PathBuf,
    options: BackupOptions,
    format: Format,
    screen: &mut Screen,
) -> Result<Exit, CliError> {
    let request = BackupRequest { dir, copies: options.copies, secrets: options.secrets };
    let mut signals = Signals::new()?;
    let answer: Value = api.post("/v1/backups", &request).await?;
    let started: BackupStatus = api.understand(answer)?;
    let bar = bar();
    loop {
        let page: Value = api.get("/v1/backups").await?;
        let backups: Vec<BackupStatus> = api.understand(page["backups"].clone())?;
        let ours =
            backups.into_iter().find(|one| one.started_at == started.started_at && one.dir == started.dir);
        let Some(status) = ours else { return Err(CliError::BackupGone { dir: started.dir }) };
        bar.set_length(status.bytes);
        bar.set_position(status.bytes_done);
        if status.state != BackupState::Running {
            bar.finish_and_clear();
            return tell_status(screen, format, &status);
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            exit = signals.next() => {
                bar.finish_and_clear();
                Screen::stderr().line("the backup goes on; it is complete once it has its manifest.json")?;
                return Ok(exit);
            }
        }
    }
}

fn tell_status(screen: &mut Screen, format: Format, status: &BackupStatus) -> Result<Exit, CliError> {
    let is_complete = status.state == BackupState::Complete;
    let exit = if is_complete && status.damaged == 0 { Exit::Done } else { Exit::Negative };
    if format == Format::Json {
        screen.json(status)?;
        return Ok(exit);
    }
    if !is_complete {
        let code = status.code.unwrap_or(eventail_wire::Code::Internal);
        let detail = status.error.clone().unwrap_or_default();
        return Err(CliError::Refused { code, detail });
    }
    let moment = status.moment.map(|at| at.to_string()).unwrap_or_default();
    let shown =
        Shown { state: "complete", dir: &status.dir, moment, logs: status.logs, bytes: status.bytes_done };
    shown.print(screen, status.damaged)?;
    Ok(exit)
}

fn tell(
    screen: &mut Screen,
    format: Format,
    state: &'static str,
    dir: &Path,
    manifest: &BackupManifest,
) -> Result<Exit, CliError> {
    let damaged = manifest.damaged() as u64;
    let exit = if damaged == 0 { Exit::Done } else { Exit::Negative };
    if format == Format::Json {
        screen.json(&json!({ "state": state, "dir": dir, "backup": manifest }))?;
        return Ok(exit);
    }
    let (logs, bytes) = (manifest.logs.len() as u64, manifest.bytes());
    Shown { state, dir, moment: manifest.moment.to_string(), logs, bytes }.print(screen, damaged)?;
    for place in manifest.logs.iter().flat_map(|log| &log.damaged) {
        let (file, position, offset) = (&place.file, place.position, place.offset);
        screen.line(&format!("damaged before: {file} at byte {position}, offset {offset}"))?;
    }
    Ok(exit)
}

/// What is told of a backup to people.
struct Shown<'a> {
    state: &'static str,
    dir: &'a Path,
    moment: String,
    logs: u64,
    bytes: u64,
}

impl Shown<'_> {
    fn print(self, screen: &mut Screen, damaged: u64) -> Result<(), CliError> {
        let state = screen.paint(Paint::Success, self.state);
        facts(
            screen,
            &[
                ("folder", self.dir.display().to_string()),
                ("moment", self.moment),
                ("logs", self.logs.to_string()),
                ("bytes", self.bytes.to_string()),
                ("state", state),
            ],
        )?;
        if damaged > 0 {
            let title = screen.paint(Paint::Failure, "damaged");
            screen.line(&format!("{title}: {} already before", counted(damaged, "place")))?;
        }
        Ok(())
    }
}

/// Works on a thread of its own, and shows how far it is meanwhile.
fn watched<T: Send>(work: impl FnOnce(&Progress) -> Result<T, BackupError> + Send) -> Result<T, CliError> {
    let progress = Progress::default();
    let bar = bar();
    let outcome = std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let (worker, progress) = (&progress, progress.clone());
        let thread = scope.spawn(move || {
            let outcome = work(worker);
            // Whoever watches waits for the end of the thread as well.
            let _told = sender.send(());
            outcome
        });
        while receiver.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            let (bytes, bytes_done) = progress.bytes();
            bar.set_length(bytes);
            bar.set_position(bytes_done);
        }
        thread.join()
    });
    bar.finish_and_clear();
    let outcome =
        outcome.unwrap_or_else(|payload| Err(BackupError::Panicked(panics::Panicked::of(&*payload))));
    outcome.map_err(|source| CliError::Backup { source })
}

/// A bar on standard error, where somebody watches.
fn bar() -> ProgressBar {
    if !Screen::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // A bar in the default style is no reason to stop.
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
