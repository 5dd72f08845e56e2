//! A closed generation as a file beside the log: `<first offset>.snap`.
//!
//! ```text
//!  0  magic "EVD1"                          4  CRC-32C of bytes 8 to 64 and of the slots
//!  8  first offset        16  end offset   24  time of the first id   32  time of the newest
//! 40  number of ids       48  nominal size of the table               56  number of slots
//! 64  the slots: 5 numbers of 4 bytes each
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use eventail_wire::{Offset, Timestamp};

use super::generation::{Generation, SLOT_BYTES, Slot};
use crate::disk::batch::{u32_at, u64_at};
use crate::disk::names;
use crate::disk_io::{Disk, DiskFile};

const MAGIC: [u8; 4] = *b"EVD1";
const HEADER_BYTES: usize = 64;
/// Slots that are written or read at once: about a MiB.
const SLOTS_AT_ONCE: usize = 50_000;

/// Something to be written or removed beside the log. A failure costs time at the next start and nothing else.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// `None` removes the file.
    generation: Option<Arc<Generation>>,
}

impl SnapshotJob {
    pub(crate) fn save(disk: &Arc<dyn Disk>, dir: &Path, generation: &Arc<Generation>) -> Self {
        let path = names::dedup(dir, generation.from);
        Self { disk: Arc::clone(disk), path, generation: Some(Arc::clone(generation)) }
    }

    pub(crate) fn remove(disk: &Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk: Arc::clone(disk), path, generation: None }
    }

    /// Does it.
    pub(crate) fn run(self) {
        let outcome = match &self.generation {
            Some(generation) => write(&*self.disk, &self.path, generation),
            None => self.disk.remove(&self.path),
        };
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %names::display(&self.path), %error, "a snapshot could not be written or removed");
            }
            _ => {}
        }
    }
}

fn write(disk: &dyn Disk, path: &Path, generation: &Generation) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    let numbers = [
        generation.from.0,
        generation.end.0,
        generation.first_at.0,
        generation.newest_at.0,
        generation.ids as u64,
        generation.capacity as u64,
        generation.slots.len() as u64,
    ];
    for (index, number) in numbers.into_iter().enumerate() {
        header[8 + index * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[8..]);
    let file = disk.create(path)?;
    let mut position = HEADER_BYTES as u64;
    let mut piece = Vec::new();
    for slots in generation.slots.chunks(SLOTS_AT_ONCE) {
        piece.clear();
        piece.extend(slots.iter().flatten().flat_map(|word| word.to_le_bytes()));
        digest.update(&piece);
        file.write_all_at(&piece, position)?;
        position += piece.len() as u64;
    }
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&digest.finalize().to_le_bytes()[..4]);
    file.write_all_at(&header, 0)?;
    file.sync_data()
}

/// Reads a snapshot; `None` where it is damaged.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Generation>> {
    let file = disk.open(path)?;
    let mut header = [0; HEADER_BYTES];
    if file.read_full_at(&mut header, 0)? < HEADER_BYTES || header[..4] != MAGIC {
        return Ok(None);
    }
    let number = |index: usize| u64_at(&header, 8 + index * 8);
    let sizes = (usize::try_from(number(4)), usize::try_from(number(5)), usize::try_from(number(6)));
    let (Ok(ids), Ok(capacity), Ok(count)) = sizes else { return Ok(None) };
    // Before a lying header makes us ask for its memory.
    let expected = (count as u64).checked_mul(SLOT_BYTES as u64).and_then(|bytes| bytes.checked_add(64));
    if expected != Some(file.len()?) || capacity > count || ids > count {
        return Ok(None);
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[8..]);
    let slots = read_slots(&*file, count, &mut digest)?;
    let right = digest.finalize() == u64::from(u32_at(&header, 4)) && slots.len() == count;
    Ok(right.then(|| Generation {
        from: Offset(number(0)),
        end: Offset(number(1)),
        first_at: Timestamp(number(2)),
        newest_at: Timestamp(number(3)),
        ids,
        capacity,
        slots,
    }))
}

fn read_slots(file: &dyn DiskFile, count: usize, digest: &mut Digest) -> io::Result<Vec<Slot>> {
    let mut slots = Vec::with_capacity(count);
    let mut piece = vec![0; SLOTS_AT_ONCE.min(count) * SLOT_BYTES];
    let mut position = HEADER_BYTES as u64;
    while slots.len() < count {
        let wanted = (count - slots.len()).min(SLOTS_AT_ONCE) * SLOT_BYTES;
        let filled = file.read_full_at(&mut piece[..wanted], position)?;
        digest.update(&piece[..filled]);
        slots.extend(piece[..filled].as_chunks::<SLOT_BYTES>().0.iter().map(|slot| {
            [u32_at(slot, 0), u32_at(slot, 4), u32_at(slot, 8), u32_at(slot, 12), u32_at(slot, 16)]
        }));
        if filled < wanted {
            break;
        }
        position += filled as u64;
    }
    Ok(slots)
}
