//! Backups on a disk in memory: what is in them, and what is refused.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventail_storage::DiskStore;
use eventail_storage::disk_io::{Disk, OsDisk, SimDisk};
use eventail_storage::log::{Log, LogOptions, NewRecord, ReadLimit};
use eventail_wire::{Code, Timestamp};

use super::*;
use crate::clock::SystemClock;

const DATA: &str = "/data";
const BACKUP: &str = "/backup";
const RESTORED: &str = "/restored";

fn store(disk: &Arc<dyn Disk>, data: &str) -> DiskStore {
    let logs = Path::new(data).join(LOGS);
    DiskStore::open(&logs, Arc::clone(disk), Arc::new(SystemClock)).unwrap().0
}

async fn append(log: &Arc<dyn Log>, count: u32) {
    for number in 0..count {
        let payload = Bytes::from(format!("{number:0200}"));
        log.append(vec![NewRecord { payload, fingerprint: None }]).await.unwrap();
    }
}

async fn payloads(log: &Arc<dyn Log>) -> Vec<Bytes> {
    let range = log.status().range;
    let mut read = Vec::new();
    while (read.len() as u64) < range.end.since(range.start) {
        let limit = ReadLimit { records: 1000, bytes: 1 << 20 };
        let next = range.start.plus(read.len() as u64);
        read.extend(log.read(next, limit).await.unwrap().into_iter().map(|record| record.payload));
    }
    read
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 2 << 10, ..LogOptions::default() }
}

fn backed_up(disk: &Arc<dyn Disk>, store: &DiskStore, dir: &str) -> Result<BackupManifest, BackupError> {
    let moment = store.moment()?;
    let (data, dir, progress) = (Path::new(DATA), Path::new(dir), Progress::default());
    let made = make(&**disk, data, dir, &moment, Timestamp(7), BackupOptions::default(), &progress)?;
    let (bytes, bytes_done) = progress.bytes();
    assert_eq!((bytes, bytes_done), (made.bytes(), made.bytes()));
    Ok(made)
}

fn restored(disk: &Arc<dyn Disk>) -> Result<BackupManifest, BackupError> {
    restore(&**disk, Path::new(BACKUP), Path::new(RESTORED), &Progress::default())
}

fn flip(disk: &Arc<dyn Disk>, path: &str, position: u64) {
    let file = disk.open(Path::new(path)).unwrap();
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, position).unwrap(), 1, "{path}");
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
}

/// A disk with a backup of one log with several segments, and what is in it.
async fn with_backup() -> (Arc<dyn Disk>, Vec<Bytes>) {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let store = store(&disk, DATA);
    let log = store.open_or_create("orders", options()).unwrap();
    append(&log, 40).await;
    let before = payloads(&log).await;
    backed_up(&disk, &store, BACKUP).unwrap();
    // It goes on, and the backup does not.
    append(&log, 10).await;
    (disk, before)
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up() {
    let (disk, before) = with_backup().await;
    let verified = verify(&*disk, Path::new(BACKUP), &Progress::default()).unwrap();
    assert_eq!((verified.format, verified.moment, verified.damaged()), (FORMAT, Timestamp(7), 0));
    assert_eq!((verified.logs[0].name.as_str(), verified.logs[0].end.0), ("orders", 40));
    assert!(verified.logs[0].files.len() > 5, "several segments, with sidecars");
    assert_eq!(restored(&disk).unwrap(), verified);
    let store = store(&disk, RESTORED);
    let log = store.open_or_create("orders", options()).unwrap();
    assert_eq!(payloads(&log).await, before);
    append(&log, 5).await;
    // Whatever is written there now is not written into the backup.
    verify(&*disk, Path::new(BACKUP), &Progress::default()).unwrap();
    assert!(matches!(restored(&disk), Err(BackupError::DataThere { .. })));
}

#[tokio::test]
async fn a_backup_is_made_into_an_empty_folder_elsewhere() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let store = store(&disk, DATA);
    append(&store.open_or_create("orders", options()).unwrap(), 1).await;
    let inside = backed_up(&disk, &store, "/data/backup");
    assert!(
        matches!(&inside, Err(error @ BackupError::InsideData { .. }) if error.code() == Code::InvalidParameter)
    );
    disk.create_dir(Path::new("/there")).unwrap();
    disk.create(Path::new("/there/file")).unwrap();
    assert!(matches!(backed_up(&disk, &store, "/there"), Err(BackupError::NotEmpty { .. })));
    backed_up(&disk, &store, BACKUP).unwrap();
    assert!(matches!(backed_up(&disk, &store, BACKUP), Err(BackupError::NotEmpty { .. })));
}

