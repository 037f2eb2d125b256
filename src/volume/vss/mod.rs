//! Volume shadow copies of Windows (VSS), as its own provider keeps them.
//!
//! A volume of NTFS has a header that leads to a *catalog*, which names the *shadow copies* of it. What was
//! written since a copy was taken is kept in its *store*, in blocks of 16 KiB: a copy is what its own store
//! kept, else what those of the newer copies kept, else the volume as it is. The way to it:
//!
//! | module    | structure                                     | found by                            |
//! |-----------|-----------------------------------------------|-------------------------------------|
//! | `catalog` | header of the volume, copies, places of stores | byte 0x1E00                        |
//! | `block`   | blocks of a list                              | the catalog                         |
//! | `store`   | block list and bitmaps                        | the catalog                         |
//! | `map`     | the volume as it was                          |                                     |
//!
//! The storage may be another volume, which is looked for in the set by the GUID of the store. Nothing has a
//! checksum, so all that contradicts itself is an error.

use std::sync::Arc;

use volfold_block::{Finding, Mapped, Severity, code, error_chain};

use self::catalog::{Catalog, CopyEntry, StoreEntry, VolumeHeader};
use self::map::CopyMap;
use self::store::Store;
use crate::volume::map::Absent;
use crate::volume::snapshot::{Snapshot, SnapshotTime};
use crate::volume::{Health, Layout, SnapshotManager, Volume, VolumeExtent, VolumeId, VolumeType};

mod block;
mod catalog;
mod map;
mod store;
#[cfg(test)]
mod tests;

/// The shadow copies of Windows.
pub struct Vss;

/// A volume that has a header, and its catalog.
struct Origin<'a> {
    volume: &'a Volume,
    header: VolumeHeader,
    catalog: Catalog,
}

/// A shadow copy whose store was looked for.
struct Copied<'a> {
    entry: CopyEntry,
    /// Or why there is none.
    store: Result<Placed<'a>, String>,
}

/// A store, and where the volume lies that it is on.
type Placed<'a> = (Arc<Store>, &'a [VolumeExtent]);

impl SnapshotManager for Vss {
    fn id(&self) -> &'static str {
        "vss"
    }

    fn title(&self) -> &'static str {
        "Windows shadow copies (VSS), also on another volume"
    }

    fn find(
        &self,
        volumes: &[&Volume],
        is_wanted: bool,
        findings: &mut Vec<Finding>,
    ) -> Vec<Volume> {
        let mut origins = Vec::new();
        for volume in volumes {
            match origin(volume) {
                Ok(origin) => origins.extend(origin),
                Err(line) => {
                    let severity = if is_wanted { Severity::Error } else { Severity::Info };
                    let line = format!("its shadow copies cannot be told: {line}");
                    let finding = Finding::new(severity, code::SHADOW_COPIES_DAMAGED, line);
                    findings.push(finding.on_volume(&volume.id.0));
                }
            }
        }
        let mut found = Vec::new();
        for origin in &origins {
            let copies = copies(origin, &origins);
            let shown = copies.iter().filter(|copy| !copy.entry.is_deleted()).count();
            if shown == 0 {
                continue;
            }
            if !is_wanted {
                findings.push(told(origin.volume, &copies));
                continue;
            }
            for index in 0..copies.len() {
                let Some((own, newer)) = copies.get(index..).and_then(<[_]>::split_first) else {
                    continue;
                };
                if !own.entry.is_deleted() {
                    found.push(volume(origin, own, newer, findings));
                }
            }
        }
        found
    }
}

/// What `volume` says of its shadow copies, if it has any.
fn origin(volume: &Volume) -> Result<Option<Origin<'_>>, String> {
    let device = &*volume.device;
    let header = match VolumeHeader::read(device) {
        Ok(Some(header)) if header.catalog != 0 => header,
        Ok(_) => return Ok(None),
        // A volume that cannot be read at all is told of by all others.
        Err(error) if error.position().is_none() => return Ok(None),
        Err(error) => return Err(error_chain(&error)),
    };
    let catalog = Catalog::read(device, header.catalog).map_err(|error| error_chain(&error))?;
    Ok(Some(Origin { volume, header, catalog }))
}

