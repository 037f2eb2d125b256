//! Joining physical volumes: which metadata counts, who is missing, and what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use volfold_block::{Finding, Severity, code};

use super::build::{Builder, Member};
use super::built::{Bodies, Body};
use super::disk::{Disk, Texts, Variant};
use super::metadata::{LogicalVolume, PhysicalVolume, VolumeGroup};
use super::needed::Users;
use super::persistent::Nodes;
use super::refused::refused;
use super::segment::SegmentKind;
use crate::volume::map::{Redundancy, RedundantParts};
use crate::volume::refusal::Refusal;
use crate::volume::snapshot::{Snapshot, SnapshotTime};
use crate::volume::{
    Health, Layout, Membership, Region, Volume, VolumeExtent, VolumeId, VolumeType,
};

/// Names of volumes in one sentence.
const NAMED: usize = 8;

/// The volumes of all groups on `regions`.
pub(super) fn assemble(regions: &[Region], findings: &mut Vec<Finding>) -> Vec<Volume> {
    let mut texts = Texts::default();
    let disks: Vec<Disk<'_>> =
        regions.iter().filter_map(|region| Disk::read(region, &mut texts, findings)).collect();
    let mut groups: BTreeMap<&str, Vec<&Arc<Variant>>> = BTreeMap::new();
    for variant in disks.iter().filter_map(|disk| disk.variant.as_ref()) {
        groups.entry(&variant.group.id).or_default().push(variant);
    }
    let mut chosen = Vec::new();
    let mut rivals = Vec::new();
    for variants in groups.values() {
        if let Some((variant, others)) = choose(variants, findings) {
            chosen.push(variant);
            rivals.push(others);
        }
    }
    report_names(&chosen, findings);
    let mut volumes = Vec::new();
    let nodes = Arc::new(Nodes::new());
    for (variant, rivals) in chosen.iter().zip(&rivals) {
        let rivals: Vec<&VolumeGroup> = rivals.iter().map(|rival| &rival.group).collect();
        volumes.extend(assemble_group(&variant.group, &rivals, &disks, &nodes, findings));
    }
    report_others(&chosen, &disks, findings);
    volumes.sort_by_cached_key(|volume| {
        let first = volume.extents.iter().map(|extent| (extent.disk, extent.offset)).min();
        (first.is_none(), first, volume.id.clone())
    });
    volumes
}

/// The newest of `variants`, the metadata of the disks of one group; of several, what most hold; and all
/// others that as many hold.
fn choose(
    variants: &[&Arc<Variant>],
    findings: &mut Vec<Finding>,
) -> Option<(Arc<Variant>, Vec<Arc<Variant>>)> {
    let newest = variants.iter().map(|variant| variant.group.sequence).max()?;
    let mut different: Vec<(&Arc<Variant>, usize)> = Vec::new();
    for variant in variants.iter().filter(|variant| variant.group.sequence == newest) {
        match different.iter_mut().find(|(known, _)| Arc::ptr_eq(known, variant)) {
            Some((_, holders)) => *holders = holders.saturating_add(1),
            None => different.push((variant, 1)),
        }
    }
    let most = different.iter().map(|(_, holders)| *holders).max()?;
    let with_most = different.iter().filter(|(_, holders)| *holders == most);
    let mut with_most = with_most.map(|(variant, _)| Arc::clone(variant));
    let (chosen, rivals) = (with_most.next()?, with_most.collect::<Vec<_>>());
    if different.len() > 1 {
        let result = match rivals.is_empty() {
            true => "what most of them have counts",
            false => "volumes about which they differ are refused",
        };
        let line = format!(
            "{} physical volumes of group {} ({}) have metadata that differs, though it is of one \
             change ({newest}); {result}",
            variants.len(),
            chosen.group.name,
            chosen.group.id
        );
        findings.push(Finding::error(code::LVM_COPIES_DIFFER, line));
    }
    Some((chosen, rivals))
}

