//! The group descriptors: where each block group keeps its inodes and its bitmaps.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapters "Block
//! Group Descriptors" and "Meta Block Groups". Little-endian. 32 bytes, with 64bit at least 64.
//!
//! | offset | size | field               | rule                                             |
//! |--------|------|---------------------|--------------------------------------------------|
//! | 0x00   | 4    | `block_bitmap_lo`   | a block of the group, with flex_bg of any        |
//! | 0x04   | 4    | `inode_bitmap_lo`   | the same                                         |
//! | 0x08   | 4    | `inode_table_lo`    | first block of the inode table; the same         |
//! | 0x0C   | 2    | `free_blocks_lo`    | counts clusters with bigalloc                    |
//! | 0x0E   | 2    | `free_inodes_lo`    |                                                  |
//! | 0x12   | 2    | `flags`             | see [`Descriptor`]                               |
//! | 0x18   | 2    | `block_bitmap_sum`  | with metadata_csum, the low half                 |
//! | 0x1A   | 2    | `inode_bitmap_sum`  | the same                                         |
//! | 0x1C   | 2    | `unused_inodes_lo`  | at the end of the table, with checksums          |
//! | 0x1E   | 2    | `checksum`          | CRC-32C, or CRC-16 with only uninit_bg           |
//! | 0x20   | 12   | high halves         | with 64bit: of the three places                  |
//! | 0x2C   | 6    | high halves         | with 64bit: free blocks, free and unused inodes  |
//! | 0x38   | 4    | high halves         | with 64bit: of the two sums                      |
//!
//! The table follows the block of the superblock, and so do its copies in the groups that begin
//! with a backup of the superblock. With meta_bg each block of descriptors lies in the first group
//! of those that it describes, with copies in the second and the last.

use std::mem::offset_of;

use volfold_block::{BlockDevice, bytes_to_index};
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::features::{Incompat, RoCompat};
use super::superblock::Superblock;
use super::system_blocks::SystemBlocks;
use crate::error::{FsError, FsErrorKind, FsResult};

/// Where `checksum` lies in a descriptor.
const CHECKSUM_AT: usize = 0x1E;
/// LIMIT: copies of one block of descriptors that are tried.
const MAX_COPIES: usize = 8;
/// The groups whose copies are tried, as far as they have one.
const COPIES: [u64; 10] = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125];

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDescriptor {
    block_bitmap_lo: U32<LE>,
    inode_bitmap_lo: U32<LE>,
    inode_table_lo: U32<LE>,
    free_blocks_lo: U16<LE>,
    free_inodes_lo: U16<LE>,
    directories_lo: U16<LE>,
    flags: U16<LE>,
    unread_14: [u8; 0x04],
    block_bitmap_sum_lo: U16<LE>,
    inode_bitmap_sum_lo: U16<LE>,
    unused_inodes_lo: U16<LE>,
    checksum: U16<LE>,
}
const _: () = assert!(offset_of!(RawDescriptor, free_blocks_lo) == 0x0C);
const _: () = assert!(offset_of!(RawDescriptor, block_bitmap_sum_lo) == 0x18);
const _: () = assert!(offset_of!(RawDescriptor, checksum) == CHECKSUM_AT);
const _: () = assert!(size_of::<RawDescriptor>() == 0x20);

/// The second half, with 64bit.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHighHalf {
    block_bitmap_hi: U32<LE>,
    inode_bitmap_hi: U32<LE>,
    inode_table_hi: U32<LE>,
    free_blocks_hi: U16<LE>,
    free_inodes_hi: U16<LE>,
    directories_hi: U16<LE>,
    unused_inodes_hi: U16<LE>,
    unread_34: [u8; 0x04],
    block_bitmap_sum_hi: U16<LE>,
    inode_bitmap_sum_hi: U16<LE>,
    unread_3c: [u8; 0x04],
}
const _: () = assert!(offset_of!(RawHighHalf, inode_table_hi) == 0x08);
const _: () = assert!(offset_of!(RawHighHalf, block_bitmap_sum_hi) == 0x18);
const _: () = assert!(size_of::<RawHighHalf>() == 0x20);

/// What a descriptor says of its group; every block that it names is in the file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    /// The first block of the inode table, all of which is in the file system.
    pub(super) inode_table: u64,
    pub(super) free_clusters: u64,
    pub(super) free_inodes: u64,
    /// Inodes at the end of the table that were never used; 0 without checksums.
    pub(super) unused_inodes: u64,
    pub(super) block_bitmap_sum: u32,
    pub(super) inode_bitmap_sum: u32,
    flags: u16,
}

