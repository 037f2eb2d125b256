//! How paths name the volumes of a set.

use std::sync::Arc;

use volfold_fs::links::Guest;
use volfold_fs::{FileSystem, FsError, FsErrorKind, FsResult, Name, VolumeTree};

use super::{DiskSet, SetVolume};
use crate::files::{Found, Search, first_part};
use crate::guest::{Arrangement, MountPoint, OsInfo};

impl DiskSet {
    /// `given` as `/<volume>/dir/file`: with `/` as its separator around the volume, and with the
    /// folder name in place of what else the volume can be called: its id, a drive letter, the name
    /// with other capitals.
    ///
    /// `\` separates there where the volume is not called so, and the search for the rest takes it
    /// for a part of a name first.
    pub fn spell(&self, given: &[u8]) -> Vec<u8> {
        let path = match given {
            [a, b, b'?' | b'.', c, rest @ ..] if [a, b, c].into_iter().all(is_separator) => rest,
            path => path,
        };
        let path = without_separators(path);
        match self.in_system(path) {
            Some(Ok(found)) => return found,
            // Nothing is called so: who looks there is told why.
            Some(Err(NoPath::Missing { name, .. })) => return [b"/", name.as_bytes()].concat(),
            Some(Err(NoPath::Other(_))) | None => {}
        }
        let named =
            |first: &[u8]| std::str::from_utf8(first).ok().and_then(|name| self.volume(name));
        let whole = first_part(path);
        let (first, below) = match (named(whole), letter(path)) {
            (Some(_), _) => path.split_at(whole.len()),
            (None, Some(letter)) => path.split_at(letter.len()),
            (None, None) => path.split_at(path.iter().position(is_separator).unwrap_or(path.len())),
        };
        let first = named(first).map_or(first, |volume| volume.name.as_bytes());
        // `C:Users` is below the root too: there is no folder that a guest's program works in.
        let below = without_separators(below);
        let separator: &[u8] = if below.is_empty() { b"" } else { b"/" };
        [b"/", first, separator, below].concat()
    }

    /// Where the only system of the set, or the one that is started by default, has `path`, if no volume
    /// is called as it begins, or that one lies there: `Windows/System32`, `etc/passwd`, `home/ada`. `None`
    /// where there is no such system.
    ///
    /// # Errors
    /// Why nothing is found there; what is not there may well be a volume that is not.
    pub fn path_of_system(&self, path: &[u8]) -> Option<FsResult<Vec<u8>>> {
        Some(self.in_system(path)?.map_err(|why| match why {
            NoPath::Missing { reason, .. } => FsError::new(FsErrorKind::MissingPart, reason),
            NoPath::Other(error) => error,
        }))
    }

    /// As [`Self::path_of_system`].
    fn in_system(&self, path: &[u8]) -> Option<Result<Vec<u8>, NoPath>> {
        let system = self.os_info().ok()?.only_default()?;
        let first = path.split(is_separator).find(|part| !part.is_empty())?;
        // By a label alone nothing is taken from the system.
        let volume_of = |part: &[u8]| {
            let name = std::str::from_utf8(part).ok()?;
            // An id is none of its names where the system has a directory that is called so.
            let is_taken = self.taken.contains(&name.to_lowercase());
            self.volumes().iter().find(|volume| match is_taken {
                true => volume.name.eq_ignore_ascii_case(name),
                false => volume.is_called(name),
            })
        };
        let is_at_root = |volume: &Arc<SetVolume>| {
            let points = system.mount_points.iter().filter(|point| point.reason.is_none());
            points
                .filter(|point| point.volume.as_deref() == Some(volume.id()))
                .any(|point| point.path.trim_matches('/').as_bytes() == first)
        };
        let named = volume_of(first).or_else(|| volume_of(first_part(path)));
        if named.is_some_and(|volume| !is_at_root(volume)) || letter(path).is_some() {
            return None;
        }
        let root = self.volume(&system.volume)?.name.clone();
        let arrangement = Arrangement::new([system], |id| Some(self.volume(id)?.name.clone()));
        let mut volumes = self.tree_volumes(|_| true);
        volumes.extend(arrangement.missing());
        let mut tree = VolumeTree::new(volumes);
        arrangement.apply(&mut tree);
        let names = self.volume_names(|_| true);
        let wanted = [b"/", root.as_bytes(), b"/", path].concat();
        let find =
            |path: &[u8], follow| Search::new(Guest::set(&tree, &names), path).follow(follow).run();
        // What is in the place of a missing volume is found, and cannot be looked at.
        let is_there = |found: Found| tree.metadata(found.node).map(|_| found);
        let found = find(&wanted, true).or_else(|_| find(&wanted, false)).and_then(is_there);
        Some(match found {
            Ok(found) => own_path(&tree, &found.real),
            Err(error) => {
                // What is in the place of a missing volume says in each error which one it is.
                let line = error.to_string();
                let missing = arrangement.not_shown().find(|point| point.not_shown() == line);
                Err(missing.map_or(NoPath::Other(error), NoPath::missing))
            }
        })
    }

    /// Why `wanted` names no volume of the set, where there is more to say than that.
    pub fn why_no_volume(&self, wanted: &str) -> Option<String> {
        let system = self.os.get().and_then(OsInfo::only_default);
        let points = system.map(|system| &system.mount_points[..]).unwrap_or_default();
        let missing =
            |point: &&MountPoint| point.reason.is_some() && point.name_of_missing() == wanted;
        if let Some(point) = points.iter().find(missing) {
            return Some(point.not_shown());
        }
        let called = self.volumes_called(wanted);
        if called.len() > 1 {
            let names: Vec<&str> = called.iter().map(|volume| volume.name.as_str()).collect();
            return Some(format!("several volumes are called {wanted}: {}", names.join(", ")));
        }
        (called.is_empty() && letter(wanted.as_bytes()).is_some())
            .then(|| format!("the set does not tell which volume is {wanted}"))
    }
}

/// Why a system has nothing at a path.
enum NoPath {
    /// What would be called as the volume that is not there, and the sentence.
    Missing {
        name: String,
        reason: String,
    },
    Other(FsError),
}

impl NoPath {
    fn missing(point: &MountPoint) -> Self {
        Self::Missing { name: point.name_of_missing(), reason: point.not_shown() }
    }
}

/// The path `real` of the arranged `tree` as one below the folder of the volume itself that it ends in.
fn own_path(tree: &VolumeTree, real: &[u8]) -> Result<Vec<u8>, NoPath> {
    let mut node = tree.root();
    let mut own: Vec<u8> = Vec::new();
    let mut volume: Option<&[u8]> = None;
    for part in real.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        node = tree.lookup(node, Name::new(part)).map_err(NoPath::Other)?;
        let name = tree.volume_name(node);
        let below = if name == volume { part } else { name.unwrap_or(part) };
        if name != volume {
            own.clear();
            volume = name;
        }
        own.push(b'/');
        own.extend_from_slice(below);
    }
    Ok(own)
}

fn is_separator(byte: &u8) -> bool {
    matches!(*byte, b'/' | b'\\')
}

fn without_separators(path: &[u8]) -> &[u8] {
    let count = path.iter().take_while(|byte| is_separator(byte)).count();
    path.get(count..).unwrap_or_default()
}

/// The drive letter that `path` begins with, and its colon.
fn letter(path: &[u8]) -> Option<&[u8]> {
    path.get(..2).filter(|first| matches!(first, [letter, b':'] if letter.is_ascii_alphabetic()))
}
