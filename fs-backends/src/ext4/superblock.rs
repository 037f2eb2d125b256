//! The superblock: the geometry, the features and the names of an ext2, ext3 or ext4 volume.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Super
//! Block". Little-endian. 1024 bytes at byte 1024 of the volume, whatever the block size. Backups
//! begin some of the other block groups.
//!
//! | offset | size | field                | rule                                                  |
//! |--------|------|----------------------|-------------------------------------------------------|
//! | 0x000  | 4    | `inodes_count`       | highest inode number                                  |
//! | 0x004  | 4    | `blocks_count_lo`    | more than `first_data_block`                          |
//! | 0x00C  | 4    | `free_blocks_lo`     | not looked at, the group descriptors are summed       |
//! | 0x014  | 4    | `first_data_block`   | 1 if blocks have 1 KiB, else 0                        |
//! | 0x018  | 4    | `log_block_size`     | 0 to 6: 1 KiB to 64 KiB                               |
//! | 0x01C  | 4    | `log_cluster_size`   | with bigalloc, not below `log_block_size`             |
//! | 0x020  | 4    | `blocks_per_group`   | not 0                                                 |
//! | 0x028  | 4    | `inodes_per_group`   | not 0                                                 |
//! | 0x038  | 2    | `magic`              | 0xEF53                                                |
//! | 0x03A  | 2    | `state`              | 1 clean, 2 errors, 4 orphans being recovered          |
//! | 0x048  | 4    | `creator_os`         | 1 is Hurd, whose inodes have no high size bits        |
//! | 0x04C  | 4    | `rev_level`          | 0: inodes have 128 bytes, no features                 |
//! | 0x058  | 2    | `inode_size`         | power of two, 128 to the block size                   |
//! | 0x05A  | 2    | `block_group_nr`     | the group of this copy, see [`super::backups`]        |
//! | 0x05C  | 4    | `compat`             | feature bits                                          |
//! | 0x060  | 4    | `incompat`           | feature bits; an unknown one forbids to read          |
//! | 0x064  | 4    | `ro_compat`          | feature bits                                          |
//! | 0x068  | 16   | `uuid`               |                                                       |
//! | 0x078  | 16   | `volume_name`        | padded with 0                                         |
//! | 0x0CE  | 2    | `reserved_gdt`       | blocks after the group descriptors that are kept free |
//! | 0x0D0  | 16   | `journal_uuid`       | of the device of the journal, if it has one           |
//! | 0x0E0  | 4    | `journal_inum`       | inode of the journal, 0 if it is another device       |
//! | 0x0E8  | 4    | `last_orphan`        | first inode of the list of orphans, 0 if there is none |
//! | 0x0EC  | 16   | `hash_seed`          | of the hashes of directories                          |
//! | 0x0FD  | 1    | `journal_backup_type`| 1: the next but two is there                          |
//! | 0x0FE  | 2    | `desc_size`          | with 64bit: power of two, 64 to the block size        |
//! | 0x104  | 4    | `first_meta_bg`      | with meta_bg                                          |
//! | 0x10C  | 68   | `journal_backup`     | of the journal's inode: `block`, size high and low     |
//! | 0x150  | 4    | `blocks_count_hi`    | with 64bit                                            |
//! | 0x160  | 4    | `flags`              | 2: bytes of names have no sign in their hash          |
//! | 0x168  | 8    | `mmp_block`          | with mmp                                              |
//! | 0x175  | 1    | `checksum_type`      | 1, CRC-32C                                            |
//! | 0x24C  | 8    | `backup_bgs`         | with sparse_super2                                    |
//! | 0x26C  | 4    | `project_quota_inode`| an inode without a name                               |
//! | 0x270  | 4    | `checksum_seed`      | with metadata_csum_seed                               |
//! | 0x27C  | 2    | `encoding`           | with casefold: 1, UTF-8 of Unicode 12.1               |
//! | 0x280  | 4    | `orphan_file_inode`  | an inode without a name                               |
//! | 0x3FC  | 4    | `checksum`           | with metadata_csum: CRC-32C of the bytes before       |

use std::mem::offset_of;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;

use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::features::{Compat, Features, Incompat, RoCompat};
use super::identity::label;
use crate::error::{FsError, FsResult};

