//! The inode: what is known of a file without its content.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Index
//! Nodes". Little-endian. 128 bytes, and as many as `extra_isize` says after them.
//!
//! | offset | size | field            | rule                                                      |
//! |--------|------|------------------|-----------------------------------------------------------|
//! | 0x00   | 2    | `mode`           | type and permissions; 0 in an inode that was never used   |
//! | 0x02   | 2    | `uid_lo`         |                                                           |
//! | 0x04   | 4    | `size_lo`        |                                                           |
//! | 0x08   | 12   | three times      | access, change, modification; signed seconds              |
//! | 0x14   | 4    | `dtime`          | when it was deleted; in a list of orphans another inode   |
//! | 0x18   | 2    | `gid_lo`         |                                                           |
//! | 0x1A   | 2    | `links_count`    | 0 in a deleted inode                                      |
//! | 0x1C   | 4    | `blocks_lo`      | units of 512 bytes, or blocks with the huge-file flag     |
//! | 0x20   | 4    | `flags`          | see [`Flags`]                                             |
//! | 0x28   | 60   | `block`          | block map, extent tree, device number or inline data      |
//! | 0x64   | 4    | `generation`     |                                                           |
//! | 0x68   | 4    | `file_acl_lo`    | block of extended attributes                              |
//! | 0x6C   | 4    | `size_high`      | not for directories without large_dir                     |
//! | 0x74   | 2    | `blocks_high`    | with huge_file                                            |
//! | 0x76   | 2    | `file_acl_high`  |                                                           |
//! | 0x78   | 2    | `uid_high`       |                                                           |
//! | 0x7A   | 2    | `gid_high`       |                                                           |
//! | 0x7C   | 2    | `checksum_lo`    | with metadata_csum                                        |
//! | 0x80   | 2    | `extra_isize`    | bytes used after 0x80                                     |
//! | 0x82   | 2    | `checksum_hi`    | with metadata_csum                                        |
//! | 0x84   | 12   | three extras     | change, modification, access: 2 bits epoch, 30 bits ns    |
//! | 0x90   | 4    | `crtime`         |                                                           |
//! | 0x94   | 4    | `crtime_extra`   |                                                           |

use std::mem::offset_of;
use std::ops::Range;

