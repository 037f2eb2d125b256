//! The volumes of a set, as they are looked at for systems.

use std::sync::Arc;

use volfold_block::{Finding, code, error_chain};
use volfold_fs::{FileSystem, FsError, TreeVolume};

use crate::set::volume::SetVolume;
use crate::volume::VolumeId;

/// A volume whose files are looked at.
pub(crate) struct GuestVolume<'a> {
    pub(crate) set: &'a SetVolume,
    pub(crate) files: Arc<dyn FileSystem>,
}

impl GuestVolume<'_> {
    pub(crate) fn id(&self) -> &VolumeId {
        &self.set.volume.id
    }

    /// It as a directory of a tree.
    pub(crate) fn directory(&self) -> TreeVolume {
        let files = self.files.clone();
        TreeVolume::new(self.set.name.clone(), move || Ok(files.clone()))
    }

    /// Tells that `what` could not be read, and why.
    pub(crate) fn unread(&self, what: &str, error: &FsError) -> Finding {
        unread(self.set, what, error)
    }
}

/// Tells that `what` could not be read on `volume`, and why.
pub(crate) fn unread(volume: &SetVolume, what: &str, error: &FsError) -> Finding {
    let line = format!("what is told of the system is incomplete: {what}: {}", error_chain(error));
    Finding::error(code::GUEST_UNREADABLE, line).on_volume(volume.id())
}