/// Where the primary superblock lies.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
/// The bytes of a superblock.
pub(super) const SUPERBLOCK_SIZE: usize = 1024;
/// The position of the magic number in the volume.
pub(super) const MAGIC_OFFSET: u64 = 0x438;
pub(super) const MAGIC: u16 = 0xEF53;

/// LIMIT: the largest block of the specification, 64 KiB.
pub(super) const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// LIMIT: 2^20 groups are 128 TiB with blocks of 4 KiB; their table here takes 32 MiB.
const MAX_GROUPS: u64 = 1 << 20;

/// Groups that have a copy of the superblock and of the group descriptors, with sparse_super or
/// without it.
pub(super) const COPIES: [u64; 10] = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125];
/// LIMIT: the specification's own bound of block numbers.
const MAX_BLOCKS: u64 = 1 << 48;

const STATE_ERRORS: u16 = 0x0002;
const FLAG_UNSIGNED_HASH: u32 = 2;
const OS_HURD: u32 = 1;
const CHECKSUM_CRC32C: u8 = 1;

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    inodes_count: U32<LE>,
    blocks_count_lo: U32<LE>,
    reserved_blocks_lo: U32<LE>,
    free_blocks_lo: U32<LE>,
    free_inodes: U32<LE>,
    first_data_block: U32<LE>,
    log_block_size: U32<LE>,
    log_cluster_size: U32<LE>,
    blocks_per_group: U32<LE>,
    clusters_per_group: U32<LE>,
    inodes_per_group: U32<LE>,
    unread_2c: [u8; 0x0C],
    magic: U16<LE>,
    state: U16<LE>,
    unread_3c: [u8; 0x0C],
    creator_os: U32<LE>,
    rev_level: U32<LE>,
    unread_50: [u8; 0x08],
    inode_size: U16<LE>,
    block_group_nr: U16<LE>,
    compat: U32<LE>,
    incompat: U32<LE>,
    ro_compat: U32<LE>,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    unread_88: [u8; 0x46],
    reserved_gdt: U16<LE>,
    journal_uuid: [u8; 16],
    journal_inum: U32<LE>,
    unread_e4: [u8; 0x04],
    last_orphan: U32<LE>,
    hash_seed: [U32<LE>; 4],
    unread_fc: u8,
    journal_backup_type: u8,
    desc_size: U16<LE>,
    unread_100: [u8; 0x04],
    first_meta_bg: U32<LE>,
    unread_108: [u8; 0x04],
    journal_backup: [u8; 0x44],
    blocks_count_hi: U32<LE>,
    unread_154: [u8; 0x0C],
    flags: U32<LE>,
    unread_164: [u8; 0x04],
    mmp_block_lo: U32<LE>,
    mmp_block_hi: U32<LE>,
    unread_170: [u8; 0x05],
    checksum_type: u8,
    unread_176: [u8; 0xD6],
    backup_bgs: [U32<LE>; 2],
    unread_254: [u8; 0x18],
    project_quota_inode: U32<LE>,
    checksum_seed: U32<LE>,
    unread_274: [u8; 0x08],
    encoding: U16<LE>,
    encoding_flags: U16<LE>,
    orphan_file_inode: U32<LE>,
    unread_284: [u8; 0x178],
    checksum: U32<LE>,
}
const _: () = assert!(offset_of!(RawSuperblock, magic) == 0x038);
const _: () = assert!(offset_of!(RawSuperblock, creator_os) == 0x048);
const _: () = assert!(offset_of!(RawSuperblock, inode_size) == 0x058);
const _: () = assert!(offset_of!(RawSuperblock, uuid) == 0x068);
const _: () = assert!(offset_of!(RawSuperblock, reserved_gdt) == 0x0CE);
const _: () = assert!(offset_of!(RawSuperblock, journal_uuid) == 0x0D0);
const _: () = assert!(offset_of!(RawSuperblock, journal_inum) == 0x0E0);
const _: () = assert!(offset_of!(RawSuperblock, desc_size) == 0x0FE);
const _: () = assert!(offset_of!(RawSuperblock, first_meta_bg) == 0x104);
const _: () = assert!(offset_of!(RawSuperblock, blocks_count_hi) == 0x150);
const _: () = assert!(offset_of!(RawSuperblock, last_orphan) == 0x0E8);
const _: () = assert!(offset_of!(RawSuperblock, hash_seed) == 0x0EC);
const _: () = assert!(offset_of!(RawSuperblock, journal_backup_type) == 0x0FD);
const _: () = assert!(offset_of!(RawSuperblock, flags) == 0x160);
const _: () = assert!(offset_of!(RawSuperblock, encoding) == 0x27C);
const _: () = assert!(offset_of!(RawSuperblock, journal_backup) == 0x10C);
const _: () = assert!(offset_of!(RawSuperblock, mmp_block_lo) == 0x168);
const _: () = assert!(offset_of!(RawSuperblock, checksum_type) == 0x175);
const _: () = assert!(offset_of!(RawSuperblock, project_quota_inode) == 0x26C);
const _: () = assert!(offset_of!(RawSuperblock, orphan_file_inode) == 0x280);
const _: () = assert!(offset_of!(RawSuperblock, backup_bgs) == 0x24C);
const _: () = assert!(offset_of!(RawSuperblock, checksum_seed) == 0x270);
const _: () = assert!(offset_of!(RawSuperblock, checksum) == 0x3FC);
const _: () = assert!(size_of::<RawSuperblock>() == SUPERBLOCK_SIZE);

