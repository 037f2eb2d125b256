//! An inode as an item of the log has it, put in the place of the one on the volume.
//!
//! The item has the inode's fields at the same offsets, little-endian, then its forks as they are on
//! the volume, but for roots of trees, which are as in memory: a whole header, keys and pointers with
//! room by the size of the region.

use super::items::InodeItem;
use super::transactions::Item;
use crate::error::{FsError, FsResult};
use crate::xfs::bytes::{array, be16, byte, put};
use crate::xfs::checksum;
use crate::xfs::inode::{CHECKSUM_AT, FLAG2_LARGE_COUNTS, MAGIC};
use crate::xfs::superblock::Superblock;

/// Where fields of more than one byte lie, and their sizes.
const FIELDS: [(usize, usize); 17] = [
    (0x00, 2),
    (0x02, 2),
    (0x06, 2),
    (0x08, 4),
    (0x0C, 4),
    (0x10, 4),
    (0x14, 2),
    (0x16, 2),
    (0x38, 8),
    (0x40, 8),
    (0x48, 4),
    (0x4C, 4),
    (0x50, 2),
    (0x54, 4),
    (0x58, 2),
    (0x5A, 2),
    (0x5C, 4),
];
/// Those of version 3.
const FIELDS_3: [(usize, usize); 7] =
    [(0x60, 4), (0x64, 4), (0x68, 8), (0x70, 8), (0x78, 8), (0x80, 4), (0x98, 8)];
/// Times, which are one field or two; the last is of version 3.
const TIMES: [usize; 4] = [0x20, 0x28, 0x30, 0x90];
/// Extents of the data fork, with large counters.
const LARGE_COUNTER: (usize, usize) = (0x18, 8);
/// How many times the inode was written, without large counters.
const FLUSH_COUNT_AT: usize = 0x1E;
const FORK_OFFSET_AT: usize = 0x52;
const OLD_CORE: usize = 96;
const CORE: usize = 176;
const NEXT_UNLINKED: usize = 0x60;
const LSN_AT: usize = 0x70;
const FLAG2_BIG_TIME: u64 = 0x08;
const HEADER_V4: usize = 24;
const HEADER_V5: usize = 72;
const ROOT_HEADER: usize = 4;
const RECORD: usize = 16;

fn corrupt(what: &str) -> FsError {
    FsError::corrupt(format!("inode in the log {what}"))
}

/// Changes the inode in `bytes` as `item` says, which was parsed as `parsed` and is of a transaction
/// with `lsn`; `false` if the inode on the volume is newer.
///
/// # Errors
/// `Corrupt` if either is no inode or the item does not fit, `Unsupported` if the item changes blocks
/// elsewhere too.
pub(super) fn apply(
    superblock: &Superblock,
    parsed: &InodeItem,
    item: &Item,
    lsn: u64,
    bytes: &mut [u8],
) -> FsResult<bool> {
    if !bytes.starts_with(&MAGIC) {
        return Err(corrupt("is no inode on the volume"));
    }
    if parsed.fields & InodeItem::OWNERS != 0 {
        return Err(FsError::unsupported("log gives the blocks of an inode to another"));
    }
    let is_v5 = superblock.features.is_v5;
    let core = item.region(1);
    if core.len() < (if is_v5 { CORE } else { OLD_CORE }) || !core.starts_with(b"NI") {
        return Err(corrupt("is cut short"));
    }
    if is_newer(is_v5, core, lsn, bytes) {
        return Ok(false);
    }
    let turned = turned(core, is_v5).ok_or_else(|| corrupt("is cut short"))?;
    put_core(&turned, is_v5, lsn, bytes).ok_or_else(|| corrupt("is larger than its place"))?;
    let forks = forks(superblock, parsed, item, bytes);
    forks.ok_or_else(|| corrupt("has forks that do not fit"))?;
    if is_v5 {
        checksum::store(bytes, CHECKSUM_AT).ok_or_else(|| corrupt("is cut short"))?;
    }
    Ok(true)
}

/// Whether the inode in `bytes` is newer than the one in `core`.
fn is_newer(is_v5: bool, core: &[u8], lsn: u64, bytes: &[u8]) -> bool {
    if is_v5 {
        // Several transactions begin in one record, so that the same number is not newer.
        let own = array(bytes, LSN_AT).map(u64::from_be_bytes);
        return own.is_some_and(|own| own != 0 && own != u64::MAX && own > lsn);
    }
    let logged = array(core, FLUSH_COUNT_AT).map(u16::from_le_bytes).unwrap_or_default();
    let own = be16(bytes, FLUSH_COUNT_AT).unwrap_or_default();
    let wrapped = own == u16::MAX && logged < u16::MAX >> 1;
    logged < own && !wrapped
}

