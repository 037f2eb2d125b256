//! Images that were compressed as a whole (`disk.img.xz`, `disk.qcow2.zst`), read in place: their
//! format is asked for after.
//!
//! What can be read so has been compressed in blocks, each of which can be decoded alone. A block is
//! decoded once for all reads near it: the last ones are kept whole, and parts of them in the cache.

mod block;
mod xz;
mod zstd;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, CachePool, Map, Mapped, Piece, Place, bytes_to_index,
    guard,
};

use self::block::Block;
use crate::locator::Located;

/// LIMIT: bytes of whole blocks that are kept.
const MAX_KEPT: usize = 96 << 20;

/// LIMIT: whole blocks that are kept, however small.
const MAX_SLOTS: usize = 256;

/// What is decoded at once for the cache.
const PART: u64 = 1 << 20;

/// How a file was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Xz,
    Zstd,
}

impl Codec {
    /// The one that the name and the first bytes of a file agree on.
    fn of(path: &Path, file: &dyn BlockDevice) -> BlockResult<Option<Self>> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let (codec, magic): (Self, &[u8]) = match extension.to_ascii_lowercase().as_str() {
            "xz" => (Self::Xz, xz::MAGIC),
            "zst" | "zstd" => (Self::Zstd, zstd::MAGIC),
            _ => return Ok(None),
        };
        let mut first = vec![0; magic.len()];
        if file.size() < volfold_block::byte_count(first.len()) {
            return Ok(None);
        }
        file.read_at(0, &mut first)?;
        // Zstandard may begin with a frame that is to be skipped.
        let is_it = first == magic || (codec == Self::Zstd && zstd::is_skippable(&first));
        Ok(is_it.then_some(codec))
    }

    fn blocks(self, file: &dyn BlockDevice) -> BlockResult<Vec<Block>> {
        match self {
            Self::Xz => xz::blocks(file),
            Self::Zstd => zstd::blocks(file),
        }
    }

    /// Fills `out` with the block in `packed`, which began at `at`.
    fn decode(self, packed: &[u8], at: u64, out: &mut [u8]) -> BlockResult<()> {
        match self {
            Self::Xz => guard("a block of xz", || xz::decode(packed, at, out)),
            Self::Zstd => zstd::decode(packed, at, out),
        }
    }
}

/// The file that was compressed into `file`, which lies at `path`, and its own path; both as they are
/// where `file` was not compressed in a way that is read.
///
/// # Errors
/// `Corrupt` if the tables of the compressed file are damaged, `Unsupported` if it cannot be read in
/// place; then with how to unpack it.
pub fn unpack(
    file: Located,
    path: &Path,
    pool: &Arc<CachePool>,
) -> BlockResult<(Located, Option<PathBuf>)> {
    let Some(codec) = Codec::of(path, &*file.device)? else { return Ok((file, None)) };
    let blocks = codec.blocks(&*file.device)?;
    let size = blocks.last().map_or(0, |last| last.start.saturating_add(last.size));
    let packed = Packed {
        file: Arc::clone(&file.device),
        codec,
        blocks,
        size,
        kept: Mutex::new(Vec::new()),
    };
    let device = Arc::new(Mapped::cached(packed, pool));
    Ok((Located { device, ..file }, Some(path.with_extension(""))))
}

/// A block that is decoded when it is first asked for; others wait meanwhile.
type Slot = Arc<Mutex<Option<Arc<[u8]>>>>;

/// A compressed file.
struct Packed {
    file: Arc<dyn BlockDevice>,
    codec: Codec,
    /// One after the other, none of them empty.
    blocks: Vec<Block>,
    size: u64,
    /// The last blocks that were asked for, the newest first.
    kept: Mutex<Vec<(usize, Slot)>>,
}

impl Packed {
    /// The number of the block that has the byte at `offset`, and the block.
    fn block(&self, offset: u64) -> BlockResult<(usize, Block)> {
        let after = self.blocks.partition_point(|block| block.start <= offset);
        let index = after.checked_sub(1);
        let found = index.and_then(|index| Some((index, *self.blocks.get(index)?)));
        found.ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))
    }

    /// The place where block number `index` is kept.
    fn slot(&self, index: usize) -> Slot {
        let mut kept = self.kept.lock();
        let found = kept.iter().position(|(number, _)| *number == index);
        let one = match found {
            Some(place) => kept.remove(place),
            None => (index, Slot::default()),
        };
        let slot = Arc::clone(&one.1);
        kept.insert(0, one);
        let size = |number: &usize| {
            let block = self.blocks.get(*number);
            block.and_then(|block| bytes_to_index(block.size).ok()).unwrap_or(0)
        };
        kept.truncate(MAX_SLOTS);
        let mut sum: usize = 0;
        kept.retain(|(number, _)| {
            sum = sum.saturating_add(size(number));
            *number == index || sum <= MAX_KEPT
        });
        slot
    }

    /// The bytes of block number `index`.
    fn whole(&self, index: usize, block: Block) -> BlockResult<Arc<[u8]>> {
        let slot = self.slot(index);
        let mut kept = slot.lock();
        if let Some(bytes) = &*kept {
            return Ok(Arc::clone(bytes));
        }
        let mut packed = vec![0; bytes_to_index(block.packed)?];
        self.file.read_at(block.at, &mut packed)?;
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, bytes_to_index(block.size)?).collect();
        let out = Arc::make_mut(&mut bytes);
        if self.codec == Codec::Xz {
            packed = xz::stream_of(&packed, block.flags);
        }
        self.codec.decode(&packed, block.at, out)?;
        *kept = Some(Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Where the part of a block that has the byte at `offset` begins, and its size.
    fn part(&self, offset: u64) -> BlockResult<(u64, u64)> {
        let (_, block) = self.block(offset)?;
        let within = offset.saturating_sub(block.start);
        let start = within.checked_div(PART).unwrap_or(0).saturating_mul(PART);
        let size = PART.min(block.size.saturating_sub(start));
        Ok((block.start.saturating_add(start), size))
    }
}

impl Map for Packed {
    fn size(&self) -> u64 {
        self.size
    }

    /// A unit is known by where it begins.
    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let (unit, size) = self.part(offset)?;
        let skip = offset.saturating_sub(unit);
        Ok(Piece::new(Place::Decode { unit, skip }, size.saturating_sub(skip)))
    }

    fn unit_size(&self, unit: u64) -> usize {
        self.part(unit).ok().and_then(|(_, size)| usize::try_from(size).ok()).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        let (index, block) = self.block(unit)?;
        let whole = self.whole(index, block)?;
        let start = bytes_to_index(unit.saturating_sub(block.start))?;
        let part = start.checked_add(out.len()).and_then(|end| whole.get(start..end));
        let part = part.ok_or_else(|| BlockError::out_of_range(unit, 1, self.size))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn decodes_slowly(&self) -> bool {
        true
    }
}
