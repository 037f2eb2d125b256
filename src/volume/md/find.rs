//! Where the superblock of a device is.

use volfold_block::{BlockDevice, BlockError, BlockResult};

use super::superblock::{SUPERBLOCK, Superblock, Version};
use super::{v1, v090};
use crate::partition::{self, Partition};
use crate::volume::{Region, basic};

/// What a device has.
#[derive(Debug)]
pub(super) enum Found {
    /// No superblock.
    Nothing,
    /// A superblock.
    Superblock(Box<Superblock>),
    /// A superblock that cannot be used, and why.
    Damaged(BlockError),
}

/// Where the superblock of `version` is on a device of `size` bytes; `None` where there is no room.
fn place(version: Version, size: u64) -> Option<u64> {
    match version {
        Version::Start => Some(0),
        Version::AfterStart => Some(4096),
        Version::End => Some(size.checked_sub(8 << 10)? & !0xFFF),
        Version::Old => (size & !0xFFFF).checked_sub(64 << 10),
    }
}

/// The superblock of `device`, which should have `size` bytes and may have less. Of several the one counts
/// whose array was made last: an older one was left when another version was written elsewhere.
///
/// # Errors
/// If the first bytes cannot be read.
pub(super) fn find(device: &dyn BlockDevice, size: u64) -> BlockResult<Found> {
    let mut newest: Option<Box<Superblock>> = None;
    let mut damaged = None;
    for version in [Version::Start, Version::AfterStart, Version::End, Version::Old] {
        let Some(at) = place(version, size) else { continue };
        let left = device.size().saturating_sub(at);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(SUPERBLOCK)];
        match device.read_at(at, &mut bytes) {
            Ok(()) => {}
            Err(error) if at == 0 => return Err(error),
            // What cannot be read there is told of the disk.
            Err(_) => continue,
        }
        let parsed = match version {
            Version::Old => v090::parse(&bytes, at),
            _ => v1::parse(&bytes, at, version, size),
        };
        match parsed {
            Ok(Some(found)) => {
                if newest.as_ref().is_none_or(|known| found.created > known.created) {
                    newest = Some(Box::new(found));
                }
            }
            Ok(None) => {}
            Err(error) => damaged = damaged.or(Some(error)),
        }
    }
    Ok(match (newest, damaged) {
        (Some(superblock), _) => Found::Superblock(superblock),
        (None, Some(error)) => Found::Damaged(error),
        (None, None) => Found::Nothing,
    })
}

/// What `region` has, and the numbers of the partitions that are part of it. A superblock of a whole disk
/// does not count if it is that of a partition, or if partitions have superblocks of their own.
///
/// # Errors
/// If the first bytes cannot be read.
pub(super) fn find_in(region: &Region) -> BlockResult<(Found, Vec<u32>)> {
    let found = find(&*region.device, region.size)?;
    if region.partition.is_some() || matches!(found, Found::Nothing) {
        return Ok((found, Vec::new()));
    }
    let device = &*region.device;
    let table = partition::registry::read_table(device, device.sector_size())?;
    let Some(table) = table.filter(|table| !table.partitions.is_empty()) else {
        return Ok((found, Vec::new()));
    };
    let Found::Superblock(superblock) = found else {
        return Ok((Found::Nothing, Vec::new()));
    };
    let at = place(superblock.version, region.size).unwrap_or(0);
    let holds = |partition: &&Partition| {
        let end = partition.start.saturating_add(partition.size);
        (partition.start..end).contains(&at)
    };
    let has_own = |inner: &Region| {
        let own = find(&*inner.device, inner.size);
        own.is_ok_and(|own| matches!(own, Found::Superblock(_)))
    };
    let is_of_a_partition = table.partitions.iter().any(|partition| holds(&partition));
    if is_of_a_partition || basic::regions(region, &table).iter().any(has_own) {
        return Ok((Found::Nothing, Vec::new()));
    }
    let hides = match superblock.version {
        // The table is at the start of the data: it is that of the array.
        Version::End | Version::Old => table.partitions.iter().map(|it| it.number).collect(),
        // The superblock lies in the place of the entries, which are older and damaged.
        _ if table.scheme == "gpt" => table.partitions.iter().map(|it| it.number).collect(),
        _ => Vec::new(),
    };
    Ok((Found::Superblock(superblock), hides))
}
