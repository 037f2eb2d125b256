//! What an image format is.

use std::sync::Arc;

use crate::locator::Located;
use volfold_block::{BlockDevice, BlockResult, CachePool, Confidence, Finding};

pub mod raw;
#[cfg(feature = "vmdk")]
pub mod vmdk;

/// An opened disk image.
pub struct DiskImage {
    /// The virtual disk.
    pub device: Arc<dyn BlockDevice>,
    /// The [`ImageFormat::id`].
    pub format: &'static str,
    /// The format's own name for the variant, `monolithicSparse` for example.
    pub variant: Option<String>,
    /// The names of the files of a snapshot chain, the given image first, then its parents.
    /// Just the image where there is no parent.
    pub chain: Vec<String>,
    /// Whether most of its bytes are decoded, and come out of the cache when they are read again.
    pub is_decoded: bool,
    /// What is wrong with the image though it could be opened.
    pub findings: Vec<Finding>,
}

/// One image format.
pub trait ImageFormat: Send + Sync {
    /// The lower-case name: `vmdk`.
    fn id(&self) -> &'static str;

    /// What the format is called in tables: `VMDK (hosted)`.
    fn title(&self) -> &'static str;

    /// The ends of names that such files have, in lower case and without the dot: `vmdk`.
    fn extensions(&self) -> &'static [&'static str];

    /// Looks at the first bytes of `file`.
    ///
    /// # Errors
    /// Only if they cannot be read; a strange file is [`Confidence::No`].
    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence>;

    /// Opens the image in `file`, which messages call `name`, with the other files it names.
    /// What is expensive to decode is kept in `cache`.
    ///
    /// # Errors
    /// Why the image cannot be read.
    fn open(&self, file: &Located, cache: &Arc<CachePool>) -> BlockResult<DiskImage>;
}
