//! The content of a file as runs of blocks, and reading through them.

use std::num::NonZeroU64;
use std::sync::Arc;

use volfold_block::{BlockDevice, byte_count};

use super::volume::cut_short;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{FileData, FileExtent, FileExtentKind};

/// LIMIT: an open file may take 24 MiB for its runs; a file in that many pieces is refused.
const MAX_RUNS: usize = 1 << 20;

/// Blocks of a file that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// The first block in the file.
    logical: u64,
    length: u64,
    /// The first block in the file system, `None` for blocks that are known to be damaged.
    physical: Option<u64>,
}

impl Run {
    fn end(&self) -> u64 {
        self.logical.saturating_add(self.length)
    }

    fn physical_end(&self) -> Option<u64> {
        self.physical?.checked_add(self.length)
    }
}

/// What blocks of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Blocks of the file system from this one.
    Data(u64),
    /// Zeros.
    Hole,
    /// Where they lie is not known, because the map is damaged.
    Damaged,
}

/// The runs of a file, in order. What lies between them is a hole.
#[derive(Clone, Debug, Default)]
pub(super) struct RunList(Vec<Run>);

impl RunList {
    /// Adds blocks that lie behind all those added before.
    pub(super) fn push(
        &mut self,
        logical: u64,
        length: u64,
        physical: Option<u64>,
    ) -> FsResult<()> {
        if length == 0 {
            return Ok(());
        }
        if let Some(last) = self.0.last_mut()
            && last.end() == logical
            && last.physical_end() == physical
            && last.physical.is_some() == physical.is_some()
        {
            last.length = last.length.saturating_add(length);
            return Ok(());
        }
        if self.0.len() >= MAX_RUNS {
            return Err(FsError::unsupported("file lies in too many pieces"));
        }
        self.0.push(Run { logical, length, physical });
        Ok(())
    }

    /// What the block `block` of the file is, and for how many blocks.
    pub(super) fn piece_at(&self, block: u64) -> (Piece, u64) {
        let index = self.0.partition_point(|run| run.end() <= block);
        let Some(run) = self.0.get(index) else {
            return (Piece::Hole, u64::MAX.saturating_sub(block));
        };
        let Some(into) = block.checked_sub(run.logical) else {
            return (Piece::Hole, run.logical.saturating_sub(block));
        };
        let piece = match run.physical {
            Some(physical) => Piece::Data(physical.saturating_add(into)),
            None => Piece::Damaged,
        };
        (piece, run.length.saturating_sub(into))
    }
}

/// An open file whose content lies in blocks.
pub(super) struct Content {
    device: Arc<dyn BlockDevice>,
    block_size: NonZeroU64,
    size: u64,
    runs: RunList,
}

impl Content {
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        block_size: NonZeroU64,
        size: u64,
        runs: RunList,
    ) -> Self {
        Self { device, block_size, size, runs }
    }

    /// What the bytes at `offset` are, where they begin on the volume, and how far they reach.
    pub(super) fn bytes_at(&self, offset: u64) -> (Piece, u64) {
        let within = offset % self.block_size;
        let (piece, blocks) = self.runs.piece_at(offset / self.block_size);
        let bytes = blocks.saturating_mul(self.block_size.get()).saturating_sub(within);
        let piece = match piece {
            Piece::Data(block) => {
                // INVARIANT: runs name blocks inside the file system alone.
                Piece::Data(block.saturating_mul(self.block_size.get()).saturating_add(within))
            }
            other => other,
        };
        (piece, bytes.min(self.size.saturating_sub(offset)))
    }
}