impl Descriptor {
    /// The inode bitmap was never written: no inode is in use.
    pub(super) fn has_no_inodes(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The block bitmap was never written: no block is in use but those of the group itself.
    pub(super) fn has_no_block_bitmap(&self) -> bool {
        self.flags & 2 != 0
    }

    fn parse(superblock: &Superblock, group: u64, bytes: &[u8]) -> Option<Self> {
        let (raw, rest) = RawDescriptor::ref_from_prefix(bytes).ok()?;
        let has_sums = superblock.features.ro_compat(RoCompat::METADATA_CSUM)
            || superblock.features.ro_compat(RoCompat::GDT_CSUM);
        let if_summed = |value: u16| if has_sums { value } else { 0 };
        let mut found = Self {
            block_bitmap: u64::from(raw.block_bitmap_lo.get()),
            inode_bitmap: u64::from(raw.inode_bitmap_lo.get()),
            inode_table: u64::from(raw.inode_table_lo.get()),
            free_clusters: u64::from(raw.free_blocks_lo.get()),
            free_inodes: u64::from(raw.free_inodes_lo.get()),
            unused_inodes: u64::from(if_summed(raw.unused_inodes_lo.get())),
            block_bitmap_sum: u32::from(raw.block_bitmap_sum_lo.get()),
            inode_bitmap_sum: u32::from(raw.inode_bitmap_sum_lo.get()),
            flags: if_summed(raw.flags.get()),
        };
        if superblock.features.incompat(Incompat::BIT64) {
            let (high, _) = RawHighHalf::ref_from_prefix(rest).ok()?;
            found.block_bitmap |= u64::from(high.block_bitmap_hi.get()) << 32;
            found.inode_bitmap |= u64::from(high.inode_bitmap_hi.get()) << 32;
            found.inode_table |= u64::from(high.inode_table_hi.get()) << 32;
            found.free_clusters |= u64::from(high.free_blocks_hi.get()) << 16;
            found.free_inodes |= u64::from(high.free_inodes_hi.get()) << 16;
            found.unused_inodes |= u64::from(if_summed(high.unused_inodes_hi.get())) << 16;
            found.block_bitmap_sum |= u32::from(high.block_bitmap_sum_hi.get()) << 16;
            found.inode_bitmap_sum |= u32::from(high.inode_bitmap_sum_hi.get()) << 16;
        }
        Some(found).filter(|found| found.is_possible(superblock, group))
    }

    /// Whether all that it names lies where a group may keep it.
    fn is_possible(&self, superblock: &Superblock, group: u64) -> bool {
        let (first, end) = if superblock.features.incompat(Incompat::FLEX_BG) {
            (superblock.first_data_block.saturating_add(1), superblock.blocks_count)
        } else {
            let end = superblock.group_start(group.saturating_add(1));
            let start = superblock.group_start(group);
            (start.max(superblock.first_data_block.saturating_add(1)), end)
        };
        let end = end.min(superblock.blocks_count);
        let table_end = self.inode_table.checked_add(superblock.inode_table_blocks());
        let inside = |block: u64| (first..end).contains(&block);
        inside(self.block_bitmap)
            && inside(self.inode_bitmap)
            && inside(self.inode_table)
            && table_end.is_some_and(|table_end| table_end <= end)
    }
}

/// What is known of a group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Group {
    /// Its descriptor is good.
    Good(Descriptor),
    /// The descriptor is bad, and a copy is good.
    FromCopy(Descriptor),
    /// The descriptor has a bad checksum and so have its copies.
    Doubtful(Descriptor),
    /// Neither the descriptor nor a copy can be used.
    Damaged,
}

impl Group {
    /// The descriptor, if it is known to be right.
    pub(super) fn trusted(&self) -> Option<&Descriptor> {
        match self {
            Self::Good(descriptor) | Self::FromCopy(descriptor) => Some(descriptor),
            Self::Doubtful(_) | Self::Damaged => None,
        }
    }
}

/// Where each group keeps its inodes, and what is free.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Per group the first block of its inode table, `None` if the descriptor cannot be trusted.
    inode_tables: Vec<Option<u64>>,
    /// How many descriptors cannot be trusted.
    pub(super) damaged: u64,
    /// How many descriptors were taken from a copy.
    pub(super) from_copies: u64,
    /// Free clusters in all groups.
    pub(super) free_clusters: u64,
    /// Free inodes in all groups.
    pub(super) free_inodes: u64,
    /// The blocks that no file can have.
    pub(super) system: SystemBlocks,
}