/// The fields of `core`, big-endian.
fn turned(core: &[u8], is_v5: bool) -> Option<Vec<u8>> {
    let mut all = core.get(..if is_v5 { CORE } else { OLD_CORE })?.to_vec();
    let flags2 = if is_v5 { u64::from_le_bytes(array(core, 0x78)?) } else { 0 };
    let mut fields = FIELDS.to_vec();
    if is_v5 {
        fields.extend(FIELDS_3);
    }
    let large = flags2 & FLAG2_LARGE_COUNTS != 0;
    fields.push(if large { LARGE_COUNTER } else { (FLUSH_COUNT_AT, 2) });
    for time in TIMES.into_iter().filter(|&time| time < all.len()) {
        if flags2 & FLAG2_BIG_TIME != 0 {
            fields.push((time, 8));
        } else {
            fields.extend([(time, 4), (time.checked_add(4)?, 4)]);
        }
    }
    for (at, size) in fields {
        all.get_mut(at..at.checked_add(size)?)?.reverse();
    }
    Some(all)
}

/// Puts the fields in their places; the link of a list of inodes stays as it is.
fn put_core(turned: &[u8], is_v5: bool, lsn: u64, bytes: &mut [u8]) -> Option<()> {
    put(bytes, 0, turned.get(..NEXT_UNLINKED)?)?;
    if is_v5 {
        put(bytes, CHECKSUM_AT, turned.get(CHECKSUM_AT..)?)?;
        put(bytes, LSN_AT, &lsn.to_be_bytes())?;
    } else {
        put(bytes, FLUSH_COUNT_AT, &[0; 2])?;
    }
    Some(())
}

/// Puts the forks of the item in their places; `None` if they do not fit.
fn forks(superblock: &Superblock, parsed: &InodeItem, item: &Item, bytes: &mut [u8]) -> Option<()> {
    let start = superblock.inode_core();
    let offset = usize::from(byte(bytes, FORK_OFFSET_AT)?).checked_mul(8)?;
    let split = if offset == 0 { bytes.len() } else { start.checked_add(offset)? };
    let header = if superblock.features.is_v5 { HEADER_V5 } else { HEADER_V4 };
    let (data, other) = bytes.get_mut(start..)?.split_at_mut_checked(split.checked_sub(start)?)?;
    if parsed.fields & InodeItem::DEVICE != 0 {
        put(data, 0, &parsed.device.to_be_bytes())?;
    }
    let mut region = 2_usize;
    for (fork, plain, root) in [
        (data, InodeItem::DATA | InodeItem::DATA_EXTENTS, InodeItem::DATA_ROOT),
        (other, InodeItem::OTHER | InodeItem::OTHER_EXTENTS, InodeItem::OTHER_ROOT),
    ] {
        if parsed.fields & (plain | root) == 0 {
            continue;
        }
        let logged = item.region(region);
        region = region.checked_add(1)?;
        if parsed.fields & root == 0 {
            // Regions are filled up to a multiple of 4.
            let part = logged.get(..logged.len().min(fork.len()))?;
            put(fork, 0, part)?;
        } else {
            put_root(fork, logged, header)?;
        }
    }
    Some(())
}

/// Puts the root of a tree in its fork.
fn put_root(fork: &mut [u8], logged: &[u8], header: usize) -> Option<()> {
    let count = usize::from(be16(logged, 6)?);
    let room = logged.len().checked_sub(header)? / RECORD;
    let own_room = fork.len().checked_sub(ROOT_HEADER)? / RECORD;
    if count > room || count > own_room {
        return None;
    }
    let bytes = count.checked_mul(8)?;
    put(fork, 0, logged.get(4..8)?)?;
    let keys = logged.get(header..)?.get(..bytes)?;
    let pointers = logged.get(header.checked_add(room.checked_mul(8)?)?..)?.get(..bytes)?;
    put(fork, ROOT_HEADER, keys)?;
    put(fork, ROOT_HEADER.checked_add(own_room.checked_mul(8)?)?, pointers)
}