/// The copies of `origin`, the oldest first, with their stores on it or on one of `origins`.
fn copies<'a>(origin: &Origin<'a>, origins: &[Origin<'a>]) -> Vec<Copied<'a>> {
    let mut entries = origin.catalog.copies.clone();
    entries.sort_by_key(|entry| entry.position);
    let copied = |entry: CopyEntry| Copied { entry, store: store_of(origin, origins, &entry) };
    entries.into_iter().map(copied).collect()
}

fn store_of<'a>(
    origin: &Origin<'a>,
    origins: &[Origin<'a>],
    entry: &CopyEntry,
) -> Result<Placed<'a>, String> {
    let own =
        |catalog: &Catalog| catalog.stores.iter().find(|own| own.store == entry.store).copied();
    let open = |volume: &'a Volume, found: StoreEntry| {
        (Arc::new(Store::new(volume.device.clone(), found)), volume.extents.as_slice())
    };
    if let Some(found) = own(&origin.catalog) {
        return Ok(open(origin.volume, found));
    }
    let others = origins.iter().filter_map(|other| Some((other.volume, own(&other.catalog)?)));
    match others.collect::<Vec<_>>().as_slice() {
        [(volume, found)] => Ok(open(volume, *found)),
        [] => Err(format!(
            "what it kept lies on another volume, which is not in the set; give its disk too (shadow copy \
             storage {})",
            origin.header.storage
        )),
        several => {
            let ids: Vec<&str> = several.iter().map(|(volume, _)| volume.id.0.as_str()).collect();
            Err(format!(
                "several volumes have what it kept, as copies of a disk: {}",
                ids.join(", ")
            ))
        }
    }
}

/// When `entry` was taken.
fn time(entry: &CopyEntry) -> SnapshotTime {
    // FILETIME: 100 nanoseconds since 1601; the quotient is below 2^41.
    let seconds = i64::try_from(entry.created / 10_000_000).unwrap_or(i64::MAX);
    SnapshotTime(seconds.saturating_sub(11_644_473_600))
}

/// That `volume` has `copies`.
fn told(volume: &Volume, copies: &[Copied<'_>]) -> Finding {
    /// LIMIT: copies whose times are told; Windows has 64.
    const MAX_TOLD: usize = 64;
    let shown: Vec<_> = copies.iter().filter(|copy| !copy.entry.is_deleted()).collect();
    let times: Vec<String> =
        shown.iter().take(MAX_TOLD).map(|copy| time(&copy.entry).to_string()).collect();
    let plural = if shown.len() == 1 { "copy" } else { "copies" };
    let missing = shown.iter().filter(|copy| copy.store.is_err()).count();
    let missing = match missing {
        0 => String::new(),
        missing => format!("; what {missing} of them kept is not in the set"),
    };
    let line = format!(
        "has {} shadow {plural}, which --snapshots shows: {}{missing}",
        shown.len(),
        times.join(", ")
    );
    Finding::info(code::SHADOW_COPIES, line).on_volume(&volume.id.0)
}

/// `own` as a volume, with the `newer` ones that it needs.
fn volume(
    origin: &Origin<'_>,
    own: &Copied<'_>,
    newer: &[Copied<'_>],
    findings: &mut Vec<Finding>,
) -> Volume {
    let of = &origin.volume.id;
    let id = VolumeId(format!("{of}@{}", own.entry.store));
    let size = own.entry.size;
    let mut volume = Volume {
        fallback_name: format!("{}@{}", origin.volume.fallback_name, time(&own.entry)),
        id,
        hint: None,
        kind: VolumeType::ShadowCopy,
        layout: Layout::Snapshot,
        health: origin.volume.health,
        size,
        device: Arc::new(Absent::new(size, "shadow copy is not read")),
        extents: origin.volume.extents.clone(),
        partition: None,
        membership: None,
        redundancy: None,
        lock: None,
        snapshot: Some(Snapshot { of: of.clone(), name: None, time: Some(time(&own.entry)) }),
    };
    match stores(own, newer) {
        Ok(stores) => {
            for extent in stores.iter().flat_map(|(_, extents)| extents.iter()) {
                if !volume.extents.contains(extent) {
                    volume.extents.push(*extent);
                }
            }
            let stores = stores.into_iter().map(|(store, _)| store).collect();
            let map = CopyMap { base: origin.volume.device.clone(), size, stores };
            volume.device = Arc::new(Mapped::new(map));
        }
        Err(line) => {
            let finding = Finding::error(code::SHADOW_COPY_REFUSED, line.clone());
            findings.push(finding.on_volume(&volume.id.0));
            volume.health = Health::Failed;
            volume.device = Arc::new(Absent::new(size, line));
        }
    }
    volume
}

/// The stores that `own` is read of, or why it is not read.
fn stores<'a>(own: &Copied<'a>, newer: &[Copied<'a>]) -> Result<Vec<Placed<'a>>, String> {
    if own.entry.size == 0 {
        return Err("the catalog says that it has no byte".to_owned());
    }
    store::blocks(own.entry.size).map_err(|error| error_chain(&error))?;
    let mut stores = vec![own.store.clone()?];
    let mut position = own.entry.position;
    for copy in newer {
        // What a missing one kept would be taken from the volume as it is.
        if position.checked_add(1) != Some(copy.entry.position) {
            return Err(format!(
                "the catalog has no shadow copy between number {position} and {}, and that one has what \
                 this one needs",
                copy.entry.position
            ));
        }
        position = copy.entry.position;
        let of =
            |line: &String| format!("the newer copy of {} is needed: {line}", time(&copy.entry));
        stores.push(copy.store.clone().map_err(|line| of(&line))?);
    }
    Ok(stores)
}
