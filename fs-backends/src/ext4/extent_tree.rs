//! The extent tree: where the blocks of a file of ext4 lie.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Extent
//! Tree". Little-endian. The root is in the inode; every other node fills a block.
//!
//! | offset | size | field      | rule                                                      |
//! |--------|------|------------|-----------------------------------------------------------|
//! | 0x00   | 2    | `magic`    | 0xF30A                                                    |
//! | 0x02   | 2    | `entries`  | at most `max`                                             |
//! | 0x04   | 2    | `max`      | as many entries as fit, at most                           |
//! | 0x06   | 2    | `depth`    | 0 to 5; one less than that of the node above              |
//! | 0x08   | 4    | generation | not looked at                                             |
//!
//! Then `max` entries of 12 bytes. With depth 0 they are extents:
//!
//! | offset | size | field      | rule                                                      |
//! |--------|------|------------|-----------------------------------------------------------|
//! | 0x00   | 4    | `block`    | first block in the file, ascending                        |
//! | 0x04   | 2    | `length`   | 1 to 32768; above, 32768 too many and not yet written     |
//! | 0x06   | 2    | `start_hi` | first block in the file system                            |
//! | 0x08   | 4    | `start_lo` |                                                           |
//!
//! With a depth above 0 they are indexes:
//!
//! | offset | size | field      | rule                                                      |
//! |--------|------|------------|-----------------------------------------------------------|
//! | 0x00   | 4    | `block`    | first block in the file that the node below maps          |
//! | 0x04   | 4    | `leaf_lo`  | the block of the node below                               |
//! | 0x08   | 2    | `leaf_hi`  |                                                           |
//!
//! With metadata_csum a CRC-32C of all before it follows the last possible entry of a block.

use std::mem::offset_of;
use std::ops::Range;

use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::damage::ok_unless_corrupt;
use super::features::RoCompat;
use super::inode::{ALL_BLOCKS, Flags, Inode};
use super::runs::{Blocks, Runs, Sink};
use super::volume::Volume;
use crate::error::{FsError, FsResult};

const MAGIC: u16 = 0xF30A;
/// LIMIT: the specification's bound is 5.
///
/// QUIRK: libext2fs (e2fsprogs 1.42) could leave deeper trees than needed, up to 7, and e2fsck
/// calls them clean.
const MAX_DEPTH: u16 = 8;
/// LIMIT: a longer extent is one that was reserved and not yet written.
const MAX_LENGTH: u16 = 32768;
/// LIMIT: the bytes of the tree of one file, enough for 22 million extents.
const MAX_BYTES: u64 = 256 << 20;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: U16<LE>,
    entries: U16<LE>,
    max: U16<LE>,
    depth: U16<LE>,
    generation: U32<LE>,
}
const _: () = assert!(offset_of!(RawHeader, depth) == 0x06);
const _: () = assert!(size_of::<RawHeader>() == 0x0C);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawExtent {
    block: U32<LE>,
    length: U16<LE>,
    start_hi: U16<LE>,
    start_lo: U32<LE>,
}
const _: () = assert!(offset_of!(RawExtent, start_lo) == 0x08);
const _: () = assert!(size_of::<RawExtent>() == 0x0C);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawIndex {
    block: U32<LE>,
    leaf_lo: U32<LE>,
    leaf_hi: U16<LE>,
    unused: U16<LE>,
}
const _: () = assert!(offset_of!(RawIndex, leaf_hi) == 0x08);
const _: () = assert!(size_of::<RawIndex>() == 0x0C);

/// Reads the whole tree of `inode`. A damaged node costs the blocks that it maps.
///
/// # Errors
/// `Corrupt` if the root is damaged, `Unsupported` if the tree is larger than this build follows.
pub(super) fn read<'a>(volume: &'a Volume, inode: &Inode) -> FsResult<Runs<'a>> {
    let mut runs = Runs::new(volume, inode.size);
    walk(volume, inode, &mut runs)?;
    Ok(runs)
}

/// Gives the whole tree of `inode` to `sink`.
///
/// # Errors
/// As [`read`], and what `sink` says.
pub(super) fn walk(volume: &Volume, inode: &Inode, sink: &mut dyn Sink) -> FsResult<()> {
    // The nodes of a sound tree are blocks of their own.
    let budget = volume.superblock.blocks_count.min(MAX_BYTES / volume.superblock.block_size);
    // A value of an attribute has 64 KiB at most, and each read of one walks its tree.
    let is_value = inode.flags.has(Flags::EA_INODE);
    let budget = if is_value { budget.min(MAX_NODES_OF_VALUE) } else { budget };
    let mut walk = Walk { volume, inode, sink, budget };
    walk.node(&inode.block, None, ALL_BLOCKS)
}

/// LIMIT: nodes of the tree of an inode that is the value of an attribute.
const MAX_NODES_OF_VALUE: u64 = 128;

