//! Machines that are packed into one file (`.ova`): a tar archive of a descriptor and disks, which are
//! read where they lie in it.
//!
//! Specification: DMTF DSP0243, section 5.3: the descriptor comes first. Archives without one stand for
//! the images in them.

use std::path::Path;

use volfold_block::{BlockError, BlockResult};
use volfold_images::{TarArchive, host};

use super::options::OpenOptions;
use crate::source::{SourceFile, SourceLog};

/// A packed machine.
pub(super) struct Ova {
    pub(super) archive: TarArchive,
    /// Why not all of the archive can be told.
    pub(super) damage: Option<BlockError>,
    /// The file of the host that it is.
    pub(super) sources: Vec<SourceFile>,
}

impl Ova {
    /// The packed machine at `path`; `None` if it is not called so, or is no archive.
    pub(super) fn at(path: &Path, options: &OpenOptions) -> Option<BlockResult<Self>> {
        let is_called_so = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("ova"));
        if options.format.is_some() || !is_called_so {
            return None;
        }
        let read = || {
            let mut file = host::open_image_file(path, &options.allowed)?;
            let sources = SourceLog::of(&mut file).files();
            let archive = TarArchive::read(&file)?;
            Ok(archive.map(|(archive, damage)| Self { archive, damage, sources }))
        };
        read().transpose()
    }
}
