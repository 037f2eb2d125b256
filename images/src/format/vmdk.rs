//! VMDK.

use crate::device::BlockDevice;
use crate::error::{BlockError, BlockResult};
use crate::format::{Confidence, DiskImage, ImageFormat};
use crate::locator::Located;

/// Reads VMDK images.
pub struct Vmdk;

impl ImageFormat for Vmdk {
    fn id(&self) -> &'static str {
        "vmdk"
    }

    fn title(&self) -> &'static str {
        "VMDK (hosted)"
    }

    fn probe(&self, _file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(Confidence::No)
    }

    fn open(&self, _file: &Located) -> BlockResult<DiskImage> {
        Err(BlockError::unsupported("VMDK is not there yet"))
    }
}
