//! From images to volumes: a worklist over regions that never fails as a whole.
//!
//! What cannot be used becomes a [`Finding`]. This is the one place that sees images, partitions,
//! volume managers and file systems at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use volfold_block::{BlockDevice, Code, Confidence, Finding, Severity, Slice, code, error_chain};
use volfold_fs::{FileSystemDriver, FsResult};

use crate::monitor::{Monitor, Stage};
use crate::partition::{self, PartitionTable, PartitionType};
use crate::signature::{Kind, Signature, Texture, signature_of, texture_of};
use crate::volume::lock::{self, KeySource, Lock, Locked, Opened, WorkBudget};
use crate::volume::map::{Comparison, Redundancy};
use crate::volume::registry::SNAPSHOT_MANAGERS;
use crate::volume::{
    self, Claim, GroupId, Health, Region, SnapshotManager, Volume, VolumeExtent, VolumeId,
    VolumeManager, VolumeType, nested,
};

/// LIMIT: how deep volumes may lie in volumes; a file system on LUKS on LVM on a RAID is in the third.
const MAX_DEPTH: u32 = 6;

/// LIMIT: volumes of one disk set.
const MAX_VOLUMES: usize = 4096;

/// A disk as discovery needs it.
pub(crate) struct DiskSource {
    pub(crate) device: Arc<dyn BlockDevice>,
    /// What messages call it.
    pub(crate) label: Arc<str>,
}

/// What discovery made of one disk.
pub(crate) struct DiskResult {
    pub(crate) scheme: Option<&'static str>,
    pub(crate) sector_size: u32,
}

/// A volume and the driver that knows its file system.
pub(crate) struct Discovered {
    pub(crate) volume: Volume,
    pub(crate) driver: Option<&'static dyn FileSystemDriver>,
    /// Why the volume has no driver.
    pub(crate) reason: Option<String>,
    /// Whether there are files, or may well be, that are not shown.
    pub(crate) is_left_out: bool,
}

/// What a claim says of the region itself.
struct Claimed {
    hides: Vec<u32>,
    sector_size: Option<u32>,
}

/// What is on a set of disks.
pub(crate) struct Discovery {
    pub(crate) disks: Vec<DiskResult>,
    pub(crate) volumes: Vec<Discovered>,
    pub(crate) findings: Vec<Finding>,
}

/// Finds every volume on `disks`, asking `managers` before partitions are believed, and `keys` for
/// what opens locked volumes. What `monitor` stops is no answer.
pub(crate) fn discover(
    disks: &[DiskSource],
    managers: &[&dyn VolumeManager],
    snapshots: bool,
    keys: &dyn KeySource,
    monitor: &Monitor,
) -> Discovery {
    let mut work = Worklist {
        managers,
        keys,
        work: WorkBudget::default(),
        groups: BTreeMap::new(),
        found: Vec::new(),
    };
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
        results.push(work.disk(whole, &mut about_disk));
        findings.extend(about_disk.into_iter().map(|finding| finding.on_disk(index)));
    }
    let mut volumes = work.assemble(&mut findings);
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

/// The members of a group that were found up to now.
#[derive(Default)]
struct Members {
    regions: Vec<Region>,
    /// How many groups lie below the deepest of them.
    depth: u32,
    /// The volumes that some of them are.
    outer: Vec<Volume>,
}

struct Worklist<'a> {
    managers: &'a [&'a dyn VolumeManager],
    keys: &'a dyn KeySource,
    /// What the keys of all volumes may cost together.
    work: WorkBudget,
    /// By the manager, in the order of the registry.
    groups: BTreeMap<(usize, GroupId), Members>,
    found: Vec<Volume>,
}

