//! A disk in memory that forgets, tears, fills up and fails as told: what the engine's recovery is tested against.
//!
//! For every file it holds the durable bytes and the writes since the last sync; for every folder the durable names and
//! the changes since the last sync. [`SimDisk::power_cut`] leaves of what was not synced a part that its seed decides:
//! of each sector of 512 bytes the content after any number of the writes that touched it, and any subset of the changed
//! names.
//!
//! Handles that were open at a power cut belong to the process that died: every call on them fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, DiskLock};

/// What a disk writes at once: a power cut keeps or loses a sector as a whole.
const SECTOR_BYTES: u64 = 512;

/// What goes wrong at the call that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// The call fails with `EIO`; of a write a part may have been done, of a sync nothing is durable.
    InputOutput,
    /// The call fails with `ENOSPC`; of a write a part has been done. Calls that need no room succeed.
    Full,
    /// A write takes only a part of its bytes and says so. Other calls succeed.
    ShortWrite,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the power cuts, so that handles from before are known.
    boot: u64,
    calls: u64,
    faults: BTreeMap<u64, SimFault>,
    capacity_bytes: Option<u64>,
    next_file: u64,
    files: BTreeMap<u64, Content>,
    folders: BTreeMap<PathBuf, Folder>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

/// What happened to a file since its last sync.
#[derive(Debug)]
enum Change {
    Write { position: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(u64),
    Folder,
}

#[derive(Debug, Default)]
struct Folder {
    durable: BTreeMap<String, Entry>,
    current: BTreeMap<String, Entry>,
    pending: Vec<(String, Option<Entry>)>,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    boot: u64,
    file: u64,
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    boot: u64,
    path: PathBuf,
}

/// What a call needs, so that a fault for want of room hits only those that take some.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Room,
}

