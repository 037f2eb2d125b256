//! Directories: names with inode numbers, in an inode or in blocks, with an index by hashes.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Directories". The bytes of a directory
//! that has blocks are three spaces of 32 GiB: the names, the hash index, and an index of room.

pub(super) mod names;

mod block;
mod compare;
mod short;

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use volfold_block::{byte_count, bytes_to_index};

use self::block::{Item, NameBlock};
use self::names::NameRule;
use self::short::ShortForm;
use super::block_header::DIRECTORY_DATA;
use super::hash_tree::{BlockKind, HashBlock, HashTree, LeafAnswer};
use super::inode::{Format, Inode};
use super::map;
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};
use crate::kept::Memory;
use crate::node::FileKind;

/// The bytes of each of the three spaces.
const SPACE: u64 = 32 << 30;
const SPACES: u64 = 3 * SPACE;
/// LIMIT: after so many damaged blocks the rest of a directory is not looked at.
const MAX_DAMAGED: u32 = 1024;

/// One name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) inode: u64,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) inode: u64,
    /// Where the entry begins in the directory.
    pub(super) position: u64,
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

/// A directory that can be walked.
pub(super) struct Directory<'a> {
    volume: &'a Volume,
    number: u64,
    rule: NameRule,
    source: Source,
}

enum Source {
    Short(Vec<u8>),
    Blocks(Arc<DirectoryMap>),
}

/// Where a directory with blocks has them, and what was found out about its index.
pub(super) struct DirectoryMap {
    extents: Extents,
    /// Whether the index is that of the names, once they were compared.
    agrees: OnceLock<bool>,
}

impl Memory for DirectoryMap {
    fn memory(&self) -> u64 {
        self.extents.memory()
    }
}

/// The run list of a directory with blocks, which is kept for the next call.
///
/// # Errors
/// `Corrupt` if a block is in it twice: it would have more names than the volume has bytes.
pub(super) fn read_map(
    volume: &Volume,
    inode: &Inode,
    bytes: &[u8],
) -> FsResult<Arc<DirectoryMap>> {
    let extents = map::read(volume, inode.number, &inode.data, bytes, SPACES)?;
    if extents.has_overlap() {
        let message = format!("directory with inode {} has a block twice", inode.number);
        return Err(FsError::corrupt(message));
    }
    Ok(Arc::new(DirectoryMap { extents, agrees: OnceLock::new() }))
}

impl<'a> Directory<'a> {
    /// The directory `inode`, whose bytes are `bytes`; `map` gives its run list if it has one.
    pub(super) fn open(
        volume: &'a Volume,
        inode: &Inode,
        bytes: &[u8],
        map: impl FnOnce() -> FsResult<Arc<DirectoryMap>>,
    ) -> FsResult<Self> {
        if inode.kind != FileKind::Directory {
            return Err(FsError::not_a_directory());
        }
        let source = match inode.data.format {
            Format::Local => {
                let all = inode.data.bytes(bytes);
                let whole = bytes_to_index(inode.size).ok().and_then(|size| all.get(..size));
                let whole = whole.ok_or_else(|| FsError::corrupt("directory leaves its inode"))?;
                Source::Short(whole.to_vec())
            }
            _ => Source::Blocks(map()?),
        };
        let ascii_ci = volume.superblock.features.ascii_ci;
        let rule = if ascii_ci { NameRule::AsciiCi } else { NameRule::Exact };
        Ok(Self { volume, number: inode.number, rule, source })
    }

    /// Visits the names that begin at `from` or after it, without `.` and `..`.
    ///
    /// # Errors
    /// What the visitor says, or why the host cannot read; damage is in the result.
    pub(super) fn walk(&self, from: u64, visit: &mut Visitor<'_>) -> FsResult<Walked> {
        let mut walk = Walk { directory: self, from, damaged: 0, with_own: false };
        match &self.source {
            Source::Short(bytes) => walk.short(bytes, visit),
            Source::Blocks(map) => walk.blocks(&map.extents, visit),
        }
    }

    /// The inode of the directory that this one lies in, as it says itself.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be read.
    pub(super) fn parent(&self) -> FsResult<u64> {
        let extents = match &self.source {
            Source::Short(bytes) => return Ok(self.short_form(bytes)?.parent),
            Source::Blocks(map) => &map.extents,
        };
        let mut bytes = Volume::buffer(self.block_size())?;
        self.volume.read_fork_block(extents, 0, self.number, DIRECTORY_DATA, &mut bytes)?;
        let block = NameBlock::parse(&self.volume.superblock, &bytes)?;
        let mut at = block.start();
        // `..` is the second entry.
        for _ in 0..2 {
            match block.item(at) {
                Some(Item::Name { inode, name: b"..", .. }) => return Ok(inode),
                Some(Item::Name { next, .. }) => at = next,
                _ => break,
            }
        }
        Err(FsError::corrupt("directory does not begin with `.` and `..`"))
    }

