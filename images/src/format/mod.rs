//! Image formats, and the registry of all this build knows.

use std::sync::Arc;

use crate::locator::{Located, Locator};
use volfold_block::{BlockDevice, BlockError, BlockResult, Confidence, Finding, surest};

pub mod raw;
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
    /// If reads cost more than a read of the host (inflating, the network): the size in bytes of
    /// the block that is decoded at once, a power of two. The cache keeps such blocks decoded.
    pub dear_block: Option<u32>,
    /// What is wrong with the image though it could be opened; one sentence each, which begins
    /// with a code and a colon: `vmdk-cid-mismatch: ...`.
    pub findings: Vec<Finding>,
}

/// One image format.
pub trait ImageFormat: Send + Sync {
    /// The lower-case name: `vmdk`.
    fn id(&self) -> &'static str;

    /// What the format is called in tables: `VMDK (hosted)`.
    fn title(&self) -> &'static str;

    /// Looks at the first bytes of `file`.
    ///
    /// # Errors
    /// Only if they cannot be read; a strange file is [`Confidence::No`].
    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence>;

    /// Opens the image in `file`, which messages call `name`, with the other files it names.
    ///
    /// # Errors
    /// Why the image cannot be read.
    fn open(&self, file: &Located) -> BlockResult<DiskImage>;
}

/// Every image format of this build, in the order asked.
pub static FORMATS: &[&dyn ImageFormat] = &[&vmdk::Vmdk, &raw::Raw];

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
pub fn open(file: &Located) -> BlockResult<DiskImage> {
    detect(&*file.device)?.open(file)
}

/// Opens what `reference` names through `files`, and the image in it.
///
/// # Errors
/// As [`Locator::open`] and [`open`].
pub fn open_reference(files: &dyn Locator, reference: &std::path::Path) -> BlockResult<DiskImage> {
    open(&files.open(reference)?)
}
