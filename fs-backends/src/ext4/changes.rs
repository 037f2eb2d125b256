//! What fast commits have changed: inodes, ranges of blocks and names, over those on the volume.
//!
//! Linux writes these changes into inodes, extent trees and directories when it mounts. Here they
//! are kept beside them, and looked at first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{ControlFlow, Range};

use super::dir::Directory;
use super::inode::{Flags, Inode};
use super::inode_bytes;
use super::runs;
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{self, Extents};

/// All that was changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    inodes: HashMap<u32, ChangedInode>,
    ranges: HashMap<u32, ChangedRanges>,
    directories: HashMap<u32, ChangedDirectory>,
}

/// An inode as it is now.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangedInode {
    /// As many as an inode has; the checksum is that of its old self.
    pub(super) bytes: Vec<u8>,
    /// The bytes of content that it was given.
    pub(super) added: u64,
}

/// Where blocks of a file are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the blocks of the file system from this one on.
    At(u64),
    /// Reserved and never written.
    Unwritten,
    /// Nowhere.
    Hole,
}

impl Place {
    fn skip(self, blocks: u64) -> Self {
        match self {
            Self::At(first) => Self::At(first.saturating_add(blocks)),
            other => other,
        }
    }
}

/// Ranges of blocks of a file that were mapped anew, by their first block; they are apart.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangedRanges(BTreeMap<u64, (u64, Place)>);

/// Names that were added to a directory, and names that are gone from it.
#[derive(Debug, Default)]
pub(super) struct ChangedDirectory {
    /// Whether there is nothing on the volume yet.
    pub(super) is_new: bool,
    /// Names on the volume that do not count.
    pub(super) removed: HashSet<Vec<u8>>,
    /// Names that are not on the volume, and their inodes.
    pub(super) added: Vec<(Vec<u8>, u32)>,
}

impl Changes {
    /// The inode `number`, if it was changed.
    pub(super) fn inode(&self, number: u32) -> Option<&ChangedInode> {
        self.inodes.get(&number)
    }

    /// The numbers of all inodes that were changed, in order.
    pub(super) fn inode_numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.inodes.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// The ranges of the inode `number`, if any were changed.
    pub(super) fn ranges(&self, number: u32) -> Option<&ChangedRanges> {
        self.ranges.get(&number)
    }

    /// The names in the directory `number`, if any were changed.
    pub(super) fn directory(&self, number: u32) -> Option<&ChangedDirectory> {
        self.directories.get(&number)
    }

    /// Whether nothing was changed.
    pub(super) fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.ranges.is_empty() && self.directories.is_empty()
    }
}

impl ChangedRanges {
    fn set(&mut self, range: Range<u64>, place: Place) {
        if range.is_empty() {
            return;
        }
        let before = self.0.range(..range.start).next_back();
        let before = before.map(|(&start, &(end, place))| (start, end, place));
        if let Some((start, end, old)) = before.filter(|(_, end, _)| *end > range.start) {
            self.0.insert(start, (range.start, old));
            self.rest(start..end, old, range.end);
        }
        while let Some((&start, &(end, old))) = self.0.range(range.clone()).next() {
            self.0.remove(&start);
            self.rest(start..end, old, range.end);
        }
        self.0.insert(range.start, (range.end, place));
    }

    /// Keeps what of an old range lies from `from` on.
    fn rest(&mut self, old: Range<u64>, place: Place, from: u64) {
        if old.end > from {
            let skipped = from.saturating_sub(old.start);
            self.0.insert(from, (old.end, place.skip(skipped)));
        }
    }

    fn blocks(&self) -> u64 {
        let written = self.0.iter().filter(|(_, (_, place))| matches!(place, Place::At(_)));
        written
            .fold(0, |sum: u64, (start, (end, _))| sum.saturating_add(end.saturating_sub(*start)))
    }

