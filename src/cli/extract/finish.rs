//! What can only be made when all files are there: other names of files, links, times of directories.

use std::path::Path;

#[cfg(unix)]
use super::copy::HOST;
use super::copy::{Existed, Extraction, Reason};
use super::output::Output;
use super::place::Link;
use super::times::file_times;

impl Extraction<'_> {
    /// Makes hard links, then symbolic links, then sets what directories have, deepest first.
    pub(super) fn finish(&self, output: &Output) {
        let later = std::mem::take(&mut *self.later.lock());
        for (first, second, path) in &later.twins {
            if let Err(reason) = self.hard_link(output, first, second) {
                self.fail(path, reason);
            }
        }
        for link in &later.links {
            if let Err(reason) = self.symlink(link) {
                self.fail(&link.path, reason);
            }
        }
        for (place, metadata) in later.directories.iter().rev() {
            // The tree of volumes has no times of its own.
            if place.as_os_str().is_empty() {
                continue;
            }
            #[cfg(unix)]
            match output.open_folder(place) {
                Ok(folder) => {
                    if let Err(line) = self.arguments.keep.apply(self.tree, metadata, &folder) {
                        self.fail(place.as_os_str().as_encoded_bytes(), Reason(HOST, line));
                    }
                }
                Err(error) => {
                    self.fail(place.as_os_str().as_encoded_bytes(), self.host(&error));
                }
            }
            // A folder whose time cannot be set is a folder all the same.
            let _ = output.set_times(place, file_times(metadata));
        }
    }

    fn hard_link(&self, output: &Output, first: &Path, second: &Path) -> Result<(), Reason> {
        let (Some(parent), Some(name)) = (second.parent(), second.file_name()) else {
            return Ok(());
        };
        let dir = output.below(parent).map_err(|error| self.host(&error))?;
        let wanted = dir.existing(name).ok().flatten().zip(output.existing_at(first));
        if let (Some((here, there)), Existed::Compare) = (wanted, self.existed)
            && here == there
        {
            return Ok(());
        }
        if !self.is_there(&dir, name, None)? && dir.existing(name).is_ok_and(|e| e.is_some()) {
            dir.remove_file(name).map_err(|error| self.host(&error))?;
        }
        output.hard_link(first, second).map_err(|error| self.host(&error))
    }

    fn symlink(&self, link: &Link) -> Result<(), Reason> {
        let there = link.dir.read_link(&link.name).ok();
        if self.existed == Existed::Compare && there.as_ref() == Some(&link.link.text) {
            return Ok(());
        }
        if !self.is_there(&link.dir, &link.name, None)?
            && link.dir.existing(&link.name).is_ok_and(|existing| existing.is_some())
        {
            link.dir.remove_file(&link.name).map_err(|error| self.host(&error))?;
        }
        match link.dir.symlink(&link.name, &link.link) {
            Err(error) if !self.links.is_refused(&link.path, &error) => Err(self.host(&error)),
            _ => Ok(()),
        }
    }
}