#[tokio::test]
async fn every_changed_file_is_named_and_nothing_is_restored() {
    let (disk, _) = with_backup().await;
    let logs = "/backup/logs/orders";
    flip(&disk, &format!("{logs}/00000000000000000000.log"), 70);
    let mut names = disk.list(Path::new(logs)).unwrap();
    names.sort();
    let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
    disk.remove(&Path::new(logs).join(segments[1])).unwrap();
    disk.open(&Path::new(logs).join(segments[2])).unwrap().set_len(100).unwrap();
    let Err(BackupError::Damaged { problems }) = restored(&disk) else { panic!("it is damaged") };
    let told: Vec<_> = problems.iter().map(|problem| problem.what).collect();
    assert_eq!(told, ["its checksum does not match", "it is missing", "it has another length"]);
    assert!(problems[1].path.ends_with(segments[1]), "{problems:?}");
    assert!(disk.list(Path::new(RESTORED)).is_err(), "nothing was written");
}

#[tokio::test]
async fn a_backup_that_was_interrupted_is_recognised_and_refused() {
    let (disk, _) = with_backup().await;
    disk.remove(Path::new("/backup/manifest.json")).unwrap();
    let refused = restored(&disk);
    assert!(matches!(refused, Err(BackupError::Incomplete { .. })), "{refused:?}");
    let absent = verify(&*disk, Path::new("/nowhere"), &Progress::default());
    assert!(matches!(absent, Err(BackupError::File { .. })), "{absent:?}");
    // One that is told to end leaves no manifest.
    let store = store(&disk, DATA);
    store.open_or_create("orders", options()).unwrap();
    let moment = store.moment().unwrap();
    let progress = Progress::default();
    progress.cancel();
    let dir = Path::new("/second");
    let ended =
        make(&*disk, Path::new(DATA), dir, &moment, Timestamp(7), BackupOptions::default(), &progress);
    assert!(matches!(ended, Err(BackupError::Cancelled)), "{ended:?}");
    assert!(matches!(verify(&*disk, dir, &Progress::default()), Err(BackupError::Incomplete { .. })));
}

#[tokio::test]
async fn a_manifest_of_a_newer_version_or_a_changed_one_is_refused() {
    let (disk, _) = with_backup().await;
    let path = "/backup/manifest.json";
    flip(&disk, path, 60);
    let damaged = restored(&disk);
    assert!(
        matches!(damaged, Err(BackupError::DamagedManifest { .. } | BackupError::Manifest { .. })),
        "{damaged:?}"
    );
    flip(&disk, path, 60);
    let mut manifest = verify(&*disk, Path::new(BACKUP), &Progress::default()).unwrap();
    manifest.format = FORMAT + 1;
    manifest::write(&*disk, Path::new(BACKUP), &manifest).unwrap();
    let newer = restored(&disk);
    assert!(matches!(newer, Err(BackupError::Newer { format, .. }) if format == FORMAT + 1), "{newer:?}");
    manifest.format = FORMAT;
    manifest.storage_format += 1;
    manifest::write(&*disk, Path::new(BACKUP), &manifest).unwrap();
    assert!(matches!(restored(&disk), Err(BackupError::Newer { .. })));
    manifest.storage_format -= 1;
    manifest.logs[0].name = "../up".to_owned();
    manifest::write(&*disk, Path::new(BACKUP), &manifest).unwrap();
    assert!(matches!(restored(&disk), Err(BackupError::DamagedManifest { .. })));
    assert!(disk.list(Path::new(RESTORED)).is_err(), "nothing was written");
}