    /// The run list of `inode` with these ranges in place of those of `old`.
    ///
    /// # Errors
    /// `Corrupt` if `inode` has no extents; as those of [`Extents::push`].
    pub(super) fn over(&self, volume: &Volume, inode: &Inode, old: &Extents) -> FsResult<Extents> {
        if !inode.flags.has(Flags::EXTENTS) {
            return Err(FsError::corrupt("fast commits map blocks of a file without extents"));
        }
        let end = old.end();
        let bytes =
            |blocks: u64| blocks.saturating_mul(volume.superblock.block_size.get()).min(end);
        let mut all = Extents::default();
        for (&start, &(after, place)) in &self.0 {
            copy(old, &mut all, bytes(start))?;
            let place = match place {
                Place::At(first) => runs::place(volume, first, after.saturating_sub(start)),
                Place::Unwritten => extents::Place::Unwritten,
                Place::Hole => extents::Place::Hole,
            };
            all.push(place, bytes(after).saturating_sub(bytes(start)))?;
        }
        copy(old, &mut all, end)?;
        Ok(all.finish())
    }
}

/// Appends what `from` has between the end of `to` and `end`.
fn copy(from: &Extents, to: &mut Extents, end: u64) -> FsResult<()> {
    while let Some(left) = end.checked_sub(to.end()).filter(|left| *left > 0) {
        let Some((place, length)) = from.at(to.end()) else {
            return Err(FsError::corrupt("run list of the file ends early"));
        };
        to.push(place, length.min(left))?;
    }
    Ok(())
}

/// What is known of a name while commits are applied.
#[derive(Default)]
struct NameState {
    /// Inodes that the name on the volume may lead to, and is gone then.
    removed: Vec<u32>,
    added: Option<u32>,
}

