//! What every metadata block of version 5 says of itself, so that a block that was misplaced or
//! belongs to another file is not believed.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Self-Describing Metadata". The same
//! fields lie in other places in each family of structures.

use super::bytes::{array, be64};
use super::checksum;
use super::superblock::Superblock;
use crate::error::{FsError, FsResult};

/// Blocks are numbered in units of 512 bytes.
const UNIT: u64 = 512;

/// Where the fields of one family lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderLayout {
    /// What it is called in messages.
    pub(super) name: &'static str,
    pub(super) checksum: usize,
    pub(super) block_number: usize,
    pub(super) uuid: usize,
    /// The inode that the block belongs to.
    pub(super) owner: usize,
}

/// Blocks of a directory's names.
pub(super) const DIRECTORY_DATA: HeaderLayout =
    HeaderLayout { name: "directory block", checksum: 4, block_number: 8, uuid: 24, owner: 40 };
/// Leaves and nodes of directories and attributes.
pub(super) const HASH_TREE: HeaderLayout = HeaderLayout {
    name: "block of a hash tree",
    checksum: 12,
    block_number: 16,
    uuid: 32,
    owner: 48,
};
/// Blocks of the map of a file.
pub(super) const MAP_TREE: HeaderLayout = HeaderLayout {
    name: "block of the extent tree",
    checksum: 64,
    block_number: 24,
    uuid: 40,
    owner: 56,
};
/// Blocks of values of attributes and of targets of links.
pub(super) const REMOTE: HeaderLayout = HeaderLayout {
    name: "block of a remote value",
    checksum: 12,
    block_number: 40,
    uuid: 16,
    owner: 32,
};

/// Checks the block in `bytes`, which began at `position` of the volume and is of inode `owner`.
///
/// # Errors
/// `Corrupt` if the checksum is bad, or the block is another one than it should be. Version 4 has
/// nothing of this to check.
pub(super) fn check(
    superblock: &Superblock,
    layout: HeaderLayout,
    bytes: &[u8],
    position: u64,
    owner: u64,
) -> FsResult<()> {
    if !superblock.features.is_v5 {
        return Ok(());
    }
    let corrupt = |what: &str| {
        let message = format!("{} of inode {owner} {what}", layout.name);
        Err(FsError::corrupt(message).at(position))
    };
    if !checksum::is_good(bytes, layout.checksum) {
        return corrupt("has a bad checksum");
    }
    if array(bytes, layout.uuid) != Some(superblock.meta_uuid) {
        return corrupt("is of another file system");
    }
    if be64(bytes, layout.block_number) != Some(position / UNIT) {
        return corrupt("says that it lies elsewhere");
    }
    if be64(bytes, layout.owner) != Some(owner) {
        return corrupt("belongs to another inode");
    }
    Ok(())
}
