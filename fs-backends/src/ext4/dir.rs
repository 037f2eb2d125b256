//! Directories: lists of names with inode numbers.
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
//!
//! A directory in its inode has two such chains, in the bytes 4 to 60 of `block` and in the
//! attribute after them.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use volfold_block::{byte_count, bytes_to_index};
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::changes::ChangedDirectory;
use super::checksum;
use super::damage::ok_unless_corrupt;
use super::features::{Incompat, RoCompat};
use super::inode::{Flags, Inode};
use super::nokey;
use super::superblock::Superblock;
use super::volume::Volume;
use super::{inline, map};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};
use crate::node::FileKind;

/// LIMIT: the bytes of one directory that are looked at, 2 GiB, as the kernel without large_dir.
const MAX_BYTES: u64 = 1 << 31;
/// LIMIT: after so many damaged blocks the rest of a directory is not looked at.
const MAX_DAMAGED: u32 = 1024;
/// How far names of fast commits are from each other; they have no place on the volume.
const ADDED_STEP: u64 = 4;
const CHECKSUM_TYPE: u8 = 0xDE;
/// Where the root of a hashed directory has its counts, after `.`, `..` and 8 bytes on the hash.
const ROOT_COUNTS_AT: usize = 0x20;
/// Hash and block number.
const INTERIOR_ENTRY: usize = 8;
/// The chains of a directory in its inode.
const INLINE_FIRST: Range<usize> = 4..60;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    inode: U32<LE>,
    length: U16<LE>,
    name_length: u8,
    file_type: u8,
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
struct RawCounts {
    limit: U16<LE>,
    count: U16<LE>,
}

/// What follows the last possible entry of an interior block.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawInteriorTail {
    reserved: U32<LE>,
    checksum: U32<LE>,
}
const _: () = assert!(size_of::<RawInteriorTail>() == 0x08);

/// One name.
pub(super) struct Entry<'a> {
    pub(super) inode: u32,
    pub(super) name: &'a [u8],
    /// What the directory says the name is, if it says.
    pub(super) kind: Option<FileKind>,
    /// Where the entry begins in the directory.
    pub(super) position: u64,
    /// Where the next entry begins.
    pub(super) next: u64,
    /// Whether the walk met damage before.
    pub(super) after_damage: bool,
}

/// What a directory says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// The inode of `.`.
    pub(super) own: Option<u32>,
    /// The inode of `..`.
    pub(super) parent: Option<u32>,
}

/// A directory that can be walked.
pub(super) struct Directory<'a> {
    volume: &'a Volume,
    inode: Inode,
    source: Source,
    /// What fast commits have changed in it.
    changed: Option<&'a ChangedDirectory>,
    claims: Cell<Claims>,
}

enum Source {
    Blocks(Extents),
    Inline(Vec<u8>),
    /// All of its names are of fast commits.
    Nothing,
}

/// How a walk went that its visitor did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// The visitor broke.
    Stopped,
    /// All names after the start were visited, if not `damaged`.
    ToTheEnd {
        /// Whether some block or name could not be read.
        damaged: bool,
    },
}

type Visitor<'v> = dyn FnMut(&Entry<'_>) -> FsResult<ControlFlow<()>> + 'v;

impl<'a> Directory<'a> {
    /// The directory `inode`, whose bytes are `bytes`.
    pub(super) fn open(volume: &'a Volume, inode: Inode, bytes: &[u8]) -> FsResult<Self> {
        if inode.kind != FileKind::Directory {
            return Err(FsError::not_a_directory());
        }
        let changed = volume.changes().directory(inode.number);
        let mut claims = Claims::default();
        let source = if changed.is_some_and(|changed| changed.is_new) {
            Source::Nothing
        } else if inode.flags.has(Flags::INLINE_DATA) {
            claims.parent = inode.block.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            Source::Inline(inline::read(&inode, bytes)?)
        } else {
            let extents = map::read(volume, &inode)?;
            let repeats = extents.has_overlap();
            Source::Blocks(if repeats { once_each(volume, &extents)? } else { extents })
        };
        Ok(Self { volume, inode, source, changed, claims: Cell::new(claims) })
    }

    /// The bytes that names may be in.
    pub(super) fn size(&self) -> u64 {
        self.inode.size
    }

