//! The image formats of this build.

use std::sync::Arc;

use volfold_block::{BlockError, BlockResult, CachePool};

use crate::backup::BackupFormat;
use crate::context::{self, ImageContext};
use crate::format::raw::Raw;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;

/// Every image format of this build, in the order asked.
pub static FORMATS: &[&dyn ImageFormat] = &[
    #[cfg(feature = "vmdk")]
    &crate::format::vmdk::Vmdk,
    &crate::format::vdi::Vdi,
    #[cfg(feature = "qcow2")]
    &crate::format::qcow2::Qcow2,
    #[cfg(feature = "qcow2")]
    &crate::format::qed::Qed,
    &crate::format::parallels::Parallels,
    &crate::format::vhd::Vhd,
    &crate::format::vhdx::Vhdx,
    #[cfg(feature = "ewf")]
    &crate::format::ewf::Ewf,
    #[cfg(feature = "dmg")]
    &crate::format::dmg::Dmg,
    &Raw,
];

/// Every format of backups of this build, in the order asked.
pub static BACKUPS: &[&dyn BackupFormat] = &[
    #[cfg(feature = "backup")]
    &crate::backup::Vma,
    #[cfg(feature = "backup")]
    &crate::backup::Xva,
];

/// A way in which a file may be compressed, whatever image it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Compression {
    /// Its id.
    pub id: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What the names of such files end in, in lower case.
    pub extensions: &'static [&'static str],
}

/// Those of this build.
#[cfg(not(feature = "compressed"))]
pub static COMPRESSIONS: &[Compression] = &[];

/// Those of this build.
#[cfg(feature = "compressed")]
pub static COMPRESSIONS: &[Compression] = &[
    Compression { id: "gzip", title: "gzip", extensions: &["gz"] },
    Compression { id: "bzip2", title: "bzip2", extensions: &["bz2"] },
    Compression { id: "xz", title: "xz", extensions: &["xz"] },
    Compression { id: "zstd", title: "Zstandard", extensions: &["zst", "zstd"] },
];

impl ImageContext {
    /// Opens images of all formats of this build. What is expensive to decode is kept in `cache`.
    pub fn new(cache: &Arc<CachePool>) -> Self {
        Self::of(FORMATS, cache)
    }
}

/// The format of `file`: of those whose mark it has the one that its name is of, else the one that is
/// surest.
///
/// # Errors
/// If the file cannot be read.
pub fn detect(file: &Located) -> BlockResult<&'static dyn ImageFormat> {
    context::detect(FORMATS, file)?
        .ok_or_else(|| BlockError::unsupported("file has no known image format"))
}

/// Detects the format of `file` and opens the image.
///
/// # Errors
/// Why the file is no image or cannot be read.
pub fn open(file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
    detect(file)?.open(file, context)
}

/// Detects the format of `file`, and asks what the image says of its parts and its parent.
///
/// # Errors
/// Why the file is no image or cannot be read.
pub fn lineage(file: &Located) -> BlockResult<Option<Lineage>> {
    detect(file)?.lineage(file)
}

/// Opens the image in `file` as one of the format whose [`ImageFormat::id`] is `id`.
///
/// # Errors
/// `Unsupported`, with the ids that there are, if this build has no such format; or why the file
/// is no image of this format.
pub fn open_as(id: &str, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
    match FORMATS.iter().find(|format| format.id() == id) {
        Some(format) => format.open(file, context),
        None => {
            let backups = BACKUPS.iter().map(|format| format.id());
            let known: Vec<&str> =
                FORMATS.iter().map(|format| format.id()).chain(backups).collect();
            let known = known.join(", ");
            let line = format!("no image format is called {id}; there are {known}");
            Err(BlockError::unsupported(line))
        }
    }
}
