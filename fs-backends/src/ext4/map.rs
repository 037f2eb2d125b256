//! The map of a file: from its extent tree or its block map to a run list.

use super::inode::{Flags, Inode};
use super::runs::Runs;
use super::volume::Volume;
use super::{block_map, extent_tree};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{ExtentFile, Extents};

/// The run list of `inode`, whose content lies in blocks; it has all the bytes of the file.
///
/// # Errors
/// `Corrupt` if nothing of the map can be read, `Unsupported` if it is larger than this build
/// follows.
pub(super) fn read(volume: &Volume, inode: &Inode) -> FsResult<Extents> {
    Ok(read_counted(volume, inode)?.0)
}

/// The same, and how many blocks the map has up to the end of the file, its own too; `None` if that
/// is not known.
///
/// # Errors
/// As [`read`].
pub(super) fn read_counted(volume: &Volume, inode: &Inode) -> FsResult<(Extents, Option<u64>)> {
    if !inode.size_is_possible {
        return Err(impossible_size());
    }
    let runs = if inode.flags.has(Flags::EXTENTS) {
        extent_tree::read(volume, inode)?
    } else {
        block_map::read(volume, inode)?
    };
    let mapped = runs.mapped();
    let extents = runs.finish(inode.size)?;
    match volume.changes().ranges(inode.number) {
        Some(ranges) => Ok((ranges.over(volume, inode, &extents)?, None)),
        None => Ok((extents, mapped)),
    }
}

/// A file is larger than its kind of map reaches.
pub(super) fn impossible_size() -> FsError {
    FsError::corrupt("inode has a size that its block map cannot have")
}

/// Whether the inode's count of blocks is not that of its map, of which `mapped` are known.
///
/// # Errors
/// If the host cannot read.
pub(super) fn has_other_count(volume: &Volume, inode: &Inode, mapped: u64) -> FsResult<bool> {
    let superblock = &volume.superblock;
    let Some(counted) = inode.block_count(superblock) else {
        return Ok(false);
    };
    if counted == mapped || volume.changes().inode(inode.number).is_some() {
        return Ok(false);
    }
    if inode.flags.has(Flags::EXTENTS) {
        return Ok(true);
    }
    // There may be blocks past the end.
    let mut all = Runs::new(volume, inode.size);
    match block_map::walk(volume, inode, u64::MAX, &mut all) {
        Err(error) if error.kind() == FsErrorKind::Io => Err(error),
        Err(_) => Ok(true),
        Ok(()) => Ok(all.mapped() != Some(counted)),
    }
}

/// The content of `inode`, which lies in blocks.
///
/// # Errors
/// As [`read`].
pub(super) fn open(volume: &Volume, inode: &Inode) -> FsResult<ExtentFile> {
    let extents = read(volume, inode)?;
    ExtentFile::new(volume.data(), extents, inode.size, inode.size)
}
