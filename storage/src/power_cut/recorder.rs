//! A disk that writes down what is asked of it, on the way to another one.
//!
//! A call is recorded when it has ended. A sync covers what had ended when it began, and nothing that ran beside it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::load::Promise;
use super::trace::{Change, NameChange, Node, ROOT, Step, Trace};
use crate::disk_io::{Disk, DiskFile, DiskLock};

/// Times of syncs that are kept.
const SYNC_TIMES_MAX: usize = 100_000;

/// Which syncs are dropped, as by a disk that lies: for tests of the check itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Omit {
    /// None.
    #[default]
    Nothing,
    /// Those of files.
    FileSyncs,
    /// Those of folders.
    FolderSyncs,
}

/// A disk that records. Clones are the same recorder.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<dyn Disk>,
    root: PathBuf,
    omit: Omit,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    trace: Trace,
    /// By path.
    nodes: BTreeMap<PathBuf, Node>,
    created: u64,
    sync_times: VecDeque<Duration>,
}

#[derive(Debug)]
struct RecordedFile {
    recorder: Recorder,
    inner: Arc<dyn DiskFile>,
    id: u64,
}

impl Recorder {
    /// Records what happens below `root`, which must be an empty folder.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, root: &Path, omit: Omit) -> Self {
        let nodes = BTreeMap::from([(root.to_owned(), Node::Folder(ROOT))]);
        let state = State { nodes, ..State::default() };
        Self { inner, root: root.to_owned(), omit, state: Arc::new(Mutex::new(state)) }
    }

    /// Records that something was promised, or attempted, by now.
    pub fn promise(&self, promise: Promise) {
        self.lock_state().trace.steps.push(Step::Promise(promise));
    }

    /// What was recorded so far. Recording goes on from nothing known: take it once, at the end.
    #[must_use]
    pub fn take(&self) -> Trace {
        std::mem::take(&mut self.lock_state().trace)
    }

    /// How long each of the latest syncs of files took.
    #[must_use]
    pub fn sync_times(&self) -> Vec<Duration> {
        self.lock_state().sync_times.iter().copied().collect()
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names change under the recorder's lock: their order on the disk is that of the record.
    fn with_names(
        &self,
        call: impl FnOnce(&dyn Disk) -> io::Result<()>,
        change: impl FnOnce(&mut State) -> Option<NameChange>,
    ) -> io::Result<()> {
        let mut state = self.lock_state();
        call(&*self.inner)?;
        if let Some(change) = change(&mut state) {
            state.trace.steps.push(Step::Names(change));
        }
        Ok(())
    }
}

impl State {
    /// The folder and the name in it, where it is recorded.
    fn place(&self, path: &Path) -> Option<(u64, String)> {
        let name = path.file_name()?.to_str()?.to_owned();
        match self.nodes.get(path.parent()?)? {
            Node::Folder(folder) => Some((*folder, name)),
            Node::File(_) => None,
        }
    }

    fn next_id(&mut self) -> u64 {
        self.created += 1;
        self.created
    }

    fn link(&mut self, path: &Path, node: Node) -> Option<NameChange> {
        let (folder, name) = self.place(path)?;
        self.nodes.insert(path.to_owned(), node);
        Some(NameChange::Link { folder, name, node })
    }

    fn unlink(&mut self, path: &Path) -> Option<NameChange> {
        let (folder, name) = self.place(path)?;
        self.nodes.remove(path);
        Some(NameChange::Unlink { folder, name })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Option<NameChange> {
        let (from_place, to_place) = (self.place(from)?, self.place(to)?);
        let node = self.nodes.get(from).copied()?;
        let moved: Vec<PathBuf> = self.nodes.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            if let (Some(node), Ok(rest)) = (self.nodes.remove(&path), path.strip_prefix(from)) {
                let path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
                self.nodes.insert(path, node);
            }
        }
        Some(NameChange::Rename { from: from_place, to: to_place, node })
    }
}

impl Disk for Recorder {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path)?;
        match self.lock_state().nodes.get(path) {
            Some(&Node::File(id)) => Ok(Arc::new(RecordedFile { recorder: self.clone(), inner, id })),
            // It was there before, or is none of what is recorded.
            _ => Ok(inner),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock_state();
        let inner = self.inner.create(path)?;
        if let Some(&Node::File(file)) = state.nodes.get(path) {
            state.trace.steps.push(Step::File { file, change: Change::SetLen(0) });
            return Ok(Arc::new(RecordedFile { recorder: self.clone(), inner, id: file }));
        }
        let id = state.next_id();
        let Some(change) = state.link(path, Node::File(id)) else { return Ok(inner) };
        state.trace.steps.push(Step::Names(change));
        Ok(Arc::new(RecordedFile { recorder: self.clone(), inner, id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with_names(|disk| disk.rename(from, to), |state| state.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with_names(|disk| disk.remove(path), |state| state.unlink(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.with_names(|disk| disk.remove_dir(path), |state| state.unlink(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        self.inner.create_dir(dir)?;
        let Ok(below) = dir.strip_prefix(&self.root) else { return Ok(()) };
        let mut path = self.root.clone();
        for name in below {
            path.push(name);
            if !state.nodes.contains_key(&path) {
                let id = state.next_id();
                if let Some(change) = state.link(&path, Node::Folder(id)) {
                    state.trace.steps.push(Step::Names(change));
                }
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.omit == Omit::FolderSyncs {
            return Ok(());
        }
        let begun = self.lock_state().trace.steps.len();
        self.inner.sync_dir(dir)?;
        let mut state = self.lock_state();
        if let Some(&Node::Folder(folder)) = state.nodes.get(dir) {
            state.trace.steps.push(Step::SyncFolder { folder, begun });
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }
}

impl DiskFile for RecordedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let count = self.inner.write_at(bytes, position)?;
        let change = Change::Write { position, bytes: copied(&bytes[..count]) };
        self.recorder.lock_state().trace.steps.push(Step::File { file: self.id, change });
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.recorder.omit == Omit::FileSyncs {
            return Ok(());
        }
        let begun = self.recorder.lock_state().trace.steps.len();
        let started = Instant::now();
        self.inner.sync_data()?;
        let took = started.elapsed();
        let mut state = self.recorder.lock_state();
        state.trace.steps.push(Step::SyncFile { file: self.id, begun });
        if state.sync_times.len() >= SYNC_TIMES_MAX {
            state.sync_times.pop_front();
        }
        state.sync_times.push_back(took);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)?;
        let step = Step::File { file: self.id, change: Change::SetLen(bytes) };
        self.recorder.lock_state().trace.steps.push(step);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

/// Zeros are written ahead by the quarter of a MiB; there is no need to keep each of them.
fn copied(bytes: &[u8]) -> Bytes {
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    match ZEROS.get(..bytes.len()) {
        Some(zeros) if zeros == bytes => Bytes::from_static(zeros),
        _ => Bytes::copy_from_slice(bytes),
    }
}