impl FileData for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let available = self.size.saturating_sub(offset);
        let wanted = usize::try_from(available).unwrap_or(usize::MAX).min(buf.len());
        let mut rest = buf.get_mut(..wanted).unwrap_or_default();
        let mut position = offset;
        while !rest.is_empty() {
            let (piece, length) = self.bytes_at(position);
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            let Some((part, behind)) = rest.split_at_mut_checked(count) else {
                break;
            };
            match piece {
                Piece::Data(at) => {
                    let read = self.device.read_at(at, part);
                    read.map_err(|error| cut_short(error.into(), at))?;
                }
                Piece::Hole => part.fill(0),
                Piece::Damaged => {
                    let message = format!("block map of the file is damaged at offset {position}");
                    return Err(FsError::corrupt(message));
                }
            }
            position = position.saturating_add(byte_count(count));
            rest = behind;
        }
        Ok(wanted)
    }

    fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        if offset >= self.size {
            return Err(behind_the_end(offset));
        }
        let (piece, length) = self.bytes_at(offset);
        let kind = match piece {
            Piece::Data(_) => FileExtentKind::Data,
            Piece::Hole => FileExtentKind::Hole,
            Piece::Damaged => FileExtentKind::Unreadable(FsErrorKind::Corrupt),
        };
        Ok(FileExtent { kind, length })
    }
}

/// An open file whose content lies in its inode.
///
/// QUIRK: mke2fs 1.47.0 writes files of nothing but zeros as inline data that is shorter than the
/// file. Linux reads what the inode lacks as zeros, and e2fsck finds nothing wrong with it.
pub(super) struct InlineContent {
    pub(super) bytes: Vec<u8>,
    pub(super) size: u64,
}

impl FileData for InlineContent {
    fn size(&self) -> u64 {
        self.size
    }

    fn memory(&self) -> u64 {
        byte_count(self.bytes.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut source = self.bytes.get(start..).unwrap_or_default().iter();
        for to in buf.iter_mut().take(count) {
            *to = source.next().copied().unwrap_or(0);
        }
        Ok(count)
    }
}

fn behind_the_end(offset: u64) -> FsError {
    FsError::new(FsErrorKind::OutOfRange, "offset is behind the end of the file").at(offset)
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;

    fn content(runs: &[(u64, u64, Option<u64>)], size: u64) -> Content {
        let bytes: Vec<u8> = (0..16_u8).flat_map(|block| [block; 1024]).collect();
        let mut list = RunList::default();
        for &(logical, length, physical) in runs {
            list.push(logical, length, physical).unwrap();
        }
        let block_size = NonZeroU64::new(1024).unwrap();
        Content::new(Arc::new(MemoryDevice::new(bytes)), block_size, size, list)
    }

    #[test]
    fn a_read_across_runs_and_holes_joins_them() {
        let file = content(&[(0, 1, Some(5)), (1, 1, Some(6)), (3, 1, Some(2))], 4000);
        assert_eq!(file.runs.0.len(), 2, "neighbours are one run");
        let mut buf = [9; 5000];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 4000);
        let expected: Vec<u8> = [5, 6, 0, 2].iter().flat_map(|&byte| [byte; 1024]).collect();
        assert_eq!(buf[..4000], expected[..4000]);
        assert_eq!(file.read_at(4000, &mut buf).unwrap(), 0);
        let extent = file.extent_at(2100).unwrap();
        assert_eq!((extent.kind, extent.length), (FileExtentKind::Hole, 972));
        assert_eq!(file.extent_at(3072).unwrap().length, 928, "the end cuts the last run");
        assert!(file.extent_at(4000).is_err());
    }

    #[test]
    fn damage_is_an_error_of_the_reads_that_touch_it() {
        let file = content(&[(0, 1, Some(5)), (1, 2, None), (3, 1, Some(7))], 4096);
        let mut buf = [0; 1024];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 1024);
        let error = file.read_at(1, &mut buf).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
        assert_eq!(file.read_at(3072, &mut buf).unwrap(), 1024);
        assert_eq!(
            file.extent_at(1024).unwrap(),
            FileExtent { kind: FileExtentKind::Unreadable(FsErrorKind::Corrupt), length: 2048 }
        );
    }

    #[test]
    fn blocks_behind_the_device_are_corrupt_not_zero() {
        let file = content(&[(0, 1, Some(16))], 1024);
        let error = file.read_at(0, &mut [0; 10]).unwrap_err();
        assert_eq!((error.kind(), error.position()), (FsErrorKind::Corrupt, Some(16 * 1024)));
    }
}