use zerocopy::byteorder::{I32, LE, U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::changes::ChangedInode;
use super::checksum;
use super::features::{Incompat, RoCompat};
use super::superblock::Superblock;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{FileKind, Metadata, NodeId, Owner, Times, Timestamp};

/// The root directory.
pub(super) const ROOT: u32 = 2;

/// The bytes of an inode of revision 0, and the part that all have.
pub(super) const OLD_SIZE: usize = 0x80;
/// The blocks that a file can have.
pub(super) const ALL_BLOCKS: Range<u64> = 0..1 << 32;
/// Targets of so many bytes do not fit into `block` with the 0 after them.
pub(super) const FAST_LINK: u64 = 60;
const CHECKSUM_LO_AT: usize = 0x7C;
const CHECKSUM_HI_AT: usize = 0x82;

/// What `flags` says of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    pub(super) const ENCRYPTED: Self = Self(0x0000_0800);
    pub(super) const INDEX: Self = Self(0x0000_1000);
    pub(super) const HUGE_FILE: Self = Self(0x0004_0000);
    pub(super) const EXTENTS: Self = Self(0x0008_0000);
    pub(super) const EA_INODE: Self = Self(0x0020_0000);
    pub(super) const INLINE_DATA: Self = Self(0x1000_0000);
    pub(super) const CASEFOLD: Self = Self(0x4000_0000);

    pub(super) fn new(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawInode {
    mode: U16<LE>,
    uid_lo: U16<LE>,
    size_lo: U32<LE>,
    atime: I32<LE>,
    ctime: I32<LE>,
    mtime: I32<LE>,
    dtime: U32<LE>,
    gid_lo: U16<LE>,
    links_count: U16<LE>,
    blocks_lo: U32<LE>,
    flags: U32<LE>,
    osd1: U32<LE>,
    block: [u8; 60],
    generation: U32<LE>,
    file_acl_lo: U32<LE>,
    size_high: U32<LE>,
    obsolete_fragment: U32<LE>,
    blocks_high: U16<LE>,
    file_acl_high: U16<LE>,
    uid_high: U16<LE>,
    gid_high: U16<LE>,
    checksum_lo: U16<LE>,
    reserved_7e: U16<LE>,
}
const _: () = assert!(offset_of!(RawInode, block) == 0x28);
const _: () = assert!(offset_of!(RawInode, generation) == 0x64);
const _: () = assert!(offset_of!(RawInode, blocks_high) == 0x74);
const _: () = assert!(offset_of!(RawInode, checksum_lo) == CHECKSUM_LO_AT);
const _: () = assert!(size_of::<RawInode>() == OLD_SIZE);

/// What follows the first 128 bytes; as much of it as `extra_isize` says, the rest counts as 0.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct RawExtra {
    extra_isize: U16<LE>,
    checksum_hi: U16<LE>,
    ctime_extra: U32<LE>,
    mtime_extra: U32<LE>,
    atime_extra: U32<LE>,
    crtime: I32<LE>,
    crtime_extra: U32<LE>,
}
const _: () = assert!(offset_of!(RawExtra, ctime_extra) == 0x04);
const _: () = assert!(offset_of!(RawExtra, crtime) == 0x10);
const _: () = assert!(size_of::<RawExtra>() == 0x18);

/// A checked inode.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) kind: FileKind,
    pub(super) size: u64,
    pub(super) flags: Flags,
    /// Block map, extent tree, device number, link target or inline data.
    pub(super) block: [u8; 60],
    /// Bytes used after the first 128.
    pub(super) extra_size: u16,
    /// The sum that those of its extent and directory blocks begin with.
    pub(super) checksum_seed: u32,
    /// Whether a link has blocks of its own for its target.
    pub(super) has_blocks: bool,
    /// Whether its kind of map reaches as far as its size.
    pub(super) size_is_possible: bool,
    /// Whether it says that it was deleted.
    pub(super) is_deleted: bool,
    /// When it was deleted, or the next inode of the list of orphans.
    pub(super) deletion: u32,
    /// Its block of extended attributes, 0 if it has none.
    pub(super) attribute_block: u64,
    allocated: u64,
    generation: u32,
    pub(super) links: u32,
    times: Times,
    owner: Owner,
}

impl Inode {
    /// Checks the inode `number` in `bytes`, which began at `at`.
    ///
    /// # Errors
    /// `NotFound` for an inode that is not in use, `Corrupt` for a bad checksum or type.
    pub(super) fn parse(
        superblock: &Superblock,
        number: u32,
        bytes: &[u8],
        at: u64,
    ) -> FsResult<Self> {
        let inode = Self::parse_unlinked(superblock, number, bytes, at)?;
        if inode.links == 0 { Err(FsError::not_found()) } else { Ok(inode) }
    }

    /// The same of an inode that may have no names any more.
    ///
    /// # Errors
    /// As [`Self::parse`]; `NotFound` for an inode that was never used.
    pub(super) fn parse_unlinked(
        superblock: &Superblock,
        number: u32,
        bytes: &[u8],
        at: u64,
    ) -> FsResult<Self> {
        let (raw, extra) = split(bytes, at)?;
        if superblock.features.ro_compat(RoCompat::METADATA_CSUM) {
            let seed = checksum_seed(superblock, number, raw.generation.get());
            check_sum(raw, &extra, bytes, seed, at)?;
        }
        Self::of(superblock, number, (raw, &extra), at)
    }

    /// The inode `number` as fast commits have made it.
    ///
    /// # Errors
    /// As [`Self::parse`]; there is no checksum.
    pub(super) fn parse_changed(
        superblock: &Superblock,
        number: u32,
        changed: &ChangedInode,
    ) -> FsResult<Self> {
        let (raw, extra) = split(&changed.bytes, 0)?;
        let mut inode = Self::of(superblock, number, (raw, &extra), 0)?;
        if inode.links == 0 {
            return Err(FsError::not_found());
        }
        inode.allocated = inode.allocated.max(changed.added);
        Ok(inode)
    }

