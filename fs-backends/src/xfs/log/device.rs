//! A device that is nothing but the log of an XFS on another volume.
//!
//! It has no header of its own: it begins with a block of the ring, which is the header of a record
//! until the log was gone round once, and often later. What a record says of its file system tells
//! whose log it is.

use volfold_block::{BlockDevice, bytes_to_index};

use super::BLOCK;
use super::record;
use crate::error::FsResult;

/// LIMIT: blocks that are looked at for the first record; the longest has 520.
const LOOKED_AT: u64 = 1024;

/// The UUID of the file system whose log begins at byte 0 of `device`; `None` if it does not begin
/// with the header of a record.
pub(in crate::xfs) fn owner(device: &dyn BlockDevice) -> FsResult<Option<[u8; 16]>> {
    first(device, 1)
}

/// The same with as many blocks looked at as the longest record has.
pub(in crate::xfs) fn owner_by_search(device: &dyn BlockDevice) -> FsResult<Option<[u8; 16]>> {
    first(device, LOOKED_AT)
}

fn first(device: &dyn BlockDevice, most: u64) -> FsResult<Option<[u8; 16]>> {
    let blocks = most.min(device.size() / BLOCK);
    let mut buffer = vec![0; bytes_to_index(blocks.saturating_mul(BLOCK))?];
    device.read_at(0, &mut buffer)?;
    let (blocks, _) = buffer.as_chunks::<512>();
    Ok(blocks.iter().find_map(|block| record::owner(block)))
}
