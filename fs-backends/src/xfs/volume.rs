//! A volume whose superblock is known: reads blocks and inodes by number.

use std::collections::HashMap;
use std::sync::Arc;

use volfold_block::{BlockDevice, Span, bytes_to_index};

use super::block_header::{self, HeaderLayout};
use super::inode::Inode;
use super::superblock::Superblock;
use crate::driver::VolumeReader;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};

/// Why an inode is not read as it lies there.
pub(super) type Doubts = HashMap<u64, &'static str>;

/// What every part of the driver reads through.
pub(super) struct Volume {
    reader: VolumeReader,
    pub(super) superblock: Superblock,
    /// The bytes of the log, which no file can have.
    log: Option<Span>,
    /// Inodes with a change that the log began and did not end.
    doubts: Doubts,
}

impl Volume {
    /// The volume of `reader`, described by `superblock`.
    pub(super) fn new(reader: VolumeReader, superblock: Superblock) -> Self {
        let log = superblock.log_span().and_then(|(start, size)| Span::new(start, size));
        Self { reader, superblock, log, doubts: Doubts::new() }
    }

    /// The same with the reasons why some inodes are refused.
    pub(super) fn doubting(self, doubts: Doubts) -> Self {
        Self { doubts, ..self }
    }

    /// The view for file content.
    pub(super) fn data(&self) -> Arc<dyn BlockDevice> {
        self.reader.data.clone()
    }

    /// The views of the device.
    pub(super) fn reader(&self) -> &VolumeReader {
        &self.reader
    }

    /// Why the content of inode `number` is refused, if it is.
    ///
    /// # Errors
    /// `Unsupported` with the reason.
    pub(super) fn check_doubt(&self, number: u64) -> FsResult<()> {
        match self.doubts.get(&number) {
            None => Ok(()),
            Some(why) => Err(FsError::unsupported(format!("inode {number} {why}"))),
        }
    }

    /// Where `count` blocks from `first` on lie, if a file may have them.
    pub(super) fn place(&self, first: u64, count: u64) -> Place {
        let span = || {
            let position = self.superblock.blocks_position(first, count)?;
            let span = Span::new(position, self.superblock.bytes(count)?)?;
            let is_log = self.log.is_some_and(|log| log.intersection(span).is_some());
            (!is_log).then_some(span)
        };
        span().map_or(Place::Refused(FsErrorKind::Corrupt), |span| Place::At(span.start()))
    }

    /// Fills `buffer` from `position`.
    ///
    /// # Errors
    /// `Corrupt` where the volume is shorter than its file system.
    pub(super) fn read_metadata(&self, position: u64, buffer: &mut [u8]) -> FsResult<()> {
        self.reader.metadata.read_at(position, buffer).map_err(|error| {
            let error = FsError::from(error);
            if error.kind() != FsErrorKind::OutOfRange {
                return error;
            }
            FsError::corrupt("volume is shorter than its file system").at(position).because(error)
        })
    }

    /// Reads the block of `buffer.len()` bytes at byte `offset` of a fork of inode `owner`, whose
    /// run list is `extents`; the block describes itself as `layout` says. Gives its position.
    ///
    /// # Errors
    /// `Corrupt` if there is none, or it is not what it should be.
    pub(super) fn read_fork_block(
        &self,
        extents: &Extents,
        offset: u64,
        owner: u64,
        layout: HeaderLayout,
        buffer: &mut [u8],
    ) -> FsResult<u64> {
        let position = extents.position(offset).ok_or_else(|| {
            FsError::corrupt(format!("{} of inode {owner} is missing", layout.name))
        })?;
        extents.read(&*self.reader.metadata, offset, buffer)?;
        block_header::check(&self.superblock, layout, buffer, position, owner)?;
        Ok(position)
    }

    /// A buffer of `size` bytes, which the superblock bounds.
    pub(super) fn buffer(size: u64) -> FsResult<Vec<u8>> {
        Ok(vec![0; bytes_to_index(size)?])
    }

    /// Reads the inode `number` with `bytes` as its buffer, which keeps the inode's bytes.
    ///
    /// # Errors
    /// `NotFound` for a number that is no inode or one that is not in use.
    pub(super) fn read_inode(&self, number: u64, bytes: &mut Vec<u8>) -> FsResult<Inode> {
        let position = self.superblock.inode_position(number).ok_or_else(FsError::not_found)?;
        bytes.resize(usize::from(self.superblock.inode_size), 0);
        self.read_metadata(position, bytes)?;
        Inode::parse(&self.superblock, number, bytes, position)
    }
}
