//! Where the superblock of a device is.

use volfold_block::{BlockDevice, BlockError, BlockResult};

use super::superblock::{SUPERBLOCK, Superblock, Version};
use super::{v1, v090};
use crate::partition;
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

/// Where the superblock of `version` is on a device of `size` bytes, or was if the image of the device lacks
/// its last bytes, which then lay after the superblock.
fn places(version: Version, size: u64) -> Vec<u64> {
    let (first, step) = match version {
        Version::Start => return vec![0],
        Version::AfterStart => return vec![4096],
        Version::End => (size.checked_sub(8 << 10).map(|last| last & !0xFFF), 4096),
        Version::Old => ((size & !0xFFFF).checked_sub(64 << 10), 64 << 10),
    };
    first.map(|first| (first..size).step_by(step).take(3).collect()).unwrap_or_default()
}

/// The superblock of `device`, which should have `size` bytes and may have less. Of several the one counts
/// whose array was made last: an older one was left when another version was written elsewhere.
///
/// # Errors
/// If the first bytes cannot be read.
pub(super) fn find(device: &dyn BlockDevice, size: u64) -> BlockResult<Found> {
    let mut newest: Option<Box<Superblock>> = None;
    let mut damaged = None;
    let versions = [Version::Start, Version::AfterStart, Version::End, Version::Old];
    let all = versions
        .into_iter()
        .flat_map(|version| places(version, size).into_iter().map(move |at| (version, at)));
    for (version, at) in all {
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
            _ => v1::parse(&bytes, at, version),
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

/// The partitions of `region`, and which scheme they are of; none of one that is a partition itself.
fn partitions(region: &Region) -> BlockResult<(&'static str, Vec<Region>)> {
    if region.partition.is_some() {
        return Ok(("", Vec::new()));
    }
    let device = &*region.device;
    let table = partition::registry::read_table(device, device.sector_size())?;
    Ok(table.map_or(("", Vec::new()), |table| (table.scheme, basic::regions(region, &table))))
}

/// What `region` has, and the numbers of the partitions that are part of it. A superblock of a whole disk
/// does not count if it lies in a partition, or if partitions have superblocks of their own.
///
/// # Errors
/// If the first bytes cannot be read.
pub(super) fn find_in(region: &Region) -> BlockResult<(Found, Vec<u32>)> {
    let found = find(&*region.device, region.size)?;
    if matches!(found, Found::Nothing) {
        return Ok((found, Vec::new()));
    }
    let (scheme, inner) = partitions(region)?;
    if inner.is_empty() {
        return Ok((found, Vec::new()));
    }
    let Found::Superblock(superblock) = found else {
        return Ok((Found::Nothing, Vec::new()));
    };
    let at = superblock.place;
    let holds =
        |inner: &Region| (inner.start..inner.start.saturating_add(inner.size)).contains(&at);
    if inner.iter().any(holds) || inner.iter().any(|inner| own(inner).is_some()) {
        return Ok((Found::Nothing, Vec::new()));
    }
    let numbers = inner.iter().filter_map(|inner| inner.partition.as_ref().map(|it| it.number));
    let hides = match superblock.version {
        // The table is at the start of the data: it is that of the array.
        Version::End | Version::Old => numbers.collect(),
        // The superblock lies in the place of the entries, which are older and damaged.
        _ if scheme == "gpt" => numbers.collect(),
        _ => Vec::new(),
    };
    Ok((Found::Superblock(superblock), hides))
}

/// The array of the superblock of `region`.
fn own(region: &Region) -> Option<String> {
    match find(&*region.device, region.size) {
        Ok(Found::Superblock(superblock)) => Some(superblock.array),
        _ => None,
    }
}

/// Whether `region`, a whole disk with partitions, has a superblock that does not count and is not that of
/// one of them.
///
/// # Errors
/// If the first bytes cannot be read.
pub(super) fn is_left(region: &Region) -> BlockResult<bool> {
    let Some(array) = own(region) else {
        return Ok(false);
    };
    let (_, inner) = partitions(region)?;
    let is_of_one = inner.iter().any(|inner| own(inner).as_ref() == Some(&array));
    Ok(!is_of_one && matches!(find_in(region)?, (Found::Nothing, _)))
}
