//! The partition table of a disk, and the size of the sectors that it counts in.

use volfold_block::{BlockDevice, Confidence, Finding, Slice, code, error_chain};

use super::identify::probe;
use crate::partition::{self, PartitionTable, PartitionType};
use crate::signature::{Signature, signature_of};

/// The partition table of a disk, with the sector size that makes sense of it.
///
/// An image rarely tells its sector size. A GPT has its header in sector 1, so its place tells. An
/// MBR counts in sectors and says nothing; the size is taken under which more file systems, members of
/// groups and encrypted volumes appear.
pub(super) fn choose_table(
    device: &dyn BlockDevice,
    findings: &mut Vec<Finding>,
) -> Option<PartitionTable> {
    let native = device.sector_size();
    let is_whole_gpt =
        |table: &PartitionTable| table.scheme == "gpt" && !table.partitions.is_empty();
    let mut chosen = read_table(device, native, findings);
    let mut known = chosen.as_ref().map_or(0, |table| known_volumes(device, table));
    let all = |table: &PartitionTable| table.partitions.len().min(SAMPLE);
    for other in SECTOR_SIZES.into_iter().filter(|other| *other != native) {
        let is_settled =
            |table: &PartitionTable| is_whole_gpt(table) || (known > 0 && known >= all(table));
        if chosen.as_ref().is_some_and(is_settled) {
            break;
        }
        // What cannot be read was told at the first look.
        let Ok(Some(table)) = partition::registry::read_table(device, other) else {
            continue;
        };
        let more = known_volumes(device, &table);
        if chosen.is_none() || is_whole_gpt(&table) || more > known {
            (chosen, known) = (Some(table), more);
        }
    }
    let chosen = chosen?;
    let protective = |kind| matches!(kind, PartitionType::Mbr(0xEE));
    if chosen.scheme == "mbr" {
        if chosen.partitions.iter().any(|partition| protective(partition.kind)) {
            findings.push(Finding::error(
                code::GPT_DAMAGED,
                "protective MBR is there, its GPT is not: neither primary nor backup",
            ));
        }
        // The boot sector of an unpartitioned volume can look like a table by chance.
        if known_volumes(device, &chosen) == 0 && is_file_system(device) {
            findings.push(Finding::warning(
                code::MBR_IGNORED,
                "boot sector holds a file system; what looks like partitions in it is not used",
            ));
            return None;
        }
    }
    Some(chosen)
}

/// The sizes of sectors that a partition table may count in: disks have 512 and 4096, optical and
/// magneto-optical media 1024 and 2048.
const SECTOR_SIZES: [u32; 4] = [512, 4096, 2048, 1024];

/// LIMIT: partitions looked at to decide on a sector size.
const SAMPLE: usize = 16;

pub(super) fn read_table(
    device: &dyn BlockDevice,
    sector_size: u32,
    findings: &mut Vec<Finding>,
) -> Option<PartitionTable> {
    partition::registry::read_table(device, sector_size).unwrap_or_else(|error| {
        findings.push(Finding::error(code::DISK_UNREADABLE, error_chain(&error)));
        None
    })
}

fn is_file_system(device: &dyn BlockDevice) -> bool {
    matches!(probe(device), Ok(Some((Confidence::Certain, _))))
}

/// Whether `device` has a partition table, or a file system without one.
pub(crate) fn holds_something(device: &dyn BlockDevice) -> bool {
    let tables =
        SECTOR_SIZES.map(|sector_size| partition::registry::read_table(device, sector_size));
    tables.iter().any(|table| matches!(table, Ok(Some(_)))) || is_file_system(device)
}

/// How many partitions of `table` hold a file system that a driver knows, or what is surely a member of
/// a group or an encrypted volume.
fn known_volumes(device: &dyn BlockDevice, table: &PartitionTable) -> usize {
    let is_sure = |part: &Slice<&dyn BlockDevice>| {
        signature_of(part).is_ok_and(|found| found.is_some_and(Signature::is_sure_volume))
    };
    let known = |part: &&partition::Partition| {
        let size = part.size.min(device.size().saturating_sub(part.start));
        let part = Slice::part(device, part.start, size);
        part.is_ok_and(|part| is_file_system(&part) || is_sure(&part))
    };
    table.partitions.iter().take(SAMPLE).filter(known).count()
}
