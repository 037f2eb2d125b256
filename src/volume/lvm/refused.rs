//! Volumes of a group for which nothing is laid out, whatever their disks hold.

use std::collections::BTreeMap;

use super::metadata::{LogicalVolume, VolumeGroup};
use super::segment::{Segment, SegmentKind};
use crate::volume::refusal::Refusal;

/// Why volumes of `group` are refused, by their names; `rivals` is the metadata of other disks that has as good
/// a claim to be that of the group.
pub(super) fn refused<'a>(
    group: &'a VolumeGroup,
    rivals: &[&VolumeGroup],
) -> BTreeMap<&'a str, Refusal> {
    let mut refused = merging(group);
    refused.extend(overlapping(group));
    refused.extend(disputed(group, rivals));
    refused
}

/// Those whose content changes its place while a snapshot is merged.
fn merging(group: &VolumeGroup) -> BTreeMap<&str, Refusal> {
    let mut merging = BTreeMap::new();
    for segment in group.volumes.values().filter_map(LogicalVolume::only_segment) {
        if let SegmentKind::Merging { origin, store } = &segment.kind {
            let line = format!("the snapshot {store} is being merged into {origin}");
            merging.insert(origin.as_str(), Refusal::unsupported(line.clone()));
            merging.insert(store.as_str(), Refusal::unsupported(line));
        }
    }
    merging
}

/// Those with extents that another volume has too.
fn overlapping(group: &VolumeGroup) -> BTreeMap<&str, Refusal> {
    let mut places = Vec::new();
    for (name, volume) in &group.volumes {
        for segment in volume.segments.as_deref().unwrap_or_default() {
            let of_each = of_each_area(segment);
            let on_disks =
                segment.areas().filter(|area| group.disks.contains_key(area.name.as_str()));
            places.extend(on_disks.map(|area| {
                let end = area.extent.saturating_add(of_each);
                (area.name.as_str(), area.extent, end, name.as_str())
            }));
        }
    }
    places.sort_unstable();
    let mut overlapping = BTreeMap::new();
    let mut furthest: Option<(&str, u64, &str)> = None;
    for (disk, start, end, name) in places {
        let before = furthest.filter(|(other, ..)| *other == disk);
        if let Some((_, _, other)) = before.filter(|(_, other_end, _)| start < *other_end) {
            let line = format!("volumes {other} and {name} have the same extents of {disk}");
            overlapping.insert(name, Refusal::corrupt(line.clone()));
            overlapping.insert(other, Refusal::corrupt(line));
        }
        if before.is_none_or(|(_, other_end, _)| end > other_end) {
            furthest = Some((disk, end, name));
        }
    }
    overlapping
}

/// The extents that `segment` has in each of its areas.
fn of_each_area(segment: &Segment) -> u64 {
    match &segment.kind {
        SegmentKind::Striped { areas, .. } => {
            let count = u64::try_from(areas.len()).unwrap_or(u64::MAX);
            segment.extents.checked_div(count).unwrap_or(segment.extents)
        }
        _ => segment.extents,
    }
}

/// Those about which `rivals` do not say the same.
fn disputed<'a>(group: &'a VolumeGroup, rivals: &[&VolumeGroup]) -> BTreeMap<&'a str, Refusal> {
    let is_same = |name: &str, volume: &LogicalVolume, rival: &VolumeGroup| {
        let other = rival.volumes.get(name);
        let is_same = other.is_some_and(|other| {
            other.id == volume.id
                && other.flags == volume.flags
                && other.segments == volume.segments
        });
        is_same && rival.extent_size == group.extent_size && rival.disks == group.disks
    };
    let mut disputed = BTreeMap::new();
    for (name, volume) in &group.volumes {
        if !rivals.iter().all(|rival| is_same(name, volume, rival)) {
            let line = format!(
                "the metadata of its physical volumes differs about {name}, and none of it is on more \
                 of them"
            );
            disputed.insert(name.as_str(), Refusal::corrupt(line));
        }
    }
    disputed
}