    /// Where `name` leads, by the hash index where there is one.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it was not found and part of the directory cannot be read.
    pub(super) fn find(&self, name: &[u8]) -> FsResult<Found> {
        // The index has them too, and they are no names of what is in the directory.
        if matches!(name, b"." | b"..") {
            return Err(FsError::not_found());
        }
        let by_index = match &self.source {
            Source::Blocks(map) if map.extents.end() > SPACE && self.agrees_with_index()? => {
                self.find_by_hash(&map.extents, name).map(Some)
            }
            _ => Ok(None),
        };
        match by_index {
            Ok(Some(Some(found))) => Ok(found),
            Ok(Some(None)) => Err(FsError::not_found()),
            // A damaged index hides no name.
            Ok(None) => self.walk_for(name),
            Err(error) if error.kind() == FsErrorKind::Corrupt => self.walk_for(name),
            Err(error) => Err(error),
        }
    }

    fn walk_for(&self, name: &[u8]) -> FsResult<Found> {
        let (mut exact, mut other) = (None, None);
        let walked = self.walk(0, &mut |entry| {
            let found = Found { inode: entry.inode, position: entry.position };
            if entry.name == name {
                exact = Some(found);
                return Ok(ControlFlow::Break(()));
            }
            if other.is_none() && self.rule.same(entry.name, name) {
                other = Some(found);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        exact.or(other).ok_or_else(|| match walked {
            Walked::ToTheEnd { damaged: true } => damaged_directory(),
            _ => FsError::not_found(),
        })
    }

    fn find_by_hash(&self, extents: &Extents, name: &[u8]) -> FsResult<Option<Found>> {
        let hash = self.rule.hash(name);
        let mut other = None;
        let exact = self
            .tree(extents)
            .find(hash, |leaf| self.look(extents, leaf, (hash, name), &mut other))?;
        Ok(exact.or(other))
    }

    fn tree<'t>(&'t self, extents: &'t Extents) -> HashTree<'t> {
        HashTree {
            volume: self.volume,
            owner: self.number,
            extents,
            root: SPACE,
            block_size: self.block_size(),
        }
    }

    /// Looks at the names of `hash` in one leaf; `other` becomes the first that is the same but for
    /// its case.
    fn look(
        &self,
        extents: &Extents,
        leaf: &HashBlock,
        (hash, name): (u32, &[u8]),
        other: &mut Option<Found>,
    ) -> FsResult<LeafAnswer<Found>> {
        if leaf.kind != BlockKind::DirectoryLeaf {
            return Err(FsError::corrupt("hash tree of a directory has a foreign leaf"));
        }
        let count = usize::from(leaf.count);
        let entry = |index: &usize| leaf.node_entry(*index);
        let indexes: Vec<usize> = (0..count).collect();
        let first = indexes.partition_point(|index| entry(index).is_some_and(|(at, _)| at < hash));
        for index in first..count {
            let Some((found, place)) = entry(&index) else {
                return Err(FsError::corrupt("leaf of a directory has too many entries"));
            };
            if found != hash {
                return Ok(LeafAnswer::Absent);
            }
            if place == 0 {
                continue;
            }
            let position = u64::from(place).saturating_mul(8);
            let Some((inode, exact)) = self.name_at(extents, position, name)? else { continue };
            let found = Found { inode, position };
            if exact {
                return Ok(LeafAnswer::Found(found));
            }
            *other = other.or(Some(found));
        }
        Ok(LeafAnswer::GoOn)
    }

    /// The inode that the name at `position` leads to if it is `name`, and whether it is so byte by
    /// byte.
    fn name_at(
        &self,
        extents: &Extents,
        position: u64,
        name: &[u8],
    ) -> FsResult<Option<(u64, bool)>> {
        let size = self.volume.superblock.dir_block_size;
        let start = position.saturating_sub(position % size);
        if start >= SPACE {
            return Err(FsError::corrupt("leaf of a directory leads outside its names"));
        }
        let mut bytes = Volume::buffer(size.get())?;
        self.volume.read_fork_block(extents, start, self.number, DIRECTORY_DATA, &mut bytes)?;
        let block = NameBlock::parse(&self.volume.superblock, &bytes)?;
        match block.item(bytes_to_index(position % size)?) {
            Some(Item::Name { inode, name: found, .. }) => {
                Ok(self.rule.same(found, name).then_some((inode, found == name)))
            }
            _ => Err(FsError::corrupt("leaf of a directory leads to no name")),
        }
    }

    fn short_form<'b>(&self, bytes: &'b [u8]) -> FsResult<ShortForm<'b>> {
        ShortForm::parse(bytes, self.volume.superblock.features.has_ftype)
    }

    fn block_size(&self) -> u64 {
        self.volume.superblock.dir_block_size.get()
    }
}

struct Walk<'d> {
    directory: &'d Directory<'d>,
    from: u64,
    damaged: u32,
    /// Whether `.` and `..` are visited too.
    with_own: bool,
}

