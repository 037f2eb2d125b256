//! From geometry to devices.

use std::collections::BTreeSet;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockResult, Finding, Mapped, Slice, code};

use super::plan::{Part, Plan, Plex};
use super::privhead::PrivateHeader;
use super::record::ComponentLayout;
use crate::volume::map::{Absent, Mirror, Raid5, Redundancy, Stripe, one_after_the_other};
use crate::volume::{
    Health, Layout, Membership, MembershipPart, PartState, Region, Volume, VolumeExtent, VolumeId,
    VolumeType,
};

/// A disk of the group.
pub(super) struct Member<'a> {
    pub(super) region: &'a Region,
    pub(super) header: PrivateHeader,
    /// Why it is not read at all.
    pub(super) withheld: Option<String>,
    /// Why its bytes may be older than those of the others.
    pub(super) stale: Option<Stale>,
}

/// A disk whose copy of the database is older than the newest.
pub(super) struct Stale {
    /// A sentence without its object.
    pub(super) reason: String,
    /// The transaction of its own copy.
    pub(super) transaction: u64,
    /// The volumes by its own copy.
    pub(super) plans: Vec<Plan>,
}

impl Stale {
    /// Whether the own copy has the parts of `plan` on the disk `guid` in the same places.
    fn agrees(&self, plan: &Plan, guid: &str) -> bool {
        let own = self.plans.iter().find(|own| own.guid == plan.guid);
        own.is_some_and(|own| own.refused.is_none() && places(own, guid) == places(plan, guid))
    }
}

/// Where the parts of `plan` on the disk `guid` lie, on the disk and in the volume.
fn places(plan: &Plan, guid: &str) -> BTreeSet<(u64, usize, usize, u64, u64, u64)> {
    let mut places = BTreeSet::new();
    for plex in &plan.plexes {
        for (number, column) in plex.columns.iter().enumerate() {
            for part in column.iter().filter(|part| part.disk_guid == guid) {
                let columns = plex.columns.len();
                places.insert((plex.chunk, columns, number, part.offset, part.start, part.size));
            }
        }
    }
    places
}

/// Builds the volume of one plan.
pub(super) struct Builder<'a> {
    pub(super) members: &'a [Member<'a>],
    pub(super) plan: &'a Plan,
    pub(super) findings: &'a mut Vec<Finding>,
}

/// Where a part lies, as far as that can be told.
struct Placed<'a> {
    part: &'a Part,
    /// In bytes.
    length: u64,
    /// The disk, and the first byte on it.
    place: Option<(&'a Region, u64)>,
    state: PartState,
    /// Why the part is not as it should be: a sentence without its object.
    reason: Option<String>,
    /// When its bytes were current: the transaction of an older disk, the last one for others.
    time: u64,
}

/// The devices of one plex.
struct Built {
    device: Arc<dyn BlockDevice>,
    parity: Option<Arc<Raid5>>,
    health: Health,
}

impl<'a> Builder<'a> {
    pub(super) fn build(mut self) -> Volume {
        let plan = self.plan;
        let sector = match self.sector_size() {
            Ok(sector) => sector,
            Err(reason) => return self.refused(512, reason),
        };
        if let Some(reason) = plan.refused.clone() {
            return self.refused(sector, reason);
        }
        let Some(size) = plan.size.checked_mul(sector) else {
            return self.refused(sector, "it is too large".to_owned());
        };
        let mut plexes: Vec<Vec<Vec<Placed<'a>>>> = Vec::new();
        for plex in &plan.plexes {
            let mut columns = Vec::new();
            for column in &plex.columns {
                let placed: Result<Vec<_>, String> =
                    column.iter().map(|part| self.place(part, sector)).collect();
                match placed {
                    Ok(placed) => columns.push(placed),
                    Err(reason) => return self.refused(sector, reason),
                }
            }
            plexes.push(columns);
        }
        self.settle_stale(&mut plexes);
        let built: BlockResult<Vec<Built>> = plan
            .plexes
            .iter()
            .zip(&plexes)
            .map(|(plex, columns)| self.plex(plex, columns, sector))
            .collect();
        let joined = built.and_then(|built| join(built, size));
        let (device, redundancy, health) = match joined {
            Ok(joined) => joined,
            Err(error) => return self.refused(sector, error.to_string()),
        };
        self.report(&plexes);
        let parts = membership_parts(&plexes, sector);
        let extents = parts
            .iter()
            .filter_map(|part| {
                let (disk, offset) = (part.disk?, part.offset?);
                Some(VolumeExtent { disk, offset, length: part.length })
            })
            .collect();
        Volume { device, redundancy, health, extents, ..self.volume(size, sector, parts) }
    }

