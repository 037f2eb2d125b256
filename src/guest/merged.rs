//! The tree that a system itself sees: its root volume, with other volumes in some directories.

use std::sync::Arc;

use volfold_fs::links::{Guest, VolumeNames};
use volfold_fs::{
    FileData, FileKind, FileSystem, FsError, FsErrorKind, FsResult, NodeId, StreamName, TreeVolume,
    VolumeTree,
};

use super::system::MountPoint;
use crate::files::{Descent, Found, Search, Step, read_at_most};

/// LIMIT: bytes of a file of configuration that is taken into memory.
const MAX_FILE: u64 = 4 << 20;

/// Volumes as one tree: one of them is the root, and others are in the place of directories.
pub(crate) struct MergedTree {
    tree: VolumeTree,
    /// The path of the root volume.
    root: Vec<u8>,
    names: VolumeNames,
}

impl MergedTree {
    /// The tree whose root is the volume that `volumes` call `root`.
    pub(crate) fn new(volumes: Vec<TreeVolume>, root: &str) -> Self {
        let root = [b"/", root.as_bytes()].concat();
        Self { tree: VolumeTree::new(volumes), root, names: VolumeNames::default() }
    }

    /// Puts the volume that is called `name` in the place of the directory `path`.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or why the directory cannot be looked up.
    pub(crate) fn cover(&mut self, path: &str, name: &str) -> FsResult<()> {
        let place = directory_at(&self.tree, &self.names, &self.root, path)?;
        self.tree.cover(place, name.as_bytes())
    }

    /// What is at `path`, links followed as the system itself does.
    ///
    /// # Errors
    /// `NotFound`, or why something on the way cannot be read.
    fn find(&self, path: &str, follow: bool) -> FsResult<Found> {
        let path = [&self.root, b"/".as_slice(), path.as_bytes()].concat();
        Search::new(Guest::set(&self.tree, &self.names), &path).follow(follow).run()
    }

    /// The node at `path`; `None` if there is none.
    ///
    /// # Errors
    /// Why something on the way cannot be read.
    pub(crate) fn node(&self, path: &str) -> FsResult<Option<NodeId>> {
        none_if_missing(self.find(path, true).map(|found| found.node))
    }

    /// The content of the file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// As [`MergedTree::open`]; `Refused` for more bytes than a file of configuration has, or why it
    /// cannot be read.
    pub(crate) fn read(&self, path: &str) -> FsResult<Option<Vec<u8>>> {
        self.open(path)?.map(|file| read_at_most(&*file, MAX_FILE)).transpose()
    }

    /// The file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// `IsADirectory`, `Unsupported` for a device and its like, or why it cannot be opened.
    pub(crate) fn open(&self, path: &str) -> FsResult<Option<Arc<dyn FileData>>> {
        let Some(node) = self.node(path)? else {
            return Ok(None);
        };
        match self.tree.metadata(node)?.kind {
            FileKind::Regular => Ok(Some(self.tree.open(node, &StreamName::MAIN)?)),
            FileKind::Directory => Err(FsError::is_a_directory()),
            _ => Err(FsError::unsupported("it is no regular file")),
        }
    }

    /// Whether anything is at `path`, links at its end not followed.
    ///
    /// # Errors
    /// Why something on the way cannot be read.
    pub(crate) fn has(&self, path: &str) -> FsResult<bool> {
        Ok(none_if_missing(self.find(path, false))?.is_some())
    }

    /// What kind of node is at `path`; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn kind(&self, path: &str) -> FsResult<Option<FileKind>> {
        let Some(node) = self.node(path)? else {
            return Ok(None);
        };
        Ok(Some(self.tree.metadata(node)?.kind))
    }

    /// Where the link at `path` leads, as it is written; `None` if there is no link.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn link(&self, path: &str) -> FsResult<Option<Vec<u8>>> {
        let target = self.find(path, false).and_then(|found| self.tree.read_link(found.node));
        match target {
            Ok(target) => Ok(Some(target.0)),
            Err(error) if error.kind() == FsErrorKind::NotALink => Ok(None),
            Err(error) => none_if_missing(Err(error)),
        }
    }

    /// The names in the directory `path`, sorted; none if nothing is there.
    ///
    /// # Errors
    /// `NotADirectory`, or why they cannot be read.
    pub(crate) fn names(&self, path: &str) -> FsResult<Vec<String>> {
        let Some(node) = self.node(path)? else {
            return Ok(Vec::new());
        };
        if self.tree.metadata(node)?.kind != FileKind::Directory {
            return Err(FsError::not_a_directory());
        }
        let mut names = Vec::new();
        let mut descent = Descent::new(node, b"");
        while let Some(step) = descent.step(&self.tree) {
            match step {
                Step::Failed(error) => return Err(error),
                Step::Node(_) => names.push(String::from_utf8_lossy(descent.name()).into_owned()),
            }
            descent.skip();
        }
        names.sort();
        Ok(names)
    }
}

/// The directory `path` of the volume whose own path in `tree` is `root`.
pub(crate) fn directory_at(
    tree: &VolumeTree,
    names: &VolumeNames,
    root: &[u8],
    path: &str,
) -> FsResult<NodeId> {
    let path = [root, b"/", path.as_bytes()].concat();
    let node = Search::new(Guest::set(tree, names), &path).run()?.node;
    match tree.metadata(node)?.kind {
        FileKind::Directory => Ok(node),
        _ => Err(FsError::not_a_directory()),
    }
}

/// `None` for what is not there.
fn none_if_missing<T>(found: FsResult<T>) -> FsResult<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            FsErrorKind::NotFound | FsErrorKind::NotADirectory => Ok(None),
            _ => Err(error),
        },
    }
}

/// A volume in the place of one that is not there: every look at it is an error that says so.
pub(crate) fn missing_volume(name: String, point: &MountPoint) -> TreeVolume {
    let line = point.not_shown();
    TreeVolume::new(name, move || Err(FsError::new(FsErrorKind::MissingPart, line.clone())))
}
