//! The steps of a walk through a tree of directories.

use std::ops::ControlFlow;

use volfold_fs::{DirCursor, FileKind, FileSystem, FsError, FsResult, Metadata, NodeId};

/// LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// A walk through everything below a directory, in the order of the file system, that its owner
/// takes one step of at a time.
pub struct Descent {
    path: Vec<u8>,
    levels: Vec<Level>,
    /// The directory that the next step goes into.
    entered: Option<NodeId>,
    /// Where the name of the last step begins in its path.
    name: usize,
    depth: usize,
}

/// What a step leads to.
#[derive(Debug)]
pub enum Step {
    /// A node; a directory's comes before those of its entries.
    Node(Metadata),
    /// The directory, or entry, at [`Descent::path`] cannot be read.
    Failed(FsError),
}

struct Level {
    dir: NodeId,
    children: std::vec::IntoIter<Child>,
    /// The length of the directory's path.
    base: usize,
}

struct Child {
    name: Vec<u8>,
    node: NodeId,
    kind: FileKind,
    metadata: Option<Metadata>,
}

impl Descent {
    /// A walk below the directory `start`, whose own path is `path`; it is no step itself.
    pub fn new(start: NodeId, path: &[u8]) -> Self {
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let path = path.get(..end).unwrap_or_default().to_vec();
        Self { path, levels: Vec::new(), entered: Some(start), name: end, depth: 0 }
    }

    /// The path of what the last step led to, with a leading `/`.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last part of the path.
    pub fn name(&self) -> &[u8] {
        self.path.get(self.name..).unwrap_or_default()
    }

    /// How deep what the last step led to lies below the start: 1 for its entries.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Does not go into the directory that the last step led to.
    pub fn skip(&mut self) {
        self.entered = None;
    }

    /// The same; after what is no directory, leaves out the rest of the directory that it lies in.
    pub fn skip_or_leave(&mut self) {
        if self.entered.take().is_none() {
            self.levels.pop();
        }
    }

    /// The next step through `tree`; `None` at the end.
    pub fn step(&mut self, tree: &dyn FileSystem) -> Option<Step> {
        if let Some(dir) = self.entered.take()
            && let Err(error) = self.enter(tree, dir)
        {
            return Some(Step::Failed(error));
        }
        let child = loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.base);
            match level.children.next() {
                Some(child) => break child,
                None => self.levels.pop(),
            };
        };
        self.depth = self.levels.len();
        self.name = self.path.len() + 1;
        self.path.push(b'/');
        self.path.extend_from_slice(&child.name);
        match child.metadata.map_or_else(|| tree.metadata(child.node), Ok) {
            Ok(metadata) => {
                self.entered = (child.kind == FileKind::Directory).then_some(child.node);
                Some(Step::Node(metadata))
            }
            Err(error) => Some(Step::Failed(error)),
        }
    }

    /// Goes into `dir`, whose path is that of the last step. After an error the entries that could be
    /// read are still to come.
    fn enter(&mut self, tree: &dyn FileSystem, dir: NodeId) -> FsResult<()> {
        if self.levels.len() >= MAX_DEPTH || self.levels.iter().any(|level| level.dir == dir) {
            return Err(FsError::corrupt("directory contains itself or lies too deep"));
        }
        let mut children = Vec::new();
        let listed = tree.read_dir(dir, DirCursor::START, &mut |entry| {
            children.push(Child {
                name: entry.name.as_bytes().to_vec(),
                node: entry.node,
                kind: entry.kind,
                metadata: entry.metadata.cloned(),
            });
            ControlFlow::Continue(())
        });
        self.levels.push(Level { dir, children: children.into_iter(), base: self.path.len() });
        listed
    }
}
