//! From images to volumes: a worklist over regions that never fails as a whole.
//!
//! What cannot be used becomes a [`Finding`]. This is the one place that sees images, partitions,
//! volume managers and file systems at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use volfold_block::{BlockDevice, Code, Finding, Severity, code};

use self::identify::identify;
use self::worklist::{DiskResult, Worklist};
use crate::monitor::{Monitor, Stage};
use crate::volume::lock::{KeySource, WorkBudget};
use crate::volume::registry::SNAPSHOT_MANAGERS;
use crate::volume::{
    Health, Region, SnapshotManager, Volume, VolumeExtent, VolumeId, VolumeManager, VolumeType,
};

mod detached;
mod identify;
mod table;
#[cfg(test)]
mod tests;
mod worklist;

pub(crate) use self::identify::Discovered;
pub(crate) use self::table::holds_something;

/// LIMIT: volumes of one disk set.
const MAX_VOLUMES: usize = 4096;

/// A disk as discovery needs it.
pub(crate) struct DiskSource {
    pub(crate) device: Arc<dyn BlockDevice>,
    /// What messages call it.
    pub(crate) label: Arc<str>,
}

/// What is on a set of disks.
pub(crate) struct Discovery {
    pub(crate) disks: Vec<DiskResult>,
    pub(crate) volumes: Vec<Discovered>,
    pub(crate) findings: Vec<Finding>,
}

/// Finds every volume on `disks`, asking `managers` before partitions are believed, and `keys` for
/// what opens locked volumes, by `work`. What `monitor` stops is no answer.
pub(crate) fn discover(
    disks: &[DiskSource],
    managers: &[&dyn VolumeManager],
    snapshots: bool,
    (keys, work): (&dyn KeySource, &WorkBudget),
    monitor: &Monitor,
) -> Discovery {
    let mut list = Worklist::new(managers, keys, work);
    let mut findings = Vec::new();
    let mut results = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        if !monitor.stage(Stage::Disks, index, disks.len()) {
            break;
        }
        let whole = Region {
            disk: index,
            device: disk.device.clone(),
            start: 0,
            size: disk.device.size(),
            label: disk.label.clone(),
            partition: None,
            table_id: None,
        };
        let mut about_disk = Vec::new();
        results.push(list.disk(whole, &mut about_disk));
        findings.extend(about_disk.into_iter().map(|finding| finding.on_disk(index)));
    }
    let mut volumes = list.assemble(&mut findings);
    let left_over = keys.left_over().into_iter();
    findings.extend(left_over.map(|line| Finding::warning(code::KEY_UNUSED, line)));
    monitor.stage(Stage::Disks, disks.len(), disks.len());
    hide_repeated(&mut volumes, &mut findings);
    if let Some(left) = volumes.len().checked_sub(MAX_VOLUMES).filter(|left| *left > 0) {
        let line = format!("{left} volumes beyond the first {MAX_VOLUMES} are left out");
        findings.push(Finding::error(code::TOO_MANY_VOLUMES, line));
    }
    volumes.truncate(MAX_VOLUMES);
    let total = volumes.len();
    let mut identified = Vec::new();
    for volume in volumes {
        if !monitor.stage(Stage::Volumes, identified.len(), total) {
            break;
        }
        identified.push(identify(volume, &mut findings));
    }
    monitor.stage(Stage::Volumes, identified.len(), total);
    let mut volumes = identified;
    make_ids_unique(&mut volumes, &mut findings);
    add_snapshots(&mut volumes, snapshots, &mut findings);
    Discovery { disks: results, volumes, findings }
}

/// Adds the snapshots that are kept in `volumes`, or tells of them if they are not wanted.
fn add_snapshots(volumes: &mut Vec<Discovered>, are_wanted: bool, findings: &mut Vec<Finding>) {
    let is_whole = |volume: &&Volume| volume.lock.is_none() && volume.health != Health::Failed;
    let readable = volumes.iter().map(|discovered| &discovered.volume).filter(is_whole);
    let readable: Vec<&Volume> = readable.collect();
    let find = |manager: &&dyn SnapshotManager| manager.find(&readable, are_wanted, findings);
    let mut found: Vec<Volume> = SNAPSHOT_MANAGERS.iter().flat_map(find).collect();
    let room = MAX_VOLUMES.saturating_sub(volumes.len());
    if let Some(left) = found.len().checked_sub(room).filter(|left| *left > 0) {
        let line = format!("{left} snapshots beyond the first {MAX_VOLUMES} volumes are left out");
        findings.push(Finding::error(code::TOO_MANY_VOLUMES, line));
    }
    found.truncate(room);
    volumes.extend(found.into_iter().map(|volume| identify(volume, findings)));
}

