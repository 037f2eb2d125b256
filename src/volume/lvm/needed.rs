//! Which volumes of a group need a physical volume, through all that they lie in.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::VolumeGroup;
use super::segment::{Segment, SegmentKind};

/// LIMIT: steps from volumes to those that lie in them, for all physical volumes of a group that are missing.
const MAX_STEPS: usize = 1 << 20;

/// What the volumes of a group lie in.
pub(super) struct Users<'a> {
    /// The volumes that a segment names each volume or disk for.
    of: BTreeMap<&'a str, BTreeSet<&'a str>>,
    steps: usize,
}

impl<'a> Users<'a> {
    pub(super) fn new(group: &'a VolumeGroup) -> Self {
        let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, volume) in &group.volumes {
            for segment in volume.segments.as_deref().unwrap_or_default() {
                for part in names(segment) {
                    of.entry(part).or_default().insert(name);
                }
                match &segment.kind {
                    // A snapshot is shown by the name of its store.
                    SegmentKind::Snapshot { origin, store, .. } => {
                        of.entry(origin).or_default().insert(store);
                    }
                    SegmentKind::Merging { origin, store } => {
                        of.entry(origin).or_default().insert(store);
                        of.entry(store).or_default().insert(origin);
                    }
                    _ => {}
                }
            }
        }
        Self { of, steps: 0 }
    }

    /// The volumes that need `part`, through others too; `None` if that takes too long to tell.
    pub(super) fn all_of(&mut self, part: &str) -> Option<BTreeSet<&'a str>> {
        let mut all = BTreeSet::new();
        let mut next: Vec<&str> = self.of.get(part).into_iter().flatten().copied().collect();
        while let Some(name) = next.pop() {
            self.steps = self.steps.checked_add(1).filter(|steps| *steps <= MAX_STEPS)?;
            if all.insert(name) {
                next.extend(self.of.get(name).into_iter().flatten());
            }
        }
        Some(all)
    }
}

/// All physical and logical volumes that `segment` names.
fn names(segment: &Segment) -> Vec<&str> {
    match &segment.kind {
        SegmentKind::Striped { areas, .. } => areas.iter().map(|area| area.name.as_str()).collect(),
        SegmentKind::Mirror { areas, log, .. } => {
            let areas = areas.iter().map(|area| area.name.as_str());
            areas.chain(log.as_deref()).collect()
        }
        SegmentKind::Raid { sides, .. } => {
            let images = sides.iter().map(|side| side.image.as_str());
            images.chain(sides.iter().filter_map(|side| side.metadata.as_deref())).collect()
        }
        SegmentKind::ThinPool { data, metadata, .. }
        | SegmentKind::CachePool { data, metadata, .. } => vec![data, metadata],
        SegmentKind::Thin { pool, external, .. } => {
            std::iter::once(pool.as_str()).chain(external.as_deref()).collect()
        }
        SegmentKind::Snapshot { origin, store, .. } | SegmentKind::Merging { origin, store } => {
            vec![origin, store]
        }
        SegmentKind::Cache { pool, origin, .. } => vec![pool, origin],
        SegmentKind::WriteCache { cache, origin, .. } => vec![cache, origin],
        SegmentKind::Zero | SegmentKind::Error | SegmentKind::Unknown(_) => Vec::new(),
    }
}
