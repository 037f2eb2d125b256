//! The volume managers of this build.

use super::bitlocker::BitLocker;
use super::ldm::Ldm;
use super::luks::Luks;
use super::lvm::Lvm;
use super::md::Md;
use super::vss::Vss;
use super::{SnapshotManager, VolumeManager};

/// Every volume manager of this build, in the order asked, and in which their groups are joined: what
/// lies in the volumes of others comes after them. Regions that no manager claims are basic volumes.
pub static MANAGERS: &[&dyn VolumeManager] = &[&Ldm, &BitLocker, &Luks, &Md, &Lvm];

/// What looks for snapshots in the volumes that were found.
pub static SNAPSHOT_MANAGERS: &[&dyn SnapshotManager] = &[&Vss];