impl Groups {
    /// Reads the descriptors of the groups below `end`, to the next whole block. A block of them
    /// that cannot be read or trusted is taken from a copy, and else costs its groups alone.
    ///
    /// # Errors
    /// Only if the host cannot read.
    pub(super) fn read(
        volume: &dyn BlockDevice,
        superblock: &Superblock,
        end: u64,
    ) -> FsResult<Self> {
        let mut groups = Self::default();
        visit(volume, superblock, end, &mut |number, group| {
            groups.push(superblock, number, &group);
            Ok(())
        })?;
        groups.inode_tables.shrink_to_fit();
        groups.system.finish();
        Ok(groups)
    }

    /// The first block of the inode table of `group`.
    pub(super) fn inode_table(&self, group: u64) -> Option<u64> {
        let index = usize::try_from(group).ok()?;
        self.inode_tables.get(index).copied().flatten()
    }

    fn push(&mut self, superblock: &Superblock, number: u64, group: &Group) {
        self.system.add_group(superblock, number, group.trusted());
        let count = match group {
            Group::Good(_) => None,
            Group::FromCopy(_) => Some(&mut self.from_copies),
            Group::Doubtful(_) | Group::Damaged => Some(&mut self.damaged),
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        // With metadata_csum every inode proves itself that it is the one asked for, so that the
        // table may be used on trial.
        let (Group::Good(used) | Group::FromCopy(used) | Group::Doubtful(used)) = group else {
            self.inode_tables.push(None);
            return;
        };
        self.free_clusters = self.free_clusters.saturating_add(used.free_clusters);
        self.free_inodes = self.free_inodes.saturating_add(used.free_inodes);
        self.inode_tables.push(Some(used.inode_table));
    }
}

/// Gives the groups below `end` to `visit`, to the next whole block of descriptors.
///
/// # Errors
/// If the host cannot read, and what `visit` says.
pub(super) fn visit(
    volume: &dyn BlockDevice,
    superblock: &Superblock,
    end: u64,
    visit: &mut dyn FnMut(u64, Group) -> FsResult<()>,
) -> FsResult<()> {
    let size = u64::from(superblock.descriptor_size);
    let per_block = superblock.block_size.get().checked_div(size).unwrap_or(1).max(1);
    let mut bytes = vec![0; bytes_to_index(superblock.block_size.get())?];
    let mut first = 0;
    let mut index = 0;
    while first < superblock.group_count.min(end) {
        let count = per_block.min(superblock.group_count.saturating_sub(first));
        let mut table = TableBlock { superblock, first, groups: Vec::new() };
        let mut unreadable = None;
        for block in locations(superblock, index, per_block).take(MAX_COPIES) {
            match read_block(volume, superblock, block, &mut bytes) {
                Ok(()) => table.take(&bytes, count),
                Err(error) if error.kind() == FsErrorKind::Io => unreadable = Some(error),
                Err(_) => {}
            }
            if table.groups.is_empty() {
                table.groups.resize(bytes_to_index(count)?, Group::Damaged);
            }
            if table.is_whole() {
                break;
            }
        }
        if let Some(error) = unreadable.filter(|_| !table.is_whole()) {
            return Err(error);
        }
        for (number, group) in (first..).zip(table.groups) {
            visit(number, group)?;
        }
        first = first.saturating_add(count);
        index = index.saturating_add(1);
    }
    Ok(())
}

fn read_block(
    volume: &dyn BlockDevice,
    superblock: &Superblock,
    block: u64,
    bytes: &mut [u8],
) -> FsResult<()> {
    let position = superblock
        .position(block)
        .ok_or_else(|| FsError::corrupt("group descriptors are outside the file system"))?;
    Ok(volume.read_at(position, bytes)?)
}

/// One block of descriptors, put together of its copies.
struct TableBlock<'a> {
    superblock: &'a Superblock,
    first: u64,
    groups: Vec<Group>,
}

