//! From segments to devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use volfold_block::{BlockDevice, Mapped, Slice, byte_count};

use super::built::{Bodies, Body, Built, worse};
use super::cache;
use super::metadata::{LogicalVolume, VolumeGroup};
use super::persistent::Nodes;
use super::raid::{self, MirrorShape, RaidShape};
use super::segment::{Segment, SegmentArea, SegmentKind};
use super::snapshot;
use super::thin::{self, ThinPool};
use crate::volume::basic::present_part;
use crate::volume::map::{Absent, Stripe, Zeros, one_after_the_other};
use crate::volume::refusal::Refusal;
use crate::volume::{Health, Layout, MembershipPart, PartState, Region};

/// LIMIT: volumes in volumes; a thin volume on a cached pool of a RAID has five.
const MAX_DEPTH: usize = 10;

/// LIMIT: parts of all volumes of a group together: what is kept of them stays below 64 MB.
const MAX_PARTS: usize = 1 << 18;

/// A physical volume of the group that is there.
pub(super) struct Member<'a> {
    pub(super) region: &'a Region,
    /// Why it is not read at all: a sentence without its object.
    pub(super) withheld: Option<String>,
    /// Why its bytes may be older than those of the others.
    pub(super) stale: Option<String>,
    /// The volumes, by their ids, that are not on it as the newest metadata says.
    pub(super) disagrees: BTreeSet<String>,
}

/// Builds the volumes of one group, each once.
pub(super) struct Builder<'a> {
    group: &'a VolumeGroup,
    /// By the names that segments use.
    members: &'a BTreeMap<String, Member<'a>>,
    /// Nodes of the tables of all groups.
    nodes: Arc<Nodes>,
    built: BTreeMap<String, Built<Arc<Body>>>,
    pools: BTreeMap<String, Built<Arc<ThinPool>>>,
    /// Why some volumes are not built, by their names.
    refused: BTreeMap<&'a str, Refusal>,
    /// The parts of what was built and asked for.
    parts: usize,
}

impl<'a> Builder<'a> {
    /// A builder of the volumes of `group` but those that are `refused`; `nodes` keeps parts of their tables.
    pub(super) fn new(
        group: &'a VolumeGroup,
        members: &'a BTreeMap<String, Member<'a>>,
        refused: BTreeMap<&'a str, Refusal>,
        nodes: Arc<Nodes>,
    ) -> Self {
        let (built, pools) = (BTreeMap::new(), BTreeMap::new());
        Self { group, members, nodes, built, pools, refused, parts: 0 }
    }

    fn build(&mut self, name: &str, depth: usize) -> Built<Body> {
        let group = self.group;
        let volume = group.volumes.get(name);
        let volume =
            volume.ok_or_else(|| Refusal::corrupt(format!("there is no volume {name}")))?;
        let segments = volume.segments.as_deref();
        let segments = segments.map_err(|problem| Refusal::corrupt(problem.clone()))?;
        if let Some(refusal) = self.refused.get(name) {
            return Err(refusal.clone());
        }
        let mut bodies = Vec::new();
        for segment in segments {
            let body = self.segment(name, volume, segment, depth)?;
            self.count(&body)?;
            bodies.push(body);
        }
        self.join(segments, bodies)
    }

    /// Counts the parts of `body`, which others may copy.
    fn count(&mut self, body: &Body) -> Built<()> {
        self.parts = self.parts.saturating_add(body.parts.len());
        if self.parts > MAX_PARTS {
            return Err(Refusal::unsupported("the volumes of the group have too many parts"));
        }
        Ok(())
    }

    /// Segments one after the other.
    fn join(&self, segments: &[Segment], mut bodies: Vec<Body>) -> Built<Body> {
        if bodies.len() == 1
            && let Some(only) = bodies.pop()
        {
            return Ok(only);
        }
        let devices = bodies.iter().map(|body| body.device.clone()).collect();
        let layouts: BTreeSet<String> = bodies.iter().map(|body| body.layout.to_string()).collect();
        let layout = match bodies.first() {
            Some(first) if layouts.len() == 1 && first.layout != Layout::Simple => first.layout,
            _ => Layout::Spanned,
        };
        let mut all = Body::plain(one_after_the_other(devices)?, layout);
        for (segment, mut body) in segments.iter().zip(bodies) {
            let start = self.bytes(segment.start)?;
            let columns = byte_count(body.columns.unwrap_or(1)).max(1);
            for part in &mut body.parts {
                let before = start.checked_div(columns).unwrap_or(start);
                part.column_offset = part.column_offset.saturating_add(before);
            }
            all.plexes = all.plexes.max(body.plexes);
            all.columns = all.columns.max(body.columns);
            all.chunk = all.chunk.or(body.chunk);
            let redundant = std::mem::take(&mut body.redundant);
            all.redundant
                .extend(redundant.into_iter().map(|(at, part)| (start.saturating_add(at), part)));
            all.take(&body);
        }
        Ok(all)
    }

    /// A count of extents in bytes.
    fn bytes(&self, extents: u64) -> Built<u64> {
        let bytes = extents.checked_mul(self.group.extent_size);
        bytes.ok_or_else(|| Refusal::corrupt("it is too large"))
    }