impl Worklist<'_> {
    /// Takes one whole disk apart.
    fn disk(&mut self, whole: Region, findings: &mut Vec<Finding>) -> DiskResult {
        let claimed = self.claimed(&whole, (0, None), findings);
        let table = match claimed.as_ref().and_then(|claimed| claimed.sector_size) {
            Some(sector_size) => read_table(&*whole.device, sector_size, findings),
            None => choose_table(&*whole.device, findings),
        };
        note_end(&*whole.device, findings);
        let result = DiskResult {
            scheme: table.as_ref().map(|table| table.scheme),
            sector_size: table
                .as_ref()
                .map_or(whole.device.sector_size(), |table| table.sector_size),
        };
        if claimed.is_none() {
            findings.extend(self.managers.iter().flat_map(|manager| manager.notice(&whole)));
        }
        match table {
            None if claimed.is_none() => self.found.push(volume::basic::volume(whole)),
            None => {}
            Some(table) => {
                let hidden = claimed.map(|claimed| claimed.hides).unwrap_or_default();
                for region in volume::basic::regions(&whole, &table) {
                    let number = region.partition.as_ref().map(|partition| partition.number);
                    if number.is_some_and(|number| hidden.contains(&number)) {
                        continue;
                    }
                    if self.claimed(&region, (0, None), findings).is_none() {
                        self.found.push(volume::basic::volume(region));
                    }
                }
                findings.extend(table.findings);
            }
        }
        result
    }

    /// Gives `region`, which has `depth` groups below it, to the first manager that claims it; `outer` is
    /// the volume that it is.
    fn claimed(
        &mut self,
        region: &Region,
        (depth, outer): (u32, Option<&Volume>),
        findings: &mut Vec<Finding>,
    ) -> Option<Claimed> {
        for (index, manager) in self.managers.iter().enumerate() {
            match manager.claim(region) {
                Ok(Some(Claim { group, hides, sector_size })) => {
                    let members = self.groups.entry((index, group)).or_default();
                    members.regions.push(region.clone());
                    members.depth = members.depth.max(depth);
                    members.outer.extend(outer.cloned());
                    return Some(Claimed { hides, sector_size });
                }
                Ok(None) => {}
                Err(error) => findings.push(Finding::error(code::UNREADABLE, error_chain(&error))),
            }
        }
        None
    }

    /// `volume`, opened if one of the keys fits its `lock`.
    fn unlocked(&self, mut volume: Volume, lock: Lock, findings: &mut Vec<Finding>) -> Volume {
        let names = (volume.id.0.as_str(), volume.fallback_name.as_str());
        let opened = lock::open(names, &lock, self.keys, &self.work).unwrap_or_else(|error| {
            let line = error_chain(&error);
            findings.push(Finding::error(code::VOLUME_UNREADABLE, line).on_volume(&volume.id.0));
            Opened::default()
        });
        for line in opened.failed {
            findings.push(Finding::error(code::KEY_UNREADABLE, line).on_volume(&volume.id.0));
        }
        if let Some(device) = opened.device {
            volume.device = device;
            return volume;
        }
        findings.extend(opened.wrong.iter().map(|key| {
            let line = format!("{key} does not open it");
            Finding::warning(code::KEY_WRONG, line).on_volume(&volume.id.0)
        }));
        volume.device = Arc::new(Locked::new(volume.size, &lock));
        volume.lock = Some(lock);
        volume
    }

    /// Joins the claimed groups, those of the first manager first, and looks into their volumes again:
    /// so a group has all its members when it is joined, those in the volumes of earlier managers too.
    fn assemble(mut self, findings: &mut Vec<Finding>) -> Vec<Volume> {
        let mut done = std::mem::take(&mut self.found);
        let mut is_too_deep = false;
        let mut inner = Vec::new();
        while let Some(((manager, group), members)) = self.groups.pop_first() {
            let Some(manager) = self.managers.get(manager) else {
                continue;
            };
            if members.depth >= MAX_DEPTH {
                is_too_deep = true;
                continue;
            }
            for mut volume in manager.assemble(&group, &members.regions, findings) {
                nested::surround(&mut volume, &members.regions, &members.outer);
                if let Some(lock) = volume.lock.take() {
                    volume = self.unlocked(volume, lock, findings);
                }
                let around = members.outer.iter().map(|outer| outer.id.clone());
                inner.extend(around.map(|outer| (outer, volume.id.clone())));
                // What is locked or not whole cannot be asked; its file system may still be there.
                if volume.lock.is_some() || volume.health == Health::Failed {
                    done.push(volume);
                    continue;
                }
                let whole = region_of(&volume);
                let depth = members.depth.saturating_add(1);
                if self.claimed(&whole, (depth, Some(&volume)), findings).is_some() {
                    continue;
                }
                let parts = partitions_in(&volume, whole, findings);
                if parts.is_empty() {
                    done.push(volume);
                }
                for (region, part) in parts {
                    if self.claimed(&region, (depth, Some(&part)), findings).is_none() {
                        done.push(part);
                    }
                }
            }
        }
        nested::tell_of_inner(&inner, findings);
        if is_too_deep {
            let line =
                format!("volumes lie in volumes more than {MAX_DEPTH} deep; the rest is left");
            findings.push(Finding::error(code::VOLUMES_TOO_DEEP, line));
        }
        done
    }
}

