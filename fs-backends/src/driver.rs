//! File-system drivers, and the registry of all this build knows.

use std::sync::Arc;

use volfold_images::{BlockDevice, Confidence};

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
        Self {
            data: device.clone(),
            metadata: device,
        }
    }
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

    /// Reads the file system's root structures.
    ///
    /// # Errors
    /// Why the file system cannot be read.
    fn mount(&self, volume: VolumeReader) -> FsResult<Arc<dyn FileSystem>>;
}

/// Every file-system driver of this build, in the order asked.
pub static DRIVERS: &[&dyn FileSystemDriver] = &[];

/// The driver that is surest of `volume`; the first of equals, `None` if nobody knows it.
///
/// # Errors
/// If the volume cannot be read.
pub fn detect(volume: &dyn BlockDevice) -> FsResult<Option<&'static dyn FileSystemDriver>> {
    let mut best: Option<(Confidence, &'static dyn FileSystemDriver)> = None;
    for driver in DRIVERS {
        let confidence = driver.probe(volume)?;
        if confidence > best.map_or(Confidence::No, |(confidence, _)| confidence) {
            best = Some((confidence, *driver));
        }
    }
    Ok(best.map(|(_, driver)| driver))
}
