//! Where nodes were met, so that the log can name them by their paths.
//!
//! Nearly no node is ever named, so nothing is kept of its name and little of it: of a directory its
//! parent and depth, of a file its parent, until another one needs the place. The name is looked up in
//! the parent when the log needs it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use volfold_fs::{DirCursor, FileKind, FileSystem, NodeId};

use crate::folder::names;

/// LIMIT: directories and links whose parent and depth is kept; links met after them are refused.
const MAX_DIRECTORIES: usize = 1 << 20;

/// LIMIT: places for parents of files.
const FILES: usize = 1 << 15;

/// LIMIT: entries of a directory that are looked at for a name.
const MAX_ENTRIES: u32 = 1 << 16;

/// LIMIT: directories on the way to the root, as paths of Linux have.
const MAX_PARTS: usize = 2048;

/// LIMIT: paths that are kept because they were named.
const MAX_PATHS: usize = 256;

/// Where a directory or link lies.
#[derive(Clone, Copy)]
struct Place {
    parent: NodeId,
    /// How many directories lie between the root and it, itself included.
    depth: u16,
}

/// The node and parent of a file. A reader may find those of two files, so both are checked against
/// the directory.
#[derive(Default)]
struct Slot {
    node: AtomicU64,
    parent: AtomicU64,
}

/// Where nodes were met.
pub(super) struct Places {
    root: NodeId,
    directories: RwLock<HashMap<NodeId, Place>>,
    files: Box<[Slot]>,
    paths: Mutex<HashMap<NodeId, String>>,
}

impl Places {
    pub(super) fn new(root: NodeId) -> Self {
        Self {
            root,
            directories: RwLock::new(HashMap::new()),
            files: (0..FILES).map(|_| Slot::default()).collect(),
            paths: Mutex::new(HashMap::new()),
        }
    }

    /// Keeps that `parent` names `node`. The kernel comes to every node by way of its parents.
    pub(super) fn remember(&self, parent: NodeId, node: NodeId, kind: FileKind) {
        if !matches!(kind, FileKind::Directory | FileKind::Symlink) {
            let slot = self.slot(node);
            slot.node.store(node.0, Ordering::Relaxed);
            slot.parent.store(parent.0, Ordering::Relaxed);
            return;
        }
        if self.directories.read().contains_key(&node) {
            return;
        }
        let mut directories = self.directories.write();
        let above = if parent == self.root {
            Some(0)
        } else {
            directories.get(&parent).map(|place| place.depth)
        };
        if let Some(above) = above
            && directories.len() < MAX_DIRECTORIES
        {
            directories.insert(node, Place { parent, depth: above.saturating_add(1) });
        }
    }

    fn slot(&self, node: NodeId) -> &Slot {
        // The numbers of a volume's files follow each other; the volume is above them.
        let mixed = node.0 ^ (node.0 >> 48).wrapping_mul(0x9E37_79B9);
        &self.files[mixed as usize % FILES]
    }

    /// How many directories lie between the root and `node`, a directory or link that was met, itself
    /// included.
    pub(super) fn depth(&self, node: NodeId) -> Option<u16> {
        self.directories.read().get(&node).map(|place| place.depth)
    }

    fn parent(&self, node: NodeId) -> Option<NodeId> {
        if let Some(place) = self.directories.read().get(&node) {
            return Some(place.parent);
        }
        let slot = self.slot(node);
        (slot.node.load(Ordering::Relaxed) == node.0)
            .then(|| NodeId(slot.parent.load(Ordering::Relaxed)))
    }

    /// The directories from the root to that of `node`, as far as they are known.
    pub(super) fn directories(&self, node: NodeId) -> Option<Vec<NodeId>> {
        let mut dirs = Vec::new();
        let mut at = node;
        while at != self.root {
            at = self.parent(at)?;
            dirs.push(at);
            if dirs.len() > MAX_PARTS {
                return None;
            }
        }
        dirs.reverse();
        Some(dirs)
    }

    /// The path of `node` from the root on, as far as it is known.
    pub(super) fn path(&self, tree: &dyn FileSystem, node: NodeId) -> Option<String> {
        if node == self.root {
            return Some(".".to_owned());
        }
        if let Some(known) = self.paths.lock().get(&node) {
            return Some(known.clone());
        }
        let mut parts = Vec::new();
        let mut at = node;
        while at != self.root {
            let parent = self.parent(at)?;
            parts.push(name_in(tree, parent, at)?);
            if parts.len() > MAX_PARTS {
                return None;
            }
            at = parent;
        }
        parts.reverse();
        let path = parts.join("/");
        let mut paths = self.paths.lock();
        if paths.len() >= MAX_PATHS {
            paths.clear();
        }
        paths.insert(node, path.clone());
        Some(path)
    }
}

/// What `parent` calls `node`, for a line of text.
fn name_in(tree: &dyn FileSystem, parent: NodeId, node: NodeId) -> Option<String> {
    let mut name = None;
    let mut left = MAX_ENTRIES;
    // A directory that cannot be listed names nothing.
    let _ = tree.read_dir(parent, DirCursor::START, &mut |entry| {
        left = left.saturating_sub(1);
        if entry.node == node {
            name = Some(shown(&names::to_unix(entry.name.as_bytes())));
        }
        match name.is_some() || left == 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    name
}

/// `name` as a part of one line.
pub(super) fn shown(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for character in String::from_utf8_lossy(name).chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}
