//! The image formats of this build.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, CachePool, surest};

use crate::format::raw::Raw;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;

/// Every image format of this build, in the order asked.
pub static FORMATS: &[&dyn ImageFormat] = &[
    #[cfg(feature = "vmdk")]
    &crate::format::vmdk::Vmdk,
    &Raw,
];

/// The format that is surest of `file`; the first of equals.
///
/// # Errors
/// If the file cannot be read.
pub fn detect(file: &dyn BlockDevice) -> BlockResult<&'static dyn ImageFormat> {
    let best = surest(FORMATS, |format| format.probe(file))?;
    best.map(|(_, format)| format)
        .ok_or_else(|| BlockError::unsupported("file has no known image format"))
}

/// Detects the format of `file` and opens the image.
///
/// # Errors
/// Why the file is no image or cannot be read.
pub fn open(file: &Located, cache: &Arc<CachePool>) -> BlockResult<DiskImage> {
    detect(&*file.device)?.open(file, cache)
}

/// Detects the format of `file`, and asks what the image says of its parts and its parent.
///
/// # Errors
/// Why the file is no image or cannot be read.
pub fn lineage(file: &Located) -> BlockResult<Option<Lineage>> {
    detect(&*file.device)?.lineage(file)
}