/// Tells that two groups have one name.
fn report_names(groups: &[Arc<Variant>], findings: &mut Vec<Finding>) {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for group in groups.iter().map(|variant| &variant.group) {
        names.entry(&group.name).or_default().push(&group.id);
    }
    for (name, ids) in names.iter().filter(|(_, ids)| ids.len() > 1) {
        let line = format!("{} volume groups are called {name}: {}", ids.len(), ids.join(", "));
        findings.push(Finding::info(code::LVM_SAME_NAME, line));
    }
}

/// Tells of disks that are in no group that was joined.
fn report_others(groups: &[Arc<Variant>], disks: &[Disk<'_>], findings: &mut Vec<Finding>) {
    let listed = |disk: &Disk<'_>| {
        let knows = |variant: &&Arc<Variant>| {
            variant.group.disks.values().any(|known| known.id == disk.label.uuid)
        };
        groups
            .iter()
            .filter(knows)
            .any(|variant| disk.variant.as_ref().is_none_or(|own| own.group.id == variant.group.id))
    };
    for disk in disks.iter().filter(|disk| !listed(disk)) {
        let uuid = &disk.label.uuid;
        let finding = match (&disk.variant, disk.label.is_used) {
            (Some(own), _) => {
                let line = format!(
                    "physical volume {uuid} says that it belongs to group {}, whose newest metadata \
                     does not know it: it was taken out, or is left from before",
                    own.group.name
                );
                Finding::warning(code::LVM_FOREIGN_DISK, line)
            }
            (None, Some(false)) => {
                let line = format!("physical volume {uuid} belongs to no volume group");
                Finding::info(code::LVM_NO_GROUP, line)
            }
            (None, _) => {
                let line = format!(
                    "physical volume {uuid} has no metadata that can be read, and no other disk \
                     knows it; give the other disks of its group"
                );
                Finding::error(code::LVM_NO_METADATA, line)
            }
        };
        findings.push(finding.on_disk(disk.region.disk));
    }
}