impl TableBlock<'_> {
    fn is_whole(&self) -> bool {
        self.groups.iter().all(|group| group.trusted().is_some())
    }

    /// Takes in the next copy, of which the first is the primary one.
    fn take(&mut self, bytes: &[u8], count: u64) {
        let primary = self.groups.is_empty();
        let size = usize::from(self.superblock.descriptor_size);
        let numbers = self.first..self.first.saturating_add(count);
        for (index, (number, bytes)) in numbers.zip(bytes.chunks_exact(size)).enumerate() {
            let found = self.group(number, bytes, primary);
            match self.groups.get_mut(index) {
                None => self.groups.push(found),
                Some(known) => {
                    let better = match known {
                        Group::Good(_) | Group::FromCopy(_) => false,
                        Group::Doubtful(_) => found.trusted().is_some(),
                        Group::Damaged => true,
                    };
                    if better {
                        *known = found;
                    }
                }
            }
        }
    }

    fn group(&self, number: u64, bytes: &[u8], primary: bool) -> Group {
        let superblock = self.superblock;
        let good = sum_is_good(superblock, number, bytes).unwrap_or(false);
        match Descriptor::parse(superblock, number, bytes) {
            Some(descriptor) if good && primary => Group::Good(descriptor),
            Some(descriptor) if good => Group::FromCopy(descriptor),
            Some(descriptor) if superblock.features.ro_compat(RoCompat::METADATA_CSUM) => {
                Group::Doubtful(descriptor)
            }
            _ => Group::Damaged,
        }
    }
}

/// Whether the checksum of a descriptor holds, where there is one.
fn sum_is_good(superblock: &Superblock, group: u64, bytes: &[u8]) -> Option<bool> {
    let features = &superblock.features;
    let number = u32::try_from(group).ok()?.to_le_bytes();
    let before = bytes.get(..CHECKSUM_AT)?;
    let after = bytes.get(CHECKSUM_AT.saturating_add(2)..)?;
    let stored = bytes.get(CHECKSUM_AT..)?.first_chunk()?;
    let stored = u16::from_le_bytes(*stored);
    if features.ro_compat(RoCompat::METADATA_CSUM) {
        let sum = checksum::update(superblock.checksum_seed, &number);
        let sum = checksum::update(checksum::update(sum, before), &[0, 0]);
        let [low, high, ..] = checksum::update(sum, after).to_le_bytes();
        return Some(u16::from_le_bytes([low, high]) == stored);
    }
    if features.ro_compat(RoCompat::GDT_CSUM) {
        let sum = crc16(crc16(u16::MAX, &superblock.uuid), &number);
        let mut sum = crc16(sum, before);
        if features.incompat(Incompat::BIT64) {
            sum = crc16(sum, after);
        }
        return Some(sum == stored);
    }
    Some(true)
}

/// CRC-16 with the reflected polynomial 0xA001, as uninit_bg uses it.
fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    for &byte in bytes {
        crc ^= u16::from(byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xA001;
            }
        }
    }
    crc
}

/// The blocks that hold the `index`th block of descriptors, the primary one first.
fn locations(
    superblock: &Superblock,
    index: u64,
    per_block: u64,
) -> Box<dyn Iterator<Item = u64> + '_> {
    let has_meta_groups =
        superblock.features.incompat(Incompat::META_BG) && index >= superblock.first_meta_bg;
    let group_count = superblock.group_count;
    if has_meta_groups {
        let first = index.saturating_mul(per_block);
        let last = first.saturating_add(per_block.saturating_sub(1));
        let groups = [first, first.saturating_add(1), last].into_iter();
        let groups = groups.filter(move |group| *group < group_count);
        return Box::new(groups.map(|group| after_copy(superblock, group)));
    }
    let copies = COPIES.into_iter().chain(superblock.backup_groups);
    let copies =
        copies.filter(move |group| (1..group_count).contains(group) && superblock.has_copy(*group));
    let all = std::iter::once(0).chain(copies);
    Box::new(all.map(move |group| after_copy(superblock, group).saturating_add(index)))
}

/// The block of `group` that follows its copy of the superblock, if it has one.
fn after_copy(superblock: &Superblock, group: u64) -> u64 {
    let start = superblock.group_start(group);
    // QUIRK: bigalloc volumes of mke2fs with blocks of 1 KiB count from block 0, and keep the
    // superblock of group 0 in block 1.
    let boot_block = superblock.block_size.get() == 1024 && group == 0 && start == 0;
    start
        .saturating_add(u64::from(superblock.has_copy(group)))
        .saturating_add(u64::from(boot_block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_has_the_check_value_of_the_catalogue() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
