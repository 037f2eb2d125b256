//! What the files of a set say of the systems that are installed on it: read from the volumes, with
//! nothing mounted and nothing run.

mod arrangement;
mod crypttab;
mod discoverable;
mod fstab;
pub mod hive;
mod linux;
mod merged;
pub mod packages;
mod release;
mod system;
mod unit;
mod volume;
pub mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use volfold_block::{Finding, code};

pub use arrangement::Arrangement;
pub use system::{Family, GuestSystem, MountPoint, OsInfo, PackageSystem};
pub(crate) use volume::{GuestVolume, unread};

use crate::set::disk::Disk;
use crate::set::volume::SetVolume;

/// Looks for systems on `volumes`, those of `all` volumes of a set that can be read, on `disks`.
pub(crate) fn find(volumes: &[GuestVolume<'_>], all: &[Arc<SetVolume>], disks: &[Disk]) -> OsInfo {
    let mut info = OsInfo::default();
    linux::find(volumes, all, &mut info);
    windows::find(volumes, all, disks, &mut info);
    if let [only] = &mut info.systems[..] {
        only.is_default = Some(true);
    }
    info.systems.sort_by_key(|system| system.is_default != Some(true));
    note_shared_names(all, &mut info);
    info
}

/// Tells of letters and directories by which systems call different volumes, as those of clones do.
fn note_shared_names(all: &[Arc<SetVolume>], info: &mut OsInfo) {
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for system in &info.systems {
        // Every Linux has a root of its own. Of several volumes in one place the last is seen.
        let points = system.mount_points.iter().filter(|it| it.reason.is_none() && it.path != "/");
        let last: BTreeMap<&str, Option<&str>> =
            points.map(|point| (point.path.as_str(), point.volume.as_deref())).collect();
        for (path, volume) in last {
            users.entry(path).or_default().extend(volume);
        }
    }
    let name_of = |id: &str| all.iter().find(|volume| volume.id() == id).map(|it| it.name.as_str());
    let shared =
        users.into_iter().filter(|(_, volumes)| volumes.len() > 1).map(|(path, volumes)| {
            let names: Vec<&str> = volumes.iter().filter_map(|id| name_of(id)).collect();
            let names = names.join(", ");
            let line = format!("several volumes are {path}, each for another system: {names}");
            Finding::warning(code::GUEST_NAME_SHARED, line)
        });
    let shared: Vec<Finding> = shared.collect();
    info.findings.extend(shared);
}