#[tokio::test]
async fn a_restore_that_was_interrupted_is_begun_anew_and_no_broker_starts_on_it() {
    let (disk, before) = with_backup().await;
    let remains = Path::new("/restored/logs.restoring/old");
    disk.create_dir(remains).unwrap();
    disk.create(&remains.join("00000000000000000000.log")).unwrap();
    assert!(is_half_restored(&*disk, Path::new(RESTORED)));
    restored(&disk).unwrap();
    assert!(!is_half_restored(&*disk, Path::new(RESTORED)));
    let store = store(&disk, RESTORED);
    assert_eq!(store.names().unwrap(), ["orders"]);
    assert_eq!(payloads(&store.open_or_create("orders", options()).unwrap()).await, before);
}

#[tokio::test]
async fn damage_that_was_there_before_is_told() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let first = store(&disk, DATA);
    append(&first.open_or_create("orders", options()).unwrap(), 40).await;
    drop(first);
    flip(&disk, "/data/logs/orders/00000000000000000000.log", 70);
    let store = store(&disk, DATA);
    let made = backed_up(&disk, &store, BACKUP).unwrap();
    assert_eq!(made.damaged(), 1);
    assert_eq!(verify(&*disk, Path::new(BACKUP), &Progress::default()).unwrap(), made);
}

#[tokio::test]
async fn secrets_are_part_of_it_only_where_they_are_asked_for_and_stay_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("tls")).unwrap();
    std::fs::write(data.join("tls/key.pem"), "key").unwrap();
    std::fs::write(data.join("tokens.toml"), "tokens").unwrap();
    let (store, _) = DiskStore::open(&data.join(LOGS), Arc::new(OsDisk), Arc::new(SystemClock)).unwrap();
    let log = store.open_or_create("orders", options()).unwrap();
    append(&log, 40).await;
    let made = |name: &str, secrets| {
        let options = BackupOptions { secrets, ..BackupOptions::default() };
        let (dir, moment) = (folder.path().join(name), store.moment().unwrap());
        make(&OsDisk, &data, &dir, &moment, Timestamp(7), options, &Progress::default()).unwrap()
    };
    assert_eq!(made("without", false).secrets, []);
    assert!(!folder.path().join("without/secrets").exists());
    let with = made("with", true);
    let names: Vec<_> = with.secrets.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["tokens.toml", "tls/key.pem"]);
    // Closed segments are the same file here, the one that is written is not.
    let linked: Vec<_> = with.logs[0].files.iter().filter(|file| file.name.ends_with(".log")).collect();
    let (last, closed) = linked.split_last().unwrap();
    assert!(!last.is_linked && closed.iter().all(|file| file.is_linked), "{linked:?}");
    let restored = folder.path().join("restored");
    restore(&OsDisk, &folder.path().join("with"), &restored, &Progress::default()).unwrap();
    for path in [folder.path().join("with/secrets/tokens.toml"), restored.join("tls/key.pem")] {
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
    }
    assert_eq!(std::fs::read_to_string(restored.join("tls/key.pem")).unwrap(), "key");
}

#[test]
fn a_folder_inside_the_data_is_known_by_whatever_name() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    std::fs::create_dir_all(data.join("logs")).unwrap();
    std::fs::create_dir(root.path().join("other")).unwrap();
    std::os::unix::fs::symlink(&data, root.path().join("link")).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let store = store(&disk, data.to_str().unwrap());
    let moment = store.moment().unwrap();
    let made = |data: &Path, dir: &Path| {
        make(&*disk, data, dir, &moment, Timestamp(7), BackupOptions::default(), &Progress::default())
    };
    for dir in ["data/backup", "link/backup", "link/a/b", "other/../data/backup", "missing/../link/backup"] {
        let told = made(&data, &root.path().join(dir)).unwrap_err();
        assert!(matches!(told, BackupError::InsideData { .. }), "{dir}: {told:?}");
    }
    let told = made(&root.path().join("link"), &data.join("backup")).unwrap_err();
    assert!(matches!(told, BackupError::InsideData { .. }), "{told:?}");
    made(&data, &root.path().join("data-backup")).unwrap();
    assert!(!data.join("backup").exists() && !data.join("a").exists());
}
