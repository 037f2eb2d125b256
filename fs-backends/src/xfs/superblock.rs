//! The superblock: the geometry, the features and the names of an XFS volume.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Superblocks". Big-endian. One sector
//! at the start of every allocation group; the first is the primary.
//!
//! | offset | size | field               | rule                                                   |
//! |--------|------|---------------------|--------------------------------------------------------|
//! | 0x000  | 4    | `magic`             | `XFSB`                                                 |
//! | 0x004  | 4    | `block_size`        | power of two, 512 to 65536                             |
//! | 0x008  | 8    | `data_blocks`       | in the last of `ag_count` groups of `ag_blocks`        |
//! | 0x010  | 8    | `realtime_blocks`   | 0 if there is no realtime device                       |
//! | 0x020  | 16   | `uuid`              |                                                        |
//! | 0x030  | 8    | `log_start`         | block of the log, 0 if it is another device            |
//! | 0x038  | 8    | `root_inode`        |                                                        |
//! | 0x054  | 4    | `ag_blocks`         | blocks of an allocation group                          |
//! | 0x058  | 4    | `ag_count`          |                                                        |
//! | 0x060  | 4    | `log_blocks`        |                                                        |
//! | 0x064  | 2    | `version`           | see [`super::features`]                                |
//! | 0x066  | 2    | `sector_size`       | power of two, 512 to 32768                             |
//! | 0x068  | 2    | `inode_size`        | power of two, 256 to 2048                              |
//! | 0x06C  | 12   | `label`             | padded with 0                                          |
//! | 0x078  | 1    | `block_log`         | of `block_size`                                        |
//! | 0x079  | 1    | `sector_log`        | of `sector_size`                                       |
//! | 0x07A  | 1    | `inode_log`         | of `inode_size`                                        |
//! | 0x07B  | 1    | `inodes_log`        | inodes of a block                                      |
//! | 0x07C  | 1    | `ag_blocks_log`     | of `ag_blocks`, rounded up                             |
//! | 0x07E  | 1    | `in_progress`       | 1 while `mkfs.xfs` runs; the others keep it                                    |
//! | 0x090  | 8    | `free_blocks`       |                                                        |
//! | 0x0C0  | 1    | `dir_blocks_log`    | blocks of a directory block, at most 64 KiB            |
//! | 0x0C1  | 1    | `log_sector_log`    |                                                        |
//! | 0x0C2  | 2    | `log_sector_size`   |                                                        |
//! | 0x0C8  | 4    | `features2`         |                                                        |
//! | 0x0D8  | 4    | `features_incompat` | version 5                                              |
//! | 0x0E0  | 4    | `checksum`          | version 5: CRC-32C of the sector                       |
//! | 0x0F8  | 16   | `meta_uuid`         | with the feature: the UUID in all structures           |

use std::mem::offset_of;
use std::num::NonZeroU64;

use volfold_block::BlockDevice;
use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::features::{FeatureWords, Features, is_version_5};
use crate::error::{FsError, FsResult};

