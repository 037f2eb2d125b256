//! All volumes of a set as one tree.

use volfold_fs::links::{Guest, VolumeNames};
use volfold_fs::{FsError, FsErrorKind, FsResult, VolumeTree};

use crate::monitor::Monitor;

use super::search::{Found, Search, first_part};

/// The readable volumes of a set, opened when they are entered and kept open from then on.
pub(crate) struct SetTree {
    pub(crate) files: VolumeTree,
    pub(crate) names: VolumeNames,
    /// The names of all volumes, and why there are no files.
    pub(crate) volumes: Vec<(String, Option<String>)>,
    /// What stops reads of the set.
    pub(crate) monitor: Monitor,
}

impl SetTree {
    /// What is at `path`.
    ///
    /// # Errors
    /// `NotFound`, why the volume has no files, or why something on the way cannot be read.
    pub(crate) fn find(&self, path: &[u8], follow: bool) -> FsResult<Found> {
        let found = Search::new(Guest::set(&self.files, &self.names), path).follow(follow).run();
        found.map_err(|error| match error.kind() {
            FsErrorKind::NotFound => self.why_no_volume(path).unwrap_or(error),
            _ => error,
        })
    }

    /// Why the volume that `path` begins with cannot be entered, if it cannot.
    fn why_no_volume(&self, path: &[u8]) -> Option<FsError> {
        let first = first_part(path);
        if first.is_empty() {
            return None;
        }
        let volume = self.volumes.iter().find(|(name, _)| name.as_bytes() == first);
        let Some((name, reason)) = volume else {
            let line = format!("the set has no volume {}", String::from_utf8_lossy(first));
            return Some(FsError::new(FsErrorKind::NotFound, line));
        };
        let reason = reason.as_ref()?;
        Some(FsError::unsupported(format!("volume {name} has no files: {reason}")))
    }
}
