//! The partition schemes of this build.

use volfold_block::{BlockDevice, BlockResult, Finding, code};

use super::gpt::Gpt;
use super::mbr::Mbr;
use super::{Partition, PartitionScheme, PartitionTable};

/// Every partition scheme of this build, in the order asked.
pub static SCHEMES: &[&dyn PartitionScheme] = &[&Gpt, &Mbr];

/// The first table that a scheme finds on `device`.
///
/// # Errors
/// If the device cannot be read.
pub fn read_table(
    device: &dyn BlockDevice,
    sector_size: u32,
) -> BlockResult<Option<PartitionTable>> {
    for scheme in SCHEMES {
        if let Some(mut table) = scheme.read(device, sector_size)? {
            check_geometry(&mut table, device.size());
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// Finds overlaps and partitions that leave the disk.
fn check_geometry(table: &mut PartitionTable, disk_size: u64) {
    let mut found = Vec::new();
    for partition in &table.partitions {
        if partition.start.saturating_add(partition.size) > disk_size {
            found.push(Finding::warning(
                code::PARTITION_PAST_END,
                format!("partition {} reaches past the end of the disk", partition.number),
            ));
        }
    }
    let mut ordered: Vec<&Partition> = table.partitions.iter().collect();
    ordered.sort_by_key(|partition| (partition.start, partition.number));
    let mut furthest: Option<&Partition> = None;
    for next in ordered {
        if let Some(before) = furthest
            && next.start < before.start.saturating_add(before.size)
        {
            found.push(Finding::warning(
                code::PARTITIONS_OVERLAP,
                format!("partitions {} and {} overlap", before.number, next.number),
            ));
        }
        let end = |partition: &Partition| partition.start.saturating_add(partition.size);
        if furthest.is_none_or(|before| end(next) > end(before)) {
            furthest = Some(next);
        }
    }
    table.findings.append(&mut found);
}
