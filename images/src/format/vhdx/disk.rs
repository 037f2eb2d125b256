//! The disk in a VHDX: the block allocation table and the sector bitmaps.
//!
//! Specification: MS-VHDX 2.4 and 2.5. Little-endian. The table has 64 bits for each block: a state
//! in the lowest three, and in the highest 44 where the block is in the file, in MiB. After the
//! entries of each chunk of blocks there is one for the chunk's sector bitmap, which has a bit for
//! each of its 2^23 sectors, and 1 MiB.
//!
//! | state | block             | read as                                                    |
//! |-------|-------------------|------------------------------------------------------------|
//! | 0     | not present       | zeros; in a snapshot what the parent has                   |
//! | 1     | undefined         | zeros                                                      |
//! | 2     | zero              | zeros                                                      |
//! | 3     | unmapped          | zeros                                                      |
//! | 6     | fully present     | what is there                                              |
//! | 7     | partially present | by the bitmap (state 6): what is there, or the parent's    |

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Map, Piece, Place, Span};

use super::header::MIB;
use super::metadata::Metadata;
use super::region::Regions;
use crate::bits::{BitOrder, bit_run};
use crate::context::Backing;
use crate::table::{BlockPlace, MAX_LOOK, Tables, alike, blocks_to_look};

/// The sectors that one bitmap is about, as a power of two.
const CHUNK_SECTORS_SHIFT: u32 = 23;

/// The state of a bitmap that is there.
const BITMAP_PRESENT: u64 = 6;

/// The virtual disk.
pub(super) struct VhdxDisk {
    pub(super) file: Arc<dyn BlockDevice>,
    pub(super) tables: Tables,
    pub(super) regions: Regions,
    pub(super) metadata: Metadata,
    pub(super) below: Backing,
}

/// What an entry of the table says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// All of it lies alike.
    Whole(BlockPlace),
    /// Sectors of it are at this place of the file.
    Partial(u64),
    Impossible(&'static str),
}

impl VhdxDisk {
    /// Whether the table is there, as far as the disk needs it.
    ///
    /// # Errors
    /// `Corrupt` if it is not.
    pub(super) fn check(&self) -> BlockResult<()> {
        let bat = self.regions.bat;
        let blocks = self.metadata.size.div_ceil(self.metadata.block_size);
        let last = blocks.saturating_sub(1);
        // Where there are bitmaps that of the last chunk comes last.
        let last = if self.below.is_there() {
            self.bitmap_index(last >> self.chunk_shift())
        } else {
            last.saturating_add(last >> self.chunk_shift())
        };
        let needed = last.saturating_add(1).saturating_mul(8);
        let end = bat.start().saturating_add(needed);
        if needed > bat.length() || end > self.file.size() {
            let line = format!(
                "VHDX block allocation table has {} bytes, and the disk needs {needed}",
                bat.length().min(self.file.size().saturating_sub(bat.start()))
            );
            return Err(BlockError::corrupt(line, bat.start(), 0));
        }
        Ok(())
    }

    /// The blocks of a chunk, as a power of two.
    fn chunk_shift(&self) -> u32 {
        let sector = self.metadata.sector_size.trailing_zeros();
        let chunk = CHUNK_SECTORS_SHIFT.saturating_add(sector);
        chunk.saturating_sub(self.metadata.block_size.trailing_zeros())
    }

    /// The number of the entry of the bitmap of `chunk`.
    fn bitmap_index(&self, chunk: u64) -> u64 {
        // A disk has at most 2^26 blocks.
        (chunk.saturating_add(1) << self.chunk_shift()).saturating_add(chunk)
    }

    /// What `entry` says.
    fn block(&self, entry: u64) -> Block {
        let at = entry & !(MIB.saturating_sub(1));
        let is_possible = || {
            Span::new(at, self.metadata.block_size).is_some_and(|span| !self.regions.overlap(span))
        };
        match entry & 7 {
            0 if self.below.is_there() => Block::Whole(BlockPlace::Hole),
            // The specification allows any bytes for 1, those that were there for 3, and zeros.
            0..=3 => Block::Whole(BlockPlace::Zero),
            6 | 7 if !is_possible() => {
                Block::Impossible("VHDX block lies in the header or a region")
            }
            6 => Block::Whole(BlockPlace::Stored(at)),
            7 if self.below.is_there() => Block::Partial(at),
            7 => Block::Impossible("VHDX block is partially present, and there is no parent"),
            _ => Block::Impossible("VHDX block has an unknown state"),
        }
    }

