//! The raw image: the file is the disk.

use crate::device::BlockDevice;
use crate::error::BlockResult;
use crate::format::{Confidence, DiskImage, ImageFormat};
use crate::locator::Located;

/// Reads raw images (`dd`, `.img`, `.raw`, flat extents without their descriptor).
pub struct Raw;

impl ImageFormat for Raw {
    fn id(&self) -> &'static str {
        "raw"
    }

    fn title(&self) -> &'static str {
        "raw (flat, dd)"
    }

    fn probe(&self, _file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(Confidence::Fallback)
    }

    fn open(&self, file: &Located) -> BlockResult<DiskImage> {
        Ok(DiskImage {
            device: file.device.clone(),
            format: self.id(),
            variant: None,
            chain: vec![file.name.clone()],
            dear_block: None,
            findings: Vec::new(),
        })
    }
}
