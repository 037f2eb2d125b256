//! The tree that a system itself sees: its root volume, with other volumes in some directories.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_fs::links::{Guest, VolumeNames};
use volfold_fs::{
    DirCursor, DirEntry, FileData, FileKind, FileSystem, FsError, FsErrorKind, FsInfo, FsResult,
    LinkTarget, Metadata, Name, NodeId, StreamInfo, StreamName, Usage, VolumeTree,
};

use crate::files::{Descent, Search, Step};

/// LIMIT: bytes of a file of configuration that is taken into memory.
const MAX_FILE: u64 = 4 << 20;

/// Volumes as one tree: the root of one of them, and others in place of directories.
pub(crate) struct MergedTree {
    volumes: Arc<VolumeTree>,
    root: NodeId,
    /// What is in place of a directory: the root of a volume.
    covered: HashMap<NodeId, NodeId>,
    names: VolumeNames,
    info: FsInfo,
}

impl MergedTree {
    /// The tree of the volume that `volumes` calls `root`.
    ///
    /// # Errors
    /// `NotFound`, or why it cannot be entered.
    pub(crate) fn new(volumes: Arc<VolumeTree>, root: &[u8]) -> FsResult<Self> {
        let node = volumes.lookup(volumes.root(), Name::new(root))?;
        let files = volumes.enter(root).ok_or_else(FsError::not_found)??;
        let info = files.info().clone();
        let names = VolumeNames::default();
        Ok(Self { volumes, root: node, covered: HashMap::new(), names, info })
    }

    /// Puts the root of the volume that is called `volume` in place of the directory `path`.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or why it cannot be entered.
    pub(crate) fn cover(&mut self, path: &[u8], volume: &[u8]) -> FsResult<()> {
        let over = self.volumes.lookup(self.volumes.root(), Name::new(volume))?;
        let under = self.find(path)?;
        if self.metadata(under)?.kind != FileKind::Directory {
            return Err(FsError::not_a_directory());
        }
        // A volume in place of a volume covers what that one was in place of.
        let under = self.covered.iter().find(|(_, over)| **over == under).map_or(under, |it| *it.0);
        self.covered.insert(under, over);
        Ok(())
    }

    /// The node at `path`, links followed as the system itself does.
    ///
    /// # Errors
    /// `NotFound`, or why something on the way cannot be read.
    pub(crate) fn find(&self, path: &[u8]) -> FsResult<NodeId> {
        Ok(Search::new(Guest::volume(self, b"", &self.names), path).run()?.node)
    }

    /// The content of the file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn read(&self, path: &str) -> FsResult<Option<Vec<u8>>> {
        let Some(file) = self.open_path(path)? else {
            return Ok(None);
        };
        let size = file.size();
        if size > MAX_FILE {
            let line = format!("file has {size} bytes; at most {MAX_FILE} are looked at");
            return Err(FsError::new(FsErrorKind::Refused, line));
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
        let count = file.read_at(0, &mut content)?;
        content.truncate(count);
        Ok(Some(content))
    }

    /// The file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(crate) fn open_path(&self, path: &str) -> FsResult<Option<Arc<dyn FileData>>> {
        let node = match self.find(path.as_bytes()) {
            Ok(node) => node,
            Err(error) => return none_if_missing(error),
        };
        match self.metadata(node)?.kind {
            FileKind::Regular => Ok(Some(self.open(node, &StreamName::MAIN)?)),
            _ => Ok(None),
        }
    }

    /// Where the link at `path` leads, as it is written; `None` if there is no link.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn link(&self, path: &str) -> FsResult<Option<Vec<u8>>> {
        let found = Search::new(Guest::volume(self, b"", &self.names), path.as_bytes());
        let target = found.follow(false).run().and_then(|found| self.read_link(found.node));
        match target {
            Ok(target) => Ok(Some(target.0)),
            Err(error) if error.kind() == FsErrorKind::NotALink => Ok(None),
            Err(error) => none_if_missing(error),
        }
    }

    /// What kind of node is at `path`; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn kind(&self, path: &str) -> FsResult<Option<FileKind>> {
        match self.find(path.as_bytes()).and_then(|node| self.metadata(node)) {
            Ok(metadata) => Ok(Some(metadata.kind)),
            Err(error) => none_if_missing(error),
        }
    }

    /// The names in the directory `path`, sorted; none if there is no such directory.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(crate) fn names(&self, path: &str) -> FsResult<Vec<String>> {
        let node = match self.find(path.as_bytes()) {
            Ok(node) => node,
            Err(error) => return Ok(none_if_missing::<()>(error).map(|_| Vec::new())?),
        };
        if self.metadata(node)?.kind != FileKind::Directory {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        let mut descent = Descent::new(node, b"");
        while let Some(step) = descent.step(self) {
            match step {
                Step::Failed(error) => return Err(error),
                Step::Node(_) => names.push(String::from_utf8_lossy(descent.name()).into_owned()),
            }
            descent.skip();
        }
        names.sort();
        Ok(names)
    }

    /// `node`, or what is in its place.
    fn over(&self, node: NodeId) -> NodeId {
        self.covered.get(&node).copied().unwrap_or(node)
    }
}

/// `None` for what is not there.
fn none_if_missing<T>(error: FsError) -> FsResult<Option<T>> {
    match error.kind() {
        FsErrorKind::NotFound | FsErrorKind::NotADirectory => Ok(None),
        _ => Err(error),
    }
}

impl FileSystem for MergedTree {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        self.volumes.statistics(self.root)
    }

    fn statistics(&self, node: NodeId) -> FsResult<Usage> {
        self.volumes.statistics(node)
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        self.volumes.lookup(dir, name).map(|node| self.over(node))
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        self.volumes.metadata(node)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        self.volumes.read_dir(dir, from, &mut |entry| match self.over(entry.node) {
            node if node == entry.node => emit(entry),
            node => emit(DirEntry { node, kind: FileKind::Directory, metadata: None, ..entry }),
        })
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        self.volumes.read_link(node)
    }

    fn streams(&self, node: NodeId) -> FsResult<Vec<StreamInfo>> {
        self.volumes.streams(node)
    }

    fn has_extended_attributes(&self) -> bool {
        self.volumes.has_extended_attributes()
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        self.volumes.extended_attributes(node)
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        self.volumes.extended_attribute(node, name)
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        self.volumes.open(node, stream)
    }
}