/// What every superblock begins with.
pub(super) const MAGIC: [u8; 4] = *b"XFSB";
/// LIMIT: the largest sector of the specification.
pub(super) const MAX_SECTOR: usize = 32768;
/// LIMIT: the largest directory block of the specification.
const MAX_DIRECTORY_BLOCK_LOG: u32 = 16;
/// Every group begins with superblock, AGF, AGI and AGFL, a sector each.
const HEADER_SECTORS: u64 = 4;
/// Where the checksum lies.
pub(super) const CHECKSUM_AT: usize = 0xE0;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    magic: [u8; 4],
    block_size: U32<BE>,
    data_blocks: U64<BE>,
    realtime_blocks: U64<BE>,
    realtime_extents: U64<BE>,
    uuid: [u8; 16],
    log_start: U64<BE>,
    root_inode: U64<BE>,
    realtime_bitmap: U64<BE>,
    realtime_summary: U64<BE>,
    realtime_extent_size: U32<BE>,
    ag_blocks: U32<BE>,
    ag_count: U32<BE>,
    realtime_bitmap_blocks: U32<BE>,
    log_blocks: U32<BE>,
    version: U16<BE>,
    sector_size: U16<BE>,
    inode_size: U16<BE>,
    inodes: U16<BE>,
    label: [u8; 12],
    block_log: u8,
    sector_log: u8,
    inode_log: u8,
    inodes_log: u8,
    ag_blocks_log: u8,
    realtime_extents_log: u8,
    in_progress: u8,
    inode_percentage: u8,
    inode_count: U64<BE>,
    free_inodes: U64<BE>,
    free_blocks: U64<BE>,
    free_extents: U64<BE>,
    quota_inodes: [U64<BE>; 2],
    quota_flags: U16<BE>,
    flags: u8,
    shared_version: u8,
    inode_alignment: U32<BE>,
    unit: U32<BE>,
    width: U32<BE>,
    dir_blocks_log: u8,
    log_sector_log: u8,
    log_sector_size: U16<BE>,
    log_unit: U32<BE>,
    features2: U32<BE>,
    bad_features2: U32<BE>,
    features_compat: U32<BE>,
    features_ro_compat: U32<BE>,
    features_incompat: U32<BE>,
    features_log_incompat: U32<BE>,
    checksum: [u8; 4],
    sparse_alignment: U32<BE>,
    project_quota_inode: U64<BE>,
    lsn: U64<BE>,
    meta_uuid: [u8; 16],
}
const _: () = assert!(offset_of!(RawSuperblock, log_start) == 0x30);
const _: () = assert!(offset_of!(RawSuperblock, version) == 0x64);
const _: () = assert!(offset_of!(RawSuperblock, block_log) == 0x78);
const _: () = assert!(offset_of!(RawSuperblock, free_blocks) == 0x90);
const _: () = assert!(offset_of!(RawSuperblock, dir_blocks_log) == 0xC0);
const _: () = assert!(offset_of!(RawSuperblock, checksum) == CHECKSUM_AT);
const _: () = assert!(offset_of!(RawSuperblock, meta_uuid) == 0xF8);

/// A checked superblock.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) features: Features,
    /// Features that only matter to whoever applies the log.
    pub(super) log_incompat: u32,
    pub(super) block_size: NonZeroU64,
    pub(super) sector_size: u64,
    pub(super) data_blocks: u64,
    pub(super) ag_blocks: NonZeroU64,
    pub(super) ag_count: u64,
    ag_blocks_log: u32,
    pub(super) inode_size: u16,
    inodes_log: u32,
    pub(super) dir_block_size: NonZeroU64,
    pub(super) root_inode: u64,
    /// Block of the log, `None` if it is another device.
    pub(super) log_start: Option<u64>,
    pub(super) log_blocks: u64,
    pub(super) uuid: [u8; 16],
    /// The UUID that structures of version 5 have.
    pub(super) meta_uuid: [u8; 16],
    pub(super) label: Option<String>,
    pub(super) free_blocks: u64,
    /// The group whose superblock this is, if the primary is damaged.
    pub(super) in_place_of_primary: Option<u64>,
    /// Whether it has no checksum, and no other one was found that says the same.
    pub(super) is_unconfirmed: bool,
}

impl Superblock {
    /// Reads the superblock that begins at `at` of `device`.
    ///
    /// # Errors
    /// As [`Self::parse`], or if it cannot be read.
    pub(super) fn read(device: &dyn BlockDevice, at: u64) -> FsResult<Self> {
        let mut bytes = vec![0; MAX_SECTOR];
        let left = usize::try_from(device.size().saturating_sub(at)).unwrap_or(MAX_SECTOR);
        let bytes = bytes.get_mut(..left.min(MAX_SECTOR)).unwrap_or_default();
        device.read_at(at, bytes)?;
        Self::parse(bytes, at)
    }