/// What is missing of a disk where no volume lies costs nothing.
pub(crate) fn spare_what_no_volume_has(
    findings: &mut [Finding],
    disks: &[DiskSource],
    volumes: &[Discovered],
) {
    const OF_DISKS: [Code; 2] = [code::DISK_UNREADABLE, code::VMDK_EXTENT_SHORT];
    for finding in findings.iter_mut().filter(|finding| OF_DISKS.contains(&finding.code)) {
        let (Some(disk), Some(from)) = (finding.disk, finding.position) else { continue };
        let Some(device) = disks.get(disk).map(|disk| &disk.device) else { continue };
        let extents = volumes.iter().flat_map(|discovered| &discovered.volume.extents);
        // What is missing goes on from there, nobody says how far: into the next volume, perhaps.
        let mut sector = [0; 512];
        let is_touched = extents.filter(|extent| extent.disk == disk).any(|extent| {
            let end = extent.offset.saturating_add(extent.length);
            let is_after =
                extent.offset >= from && device.read_at(extent.offset, &mut sector).is_err();
            (extent.offset..end).contains(&from) || is_after
        });
        if !is_touched {
            finding.code = code::MISSING_OUTSIDE_VOLUMES;
            finding.severity = Severity::Warning;
        }
    }
}

/// Takes away partitions that lie where a dynamic volume does: Windows keeps an entry in the
/// partition table for volumes that it boots from.
fn hide_repeated(volumes: &mut Vec<Volume>, findings: &mut Vec<Finding>) {
    let dynamic: Vec<(VolumeId, VolumeExtent)> = volumes
        .iter()
        .filter(|volume| volume.kind == VolumeType::Dynamic && volume.health != Health::Failed)
        .flat_map(|volume| volume.extents.iter().map(|extent| (volume.id.clone(), *extent)))
        .collect();
    if dynamic.is_empty() {
        return;
    }
    volumes.retain(|volume| {
        let (Some(partition), Some(extent)) = (&volume.partition, volume.extents.first()) else {
            return true;
        };
        let end = |extent: &VolumeExtent| extent.offset.saturating_add(extent.length);
        let covers = |(_, other): &&(VolumeId, VolumeExtent)| {
            let is_here = other.disk == extent.disk && other.offset == extent.offset;
            is_here && end(extent) <= end(other)
        };
        let Some((id, _)) = dynamic.iter().find(covers) else {
            return true;
        };
        let number = partition.number;
        let line = format!("partition {number} lies on the sectors of the dynamic volume {id}");
        findings.push(Finding::info(code::LDM_REPEATED, line).on_disk(extent.disk));
        false
    });
}

/// Volumes with the id of another one (of a copy of a disk) get the ids of their places.
fn make_ids_unique(volumes: &mut [Discovered], findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    let mut copies: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for discovered in volumes.iter_mut() {
        let volume = &mut discovered.volume;
        if seen.insert(volume.id.clone()) {
            continue;
        }
        let disk = volume.extents.first().map_or(0, |extent| extent.disk);
        let name = &volume.fallback_name;
        let free = std::iter::once(name.clone())
            .chain((2_u32..).map(|number| format!("disk{disk}:{name}-{number}")))
            .map(VolumeId)
            .find(|id| !seen.contains(id));
        let Some(place) = free else { continue };
        copies.entry(disk).or_default().push(place.0.clone());
        seen.insert(place.clone());
        volume.id = place;
    }
    for (disk, places) in copies {
        let line = format!(
            "has volumes with the ids of others, as a copy of a disk has; they are called by their \
             places: {}",
            places.join(", ")
        );
        findings.push(Finding::warning(code::DUPLICATE_VOLUME_ID, line).on_disk(disk));
    }
}