    /// The inode of the journal by what the superblock keeps of it.
    pub(super) fn of_journal(superblock: &Superblock, block: [u8; 60], size: u64) -> Self {
        let flags = if block.starts_with(&[0x0A, 0xF3]) { Flags::EXTENTS } else { Flags(0) };
        let number = superblock.journal_inode;
        Self {
            number,
            kind: FileKind::Regular,
            size,
            flags,
            block,
            extra_size: 0,
            checksum_seed: checksum_seed(superblock, number, 0),
            has_blocks: true,
            size_is_possible: size <= largest(superblock, flags),
            is_deleted: false,
            deletion: 0,
            attribute_block: 0,
            allocated: size,
            generation: 0,
            links: 1,
            times: Times::default(),
            owner: Owner { uid: 0, gid: 0, mode: 0o600 },
        }
    }

    fn of(
        superblock: &Superblock,
        number: u32,
        (raw, extra): (&RawInode, &RawExtra),
        at: u64,
    ) -> FsResult<Self> {
        let kind = kind(raw.mode.get())
            .ok_or_else(|| FsError::corrupt("inode has an unknown file type").at(at))?;
        let flags = Flags(raw.flags.get());
        let size = size(superblock, raw, kind, at)?;
        // Without 64-bit numbers of blocks the field is not that of Linux.
        let high =
            if superblock.features.incompat(Incompat::BIT64) { raw.file_acl_high.get() } else { 0 };
        let attribute_block = (u64::from(high) << 32) | u64::from(raw.file_acl_lo.get());
        let allocated = allocated(superblock, raw, flags);
        let attribute_bytes = if attribute_block == 0 { 0 } else { superblock.cluster_size };
        Ok(Self {
            number,
            kind,
            size,
            flags,
            block: raw.block,
            extra_size: extra.extra_isize.get(),
            checksum_seed: checksum_seed(superblock, number, raw.generation.get()),
            has_blocks: if superblock.features.incompat(Incompat::EA_INODE) {
                // Attributes in inodes of their own count as blocks here.
                size >= FAST_LINK
            } else {
                allocated > attribute_bytes
            },
            size_is_possible: size <= largest(superblock, flags),
            // A small number is that of the next inode in the list of orphans.
            is_deleted: raw.dtime.get() > superblock.inodes_count,
            deletion: raw.dtime.get(),
            attribute_block,
            allocated,
            generation: raw.generation.get(),
            links: u32::from(raw.links_count.get()),
            times: times(raw, extra),
            owner: Owner {
                uid: (u32::from(raw.uid_high.get()) << 16) | u32::from(raw.uid_lo.get()),
                gid: (u32::from(raw.gid_high.get()) << 16) | u32::from(raw.gid_lo.get()),
                mode: raw.mode.get() & 0o7777,
            },
        })
    }

    /// Tells two files apart that had the same number at different times.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// The hash that an inode for the value of an attribute has in place of its access time.
    pub(super) fn value_hash(&self) -> u32 {
        low_word(self.times.accessed.seconds)
    }

    /// Number and generation of the inode that one of Lustre has the value of an attribute of.
    pub(super) fn value_parent(&self) -> (u32, u32) {
        (low_word(self.times.modified.seconds), self.generation)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags.has(Flags::ENCRYPTED)
    }

    /// How many blocks it says that its content has, those of its map too; `None` where other
    /// things are counted with them.
    pub(super) fn block_count(&self, superblock: &Superblock) -> Option<u64> {
        let block_size = superblock.block_size;
        let has_clusters = superblock.cluster_size != block_size.get();
        if has_clusters || superblock.features.incompat(Incompat::EA_INODE) {
            return None;
        }
        let own = self.allocated / block_size;
        Some(own.saturating_sub(u64::from(self.attribute_block != 0)))
    }

