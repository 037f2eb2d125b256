//! Directories: lists of names with inode numbers.
//!
//! [`super::dir_block`] says what a block of names is.
//!
//! A directory in its inode has two such chains, in the bytes 4 to 60 of `block` and in the
//! attribute after them.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use volfold_block::{byte_count, bytes_to_index};

use super::changes::ChangedDirectory;
use super::damage::ok_unless_corrupt;
use super::dir_block::{RawEntry, kind, split_entry, sum_is_good};
use super::features::{Compat, Incompat, RoCompat};
use super::inode::{Flags, Inode};
use super::nokey;
use super::volume::Volume;
use super::{casefold, inline, map};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};
use crate::node::FileKind;

/// LIMIT: the bytes of one directory that are looked at, 2 GiB, as the kernel without large_dir.
const MAX_BYTES: u64 = 1 << 31;
/// LIMIT: after so many damaged blocks the rest of a directory is not looked at.
const MAX_DAMAGED: u32 = 1024;
/// How far names of fast commits are from each other; they have no place on the volume.
const ADDED_STEP: u64 = 4;
/// The chains of a directory in its inode.
const INLINE_FIRST: Range<usize> = 4..60;

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

/// Where a name leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) inode: u32,
    /// Where the entry begins in the directory.
    pub(super) position: u64,
}

impl Found {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        Self { inode: entry.inode, position: entry.position }
    }
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

    /// Whether its names can be found by their hashes.
    pub(super) fn has_hash_tree(&self) -> bool {
        let features = &self.volume.superblock.features;
        let is_plain = matches!(self.source, Source::Blocks(_)) && self.changed.is_none();
        let is_hashed = features.compat(Compat::DIR_INDEX) && self.inode.flags.has(Flags::INDEX);
        is_plain && is_hashed && !self.inode.is_encrypted()
    }

    /// Whether a name that its hash tree does not have is not there: damage would have been seen, and
    /// every name has one hash only.
    pub(super) fn trusts_hashes(&self) -> bool {
        self.volume.superblock.features.ro_compat(RoCompat::METADATA_CSUM) && !self.folds_case()
    }

    /// Whether names in it are found without regard to case.
    pub(super) fn folds_case(&self) -> bool {
        let features = &self.volume.superblock.features;
        let is_marked = self.inode.flags.has(Flags::CASEFOLD) && !self.inode.is_encrypted();
        let is_known = self.volume.superblock.encoding == casefold::UTF8_12_1;
        is_marked && is_known && features.incompat(Incompat::CASEFOLD)
    }

    /// The volume that it lies on.
    pub(super) fn volume(&self) -> &'a Volume {
        self.volume
    }

    /// Fills `block` with its block number `number`.
    ///
    /// # Errors
    /// `Corrupt` if there is none, or it has a bad checksum; as those of [`Volume::read_block`].
    pub(super) fn read_block(&self, number: u64, block: &mut [u8]) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        let offset = number.saturating_mul(superblock.block_size.get());
        let place = match &self.source {
            Source::Blocks(extents) if offset < self.inode.size => extents.at(offset),
            _ => None,
        };
        let Some((Place::At(at), _)) = place else {
            return Err(FsError::corrupt("directory has no such block"));
        };
        self.volume.read_block(at / superblock.block_size, block)?;
        if !sum_is_good(superblock, &self.inode, block) {
            return Err(FsError::corrupt("directory block has a bad checksum"));
        }
        Ok(())
    }

    /// Visits the names in `block`, which is its block number `number`, and says whether all of it
    /// could be read.
    ///
    /// # Errors
    /// What the visitor says.
    pub(super) fn visit_block(
        &self,
        number: u64,
        block: &[u8],
        visit: &mut Visitor<'_>,
    ) -> FsResult<bool> {
        let origin = number.saturating_mul(self.volume.superblock.block_size.get());
        let mut walk = Walk { directory: self, from: origin, damaged: 0, presented: Vec::new() };
        let _ = walk.chain(block, origin, visit)?;
        Ok(walk.damaged == 0)
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
            let Place::At(_) = place else {
                // The kernel makes no holes in directories.
                self.damage();
                offset = offset.saturating_add(length.max(1));
                continue;
            };
            if self.damaged > MAX_DAMAGED {
                return Ok(self.at_the_end());
            }
            let read = self.directory.read_block(offset / superblock.block_size, &mut block);
            if ok_unless_corrupt(read)? {
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
