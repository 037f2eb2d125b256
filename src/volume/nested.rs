//! Volumes that lie in volumes: what they have of those around them.

use std::sync::Arc;

use volfold_block::Finding;

use super::snapshot::Snapshot;
use super::{Health, Region, Volume, VolumeExtent, VolumeId};

/// LIMIT: volumes inside of one that are told what was noticed about it.
const MAX_TOLD: usize = 64;

/// Gives `volume`, whose members are `regions`, what it has of the volumes `outer` that some of them are: its
/// places on disks are theirs, and it is no better off than they are.
pub(crate) fn surround(volume: &mut Volume, regions: &[Region], outer: &[Volume]) {
    if outer.is_empty() {
        return;
    }
    let is_outer =
        |region: &&Region| outer.iter().any(|volume| Arc::ptr_eq(&volume.device, &region.device));
    let direct = regions.iter().filter(|region| !is_outer(region)).map(|region| VolumeExtent {
        disk: region.disk,
        offset: region.start,
        length: region.device.size(),
    });
    let around = outer.iter().flat_map(|volume| volume.extents.iter().copied());
    volume.extents = around.chain(direct).collect();
    // Those count from the begin of a volume, not of a disk.
    let parts = volume.membership.iter_mut().flat_map(|membership| &mut membership.parts);
    parts.for_each(|part| part.offset = None);
    // What is in a snapshot of a volume is a snapshot of what is in the volume.
    if let ([outer], None) = (outer, &volume.snapshot)
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

    #[test]
    fn a_volume_in_others_is_where_they_are_and_no_better_off() {
        let (outer_region, direct) = (region(0), region(1));
        let mut outer = basic::volume(outer_region.clone());
        outer.extents = vec![VolumeExtent { disk: 7, offset: 4096, length: 512 }];
        outer.health = Health::Degraded;
        let mut volume = basic::volume(outer_region.clone());
        surround(&mut volume, &[outer_region.clone(), direct], std::slice::from_ref(&outer));
        let direct = VolumeExtent { disk: 1, offset: 1024, length: 512 };
        assert_eq!(volume.extents, [outer.extents[0], direct]);
        assert_eq!((volume.health, volume.snapshot.is_none()), (Health::Degraded, true));
        // In a snapshot of it lies a snapshot.
        let of = VolumeId("origin".to_owned());
        outer.snapshot = Some(Snapshot { of, name: Some("before".to_owned()), time: None });
        let mut volume = basic::volume(outer_region.clone());
        let id = volume.id.clone();
        surround(&mut volume, &[outer_region], &[outer]);
        assert_eq!(volume.id.0, format!("{id}@before"));
        assert_eq!(volume.snapshot.map(|snapshot| snapshot.of), Some(id));
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