    /// All but devices and extents.
    fn volume(&self, size: u64, sector: u64, parts: Vec<MembershipPart>) -> Volume {
        let plan = self.plan;
        let first = plan.plexes.first();
        let header = self.members.first().map(|member| &member.header);
        let membership = Membership {
            group: header.map(|header| header.group_name.clone()).unwrap_or_default(),
            group_id: header.map(|header| header.group_guid.clone()).unwrap_or_default(),
            name: plan.name.clone(),
            plexes: plan.plexes.len(),
            columns: first.filter(|plex| plex.chunk > 0).map(|plex| plex.columns.len()),
            chunk_size: first
                .filter(|plex| plex.chunk > 0)
                .map(|plex| plex.chunk.saturating_mul(sector)),
            parts,
        };
        Volume {
            id: VolumeId(format!("ldm:{}", plan.guid)),
            fallback_name: format!("ldm-{}", plan.name),
            hint: plan.hint.as_deref().map(folder).filter(|hint| !hint.is_empty()),
            kind: VolumeType::Dynamic,
            layout: layout(plan),
            health: Health::Failed,
            size,
            device: Arc::new(Absent::new(size, "volume is not assembled")),
            extents: Vec::new(),
            partition: None,
            membership: Some(membership),
            redundancy: None,
            lock: None,
            snapshot: None,
        }
    }

    /// A volume that is listed, and no byte of which is given out.
    fn refused(self, sector: u64, reason: String) -> Volume {
        let line = format!("volume {} is refused: {reason}", self.plan.name);
        let size = self.plan.size.saturating_mul(sector);
        let volume = self.volume(size, sector, Vec::new());
        let finding = Finding::error(code::LDM_VOLUME_REFUSED, line.clone());
        self.findings.push(finding.on_volume(&volume.id.0));
        Volume { device: Arc::new(Absent::corrupt(size, line)), ..volume }
    }

    /// The one sector size of the disks of this volume; of the group, if none of them is there.
    fn sector_size(&self) -> Result<u64, String> {
        let parts = self.plan.plexes.iter().flat_map(|plex| plex.columns.iter().flatten());
        let own =
            parts.filter_map(|part| self.member(part)).map(|member| member.header.sector_size);
        let group = self.members.iter().map(|member| member.header.sector_size);
        let mut sizes: Vec<u32> = own.collect();
        if sizes.is_empty() {
            sizes.extend(group);
        }
        sizes.sort_unstable();
        sizes.dedup();
        match sizes.as_slice() {
            [one] => Ok(u64::from(*one)),
            _ => Err("its disks have different sector sizes".to_owned()),
        }
    }

    fn member(&self, part: &Part) -> Option<&'a Member<'a>> {
        self.members.iter().find(|member| member.header.disk_guid == part.disk_guid)
    }