/// What has become of the primary superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primary {
    /// It is this file system's, and damaged.
    Damaged,
    /// Nothing of it is left where it was.
    Gone,
}

/// A checked superblock.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    /// Bytes of a block.
    pub(super) block_size: NonZeroU64,
    /// Bytes of an allocation cluster; of a block without bigalloc.
    pub(super) cluster_size: u64,
    pub(super) blocks_count: u64,
    pub(super) first_data_block: u64,
    pub(super) blocks_per_group: NonZeroU64,
    pub(super) group_count: u64,
    pub(super) inodes_count: u32,
    pub(super) inodes_per_group: NonZeroU32,
    /// Bytes of an inode, at most a block.
    pub(super) inode_size: u16,
    /// Bytes of a group descriptor, at most a block.
    pub(super) descriptor_size: u16,
    pub(super) features: Features,
    pub(super) first_meta_bg: u64,
    pub(super) backup_groups: [u64; 2],
    pub(super) journal_inode: u32,
    pub(super) journal_uuid: [u8; 16],
    pub(super) uuid: [u8; 16],
    pub(super) label: Option<String>,
    /// The sum that all other sums of metadata begin with.
    pub(super) checksum_seed: u32,
    pub(super) has_errors: bool,
    /// The group that this copy is of; 0 for the primary one.
    pub(super) own_group: u64,
    /// The `block` and the size of the journal's inode, if they are kept here.
    pub(super) journal_backup: Option<([u8; 60], u64)>,
    /// The block of multiple mount protection, 0 if there is none.
    pub(super) mmp_block: u64,
    /// Inodes that have no name.
    pub(super) hidden_inodes: [u32; 2],
    /// Whether files wait for their end in the list of orphans.
    pub(super) has_orphans: bool,
    /// The first inode of the list of orphans, 0 if there is none.
    pub(super) last_orphan: u32,
    /// What the hashes of directories begin with.
    pub(super) hash_seed: [u32; 4],
    /// Whether bytes of names have a sign in those hashes.
    pub(super) hash_is_signed: bool,
    /// How names are encoded where their case does not matter.
    pub(super) encoding: u16,
    /// What this copy stands in for, if it is a backup that is used.
    pub(super) in_place_of: Option<Primary>,
    /// Blocks after the group descriptors that are kept for more of them.
    pub(super) reserved_descriptor_blocks: u64,
    pub(super) made_by_hurd: bool,
}

impl Superblock {
    /// The id of the file system whose superblock, damaged or not, is in `bytes`.
    pub(super) fn uuid_in(bytes: &[u8]) -> Option<[u8; 16]> {
        RawSuperblock::ref_from_prefix(bytes).ok().map(|(raw, _)| raw.uuid)
    }

