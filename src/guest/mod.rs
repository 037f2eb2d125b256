//! What the files of a set say of the systems that are installed on it: read from the volumes, with
//! nothing mounted and nothing run.

mod arrangement;
mod fstab;
pub mod hive;
mod linux;
mod merged;
pub mod packages;
mod release;
mod system;
mod volume;
pub mod windows;

use std::sync::Arc;

pub use arrangement::Arrangement;
pub use system::{Family, GuestSystem, MountPoint, OsInfo, PackageSystem};
pub(crate) use volume::{GuestVolume, unread};

use crate::set::disk::Disk;
use crate::set::volume::SetVolume;

/// Looks for systems on `volumes`, those of `all` volumes of a set that can be read, on `disks`.
pub(crate) fn find(volumes: &[GuestVolume<'_>], all: &[Arc<SetVolume>], disks: &[Disk]) -> OsInfo {
    let mut info = OsInfo::default();
    linux::find(volumes, &mut info);
    windows::find(volumes, all, disks, &mut info);
    if let [only] = &mut info.systems[..] {
        only.is_default = Some(true);
    }
    info.systems.sort_by_key(|system| system.is_default != Some(true));
    info
}
