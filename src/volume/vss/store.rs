//! A store: what was kept of the blocks that were written to since a shadow copy was taken.
//!
//! Source: "Volume Shadow Snapshot (VSS)" by Joachim Metz, section 4. A descriptor of the block list has 32
//! bytes:
//!
//! | offset | size | field      | rule                                                            |
//! |--------|------|------------|-----------------------------------------------------------------|
//! | 0x00   | 8    | `original` | the block of the volume that it is about                        |
//! | 0x08   | 8    | `relative` | of a forwarder: where the bytes are found instead               |
//! | 0x10   | 8    | `place`    | where on the volume with the stores its bytes are kept          |
//! | 0x18   | 4    | `flags`    | 1: forwarder, 2: overlay, 4: not used                           |
//! | 0x1C   | 4    | `sectors`  | of an overlay: a bit for each sector of 512 bytes that it has   |
//!
//! A descriptor counts in the order of the list. A *forwarder* says that the bytes were moved to another
//! place of the volume, and are found there as of the next newer copy; once that place is written to, the
//! next descriptor about it is about the block that was moved. An *overlay* was written to the copy itself
//! after it had been taken, and counts for that copy alone.
//!
//! A bit of the *bitmap* is set for a block of which nothing is kept: nothing used it when the copy was taken,
//! or it was left out of the copy later, as it is of copies for System Restore since Windows 8. Its bytes are
//! unknown, unless the copy before needed them, whose bitmap is the previous one.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ByteReader, error_chain,
};

use super::block::{BLOCK, Chain, RecordType};
use super::catalog::StoreEntry;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 32;

/// LIMIT: descriptors of one store; 128 GiB that were written since. What is kept of them stays below
/// 256 MB while the list is read.
const MAX_DESCRIPTORS: usize = 8 << 20;

/// LIMIT: runs of bits of a bitmap that are kept: 32 MiB.
const MAX_MARKED: usize = 4 << 20;

/// Where the bytes of a block are, as its store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// From this byte on, on the volume with the stores.
    At(u64),
    /// In this block of the volume, as the next newer copy has it.
    Moved(u32),
    /// The list contradicts itself about it.
    Unclear,
}

/// Blocks that are kept together, by their number on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    block: u32,
    count: u32,
    /// Of the first one.
    kept: Kept,
}

/// Sectors that were written to the copy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) block: u32,
    /// A bit for each sector.
    pub(super) sectors: u32,
    /// Where the block with them lies, on the volume with the stores; `None` if that is told differently.
    pub(super) place: Option<u64>,
}

/// The block list, in the order of the blocks; a block is in one run at most.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    runs: Vec<Run>,
    overlays: Vec<Overlay>,
}

/// What is read once, and why it could not be.
type Once<T> = OnceLock<Result<T, (BlockErrorKind, String)>>;

fn once<T>(cell: &Once<T>, read: impl FnOnce() -> BlockResult<T>) -> BlockResult<&T> {
    let read = || read().map_err(|error| (error.kind(), error_chain(&error)));
    match cell.get_or_init(read) {
        Ok(value) => Ok(value),
        Err((kind, line)) => Err(BlockError::new(*kind, line.clone())),
    }
}

/// A store, read when it is first asked.
pub(super) struct Store {
    /// The volume that it lies on.
    pub(super) device: Arc<dyn BlockDevice>,
    entry: StoreEntry,
    table: Once<Table>,
    marked: Once<Vec<(u32, u32)>>,
}

impl Store {
    pub(super) fn new(device: Arc<dyn BlockDevice>, entry: StoreEntry) -> Self {
        Self { device, entry, table: OnceLock::new(), marked: OnceLock::new() }
    }

    /// What it has kept.
    ///
    /// # Errors
    /// If a part of the list cannot be read: the rest could say anything.
    pub(super) fn table(&self) -> BlockResult<&Table> {
        once(&self.table, || Table::read(&*self.device, self.entry.table))
    }

    /// Where in `blocks` of the volume nothing is kept: first blocks, and those behind the last ones.
    ///
    /// # Errors
    /// If a bitmap cannot be read, or ends before the volume does.
    pub(super) fn marked(&self, blocks: u32) -> BlockResult<&[(u32, u32)]> {
        once(&self.marked, || self.read_marked(blocks)).map(Vec::as_slice)
    }

    fn read_marked(&self, blocks: u32) -> BlockResult<Vec<(u32, u32)>> {
        let chain = |first| Chain::new(&*self.device, RecordType::Bitmap, first);
        let (mut current, mut previous) = (chain(self.entry.bitmap), chain(self.entry.previous));
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut block = 0_u32;
        while block < blocks {
            let Some((_, bits)) = current.next()? else {
                return Err(BlockError::corrupt("bitmap of a shadow copy is too short", 0, 0));
            };
            // Of what is behind its end the copy before knew nothing.
            let before = previous.next()?.map(|(_, bits)| bits);
            for (index, byte) in bits.iter().enumerate() {
                let needed = before.and_then(|before| before.get(index)).map_or(0, |byte| !byte);
                let byte = byte & !needed;
                for bit in 0..8 {
                    if block < blocks && byte & (1 << bit) != 0 {
                        mark(&mut runs, block)?;
                    }
                    block = block.saturating_add(1);
                }
            }
        }
        Ok(runs)
    }
}

fn mark(runs: &mut Vec<(u32, u32)>, block: u32) -> BlockResult<()> {
    if let Some((_, end)) = runs.last_mut()
        && *end == block
    {
        *end = block.saturating_add(1);
        return Ok(());
    }
    if runs.len() >= MAX_MARKED {
        let line = format!("bitmap of a shadow copy has more than {MAX_MARKED} runs");
        return Err(BlockError::unsupported(line));
    }
    runs.push((block, block.saturating_add(1)));
    Ok(())
}

