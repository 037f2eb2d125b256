//! The map of a file: from its extent tree or its block map to a run list.

use super::inode::{Flags, Inode};
use super::runs::ALL_BLOCKS;
use super::volume::Volume;
use super::{block_map, extent_tree};
use crate::error::{FsError, FsResult};
use crate::extents::{ExtentFile, Extents};

/// The run list of `inode`, whose content lies in blocks; it has all the bytes of the file.
///
/// # Errors
/// `Corrupt` if nothing of the map can be read, `Unsupported` if it is larger than this build
/// follows.
pub(super) fn read(volume: &Volume, inode: &Inode) -> FsResult<Extents> {
    let most = ALL_BLOCKS.end.checked_mul(volume.superblock.block_size.get());
    if most.is_none_or(|most| inode.size > most) {
        return Err(FsError::corrupt("inode has an invalid size"));
    }
    let runs = if inode.flags.has(Flags::EXTENTS) {
        extent_tree::read(volume, inode)?
    } else {
        block_map::read(volume, inode)?
    };
    runs.finish(inode.size)
}

/// The content of `inode`, which lies in blocks.
///
/// # Errors
/// As [`read`].
pub(super) fn open(volume: &Volume, inode: &Inode) -> FsResult<ExtentFile> {
    let extents = read(volume, inode)?;
    ExtentFile::new(volume.data(), extents, inode.size, inode.size)
}
