//! Images that were compressed as a whole (`disk.img.xz`, `disk.qcow2.zst`), read in place: their
//! format is asked for after.
//!
//! What can be read so has been compressed in blocks, each of which can be decoded alone. xz and
//! Zstandard tell where these are; for gzip and bzip2 the whole file is decoded once when it is opened.
//! A block is decoded once for all reads near it: the last ones are kept whole, and parts of them in the
//! cache.

mod block;
mod bzip2;
mod gzip;
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
use self::gzip::Point;
use crate::locator::Located;
use crate::registry::COMPRESSIONS;

/// LIMIT: bytes of whole blocks that are kept.
const MAX_KEPT: usize = 96 << 20;

/// LIMIT: whole blocks that are kept, however small.
const MAX_SLOTS: usize = 256;

/// What is decoded at once for the cache.
const PART: u64 = 1 << 20;

/// Bytes of a compressed file that take no time to unpack.
const SMALL: u64 = 1 << 20;

/// How a file was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Bzip2,
    Gzip,
    Xz,
    Zstd,
}

impl Codec {
    /// The one that the name and the first bytes of a file agree on.
    fn of(path: &Path, file: &dyn BlockDevice) -> BlockResult<Option<Self>> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let extension = extension.to_ascii_lowercase();
        let mut known = COMPRESSIONS.iter();
        let known = known.find(|it| it.extensions.contains(&extension.as_str()));
        let (codec, magic): (Self, &[u8]) = match known.map(|it| it.id) {
            Some("bzip2") => (Self::Bzip2, bzip2::MAGIC),
            Some("gzip") => (Self::Gzip, gzip::MAGIC),
            Some("xz") => (Self::Xz, xz::MAGIC),
            Some("zstd") => (Self::Zstd, zstd::MAGIC),
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

    /// What a file begins with that has to be unpacked to its end before it is read; nothing if
    /// that takes no time.
    fn start(self, file: &dyn BlockDevice) -> BlockResult<Vec<u8>> {
        match self {
            Self::Gzip if file.size() > SMALL => guard("a gzip file", || gzip::start(file)),
            Self::Bzip2 if file.size() > SMALL => guard("a bzip2 file", || bzip2::start(file)),
            _ => Ok(Vec::new()),
        }
    }

    /// The blocks of `file`; for gzip with the points where they begin.
    fn blocks(self, file: &dyn BlockDevice) -> BlockResult<(Vec<Block>, Vec<Point>)> {
        let without_points = |blocks| (blocks, Vec::new());
        match self {
            Self::Gzip => guard("a gzip file", || gzip::blocks(file)),
            Self::Bzip2 => bzip2::blocks(file).map(without_points),
            Self::Xz => xz::blocks(file).map(without_points),
            Self::Zstd => zstd::blocks(file).map(without_points),
        }
    }

    /// Fills `out` with `block`, which has the bytes `packed`.
    fn decode(self, packed: &[u8], block: Block, out: &mut [u8]) -> BlockResult<()> {
        match self {
            // Its blocks have points.
            Self::Gzip => Err(BlockError::unsupported("gzip block without its point")),
            Self::Bzip2 => guard("a block of bzip2", || bzip2::decode(packed, block, out)),
            Self::Xz => guard("a block of xz", || xz::decode(packed, block, out)),
            Self::Zstd => zstd::decode(packed, block.at, out),
        }
    }
}

/// The file that was compressed into `file`, which lies at `path`, and its own path; both as they are
/// where `file` was not compressed in a way that is read.
///
/// A gzip or bzip2 file is unpacked to its end once, which takes as long as its own program takes.
/// Before that `is_worth_it` is asked about its first bytes; what it refuses is not unpacked.
///
/// # Errors
/// `Corrupt` if the compressed file is damaged, as far as that shows before it is read; `Unsupported`
/// if it cannot be read in place, then with how to unpack it; what `is_worth_it` says.
pub fn unpack(
    file: Located,
    path: &Path,
    pool: &Arc<CachePool>,
    is_worth_it: &dyn Fn(&[u8]) -> BlockResult<()>,
) -> BlockResult<(Located, Option<PathBuf>)> {
    let Some(codec) = Codec::of(path, &*file.device)? else { return Ok((file, None)) };
    is_worth_it(&codec.start(&*file.device)?)?;
    let (blocks, points) = codec.blocks(&*file.device)?;
    let size = blocks.last().map_or(0, |last| last.start.saturating_add(last.size));
    let packed = Packed {
        file: Arc::clone(&file.device),
        codec,
        blocks,
        points,
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
    /// Where each of them begins, if it is gzip.
    points: Vec<Point>,
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
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, bytes_to_index(block.size)?).collect();
        let out = Arc::make_mut(&mut bytes);
        if let Some(point) = self.points.get(index) {
            guard("a gzip file", || gzip::decode(&*self.file, block, point, out))?;
        } else {
            let mut packed = vec![0; bytes_to_index(block.packed)?];
            self.file.read_at(block.at, &mut packed)?;
            self.codec.decode(&packed, block, out)?;
        }
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
