//! Volumes that lie in volumes: what they have of those around them.

use std::collections::{BTreeMap, BTreeSet};

use volfold_block::Finding;

use super::basic::{FIRST, is_disk};
use super::snapshot::Snapshot;
use super::{Health, Region, Volume, VolumeExtent, VolumeId};

/// LIMIT: volumes inside of one that are told what was noticed about it.
const MAX_TOLD: usize = 64;

/// LIMIT: extents that a volume takes over from those around it; of more there is one for each disk, from the
/// first to the last.
const MAX_EXTENTS: usize = 1024;

/// The volumes that are members of groups. A manager takes each for one more disk, so what it says of
/// disks is theirs.
#[derive(Default)]
pub(crate) struct Outer {
    volumes: Vec<Volume>,
}

impl Outer {
    /// `region`, which is `volume` or a part of it, as a member of a group.
    pub(crate) fn add(&mut self, region: &Region, volume: &Volume) -> Region {
        let disk = FIRST.saturating_add(self.volumes.len());
        self.volumes.push(volume.clone());
        Region { disk, ..region.clone() }
    }

    /// Takes back the last one: nobody claims it.
    pub(crate) fn take_back(&mut self) {
        self.volumes.pop();
    }

    fn get(&self, disk: usize) -> Option<&Volume> {
        self.volumes.get(disk.checked_sub(FIRST)?)
    }

    /// The disk where `disk` begins.
    fn disk_of(&self, disk: usize) -> usize {
        let first = self.get(disk).map(|volume| volume.extents.first());
        first.map_or(disk, |first| first.map_or(0, |extent| extent.disk))
    }

    /// Names the disks that `findings` are about.
    pub(crate) fn name_disks(&self, findings: &mut [Finding]) {
        for disk in findings.iter_mut().filter_map(|finding| finding.disk.as_mut()) {
            *disk = self.disk_of(*disk);
        }
    }

    /// Gives `volume` what it has of the volumes that it lies in: its places on disks are theirs, and it is no
    /// better off than they are. Gives their ids.
    pub(crate) fn surround(&self, volume: &mut Volume) -> Vec<VolumeId> {
        let parts = volume.membership.iter().flat_map(|membership| &membership.parts);
        let of_parts = parts.filter_map(|part| part.disk);
        let disks = volume.extents.iter().map(|extent| extent.disk).chain(of_parts);
        let within: BTreeSet<usize> = disks.filter(|disk| !is_disk(*disk)).collect();
        let outer: Vec<&Volume> = within.iter().filter_map(|disk| self.get(*disk)).collect();
        if outer.is_empty() {
            return Vec::new();
        }
        volume.extents = self.extents(&volume.extents);
        let parts = volume.membership.iter_mut().flat_map(|membership| &mut membership.parts);
        for part in parts {
            if part.disk.is_some_and(|disk| !is_disk(disk)) {
                part.disk = part.disk.map(|disk| self.disk_of(disk));
                // It counts from the begin of a volume, not of a disk.
                part.offset = None;
            }
        }
        // What is in a snapshot of a volume is a snapshot of what is in the volume.
        if let ([outer], None) = (outer.as_slice(), &volume.snapshot)
            && let Some(snapshot) = &outer.snapshot
        {
            let of = volume.id.clone();
            volume.id = VolumeId(format!("{of}@{}", snapshot.suffix()));
            volume.snapshot = Some(Snapshot { of, ..snapshot.clone() });
        }
        let is_degraded = outer.iter().any(|volume| volume.health == Health::Degraded);
        if is_degraded && volume.health == Health::Healthy {
            volume.health = Health::Degraded;
        }
        outer.into_iter().map(|volume| volume.id.clone()).collect()
    }

    /// `own`, with those in volumes replaced by all that these have, each once.
    fn extents(&self, own: &[VolumeExtent]) -> Vec<VolumeExtent> {
        let mut all = Vec::new();
        let mut by_disk: BTreeMap<usize, VolumeExtent> = BTreeMap::new();
        let mut done = BTreeSet::new();
        for extent in own {
            let around = match self.get(extent.disk) {
                Some(_) if !done.insert(extent.disk) => continue,
                Some(volume) => volume.extents.as_slice(),
                None => std::slice::from_ref(extent),
            };
            let room = MAX_EXTENTS.saturating_add(1).saturating_sub(all.len());
            all.extend(around.iter().take(room));
            for extent in around {
                let known = by_disk.entry(extent.disk).or_insert(*extent);
                let end = |extent: &VolumeExtent| extent.offset.saturating_add(extent.length);
                let last = end(known).max(end(extent));
                known.offset = known.offset.min(extent.offset);
                known.length = last.saturating_sub(known.offset);
            }
        }
        match all.len() > MAX_EXTENTS {
            true => by_disk.into_values().collect(),
            false => all,
        }
    }
}

