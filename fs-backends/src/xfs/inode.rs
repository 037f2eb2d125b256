//! The inode: what is known of a file without its content, and where its forks are.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "On-disk Inode". Big-endian.
//!
//! | offset | size | field            | rule                                                       |
//! |--------|------|------------------|------------------------------------------------------------|
//! | 0x00   | 2    | `magic`          | `IN`                                                       |
//! | 0x02   | 2    | `mode`           | type and permissions; 0 in a free inode                    |
//! | 0x04   | 1    | `version`        | 1 or 2 in file systems of version 4, 3 in those of 5       |
//! | 0x05   | 1    | `format`         | of the data fork, see [`Format`]                           |
//! | 0x06   | 2    | `old_links`      | version 1                                                  |
//! | 0x08   | 8    | `uid`, `gid`     |                                                            |
//! | 0x10   | 4    | `links`          | 0 in a file that was deleted while it was open             |
//! | 0x18   | 8    | `big_extents`    | extents of the data fork, with large extent counters       |
//! | 0x20   | 24   | three times      | access, modification, change                               |
//! | 0x38   | 8    | `size`           |                                                            |
//! | 0x40   | 8    | `blocks`         | of both forks, their trees too                             |
//! | 0x4C   | 4    | `extents`        | of the data fork; of the other with large counters         |
//! | 0x50   | 2    | `other_extents`  | of the attribute fork                                      |
//! | 0x52   | 1    | `fork_offset`    | of the attribute fork in units of 8 bytes, 0: there is none |
//! | 0x53   | 1    | `other_format`   | of the attribute fork                                      |
//! | 0x5A   | 2    | `flags`          |                                                            |
//! | 0x5C   | 4    | `generation`     |                                                            |
//! | 0x64   | 4    | `checksum`       | version 3: CRC-32C of the inode                            |
//! | 0x78   | 8    | `flags2`         | version 3                                                  |
//! | 0x90   | 8    | `created`        | version 3                                                  |
//! | 0x98   | 8    | `number`         | version 3: its own                                         |
//! | 0xA0   | 16   | `uuid`           | version 3                                                  |
//!
//! A time is signed seconds and nanoseconds, 4 bytes each; with the flag `bigtime` nanoseconds since
//! 1901-12-13T20:45:52Z, the least of the others.

use std::mem::offset_of;
use std::ops::Range;

use zerocopy::byteorder::{BE, I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::bytes::be32;
use super::checksum;
use super::superblock::Superblock;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{FileKind, Metadata, NodeId, Owner, Times, Timestamp};

/// What every inode begins with.
pub(super) const MAGIC: [u8; 2] = *b"IN";
/// Where the checksum lies.
pub(super) const CHECKSUM_AT: usize = 0x64;
/// The bytes that all versions have.
const OLD_SIZE: usize = 0x64;

const FLAG_REALTIME: u16 = 0x0001;
const FLAG2_BIG_TIME: u64 = 0x08;
/// In `flags2`: the extent counters have more bits, in other places.
pub(super) const FLAG2_LARGE_COUNTS: u64 = 0x10;
/// Where `bigtime` begins, in seconds.
const BIG_TIME_START: i64 = -(1 << 31);
const BILLION: u64 = 1_000_000_000;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawInode {
    magic: [u8; 2],
    mode: U16<BE>,
    version: u8,
    format: u8,
    old_links: U16<BE>,
    uid: U32<BE>,
    gid: U32<BE>,
    links: U32<BE>,
    project: [u8; 4],
    big_extents: U64<BE>,
    accessed: [u8; 8],
    modified: [u8; 8],
    changed: [u8; 8],
    size: U64<BE>,
    blocks: U64<BE>,
    extent_size: U32<BE>,
    extents: U32<BE>,
    other_extents: U16<BE>,
    fork_offset: u8,
    other_format: u8,
    dmapi: [u8; 6],
    flags: U16<BE>,
    generation: U32<BE>,
    next_unlinked: U32<BE>,
}
const _: () = assert!(offset_of!(RawInode, accessed) == 0x20);
const _: () = assert!(offset_of!(RawInode, extents) == 0x4C);
const _: () = assert!(offset_of!(RawInode, flags) == 0x5A);
const _: () = assert!(size_of::<RawInode>() == OLD_SIZE);

/// What version 3 has after that.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawVersion3 {
    checksum: [u8; 4],
    change_count: U64<BE>,
    lsn: U64<BE>,
    flags2: U64<BE>,
    cow_extent_size: U32<BE>,
    reserved: [u8; 12],
    created: [u8; 8],
    number: U64<BE>,
    uuid: [u8; 16],
}
const _: () = assert!(OLD_SIZE + offset_of!(RawVersion3, flags2) == 0x78);
const _: () = assert!(OLD_SIZE + offset_of!(RawVersion3, created) == 0x90);
const _: () = assert!(OLD_SIZE + size_of::<RawVersion3>() == 0xB0);

