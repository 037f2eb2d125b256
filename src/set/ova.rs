//! Machines that are packed into one file (`.ova`): a tar archive of a descriptor and disks, which are
//! read where they lie in it.
//!
//! Specification: DMTF DSP0243, section 5.3: the descriptor comes first. Archives without one stand for
//! the images in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_block::{BlockError, BlockResult, CachePool};
use volfold_images::{Located, Locator, TarArchive, host};

use super::disk::DiskFailure;
use super::opening::{Opened, Opening};
use super::options::OpenOptions;
use crate::machine;
use crate::source::{SourceFile, SourceLog};

/// A packed machine.
pub(super) struct Ova {
    archive: TarArchive,
    /// Why not all of the archive can be told.
    damage: Option<BlockError>,
    /// The file of the host that it is.
    sources: Vec<SourceFile>,
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

impl Opening {
    /// Adds the disks in `ova`, which is the file at `path`.
    pub(super) fn add_ova(
        &mut self,
        path: &Path,
        ova: Ova,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> BlockResult<()> {
        let Ova { archive, damage, sources } = ova;
        if let Some(error) = damage {
            self.fail(DiskFailure { path: path.to_path_buf(), error });
        }
        let open = |path: &Path, file: BlockResult<Located>, is_given, options: &OpenOptions| {
            Opened::of(path, is_given, file, options, pool).also_of(&sources)
        };
        let names = archive.names();
        let mut descriptors =
            names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".ovf"));
        let Some(descriptor) = descriptors.next() else {
            let members: Vec<PathBuf> = names.iter().map(|name| path.join(name)).collect();
            return self.add_folder("archive", &members, &|member| {
                let name = member.strip_prefix(path).unwrap_or(member);
                open(member, archive.open(name), false, options)
            });
        };
        let file = archive.open(Path::new(descriptor))?;
        let read = machine::read(&file, Path::new(descriptor), options.snapshot.as_deref());
        let machine = read.ok_or_else(|| BlockError::missing("archive has no descriptor"))?;
        let machine = machine.map_err(|error| error.within(descriptor))?;
        let given = |file: Located, options: &OpenOptions| {
            open(&PathBuf::from(&file.name), Ok(file), true, options)
        };
        self.add_machine(path, &machine, &file, options, &given);
        Ok(())
    }
}
