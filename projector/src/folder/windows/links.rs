//! The guest's links, as Windows is told of them.

use volfold_fs::FsErrorKind;
use volfold_fs::links::End;

use super::listing::tag;
use super::reparse;
use super::server::{Found, Lost, SEPARATOR, VolumeServer};
use crate::folder::status::{self, NtStatus, nt_status};

/// LIMIT: links that are followed on one path, as Windows does.
const MAX_TRIES: usize = 63;

impl VolumeServer {
    /// The reparse data of what is at `path`, in the form of `REPARSE_DATA_BUFFER`.
    ///
    /// # Errors
    /// `Lost::Link` where another link stands in the way.
    pub(crate) fn reparse_data(&self, path: &[u16]) -> Result<Vec<u8>, Lost> {
        let found = self.walk(path, None)?;
        match found.info.reparse_tag {
            0 => Err(nt_status(FsErrorKind::NotALink).into()),
            tag::SYMLINK => Ok(self.link_data(&found)?),
            other => Ok(reparse::empty(other)),
        }
    }

    fn link_data(&self, link: &Found) -> Result<Vec<u8>, NtStatus> {
        let target = self.link_target(link)?;
        reparse::symlink(&target).ok_or_else(|| {
            self.note("link target", link.node, "it is too long for Windows");
            status::IO_REPARSE_DATA_INVALID
        })
    }

    /// Where `link` leads, by the names that Windows sees, from the directory that it lies in.
    ///
    /// INVARIANT: it is relative, leads nowhere outside of what is shown, and to no other file than
    /// the guest's own text does.
    fn link_target(&self, link: &Found) -> Result<Vec<u16>, NtStatus> {
        let failed = |error| self.log_and_status("link target", link.node, &error);
        let text = self.fs.read_link(link.node).map_err(failed)?.0;
        let way = self.guest().resolve(&link.trail, &text, false).map_err(failed)?;
        let refused = |reason: &str, status| {
            self.note("link target", link.node, reason);
            Err(status)
        };
        let common = way.kept;
        let mut target = reparse::Target::default();
        for _ in common..link.trail.len() {
            target.up();
        }
        let unlisted = "a directory does not list what it leads to";
        for depth in common..way.dirs.len() {
            let listing = self.listing(&way.dirs[..depth])?;
            match listing.name_of(way.dirs[depth]) {
                Some(name) => target.down(name),
                None => return refused(unlisted, status::IO_REPARSE_DATA_INVALID),
            }
        }
        match way.end {
            End::Here => {}
            End::Node(node, _) => match self.listing(&way.dirs)?.name_of(node) {
                Some(name) => target.down(name),
                None => return refused(unlisted, status::IO_REPARSE_DATA_INVALID),
            },
            End::Missing(parts) => {
                let names: Vec<Vec<u16>> = parts.iter().map(|part| reparse::name(part)).collect();
                let first = names.first().map(Vec::as_slice).unwrap_or_default();
                // What the guest does not find, Windows would: by another case, or by an escape.
                if self.listing(&way.dirs)?.find(first).is_ok() {
                    let reason = "it leads to no file, but Windows would find one of that name";
                    return refused(reason, status::IO_REPARSE_DATA_INVALID);
                }
                names.iter().for_each(|name| target.down(name));
            }
            End::Nowhere => {
                let reason = "it leads to nothing, or in a circle";
                return refused(reason, status::REPARSE_POINT_NOT_RESOLVED);
            }
        }
        Ok(target.into_units())
    }

    /// What `path` leads to, through the links on it: for drivers that know none. The one at its end
    /// is followed with `also_last`.
    pub(crate) fn walk_through_links(
        &self,
        path: &[u16],
        also_last: bool,
    ) -> Result<Found, NtStatus> {
        let mut path = path.to_vec();
        for _ in 0..MAX_TRIES {
            let at = match self.walk(&path, None) {
                Err(Lost::Status(status)) => return Err(status),
                Err(Lost::Link(at)) => at as usize,
                Ok(found) if also_last && found.is_link() => {
                    path.iter().rposition(|unit| *unit == SEPARATOR).map_or(0, |at| at + 1)
                }
                Ok(found) => return Ok(found),
            };
            let rest = path.get(at..).unwrap_or_default();
            let end = at + rest.iter().position(|unit| *unit == SEPARATOR).unwrap_or(rest.len());
            let (link, rest) = path.split_at(end);
            let target = match self.walk(link, None) {
                Ok(found) => self.link_target(&found)?,
                Err(_) => return Err(status::OBJECT_PATH_NOT_FOUND),
            };
            path = joined(&path[..at], &target, rest);
        }
        Err(status::REPARSE_POINT_NOT_RESOLVED)
    }
}

/// The path `rest` below where `target` leads from the directory `base`.
fn joined(base: &[u16], target: &[u16], rest: &[u16]) -> Vec<u16> {
    let mut parts: Vec<&[u16]> = Vec::new();
    let dot = u16::from(b'.');
    for part in [base, target, rest].into_iter().flat_map(|path| path.split(|u| *u == SEPARATOR)) {
        match part {
            [] => {}
            [only] if *only == dot => {}
            [one, two] if [*one, *two] == [dot; 2] => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut path = Vec::with_capacity(base.len() + target.len() + rest.len());
    for part in parts {
        path.push(SEPARATOR);
        path.extend_from_slice(part);
    }
    if path.is_empty() {
        path.push(SEPARATOR);
    }
    path
}