    fn place(&self, part: &'a Part, sector: u64) -> Result<Placed<'a>, String> {
        let too_large = || format!("partition {} is too large", part.name);
        let length = part.size.checked_mul(sector).ok_or_else(too_large)?;
        let missing = |reason: &str| Placed {
            part,
            length,
            place: None,
            state: PartState::Missing,
            reason: Some(reason.to_owned()),
            time: u64::MAX,
        };
        let Some(member) = self.member(part) else {
            return Ok(missing("is missing"));
        };
        if let Some(reason) = &member.withheld {
            return Ok(missing(reason));
        }
        if let Some(stale) = &member.stale
            && !stale.agrees(self.plan, &part.disk_guid)
        {
            let reason =
                format!("{}, and its own database has this volume not there", stale.reason);
            return Ok(missing(&reason));
        }
        let header = &member.header;
        let inside = part.start.checked_mul(sector).ok_or_else(too_large)?;
        let end = inside.checked_add(length).ok_or_else(too_large)?;
        if end > header.public_size {
            return Err(format!("partition {} leaves the space of its disk", part.name));
        }
        // `parse` checked that the public space does not wrap.
        let start = header.public_start.saturating_add(inside);
        let (state, reason) = match (&part.stale, &member.stale) {
            (Some(reason), _) => (PartState::Stale, Some(reason.clone())),
            (None, Some(stale)) => (PartState::Stale, Some(stale.reason.clone())),
            (None, None) if start.saturating_add(length) > member.region.device.size() => {
                (PartState::CutShort, Some("ends before the partition".to_owned()))
            }
            (None, None) => (PartState::Present, None),
        };
        let time = member.stale.as_ref().map_or(u64::MAX, |stale| stale.transaction);
        Ok(Placed { part, length, place: Some((member.region, start)), state, reason, time })
    }

    /// Stale parts are not mixed with current ones, nor with those of another time: where there is
    /// a current part, they are not read; where there is none, they are all that is left, and those
    /// of the last time are read, of a mirror one side alone.
    fn settle_stale(&self, plexes: &mut [Vec<Vec<Placed<'a>>>]) {
        let parts = || plexes.iter().flatten().flatten();
        let any_current =
            parts().any(|part| matches!(part.state, PartState::Present | PartState::CutShort));
        if any_current {
            return;
        }
        let stale = |part: &&Placed<'a>| part.state == PartState::Stale;
        let last = parts().filter(stale).map(|part| part.time).max();
        let is_last = |part: &Placed<'a>| stale(&part) && Some(part.time) == last;
        let whole = |plex: &Vec<Vec<Placed<'a>>>| plex.iter().flatten().all(is_last);
        let only = plexes.iter().position(whole);
        for (index, plex) in plexes.iter_mut().enumerate() {
            for part in plex.iter_mut().flatten() {
                if is_last(part) && only.is_none_or(|only| only == index) {
                    part.state = PartState::StaleInUse;
                }
            }
        }
    }

    fn plex(&self, plex: &Plex, columns: &[Vec<Placed<'a>>], sector: u64) -> BlockResult<Built> {
        let size = plex.size.saturating_mul(sector);
        let chunk = plex.chunk.saturating_mul(sector);
        let devices: BlockResult<Vec<Arc<dyn BlockDevice>>> = columns
            .iter()
            .map(|parts| one_after_the_other(parts.iter().map(|part| self.device(part)).collect()))
            .collect();
        let devices = devices?;
        let bad = columns.iter().filter(|parts| parts.iter().any(|part| !part.state.is_read()));
        let bad = bad.count();
        let is_doubtful = columns.iter().flatten().any(|part| part.state == PartState::StaleInUse);
        let mut parity = None;
        let device: Arc<dyn BlockDevice> = match plex.layout {
            ComponentLayout::Spanned => one_after_the_other(devices)?,
            ComponentLayout::Striped => Arc::new(Mapped::new(Stripe::new(devices, chunk, size)?)),
            ComponentLayout::Raid5 => {
                let is_current = |parts: &Vec<Placed<'a>>| {
                    parts.iter().all(|part| part.state != PartState::StaleInUse)
                };
                let current = columns.iter().map(is_current).collect();
                let raid5 = Arc::new(Raid5::new(devices, chunk, size)?.with_current(current));
                parity = Some(raid5.clone());
                Arc::new(Mapped::over(raid5))
            }
        };
        let device: Arc<dyn BlockDevice> =
            if device.size() == size { device } else { Arc::new(Slice::part(device, 0, size)?) };
        let health = match (bad, plex.layout) {
            (0, _) => Health::Healthy,
            (1, ComponentLayout::Raid5) if !is_doubtful => Health::Degraded,
            _ => Health::Failed,
        };
        Ok(Built { device, parity, health })
    }

    fn device(&self, placed: &Placed<'a>) -> Arc<dyn BlockDevice> {
        let absent = |length: u64| -> Arc<dyn BlockDevice> {
            Arc::new(Absent::new(length, self.sentence(placed)))
        };
        let Some((region, start)) = placed.place.filter(|_| placed.state != PartState::Stale)
        else {
            return absent(placed.length);
        };
        let present = super::super::basic::present_part(&region.device, start, placed.length);
        let lost = placed.length.saturating_sub(present.size());
        if lost == 0 {
            return present;
        }
        one_after_the_other(vec![present, absent(lost)]).unwrap_or_else(|_| absent(placed.length))
    }

    /// Why a part is not read, with the name and the id of its disk.
    fn sentence(&self, placed: &Placed<'a>) -> String {
        let part = placed.part;
        let group = self.members.first().map(|member| member.header.group_name.as_str());
        let reason = placed.reason.as_deref().unwrap_or("cannot be read");
        let object = match placed.state {
            PartState::CutShort => "the image of disk",
            _ => "disk",
        };
        let group = group.unwrap_or_default();
        format!("{object} {} ({}) of group {group} {reason}", part.disk_name, part.disk_guid)
    }

    fn report(&mut self, plexes: &[Vec<Vec<Placed<'a>>>]) {
        let id = format!("ldm:{}", self.plan.guid);
        let name = &self.plan.name;
        for note in &self.plan.notes {
            let line = format!("volume {name}: {note}");
            self.findings.push(Finding::warning(code::LDM_VOLUME_DOUBTFUL, line).on_volume(&id));
        }
        for placed in plexes.iter().flatten().flatten() {
            let line = match placed.state {
                PartState::Stale => "is not read, because it",
                PartState::StaleInUse => "is read though it",
                PartState::CutShort => "is cut short: it",
                PartState::Present | PartState::Missing => continue,
            };
            let reason = placed.reason.as_deref().unwrap_or_default();
            let line = format!(
                "volume {name}: disk {} ({}) {line} {reason}",
                placed.part.disk_name, placed.part.disk_guid
            );
            self.findings.push(Finding::warning(code::LDM_PART_DOUBTFUL, line).on_volume(&id));
        }
    }
}

type Joined = (Arc<dyn BlockDevice>, Option<Arc<dyn Redundancy>>, Health);

/// The sides of a mirror, or the only plex.
fn join(mut built: Vec<Built>, size: u64) -> BlockResult<Joined> {
    if built.len() == 1
        && let Some(Built { device, parity, health }) = built.pop()
    {
        return Ok((device, parity.map(|raid5| -> Arc<dyn Redundancy> { raid5 }), health));
    }
    let healthy = built.iter().filter(|plex| plex.health == Health::Healthy).count();
    let readable = built.iter().any(|plex| plex.health != Health::Failed);
    let health = match (healthy == built.len(), readable) {
        (true, _) => Health::Healthy,
        (false, true) => Health::Degraded,
        (false, false) => Health::Failed,
    };
    // The whole sides first.
    built.sort_by_key(|plex| plex.health != Health::Healthy);
    let sides = built.into_iter().map(|plex| plex.device).collect();
    let mirror = Arc::new(Mirror::new(sides, size)?);
    Ok((Arc::new(Mapped::over(mirror.clone())), Some(mirror), health))
}

fn layout(plan: &Plan) -> Layout {
    match plan.plexes.as_slice() {
        [] => Layout::Simple,
        [only] => match only.layout {
            ComponentLayout::Striped => Layout::Striped,
            ComponentLayout::Raid5 => Layout::Raid5,
            ComponentLayout::Spanned if only.columns.iter().flatten().count() > 1 => {
                Layout::Spanned
            }
            ComponentLayout::Spanned => Layout::Simple,
        },
        _ => Layout::Mirrored,
    }
}

fn membership_parts(plexes: &[Vec<Vec<Placed<'_>>>], sector: u64) -> Vec<MembershipPart> {
    let mut parts = Vec::new();
    for (plex, columns) in plexes.iter().enumerate() {
        for (column, placed) in columns.iter().enumerate() {
            for placed in placed {
                parts.push(MembershipPart {
                    name: placed.part.name.clone(),
                    plex,
                    column,
                    column_offset: placed.part.offset.saturating_mul(sector),
                    length: placed.length,
                    disk: placed.place.map(|(region, _)| region.disk),
                    offset: placed.place.map(|(_, start)| start),
                    disk_name: placed.part.disk_name.clone(),
                    disk_id: placed.part.disk_guid.clone(),
                    state: placed.state,
                });
            }
        }
    }
    parts
}

/// A drive letter as a folder's name: `E:` is `E`.
fn folder(hint: &str) -> String {
    hint.trim_end_matches(['\\', ':']).to_owned()
}
