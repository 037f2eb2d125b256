//! Copies of what links lead to, in their place.

use std::ffi::OsStr;
use std::sync::mpsc::SyncSender;

use volfold_fs::{FileKind, FileSystem, FsError, FsErrorKind, Metadata, StreamName};

use super::copy::{Extraction, Job, Reason, special};
use super::links::MAX_PATH;
use super::place::{CopiedLink, Lineage, Place};
use crate::cli::walk::Visit;

impl Extraction<'_> {
    /// Copies what links lead to in their place, and the links that are met on it.
    pub(super) fn copy_links(&self, jobs: &SyncSender<Job>) {
        loop {
            let next = self.copies.lock().pop();
            let Some(link) = next.filter(|_| !self.stop.is_set()) else { return };
            if let Err(reason) = self.copy_link(&link, jobs) {
                self.fail(&link.path, reason);
            }
        }
    }

    fn copy_link(&self, link: &CopiedLink, jobs: &SyncSender<Job>) -> Result<(), Reason> {
        let (node, path) = match self.links.follow(&link.path) {
            Ok(end) => end,
            Err(error) if is_no_place(&error) => {
                self.links.leads_nowhere();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = self.tree.metadata(node)?;
        let (place, name) = (&link.place, link.name.clone());
        match metadata.kind {
            FileKind::Directory if Lineage::has(&place.lineage, node) => self.links.leads_upwards(),
            FileKind::Directory if is_too_deep(place, &name) => self.links.leads_too_deep(),
            FileKind::Directory if self.links.may_copy(&link.path, 0) => {
                let copy = self.enter(place, &name, &metadata)?;
                self.take_streams_of_copy(link, &metadata, jobs);
                self.copy_below(Place { is_copy: true, ..copy }, node, &path, jobs);
            }
            FileKind::Regular if self.links.may_copy(&link.path, metadata.size) => {
                self.take_streams_of_copy(link, &metadata, jobs);
                let (dir, path, stream) = (place.dir.clone(), link.path.clone(), StreamName::MAIN);
                self.send(jobs, Job { dir, name, path, stream, metadata });
            }
            FileKind::Directory | FileKind::Regular => {}
            _ => return Err(special()),
        }
        Ok(())
    }

    /// The alternate streams of what `link` leads to, called as it is.
    fn take_streams_of_copy(&self, link: &CopiedLink, metadata: &Metadata, jobs: &SyncSender<Job>) {
        let name = link.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let visit = Visit { path: &link.path, name, metadata, depth: 0 };
        self.take_streams(&link.place, &visit, true, jobs);
    }
}

/// Whether no folder `name` is made in `place` for a link: what chains links has no other end.
fn is_too_deep(place: &Place, name: &OsStr) -> bool {
    place.path.as_os_str().len().saturating_add(name.len()) >= MAX_PATH - 1
}

/// Whether `error` means that there is nothing where a link leads.
fn is_no_place(error: &FsError) -> bool {
    matches!(error.kind(), FsErrorKind::NotFound | FsErrorKind::NotADirectory)
}