    /// The `length` bytes at `at` of the file, as far as they are there.
    fn stored(&self, at: u64, length: u64) -> (Place<'_>, u64) {
        match self.file.size().checked_sub(at) {
            // Of a fixed image the host may know holes.
            Some(left @ 1..) if self.metadata.is_fixed => {
                (Place::At(&*self.file, at), length.min(left))
            }
            Some(left @ 1..) => (Place::Stored(&*self.file, at), length.min(left)),
            _ => {
                let sentence = "VHDX block lies past the end of the file";
                (Place::Fail(BlockError::corrupt(sentence, at, 0)), length)
            }
        }
    }

    /// The bytes at `offset` of the disk, which are in the block number `block` that is partially
    /// present at `at`.
    fn partial(&self, at: u64, block: u64, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let Metadata { block_size, sector_size, .. } = self.metadata;
        let skip = offset & block_size.saturating_sub(1);
        let left = block_size.saturating_sub(skip);
        let chunk = block >> self.chunk_shift();
        let bat = self.regions.bat.start();
        let entry = self.tables.get(bat, self.bitmap_index(chunk))?;
        let bitmap_at = entry & !(MIB.saturating_sub(1));
        let is_possible = Span::new(bitmap_at, MIB).is_some_and(|span| !self.regions.overlap(span));
        if entry & 7 != BITMAP_PRESENT || !is_possible {
            let sentence = "VHDX block is partially present, and has no sector bitmap";
            return Ok(Piece::new(Place::Fail(BlockError::corrupt(sentence, at, 0)), left));
        }
        let (shift, sector_size) = (sector_size.trailing_zeros(), u64::from(sector_size));
        let within = skip & sector_size.saturating_sub(1);
        let sectors = wanted.min(left).saturating_add(within).div_ceil(sector_size);
        let chunk_sectors: u64 = 1 << CHUNK_SECTORS_SHIFT;
        let sector = (offset >> shift) & chunk_sectors.saturating_sub(1);
        let order = BitOrder::LowFirst;
        let (is_here, run) = bit_run(self.tables.file(), bitmap_at, order, sector, sectors)?;
        let length = run.saturating_mul(sector_size).saturating_sub(within).min(left);
        let (place, length) = if is_here {
            self.stored(at.saturating_add(skip), length)
        } else {
            self.below.place(offset, length)
        };
        Ok(Piece::new(place, length))
    }
}

impl Map for VhdxDisk {
    fn size(&self) -> u64 {
        self.metadata.size
    }

    fn sector_size(&self) -> u32 {
        self.metadata.sector_size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let block_size = self.metadata.block_size;
        let block = offset >> block_size.trailing_zeros();
        let skip = offset & block_size.saturating_sub(1);
        let (chunk, chunk_blocks) = (block >> self.chunk_shift(), 1_u64 << self.chunk_shift());
        // Entries of one chunk follow each other.
        let in_chunk = chunk_blocks.saturating_sub(block & chunk_blocks.saturating_sub(1));
        let in_disk = self.metadata.size.div_ceil(block_size).saturating_sub(block);
        let left = usize::try_from(in_chunk.min(in_disk)).unwrap_or(MAX_LOOK);
        let count = blocks_to_look(wanted, skip, block_size).min(left);
        let mut entries = [0; MAX_LOOK];
        let entries = entries.get_mut(..count).unwrap_or_default();
        self.tables.fill(self.regions.bat.start(), block.saturating_add(chunk), entries)?;
        let blocks = entries.iter().map(|entry| self.block(*entry));
        let whole = blocks.map_while(|block| match block {
            Block::Whole(place) => Some(place),
            _ => None,
        });
        let count = alike(whole, block_size).max(1);
        let length = count.saturating_mul(block_size).saturating_sub(skip);
        let first = entries.first().map_or(Block::Whole(BlockPlace::Zero), |one| self.block(*one));
        let (place, length) = match first {
            Block::Whole(BlockPlace::Zero) => (Place::Zero, length),
            Block::Whole(BlockPlace::Hole) => self.below.place(offset, length),
            Block::Whole(BlockPlace::Stored(at)) => self.stored(at.saturating_add(skip), length),
            Block::Partial(at) => return self.partial(at, block, offset, wanted),
            Block::Impossible(sentence) => {
                let entry = block.saturating_add(chunk).saturating_mul(8);
                let error = BlockError::corrupt(sentence, self.regions.bat.start(), entry);
                (Place::Fail(error), length)
            }
        };
        Ok(Piece::new(place, length))
    }
}
