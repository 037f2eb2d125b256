//! Backups of whole machines, each one file (`.vma`, `.xva`): every disk in it is a disk of the set.
//!
//! What is one is told by the content, unless the name says that it is a raw disk, which belongs to a
//! guest, who may write the mark of a backup into it.

use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockResult, CachePool};
use volfold_images::{BACKUPS, Backup, BackupFormat, host};

use super::options::OpenOptions;
use crate::image::{self, Whole};
use crate::source::{SourceFile, SourceLog};

/// A backup that was opened.
pub(super) struct OpenedBackup {
    pub(super) backup: Backup,
    /// The files of the host that it is.
    pub(super) sources: Vec<SourceFile>,
    /// Whether it was compressed.
    pub(super) is_unpacked: bool,
}

impl OpenedBackup {
    /// The backup at `path`; `None` if it is none.
    pub(super) fn at(
        path: &Path,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> Option<BlockResult<Self>> {
        let by_id = |id: &String| BACKUPS.iter().copied().find(|format| format.id() == id);
        let wanted = match &options.format {
            Some(id) => Some(by_id(id)?),
            None if image::is_called_raw(path) => return None,
            None => None,
        };
        Self::read(path, wanted, options, pool).transpose()
    }

    fn read(
        path: &Path,
        wanted: Option<&'static dyn BackupFormat>,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> BlockResult<Option<Self>> {
        // Why a file cannot be opened is said where it is opened as an image.
        let Ok(mut file) = host::open_image_file(path, &options.allowed) else { return Ok(None) };
        let log = SourceLog::of(&mut file, &options.monitor);
        let mut is_unpacked = false;
        if wanted.is_some() || is_called_so(path) {
            let whole = image::whole(file, path, None, pool)?;
            Whole { file, is_unpacked, .. } = whole;
        }
        let format = match wanted {
            Some(format) => Some(format),
            None => {
                let mut found = BACKUPS.iter().copied();
                found.find(|format| format.probe(&file).unwrap_or(false))
            }
        };
        let Some(format) = format else { return Ok(None) };
        let backup = format.open(&file, pool)?;
        Ok(Some(Self { backup, sources: log.files(), is_unpacked }))
    }
}

/// Whether the file at `path`, or what was cut or compressed into it, is called as backups are.
fn is_called_so(path: &Path) -> bool {
    let extension = image::inner_extension(path);
    // Some call an XVA export so.
    extension == "ova"
        || BACKUPS.iter().any(|format| format.extensions().contains(&extension.as_str()))
}
