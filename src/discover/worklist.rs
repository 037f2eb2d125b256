//! The worklist: regions of disks that are claimed by managers, and the volumes that these make of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use volfold_block::{BlockDevice, Code, Finding, code, error_chain};

use super::detached::{self, Header, Joined};
use super::identify::file_system_over;
use super::table::{choose_table, read_table};
use crate::volume::lock::{self, Key, KeySource, Lock, Locked, Opened, WorkBudget};
use crate::volume::map::{Comparison, Redundancy};
use crate::volume::nested::Outer;
use crate::volume::{
    self, Claim, Damage, GroupId, Health, Hidden, Region, Volume, VolumeId, VolumeManager,
    VolumeType, nested,
};

/// LIMIT: how deep volumes may lie in volumes; a file system on LUKS on LVM on a RAID is in the third.
const MAX_DEPTH: u32 = 6;

/// What discovery made of one disk.
pub(crate) struct DiskResult {
    pub(crate) scheme: Option<&'static str>,
    pub(crate) sector_size: u32,
}

/// What a claim says of the region itself.
struct Claimed {
    hides: Hidden,
    sector_size: Option<u32>,
}

/// The members of a group that were found up to now.
#[derive(Default)]
struct Members {
    regions: Vec<Region>,
    /// How many groups lie below the deepest of them.
    depth: u32,
}

/// What is still to be joined, and what was found.
pub(super) struct Worklist<'a> {
    managers: &'a [&'a dyn VolumeManager],
    keys: &'a dyn KeySource,
    /// What the keys of all volumes may cost together.
    work: &'a WorkBudget,
    /// By the manager, in the order of the registry.
    groups: BTreeMap<(usize, GroupId), Members>,
    /// The members that are volumes.
    outer: Outer,
    found: Vec<Volume>,
}