/// Tells of the volumes inside what was noticed about one that is not shown itself; each pair has the
/// outer and the inner one, those further outside first.
pub(crate) fn tell_of_inner(pairs: &[(VolumeId, VolumeId)], findings: &mut Vec<Finding>) {
    let mut done: Vec<&VolumeId> = Vec::new();
    for (outer, _) in pairs {
        if done.contains(&outer) {
            continue;
        }
        done.push(outer);
        let inner = pairs.iter().filter(|(other, inner)| other == outer && inner != outer);
        let inner: Vec<&VolumeId> = inner.map(|(_, inner)| inner).take(MAX_TOLD).collect();
        if inner.is_empty() {
            continue;
        }
        let told = std::mem::take(findings).into_iter().flat_map(|finding| {
            match finding.volume.as_deref() == Some(&*outer.0) {
                true => inner.iter().map(|id| finding.clone().on_volume(&id.0)).collect(),
                false => vec![finding],
            }
        });
        *findings = told.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use volfold_block::{MemoryDevice, code};

    use super::*;
    use crate::volume::basic;

    fn region(disk: usize) -> Region {
        Region {
            disk,
            device: Arc::new(MemoryDevice::new(vec![0; 512])),
            start: 1024,
            size: 512,
            label: "disk".into(),
            partition: None,
            table_id: None,
        }
    }

    fn extent(disk: usize, offset: u64) -> VolumeExtent {
        VolumeExtent { disk, offset, length: 512 }
    }

    /// A volume on the disks 7 and 8, one on disk 9 that is degraded, and them as members.
    fn outer() -> (Outer, [Region; 2]) {
        let mut outer = Outer::default();
        let mut volume = basic::volume(region(0));
        volume.extents = vec![extent(7, 4096), extent(8, 0)];
        let whole = outer.add(&region(0), &volume);
        volume.id = VolumeId("degraded".to_owned());
        volume.extents = vec![extent(9, 0)];
        volume.health = Health::Degraded;
        let degraded = outer.add(&region(0), &volume);
        (outer, [whole, degraded])
    }

    #[test]
    fn a_volume_is_where_those_are_that_it_lies_in_and_no_better_off() {
        let (outer, [whole, degraded]) = outer();
        let mut volume = basic::volume(whole.clone());
        volume.extents.extend([extent(1, 1024), extent(whole.disk, 9)]);
        assert_eq!(outer.surround(&mut volume), [basic::volume(region(0)).id]);
        assert_eq!(volume.extents, [extent(7, 4096), extent(8, 0), extent(1, 1024)]);
        assert_eq!((volume.health, volume.snapshot.is_none()), (Health::Healthy, true));

        let mut volume = basic::volume(degraded);
        assert_eq!(outer.surround(&mut volume), [VolumeId("degraded".to_owned())]);
        assert_eq!(
            (volume.extents.as_slice(), volume.health),
            (&[extent(9, 0)][..], Health::Degraded)
        );

        let mut volume = basic::volume(region(3));
        assert!(outer.surround(&mut volume).is_empty());
        assert_eq!(volume.extents, [extent(3, 1024)]);
    }

    #[test]
    fn in_a_snapshot_of_a_volume_lies_a_snapshot() {
        let mut outer = Outer::default();
        let mut volume = basic::volume(region(0));
        let of = VolumeId("origin".to_owned());
        volume.snapshot = Some(Snapshot { of, name: Some("before".to_owned()), time: None });
        let member = outer.add(&region(0), &volume);
        let mut volume = basic::volume(member);
        let id = volume.id.clone();
        outer.surround(&mut volume);
        assert_eq!(volume.id.0, format!("{id}@before"));
        assert_eq!(volume.snapshot.map(|snapshot| snapshot.of), Some(id));
    }

    #[test]
    fn many_extents_are_taken_together_by_disk() {
        let mut outer = Outer::default();
        let mut volume = basic::volume(region(0));
        volume.extents = (0..2000).map(|at| extent(at % 2, at as u64 * 4096)).collect();
        let member = outer.add(&region(0), &volume);
        let mut volume = basic::volume(member);
        outer.surround(&mut volume);
        let range = |disk: usize| VolumeExtent {
            disk,
            offset: disk as u64 * 4096,
            length: 1998 * 4096 + 512,
        };
        assert_eq!(volume.extents, [range(0), range(1)]);
    }

    #[test]
    fn what_is_said_of_a_volume_as_a_disk_is_said_of_its_first_disk() {
        let (outer, [whole, _]) = outer();
        let finding = |disk: usize| Finding::warning(code::LVM_VOLUME_DOUBTFUL, "x").on_disk(disk);
        let mut findings = [finding(whole.disk), finding(2)];
        outer.name_disks(&mut findings);
        assert_eq!(findings.map(|finding| finding.disk), [Some(7), Some(2)]);
    }

    #[test]
    fn what_is_told_of_a_volume_is_told_of_those_in_it() {
        let id = |name: &str| VolumeId(name.to_owned());
        let pairs = [("a", "b"), ("a", "c"), ("b", "d"), ("d", "d")];
        let pairs = pairs.map(|(outer, inner)| (id(outer), id(inner)));
        let about = |name: &str| Finding::warning(code::LVM_VOLUME_DOUBTFUL, "x").on_volume(name);
        let mut findings = vec![about("a"), about("e")];
        tell_of_inner(&pairs, &mut findings);
        let told: Vec<_> = findings.iter().map(|finding| finding.volume.as_deref()).collect();
        assert_eq!(told, [Some("d"), Some("c"), Some("e")]);
    }
}
