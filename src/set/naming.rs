//! From volumes that were found to volumes with names: label and id, the folder, and the others of
//! the set.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use volfold_block::{CachePool, Finding, SectorCache, error_chain};
use volfold_fs::{Identity, OtherVolumes, ReadOptions, VolumeReader, VolumeRole};

use super::disk::Disk;
use super::volume::SetVolume;
use crate::discover::Discovered;
use crate::guest::GuestSystem;
use crate::volume::{Volume, VolumeExtent, VolumeId, VolumeType};

/// Bytes of metadata that are read and kept at once.
const METADATA_BLOCK: u32 = 32 << 10;

/// Longest folder name in bytes; hosts allow 255.
const MAX_NAME: usize = 200;

/// The two views of a volume. Decoded blocks are cached below the volume already.
fn reader(volume: &Volume, disks: &[Disk], pool: &Arc<CachePool>) -> VolumeReader {
    let is_cached = |extent: &VolumeExtent| disks.get(extent.disk).is_some_and(|disk| disk.cached);
    let data = volume.device.clone();
    // What is decrypted is kept by nobody below.
    if volume.kind != VolumeType::Encrypted && volume.extents.iter().all(is_cached) {
        VolumeReader::uncached(data)
    } else {
        let metadata = Arc::new(SectorCache::new(pool, data.clone(), METADATA_BLOCK));
        VolumeReader::new(data, metadata)
    }
}

/// Gives every volume its folder name: drive letter, else label, else place; unique by a suffix in
/// the order of disks and places.
pub(super) fn name_volumes(
    discovered: Vec<Discovered>,
    disks: &[Disk],
    pool: &Arc<CachePool>,
    options: &ReadOptions,
    findings: &mut Vec<Finding>,
) -> Vec<Arc<SetVolume>> {
    let mut volumes: Vec<SetVolume> = Vec::new();
    for Discovered { volume, mut driver, mut reason, mut is_left_out } in discovered {
        let reader = reader(&volume, disks, pool);
        let mut identity = Identity::default();
        if let Some(known) = driver {
            match known.identify(reader.clone()) {
                Ok(found) => {
                    if found.role == VolumeRole::Journal {
                        driver = None;
                        reason = Some("journal of a file system on another volume".to_owned());
                    }
                    identity = found;
                }
                Err(error) => {
                    let line = format!("{} cannot be read: {}", known.title(), error_chain(&error));
                    let code = error.kind().code_of_unopened();
                    findings.push(Finding::error(code, line.clone()).on_volume(&volume.id.0));
                    reason = Some(line);
                    is_left_out = true;
                }
            }
        }
        let known = volume.hint.as_deref().or(identity.label.as_deref());
        let name = known.map(folder_name).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| folder_name(&volume.fallback_name));
        volumes.push(SetVolume {
            volume,
            name,
            identity,
            reason,
            is_left_out,
            letter: None,
            called: Vec::new(),
            opened: OnceLock::new(),
            tree: OnceLock::new(),
            driver,
            reader,
            options: options.clone(),
            is_deleted: false,
        });
    }
    let mut all: Vec<&mut SetVolume> = volumes.iter_mut().collect();
    name_snapshots(&mut all, &HashSet::new());
    make_names_unique(&mut all);
    introduce(&mut volumes);
    volumes.into_iter().map(Arc::new).collect()
}

/// Calls `volumes` as the systems on them do, where one does and no other disagrees: by the letter of a
/// drive (`C`), or by the directory (`boot-efi`). No other volume gets one of the names `taken`, in lower case.
pub(super) fn name_as_guests_do(
    volumes: &mut [Arc<SetVolume>],
    systems: &[GuestSystem],
    taken: &HashSet<String>,
) {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let points = systems.iter().flat_map(|system| &system.mount_points);
    let points: Vec<_> = points.filter(|point| point.reason.is_none()).collect();
    // A directory of a drive is no name of a folder.
    for point in points.iter().filter(|point| !point.path.contains('\\')) {
        if let Some(id) = &point.volume {
            names.entry(id).or_default().insert(&point.path);
            users.entry(&point.path).or_default().insert(id);
        }
    }
    // They were made just now, and nobody else has them.
    let mut all: Vec<&mut SetVolume> = volumes.iter_mut().filter_map(Arc::get_mut).collect();
    let mut taken = taken.clone();
    let mut own = HashSet::new();
    for volume in &mut all {
        let called = points.iter().filter(|point| point.volume.as_deref() == Some(volume.id()));
        let called = called.filter(|point| point.source.starts_with("Volume{"));
        let called: Vec<String> = called.map(|point| point.source.clone()).collect();
        volume.called = called;
        let paths = names.get(volume.id()).map(|paths| paths.iter().collect::<Vec<_>>());
        let Some([path]) = paths.as_deref() else { continue };
        let is_only = users.get(**path).is_some_and(|users| users.len() == 1);
        let name = folder_name(&guest_name(path));
        if is_only && !name.is_empty() {
            volume.letter = path.ends_with(':').then(|| (**path).to_owned());
            own.insert(volume.id().to_owned());
            taken.insert(name.to_lowercase());
            volume.name = name;
        }
    }
    name_snapshots(&mut all, &own);
    for volume in all.iter_mut().filter(|volume| !own.contains(volume.id())) {
        let mut free = (2_u32..).map(|number| format!("{}-{number}", volume.name));
        if taken.contains(&volume.name.to_lowercase())
            && let Some(name) = free.find(|name| !taken.contains(&name.to_lowercase()))
        {
            volume.name = name;
        }
    }
    make_names_unique(&mut all);
}