    fn segment(
        &mut self,
        name: &str,
        volume: &LogicalVolume,
        segment: &Segment,
        depth: usize,
    ) -> Built<Body> {
        let size = self.bytes(segment.extents)?;
        let below = depth.saturating_add(1);
        match &segment.kind {
            SegmentKind::Striped { areas, chunk } => {
                self.striped(name, volume, areas, *chunk, segment.extents, below)
            }
            SegmentKind::Mirror { areas, log, region, is_move } => {
                let mut sides = Vec::new();
                for area in areas {
                    sides.push(self.area(name, volume, area, segment.extents, below)?);
                }
                let shape = MirrorShape { log: log.as_deref(), region: *region, is_move: *is_move };
                raid::mirror(self, sides, &shape, size, below)
            }
            SegmentKind::Raid { kind, sides, chunk, room } => {
                let shape = RaidShape {
                    kind: *kind,
                    chunk: *chunk,
                    size,
                    room: self.bytes(*room)?,
                    is_synced: !volume.has("NOTSYNCED"),
                };
                raid::raid(self, sides, &shape, below)
            }
            SegmentKind::Thin { pool, device, external, .. } => {
                let pool = self.thin_pool(pool, below)?;
                let external = match external {
                    Some(name) => Some(self.volume(name, below)?),
                    None => None,
                };
                thin::volume(&pool, *device, external.as_deref(), size)
            }
            SegmentKind::Snapshot { origin, store, chunk } => {
                let (origin, store) = (self.volume(origin, below)?, self.volume(store, below)?);
                snapshot::volume(&origin, &store, *chunk, size)
            }
            SegmentKind::Cache { .. } => cache::volume(self, segment, size, below),
            SegmentKind::WriteCache { cache, origin, chunk } => {
                let (cache, origin) = (self.volume(cache, below)?, self.volume(origin, below)?);
                cache::with_write_cache(&cache, &origin, *chunk, size)
            }
            SegmentKind::Zero => Ok(Body::plain(Arc::new(Zeros::new(size)), Layout::Simple)),
            SegmentKind::Error => {
                let line =
                    format!("volume {name} has a segment of errors in the place of its bytes");
                let absent = Arc::new(Absent::new(size, line));
                Ok(Body { health: Health::Failed, ..Body::plain(absent, Layout::Simple) })
            }
            other => Err(Refusal::unsupported(format!("it has {}", noun(other)))),
        }
    }

    /// The thin pool `name`, opened once.
    fn thin_pool(&mut self, name: &str, below: usize) -> Built<Arc<ThinPool>> {
        if let Some(pool) = self.pools.get(name) {
            return pool.clone();
        }
        let pool = ThinPool::open(self, name, below).map(Arc::new);
        self.pools.insert(name.to_owned(), pool.clone());
        pool
    }

    fn striped(
        &mut self,
        name: &str,
        volume: &LogicalVolume,
        areas: &[SegmentArea],
        chunk: u64,
        extents: u64,
        below: usize,
    ) -> Built<Body> {
        let count = byte_count(areas.len());
        let own = extents.checked_div(count).filter(|own| own.checked_mul(count) == Some(extents));
        let own =
            own.ok_or_else(|| Refusal::corrupt("a segment is not a multiple of its stripes"))?;
        let mut columns = Vec::new();
        for area in areas {
            columns.push(self.area(name, volume, area, own, below)?);
        }
        if let [only] = columns.as_slice() {
            return Ok(only.clone());
        }
        let devices = columns.iter().map(|column| column.device.clone()).collect();
        let stripe = Stripe::new(devices, chunk, self.bytes(extents)?)?;
        let mut body = Body::plain(Arc::new(Mapped::new(stripe)), Layout::Striped);
        body.columns = Some(columns.len());
        body.chunk = Some(chunk);
        for (number, mut column) in columns.into_iter().enumerate() {
            column.parts.iter_mut().for_each(|part| part.column = number);
            body.take(&column);
        }
        Ok(body)
    }

    /// The `extents` of `area`, on a disk or in a volume.
    fn area(
        &mut self,
        name: &str,
        volume: &LogicalVolume,
        area: &SegmentArea,
        extents: u64,
        below: usize,
    ) -> Built<Body> {
        let length = self.bytes(extents)?;
        if self.group.disks.contains_key(&area.name) {
            return self.on_disk(name, volume, area, extents);
        }
        let inner = self.volume(&area.name, below)?;
        let start = self.bytes(area.extent)?;
        let is_whole = start == 0 && length == inner.device.size();
        let device: Arc<dyn BlockDevice> =
            if is_whole {
                inner.device.clone()
            } else {
                Arc::new(Slice::part(inner.device.clone(), start, length).map_err(|_| {
                    Refusal::corrupt(format!("a segment leaves volume {}", area.name))
                })?)
            };
        let mut body = Body::plain(device, inner.layout);
        body.plexes = inner.plexes;
        body.columns = inner.columns;
        body.chunk = inner.chunk;
        if is_whole {
            body.redundant.clone_from(&inner.redundant);
        }
        body.take(&inner);
        Ok(body)
    }