    /// Visits the names that begin at `from` or after it, without `.` and `..`.
    ///
    /// # Errors
    /// What the visitor says, or why the host cannot read; damage is in the result.
    pub(super) fn walk(&self, from: u64, visit: &mut Visitor<'_>) -> FsResult<Walked> {
        let mut walk = Walk { directory: self, from, damaged: 0, presented: Vec::new() };
        let walked = match &self.source {
            Source::Inline(bytes) => walk.inline(bytes, visit)?,
            Source::Blocks(extents) => walk.blocks(extents, visit)?,
            Source::Nothing => walk.at_the_end(),
        };
        match (walked, self.changed) {
            (Walked::ToTheEnd { .. }, Some(changed)) => walk.added(changed, visit),
            _ => Ok(walked),
        }
    }

    /// What it says of itself, as far as a walk from its start has met it.
    pub(super) fn claims(&self) -> Claims {
        self.claims.get()
    }

    /// Whether it should begin with `.`, and a walk from its start has not met it.
    pub(super) fn lacks_dots(&self) -> bool {
        matches!(self.source, Source::Blocks(_)) && self.claims.get().own.is_none()
    }

    /// Where the names of fast commits begin, after all that is on the volume.
    fn end(&self) -> u64 {
        let block_size = self.volume.superblock.block_size.get();
        let inline = match &self.source {
            Source::Inline(bytes) => byte_count(bytes.len()),
            _ => 0,
        };
        self.inode.size.max(inline).min(MAX_BYTES).div_ceil(block_size).saturating_mul(block_size)
    }

    /// Visits the one entry at `position`, which a walk gave before.
    pub(super) fn visit_one(&self, position: u64, visit: &mut Visitor<'_>) -> FsResult<()> {
        let mut once = |entry: &Entry<'_>| {
            if entry.position == position {
                return visit(entry);
            }
            Ok(ControlFlow::Break(()))
        };
        self.walk(position, &mut once).map(|_| ())
    }
}

struct Walk<'d> {
    directory: &'d Directory<'d>,
    from: u64,
    damaged: u32,
    presented: Vec<u8>,
}

