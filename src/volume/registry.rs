//! The volume managers of this build.

use super::VolumeManager;
use super::ldm::Ldm;

/// Every volume manager of this build, in the order asked. Regions that no manager claims are basic
/// volumes.
pub static MANAGERS: &[&dyn VolumeManager] = &[&Ldm];
