//! Runs of blocks, put together to the run list of a file.

use std::ops::Range;

use super::superblock::Superblock;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};

/// The blocks that a file can have.
pub(super) const ALL_BLOCKS: Range<u64> = 0..1 << 32;

/// What blocks of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    /// Blocks of the file system from this one on; numbers that it does not have are damage.
    At(u64),
    /// Reserved and never written.
    Unwritten,
    /// Where they lie is not known, because the map is damaged.
    Damaged,
}

/// The runs of a file of `size` bytes, in order. What lies between them is a hole.
pub(super) struct Runs<'a> {
    superblock: &'a Superblock,
    /// The blocks that the file has by its size; what lies past them is not kept.
    end: u64,
    extents: Extents,
}

impl<'a> Runs<'a> {
    pub(super) fn new(superblock: &'a Superblock, size: u64) -> Self {
        let end = size.div_ceil(superblock.block_size.get());
        Self { superblock, end, extents: Extents::default() }
    }

    /// Adds `length` blocks from the block `logical` of the file on, which lies after all those
    /// added before.
    ///
    /// # Errors
    /// `Unsupported` if there are too many runs.
    pub(super) fn push(&mut self, logical: u64, length: u64, blocks: Blocks) -> FsResult<()> {
        let Some(left) = self.end.checked_sub(logical).filter(|left| *left > 0) else {
            return Ok(());
        };
        let place = match blocks {
            Blocks::At(first) => self.place(first, length),
            Blocks::Unwritten => Place::Unwritten,
            Blocks::Damaged => Place::Refused(FsErrorKind::Corrupt),
        };
        let start = self.bytes(logical)?;
        self.extents.push_hole_to(start)?;
        if self.extents.end() != start {
            return Err(FsError::corrupt("block map of the file is out of order"));
        }
        self.extents.push(place, self.bytes(length.min(left))?)
    }

    fn place(&self, first: u64, length: u64) -> Place {
        let superblock = self.superblock;
        let inside = first > superblock.first_data_block
            && first.checked_add(length).is_some_and(|end| end <= superblock.blocks_count);
        match superblock.position(first).filter(|_| inside) {
            Some(position) => Place::At(position),
            None => Place::Refused(FsErrorKind::Corrupt),
        }
    }

    fn bytes(&self, blocks: u64) -> FsResult<u64> {
        blocks
            .checked_mul(self.superblock.block_size.get())
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