/// Applies tags in their order.
pub(super) struct Builder<'a> {
    volume: &'a Volume,
    changes: Changes,
    names: BTreeMap<u32, BTreeMap<Vec<u8>, NameState>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(volume: &'a Volume) -> Self {
        Self { volume, changes: Changes::default(), names: BTreeMap::new() }
    }

    /// The inode `number` gets the fields of `fields`, the start of an inode. Where its blocks are
    /// stays as it is; ranges tell of that.
    pub(super) fn inode(&mut self, number: u32, fields: &[u8]) -> FsResult<()> {
        let mut bytes = self.bytes(number)?;
        inode_bytes::update(&mut bytes, fields)
            .ok_or_else(|| FsError::corrupt("fast commit has an inode of a wrong size"))?;
        self.changes.inodes.entry(number).or_default().bytes = bytes;
        Ok(())
    }

    /// The blocks `range` of the inode `number` are at `place`.
    pub(super) fn range(&mut self, number: u32, range: Range<u64>, place: Place) -> FsResult<()> {
        self.check(number)?;
        self.changes.ranges.entry(number).or_default().set(range, place);
        Ok(())
    }

    /// The inode `number`, which is new, gets the name `name` in `parent`.
    pub(super) fn create(&mut self, parent: u32, number: u32, name: &[u8]) -> FsResult<()> {
        let bytes = self.bytes(number)?;
        if inode_bytes::is_directory(&bytes) {
            self.changes.directories.entry(number).or_default().is_new = true;
        }
        self.add(parent, number, name)?;
        self.count_links(number, |_| 1)
    }

    /// The inode `number` gets one more name.
    pub(super) fn link(&mut self, parent: u32, number: u32, name: &[u8]) -> FsResult<()> {
        self.add(parent, number, name)?;
        self.count_links(number, |links| links.saturating_add(1))
    }

    /// The inode `number` loses the name `name` in `parent`.
    pub(super) fn unlink(&mut self, parent: u32, number: u32, name: &[u8]) -> FsResult<()> {
        self.check(parent)?;
        let names = self.names.entry(parent).or_default();
        let state = names.entry(name.to_vec()).or_default();
        match state.added {
            Some(added) if added == number => state.added = None,
            Some(_) => {}
            None => state.removed.push(number),
        }
        self.count_links(number, |links| links.saturating_sub(1))
    }

    fn add(&mut self, parent: u32, number: u32, name: &[u8]) -> FsResult<()> {
        self.check(parent)?;
        self.check(number)?;
        if name.is_empty() || name.iter().any(|&byte| matches!(byte, 0 | b'/')) {
            return Err(FsError::corrupt("fast commit has an invalid name"));
        }
        let names = self.names.entry(parent).or_default();
        names.entry(name.to_vec()).or_default().added.get_or_insert(number);
        Ok(())
    }

    /// # Errors
    /// `Corrupt` if there is no such inode.
    fn check(&self, number: u32) -> FsResult<()> {
        if number == 0 || number > self.volume.superblock.inodes_count {
            return Err(FsError::corrupt("fast commit names an inode that does not exist"));
        }
        Ok(())
    }

    /// The bytes of the inode `number` as they are now.
    fn bytes(&self, number: u32) -> FsResult<Vec<u8>> {
        self.check(number)?;
        if let Some(changed) = self.changes.inodes.get(&number) {
            return Ok(changed.bytes.clone());
        }
        let mut bytes = Vec::new();
        self.volume.read_inode_bytes(number, &mut bytes)?;
        match self.volume.read_inode(number, &mut Vec::new()) {
            Ok(_) => {}
            // Nothing of a file that was here before counts.
            Err(error) if error.kind() == FsErrorKind::NotFound => bytes.fill(0),
            Err(error) => return Err(error),
        }
        Ok(bytes)
    }

    fn count_links(&mut self, number: u32, change: impl FnOnce(u16) -> u16) -> FsResult<()> {
        let mut bytes = self.bytes(number)?;
        let links = change(inode_bytes::links(&bytes));
        inode_bytes::set_links(&mut bytes, links);
        if links == 0 {
            // Its blocks are free; what comes here next has others.
            inode_bytes::clear_map(&mut bytes);
            self.changes.ranges.remove(&number);
        }
        self.changes.inodes.entry(number).or_default().bytes = bytes;
        Ok(())
    }

    /// # Errors
    /// If the host cannot read.
    pub(super) fn finish(mut self) -> FsResult<Changes> {
        let block_size = self.volume.superblock.block_size.get();
        for (number, ranges) in &self.changes.ranges {
            if let Some(inode) = self.changes.inodes.get_mut(number) {
                inode.added = ranges.blocks().saturating_mul(block_size);
            }
        }
        for (directory, names) in std::mem::take(&mut self.names) {
            let on_volume = self.on_volume(directory, &names)?;
            let changed = self.changes.directories.entry(directory).or_default();
            for (name, state) in names {
                let stays = match on_volume.get(&name) {
                    Some(inode) if state.removed.contains(inode) => {
                        changed.removed.insert(name.clone());
                        false
                    }
                    Some(_) => true,
                    None => false,
                };
                if let Some(inode) = state.added.filter(|_| !stays) {
                    changed.added.push((name, inode));
                }
            }
        }
        Ok(self.changes)
    }

    /// Which of `names` the directory `number` has on the volume, and their inodes.
    fn on_volume(
        &self,
        number: u32,
        names: &BTreeMap<Vec<u8>, NameState>,
    ) -> FsResult<HashMap<Vec<u8>, u32>> {
        let mut found = HashMap::new();
        let is_new = |changed: &ChangedDirectory| changed.is_new;
        if self.changes.directories.get(&number).is_some_and(is_new) {
            return Ok(found);
        }
        let mut bytes = Vec::new();
        let directory = self
            .volume
            .read_inode(number, &mut bytes)
            .and_then(|inode| Directory::open(self.volume, inode, &bytes));
        let directory = match directory {
            Ok(directory) => directory,
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(error) => {
                let message = "fast commit adds names to what is no directory";
                return Err(FsError::corrupt(message).because(error));
            }
        };
        directory.walk(0, &mut |entry| {
            if names.contains_key(entry.name) {
                found.insert(entry.name.to_vec(), entry.inode);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(Range<u64>, Place)]) -> Vec<(u64, u64, Place)> {
        let mut all = ChangedRanges::default();
        for (range, place) in ranges {
            all.set(range.clone(), *place);
        }
        all.0.iter().map(|(&start, &(end, place))| (start, end, place)).collect()
    }

    #[test]
    fn a_later_range_takes_the_place_of_what_it_covers() {
        use Place::{At, Hole, Unwritten};
        assert_eq!(
            set(&[(0..10, At(100)), (3..5, Hole)]),
            [(0, 3, At(100)), (3, 5, Hole), (5, 10, At(105))]
        );
        assert_eq!(
            set(&[(5..10, At(100)), (12..14, Unwritten), (7..13, At(7)), (0..0, Hole)]),
            [(5, 7, At(100)), (7, 13, At(7)), (13, 14, Unwritten)]
        );
        assert_eq!(set(&[(5..10, At(100)), (0..20, Hole)]), [(0, 20, Hole)]);
        assert_eq!(set(&[(5..10, At(9)), (5..7, Hole)]), [(5, 7, Hole), (7, 10, At(11))]);
    }
}