struct Walk<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    sink: &'a mut dyn Sink,
    budget: u64,
}

impl Walk<'_> {
    /// Takes in the node in `bytes`, which maps blocks of `range` alone.
    ///
    /// # Errors
    /// `Corrupt` if the node is damaged; then nothing of it was taken in.
    fn node(&mut self, bytes: &[u8], depth: Option<u16>, range: Range<u64>) -> FsResult<()> {
        let (header, rest) =
            RawHeader::ref_from_prefix(bytes).map_err(|_| damaged("is cut short"))?;
        if header.magic.get() != MAGIC {
            return Err(damaged("has a wrong magic number"));
        }
        let found = header.depth.get();
        if found > MAX_DEPTH || depth.is_some_and(|depth| depth != found) {
            return Err(damaged("has a wrong depth"));
        }
        if header.entries.get() > header.max.get() {
            return Err(damaged("has more entries than room"));
        }
        let count = usize::from(header.entries.get());
        match found.checked_sub(1) {
            None => {
                let (extents, _) = <[RawExtent]>::ref_from_prefix_with_elems(rest, count)
                    .map_err(|_| damaged("has more entries than fit"))?;
                self.leaf(extents, range)
            }
            Some(below) => {
                let (indexes, _) = <[RawIndex]>::ref_from_prefix_with_elems(rest, count)
                    .map_err(|_| damaged("has more entries than fit"))?;
                self.interior(indexes, below, range)
            }
        }
    }

    fn leaf(&mut self, extents: &[RawExtent], range: Range<u64>) -> FsResult<()> {
        let mut next = range.start;
        for extent in extents {
            let start = u64::from(extent.block.get());
            let end = start.checked_add(u64::from(extent.blocks()));
            next = end
                .filter(|end| *end <= range.end && *end > start && start >= next)
                .ok_or_else(|| damaged("has extents out of order"))?;
        }
        for extent in extents {
            let start = (u64::from(extent.start_hi.get()) << 32) | u64::from(extent.start_lo.get());
            let is_written = extent.length.get() <= MAX_LENGTH;
            let blocks = if is_written { Blocks::At(start) } else { Blocks::Unwritten(start) };
            self.sink.push(u64::from(extent.block.get()), u64::from(extent.blocks()), blocks)?;
        }
        Ok(())
    }

    fn interior(&mut self, indexes: &[RawIndex], below: u16, range: Range<u64>) -> FsResult<()> {
        if indexes.is_empty() {
            return Err(damaged("has no entries"));
        }
        let mut next = range.start;
        for index in indexes {
            let start = u64::from(index.block.get());
            if start < next || start >= range.end {
                return Err(damaged("has indexes out of order"));
            }
            next = start.saturating_add(1);
        }
        let ends = indexes.iter().skip(1).map(|index| u64::from(index.block.get()));
        let mut bytes = self.volume.block_buffer()?;
        for (index, end) in indexes.iter().zip(ends.chain([range.end])) {
            let start = u64::from(index.block.get());
            let child = (u64::from(index.leaf_hi.get()) << 32) | u64::from(index.leaf_lo.get());
            let read = self.child(child, &mut bytes, below, start..end);
            if !ok_unless_corrupt(read)? {
                self.sink.push(start, end.saturating_sub(start), Blocks::Damaged)?;
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        block: u64,
        bytes: &mut [u8],
        depth: u16,
        range: Range<u64>,
    ) -> FsResult<()> {
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or_else(|| FsError::unsupported("extent tree has too many blocks"))?;
        let at = self.volume.read_own_block(block, bytes)?;
        self.sink.map_block(block);
        self.check_sum(bytes).map_err(|error| error.at(at))?;
        self.node(bytes, Some(depth), range)
    }

    fn check_sum(&self, bytes: &[u8]) -> FsResult<()> {
        if !self.volume.superblock.features.ro_compat(RoCompat::METADATA_CSUM) {
            return Ok(());
        }
        let (header, _) = RawHeader::ref_from_prefix(bytes).map_err(|_| damaged("is cut short"))?;
        let covered =
            usize::from(header.max.get()).saturating_add(1).saturating_mul(size_of::<RawExtent>());
        let (covered, tail) = bytes
            .split_at_checked(covered)
            .ok_or_else(|| damaged("has more room than its block"))?;
        let stored = tail.first_chunk().ok_or_else(|| damaged("has no room for its checksum"))?;
        if checksum::update(self.inode.checksum_seed, covered) != u32::from_le_bytes(*stored) {
            return Err(damaged("has a bad checksum"));
        }
        Ok(())
    }
}

impl RawExtent {
    fn blocks(&self) -> u16 {
        let length = self.length.get();
        match length.checked_sub(MAX_LENGTH) {
            None | Some(0) => length,
            Some(unwritten) => unwritten,
        }
    }
}

fn damaged(problem: &str) -> FsError {
    FsError::corrupt(format!("extent tree node {problem}"))
}
