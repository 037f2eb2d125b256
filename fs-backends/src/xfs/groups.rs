//! The headers of the allocation groups, as far as they count what is free.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Allocation Groups", "AG Free Space
//! Block". Big-endian, in the second sector of each group.
//!
//! | offset | size | field         | rule                                        |
//! |--------|------|---------------|---------------------------------------------|
//! | 0x00   | 4    | `magic`       | `XAGF`                                      |
//! | 0x08   | 4    | `number`      | of the group                                |
//! | 0x30   | 4    | `list_blocks` | kept for trees                              |
//! | 0x34   | 4    | `free_blocks` |                                             |
//! | 0x3C   | 4    | `tree_blocks` | of the trees of free blocks; taken as free  |
//! | 0xD8   | 4    | `checksum`    | version 5: CRC-32C of the sector            |

use super::bytes::be32;
use super::checksum;
use super::volume::Volume;
use crate::error::{FsError, FsResult};

/// LIMIT: groups whose headers are read; of more than that the superblock's count is taken.
const MAX_GROUPS: u64 = 1 << 12;
const CHECKSUM_AT: usize = 0xD8;

/// The free blocks of the volume.
///
/// # Errors
/// `Corrupt` if the header of a group is damaged.
pub(super) fn free_blocks(volume: &Volume) -> FsResult<u64> {
    let superblock = &volume.superblock;
    if superblock.ag_count > MAX_GROUPS {
        return Ok(superblock.free_blocks.min(superblock.data_blocks));
    }
    let mut bytes = Volume::buffer(superblock.sector_size)?;
    let mut all = 0_u64;
    for group in 0..superblock.ag_count {
        let invalid = || FsError::corrupt(format!("AGF of group {group} is damaged"));
        let start = superblock.group_position(group).ok_or_else(invalid)?;
        let position = start.saturating_add(superblock.sector_size);
        volume.read_metadata(position, &mut bytes)?;
        let is_good = bytes.starts_with(b"XAGF")
            && be32(&bytes, 8).map(u64::from) == Some(group)
            && (!superblock.features.is_v5 || checksum::is_good(&bytes, CHECKSUM_AT));
        if !is_good {
            return Err(invalid().at(position));
        }
        for field in [0x30, 0x34, 0x3C] {
            let count = be32(&bytes, field).ok_or_else(invalid)?;
            all = all.saturating_add(u64::from(count));
        }
    }
    Ok(all.min(superblock.data_blocks))
}
