//! From records to the geometry of volumes: who lies where, and whether that can be.

use std::collections::BTreeMap;

use super::database::Database;
use super::problems::Problems;
use super::record::{Component, ComponentLayout, Extent, Volume};

/// LIMIT: columns of a component; Windows allows 32.
const MAX_COLUMNS: u64 = 256;

/// Flags of a partition: its bytes are not what they should be.
const PARTITION_STALE: u32 = 0x08 | 0x10;

/// Flags of a component: recover, failed, pending.
const COMPONENT_STALE: u32 = 0x02 | 0x04 | 0x08;

/// One partition of a plan; sizes in sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) disk_name: String,
    pub(super) disk_guid: String,
    /// From the disk's `public_start`.
    pub(super) start: u64,
    /// In its column.
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Why its bytes are not to be trusted.
    pub(super) stale: Option<String>,
}

/// One component of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plex {
    pub(super) layout: ComponentLayout,
    /// In sectors; 0 where there are no columns.
    pub(super) chunk: u64,
    pub(super) columns: Vec<Vec<Part>>,
    /// In sectors, as much as the volume needs.
    pub(super) size: u64,
}

/// One volume as the database describes it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) guid: String,
    pub(super) hint: Option<String>,
    /// In sectors.
    pub(super) size: u64,
    pub(super) plexes: Vec<Plex>,
    /// What contradicts itself, so that no byte can be told for sure.
    pub(super) refused: Option<String>,
    /// What is odd and changes no place.
    pub(super) notes: Vec<String>,
}

impl Plan {
    /// Whether both put the same bytes of the same disks in the same places.
    pub(super) fn same_geometry(&self, other: &Self) -> bool {
        self.size == other.size
            && self.plexes == other.plexes
            && self.refused.is_some() == other.refused.is_some()
    }
}

/// The volumes of `database`, by the ids of their records.
pub(super) fn plans(database: &Database, problems: &mut Problems) -> BTreeMap<u64, Plan> {
    let mut components: BTreeMap<u64, Vec<&Component>> = BTreeMap::new();
    for component in database.components.values() {
        components.entry(component.volume).or_default().push(component);
    }
    let mut partitions: BTreeMap<u64, Vec<&Extent>> = BTreeMap::new();
    for partition in database.partitions.values() {
        partitions.entry(partition.component).or_default().push(partition);
    }
    for id in components.keys().filter(|id| !database.volumes.contains_key(id)) {
        problems.add(format!("a component belongs to volume {id:#x}, which is not there"));
    }
    for id in partitions.keys().filter(|id| !database.components.contains_key(id)) {
        problems.add(format!("a partition belongs to component {id:#x}, which is not there"));
    }
    let overlapping = overlapping(database);
    let mut plans: BTreeMap<u64, Plan> = BTreeMap::new();
    let mut by_guid: BTreeMap<String, u64> = BTreeMap::new();
    for (id, volume) in &database.volumes {
        let own = components.get(id).map(Vec::as_slice).unwrap_or_default();
        let notes = Vec::new();
        let planner =
            Planner { database, partitions: &partitions, overlapping: &overlapping, notes };
        let mut plan = planner.volume(volume, own);
        if let Some(first) = by_guid.insert(plan.guid.clone(), *id) {
            refuse(&mut plan, "another volume has the same id");
            if let Some(first) = plans.get_mut(&first) {
                refuse(first, "another volume has the same id");
            }
        }
        plans.insert(*id, plan);
    }
    plans
}

fn refuse(plan: &mut Plan, reason: &str) {
    plan.refused.get_or_insert_with(|| reason.to_owned());
}

/// The ids of partitions that share sectors of a disk, each with the name of another one.
fn overlapping(database: &Database) -> BTreeMap<u64, String> {
    let mut ordered: Vec<&Extent> = database.partitions.values().collect();
    ordered.sort_by_key(|extent| (extent.disk, extent.start, extent.common.id));
    let mut found = BTreeMap::new();
    let mut furthest: Option<&Extent> = None;
    let end = |extent: &Extent| extent.start.saturating_add(extent.size);
    for extent in ordered {
        let before = furthest.filter(|before| before.disk == extent.disk);
        if let Some(before) = before.filter(|before| extent.start < end(before)) {
            found.insert(before.common.id, extent.common.name.clone());
            found.insert(extent.common.id, before.common.name.clone());
        }
        if before.is_none_or(|before| end(extent) > end(before)) {
            furthest = Some(extent);
        }
    }
    found
}

struct Planner<'a> {
    database: &'a Database,
    partitions: &'a BTreeMap<u64, Vec<&'a Extent>>,
    overlapping: &'a BTreeMap<u64, String>,
    notes: Vec<String>,
}

