//! Basic volumes: a partition, or a disk without partitions.

use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice, Slice};

use super::{Health, Layout, Region, Volume, VolumeExtent, VolumeId, VolumeType};
use crate::partition::{PartitionTable, PartitionType};

/// The bytes of `device` from `start`, at most `size` of them and as many as there are.
pub(super) fn present_part(
    device: &Arc<dyn BlockDevice>,
    start: u64,
    size: u64,
) -> Arc<dyn BlockDevice> {
    let present = size.min(device.size().saturating_sub(start));
    match Slice::part(device.clone(), start.min(device.size()), present) {
        Ok(slice) => Arc::new(slice),
        // `present` was made to fit, so there is nothing left to show.
        Err(_) => Arc::new(MemoryDevice::new(Vec::new())),
    }
}

/// The indices of volumes that are members of groups begin here, those of disks end before it.
pub(crate) const FIRST: usize = usize::MAX / 2;

/// Whether `disk` is a disk, not a volume that is a member.
pub(crate) fn is_disk(disk: usize) -> bool {
    disk < FIRST
}

/// What the disk of `region` is called: `disk0`, or the volume that it is.
pub(crate) fn disk_name(region: &Region) -> String {
    match is_disk(region.disk) {
        true => format!("disk{}", region.disk),
        false => region.label.to_string(),
    }
}

/// The volume that `region` is by itself.
pub fn volume(region: Region) -> Volume {
    let extent =
        VolumeExtent { disk: region.disk, offset: region.start, length: region.device.size() };
    let disk_name = disk_name(&region);
    let name = match &region.partition {
        Some(partition) => format!("{disk_name}-p{}", partition.number),
        None => disk_name,
    };
    let id = match (&region.partition, &region.table_id) {
        (Some(partition), table_id) => match (partition.kind, partition.guid, table_id) {
            (PartitionType::Gpt(_), Some(guid), _) => format!("gpt:{guid}"),
            (PartitionType::Mbr(_), _, Some(signature)) => {
                format!("mbr:{signature}-{}", partition.first_lba)
            }
            _ => name.clone(),
        },
        (None, _) => name.clone(),
    };
    let (kind, layout) = match region.partition.as_ref().map(|partition| partition.kind) {
        Some(PartitionType::Mbr(_)) => (VolumeType::Basic, Layout::Partition),
        Some(PartitionType::Gpt(_)) => (VolumeType::Gpt, Layout::Partition),
        None => (VolumeType::WholeDisk, Layout::WholeDisk),
    };
    let whole = region.device.size() >= region.size;
    Volume {
        id: VolumeId(id),
        fallback_name: name,
        hint: None,
        kind,
        layout,
        health: if whole { Health::Healthy } else { Health::Failed },
        size: region.size,
        device: region.device,
        extents: vec![extent],
        partition: region.partition,
        membership: None,
        redundancy: None,
        lock: None,
        snapshot: None,
    }
}

/// The regions of the partitions in `table` of the disk `whole`, as far as the disk has them.
pub fn regions(whole: &Region, table: &PartitionTable) -> Vec<Region> {
    table
        .partitions
        .iter()
        .map(|partition| Region {
            disk: whole.disk,
            device: present_part(&whole.device, partition.start, partition.size),
            start: partition.start,
            size: partition.size,
            label: whole.label.clone(),
            partition: Some(partition.clone()),
            table_id: table.disk_id.clone(),
        })
        .collect()
}