    /// What the trait tells of this inode.
    pub(super) fn metadata(&self) -> Metadata {
        let content = matches!(self.kind, FileKind::Regular | FileKind::Symlink);
        let unreadable = if content && self.is_encrypted() {
            Some(FsErrorKind::Encrypted)
        } else {
            (!self.size_is_possible).then_some(FsErrorKind::Corrupt)
        };
        // Inline data has no blocks, and yet it is no hole; Linux counts it the same way.
        let inline = if self.flags.has(Flags::INLINE_DATA) { self.size } else { 0 };
        Metadata {
            generation: u64::from(self.generation),
            size: self.size,
            allocated: self.allocated.saturating_add(inline),
            links: self.links,
            times: self.times,
            owner: Some(self.owner),
            device: self.device(),
            unreadable,
            ..Metadata::new(NodeId(u64::from(self.number)), self.kind)
        }
    }

    /// Major and minor number of a device node: 8 and 8 bits in the first word of `block`, or 12
    /// and 20 bits in the second.
    fn device(&self) -> Option<(u32, u32)> {
        if !matches!(self.kind, FileKind::CharDevice | FileKind::BlockDevice) {
            return None;
        }
        let (words, _) = self.block.as_chunks::<4>();
        let mut words = words.iter().map(|&word| u32::from_le_bytes(word));
        let old = words.next()?;
        let new = words.next()?;
        if old != 0 {
            return Some(((old >> 8) & 0xFF, old & 0xFF));
        }
        Some(((new >> 8) & 0xFFF, (new & 0xFF) | ((new >> 12) & 0xF_FF00)))
    }
}

/// The two parts of the inode in `bytes`, which began at `at`.
///
/// # Errors
/// `NotFound` for an inode that was never used.
fn split(bytes: &[u8], at: u64) -> FsResult<(&RawInode, RawExtra)> {
    let (raw, rest) = RawInode::ref_from_prefix(bytes)
        .map_err(|_| FsError::corrupt("inode is cut short").at(at))?;
    if raw.mode.get() == 0 && raw.links_count.get() == 0 {
        return Err(FsError::not_found());
    }
    Ok((raw, extra_fields(rest, at)?))
}

/// The size of the largest file: block numbers of an extent have 32 bits, of which the last is
/// not used; a block map has three levels.
fn largest(superblock: &Superblock, flags: Flags) -> u64 {
    let block_size = superblock.block_size.get();
    let all = ALL_BLOCKS.end.saturating_sub(1);
    let blocks = if flags.has(Flags::EXTENTS) || flags.has(Flags::INLINE_DATA) {
        all
    } else {
        let numbers = block_size / 4;
        let levels = (1..=3).map(|level| numbers.saturating_pow(level));
        levels.fold(12_u64, u64::saturating_add).min(all)
    };
    blocks.saturating_mul(block_size)
}

fn extra_fields(rest: &[u8], at: u64) -> FsResult<RawExtra> {
    let mut extra = RawExtra::new_zeroed();
    let Some(used) = rest.first_chunk::<2>() else {
        return Ok(extra);
    };
    let used = usize::from(u16::from_le_bytes(*used));
    if used > rest.len() || !used.is_multiple_of(4) {
        return Err(FsError::corrupt("inode has an invalid extra size").at(at));
    }
    for (to, from) in extra.as_mut_bytes().iter_mut().zip(rest.iter().take(used)) {
        *to = *from;
    }
    Ok(extra)
}

fn checksum_seed(superblock: &Superblock, number: u32, generation: u32) -> u32 {
    let seed = checksum::update(superblock.checksum_seed, &number.to_le_bytes());
    checksum::update(seed, &generation.to_le_bytes())
}

