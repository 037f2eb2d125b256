//! Which file of the host a handle is of.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// What tells a file from all others of the host, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileIdentity {
    /// Device and file number.
    #[cfg(unix)]
    Number(u64, u64),
    /// Its real path, where the host does not tell more.
    Path(PathBuf),
}

impl FileIdentity {
    /// The identity of the file at `path`, whose handle gave `metadata`.
    pub(super) fn of(metadata: &Metadata, path: &Path) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let _ = path;
            Self::Number(metadata.dev(), metadata.ino())
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            Self::named(path)
        }
    }

    /// The identity of what is known by its path alone.
    pub(super) fn named(path: &Path) -> Self {
        Self::Path(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()))
    }
}
