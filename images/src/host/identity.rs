//! Which file of the host a handle is of.

use std::path::{Path, PathBuf};

use volfold_block::FileId;

/// What tells a file from all others of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileIdentity {
    /// Whatever it is called.
    Id(FileId),
    /// Its real path, where the host does not tell more; by another name it is another file.
    Path(PathBuf),
}

impl FileIdentity {
    /// The identity of the file at `path`, of which the host tells `id`.
    pub(super) fn of(id: Option<FileId>, path: &Path) -> Self {
        let named =
            || Self::Path(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()));
        id.map_or_else(named, Self::Id)
    }
}
