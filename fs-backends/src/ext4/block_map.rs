//! The block map: where the blocks of a file of ext2 and ext3 lie.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter
//! "Direct/Indirect Block Addressing". Little-endian block numbers of 32 bits; 0 is a hole.
//!
//! | entry of the inode | maps                                        |
//! |--------------------|---------------------------------------------|
//! | 0 to 11            | a block of the file each                    |
//! | 12                 | a block of block numbers                    |
//! | 13                 | a block of numbers of such blocks           |
//! | 14                 | and one level more                          |

use zerocopy::byteorder::{LE, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::damage::ok_unless_corrupt;
use super::inode::Inode;
use super::runs::{Blocks, Runs, Sink};
use super::volume::Volume;
use crate::error::{FsError, FsResult};

/// LIMIT: the bytes of the map of one file; with blocks of 4 KiB it reaches to a terabyte.
const MAX_BYTES: u64 = 1 << 30;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawMap {
    direct: [U32<LE>; 12],
    indirect: [U32<LE>; 3],
}
const _: () = assert!(size_of::<RawMap>() == 60);

/// Reads the map of `inode` as far as its size reaches. A damaged block of the map costs the
/// blocks that it maps.
///
/// # Errors
/// `Unsupported` if the map is larger than this build follows.
pub(super) fn read<'a>(volume: &'a Volume, inode: &Inode) -> FsResult<Runs<'a>> {
    let mut runs = Runs::new(volume, inode.size);
    let end = inode.size.div_ceil(volume.superblock.block_size.get());
    walk(volume, inode, end, &mut runs)?;
    Ok(runs)
}

/// Gives the map of the blocks of `inode` below `end` to `sink`.
///
/// # Errors
/// As [`read`], and what `sink` says.
pub(super) fn walk(volume: &Volume, inode: &Inode, end: u64, sink: &mut dyn Sink) -> FsResult<()> {
    let (raw, _) = RawMap::ref_from_prefix(&inode.block)
        .map_err(|_| FsError::corrupt("block map is cut short"))?;
    let mut walk = Walk {
        volume,
        sink,
        next: 0,
        end,
        per_block: volume.superblock.block_size.get() / 4,
        // The blocks of a sound map are different ones.
        budget: volume.superblock.blocks_count.min(MAX_BYTES / volume.superblock.block_size),
    };
    for number in &raw.direct {
        walk.entry(number.get(), 0)?;
    }
    for (number, level) in raw.indirect.iter().zip(1..) {
        walk.entry(number.get(), level)?;
    }
    Ok(())
}

struct Walk<'a> {
    volume: &'a Volume,
    sink: &'a mut dyn Sink,
    /// The block of the file that the next entry maps first.
    next: u64,
    /// The block after the last of the file.
    end: u64,
    per_block: u64,
    budget: u64,
}

impl Walk<'_> {
    /// Takes in the entry `number`; `level` counts the blocks of numbers between it and the data.
    fn entry(&mut self, number: u32, level: u32) -> FsResult<()> {
        if self.next >= self.end {
            return Ok(());
        }
        let start = self.next;
        let span = self.per_block.saturating_pow(level);
        let number = u64::from(number);
        if number != 0 {
            if level == 0 {
                self.sink.push(start, 1, Blocks::At(number))?;
            } else if !ok_unless_corrupt(self.block(number, level))? {
                self.sink.push(start, span, Blocks::Damaged)?;
            }
        }
        self.next = start.saturating_add(span);
        Ok(())
    }

    /// # Errors
    /// `Corrupt` if the block cannot be read; then nothing of it was taken in.
    fn block(&mut self, number: u64, level: u32) -> FsResult<()> {
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or_else(|| FsError::unsupported("block map has too many blocks"))?;
        let mut bytes = self.volume.block_buffer()?;
        self.volume.read_own_block(number, &mut bytes)?;
        self.sink.map_block(number);
        let numbers = <[U32<LE>]>::ref_from_bytes(&bytes)
            .map_err(|_| FsError::corrupt("block map is cut short"))?;
        for number in numbers {
            self.entry(number.get(), level.saturating_sub(1))?;
        }
        Ok(())
    }
}