    /// Checks the superblock in `bytes`, which has at least its sector and began at `at`.
    ///
    /// # Errors
    /// `Corrupt` for numbers that contradict each other and for a bad checksum, `Unsupported` for
    /// features that are not read.
    pub(super) fn parse(bytes: &[u8], at: u64) -> FsResult<Self> {
        let corrupt = |what: &'static str| FsError::corrupt(what).at(at);
        let (raw, _) = RawSuperblock::ref_from_prefix(bytes)
            .map_err(|_| corrupt("superblock is cut short"))?;
        if raw.magic != MAGIC {
            return Err(corrupt("superblock has a wrong magic number"));
        }
        let sector_size = raw.sector_size.get();
        if !sector_size.is_power_of_two() || sector_size < 512 {
            return Err(corrupt("superblock has an invalid sector size"));
        }
        let sector = bytes.get(..usize::from(sector_size));
        let sector = sector.ok_or_else(|| corrupt("superblock is cut short"))?;
        // A damaged one may seem to have features that nobody knows.
        if is_version_5(raw.version.get()) && !checksum::is_good(sector, CHECKSUM_AT) {
            return Err(corrupt("superblock has a bad checksum"));
        }
        let features = Features::parse(FeatureWords {
            version: raw.version.get(),
            features2: raw.features2.get(),
            incompat: raw.features_incompat.get(),
        })
        .map_err(|error| error.at(at))?;
        // Only the primary is marked when `mkfs.xfs` ends.
        if at == 0 && raw.in_progress != 0 {
            return Err(corrupt("file system was not made to its end"));
        }
        Self::of(raw, features).ok_or_else(|| corrupt("superblock has numbers that do not fit"))
    }

    /// `None` if the numbers contradict each other.
    fn of(raw: &RawSuperblock, features: Features) -> Option<Self> {
        let block_log = u32::from(raw.block_log);
        let block_size = power(block_log).filter(|_| (9..=16).contains(&block_log))?;
        let inode_log = u32::from(raw.inode_log);
        let inode_size = raw.inode_size.get();
        let inodes_log = u32::from(raw.inodes_log);
        let dir_log = block_log.checked_add(u32::from(raw.dir_blocks_log))?;
        let ag_blocks = NonZeroU64::new(u64::from(raw.ag_blocks.get()))?;
        let ag_blocks_log = u32::from(raw.ag_blocks_log);
        let ag_count = u64::from(raw.ag_count.get());
        let data_blocks = raw.data_blocks.get();
        let before_last = ag_count.checked_sub(1)?.checked_mul(ag_blocks.get())?;
        let label = raw.label.split(|&byte| byte == 0).next().unwrap_or_default();
        let fits = u64::from(raw.block_size.get()) == block_size.get()
            && (8..=11).contains(&inode_log)
            && 1_u32.checked_shl(inode_log) == Some(u32::from(inode_size))
            && inodes_log.checked_add(inode_log) == Some(block_log)
            && power(u32::from(raw.sector_log)).map(NonZeroU64::get)
                == Some(u64::from(raw.sector_size.get()))
            && dir_log <= MAX_DIRECTORY_BLOCK_LOG
            && ag_blocks.get().checked_next_power_of_two()
                == power(ag_blocks_log).map(NonZeroU64::get)
            && ag_blocks_log < 32
            && data_blocks > before_last
            && data_blocks <= ag_count.checked_mul(ag_blocks.get())?
            && data_blocks.checked_mul(block_size.get())? < 1 << 63;
        fits.then_some(Self {
            features,
            log_incompat: if features.is_v5 { raw.features_log_incompat.get() } else { 0 },
            block_size,
            sector_size: u64::from(raw.sector_size.get()),
            data_blocks,
            ag_blocks,
            ag_count,
            ag_blocks_log,
            inode_size,
            inodes_log,
            dir_block_size: power(dir_log)?,
            root_inode: raw.root_inode.get(),
            log_start: Some(raw.log_start.get()).filter(|&start| start != 0),
            log_blocks: u64::from(raw.log_blocks.get()),
            uuid: raw.uuid,
            meta_uuid: if features.has_meta_uuid { raw.meta_uuid } else { raw.uuid },
            label: (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned()),
            free_blocks: raw.free_blocks.get(),
            in_place_of_primary: None,
            is_unconfirmed: false,
        })
    }

