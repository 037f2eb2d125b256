//! Superblocks in the place of the primary one, which begin the other allocation groups.
//!
//! Where the groups begin is told by what is left of the primary, or guessed: `mkfs.xfs` divides a
//! volume into 4 groups, or into more by the power of two.

use std::collections::BTreeSet;

use volfold_block::{BlockDevice, Confidence};

use super::bytes::be32;
use super::superblock::{MAGIC, Superblock};
use crate::error::{FsError, FsErrorKind, FsResult};

/// LIMIT: groups whose superblocks are looked at.
const MAX_GROUPS: u64 = 512;
/// Numbers of groups that are tried, and sizes of blocks.
const COUNTS: [u64; 8] = [4, 2, 8, 16, 32, 64, 128, 256];
const BLOCK_SIZES: [u64; 4] = [4096, 1024, 2048, 512];

/// The superblock of the volume: the primary, or the first backup where that is damaged. Version 4 has
/// no checksum that tells: there the primary is compared with the next one.
///
/// # Errors
/// What is wrong with the primary if there is no backup either; `Corrupt` if two contradict each other
/// and a third does not decide.
pub(super) fn read_superblock(device: &dyn BlockDevice) -> FsResult<Superblock> {
    match Superblock::read(device, 0) {
        Err(error) if error.kind() == FsErrorKind::Corrupt => backup(device, error),
        Ok(primary) if !primary.features.is_v5 && primary.ag_count > 1 => compared(device, primary),
        read => read,
    }
}

/// `primary`, if the superblock of the second group says the same; that, if a third one does.
fn compared(device: &dyn BlockDevice, mut primary: Superblock) -> FsResult<Superblock> {
    let mut second = match at_group(device, &primary, 1) {
        Ok(second) => second,
        Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
        // It is damaged, or the primary is and leads to another place.
        Err(_) => match backup(device, FsError::not_found()) {
            Ok(found) if !found.is_of_the_same(&primary) => return Ok(found),
            found => {
                primary.is_unconfirmed = found.is_err();
                return Ok(primary);
            }
        },
    };
    if second.is_of_the_same(&primary) {
        return Ok(primary);
    }
    // The last one names the root inode too.
    let last = |one: &Superblock| {
        let group = one.ag_count.checked_sub(1).filter(|&group| group > 1)?;
        at_group(device, one, group).ok()
    };
    let confirms = |one: &Superblock| last(one).is_some_and(|third| third.is_of_the_same(one));
    match (confirms(&primary), confirms(&second)) {
        (true, false) => Ok(primary),
        (false, true) => {
            second.in_place_of_primary = Some(1);
            with_root(device, second)
        }
        _ => Err(FsError::corrupt("superblock and that of group 1 contradict each other")),
    }
}

fn at_group(device: &dyn BlockDevice, by: &Superblock, group: u64) -> FsResult<Superblock> {
    let position = by.group_position(group).ok_or_else(FsError::not_found)?;
    Superblock::read(device, position)
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
        let group = (1..found.ag_count.min(MAX_GROUPS))
            .find(|&group| found.group_position(group) == Some(position));
        if group.is_some() {
            found.in_place_of_primary = group;
            return with_root(device, found);
        }
    }
    Err(primary)
}

/// `found` with the root inode, which `mkfs.xfs` writes to the middle and the last group alone.
fn with_root(device: &dyn BlockDevice, mut found: Superblock) -> FsResult<Superblock> {
    if found.has_root() {
        return Ok(found);
    }
    let groups = (2..found.ag_count.min(MAX_GROUPS)).chain(found.ag_count.checked_sub(1));
    let mut others = groups.filter_map(|group| at_group(device, &found, group).ok());
    let other = others.find(|other| other.has_root() && other.is_of_the_same(&found));
    let other = other.ok_or_else(|| FsError::corrupt("no superblock names the root inode"))?;
    found.root_inode = other.root_inode;
    Ok(found)
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