    /// Checks the superblock in `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> FsResult<Self> {
        let (raw, _) = RawSuperblock::ref_from_prefix(bytes)
            .map_err(|_| corrupt("superblock is cut short", 0))?;
        if raw.magic.get() != MAGIC {
            return Err(corrupt("superblock has a wrong magic number", 0x38));
        }
        let features = Features::parse(
            raw.rev_level.get(),
            raw.compat.get(),
            raw.incompat.get(),
            raw.ro_compat.get(),
        )
        .map_err(|error| error.at(SUPERBLOCK_OFFSET.saturating_add(0x60)))?;
        check_sum(raw, &features)?;
        if raw.log_block_size.get() > MAX_LOG_BLOCK_SIZE {
            return Err(corrupt("superblock has an invalid block size", 0x18));
        }
        let block_size = 1024_u64
            .checked_shl(raw.log_block_size.get())
            .and_then(NonZeroU64::new)
            .ok_or_else(|| corrupt("superblock has an invalid block size", 0x18))?;
        let cluster_size = cluster_size(raw, &features, block_size)?;
        let blocks_count = blocks_count(raw, &features)?;
        let first_data_block = u64::from(raw.first_data_block.get());
        let blocks_per_group = NonZeroU64::new(u64::from(raw.blocks_per_group.get()))
            .ok_or_else(|| corrupt("superblock has groups without blocks", 0x20))?;
        let group_count = blocks_count
            .checked_sub(first_data_block)
            .filter(|&blocks| blocks > 0)
            .ok_or_else(|| corrupt("superblock has fewer blocks than it begins at", 0x04))?
            .div_ceil(blocks_per_group.get());
        if group_count > MAX_GROUPS {
            return Err(FsError::unsupported("file system has too many block groups")
                .at(SUPERBLOCK_OFFSET.saturating_add(0x20)));
        }
        let checksum_seed = if features.incompat(Incompat::CSUM_SEED) {
            raw.checksum_seed.get()
        } else {
            checksum::sum(&raw.uuid)
        };
        Ok(Self {
            block_size,
            cluster_size,
            blocks_count,
            first_data_block,
            blocks_per_group,
            group_count,
            inodes_count: raw.inodes_count.get(),
            inodes_per_group: inodes_per_group(raw, block_size)?,
            inode_size: inode_size(raw, block_size)?,
            descriptor_size: descriptor_size(raw, &features, block_size)?,
            first_meta_bg: u64::from(raw.first_meta_bg.get()),
            backup_groups: raw.backup_bgs.map(|group| u64::from(group.get())),
            journal_inode: raw.journal_inum.get(),
            journal_uuid: raw.journal_uuid,
            uuid: raw.uuid,
            label: label(&raw.volume_name),
            checksum_seed,
            has_errors: raw.state.get() & STATE_ERRORS != 0,
            own_group: u64::from(raw.block_group_nr.get()),
            in_place_of: None,
            journal_backup: journal_backup(raw),
            mmp_block: mmp_block(raw, &features),
            hidden_inodes: [raw.project_quota_inode.get(), raw.orphan_file_inode.get()],
            has_orphans: raw.last_orphan.get() != 0 || features.ro_compat(RoCompat::ORPHAN_PRESENT),
            last_orphan: raw.last_orphan.get(),
            hash_seed: raw.hash_seed.map(U32::get),
            hash_is_signed: raw.flags.get() & FLAG_UNSIGNED_HASH == 0,
            encoding: raw.encoding.get(),
            reserved_descriptor_blocks: u64::from(raw.reserved_gdt.get()),
            made_by_hurd: raw.creator_os.get() == OS_HURD,
            features,
        })
    }

    /// Whether both are superblocks of one file system, divided in the same way.
    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        self.uuid == other.uuid
            && self.block_size == other.block_size
            && self.blocks_count == other.blocks_count
            && self.blocks_per_group == other.blocks_per_group
            && self.inodes_per_group == other.inodes_per_group
            && self.inode_size == other.inode_size
    }

    /// The position of `block` in the volume, if the file system has such a block.
    pub(super) fn position(&self, block: u64) -> Option<u64> {
        if block >= self.blocks_count {
            return None;
        }
        block.checked_mul(self.block_size.get())
    }

    /// Whether all of `blocks` are some that a file could have.
    pub(super) fn has_blocks(&self, blocks: Range<u64>) -> bool {
        blocks.start > self.first_data_block && blocks.end <= self.blocks_count
    }

    /// The blocks of the inode table of one group.
    pub(super) fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group.get())
            .saturating_mul(u64::from(self.inode_size))
            .div_ceil(self.block_size.get())
    }

    /// The first block of `group`.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        group.saturating_mul(self.blocks_per_group.get()).saturating_add(self.first_data_block)
    }

    /// Whether `group` begins with a copy of the superblock.
    pub(super) fn has_copy(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.features.compat(Compat::SPARSE_SUPER2) {
            return self.backup_groups.contains(&group);
        }
        if !self.features.ro_compat(RoCompat::SPARSE_SUPER) || group == 1 {
            return true;
        }
        [3_u64, 5, 7].into_iter().any(|base| is_power_of(base, group))
    }

    /// The size of the file system in bytes.
    pub(super) fn size(&self) -> u64 {
        self.blocks_count.saturating_mul(self.block_size.get())
    }
}

