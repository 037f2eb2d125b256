//! The projectors of this build.

use crate::folder::projector::Projector;

/// Every projector of this build, the best first; none on hosts without, or without the feature.
pub static PROJECTORS: &[&dyn Projector] = &[
    #[cfg(all(target_os = "linux", feature = "fuse"))]
    &crate::folder::fuse::Fuse,
    #[cfg(all(windows, feature = "winfsp"))]
    &crate::folder::winfsp::WinFsp::NEW,
    #[cfg(all(windows, feature = "dokan"))]
    &crate::folder::dokan::Dokan::NEW,
];