/// The sum covers the whole inode with its own two fields taken as 0.
fn check_sum(raw: &RawInode, extra: &RawExtra, bytes: &[u8], seed: u32, at: u64) -> FsResult<()> {
    let has_high = extra.extra_isize.get() >= 4;
    let zeros = [0; 2];
    let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
    let mut sum = checksum::update(seed, part(0, CHECKSUM_LO_AT));
    sum = checksum::update(sum, &zeros);
    let after_low = CHECKSUM_LO_AT.saturating_add(2);
    if has_high {
        sum = checksum::update(sum, part(after_low, CHECKSUM_HI_AT));
        sum = checksum::update(sum, &zeros);
        sum = checksum::update(sum, part(CHECKSUM_HI_AT.saturating_add(2), bytes.len()));
    } else {
        sum = checksum::update(sum, part(after_low, bytes.len()));
    }
    let low = u32::from(raw.checksum_lo.get());
    let good = if has_high {
        sum == (u32::from(extra.checksum_hi.get()) << 16) | low
    } else {
        sum & 0xFFFF == low
    };
    if good { Ok(()) } else { Err(FsError::corrupt("inode has a bad checksum").at(at)) }
}

fn kind(mode: u16) -> Option<FileKind> {
    match mode >> 12 {
        0x1 => Some(FileKind::Fifo),
        0x2 => Some(FileKind::CharDevice),
        0x4 => Some(FileKind::Directory),
        0x6 => Some(FileKind::BlockDevice),
        0x8 => Some(FileKind::Regular),
        0xA => Some(FileKind::Symlink),
        0xC => Some(FileKind::Socket),
        _ => None,
    }
}

fn size(superblock: &Superblock, raw: &RawInode, kind: FileKind, at: u64) -> FsResult<u64> {
    // In a directory of ext2 the upper half is the block of its access control list.
    let large = kind == FileKind::Regular || superblock.features.incompat(Incompat::LARGEDIR);
    let high = if large { u64::from(raw.size_high.get()) } else { 0 };
    let size = (high << 32) | u64::from(raw.size_lo.get());
    if i64::try_from(size).is_err() {
        return Err(FsError::corrupt("inode has a negative size").at(at));
    }
    Ok(size)
}

fn allocated(superblock: &Superblock, raw: &RawInode, flags: Flags) -> u64 {
    let low = u64::from(raw.blocks_lo.get());
    if !superblock.features.ro_compat(RoCompat::HUGE_FILE) || superblock.made_by_hurd {
        return low.saturating_mul(512);
    }
    let count = (u64::from(raw.blocks_high.get()) << 32) | low;
    let unit = if flags.has(Flags::HUGE_FILE) { superblock.block_size.get() } else { 512 };
    count.saturating_mul(unit)
}

/// What the 32-bit field had that `seconds` were made of.
fn low_word(seconds: i64) -> u32 {
    let [a, b, c, d, ..] = seconds.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn times(raw: &RawInode, extra: &RawExtra) -> Times {
    let has_creation = extra.extra_isize.get() >= 0x18;
    Times {
        modified: timestamp(raw.mtime.get(), extra.mtime_extra.get()),
        accessed: timestamp(raw.atime.get(), extra.atime_extra.get()),
        changed: timestamp(raw.ctime.get(), extra.ctime_extra.get()),
        created: has_creation.then(|| timestamp(extra.crtime.get(), extra.crtime_extra.get())),
    }
}

fn timestamp(seconds: i32, extra: u32) -> Timestamp {
    let epoch = i64::from(extra & 3) << 32;
    let nanoseconds = extra >> 2;
    Timestamp {
        seconds: i64::from(seconds).saturating_add(epoch),
        nanoseconds: if nanoseconds < 1_000_000_000 { nanoseconds } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_its_epoch_bits_and_its_sign() {
        assert_eq!(timestamp(-1, 0), Timestamp { seconds: -1, nanoseconds: 0 });
        assert_eq!(
            timestamp(0, (999_999_999 << 2) | 1),
            Timestamp { seconds: 1 << 32, nanoseconds: 999_999_999 }
        );
        assert_eq!(timestamp(5, u32::MAX).nanoseconds, 0, "not a number of nanoseconds");
    }
}