/// What a fork holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The number of a device.
    Device,
    /// The content itself.
    Local,
    /// A list of extents.
    Extents,
    /// The root of a tree of extents.
    Tree,
}

impl Format {
    fn parse(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Device),
            1 => Some(Self::Local),
            2 => Some(Self::Extents),
            3 => Some(Self::Tree),
            _ => None,
        }
    }
}

/// One of the two forks of an inode.
#[derive(Clone, Debug)]
pub(super) struct Fork {
    pub(super) format: Format,
    /// How many extents it says it has.
    pub(super) extents: u64,
    /// Its bytes in the inode.
    pub(super) area: Range<usize>,
}

impl Fork {
    /// Its bytes, of an inode in `bytes`.
    pub(super) fn bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.area.clone()).unwrap_or_default()
    }
}

/// A checked inode.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) kind: FileKind,
    pub(super) size: u64,
    pub(super) data: Fork,
    /// The fork of the attributes, if there is one.
    pub(super) attributes: Option<Fork>,
    /// Whether the content is on the realtime device.
    pub(super) is_realtime: bool,
    allocated: u64,
    generation: u32,
    links: u32,
    times: Times,
    owner: Owner,
    device: Option<(u32, u32)>,
}

impl Inode {
    /// Checks the inode `number` in `bytes`, which began at `at`.
    ///
    /// # Errors
    /// `NotFound` for an inode that is not in use, `Corrupt` for a bad checksum, another inode's
    /// number or fields that cannot be, `Unsupported` for an unknown format of the data fork.
    pub(super) fn parse(
        superblock: &Superblock,
        number: u64,
        bytes: &[u8],
        at: u64,
    ) -> FsResult<Self> {
        let corrupt = |what: &str| FsError::corrupt(format!("inode {number} {what}")).at(at);
        let (raw, rest) = RawInode::ref_from_prefix(bytes).map_err(|_| corrupt("is cut short"))?;
        if raw.magic != MAGIC {
            return Err(corrupt("has a wrong magic number"));
        }
        let version3 = if superblock.features.is_v5 {
            Some(check_version3(superblock, number, raw, rest, bytes).map_err(corrupt)?)
        } else if matches!(raw.version, 1 | 2) {
            None
        } else {
            return Err(corrupt("has a wrong version"));
        };
        let links = if raw.version == 1 { u32::from(raw.old_links.get()) } else { raw.links.get() };
        if raw.mode.get() == 0 || links == 0 {
            return Err(FsError::not_found());
        }
        let kind = kind(raw.mode.get()).ok_or_else(|| corrupt("has an unknown file type"))?;
        let size = raw.size.get();
        if size > i64::MAX.unsigned_abs() {
            return Err(corrupt("has an invalid size"));
        }
        let flags2 = version3.map_or(0, |version3| version3.flags2.get());
        let (data, attributes) = forks(superblock, raw, flags2, bytes.len())
            .ok_or_else(|| corrupt("has invalid forks"))?;
        let data = match data {
            Some(data) if suits(kind, data.format) => data,
            Some(_) => return Err(corrupt("has a data fork of a wrong format")),
            None => {
                let message = format!("inode {number} has a data fork of an unknown format");
                return Err(FsError::unsupported(message).at(at));
            }
        };
        let time = |bytes: [u8; 8]| time(bytes, flags2 & FLAG2_BIG_TIME != 0);
        if version3.is_none() && !fits_blocks(raw.blocks.get(), &data, attributes.as_ref(), bytes) {
            return Err(corrupt("has another number of blocks than its extents"));
        }
        let device = match kind {
            FileKind::CharDevice | FileKind::BlockDevice => {
                // 14 bits of major, 18 of minor, as System V has them.
                be32(data.bytes(bytes), 0).map(|word| (word >> 18, word & 0x3_FFFF))
            }
            _ => None,
        };
        Ok(Self {
            number,
            kind,
            size,
            data,
            attributes,
            is_realtime: kind == FileKind::Regular && raw.flags.get() & FLAG_REALTIME != 0,
            allocated: raw.blocks.get().saturating_mul(superblock.block_size.get()),
            generation: raw.generation.get(),
            links,
            times: Times {
                modified: time(raw.modified),
                accessed: time(raw.accessed),
                changed: time(raw.changed),
                created: version3.map(|version3| time(version3.created)),
            },
            owner: Owner { uid: raw.uid.get(), gid: raw.gid.get(), mode: raw.mode.get() & 0o7777 },
            device,
        })
    }

    /// What the trait tells of this inode.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            generation: u64::from(self.generation),
            size: if self.device.is_some() { 0 } else { self.size },
            allocated: self.allocated,
            links: self.links,
            times: self.times,
            owner: Some(self.owner),
            device: self.device,
            unreadable: self.is_realtime.then_some(FsErrorKind::MissingPart),
            ..Metadata::new(NodeId(self.number), self.kind)
        }
    }
}