impl Planner<'_> {
    fn volume(mut self, volume: &Volume, components: &[&Component]) -> Plan {
        let plexes: Result<Vec<Plex>, String> =
            components.iter().map(|component| self.plex(volume, component)).collect();
        let (plexes, mut refused) = match plexes {
            Ok(plexes) => (plexes, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        if components.is_empty() {
            refused = Some("it has no component".to_owned());
        } else if usize::try_from(volume.components).ok() != Some(components.len()) {
            self.notes.push(format!(
                "it has {} components and should have {}",
                components.len(),
                volume.components
            ));
        }
        if volume.size == 0 {
            refused = Some("its size is 0".to_owned());
        }
        if volume.state != "ACTIVE" {
            self.notes.push(format!("its state is {:?}", volume.state));
        }
        if volume.flags & 0x04 != 0 {
            self.notes.push("it is marked as crashed".to_owned());
        }
        Plan {
            name: volume.common.name.clone(),
            guid: volume.guid.clone(),
            hint: volume.hint.clone(),
            size: volume.size,
            plexes,
            refused,
            notes: self.notes,
        }
    }

    fn plex(&mut self, volume: &Volume, component: &Component) -> Result<Plex, String> {
        let name = &component.common.name;
        let own = self.partitions.get(&component.common.id).map(Vec::as_slice).unwrap_or_default();
        if own.is_empty() {
            return Err(format!("component {name} has no partition"));
        }
        if usize::try_from(component.partitions).ok() != Some(own.len()) {
            self.notes.push(format!(
                "component {name} has {} partitions and should have {}",
                own.len(),
                component.partitions
            ));
        }
        let count = match component.layout {
            ComponentLayout::Spanned => 1,
            _ => component.columns,
        };
        if count == 0 || count > MAX_COLUMNS {
            return Err(format!("component {name} has {count} columns"));
        }
        let count = usize::try_from(count).map_err(|error| error.to_string())?;
        let mut columns = vec![Vec::new(); count];
        for extent in own {
            let part = self.part(component, extent)?;
            let column = match component.layout {
                ComponentLayout::Spanned => 0,
                _ => usize::try_from(extent.column).unwrap_or(usize::MAX),
            };
            let place = columns.get_mut(column);
            place.ok_or_else(|| format!("partition {} is in no column", part.name))?.push(part);
        }
        let mut shortest = u64::MAX;
        for column in &mut columns {
            shortest = shortest.min(tile(name, column)?);
        }
        let held = self.held(component, shortest, byte_count(count))?;
        if held < volume.size {
            return Err(format!("it is larger than component {name}"));
        }
        if held > volume.size {
            self.notes.push(format!("component {name} holds more than the volume"));
        }
        let chunk = if count == 1 && component.layout == ComponentLayout::Spanned {
            0
        } else {
            component.chunk
        };
        Ok(Plex { layout: component.layout, chunk, columns, size: volume.size })
    }

    /// The sectors that a component can hold whose shortest column has `shortest`.
    fn held(&mut self, component: &Component, shortest: u64, count: u64) -> Result<u64, String> {
        let name = &component.common.name;
        if component.layout == ComponentLayout::Spanned {
            return Ok(shortest);
        }
        let chunk = component.chunk;
        if chunk == 0 {
            return Err(format!("component {name} has chunks of no size"));
        }
        if !chunk.is_power_of_two() {
            self.notes.push(format!("component {name} has chunks of {chunk} sectors"));
        }
        let data = match component.layout {
            ComponentLayout::Raid5 if count < 3 => {
                return Err(format!("component {name} is RAID-5 of {count} columns"));
            }
            ComponentLayout::Raid5 => count.saturating_sub(1),
            _ => count,
        };
        let rows = shortest.checked_div(chunk).unwrap_or(0);
        let held = rows.checked_mul(chunk).and_then(|column| column.checked_mul(data));
        held.ok_or_else(|| format!("component {name} is too large"))
    }

    fn part(&mut self, component: &Component, extent: &Extent) -> Result<Part, String> {
        let name = extent.common.name.clone();
        if let Some(other) = self.overlapping.get(&extent.common.id) {
            return Err(format!("partition {name} overlaps {other}"));
        }
        if extent.size == 0 {
            return Err(format!("partition {name} is empty"));
        }
        let disk = self.database.disks.get(&extent.disk);
        let disk = disk.ok_or_else(|| format!("partition {name} is on a disk without a record"))?;
        let stale = if component.state != "ACTIVE" {
            Some(format!("component {} is {}", component.common.name, component.state))
        } else if component.flags & COMPONENT_STALE != 0 {
            Some(format!("component {} is marked as not current", component.common.name))
        } else if extent.flags & PARTITION_STALE != 0 {
            Some(format!("partition {name} is marked as not current"))
        } else {
            None
        };
        Ok(Part {
            name,
            disk_name: disk.common.name.clone(),
            disk_guid: disk.guid.clone(),
            start: extent.start,
            offset: extent.offset,
            size: extent.size,
            stale,
        })
    }
}

/// Orders the parts of a column and checks that they lie one after the other; its size.
fn tile(component: &str, column: &mut [Part]) -> Result<u64, String> {
    column.sort_by_key(|part| part.offset);
    let mut end = 0_u64;
    for part in column.iter() {
        if part.offset != end {
            return Err(format!("component {component} has a gap before partition {}", part.name));
        }
        end = end.checked_add(part.size).ok_or("it is too large")?;
    }
    if end == 0 {
        return Err(format!("component {component} has an empty column"));
    }
    Ok(end)
}

fn byte_count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