/// The volumes of `group`; `rivals` have as good a claim to be it.
fn assemble_group(
    group: &VolumeGroup,
    rivals: &[&VolumeGroup],
    disks: &[Disk<'_>],
    nodes: &Arc<Nodes>,
    findings: &mut Vec<Finding>,
) -> Vec<Volume> {
    let mut members = BTreeMap::new();
    for (name, known) in &group.disks {
        let found: Vec<&Disk<'_>> =
            disks.iter().filter(|disk| is_same(disk, group, known)).collect();
        if let Some(member) = member(group, known, &found, findings) {
            members.insert(name.clone(), member);
        }
    }
    let mut builder = Builder::new(group, &members, refused(group, rivals), nodes.clone());
    let stores: BTreeMap<&str, &str> = group
        .volumes
        .iter()
        .filter_map(|(name, volume)| match &volume.only_segment()?.kind {
            SegmentKind::Snapshot { store, .. } => Some((store.as_str(), name.as_str())),
            // Both are refused by the name of the store.
            SegmentKind::Merging { store, .. } => Some((store.as_str(), store.as_str())),
            _ => None,
        })
        .collect();
    // lvm2 hides what keeps the chunks of a snapshot, and shows it as the snapshot.
    let is_shown = |(name, volume): &(&String, &LogicalVolume)| {
        stores.contains_key(name.as_str()) || is_shown(volume)
    };
    let mut volumes = Vec::new();
    for (name, volume) in group.volumes.iter().filter(is_shown) {
        // A snapshot is called as the volume that keeps its chunks.
        let of = stores.get(name.as_str()).copied().unwrap_or(name);
        volumes.push(shown(group, name, volume, builder.volume(of, 0), of, findings));
    }
    report_missing(group, &members, &volumes, findings);
    volumes
}

/// Whether `disk` is the physical volume `known` of `group`.
fn is_same(disk: &Disk<'_>, group: &VolumeGroup, known: &PhysicalVolume) -> bool {
    let own = disk.variant.as_ref().map(|own| own.group.id.as_str());
    disk.label.uuid == known.id && own.is_none_or(|own| own == group.id)
}

/// The disk of the physical volume `known`, of those that were `found`.
fn member<'a>(
    group: &VolumeGroup,
    known: &PhysicalVolume,
    found: &[&Disk<'a>],
    findings: &mut Vec<Finding>,
) -> Option<Member<'a>> {
    let (first, others) = found.split_first()?;
    let mut member =
        Member { region: first.region, withheld: None, stale: None, disagrees: BTreeSet::new() };
    if !others.is_empty() {
        let labels: Vec<String> = found.iter().map(|disk| disk.what()).collect();
        let labels = labels.join(" and ");
        let line = format!(
            "{labels} are images of one physical volume ({}), a copy or a snapshot: none of them is \
             used; give only one",
            known.id
        );
        findings.push(Finding::error(code::LVM_DUPLICATE_DISK, line));
        member.withheld = Some(format!("is given twice: {labels}"));
        return Some(member);
    }
    let own = first.variant.as_ref().map(|variant| &variant.group);
    let older = own.filter(|own| own.sequence < group.sequence);
    let line = match older {
        Some(own) => {
            let changes = (own.sequence, group.sequence);
            member.stale =
                Some(format!("is stale (change {}, the group is at {})", changes.0, changes.1));
            member.disagrees = disagreements(group, own, &known.id);
            format!("its metadata is of change {}, the group is at {}", changes.0, changes.1)
        }
        None if known.is_missing => {
            member.stale = Some("is stale (the group was changed while it was missing)".to_owned());
            "the group was changed while it was missing".to_owned()
        }
        None => return Some(member),
    };
    let line = format!("physical volume {} of group {} is stale: {line}", known.id, group.name);
    let finding = Finding::warning(code::LVM_STALE_DISK, line);
    findings.push(finding.on_disk(first.region.disk));
    Some(member)
}

/// The ids of volumes that do not lie on the physical volume `id` by the metadata `own` as they do by
/// that of `group`.
fn disagreements(group: &VolumeGroup, own: &VolumeGroup, id: &str) -> BTreeSet<String> {
    let by_id: BTreeMap<&str, &LogicalVolume> =
        own.volumes.values().map(|other| (other.id.as_str(), other)).collect();
    let is_other = |volume: &&LogicalVolume| {
        let same = by_id.get(volume.id.as_str());
        same.is_none_or(|other| group.places(volume, id) != own.places(other, id))
            || group.extent_size != own.extent_size
    };
    group.volumes.values().filter(is_other).map(|volume| volume.id.clone()).collect()
}

/// Whether users see `volume` as one: no pool, and nothing that holds others together.
fn is_shown(volume: &LogicalVolume) -> bool {
    let is_inner = volume.only_segment().is_some_and(|segment| {
        matches!(
            segment.kind,
            SegmentKind::ThinPool { .. }
                | SegmentKind::CachePool { .. }
                | SegmentKind::Snapshot { .. }
                | SegmentKind::Merging { .. }
        )
    });
    volume.is_visible && !is_inner
}

