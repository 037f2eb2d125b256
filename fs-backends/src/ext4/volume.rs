//! A volume whose superblock and group descriptors are known: reads blocks and inodes by number.

use std::ops::Range;
use std::sync::Arc;

use volfold_block::{BlockDevice, bytes_to_index};

use super::backups;
use super::changes::Changes;
use super::damage::cut_short;
use super::groups::Groups;
use super::inode::Inode;
use super::superblock::Superblock;
use crate::driver::VolumeReader;
use crate::error::{FsError, FsResult};

/// What every part of the driver reads through.
pub(super) struct Volume {
    reader: VolumeReader,
    pub(super) superblock: Superblock,
    pub(super) groups: Groups,
    /// What fast commits have changed since.
    changes: Changes,
}

impl Volume {
    /// Reads superblock and group descriptors.
    pub(super) fn read(reader: VolumeReader) -> FsResult<Self> {
        Self::read_groups(reader, u64::MAX)
    }

    /// The same with no more than the descriptors of the first groups, for the first inodes.
    pub(super) fn read_start(reader: VolumeReader) -> FsResult<Self> {
        Self::read_groups(reader, 1)
    }

    fn read_groups(reader: VolumeReader, end: u64) -> FsResult<Self> {
        let superblock = backups::read_superblock(&*reader.metadata)?;
        let groups = Groups::read(&*reader.metadata, &superblock, end)?;
        Ok(Self { reader, superblock, groups, changes: Changes::default() })
    }

    /// The same volume with `changes` to its files.
    pub(super) fn changed(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// What fast commits have changed.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether one of `blocks` holds a structure of the file system itself.
    pub(super) fn owns(&self, blocks: Range<u64>) -> bool {
        self.groups.system.overlap(&blocks)
    }

    /// The views of the device.
    pub(super) fn reader(&self) -> &VolumeReader {
        &self.reader
    }

    /// The view for file content.
    pub(super) fn data(&self) -> Arc<dyn BlockDevice> {
        self.reader.data.clone()
    }

    /// A buffer of one block.
    pub(super) fn block_buffer(&self) -> FsResult<Vec<u8>> {
        Ok(vec![0; bytes_to_index(self.superblock.block_size.get())?])
    }

    /// Fills `buffer` with the metadata block `block`, and tells its position.
    ///
    /// # Errors
    /// `Corrupt` if there is no such block.
    pub(super) fn read_block(&self, block: u64, buffer: &mut [u8]) -> FsResult<u64> {
        let position = self
            .superblock
            .position(block)
            .ok_or_else(|| FsError::corrupt(format!("block {block} is outside the file system")))?;
        self.read_metadata(position, buffer)?;
        Ok(position)
    }

    /// The same for a block that a file has for its map.
    ///
    /// # Errors
    /// `Corrupt` if no file can have it.
    pub(super) fn read_own_block(&self, block: u64, buffer: &mut [u8]) -> FsResult<u64> {
        let range = block..block.saturating_add(1);
        if !self.superblock.has_blocks(range.clone()) || self.owns(range) {
            return Err(FsError::corrupt(format!("block {block} cannot belong to a file")));
        }
        self.read_block(block, buffer)
    }

    /// Reads the inode `number` with `scratch` as its buffer, which keeps the inode's bytes.
    ///
    /// # Errors
    /// `NotFound` for a number that is no inode or one that is not in use.
    pub(super) fn read_inode(&self, number: u32, scratch: &mut Vec<u8>) -> FsResult<Inode> {
        if let Some(changed) = self.changes.inode(number) {
            scratch.clear();
            scratch.extend_from_slice(&changed.bytes);
            return Inode::parse_changed(&self.superblock, number, changed);
        }
        let position = self.read_inode_bytes(number, scratch)?;
        Inode::parse(&self.superblock, number, scratch, position)
    }

    /// Reads the bytes of the inode `number` as they lie on the volume, and tells their position.
    ///
    /// # Errors
    /// `NotFound` for a number that is no inode.
    pub(super) fn read_inode_bytes(&self, number: u32, bytes: &mut Vec<u8>) -> FsResult<u64> {
        let superblock = &self.superblock;
        let index = number
            .checked_sub(1)
            .filter(|_| number <= superblock.inodes_count)
            .ok_or_else(FsError::not_found)?;
        let group = u64::from(index / superblock.inodes_per_group);
        let within = u64::from(index % superblock.inodes_per_group);
        if group >= superblock.group_count {
            return Err(FsError::not_found());
        }
        let table = self.groups.inode_table(group).ok_or_else(|| {
            FsError::corrupt(format!("descriptor of block group {group} is damaged"))
        })?;
        let position = superblock
            .position(table)
            .and_then(|start| {
                start.checked_add(within.checked_mul(u64::from(superblock.inode_size))?)
            })
            .ok_or_else(|| FsError::corrupt("inode table is outside the file system"))?;
        bytes.resize(usize::from(superblock.inode_size), 0);
        self.read_metadata(position, bytes)?;
        Ok(position)
    }

    fn read_metadata(&self, position: u64, buffer: &mut [u8]) -> FsResult<()> {
        let read = self.reader.metadata.read_at(position, buffer);
        read.map_err(|error| cut_short(error.into(), position))
    }
}
