//! The map of a file: from its extent tree or its block map to a run list.

use super::changes::{self, ChangedRanges};
use super::inode::{Flags, Inode};
use super::runs::{self, Runs};
use super::volume::Volume;
use super::{block_map, extent_tree};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{ExtentFile, Extents, Place};

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
        Some(ranges) => Ok((with_changes(volume, inode, &extents, ranges)?, None)),
        None => Ok((extents, mapped)),
    }
}

/// The run list of `inode` with `ranges` in place of those of `old`.
///
/// # Errors
/// `Corrupt` if `inode` has no extents; as those of [`Extents::push`].
fn with_changes(
    volume: &Volume,
    inode: &Inode,
    old: &Extents,
    ranges: &ChangedRanges,
) -> FsResult<Extents> {
    if !inode.flags.has(Flags::EXTENTS) {
        return Err(FsError::corrupt("fast commits map blocks of a file without extents"));
    }
    let end = old.end();
    let bytes = |blocks: u64| blocks.saturating_mul(volume.superblock.block_size.get()).min(end);
    let mut all = Extents::default();
    for (range, place) in ranges.iter() {
        copy(old, &mut all, bytes(range.start))?;
        let length = range.end.saturating_sub(range.start);
        let place = match place {
            changes::Place::At(first) => runs::place(volume, first, length),
            changes::Place::Unwritten => Place::Unwritten,
            changes::Place::Hole => Place::Hole,
        };
        all.push(place, bytes(range.end).saturating_sub(bytes(range.start)))?;
    }
    copy(old, &mut all, end)?;
    Ok(all.finish())
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
