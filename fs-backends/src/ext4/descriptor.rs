//! The descriptor of a block group: where the group keeps its inodes and its bitmaps.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Block Group
//! Descriptors". Little-endian. 32 bytes, with 64bit at least 64.
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

use std::mem::offset_of;

use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::features::{Incompat, RoCompat};
use super::superblock::Superblock;

/// Where `checksum` lies in a descriptor.
const CHECKSUM_AT: usize = 0x1E;

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

    /// The descriptor of `group` in `bytes`, `None` if it names what a group cannot have.
    pub(super) fn parse(superblock: &Superblock, group: u64, bytes: &[u8]) -> Option<Self> {
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

/// Whether the checksum of a descriptor holds, where there is one.
pub(super) fn sum_is_good(superblock: &Superblock, group: u64, bytes: &[u8]) -> Option<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_has_the_check_value_of_the_catalogue() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
