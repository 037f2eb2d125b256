//! Bills of materials: what is installed, as tools for licences and vulnerabilities read it.
//!
//! The same disks give the same bytes: nothing is random, and the only time is that of
//! `SOURCE_DATE_EPOCH`, or the newest one at which a package was installed.

mod cyclonedx;
mod installed;
mod spdx;

pub(crate) use cyclonedx::cyclonedx;
pub(crate) use installed::Installed;
pub(crate) use spdx::spdx;
