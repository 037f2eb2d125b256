//! File-system drivers, and the registry of all this build knows.

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence, surest};

use crate::error::FsResult;
use crate::node::FileSystem;

/// Two views of one volume: the same bytes, by the way that suits them.
#[derive(Clone)]
pub struct VolumeReader {
    /// For file content: large reads, passed through.
    pub data: Arc<dyn BlockDevice>,
    /// For small structures that are read again: cached.
    pub metadata: Arc<dyn BlockDevice>,
}

impl VolumeReader {
    /// Both views are `device` itself.
    pub fn uncached(device: Arc<dyn BlockDevice>) -> Self {
        Self { data: device.clone(), metadata: device }
    }
}

/// What tells one volume from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The volume label, `None` if empty.
    pub label: Option<String>,
    /// Serial number or UUID, as blkid writes it.
    pub uuid: Option<String>,
}

/// What one may choose when a volume is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Lists the files that hold the file system itself, where it has such: `$MFT` of NTFS and the
    /// others.
    pub system_files: bool,
}

/// One kind of file system.
pub trait FileSystemDriver: Send + Sync {
    /// The lower-case name: `ntfs`.
    fn id(&self) -> &'static str;

    /// What it is called in tables: `NTFS`.
    fn title(&self) -> &'static str;

    /// Looks at the first bytes of `volume`.
    ///
    /// # Errors
    /// Only if they cannot be read; a strange volume is [`Confidence::No`].
    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence>;

    /// Reads label and id; folder names need them before anybody enters the volume, so a driver
    /// that can reads just the few sectors that hold them.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let file_system = self.mount(volume)?;
        let info = file_system.info();
        Ok(Identity { label: info.label.clone(), uuid: info.uuid.clone() })
    }

    /// Reads the file system's root structures.
    ///
    /// # Errors
    /// Why the file system cannot be read.
    fn mount(&self, volume: VolumeReader) -> FsResult<Arc<dyn FileSystem>>;

    /// The same with `options`; a driver heeds those that mean something to it.
    ///
    /// # Errors
    /// Why the file system cannot be read.
    fn mount_with(
        &self,
        volume: VolumeReader,
        options: MountOptions,
    ) -> FsResult<Arc<dyn FileSystem>> {
        let MountOptions { system_files: _ } = options;
        self.mount(volume)
    }
}

/// Every file-system driver of this build, in the order asked.
pub static DRIVERS: &[&dyn FileSystemDriver] = &[
    #[cfg(feature = "ntfs")]
    &crate::ntfs::NtfsDriver,
    #[cfg(feature = "fat")]
    &crate::fat::FatDriver,
    #[cfg(feature = "ext4")]
    &crate::ext4::Ext4Driver,
];

/// The driver that is surest of `volume`; the first of equals, `None` if nobody knows it.
///
/// # Errors
/// If the volume cannot be read.
pub fn detect(volume: &dyn BlockDevice) -> FsResult<Option<&'static dyn FileSystemDriver>> {
    Ok(surest(DRIVERS, |driver| driver.probe(volume))?.map(|(_, driver)| driver))
}
