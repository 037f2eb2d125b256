//! A block of a directory.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Directory
//! Entries". Little-endian. Every block is a chain of entries that fills it:
//!
//! | offset | size | field         | rule                                                      |
//! |--------|------|---------------|-----------------------------------------------------------|
//! | 0x00   | 4    | `inode`       | 0: no name, only room                                     |
//! | 0x04   | 2    | `length`      | to the next entry, a multiple of 4; 0 and 65535: 64 KiB   |
//! | 0x06   | 1    | `name_length` |                                                           |
//! | 0x07   | 1    | `file_type`   | with filetype; else the high byte of `name_length`        |
//! | 0x08   |      | name          |                                                           |
//!
//! With metadata_csum the last entry of a block has no inode, the length 12, the type 0xDE and a
//! CRC-32C of all before it in place of its name. The interior blocks of a hashed directory look
//! like blocks without names, so that reading all blocks in order finds every name once.

use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::features::RoCompat;
use super::inode::Inode;
use super::superblock::Superblock;
use crate::node::FileKind;

const CHECKSUM_TYPE: u8 = 0xDE;
/// Where the root of a hashed directory has its counts, after `.`, `..` and 8 bytes on the hash.
pub(super) const ROOT_COUNTS_AT: usize = 0x20;
/// Where other interior blocks have theirs.
pub(super) const NODE_COUNTS_AT: usize = size_of::<RawEntry>();
/// Hash and block number.
pub(super) const INTERIOR_ENTRY: usize = 8;

/// An entry, without its name.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawEntry {
    pub(super) inode: U32<LE>,
    length: U16<LE>,
    name_length: u8,
    pub(super) file_type: u8,
}
const _: () = assert!(size_of::<RawEntry>() == 0x08);

/// The entry that carries the checksum of a block.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTail {
    inode: U32<LE>,
    length: U16<LE>,
    name_length: u8,
    file_type: u8,
    checksum: U32<LE>,
}
const _: () = assert!(size_of::<RawTail>() == 0x0C);

/// How many entries an interior block of a hashed directory has, and has room for.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawCounts {
    pub(super) limit: U16<LE>,
    pub(super) count: U16<LE>,
}

/// What follows the last possible entry of an interior block.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawInteriorTail {
    reserved: U32<LE>,
    checksum: U32<LE>,
}
const _: () = assert!(size_of::<RawInteriorTail>() == 0x08);

/// The first entry of `bytes`, its name, and what follows it; `None` if it breaks the rules.
pub(super) fn split_entry(bytes: &[u8]) -> Option<(&RawEntry, &[u8], &[u8])> {
    let (raw, body) = RawEntry::ref_from_prefix(bytes).ok()?;
    let length = match raw.length.get() {
        // Blocks of 64 KiB: one entry may fill all of it, which 16 bits cannot say.
        0 | u16::MAX if bytes.len() == 0x1_0000 => 0x1_0000,
        length => usize::from(length),
    };
    if !length.is_multiple_of(4) {
        return None;
    }
    let (_, later) = bytes.split_at_checked(length)?;
    let room = length.checked_sub(size_of::<RawEntry>())?;
    let name = body.get(..room)?.get(..usize::from(raw.name_length))?;
    Some((raw, name, later))
}

/// Whether the checksum of a directory block holds, where it has one.
pub(super) fn sum_is_good(superblock: &Superblock, inode: &Inode, block: &[u8]) -> bool {
    if !superblock.features.ro_compat(RoCompat::METADATA_CSUM) {
        return true;
    }
    let Ok((covered, tail)) = RawTail::ref_from_suffix(block) else {
        return false;
    };
    if let Some(count_at) = interior_counts(block) {
        return interior_sum_is_good(inode, block, count_at).unwrap_or(false);
    }
    let is_tail =
        tail.inode.get() == 0 && tail.length.get() == 12 && tail.file_type == CHECKSUM_TYPE;
    is_tail && checksum::update(inode.checksum_seed, covered) == tail.checksum.get()
}

/// Checks an interior block of a hashed directory whose entry counts are at `count_at`.
fn interior_sum_is_good(inode: &Inode, block: &[u8], count_at: usize) -> Option<bool> {
    let (counts, _) = RawCounts::ref_from_prefix(block.get(count_at..)?).ok()?;
    let end = |entries: &U16<LE>| {
        let bytes = usize::from(entries.get()).checked_mul(INTERIOR_ENTRY)?;
        bytes.checked_add(count_at)
    };
    let covered = block.get(..end(&counts.count)?)?;
    let (tail, _) = RawInteriorTail::ref_from_prefix(block.get(end(&counts.limit)?..)?).ok()?;
    let sum = checksum::update(inode.checksum_seed, covered);
    let sum = checksum::update(sum, tail.reserved.as_bytes());
    Some(checksum::update(sum, &[0; 4]) == tail.checksum.get())
}

/// Where the entry counts are, if `block` is an interior block of a hashed directory: one entry
/// without a name, or `.` and `..` alone, fill it.
///
/// QUIRK: Linux makes the root of the tree out of the first leaf and leaves the old end there, so
/// the last bytes may look like a checksum entry that no entry leads to.
pub(super) fn interior_counts(block: &[u8]) -> Option<usize> {
    match split_entry(block)? {
        (raw, _, []) if raw.inode.get() == 0 => Some(NODE_COUNTS_AT),
        (_, b".", later) => match split_entry(later)? {
            (_, b"..", []) => Some(ROOT_COUNTS_AT),
            _ => None,
        },
        _ => None,
    }
}

/// What a directory says that an entry is.
pub(super) fn kind(file_type: u8) -> Option<FileKind> {
    match file_type {
        1 => Some(FileKind::Regular),
        2 => Some(FileKind::Directory),
        3 => Some(FileKind::CharDevice),
        4 => Some(FileKind::BlockDevice),
        5 => Some(FileKind::Fifo),
        6 => Some(FileKind::Socket),
        7 => Some(FileKind::Symlink),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(inode: u32, length: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend([u8::try_from(name.len()).unwrap(), 1]);
        bytes.extend(name);
        bytes.resize(usize::from(length).max(8), 0);
        bytes
    }

    #[test]
    fn an_entry_that_leaves_its_block_breaks_the_chain() {
        for (length, name_length, good) in
            [(16_u16, 5, true), (12, 5, false), (14, 2, false), (20, 5, false), (4, 0, false)]
        {
            let mut bytes = entry(12, 16, b"hello");
            bytes[4..6].copy_from_slice(&length.to_le_bytes());
            bytes[6] = name_length;
            assert_eq!(split_entry(&bytes).is_some(), good, "{length} {name_length}");
        }
    }

    #[test]
    fn one_entry_may_fill_a_block_of_64_kib() {
        let mut bytes = entry(12, 16, b"hello");
        bytes.resize(0x1_0000, 0);
        for length in [0, u16::MAX] {
            bytes[4..6].copy_from_slice(&length.to_le_bytes());
            let (_, name, later) = split_entry(&bytes).unwrap();
            assert_eq!((name, later.len()), (&b"hello"[..], 0));
        }
    }
}
