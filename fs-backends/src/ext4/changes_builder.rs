//! From the tags of fast commits to what they have changed.

use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};

use volfold_block::byte_count;

use super::changes::{ChangedDirectory, Changes, Place};
use super::dir::Directory;
use super::inode_bytes;
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};

/// What is known of a name while commits are applied.
#[derive(Default)]
struct NameState {
    /// Inodes that the name on the volume may lead to, and is gone then.
    removed: Vec<u32>,
    added: Option<u32>,
}

/// LIMIT: bytes of changed inodes that are kept. A tag of a few bytes may name an inode of 32 KiB.
const MAX_KEPT: u64 = 64 << 20;
/// LIMIT: bytes of directories that are read to find the names in tags.
const MAX_WALKED: u64 = 1 << 30;

/// Applies tags in their order.
pub(super) struct Builder<'a> {
    volume: &'a Volume,
    changes: Changes,
    /// Bytes of inodes that may still be kept.
    left: u64,
    names: BTreeMap<u32, BTreeMap<Vec<u8>, NameState>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(volume: &'a Volume) -> Self {
        Self { volume, changes: Changes::default(), left: MAX_KEPT, names: BTreeMap::new() }
    }

    /// The inode `number` gets the fields of `fields`, the start of an inode. Where its blocks are
    /// stays as it is; ranges tell of that.
    pub(super) fn inode(&mut self, number: u32, fields: &[u8]) -> FsResult<()> {
        let mut bytes = self.bytes(number)?;
        inode_bytes::update(&mut bytes, fields)
            .ok_or_else(|| FsError::corrupt("fast commit has an inode of a wrong size"))?;
        self.keep(number, bytes)
    }

    /// Keeps `bytes` as the inode `number`.
    ///
    /// # Errors
    /// `Unsupported` if that would be too many.
    fn keep(&mut self, number: u32, bytes: Vec<u8>) -> FsResult<()> {
        if !self.changes.inodes.contains_key(&number) {
            let left = self.left.checked_sub(byte_count(bytes.len()));
            self.left = left.ok_or_else(|| {
                FsError::unsupported("fast commits change more inodes than are kept")
            })?;
        }
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
        self.keep(number, bytes)
    }

    /// # Errors
    /// If the host cannot read, `Unsupported` if more directories are named than are read.
    pub(super) fn finish(mut self) -> FsResult<Changes> {
        let block_size = self.volume.superblock.block_size.get();
        for (number, ranges) in &self.changes.ranges {
            if let Some(inode) = self.changes.inodes.get_mut(number) {
                inode.added = ranges.blocks().saturating_mul(block_size);
            }
        }
        let mut walked = MAX_WALKED;
        for (directory, names) in std::mem::take(&mut self.names) {
            let on_volume = self.on_volume(directory, &names, &mut walked)?;
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
        walked: &mut u64,
    ) -> FsResult<HashMap<Vec<u8>, u32>> {
        let mut found = HashMap::new();
        let is_new = |changed: &ChangedDirectory| changed.is_new;
        if self.changes.directories.get(&number).is_some_and(is_new) {
            return Ok(found);
        }
        let mut bytes = Vec::new();
        let directory = self.volume.read_inode(number, &mut bytes).and_then(|inode| {
            let size = inode.size;
            Ok((Directory::open(self.volume, inode, &bytes)?, size))
        });
        let (directory, size) = match directory {
            Ok(directory) => directory,
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(error) => {
                let message = "fast commit adds names to what is no directory";
                return Err(FsError::corrupt(message).because(error));
            }
        };
        *walked = walked.checked_sub(size).ok_or_else(|| {
            FsError::unsupported("fast commits name more directories than are read")
        })?;
        directory.walk(0, &mut |entry| {
            if names.contains_key(entry.name) {
                found.insert(entry.name.to_vec(), entry.inode);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}