impl Walk<'_> {
    fn short(&mut self, bytes: &[u8], visit: &mut Visitor<'_>) -> FsResult<Walked> {
        let Ok(mut names) = self.directory.short_form(bytes) else {
            self.damage();
            return Ok(self.at_the_end());
        };
        loop {
            let found = match names.next() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) => {
                    self.damage();
                    break;
                }
            };
            let entry = entry((found.inode, found.name), found.kind, found.place);
            if self.visit(entry, visit)?.is_break() {
                return Ok(Walked::Stopped);
            }
        }
        Ok(self.at_the_end())
    }

    fn blocks(&mut self, extents: &Extents, visit: &mut Visitor<'_>) -> FsResult<Walked> {
        let directory = self.directory;
        let size = directory.volume.superblock.dir_block_size;
        let end = extents.end().min(SPACE);
        let mut bytes = Volume::buffer(size.get())?;
        let mut offset = self.from.saturating_sub(self.from % size);
        while offset < end {
            let (place, length) = extents.at(offset).unwrap_or((Place::Hole, size.get()));
            if place == Place::Hole {
                // What was freed between others is a hole.
                let next = offset.saturating_add(length).min(end);
                offset = next.div_ceil(size.get()).saturating_mul(size.get());
                continue;
            }
            if self.damaged > MAX_DAMAGED {
                break;
            }
            let read = directory.volume.read_fork_block(
                extents,
                offset,
                directory.number,
                DIRECTORY_DATA,
                &mut bytes,
            );
            match read.and_then(|_| NameBlock::parse(&directory.volume.superblock, &bytes)) {
                Ok(block) => {
                    if self.names(&block, offset, visit)?.is_break() {
                        return Ok(Walked::Stopped);
                    }
                }
                Err(error) if error.kind() == FsErrorKind::Corrupt => self.damage(),
                Err(error) => return Err(error),
            }
            offset = offset.saturating_add(size.get());
        }
        Ok(self.at_the_end())
    }

    /// Visits the names of a block that begins at `origin` in the directory.
    fn names(
        &mut self,
        block: &NameBlock<'_>,
        origin: u64,
        visit: &mut Visitor<'_>,
    ) -> FsResult<ControlFlow<()>> {
        let place = |at: usize| origin.saturating_add(byte_count(at));
        let mut at = block.start();
        while let Some(item) = block.item(at) {
            match item {
                Item::Room(next) => at = next,
                Item::Name { inode, name, kind, next } => {
                    let places = (place(at), place(next));
                    let is_own = !self.with_own && matches!(name, b"." | b"..");
                    let entry = entry((inode, name), kind, places);
                    if !is_own && self.visit(entry, visit)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    at = next;
                }
                Item::Damaged => {
                    self.damage();
                    break;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit(&mut self, entry: Entry<'_>, visit: &mut Visitor<'_>) -> FsResult<ControlFlow<()>> {
        if entry.position < self.from {
            return Ok(ControlFlow::Continue(()));
        }
        if !block::is_possible(entry.name) {
            self.damage();
            return Ok(ControlFlow::Continue(()));
        }
        visit(&Entry { after_damage: self.damaged > 0, ..entry })
    }

    fn damage(&mut self) {
        self.damaged = self.damaged.saturating_add(1);
    }

    fn at_the_end(&self) -> Walked {
        Walked::ToTheEnd { damaged: self.damaged > 0 }
    }
}

/// The entry of a name between two places of the directory.
fn entry(
    (inode, name): (u64, &[u8]),
    kind: Option<FileKind>,
    (position, next): (u64, u64),
) -> Entry<'_> {
    Entry { inode, name, kind, position, next, after_damage: false }
}

/// Part of a directory cannot be read.
pub(super) fn damaged_directory() -> FsError {
    FsError::corrupt("directory is damaged, some of its names cannot be read")
}