/// The copies of an array, for a partition of it that begins at `start`: all of them are compared.
struct OfArray {
    array: Arc<dyn Redundancy>,
    start: u64,
}

impl Redundancy for OfArray {
    fn compare(&self) -> Comparison {
        let found = self.array.compare();
        // What differs before the partition is told at its start.
        let first = found.first.map(|first| first.saturating_sub(self.start));
        Comparison { first, ..found }
    }
}

/// `volume` as something that may be a member of a group.
fn region_of(volume: &Volume) -> Region {
    Region {
        disk: volume.extents.first().map_or(0, |extent| extent.disk),
        device: volume.device.clone(),
        start: 0,
        size: volume.size,
        label: volume.id.0.as_str().into(),
        partition: None,
        table_id: None,
    }
}

/// The partitions of `volume`, which `whole` has the bytes of, if it is one that Linux partitions: an array
/// may have been made of whole disks and partitioned then.
fn partitions_in(
    volume: &Volume,
    whole: Region,
    findings: &mut Vec<Finding>,
) -> Vec<(Region, Volume)> {
    if volume.kind != VolumeType::Raid {
        return Vec::new();
    }
    let mut about = Vec::new();
    let table = choose_table(&*volume.device, &mut about);
    let Some(table) = table.filter(|table| !table.partitions.is_empty()) else {
        return Vec::new();
    };
    about.extend(table.findings.iter().cloned());
    findings.extend(about.into_iter().map(|finding| finding.on_volume(&volume.id.0)));
    let regions = volume::basic::regions(&whole, &table);
    let parts = regions.into_iter().map(|region| {
        let number = region.partition.as_ref().map_or(0, |partition| partition.number);
        let is_whole = region.device.size() >= region.size;
        let part = Volume {
            id: VolumeId(format!("{}-p{number}", volume.id)),
            fallback_name: format!("{}-p{number}", volume.fallback_name),
            health: if is_whole { volume.health } else { Health::Failed },
            size: region.size,
            device: region.device.clone(),
            partition: region.partition.clone(),
            redundancy: volume.redundancy.clone().map(|array| -> Arc<dyn Redundancy> {
                Arc::new(OfArray { array, start: region.start })
            }),
            ..volume.clone()
        };
        (region, part)
    });
    parts.collect()
}