/// The volume `name` with the bytes `body`, which are those of the volume `of`.
fn shown(
    group: &VolumeGroup,
    name: &str,
    volume: &LogicalVolume,
    body: Result<Arc<Body>, Refusal>,
    of: &str,
    findings: &mut Vec<Finding>,
) -> Volume {
    let id = VolumeId(format!("lvm:{}", volume.id));
    let extents = group.volumes.get(of).map_or(0, |of| of.extents);
    let size = extents.saturating_mul(group.extent_size);
    let body = body.unwrap_or_else(|refusal| {
        let line = format!("volume {}/{name} is refused: {}", group.name, refusal.line);
        findings.push(Finding::error(code::LVM_VOLUME_REFUSED, line.clone()).on_volume(&id.0));
        let absent = refusal.device(size, line);
        Arc::new(Body { health: Health::Failed, ..Body::plain(absent, Layout::Simple) })
    });
    for doubt in &body.doubts {
        let line = format!("volume {}/{name}: {doubt}", group.name);
        findings.push(Finding::warning(code::LVM_VOLUME_DOUBTFUL, line).on_volume(&id.0));
    }
    let extents = body.parts.iter().filter_map(|part| {
        let (disk, offset) = (part.disk?, part.offset?);
        Some(VolumeExtent { disk, offset, length: part.length })
    });
    let redundancy: Option<Arc<dyn Redundancy>> = match body.redundant.as_slice() {
        [] => None,
        [(0, only)] => Some(only.clone()),
        parts => Some(Arc::new(RedundantParts(parts.to_vec()))),
    };
    Volume {
        fallback_name: format!("{}-{name}", group.name),
        hint: None,
        kind: VolumeType::Logical,
        layout: body.layout,
        health: body.health,
        size,
        device: body.device.clone(),
        extents: extents.collect(),
        partition: None,
        membership: Some(Membership {
            group: group.name.clone(),
            group_id: group.id.clone(),
            name: name.to_owned(),
            plexes: body.plexes,
            columns: body.columns,
            chunk_size: body.chunk,
            parts: body.parts.clone(),
        }),
        redundancy,
        lock: None,
        snapshot: snapshot(group, name, volume, of),
        id,
    }
}

/// What the volume `name` is a snapshot of.
fn snapshot(group: &VolumeGroup, name: &str, volume: &LogicalVolume, of: &str) -> Option<Snapshot> {
    let segment = group.volumes.get(of)?.only_segment()?;
    let origin = match &segment.kind {
        SegmentKind::Snapshot { origin, .. } | SegmentKind::Thin { origin: Some(origin), .. } => {
            origin
        }
        _ => return None,
    };
    let origin = group.volumes.get(origin)?;
    Some(Snapshot {
        of: VolumeId(format!("lvm:{}", origin.id)),
        name: Some(name.to_owned()),
        time: volume.created.map(SnapshotTime),
    })
}

/// Names the disks that are not there, and the volumes that miss them.
fn report_missing(
    group: &VolumeGroup,
    members: &BTreeMap<String, Member<'_>>,
    volumes: &[Volume],
    findings: &mut Vec<Finding>,
) {
    let mut users = Users::new(group);
    for (name, disk) in group.disks.iter().filter(|(name, _)| !members.contains_key(*name)) {
        let needing = users.all_of(name);
        let is_needing = |volume: &&Volume| {
            let own = volume.membership.as_ref().map(|membership| membership.name.as_str());
            needing.as_ref().is_none_or(|needing| own.is_some_and(|own| needing.contains(own)))
        };
        let needing: Vec<&Volume> = volumes.iter().filter(is_needing).collect();
        let any_failed = needing.iter().any(|volume| volume.health == Health::Failed);
        let severity = match (needing.is_empty(), any_failed) {
            (true, _) => Severity::Info,
            (false, false) => Severity::Warning,
            (false, true) => Severity::Error,
        };
        let names = needing.iter().filter_map(|volume| volume.membership.as_ref());
        let shown: Vec<&str> = names.map(|it| it.name.as_str()).take(NAMED).collect();
        let shown = shown.join(", ");
        let wanted = match needing.len().checked_sub(NAMED) {
            _ if needing.is_empty() => "no volume lies on it".to_owned(),
            None | Some(0) => format!("it holds parts of {shown}; give its image with the others"),
            Some(more) => {
                format!("it holds parts of {shown} and {more} more; give its image with the others")
            }
        };
        let line = format!(
            "physical volume {name} ({}) of group {}, last seen as {}, is missing: {wanted}",
            disk.id, group.name, disk.device
        );
        findings.push(Finding::new(severity, code::LVM_MISSING_DISK, line));
    }
}