fn check_version3<'b>(
    superblock: &Superblock,
    number: u64,
    raw: &RawInode,
    rest: &'b [u8],
    bytes: &[u8],
) -> Result<&'b RawVersion3, &'static str> {
    let (version3, _) = RawVersion3::ref_from_prefix(rest).map_err(|_| "is cut short")?;
    if !checksum::is_good(bytes, CHECKSUM_AT) {
        return Err("has a bad checksum");
    }
    if raw.version != 3 {
        return Err("has a wrong version");
    }
    if version3.number.get() != number {
        return Err("has the number of another inode");
    }
    if version3.uuid != superblock.meta_uuid {
        return Err("is of another file system");
    }
    Ok(version3)
}

/// The two forks of an inode of `size` bytes; the data fork is `None` if its format is not known.
/// `None` if they leave the inode.
fn forks(
    superblock: &Superblock,
    raw: &RawInode,
    flags2: u64,
    size: usize,
) -> Option<(Option<Fork>, Option<Fork>)> {
    let start = superblock.inode_core();
    let split = start.checked_add(usize::from(raw.fork_offset).checked_mul(8)?)?;
    let has_attributes = raw.fork_offset != 0;
    let end = if has_attributes { split } else { size };
    if end > size || start > end {
        return None;
    }
    let large = flags2 & FLAG2_LARGE_COUNTS != 0;
    let (extents, others) = if large {
        (raw.big_extents.get(), u64::from(raw.extents.get()))
    } else {
        (u64::from(raw.extents.get()), u64::from(raw.other_extents.get()))
    };
    let data = Format::parse(raw.format).map(|format| Fork { format, extents, area: start..end });
    let attributes = if has_attributes {
        let format = Format::parse(raw.other_format).filter(|&format| format != Format::Device)?;
        Some(Fork { format, extents: others, area: split..size })
    } else {
        None
    };
    Some((data, attributes))
}

/// Whether `blocks` are those of both forks of the inode in `bytes`, as far as it has their extents
/// itself. Version 4 has no checksum that says so.
fn fits_blocks(blocks: u64, data: &Fork, attributes: Option<&Fork>, bytes: &[u8]) -> bool {
    let forks = || [Some(data), attributes].into_iter().flatten();
    let lists = forks().filter(|fork| fork.format == Format::Extents);
    let counted = lists.map(|fork| {
        let (extents, _) = fork.bytes(bytes).as_chunks::<16>();
        let count = usize::try_from(fork.extents).unwrap_or(usize::MAX);
        // The number of blocks is in the last 21 bits.
        let counts = extents.iter().take(count).filter_map(|extent| be32(extent, 12));
        counts.map(|word| u64::from(word & 0x1F_FFFF)).fold(0, u64::saturating_add)
    });
    let counted = counted.fold(0, u64::saturating_add);
    let has_tree = forks().any(|fork| fork.format == Format::Tree);
    if has_tree { blocks > counted } else { blocks == counted }
}

/// Whether a node of `kind` can have a data fork of `format`.
fn suits(kind: FileKind, format: Format) -> bool {
    match kind {
        FileKind::Regular => matches!(format, Format::Extents | Format::Tree),
        FileKind::Directory | FileKind::Symlink => format != Format::Device,
        _ => format == Format::Device,
    }
}

fn kind(mode: u16) -> Option<FileKind> {
    Some(match mode >> 12 {
        0x1 => FileKind::Fifo,
        0x2 => FileKind::CharDevice,
        0x4 => FileKind::Directory,
        0x6 => FileKind::BlockDevice,
        0x8 => FileKind::Regular,
        0xA => FileKind::Symlink,
        0xC => FileKind::Socket,
        _ => return None,
    })
}

fn time(bytes: [u8; 8], is_big: bool) -> Timestamp {
    if is_big {
        let whole = u64::from_be_bytes(bytes);
        let (seconds, nanoseconds) = (whole / BILLION, whole % BILLION);
        return Timestamp {
            seconds: BIG_TIME_START.saturating_add_unsigned(seconds),
            nanoseconds: u32::try_from(nanoseconds).unwrap_or_default(),
        };
    }
    let Ok((seconds, rest)) = I32::<BE>::ref_from_prefix(&bytes) else {
        return Timestamp::default();
    };
    let nanoseconds = be32(rest, 0).filter(|&count| u64::from(count) < BILLION);
    Timestamp { seconds: i64::from(seconds.get()), nanoseconds: nanoseconds.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_points_in_time() {
        let old = time([0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 5], false);
        assert_eq!(old, Timestamp { seconds: -1, nanoseconds: 5 });
        let least = time([0; 8], true);
        assert_eq!(least.to_string(), "1901-12-13T20:45:52Z");
        let count = ((1_u64 << 31) + 7) * BILLION + 9;
        assert_eq!(time(count.to_be_bytes(), true), Timestamp { seconds: 7, nanoseconds: 9 });
        assert_eq!(time([0xFF; 8], true).to_string(), "2486-07-02T20:20:25Z");
    }
}
