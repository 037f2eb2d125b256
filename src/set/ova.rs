//! Machines that are packed into one file (`.ova`): a tar archive of a descriptor and disks, which are
//! read where they lie in it.
//!
//! Specification: DMTF DSP0243, section 5.3: the descriptor comes first. Archives without one stand for
//! the images in them.

use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockError, BlockResult, CachePool};
use volfold_images::{TarArchive, host};

use super::options::OpenOptions;
use crate::image;
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
    pub(super) fn at(
        path: &Path,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> Option<BlockResult<Self>> {
        if options.format.is_some() || image::inner_extension(path) != "ova" {
            return None;
        }
        let read = || {
            let mut file = host::open_image_file(path, &options.allowed)?;
            let sources = SourceLog::of(&mut file, &options.monitor);
            let file = image::whole(file, path, None, pool)?.file;
            let archive = TarArchive::read(&file)?;
            // The description of an XVA export, which some call so too.
            let is_ova =
                |archive: &TarArchive| archive.names().iter().all(|name| name != "ova.xml");
            let archive = archive.filter(|(archive, _)| is_ova(archive));
            let sources = sources.files();
            Ok(archive.map(|(archive, damage)| Self { archive, damage, sources }))
        };
        read().transpose()
    }
}