/// The number of the block that begins at `place` of a volume.
fn number(place: u64, what: &str, at: u64) -> BlockResult<u32> {
    let number = place.is_multiple_of(BLOCK).then_some(place / BLOCK);
    number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
        let line =
            format!("a descriptor of a shadow copy has {what} {place:#x}, which is no block");
        BlockError::corrupt(line, at, 0)
    })
}

impl Table {
    /// The table whose list begins at `first` of `device`.
    fn read(device: &dyn BlockDevice, first: u64) -> BlockResult<Self> {
        let mut chain = Chain::new(device, RecordType::Table, first);
        let mut kept: Vec<(u32, Kept)> = Vec::new();
        let mut overlays: Vec<Overlay> = Vec::new();
        // By the block that they lead to: the block that was moved there.
        let mut moved: HashMap<u32, u32> = HashMap::new();
        while let Some((at, descriptors)) = chain.next()? {
            for (index, bytes) in descriptors.chunks_exact(DESCRIPTOR).enumerate() {
                if bytes.iter().all(|byte| *byte == 0) {
                    continue;
                }
                let inside = volfold_block::byte_count(index.saturating_mul(DESCRIPTOR));
                let at = at.saturating_add(inside);
                let mut reader = ByteReader::new("descriptor of a shadow copy", bytes, at);
                let (original, relative) = (reader.u64_le()?, reader.u64_le()?);
                let (place, flags) = (reader.u64_le()?, reader.u32_le()?);
                if flags & 4 != 0 {
                    continue;
                }
                if kept.len().max(overlays.len()) >= MAX_DESCRIPTORS {
                    let line = format!("a shadow copy has more than {MAX_DESCRIPTORS} blocks");
                    return Err(BlockError::unsupported(line));
                }
                let mut block = number(original, "the place", at)?;
                if flags & 2 != 0 {
                    let sectors = reader.u32_le()?;
                    overlays.push(Overlay { block, sectors, place: Some(place) });
                    continue;
                }
                block = moved.remove(&block).unwrap_or(block);
                if flags & 1 == 0 {
                    // The boot sector is no place for a store.
                    kept.push((block, if place == 0 { Kept::Unclear } else { Kept::At(place) }));
                    continue;
                }
                let target = number(relative, "the target", at)?;
                let is_itself = target == block;
                kept.push((block, if is_itself { Kept::Unclear } else { Kept::Moved(target) }));
                if !is_itself {
                    moved.insert(target, block);
                }
            }
        }
        Ok(Self { runs: runs(kept), overlays: joined(overlays) })
    }

    /// What is kept of `block`, and how many blocks from there on are kept together; for a block of which
    /// nothing is kept, how many there are of that kind.
    pub(super) fn find(&self, block: u32) -> (Option<Kept>, u32) {
        let after = self.runs.partition_point(|run| run.block <= block);
        let run = after.checked_sub(1).and_then(|before| self.runs.get(before));
        if let Some(run) = run
            && let Some(ahead) = block.checked_sub(run.block).filter(|ahead| *ahead < run.count)
        {
            let kept = match run.kept {
                Kept::At(place) => {
                    Kept::At(place.saturating_add(u64::from(ahead).saturating_mul(BLOCK)))
                }
                // They have no run of several blocks.
                other => other,
            };
            return (Some(kept), run.count.saturating_sub(ahead));
        }
        let next = self.runs.get(after).map_or(u32::MAX, |next| next.block);
        (None, next.saturating_sub(block))
    }

    /// The overlay on `block`, or how many blocks have none.
    pub(super) fn overlay(&self, block: u32) -> Result<&Overlay, u32> {
        let at = self.overlays.partition_point(|overlay| overlay.block < block);
        match self.overlays.get(at) {
            Some(overlay) if overlay.block == block => Ok(overlay),
            Some(next) => Err(next.block.saturating_sub(block)),
            None => Err(u32::MAX.saturating_sub(block)),
        }
    }
}

/// The runs of `kept`, of which the last word about a block counts.
fn runs(mut kept: Vec<(u32, Kept)>) -> Vec<Run> {
    // Stable: what was said of one block stays in its order.
    kept.sort_by_key(|(block, _)| *block);
    let mut runs: Vec<Run> = Vec::new();
    for (index, (block, kept_at)) in kept.iter().enumerate() {
        if kept.get(index.saturating_add(1)).is_some_and(|(next, _)| next == block) {
            continue;
        }
        if let Some(Run { block: first, count, kept: Kept::At(place) }) = runs.last_mut()
            && first.checked_add(*count) == Some(*block)
            && let Kept::At(next) = kept_at
            && place.checked_add(u64::from(*count).saturating_mul(BLOCK)) == Some(*next)
        {
            *count = count.saturating_add(1);
            continue;
        }
        runs.push(Run { block: *block, count: 1, kept: *kept_at });
    }
    runs.shrink_to_fit();
    runs
}

/// One overlay for each block, with the sectors of all.
fn joined(mut overlays: Vec<Overlay>) -> Vec<Overlay> {
    overlays.sort_by_key(|overlay| overlay.block);
    overlays.dedup_by(|later, first| {
        let is_same = later.block == first.block;
        if is_same {
            first.sectors |= later.sectors;
            first.place = first.place.filter(|place| later.place == Some(*place));
        }
        is_same
    });
    overlays
}

/// How many blocks `bytes` of a volume are, with one that is cut off.
pub(super) fn blocks(bytes: u64) -> BlockResult<u32> {
    u32::try_from(bytes.div_ceil(BLOCK)).map_err(|_| {
        BlockError::unsupported(format!("shadow copies of a volume of {bytes} bytes are not read"))
    })
}
