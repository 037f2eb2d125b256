//! The registry of all file systems that this build knows.

use volfold_block::{BlockDevice, surest};

use crate::driver::FileSystemDriver;
use crate::error::FsResult;

/// Every file-system driver of this build, in the order asked.
pub static DRIVERS: &[&dyn FileSystemDriver] = &[
    #[cfg(feature = "ntfs")]
    &crate::ntfs::NtfsDriver,
    #[cfg(feature = "fat")]
    &crate::fat::FatDriver,
    #[cfg(feature = "ext4")]
    &crate::ext4::Ext4Driver,
    #[cfg(feature = "xfs")]
    &crate::xfs::XfsDriver,
    #[cfg(feature = "exfat")]
    &crate::exfat::ExfatDriver,
];

/// The driver that is surest of `volume`; the first of equals, `None` if no driver knows it. Where
/// the first bytes tell nothing, backups do.
///
/// # Errors
/// If the volume cannot be read.
pub fn detect(volume: &dyn BlockDevice) -> FsResult<Option<&'static dyn FileSystemDriver>> {
    let found = match surest(DRIVERS, |driver| driver.probe(volume))? {
        None => surest(DRIVERS, |driver| driver.probe_backup(volume))?,
        found => found,
    };
    Ok(found.map(|(_, driver)| driver))
}