impl<'a> Worklist<'a> {
    /// Nothing yet, for `managers` with `keys`.
    pub(super) fn new(
        managers: &'a [&'a dyn VolumeManager],
        keys: &'a dyn KeySource,
        work: &'a WorkBudget,
    ) -> Self {
        let (groups, outer, found) = (BTreeMap::new(), Outer::default(), Vec::new());
        Self { managers, keys, work, groups, outer, found }
    }

    /// Takes one whole disk apart.
    pub(super) fn disk(&mut self, whole: Region, findings: &mut Vec<Finding>) -> DiskResult {
        let claimed = self.claimed(&whole, (0, None), findings);
        let table = match &claimed {
            Some(Claimed { hides: Hidden::Table, .. }) => None,
            Some(Claimed { sector_size: Some(sector_size), .. }) => {
                read_table(&*whole.device, *sector_size, findings)
            }
            _ => choose_table(&*whole.device, findings),
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
                let hidden = match claimed.map(|claimed| claimed.hides) {
                    Some(Hidden::Partitions(numbers)) => numbers,
                    _ => Vec::new(),
                };
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
        let region = match outer {
            Some(outer) => &self.outer.add(region, outer),
            None => region,
        };
        for (index, manager) in self.managers.iter().enumerate() {
            let claim = manager.claim(region).unwrap_or_else(|error| {
                findings.push(Finding::error(code::UNREADABLE, error_chain(&error)));
                None
            });
            let Some(Claim { group, hides, sector_size, damage }) = claim else { continue };
            if damage.is_some_and(|damage| is_of_file_system(region, &damage, outer, findings)) {
                continue;
            }
            let members = self.groups.entry((index, group)).or_default();
            members.regions.push(region.clone());
            members.depth = members.depth.max(depth);
            return Some(Claimed { hides, sector_size });
        }
        if outer.is_some() {
            self.outer.take_back();
        }
        None
    }

    /// `volume`, opened if one of the keys fits its `lock`.
    fn unlocked(&self, mut volume: Volume, lock: Lock, findings: &mut Vec<Finding>) -> Volume {
        let names = (volume.id.0.as_str(), volume.fallback_name.as_str());
        // Each group that is still to be joined may be a locked volume, and have as much work to do.
        let among = self.groups.len().saturating_add(1);
        let work = self.work.part(among);
        let opened = lock::open(names, &lock, self.keys, &work);
        self.work.give_back(work);
        if let Some(device) = told(opened, &volume.id, findings) {
            volume.device = device;
            return volume;
        }
        volume.device = Arc::new(Locked::new(volume.size, &lock));
        volume.lock = Some(lock);
        volume
    }

    /// The volume of `header`, one of `among` that are left, with its data among the volumes that are `done`;
    /// else it is one of them.
    fn with_data(
        &self,
        (header, among): (Header, usize),
        done: &mut Vec<Volume>,
        findings: &mut Vec<Finding>,
    ) -> Option<Joined> {
        let candidates = detached::candidates(done);
        let names = (header.volume.id.0.as_str(), header.volume.fallback_name.as_str());
        let work = self.work.part(among);
        let unlock = |key: &Key| header.lock.unlock.unlock_detached(key, &work);
        let opened = lock::open_by(names, &header.lock, self.keys, &unlock);
        self.work.give_back(work);
        let Some(opener) = told(opened, &header.volume.id, findings) else {
            done.push(header.unopened(&candidates, findings));
            return None;
        };
        let is_known = |volume: &Volume| {
            let region = region_of(volume);
            let is_sound = |claim: Claim| claim.damage.is_none();
            let mut claims = self.managers.iter().map(|manager| manager.claim(&region));
            claims.any(|claim| claim.ok().flatten().is_some_and(is_sound))
                || file_system_over(&volume.device, 0, volume.size).is_some()
        };
        match header.join(&*opener, (done, &candidates), &is_known, findings) {
            Ok(joined) => Some(joined),
            Err(refused) => {
                done.push(*refused);
                None
            }
        }
    }

    /// Looks into `volume`, which has `depth` groups below it, and adds it to those that are `done` if no
    /// manager claims it.
    fn place(
        &mut self,
        (volume, depth): (Volume, u32),
        done: &mut Vec<Volume>,
        findings: &mut Vec<Finding>,
    ) {
        // What is locked or not whole cannot be asked; its file system may still be there.
        if volume.lock.is_some() || volume.health == Health::Failed {
            done.push(volume);
            return;
        }
        let whole = region_of(&volume);
        if self.claimed(&whole, (depth, Some(&volume)), findings).is_some() {
            return;
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

    /// Joins the claimed groups, those of the first manager first, and looks into their volumes again:
    /// so a group has all its members when it is joined, those in the volumes of earlier managers too.
    pub(super) fn assemble(mut self, findings: &mut Vec<Finding>) -> Vec<Volume> {
        let mut done = std::mem::take(&mut self.found);
        let mut is_too_deep = false;
        let mut inner = Vec::new();
        let mut headers = VecDeque::new();
        loop {
            let Some(((manager, group), members)) = self.groups.pop_first() else {
                // All else is known: what is left may be the data of what has its header elsewhere.
                let Some(header) = headers.pop_front() else { break };
                let among = headers.len().saturating_add(1);
                if let Some(joined) = self.with_data((header, among), &mut done, findings) {
                    inner.push((joined.data, joined.volume.id.clone()));
                    self.place((joined.volume, joined.depth), &mut done, findings);
                }
                continue;
            };
            let Some(manager) = self.managers.get(manager) else {
                continue;
            };
            if members.depth >= MAX_DEPTH {
                is_too_deep = true;
                continue;
            }
            let mut about = Vec::new();
            let volumes = manager.assemble(&group, &members.regions, &mut about);
            self.outer.name_disks(&mut about);
            findings.append(&mut about);
            for mut volume in volumes {
                let around = self.outer.surround(&mut volume);
                inner.extend(around.into_iter().map(|outer| (outer, volume.id.clone())));
                let depth = members.depth.saturating_add(1);
                if let Some(lock) = volume.lock.take() {
                    if lock.is_detached {
                        headers.push_back(Header { volume, lock, depth });
                        continue;
                    }
                    volume = self.unlocked(volume, lock, findings);
                }
                self.place((volume, depth), &mut done, findings);
            }
        }
        nested::tell_of_inner(&inner, findings);
        tell_of_locked(&done, findings);
        if is_too_deep {
            let line =
                format!("volumes lie in volumes more than {MAX_DEPTH} deep; the rest is left");
            findings.push(Finding::error(code::VOLUMES_TOO_DEEP, line));
        }
        done
    }
}

/// LIMIT: locked volumes that are named where a member of a group is missing.
const MAX_LOCKED: usize = 4;

/// Says where a member that is missing may be: in one of `volumes` that is locked.
fn tell_of_locked(volumes: &[Volume], findings: &mut [Finding]) {
    const MISSING: [Code; 2] = [code::LVM_MISSING_DISK, code::MD_MISSING_DEVICE];
    let locked = volumes.iter().filter(|volume| volume.lock.is_some());
    let locked: Vec<&str> = locked.map(|volume| &*volume.id.0).take(MAX_LOCKED).collect();
    if locked.is_empty() {
        return;
    }
    let line = format!("; it may lie in what is locked ({})", locked.join(", "));
    let missing = findings.iter_mut().filter(|finding| MISSING.contains(&finding.code));
    missing.for_each(|finding| finding.message.push_str(&line));
}

/// What was `opened` of the volume `id`; why keys were not had, and if none opened it, that they did not, is
/// told.
fn told<T>(opened: Opened<T>, id: &VolumeId, findings: &mut Vec<Finding>) -> Option<T> {
    let mut tell = |finding: Finding| findings.push(finding.on_volume(&id.0));
    let Opened { device, wrong, failed, error } = opened;
    failed.into_iter().for_each(|line| tell(Finding::error(code::KEY_UNREADABLE, line)));
    if device.is_none() {
        error.iter().for_each(|error| {
            tell(Finding::error(code::VOLUME_UNREADABLE, error_chain(error)));
        });
        wrong.iter().for_each(|key| {
            tell(Finding::warning(code::KEY_WRONG, format!("{key} does not open it")));
        });
    }
    device
}

/// Whether the `damage` by which a manager knows `region`, which is the volume `outer`, lies in a file system
/// that is sound; that is told.
fn is_of_file_system(
    region: &Region,
    damage: &Damage,
    outer: Option<&Volume>,
    findings: &mut Vec<Finding>,
) -> bool {
    let Some(title) = file_system_over(&region.device, damage.at, region.size) else {
        return false;
    };
    let place = match &region.partition {
        Some(partition) => format!("{}, partition {}", region.label, partition.number),
        None => region.label.to_string(),
    };
    let line = format!(
        "{place} holds a file system ({title}), which is shown, and in its place what is left of something \
         else: {}",
        damage.reason
    );
    let finding = Finding::warning(code::VOLUME_CLAIM_DAMAGED, line);
    findings.push(match outer {
        Some(outer) => finding.on_volume(&outer.id.0),
        None => finding.on_disk(region.disk).at(region.start.saturating_add(damage.at)),
    });
    true
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
        disk: 0,
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
