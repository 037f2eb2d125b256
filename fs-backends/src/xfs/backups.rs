//! Superblocks in the place of the primary one, which begin the other allocation groups.
//!
//! Where the groups begin is told by what is left of the primary, or guessed: `mkfs.xfs` divides a
//! volume into 4 groups, or into more by the power of two.

use std::collections::BTreeSet;

use volfold_block::{BlockDevice, Confidence};

use super::bytes::be32;
use super::superblock::{MAGIC, Superblock};
use crate::error::{FsError, FsErrorKind, FsResult};

/// Numbers of groups that are tried, and sizes of blocks.
const COUNTS: [u64; 8] = [4, 2, 8, 16, 32, 64, 128, 256];
const BLOCK_SIZES: [u64; 4] = [4096, 1024, 2048, 512];

/// The superblock of the volume: the primary, or the first backup where that is damaged.
///
/// # Errors
/// What is wrong with the primary if there is no backup either.
pub(super) fn read_superblock(device: &dyn BlockDevice) -> FsResult<Superblock> {
    match Superblock::read(device, 0) {
        Err(error) if error.kind() == FsErrorKind::Corrupt => backup(device, error),
        read => read,
    }
}

/// Whether there is a backup where one may be guessed.
pub(super) fn probe(device: &dyn BlockDevice) -> Confidence {
    match backup(device, FsError::not_found()) {
        Ok(_) => Confidence::Likely,
        Err(_) => Confidence::No,
    }
}

fn backup(device: &dyn BlockDevice, primary: FsError) -> FsResult<Superblock> {
    for position in candidates(device) {
        let mut magic = [0; 4];
        if device.read_at(position, &mut magic).is_err() || magic != MAGIC {
            continue;
        }
        let Ok(mut found) = Superblock::read(device, position) else { continue };
        let group = (1..found.ag_count.min(512))
            .find(|&group| found.group_position(group) == Some(position));
        if group.is_some() {
            found.in_place_of_primary = group;
            return Ok(found);
        }
    }
    Err(primary)
}

/// Where the second group may begin.
fn candidates(device: &dyn BlockDevice) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut start = [0; 512];
    if device.read_at(0, &mut start).is_ok()
        && let (Some(block_size), Some(blocks)) = (be32(&start, 0x04), be32(&start, 0x54))
    {
        found.extend(u64::from(block_size).checked_mul(u64::from(blocks)));
    }
    for block_size in BLOCK_SIZES {
        for count in COUNTS {
            let blocks = device.size().div_euclid(block_size).div_ceil(count);
            found.extend(blocks.checked_mul(block_size));
        }
    }
    found.retain(|&position| position > 0 && position.saturating_add(512) <= device.size());
    found
}