    /// Whether it names a root inode; backups may not.
    pub(super) fn has_root(&self) -> bool {
        !matches!(self.root_inode, 0 | u64::MAX)
    }

    /// Whether `other` describes the same file system, as far as that never changes in one of its
    /// superblocks alone.
    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        let numbers = |one: &Self| {
            let sizes = [one.block_size.get(), one.sector_size, one.dir_block_size.get()];
            let counts = [one.data_blocks, one.ag_blocks.get(), one.ag_count, one.log_blocks];
            let inodes = [u32::from(one.inode_size), one.inodes_log, one.ag_blocks_log];
            (sizes, counts, inodes, one.log_start, one.uuid)
        };
        let named =
            |one: &Self| (one.features.is_v5, one.features.has_ftype, one.features.ascii_ci);
        let roots = self.has_root() && other.has_root();
        numbers(self) == numbers(other)
            && named(self) == named(other)
            && (!roots || self.root_inode == other.root_inode)
    }

    /// The size of the file system in bytes.
    pub(super) fn size(&self) -> u64 {
        self.data_blocks.saturating_mul(self.block_size.get())
    }

    /// The first byte of allocation group `group`.
    pub(super) fn group_position(&self, group: u64) -> Option<u64> {
        let block = group.checked_mul(self.ag_blocks.get()).filter(|_| group < self.ag_count)?;
        block.checked_mul(self.block_size.get())
    }

    /// The blocks of allocation group `group`; the last may have fewer.
    pub(super) fn group_blocks(&self, group: u64) -> u64 {
        let before = group.saturating_mul(self.ag_blocks.get());
        self.data_blocks.saturating_sub(before).min(self.ag_blocks.get())
    }

    /// The position of `count` blocks from `block` on, a number with the group in its upper bits.
    /// `None` if they leave their group or belong to its headers.
    pub(super) fn blocks_position(&self, block: u64, count: u64) -> Option<u64> {
        let group = block.checked_shr(self.ag_blocks_log)?;
        let within = block.checked_sub(group.checked_shl(self.ag_blocks_log)?)?;
        let end = within.checked_add(count)?;
        let headers = HEADER_SECTORS.checked_mul(self.sector_size)?.div_ceil(self.block_size.get());
        if within < headers || end > self.group_blocks(group) {
            return None;
        }
        let start = self.group_position(group)?;
        start.checked_add(within.checked_mul(self.block_size.get())?)
    }

    /// The position of inode `number`; `None` if there can be no such inode.
    pub(super) fn inode_position(&self, number: u64) -> Option<u64> {
        let block = number.checked_shr(self.inodes_log)?;
        let within = number.checked_sub(block.checked_shl(self.inodes_log)?)?;
        let into = within.checked_mul(u64::from(self.inode_size))?;
        self.blocks_position(block, 1)?.checked_add(into)
    }

    /// The number of the first inode of `block` of `group`.
    pub(super) fn inode_at(&self, group: u64, block: u64) -> Option<u64> {
        let block = group.checked_mul(power(self.ag_blocks_log)?.get())?.checked_add(block)?;
        block.checked_mul(power(self.inodes_log)?.get())
    }

    /// Where the log lies, if it is on this volume: its first byte and its size.
    pub(super) fn log_span(&self) -> Option<(u64, u64)> {
        let start = self.blocks_position(self.log_start?, self.log_blocks)?;
        Some((start, self.log_blocks.checked_mul(self.block_size.get())?))
    }

    /// The bytes of `blocks` blocks.
    pub(super) fn bytes(&self, blocks: u64) -> Option<u64> {
        blocks.checked_mul(self.block_size.get())
    }

    /// The bytes before the inodes' forks.
    pub(super) fn inode_core(&self) -> usize {
        if self.features.is_v5 { 176 } else { 100 }
    }
}

fn power(log: u32) -> Option<NonZeroU64> {
    1_u64.checked_shl(log).and_then(NonZeroU64::new)
}