    /// The `extents` of `area` of a physical volume, for the volume `name`.
    fn on_disk(
        &self,
        name: &str,
        volume: &LogicalVolume,
        area: &SegmentArea,
        extents: u64,
    ) -> Built<Body> {
        let disk = self.group.disks.get(&area.name);
        let disk =
            disk.ok_or_else(|| Refusal::corrupt(format!("there is no disk {}", area.name)))?;
        let end = area.extent.checked_add(extents);
        if end.is_none_or(|end| end > disk.extents) {
            return Err(Refusal::corrupt(format!(
                "a segment leaves physical volume {}",
                area.name
            )));
        }
        let length = self.bytes(extents)?;
        let start = self.bytes(area.extent)?.checked_add(disk.start);
        let start = start.filter(|start| start.checked_add(length).is_some());
        let start = start.ok_or_else(|| Refusal::corrupt("it is too large"))?;
        let member = self.members.get(&area.name);
        let (state, reason) = match member {
            None => (PartState::Missing, Some("is missing".to_owned())),
            Some(member) => self.state(member, volume, start, length),
        };
        let mut part = MembershipPart {
            name: name.to_owned(),
            plex: 0,
            column: 0,
            column_offset: 0,
            length,
            disk: None,
            offset: None,
            disk_name: area.name.clone(),
            disk_id: disk.id.clone(),
            state,
        };
        let sentence = reason.map(|reason| {
            let object = match state {
                PartState::CutShort => "the image of physical volume",
                _ => "physical volume",
            };
            format!("{object} {} ({}) of group {} {reason}", area.name, disk.id, self.group.name)
        });
        let absent = |length: u64| -> Arc<dyn BlockDevice> {
            Arc::new(Absent::new(length, sentence.clone().unwrap_or_default()))
        };
        let mut device = absent(length);
        if let Some(member) = member.filter(|_| state != PartState::Missing) {
            part.disk = Some(member.region.disk);
            part.offset = member.region.start.checked_add(start);
            let present = present_part(&member.region.device, start, length);
            let lost = length.saturating_sub(present.size());
            device =
                if lost == 0 { present } else { one_after_the_other(vec![present, absent(lost)])? };
        }
        let mut body = Body::plain(device, Layout::Simple);
        if !state.is_read() {
            body.health = worse(body.health, Health::Failed);
        }
        match (state, sentence) {
            (PartState::StaleInUse, Some(line)) => body.doubt(format!("it is read though {line}")),
            (PartState::CutShort, Some(line)) => body.doubt(format!("it is cut short: {line}")),
            _ => {}
        }
        body.parts.push(part);
        Ok(body)
    }

    /// Whether `length` bytes from `start` on of `member` are read for `volume`, and why not or why
    /// that is doubtful: a sentence without its object.
    fn state(
        &self,
        member: &Member<'_>,
        volume: &LogicalVolume,
        start: u64,
        length: u64,
    ) -> (PartState, Option<String>) {
        if let Some(reason) = &member.withheld {
            return (PartState::Missing, Some(reason.clone()));
        }
        if let Some(reason) = &member.stale {
            if member.disagrees.contains(&volume.id) {
                let reason = format!("{reason}, and its own metadata has this volume not there");
                return (PartState::Missing, Some(reason));
            }
            if start.saturating_add(length) <= member.region.device.size() {
                return (PartState::StaleInUse, Some(reason.clone()));
            }
        }
        if start.saturating_add(length) > member.region.device.size() {
            return (PartState::CutShort, Some("ends before the part".to_owned()));
        }
        (PartState::Present, None)
    }
}

impl<'a> Bodies<'a> for Builder<'a> {
    fn group(&self) -> &'a VolumeGroup {
        self.group
    }

    fn nodes(&self) -> Arc<Nodes> {
        self.nodes.clone()
    }

    fn volume(&mut self, name: &str, depth: usize) -> Built<Arc<Body>> {
        if let Some(built) = self.built.get(name) {
            let body = built.clone()?;
            self.count(&body)?;
            return Ok(body);
        }
        if depth > MAX_DEPTH {
            return Err(Refusal::unsupported("its volumes lie in too many other volumes"));
        }
        // What is met again while it is built lies in itself.
        let circle = Refusal::corrupt(format!("volume {name} lies in itself"));
        self.built.insert(name.to_owned(), Err(circle));
        let built = self.build(name, depth).map(Arc::new);
        self.built.insert(name.to_owned(), built.clone());
        built
    }
}

/// What a segment is that is not laid out here.
fn noun(kind: &SegmentKind) -> String {
    match kind {
        SegmentKind::Unknown(noun) => format!("{noun}, which this build does not read"),
        SegmentKind::ThinPool { .. } => {
            "the blocks of a thin pool, of which none is one".to_owned()
        }
        SegmentKind::Merging { .. } => "a snapshot that is being merged".to_owned(),
        SegmentKind::CachePool { .. } => "the blocks of a cache, of which none is one".to_owned(),
        _ => "a segment of another kind than it should be".to_owned(),
    }
}