/// `C` for `C:`, `boot-efi` for `/boot/efi`; nothing for `/`, whose label says more.
pub(super) fn guest_name(path: &str) -> String {
    path.trim_matches('/').trim_end_matches(':').replace('/', "-")
}

/// The volumes of a set by their UUIDs, for file systems that lie on several.
struct ByUuid(BTreeMap<String, Vec<VolumeReader>>);

impl OtherVolumes for ByUuid {
    fn by_uuid(&self, uuid: &str) -> Vec<VolumeReader> {
        self.0.get(uuid).cloned().unwrap_or_default()
    }
}

/// Lets every volume ask for the others.
fn introduce(volumes: &mut [SetVolume]) {
    let mut known: BTreeMap<String, Vec<VolumeReader>> = BTreeMap::new();
    for volume in volumes.iter() {
        // A shadow copy has the UUID of its volume, and is no other one.
        let own = volume.identity.uuid.as_ref();
        if let Some(uuid) = own.filter(|_| volume.volume.kind != VolumeType::ShadowCopy) {
            known.entry(uuid.clone()).or_default().push(volume.reader.clone());
        }
    }
    let others: Arc<dyn OtherVolumes> = Arc::new(ByUuid(known));
    for volume in volumes {
        volume.reader = volume.reader.clone().with_others(others.clone());
    }
}

/// A snapshot is called as the volume it was taken of, with its own name or its time:
/// `NAME@2025-06-01T120000Z`.
///
/// Those of the ids `named` have names already.
fn name_snapshots(volumes: &mut [&mut SetVolume], named: &HashSet<String>) {
    let names: BTreeMap<VolumeId, String> =
        volumes.iter().map(|volume| (volume.volume.id.clone(), volume.name.clone())).collect();
    for volume in volumes.iter_mut().filter(|volume| !named.contains(volume.id())) {
        if let Some(snapshot) = &volume.volume.snapshot {
            let base = names.get(&snapshot.of).unwrap_or(&volume.name);
            volume.name = folder_name(&format!("{base}@{}", snapshot.suffix()));
        }
    }
}

/// A label, or a name of a volume manager, as a folder name that every host accepts.
fn folder_name(label: &str) -> String {
    let mut name = String::new();
    for character in label.trim().chars() {
        let bad = character.is_control() || r#"/\:*?"<>|"#.contains(character);
        if name.len() + character.len_utf8() > MAX_NAME {
            break;
        }
        name.push(if bad { '_' } else { character });
    }
    let name = name.trim_end_matches(['.', ' ']);
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let taken = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str())
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|digit: char| digit.is_ascii_digit()));
    // The name of the folder in which a mount shows disks and volumes as files.
    let taken = taken || name.eq_ignore_ascii_case(".raw");
    if taken { format!("{name}_") } else { name.to_owned() }
}

/// Twins get `-2`, `-3` ... in the order of their disks and places; names that differ in case only
/// are twins.
fn make_names_unique(volumes: &mut [&mut SetVolume]) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        by_name.entry(volume.name.to_lowercase()).or_default().push(index);
    }
    let mut taken: HashSet<String> = by_name.keys().cloned().collect();
    // What is called like the id of another volume would mean two things.
    let ids: BTreeSet<String> = volumes.iter().map(|volume| volume.id().to_lowercase()).collect();
    taken.extend(ids.iter().cloned());
    for mut twins in by_name.into_values() {
        twins.sort_by_cached_key(|index| {
            let volume = &volumes[*index].volume;
            let first = volume.extents.first().map(|extent| (extent.disk, extent.offset));
            (first.is_none(), first, volume.id.clone())
        });
        let first = twins.first().copied();
        let is_taken = |index: &usize| {
            let name = volumes[*index].name.to_lowercase();
            let is_own = name == volumes[*index].id().to_lowercase();
            !is_own && ids.contains(&name)
        };
        let to_change: Vec<usize> =
            twins.into_iter().filter(|index| Some(*index) != first || is_taken(index)).collect();
        for index in to_change {
            let base = volumes[index].name.clone();
            let free = (2_u32..)
                .map(|n| format!("{base}-{n}"))
                .find(|name| taken.insert(name.to_lowercase()));
            if let Some(name) = free {
                volumes[index].name = name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_becomes_a_name_that_every_host_accepts() {
        for (label, name) in [
            ("System", "System"),
            ("a/b:c", "a_b_c"),
            ("..", ""),
            ("trailing. ", "trailing"),
            ("con", "con_"),
            ("COM1.x", "COM1.x_"),
            (".Raw", ".Raw_"),
            ("ldm-../x", "ldm-.._x"),
            ("\u{1}\u{202e}x", "_\u{202e}x"),
        ] {
            assert_eq!(folder_name(label), name, "{label:?}");
        }
    }
}
