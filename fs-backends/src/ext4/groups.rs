//! The group descriptors: where each block group keeps its inodes.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapters "Block
//! Group Descriptors" and "Meta Block Groups". Little-endian. 32 bytes, with 64bit at least 64.
//!
//! | offset | size | field               | rule                                             |
//! |--------|------|---------------------|--------------------------------------------------|
//! | 0x08   | 4    | `inode_table_lo`    | first block of the inode table                   |
//! | 0x0C   | 2    | `free_blocks_lo`    | counts clusters with bigalloc                    |
//! | 0x0E   | 2    | `free_inodes_lo`    |                                                  |
//! | 0x12   | 2    | `flags`             | not looked at: bitmaps are not read              |
//! | 0x1E   | 2    | `checksum`          | CRC-32C, or CRC-16 with only uninit_bg           |
//! | 0x28   | 4    | `inode_table_hi`    | with 64bit                                       |
//! | 0x2C   | 2    | `free_blocks_hi`    | with 64bit                                       |
//! | 0x2E   | 2    | `free_inodes_hi`    | with 64bit                                       |
//!
//! The table follows the block of the superblock. With meta_bg each block of descriptors lies in
//! the first group of those that it describes.

use std::mem::offset_of;

use volfold_block::{BlockDevice, bytes_to_index};
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::features::{Compat, Incompat, RoCompat};
use super::superblock::Superblock;
use crate::error::{FsErrorKind, FsResult};

/// Where `checksum` lies in a descriptor.
const CHECKSUM_AT: usize = 0x1E;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDescriptor {
    unread_00: [u8; 0x08],
    inode_table_lo: U32<LE>,
    free_blocks_lo: U16<LE>,
    free_inodes_lo: U16<LE>,
    unread_10: [u8; 0x0E],
    checksum: U16<LE>,
}
const _: () = assert!(offset_of!(RawDescriptor, free_blocks_lo) == 0x0C);
const _: () = assert!(offset_of!(RawDescriptor, checksum) == CHECKSUM_AT);
const _: () = assert!(size_of::<RawDescriptor>() == 0x20);

/// The second half, with 64bit.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHighHalf {
    unread_20: [u8; 0x08],
    inode_table_hi: U32<LE>,
    free_blocks_hi: U16<LE>,
    free_inodes_hi: U16<LE>,
    unread_30: [u8; 0x10],
}
const _: () = assert!(offset_of!(RawHighHalf, inode_table_hi) == 0x08);
const _: () = assert!(size_of::<RawHighHalf>() == 0x20);

/// Where each group keeps its inodes, and what is free.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Per group the first block of its inode table, `None` if the descriptor cannot be trusted.
    inode_tables: Vec<Option<u64>>,
    /// How many descriptors cannot be trusted.
    pub(super) damaged: u64,
    /// Free clusters in all groups.
    pub(super) free_clusters: u64,
    /// Free inodes in all groups.
    pub(super) free_inodes: u64,
}

impl Groups {
    /// Reads the descriptors of the groups below `end`, to the next whole block. A block of them that cannot be read or trusted costs
    /// its groups alone.
    ///
    /// # Errors
    /// Only if the host cannot read.
    pub(super) fn read(
        volume: &dyn BlockDevice,
        superblock: &Superblock,
        end: u64,
    ) -> FsResult<Self> {
        let mut groups = Self::default();
        let size = u64::from(superblock.descriptor_size);
        let per_block = superblock.block_size.get().checked_div(size).unwrap_or(1).max(1);
        let mut block = vec![0; bytes_to_index(superblock.block_size.get())?];
        let mut first = 0;
        let mut table_block = 0;
        while first < superblock.group_count.min(end) {
            let position = superblock.position(table_location(superblock, table_block, per_block));
            let readable = match position.map(|at| volume.read_at(at, &mut block)) {
                None => false,
                Some(Ok(())) => true,
                Some(Err(error)) => {
                    let error = crate::FsError::from(error);
                    if error.kind() == FsErrorKind::Io {
                        return Err(error);
                    }
                    false
                }
            };
            let count = per_block.min(superblock.group_count.saturating_sub(first));
            let mut descriptors = block.chunks_exact(usize::from(superblock.descriptor_size));
            for group in first..first.saturating_add(count) {
                let bytes = descriptors.next().filter(|_| readable);
                groups.push(superblock, group, bytes);
            }
            first = first.saturating_add(count);
            table_block = table_block.saturating_add(1);
        }
        Ok(groups)
    }

