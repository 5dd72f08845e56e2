//! The disk as the record says it is: what is safe, and what a power cut may still take.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::decisions::Decisions;
use super::trace::{Change, NameChange, Node, ROOT, Step};
use crate::disk_io::Disk;

/// What a disk writes at once: a power cut keeps or loses a sector as a whole.
const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct World {
    files: BTreeMap<u64, Content>,
    /// The durable names of each folder.
    folders: BTreeMap<u64, BTreeMap<String, Node>>,
    /// Changes of names that are not durable yet, each with the step that made it.
    names: Vec<(usize, NameChange)>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<(usize, Change)>,
}

/// What a power cut left: files by path, and folders.
#[derive(Debug, Default)]
pub(super) struct Remains {
    folders: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl World {
    /// Takes a step over; `at` is its place in the trace.
    pub(super) fn step(&mut self, at: usize, step: &Step) {
        match step {
            Step::File { file, change } => {
                self.files.entry(*file).or_default().pending.push((at, change.clone()));
            }
            Step::Names(change) => self.names.push((at, change.clone())),
            Step::SyncFile { file, begun } => {
                let content = self.files.entry(*file).or_default();
                let covered = content.pending.partition_point(|(at, _)| at < begun);
                for (_, change) in content.pending.drain(..covered) {
                    apply(&mut content.durable, &change);
                }
            }
            Step::SyncFolder { folder, begun } => {
                let covered = |change: &NameChange, at: usize| at < *begun && concerns(change, *folder);
                let mut left = Vec::new();
                for (at, change) in std::mem::take(&mut self.names) {
                    if covered(&change, at) {
                        apply_names(&mut self.folders, &change);
                    } else {
                        left.push((at, change));
                    }
                }
                self.names = left;
            }
            Step::Promise(_) => {}
        }
    }

    /// Changes that a power cut decides about now, each sector counted.
    pub(super) fn undecided(&self) -> usize {
        let of = |change: &Change| match change {
            Change::Write { position, bytes } => sectors(*position, bytes).count(),
            Change::SetLen(_) => 1,
        };
        let in_files = self.files.values().flat_map(|content| &content.pending).map(|(_, change)| of(change));
        in_files.sum::<usize>() + self.names.len()
    }

    /// What is left where the power fails now and these decisions are made.
    pub(super) fn cut(&self, decisions: &mut Decisions) -> Remains {
        let mut folders = self.folders.clone();
        for (_, change) in &self.names {
            if decisions.keeps() {
                apply_names(&mut folders, change);
            }
        }
        let mut remains = Remains::default();
        self.walk(&folders, ROOT, "", decisions, &mut remains);
        remains
    }

    fn walk(
        &self,
        folders: &BTreeMap<u64, BTreeMap<String, Node>>,
        folder: u64,
        path: &str,
        decisions: &mut Decisions,
        remains: &mut Remains,
    ) {
        for (name, node) in folders.get(&folder).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match node {
                Node::File(file) => {
                    let content = self.files.get(file).map(|content| content.cut(decisions));
                    remains.files.push((path, content.unwrap_or_default()));
                }
                Node::Folder(below) => {
                    remains.folders.push(path.clone());
                    self.walk(folders, *below, &path, decisions, remains);
                }
            }
        }
    }
}

impl Content {
    /// Of each sector the content at some moment since the last sync; lengths keep their order among themselves.
    fn cut(&self, decisions: &mut Decisions) -> Vec<u8> {
        let mut survived = self.durable.clone();
        let mut lost_sectors = BTreeSet::new();
        let mut lengths_lost = false;
        for (_, change) in &self.pending {
            match change {
                Change::SetLen(_) => {
                    lengths_lost = lengths_lost || !decisions.keeps();
                    if !lengths_lost {
                        apply(&mut survived, change);
                    }
                }
                Change::Write { position, bytes } => {
                    for (position, range) in sectors(*position, bytes) {
                        let number = position / SECTOR_BYTES;
                        if lost_sectors.contains(&number) || !decisions.keeps() {
                            lost_sectors.insert(number);
                            continue;
                        }
                        apply(&mut survived, &Change::Write { position, bytes: bytes.slice(range) });
                    }
                }
            }
        }
        survived
    }
}

impl Remains {
    /// Puts it on a disk, below a folder that is there.
    pub(super) fn write(&self, disk: &dyn Disk, root: &Path) -> io::Result<()> {
        disk.create_dir(root)?;
        for folder in &self.folders {
            disk.create_dir(&root.join(folder))?;
        }
        for (path, content) in &self.files {
            disk.create(&root.join(path))?.write_all_at(content, 0)?;
        }
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
    match change {
        Change::Write { position, bytes: written } => {
            let (start, end) = (place(*position), place(*position) + written.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(written);
        }
        Change::SetLen(length) => bytes.resize(place(*length), 0),
    }
}

fn concerns(change: &NameChange, folder: u64) -> bool {
    match change {
        NameChange::Link { folder: of, .. } | NameChange::Unlink { folder: of, .. } => *of == folder,
        NameChange::Rename { from, to, .. } => from.0 == folder || to.0 == folder,
    }
}

fn apply_names(folders: &mut BTreeMap<u64, BTreeMap<String, Node>>, change: &NameChange) {
    match change {
        NameChange::Link { folder, name, node } => {
            folders.entry(*folder).or_default().insert(name.clone(), *node);
        }
        NameChange::Unlink { folder, name } => {
            folders.entry(*folder).or_default().remove(name);
        }
        NameChange::Rename { from, to, node } => {
            folders.entry(from.0).or_default().remove(&from.1);
            folders.entry(to.0).or_default().insert(to.1.clone(), *node);
        }
    }
}

/// Cuts a write at the borders of the sectors that it touches.
fn sectors(position: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> + use<> {
    let length = bytes.len();
    let mut start = 0;
    std::iter::from_fn(move || {
        let at = position + start as u64;
        let to_border = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(length);
        let end = (start + to_border).min(length);
        let range = start..end;
        start = end;
        (!range.is_empty()).then_some((at, range))
    })
}