/// Tells that the end of a disk cannot be read: its image was cut off.
fn note_end(device: &dyn BlockDevice, findings: &mut Vec<Finding>) {
    let sector = u64::from(device.sector_size());
    let Some(last) = device.size().checked_sub(sector) else { return };
    let mut bytes = vec![0; usize::try_from(sector).unwrap_or(0)];
    if let Err(error) = device.read_at(last, &mut bytes) {
        let line = format!("the last sector cannot be read: {}", error.message());
        findings.push(Finding::error(code::DISK_UNREADABLE, line).at(last));
    }
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

/// The partition table of a disk, with the sector size that makes sense of it.
///
/// An image rarely tells its sector size. A GPT has its header in sector 1, so its place tells. An
/// MBR counts in sectors and says nothing; the size is taken under which more file systems, members of
/// groups and encrypted volumes appear.
fn choose_table(device: &dyn BlockDevice, findings: &mut Vec<Finding>) -> Option<PartitionTable> {
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

fn read_table(
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

/// The surest driver for `device`, and how sure it is.
fn probe(
    device: &dyn BlockDevice,
) -> FsResult<Option<(Confidence, &'static dyn FileSystemDriver)>> {
    match volfold_fs::detect(device)? {
        Some(driver) => Ok(Some((driver.probe(device)?, driver))),
        None => Ok(None),
    }
}

fn identify(volume: Volume, findings: &mut Vec<Finding>) -> Discovered {
    if let Some(lock) = &volume.lock {
        let reason = format!("locked: {}", lock.sentence());
        return Discovered { volume, driver: None, reason: Some(reason), is_left_out: true };
    }
    let (driver, reason, is_left_out) = match volfold_fs::detect(&*volume.device) {
        // A backup of what was there before something else.
        Ok(Some(driver)) if is_by_backup_alone(driver, &*volume.device) => {
            let (reason, is_left_out) = unknown(&volume);
            (None, Some(reason), is_left_out)
        }
        Ok(Some(driver)) => (Some(driver), None, false),
        Ok(None) => {
            let (reason, is_left_out) = unknown(&volume);
            (None, Some(reason), is_left_out)
        }
        Err(error) => {
            let line = error_chain(&error);
            // The manager has told already what its volume lacks.
            let is_told = volume.membership.is_some()
                || volume.snapshot.is_some()
                || volume.kind == VolumeType::Encrypted;
            if !is_told || volume.health != Health::Failed {
                let finding = Finding::error(code::VOLUME_UNREADABLE, line.clone());
                findings.push(finding.on_volume(&volume.id.0));
            }
            (None, Some(line), true)
        }
    };
    Discovered { volume, driver, reason, is_left_out }
}

/// Whether `driver` knows `device` by a backup alone, and its start is of something else.
fn is_by_backup_alone(driver: &dyn FileSystemDriver, device: &dyn BlockDevice) -> bool {
    let is_first = driver.probe(device).is_ok_and(|confidence| confidence != Confidence::No);
    let is_other =
        |signature: &Signature| signature.kind == Kind::Volume && !signature.names_what_is_read();
    !is_first && signature_of(device).is_ok_and(|found| found.is_some_and(is_other))
}

/// Why a volume is not shown: what is on it, or the words of its partition type; and whether there
/// are files on it, or may well be.
fn unknown(volume: &Volume) -> (String, bool) {
    let device = &*volume.device;
    if device.size() == 0 && volume.size > 0 {
        return ("lies past the end of the image".to_owned(), true);
    }
    // A device that cannot be read there says nothing of what it holds.
    match signature_of(device) {
        Ok(Some(signature)) if signature.kind == Kind::Volume => {
            return (signature.sentence(), signature.holds_files());
        }
        Ok(Some(signature)) => {
            return (format!("{}: begins as a {}", nothing_known(volume), signature.name), false);
        }
        _ => {}
    }
    let texture = texture_of(device).ok();
    let line = match texture.and_then(Texture::sentence) {
        Some(sentence) => format!("{}: {sentence}", nothing_known(volume)),
        None => nothing_known(volume),
    };
    // Blank is blank; anything else in a partition for files may be a damaged or encrypted volume,
    // and random bytes are one wherever they are.
    let is_left_out = match (texture, &volume.partition) {
        (Some(Texture::Random | Texture::Other), None) => true,
        (Some(Texture::Random | Texture::Other) | None, Some(partition)) => {
            partition.kind.is_for_files()
        }
        _ => false,
    };
    (line, is_left_out)
}

fn nothing_known(volume: &Volume) -> String {
    match volume.partition.as_ref().map(|partition| partition.kind) {
        None if volume.kind != VolumeType::WholeDisk => "no known file system".to_owned(),
        Some(kind) => match kind.title() {
            Some(title) => format!("no known file system (partition type {title})"),
            None => format!("no known file system (partition type {kind})"),
        },
        None => "no known file system or partition table".to_owned(),
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

#[cfg(test)]
mod tests {
    use volfold_block::{BlockResult, MemoryDevice};

    use super::*;
    use crate::volume::lock::{Key, KeyKind, KeyRequest, Unlock};

    /// Claims disks that begin with `MEMBER`, and joins them to one volume per group; a first
    /// byte after the word names the group.
    struct Joiner;

    impl VolumeManager for Joiner {
        fn id(&self) -> &'static str {
            "joiner"
        }

        fn title(&self) -> &'static str {
            "a manager for tests"
        }

        fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
            let mut bytes = [0; 7];
            region.device.read_at(0, &mut bytes)?;
            let [word @ .., group] = bytes;
            let group = GroupId(char::from(group).to_string());
            Ok((word == *b"MEMBER").then_some(Claim { group, hides: vec![1], sector_size: None }))
        }

        fn assemble(
            &self,
            group: &GroupId,
            members: &[Region],
            _findings: &mut Vec<Finding>,
        ) -> Vec<Volume> {
            let mut volume = volume::basic::volume(members[0].clone());
            volume.id = VolumeId(format!("joined:{}:{}", group.0, members.len()));
            volume.device = Arc::new(MemoryDevice::new(vec![0; 512]));
            vec![volume]
        }
    }

    fn no_keys(_: &KeyRequest<'_>) -> BlockResult<Option<Key>> {
        Ok(None)
    }

    fn disk(head: &[u8], partition: Option<(u8, u32)>) -> DiskSource {
        let mut bytes = vec![0; 64 * 512];
        bytes[..head.len()].copy_from_slice(head);
        if let Some((kind, first)) = partition {
            bytes[0x1BE + 4] = kind;
            bytes[0x1BE + 8..0x1BE + 12].copy_from_slice(&first.to_le_bytes());
            bytes[0x1BE + 12] = 16;
            bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        }
        DiskSource { device: Arc::new(MemoryDevice::new(bytes)), label: "disk".into() }
    }

    fn ids(discovery: &Discovery) -> Vec<&str> {
        discovery.volumes.iter().map(|found| found.volume.id.0.as_str()).collect()
    }

    #[test]
    fn a_claimed_disk_joins_its_group_and_hides_its_partitions() {
        let disks =
            [disk(b"MEMBERa", Some((7, 8))), disk(b"", Some((7, 8))), disk(b"MEMBERa", None)];
        let discovery = discover(&disks, &[&Joiner], false, &no_keys, &Monitor::default());
        assert_eq!(ids(&discovery), ["disk1-p1", "joined:a:2"]);
    }

    /// Claims disks that begin with `WRAP`; the volume is what comes after the first 16 bytes.
    struct Wrapper;

    impl VolumeManager for Wrapper {
        fn id(&self) -> &'static str {
            "wrapper"
        }

        fn title(&self) -> &'static str {
            "a manager for tests"
        }

        fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
            let mut bytes = [0; 4];
            region.device.read_at(0, &mut bytes)?;
            let group = GroupId(region.label.to_string());
            Ok((bytes == *b"WRAP").then_some(Claim { group, hides: vec![], sector_size: None }))
        }

        fn assemble(
            &self,
            group: &GroupId,
            members: &[Region],
            _findings: &mut Vec<Finding>,
        ) -> Vec<Volume> {
            let mut volume = volume::basic::volume(members[0].clone());
            volume.id = VolumeId(format!("wrapped:{}", group.0));
            let size = volume.size - 16;
            volume.device = Arc::new(Slice::part(volume.device, 16, size).unwrap());
            volume.size = size;
            vec![volume]
        }
    }

    #[test]
    fn members_in_volumes_of_an_earlier_manager_join_their_group() {
        let disks = [disk(b"WRAP............MEMBERa", None), disk(b"MEMBERa", None)];
        let discovery =
            discover(&disks, &[&Wrapper, &Joiner], false, &no_keys, &Monitor::default());
        assert_eq!(ids(&discovery), ["joined:a:2"]);
        let disks = [disk(&b"WRAP............".repeat(9), None)];
        let discovery = discover(&disks, &[&Wrapper], false, &no_keys, &Monitor::default());
        assert!(discovery.findings.iter().any(|finding| finding.code == "volumes-too-deep"));
    }

    #[test]
    fn a_partition_past_the_end_is_listed_with_what_there_is() {
        let discovery =
            discover(&[disk(b"", Some((7, 60)))], &[], false, &no_keys, &Monitor::default());
        let found = &discovery.volumes[0];
        assert_eq!((found.volume.size, found.volume.device.size()), (16 * 512, 4 * 512));
        assert_eq!(found.volume.health, Health::Failed);
        assert_eq!(discovery.findings[0].code, "partition-past-end");
        assert!(found.reason.as_deref().is_some_and(|reason| reason.contains("NTFS/exFAT")));
    }

    #[test]
    fn a_protective_mbr_without_its_gpt_is_an_error() {
        let discovery =
            discover(&[disk(b"", Some((0xEE, 1)))], &[], false, &no_keys, &Monitor::default());
        assert!(discovery.findings.iter().any(|finding| finding.code == "gpt-damaged"));
    }

    #[test]
    fn an_empty_disk_is_one_volume_of_no_known_kind() {
        let discovery = discover(&[disk(b"", None)], &[], false, &no_keys, &Monitor::default());
        assert_eq!(ids(&discovery), ["disk0"]);
        assert_eq!(discovery.disks[0].scheme, None);
    }

    /// Claims disks that begin with `LOCKED`; the key is the byte that all others are mixed with.
    struct Strongbox;

    struct Mixed(Arc<dyn BlockDevice>);

    impl Unlock for Mixed {
        fn unlock(
            &self,
            key: &Key,
            _work: &WorkBudget,
        ) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
            let mut bytes = vec![0; 64 * 512];
            self.0.read_at(0, &mut bytes)?;
            let [mix] = *key.bytes() else { return Ok(None) };
            let bytes: Vec<u8> = bytes[512..].iter().map(|byte| byte ^ mix).collect();
            let fits = bytes.starts_with(b"open");
            Ok(fits.then(|| -> Arc<dyn BlockDevice> { Arc::new(MemoryDevice::new(bytes)) }))
        }
    }

    impl VolumeManager for Strongbox {
        fn id(&self) -> &'static str {
            "strongbox"
        }

        fn title(&self) -> &'static str {
            "a manager for tests"
        }

        fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
            let mut bytes = [0; 6];
            region.device.read_at(0, &mut bytes)?;
            let group = GroupId(region.disk.to_string());
            Ok((bytes == *b"LOCKED").then_some(Claim { group, hides: vec![], sector_size: None }))
        }

        fn assemble(
            &self,
            group: &GroupId,
            members: &[Region],
            _findings: &mut Vec<Finding>,
        ) -> Vec<Volume> {
            let mut volume = volume::basic::volume(members[0].clone());
            volume.id = VolumeId(format!("strongbox:{}", group.0));
            let unlock = Arc::new(Mixed(volume.device.clone()));
            volume.lock = Some(Lock::new("strongbox", vec![KeyKind::KeyFile], unlock));
            vec![volume]
        }
    }

    fn strongbox() -> [DiskSource; 1] {
        let mut bytes = vec![0; 64 * 512];
        bytes[..6].copy_from_slice(b"LOCKED");
        bytes[512..516].copy_from_slice(b"open");
        bytes[512..].iter_mut().for_each(|byte| *byte ^= 0x5A);
        [DiskSource { device: Arc::new(MemoryDevice::new(bytes)), label: "disk".into() }]
    }

    #[test]
    fn a_locked_volume_stays_listed_and_says_what_opens_it() {
        let discovery = discover(&strongbox(), &[&Strongbox], false, &no_keys, &Monitor::default());
        let [found] = discovery.volumes.as_slice() else { panic!("one volume") };
        let reason = "locked: strongbox, opened by a key file";
        assert_eq!(found.reason.as_deref(), Some(reason));
        assert!(found.volume.lock.is_some() && found.driver.is_none());
        let error = found.volume.device.read_at(0, &mut [0]).unwrap_err();
        assert_eq!(error.message(), "is locked (strongbox, opened by a key file)");
        assert!(discovery.findings.is_empty());
    }

    #[test]
    fn the_right_key_opens_a_locked_volume() {
        let keys = |request: &KeyRequest<'_>| {
            assert_eq!(request.volume, "strongbox:0");
            let keys = [[1], [0x5A]];
            Ok(keys.get(request.attempt).map(|key| Key::new(KeyKind::KeyFile, *key)))
        };
        let discovery = discover(&strongbox(), &[&Strongbox], false, &keys, &Monitor::default());
        let [found] = discovery.volumes.as_slice() else { panic!("one volume") };
        assert!(found.volume.lock.is_none());
        let mut bytes = [0; 4];
        found.volume.device.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, *b"open");
    }

    #[test]
    fn a_key_that_cannot_be_had_is_told() {
        let keys = |_: &KeyRequest<'_>| Err(volfold_block::BlockError::missing("key file is gone"));
        let discovery = discover(&strongbox(), &[&Strongbox], false, &keys, &Monitor::default());
        assert!(discovery.volumes[0].volume.lock.is_some());
        assert_eq!(discovery.findings[0].message, "key file is gone");
    }
}