impl Walk<'_> {
    fn inline(&mut self, bytes: &[u8], visit: &mut Visitor<'_>) -> FsResult<Walked> {
        for area in [INLINE_FIRST, INLINE_FIRST.end..bytes.len()] {
            let origin = byte_count(area.start);
            let chain = bytes.get(area).unwrap_or_default();
            if self.chain(chain, origin, visit)?.is_break() {
                return Ok(Walked::Stopped);
            }
        }
        Ok(self.at_the_end())
    }

    /// Visits the names that fast commits have added.
    fn added(&mut self, changed: &ChangedDirectory, visit: &mut Visitor<'_>) -> FsResult<Walked> {
        let mut position = self.directory.end();
        for (name, inode) in &changed.added {
            let next = position.saturating_add(ADDED_STEP);
            if position >= self.from {
                let entry = Entry {
                    inode: *inode,
                    name,
                    kind: None,
                    position,
                    next,
                    after_damage: self.damaged > 0,
                };
                if visit(&entry)?.is_break() {
                    return Ok(Walked::Stopped);
                }
            }
            position = next;
        }
        Ok(self.at_the_end())
    }

    fn blocks(&mut self, extents: &Extents, visit: &mut Visitor<'_>) -> FsResult<Walked> {
        let superblock = &self.directory.volume.superblock;
        let block_size = superblock.block_size.get();
        let whole = self.directory.inode.size;
        // The blocks of a sound directory are different ones.
        let end = whole.min(MAX_BYTES).min(superblock.size());
        let mut block = vec![0; bytes_to_index(block_size)?];
        let mut offset = self.from.saturating_sub(self.from % superblock.block_size);
        while offset < end {
            let (place, length) = extents.at(offset).unwrap_or((Place::Hole, block_size));
            let Place::At(at) = place else {
                // The kernel makes no holes in directories.
                self.damage();
                offset = offset.saturating_add(length.max(1));
                continue;
            };
            if self.damaged > MAX_DAMAGED {
                return Ok(self.at_the_end());
            }
            let number = at / superblock.block_size;
            let read = self.directory.volume.read_block(number, &mut block);
            if ok_unless_corrupt(read)? && sum_is_good(superblock, &self.directory.inode, &block) {
                if self.chain(&block, offset, visit)?.is_break() {
                    return Ok(Walked::Stopped);
                }
            } else {
                self.damage();
            }
            offset = offset.saturating_add(block_size);
        }
        if end < whole {
            self.damage();
        }
        Ok(self.at_the_end())
    }

    /// Visits the entries of a chain that began at `origin` in the directory.
    fn chain(
        &mut self,
        bytes: &[u8],
        origin: u64,
        visit: &mut Visitor<'_>,
    ) -> FsResult<ControlFlow<()>> {
        let mut rest = bytes;
        let mut position = origin;
        // Every turn takes at least the 8 bytes of an entry.
        while !rest.is_empty() {
            let Some((raw, name, later)) = split_entry(rest) else {
                self.damage();
                break;
            };
            let next = position.saturating_add(byte_count(rest.len().saturating_sub(later.len())));
            let counts = raw.inode.get() != 0 && position >= self.from;
            if matches!(name, b"." | b"..") {
                self.claim(raw, name, position);
            } else if counts && self.visit(raw, name, position..next, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            position = next;
            rest = later;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Takes in `.` or `..`; only the first two entries are those.
    fn claim(&self, raw: &RawEntry, name: &[u8], position: u64) {
        let mut claims = self.directory.claims.get();
        let inode = Some(raw.inode.get());
        match name {
            b"." if position == 0 => claims.own = inode,
            b".." if position > 0 && claims.own.is_some() => {
                claims.parent = claims.parent.or(inode);
            }
            _ => {}
        }
        self.directory.claims.set(claims);
    }

    fn visit(
        &mut self,
        raw: &RawEntry,
        name: &[u8],
        place: Range<u64>,
        visit: &mut Visitor<'_>,
    ) -> FsResult<ControlFlow<()>> {
        let directory = self.directory;
        let name = if directory.inode.is_encrypted() {
            nokey::present(name, &mut self.presented);
            self.presented.as_slice()
        } else {
            name
        };
        if name.is_empty() || name.iter().any(|&byte| matches!(byte, 0 | b'/')) {
            self.damage();
            return Ok(ControlFlow::Continue(()));
        }
        if directory.changed.is_some_and(|changed| changed.removed.contains(name)) {
            return Ok(ControlFlow::Continue(()));
        }
        let has_type = directory.volume.superblock.features.incompat(Incompat::FILETYPE);
        visit(&Entry {
            inode: raw.inode.get(),
            name,
            kind: kind(raw.file_type).filter(|_| has_type),
            position: place.start,
            next: place.end,
            after_damage: self.damaged > 0,
        })
    }

    fn damage(&mut self) {
        self.damaged = self.damaged.saturating_add(1);
    }

    fn at_the_end(&self) -> Walked {
        Walked::ToTheEnd { damaged: self.damaged > 0 }
    }
}

/// The same run list, with every block in its first place alone.
///
/// A directory made of one block over and over would have more names than the volume has bytes.
fn once_each(volume: &Volume, extents: &Extents) -> FsResult<Extents> {
    let block_size = volume.superblock.block_size.get();
    let bound = extents.end().min(MAX_BYTES);
    let mut seen = HashSet::new();
    let mut all = Extents::default();
    while let Some((place, length)) = extents.at(all.end()).filter(|_| all.end() < bound) {
        let Place::At(at) = place else {
            all.push(place, length)?;
            continue;
        };
        let is_new = seen.insert(at);
        let place = if is_new { place } else { Place::Refused(FsErrorKind::Corrupt) };
        all.push(place, length.min(block_size))?;
    }
    let rest = extents.end().saturating_sub(all.end());
    all.push(Place::Refused(FsErrorKind::Corrupt), rest)?;
    Ok(all)
}

/// The first entry of `bytes`, its name, and what follows it; `None` if it breaks the rules.
fn split_entry(bytes: &[u8]) -> Option<(&RawEntry, &[u8], &[u8])> {
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
fn sum_is_good(superblock: &Superblock, inode: &Inode, block: &[u8]) -> bool {
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
fn interior_counts(block: &[u8]) -> Option<usize> {
    match split_entry(block)? {
        (raw, _, []) if raw.inode.get() == 0 => Some(size_of::<RawEntry>()),
        (_, b".", later) => match split_entry(later)? {
            (_, b"..", []) => Some(ROOT_COUNTS_AT),
            _ => None,
        },
        _ => None,
    }
}

fn kind(file_type: u8) -> Option<FileKind> {
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
