//! The volume managers of this build.

use super::VolumeManager;
use super::ldm::Ldm;
use super::lvm::Lvm;
use super::md::Md;

/// Every volume manager of this build, in the order asked, and in which their groups are joined: what
/// lies in the volumes of others comes after them. Regions that no manager claims are basic volumes.
pub static MANAGERS: &[&dyn VolumeManager] = &[&Ldm, &Md, &Lvm];