    /// The first block of the inode table of `group`.
    pub(super) fn inode_table(&self, group: u64) -> Option<u64> {
        let index = usize::try_from(group).ok()?;
        self.inode_tables.get(index).copied().flatten()
    }

    fn push(&mut self, superblock: &Superblock, group: u64, bytes: Option<&[u8]>) {
        let good =
            bytes.is_some_and(|bytes| sum_is_good(superblock, group, bytes).unwrap_or(false));
        // With metadata_csum every inode proves itself that it is the one asked for, so that the
        // table may be used on trial.
        let usable = good || superblock.features.ro_compat(RoCompat::METADATA_CSUM);
        let table = bytes.filter(|_| usable).and_then(|bytes| self.parse(superblock, bytes));
        if table.is_none() || !good {
            self.damaged = self.damaged.saturating_add(1);
        }
        self.inode_tables.push(table);
    }

    fn parse(&mut self, superblock: &Superblock, bytes: &[u8]) -> Option<u64> {
        let (raw, rest) = RawDescriptor::ref_from_prefix(bytes).ok()?;
        let mut table = u64::from(raw.inode_table_lo.get());
        let mut free_clusters = u64::from(raw.free_blocks_lo.get());
        let mut free_inodes = u64::from(raw.free_inodes_lo.get());
        if superblock.features.incompat(Incompat::BIT64) {
            let (high, _) = RawHighHalf::ref_from_prefix(rest).ok()?;
            table |= u64::from(high.inode_table_hi.get()) << 32;
            free_clusters |= u64::from(high.free_blocks_hi.get()) << 16;
            free_inodes |= u64::from(high.free_inodes_hi.get()) << 16;
        }
        if table <= superblock.first_data_block || table >= superblock.blocks_count {
            return None;
        }
        self.free_clusters = self.free_clusters.saturating_add(free_clusters);
        self.free_inodes = self.free_inodes.saturating_add(free_inodes);
        Some(table)
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

/// The block that holds the `index`th block of descriptors.
fn table_location(superblock: &Superblock, index: u64, per_block: u64) -> u64 {
    // The superblock lies in block 1 if blocks have 1 KiB, else inside block 0.
    let own_block = u64::from(superblock.block_size.get() == 1024);
    let features = &superblock.features;
    if !features.incompat(Incompat::META_BG) || index < superblock.first_meta_bg {
        return own_block.saturating_add(1).saturating_add(index);
    }
    let group = index.saturating_mul(per_block);
    let start = group
        .saturating_mul(superblock.blocks_per_group.get())
        .saturating_add(superblock.first_data_block);
    // QUIRK: bigalloc volumes of mke2fs with blocks of 1 KiB count from block 0, and keep the
    // superblock of group 0 in block 1.
    let boot_block = u64::from(own_block == 1 && index == 0 && superblock.first_data_block == 0);
    start.saturating_add(u64::from(has_superblock(superblock, group))).saturating_add(boot_block)
}

/// Whether `group` begins with a copy of the superblock.
fn has_superblock(superblock: &Superblock, group: u64) -> bool {
    if group == 0 {
        return true;
    }
    if superblock.features.compat(Compat::SPARSE_SUPER2) {
        return superblock.backup_groups.contains(&group);
    }
    if !superblock.features.ro_compat(RoCompat::SPARSE_SUPER) || group == 1 {
        return true;
    }
    [3_u64, 5, 7].into_iter().any(|base| is_power_of(base, group))
}

fn is_power_of(base: u64, number: u64) -> bool {
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_the_three_bases_carry_backups() {
        let with: Vec<u64> = (1..130)
            .filter(|&group| [3, 5, 7].iter().any(|&base| is_power_of(base, group)))
            .collect();
        assert_eq!(with, [3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn crc16_has_the_check_value_of_the_catalogue() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
