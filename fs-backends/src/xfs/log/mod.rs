//! The log: changes of metadata that may not be in their places yet.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Journaling Log". A ring of blocks of
//! 512 bytes. Records follow each other; each has a header of one block or more, and data. The first
//! four bytes of every block of data are kept in the header, and in their place is the number of
//! times that the log was gone round, the *cycle*, which tells new blocks from old ones. Records from
//! the tail, which the last record names, to the head are applied again.

mod apply_inode;
mod cycles;
pub(super) mod device;
mod ends;
mod intents;
mod items;
mod overlay;
mod record;
mod replay;
mod transactions;
mod walk;

#[cfg(test)]
mod ring_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use volfold_block::{BlockDevice, byte_count};

pub(super) use self::ends::Ends;
#[cfg(all(test, unix))]
pub(super) use self::items::kind;
pub(super) use self::overlay::Replayed;
pub(super) use self::replay::{newest_in_headers, replay};
use crate::error::{FsError, FsResult};

/// The bytes of a block of the log, which other places of XFS call a basic block.
pub(super) const BLOCK: u64 = 512;
/// LIMIT: the largest log of the specification, 2 GiB.
const MAX_BLOCKS: u64 = 1 << 22;

/// The blocks that may be under way at once: 8 buffers of 256 KiB.
const UNDER_WAY: u64 = 8 * 512;

/// Where a log lies.
pub(super) struct Log {
    device: Arc<dyn BlockDevice>,
    start: u64,
    blocks: u64,
    /// The UUID of the file system that it belongs to.
    uuid: [u8; 16],
    /// Whether every record has a checksum.
    has_checksums: bool,
}

impl Log {
    /// The log of `size` bytes that begins at byte `start` of `device`.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be a log.
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        (start, size): (u64, u64),
        uuid: [u8; 16],
        has_checksums: bool,
    ) -> FsResult<Self> {
        let blocks = size / BLOCK;
        let fits = start.checked_add(size).is_some_and(|end| end <= device.size());
        if !(2..=MAX_BLOCKS).contains(&blocks) || !fits {
            return Err(FsError::corrupt("log has an invalid size or leaves its volume"));
        }
        Ok(Self { device, start, blocks, uuid, has_checksums })
    }

    /// Fills `buffer`, whole blocks, from block `first` on, round the end.
    fn read(&self, first: u64, buffer: &mut [u8]) -> FsResult<()> {
        let first = self.wrap(first);
        let to_end = self.blocks.saturating_sub(first).saturating_mul(BLOCK);
        let whole = byte_count(buffer.len());
        let (before, after) = match usize::try_from(to_end.min(whole)) {
            Ok(cut) => buffer.split_at_mut_checked(cut),
            Err(_) => None,
        }
        .ok_or_else(|| FsError::corrupt("record of the log is too long"))?;
        self.device.read_at(self.position(first), before)?;
        if !after.is_empty() {
            if byte_count(after.len()) > self.blocks.saturating_mul(BLOCK) {
                return Err(FsError::corrupt("record of the log is too long"));
            }
            self.device.read_at(self.start, after)?;
        }
        Ok(())
    }

    fn position(&self, block: u64) -> u64 {
        self.start.saturating_add(block.saturating_mul(BLOCK))
    }

    /// `block` as a block of the ring.
    fn wrap(&self, block: u64) -> u64 {
        block.checked_rem(self.blocks).unwrap_or_default()
    }

    /// How many blocks there are from `from` to `to`, round the end; 0 if they are the same.
    fn distance(&self, from: u64, to: u64) -> u64 {
        if to >= from {
            to.saturating_sub(from)
        } else {
            self.blocks.saturating_sub(from).saturating_add(to)
        }
    }
}
