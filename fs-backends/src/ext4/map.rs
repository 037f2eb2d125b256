//! The map of a file: from its extent tree or its block map to a run list.

use super::inode::{Flags, Inode};
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
    if !inode.size_is_possible {
        return Err(impossible_size());
    }
    let runs = if inode.flags.has(Flags::EXTENTS) {
        extent_tree::read(volume, inode)?
    } else {
        block_map::read(volume, inode)?
    };
    let extents = runs.finish(inode.size)?;
    match volume.changes().ranges(inode.number) {
        Some(ranges) => ranges.over(volume, inode, &extents),
        None => Ok(extents),
    }
}

/// A file is larger than its kind of map reaches.
pub(super) fn impossible_size() -> FsError {
    FsError::corrupt("inode has a size that its block map cannot have")
}

/// The content of `inode`, which lies in blocks.
///
/// # Errors
/// As [`read`].
pub(super) fn open(volume: &Volume, inode: &Inode) -> FsResult<ExtentFile> {
    let extents = read(volume, inode)?;
    ExtentFile::new(volume.data(), extents, inode.size, inode.size)
}