fn is_power_of(base: u64, number: u64) -> bool {
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
}

fn check_sum(raw: &RawSuperblock, features: &Features) -> FsResult<()> {
    if !features.ro_compat(RoCompat::METADATA_CSUM) {
        return Ok(());
    }
    if raw.checksum_type != CHECKSUM_CRC32C {
        return Err(FsError::unsupported("superblock has an unknown kind of checksum")
            .at(SUPERBLOCK_OFFSET.saturating_add(0x175)));
    }
    let covered = raw.as_bytes().get(..0x3FC).unwrap_or_default();
    if checksum::sum(covered) != raw.checksum.get() {
        return Err(corrupt("superblock has a bad checksum", 0x3FC));
    }
    Ok(())
}

fn journal_backup(raw: &RawSuperblock) -> Option<([u8; 60], u64)> {
    let (block, size) = raw.journal_backup.split_first_chunk()?;
    let (high, low) = size.split_first_chunk()?;
    let (high, low) = (u32::from_le_bytes(*high), u32::from_le_bytes(*low.first_chunk()?));
    let size = (u64::from(high) << 32) | u64::from(low);
    (raw.journal_backup_type == 1 && size != 0).then_some((*block, size))
}

fn mmp_block(raw: &RawSuperblock, features: &Features) -> u64 {
    if !features.incompat(Incompat::MMP) {
        return 0;
    }
    (u64::from(raw.mmp_block_hi.get()) << 32) | u64::from(raw.mmp_block_lo.get())
}

fn cluster_size(raw: &RawSuperblock, features: &Features, block: NonZeroU64) -> FsResult<u64> {
    if !features.ro_compat(RoCompat::BIGALLOC) {
        return Ok(block.get());
    }
    // LIMIT: clusters of 2^30 bytes, far beyond what mke2fs makes.
    raw.log_cluster_size
        .get()
        .checked_add(10)
        .filter(|&log| log <= 30)
        .and_then(|log| 1_u64.checked_shl(log))
        .filter(|&size| size >= block.get())
        .ok_or_else(|| corrupt("superblock has an invalid cluster size", 0x1C))
}

fn blocks_count(raw: &RawSuperblock, features: &Features) -> FsResult<u64> {
    let high =
        if features.incompat(Incompat::BIT64) { u64::from(raw.blocks_count_hi.get()) } else { 0 };
    let count = (high << 32) | u64::from(raw.blocks_count_lo.get());
    if count > MAX_BLOCKS {
        return Err(corrupt("superblock has too many blocks", 0x04));
    }
    Ok(count)
}

fn inodes_per_group(raw: &RawSuperblock, block_size: NonZeroU64) -> FsResult<NonZeroU32> {
    // One block of bitmap is all that a group has for its inodes.
    NonZeroU32::new(raw.inodes_per_group.get())
        .filter(|count| u64::from(count.get()) <= block_size.get().saturating_mul(8))
        .ok_or_else(|| corrupt("superblock has an invalid number of inodes per group", 0x28))
}

fn inode_size(raw: &RawSuperblock, block_size: NonZeroU64) -> FsResult<u16> {
    if raw.rev_level.get() == 0 {
        return Ok(128);
    }
    let size = raw.inode_size.get();
    if size < 128 || !size.is_power_of_two() || u64::from(size) > block_size.get() {
        return Err(corrupt("superblock has an invalid inode size", 0x58));
    }
    Ok(size)
}

fn descriptor_size(
    raw: &RawSuperblock,
    features: &Features,
    block_size: NonZeroU64,
) -> FsResult<u16> {
    if !features.incompat(Incompat::BIT64) {
        return Ok(32);
    }
    let size = raw.desc_size.get();
    if size < 64 || !size.is_power_of_two() || u64::from(size) > block_size.get() {
        return Err(corrupt("superblock has an invalid descriptor size", 0xFE));
    }
    Ok(size)
}

fn corrupt(message: &'static str, field: u64) -> FsError {
    FsError::corrupt(message).at(SUPERBLOCK_OFFSET.saturating_add(field))
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
}
