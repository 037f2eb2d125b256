//! By which name each directory was reached.
//!
//! A directory has one name. An image in which it has two, or lies in itself, would make every walk
//! longer than the volume, so only one of the names leads there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use crate::error::FsResult;

/// LIMIT: directories that are remembered, 32 MiB. Of those after them only their own `..` tells
/// where they belong.
const MAX_DIRECTORIES: usize = 1 << 20;

/// A name: the directory that it is in, and where it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) parent: u64,
    pub(super) position: u64,
}

/// What is known of another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// There was none, or it is the same.
    Same,
    /// This one.
    Other(Way),
    /// It was not remembered.
    Forgotten,
}

/// What a name of a directory is beside the others that were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// No other one is known.
    Only,
    /// The one of several that leads there.
    Better,
    /// One that does not.
    Worse,
}

/// The names by which directories were reached.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<HashMap<u64, Way>>);

impl Ways {
    /// Remembers that `directory` is reached by `way`, unless it was by another.
    fn note(&self, directory: u64, way: Way) -> Known {
        let mut ways = self.0.lock();
        let is_full = ways.len() >= MAX_DIRECTORIES;
        match ways.entry(directory) {
            Entry::Occupied(known) if *known.get() == way => Known::Same,
            Entry::Occupied(known) => Known::Other(*known.get()),
            Entry::Vacant(_) if is_full => Known::Forgotten,
            Entry::Vacant(free) => {
                free.insert(way);
                Known::Same
            }
        }
    }

    /// What the name at `way` of `directory` is, which counts from now on if it is better than the one
    /// before; `parent` gives what `..` of the directory says, if that can be read.
    ///
    /// # Errors
    /// What `parent` says.
    pub(super) fn choose(
        &self,
        directory: u64,
        way: Way,
        parent: impl FnOnce() -> FsResult<Option<u64>>,
    ) -> FsResult<NameKind> {
        let is_better = match self.note(directory, way) {
            Known::Same => return Ok(NameKind::Only),
            Known::Other(known) if known.parent == way.parent => way.position < known.position,
            Known::Other(_) => parent()? == Some(way.parent),
            Known::Forgotten => {
                if parent()?.is_none_or(|parent| parent == way.parent) {
                    return Ok(NameKind::Only);
                }
                false
            }
        };
        if is_better {
            self.replace(directory, way);
            return Ok(NameKind::Better);
        }
        Ok(NameKind::Worse)
    }

    /// Remembers `way` in place of another.
    pub(super) fn replace(&self, directory: u64, way: Way) {
        self.0.lock().insert(directory, way);
    }

    /// The directory that `directory` was reached from.
    pub(super) fn parent(&self, directory: u64) -> Option<u64> {
        self.0.lock().get(&directory).map(|way| way.parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_name_is_told_from_the_first() {
        let ways = Ways::default();
        let first = Way { parent: 2, position: 24 };
        let second = Way { position: 40, ..first };
        assert_eq!(ways.note(12, first), Known::Same);
        assert_eq!(ways.note(12, first), Known::Same);
        assert_eq!(ways.note(12, second), Known::Other(first));
        ways.replace(12, second);
        assert_eq!(ways.note(12, second), Known::Same);
        assert_eq!((ways.parent(12), ways.parent(13)), (Some(2), None));
    }
}
