//! Runs of blocks, put together to the run list of a file.

use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};

/// What blocks of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    /// Blocks of the file system from this one on. Numbers that it does not have are damage, and so
    /// are those of its own structures, which no file can have.
    At(u64),
    /// Reserved and never written, from this block on.
    Unwritten(u64),
    /// Where they lie is not known, because the map is damaged.
    Damaged,
}

/// What takes in the blocks of a file, in their order.
pub(super) trait Sink {
    /// Takes in `length` blocks from the block `logical` of the file on, which lies after all those
    /// before.
    ///
    /// # Errors
    /// If they are more than can be kept, or out of order.
    fn push(&mut self, logical: u64, length: u64, blocks: Blocks) -> FsResult<()>;

    /// Takes in a block of the map itself.
    fn map_block(&mut self, _block: u64) {}
}

/// The runs of a file of `size` bytes, in order. What lies between them is a hole.
pub(super) struct Runs<'a> {
    volume: &'a Volume,
    /// The blocks that the file has by its size; what lies past them is not kept.
    end: u64,
    extents: Extents,
    mapped: u64,
    is_damaged: bool,
}

impl<'a> Runs<'a> {
    pub(super) fn new(volume: &'a Volume, size: u64) -> Self {
        let end = size.div_ceil(volume.superblock.block_size.get());
        Self { volume, end, extents: Extents::default(), mapped: 0, is_damaged: false }
    }

    /// How many blocks were taken in, those of the map too; `None` if some are not known.
    pub(super) fn mapped(&self) -> Option<u64> {
        (!self.is_damaged).then_some(self.mapped)
    }

    fn bytes(&self, blocks: u64) -> FsResult<u64> {
        blocks
            .checked_mul(self.volume.superblock.block_size.get())
            .ok_or_else(|| FsError::corrupt("block map of the file has invalid block numbers"))
    }

    /// The run list, with all the `size` bytes of the file.
    ///
    /// # Errors
    /// `Unsupported` if there are too many runs.
    pub(super) fn finish(mut self, size: u64) -> FsResult<Extents> {
        self.extents.push_hole_to(size)?;
        Ok(self.extents.finish())
    }
}

impl Sink for Runs<'_> {
    fn push(&mut self, logical: u64, length: u64, blocks: Blocks) -> FsResult<()> {
        match blocks {
            Blocks::At(_) | Blocks::Unwritten(_) => {
                self.mapped = self.mapped.saturating_add(length);
            }
            Blocks::Damaged => self.is_damaged = true,
        }
        let Some(left) = self.end.checked_sub(logical).filter(|left| *left > 0) else {
            return Ok(());
        };
        let place = match blocks {
            Blocks::At(first) => place(self.volume, first, length),
            Blocks::Unwritten(_) => Place::Unwritten,
            Blocks::Damaged => Place::Refused(FsErrorKind::Corrupt),
        };
        let start = self.bytes(logical)?;
        self.extents.push_hole_to(start)?;
        if self.extents.end() != start {
            return Err(FsError::corrupt("block map of the file is out of order"));
        }
        self.extents.push(place, self.bytes(length.min(left))?)
    }

    fn map_block(&mut self, _block: u64) {
        self.mapped = self.mapped.saturating_add(1);
    }
}

/// Where `length` blocks from `first` on lie, if a file may have them.
pub(super) fn place(volume: &Volume, first: u64, length: u64) -> Place {
    let allowed = first
        .checked_add(length)
        .is_some_and(|end| volume.superblock.has_blocks(first..end) && !volume.owns(first..end));
    match volume.superblock.position(first).filter(|_| allowed) {
        Some(position) => Place::At(position),
        None => Place::Refused(FsErrorKind::Corrupt),
    }
}