impl SimDisk {
    /// An empty disk without limits or faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls were counted so far. Reads, lists and locks are not counted: a test that fails "the Nth call" means
    /// one that changes something.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock_state().calls
    }

    /// Lets the call with this number fail; the first one is 0.
    pub fn fail_call(&self, call: u64, fault: SimFault) {
        self.lock_state().faults.insert(call, fault);
    }

    /// Takes all faults back that have not struck yet.
    pub fn clear_faults(&self) {
        self.lock_state().faults.clear();
    }

    /// Limits what all files together may hold; `None` takes the limit away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity_bytes = bytes;
    }

    /// What all files hold together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().used_bytes()
    }

    /// The power fails and comes back. What was synced stays; of the rest the seed decides what does.
    pub fn power_cut(&self, seed: u64) {
        let mut dice = Dice(seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut state = self.lock_state();
        state.boot += 1;
        state.locks.clear();
        state.faults.clear();
        for content in state.files.values_mut() {
            content.power_cut(&mut dice);
        }
        for folder in state.folders.values_mut() {
            folder.power_cut(&mut dice);
        }
        state.forget_unnamed_folders();
        state.forget_unreachable();
    }

    /// The process dies and another one starts: everything written stays, synced or not; only locks and handles go.
    pub fn process_kill(&self) {
        let mut state = self.lock_state();
        state.boot += 1;
        state.locks.clear();
        state.faults.clear();
    }

    /// Changes stored bytes in place, as a failing medium would: durable at once and unseen by any checksum of the disk.
    ///
    /// # Errors
    /// `NotFound` where there is no such file; `UnexpectedEof` where it is too short.
    pub fn damage(&self, path: &Path, position: u64, change: impl Fn(u8) -> u8) -> io::Result<()> {
        let mut state = self.lock_state();
        let file = state.file_at(path)?;
        let content = state.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        let index = usize::try_from(position).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let byte = content.current.get_mut(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        *byte = change(*byte);
        let changed = *byte;
        if let Some(durable) = content.durable.get_mut(index) {
            *durable = changed;
        }
        Ok(())
    }

    /// What a reader would find in the file now.
    ///
    /// # Errors
    /// `NotFound` where there is no such file.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock_state();
        let file = state.file_at(path)?;
        Ok(state.files.get(&file).map(|content| content.current.clone()).unwrap_or_default())
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a call and tells the fault that is to strike it.
    fn count(&mut self, need: Need) -> io::Result<Option<SimFault>> {
        let call = self.calls;
        self.calls += 1;
        match self.faults.remove(&call) {
            Some(SimFault::InputOutput) if need == Need::Nothing => Err(input_output_error()),
            Some(SimFault::Full | SimFault::ShortWrite) if need == Need::Nothing => Ok(None),
            fault => Ok(fault),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|content| content.current.len() as u64).sum()
    }

    fn folder(&self, dir: &Path) -> io::Result<&Folder> {
        self.folders.get(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn folder_mut(&mut self, dir: &Path) -> io::Result<&mut Folder> {
        self.folders.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_at(&self, path: &Path) -> io::Result<u64> {
        let (dir, name) = split(path)?;
        match self.folder(dir)?.current.get(name) {
            Some(&Entry::File(file)) => Ok(file),
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Drops the folders whose own name did not survive, with everything in them.
    fn forget_unnamed_folders(&mut self) {
        loop {
            let named = |dir: &PathBuf| {
                split(dir).map_or(true, |(parent, name)| {
                    self.folders.get(parent).is_some_and(|parent| parent.current.contains_key(name))
                })
            };
            let Some(lost) = self.folders.keys().find(|dir| !named(dir)).cloned() else { break };
            self.folders.remove(&lost);
        }
        // One whose removal did not survive is back, and empty as it was.
        let named = self.folders.iter().flat_map(|(dir, folder)| {
            let folders = folder.current.iter().filter(|(_, entry)| **entry == Entry::Folder);
            folders.map(move |(name, _)| dir.join(name))
        });
        for dir in named.collect::<Vec<_>>() {
            self.folders.entry(dir).or_default();
        }
    }

    /// Frees the files that no folder names any more, now or after a power cut.
    fn forget_unreachable(&mut self) {
        let named: BTreeSet<u64> = self
            .folders
            .values()
            .flat_map(|folder| folder.durable.values().chain(folder.current.values()))
            .filter_map(|entry| match entry {
                Entry::File(file) => Some(*file),
                Entry::Folder => None,
            })
            .collect();
        self.files.retain(|file, _| named.contains(file));
    }
}

impl Content {
    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write { position, bytes: written } => {
                let start = usize::try_from(*position).expect("a simulated file fits into memory");
                let end = start + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(written);
            }
            Change::SetLen(length) => {
                bytes.resize(usize::try_from(*length).expect("a simulated file fits into memory"), 0);
            }
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.current, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.current);
        self.pending.clear();
    }

    /// Keeps a random part of what was not synced. Each sector stands at some moment of its own since the last sync;
    /// changes of the length keep their order among themselves, as a journalling file system keeps them.
    fn power_cut(&mut self, dice: &mut Dice) {
        let keep_all = dice.one_in(4);
        let keep_none = !keep_all && dice.one_in(4);
        let mut survives = move || keep_all || (!keep_none && dice.one_in(2));
        let mut survived = std::mem::take(&mut self.durable);
        let mut lost_sectors = BTreeSet::new();
        let mut lengths_lost = false;
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::SetLen(_) => {
                    lengths_lost = lengths_lost || !survives();
                    if !lengths_lost {
                        Self::apply(&mut survived, &change);
                    }
                }
                Change::Write { position, bytes } => {
                    for (position, sector) in sectors(position, &bytes) {
                        let number = position / SECTOR_BYTES;
                        if lost_sectors.contains(&number) || !survives() {
                            lost_sectors.insert(number);
                            continue;
                        }
                        Self::apply(&mut survived, &Change::Write { position, bytes: sector.to_vec() });
                    }
                }
            }
        }
        self.current.clone_from(&survived);
        self.durable = survived;
    }
}

impl Folder {
    fn change(&mut self, name: &str, entry: Option<Entry>) {
        Self::apply(&mut self.current, name, entry);
        self.pending.push((name.to_owned(), entry));
    }

    fn apply(names: &mut BTreeMap<String, Entry>, name: &str, entry: Option<Entry>) {
        match entry {
            Some(entry) => {
                names.insert(name.to_owned(), entry);
            }
            None => {
                names.remove(name);
            }
        }
    }

    fn power_cut(&mut self, dice: &mut Dice) {
        for (name, entry) in std::mem::take(&mut self.pending) {
            if dice.one_in(2) {
                Self::apply(&mut self.durable, &name, entry);
            }
        }
        self.current.clone_from(&self.durable);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock_state();
        let file = state.file_at(path)?;
        Ok(Arc::new(SimFile { disk: self.clone(), boot: state.boot, file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock_state();
        fail_whole(state.count(Need::Room)?)?;
        let (dir, name) = split(path)?;
        let file = match state.file_at(path) {
            Ok(file) => {
                if let Some(content) = state.files.get_mut(&file) {
                    content.change(Change::SetLen(0));
                }
                file
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = state.next_file;
                state.next_file += 1;
                state.folder_mut(dir)?.change(name, Some(Entry::File(file)));
                state.files.insert(file, Content::default());
                file
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), boot: state.boot, file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count(Need::Nothing)?;
        let (from_dir, from_name) = split(from)?;
        let (to_dir, to_name) = split(to)?;
        let entry = *state.folder(from_dir)?.current.get(from_name).ok_or(io::ErrorKind::NotFound)?;
        if entry == Entry::Folder {
            // Its content moves with it. As the content is keyed by path, this much of a rename is durable at once.
            let moved: Vec<PathBuf> =
                state.folders.keys().filter(|dir| dir.starts_with(from)).cloned().collect();
            for dir in moved {
                if let (Some(folder), Ok(rest)) = (state.folders.remove(&dir), dir.strip_prefix(from)) {
                    state.folders.insert(to.join(rest), folder);
                }
            }
            state.folder_mut(from_dir)?.durable.remove(from_name);
            state.folder_mut(to_dir)?.durable.insert(to_name.to_owned(), entry);
        }
        state.folder_mut(from_dir)?.change(from_name, None);
        state.folder_mut(to_dir)?.change(to_name, Some(entry));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count(Need::Nothing)?;
        state.file_at(path)?;
        let (dir, name) = split(path)?;
        state.folder_mut(dir)?.change(name, None);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count(Need::Nothing)?;
        if !state.folder(path)?.current.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = split(path)?;
        state.folder_mut(dir)?.change(name, None);
        state.folders.remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.lock_state().folder(dir).map(|folder| folder.current.keys().cloned().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        fail_whole(state.count(Need::Room)?)?;
        let mut above: Vec<&Path> = dir.ancestors().collect();
        above.reverse();
        for path in above {
            if state.folders.contains_key(path) {
                continue;
            }
            if let Ok((parent, name)) = split(path) {
                state.folder_mut(parent)?.change(name, Some(Entry::Folder));
            }
            state.folders.insert(path.to_owned(), Folder::default());
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count(Need::Nothing)?;
        let folder = state.folder_mut(dir)?;
        folder.durable.clone_from(&folder.current);
        folder.pending.clear();
        state.forget_unreachable();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.lock_state();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), boot: state.boot, path: path.to_owned() }))
    }
}

impl SimFile {
    fn with<T>(&self, call: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock_state();
        if state.boot != self.boot {
            return Err(io::Error::other("the handle is of a process that died"));
        }
        call(&mut state, self.file)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state, file| {
            let content = state.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
            let rest =
                usize::try_from(position).ok().and_then(|start| content.current.get(start..)).unwrap_or(&[]);
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.with(|state, file| {
            let fault = state.count(Need::Room)?;
            let room = state.capacity_bytes.map_or(u64::MAX, |most| most.saturating_sub(state.used_bytes()));
            let content = state.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
            // What lies inside the file takes no more room.
            let fits = (content.current.len() as u64).saturating_sub(position).saturating_add(room);
            let most = usize::try_from(fits).unwrap_or(usize::MAX).min(bytes.len());
            let taken = if fault.is_some() { most.min(bytes.len().div_ceil(2)) } else { most };
            if taken > 0 {
                content.change(Change::Write { position, bytes: bytes[..taken].to_vec() });
            }
            match fault {
                Some(SimFault::InputOutput) => Err(input_output_error()),
                Some(SimFault::Full) => Err(io::ErrorKind::StorageFull.into()),
                None if taken == 0 && !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
                Some(SimFault::ShortWrite) | None => Ok(taken),
            }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, file| {
            state.count(Need::Nothing)?;
            state.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?.sync();
            Ok(())
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, file| {
            state.count(Need::Nothing)?;
            state.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?.change(Change::SetLen(bytes));
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, file| {
            Ok(state.files.get(&file).ok_or(io::ErrorKind::NotFound)?.current.len() as u64)
        })
    }
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

/// Random numbers from a seed (splitmix64): the same cut for the same seed, with no dependency.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.next().is_multiple_of(chances)
    }
}

/// Cuts a write at the borders of the sectors it touches.
fn sectors(position: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut position = position;
    std::iter::from_fn(move || {
        let to_border = usize::try_from(SECTOR_BYTES - position % SECTOR_BYTES).expect("a sector is small");
        let (sector, behind) = rest.split_at(to_border.min(rest.len()));
        let start = position;
        rest = behind;
        position += sector.len() as u64;
        (!sector.is_empty()).then_some((start, sector))
    })
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((dir, name))
}

/// For calls that cannot be done in part.
fn fail_whole(fault: Option<SimFault>) -> io::Result<()> {
    match fault {
        Some(SimFault::InputOutput) => Err(input_output_error()),
        Some(SimFault::Full) => Err(io::ErrorKind::StorageFull.into()),
        Some(SimFault::ShortWrite) | None => Ok(()),
    }
}

fn input_output_error() -> io::Error {
    io::Error::other("input/output error (simulated)")
}
