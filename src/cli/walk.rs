//! Finding paths in a tree, and walking below them.

use std::ops::ControlFlow;

use volfold_fs::{
    DirCursor, FileKind, FileSystem, FsError, FsErrorKind, FsResult, Metadata, Name, NodeId,
};
use volfold_projector::folder::names;

/// LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// LIMIT: links followed on the way to one path, as Linux.
const MAX_LINKS: u32 = 40;

/// The node at `path` (`/<volume>/dir/file`), following links on the way; those at the end only if
/// `follow`. A link that leads to an absolute path means a path of its own volume.
pub(crate) fn resolve(tree: &dyn FileSystem, path: &[u8], follow: bool) -> FsResult<NodeId> {
    let mut parts: Vec<Vec<u8>> = split(path);
    parts.reverse();
    let mut trail = vec![tree.root()];
    let mut links = 0;
    while let Some(part) = parts.pop() {
        let here = *trail.last().unwrap_or(&tree.root());
        match part.as_slice() {
            b"." => continue,
            b".." => {
                // `..` of a volume's root stays in it, as `/..` does.
                if trail.len() > 2 {
                    trail.pop();
                }
                continue;
            }
            _ => {}
        }
        let next = lookup(tree, here, &part)?;
        let last = parts.is_empty();
        if trail.len() >= 2 && (!last || follow) {
            let metadata = tree.metadata(next)?;
            if metadata.kind == FileKind::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(FsError::corrupt("links lead in a circle"));
                }
                let target = tree.read_link(next)?.0;
                if target.first() == Some(&b'/') {
                    trail.truncate(2);
                }
                parts.extend(split(&target).into_iter().rev());
                continue;
            }
        }
        trail.push(next);
    }
    Ok(*trail.last().unwrap_or(&tree.root()))
}

/// The entry `name` of `dir`; the name may also be written as a mount shows it.
fn lookup(tree: &dyn FileSystem, dir: NodeId, name: &[u8]) -> FsResult<NodeId> {
    tree.lookup(dir, Name::new(name)).or_else(|error| match names::to_guest(name) {
        Some(guest) if error.kind() == FsErrorKind::NotFound => tree.lookup(dir, Name::new(&guest)),
        _ => Err(error),
    })
}

fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// One node met on a walk.
pub(crate) struct Visit<'a> {
    /// Its path from the tree's root, with a leading `/`.
    pub(crate) path: &'a [u8],
    /// Its own name.
    pub(crate) name: &'a [u8],
    /// What is known of it.
    pub(crate) metadata: &'a Metadata,
    /// How many directories lie above it, below the start of the walk.
    pub(crate) depth: usize,
}

/// What a walk tells its owner.
pub(crate) enum Event<'a> {
    /// A node; a directory's comes before those of its entries.
    Node(Visit<'a>),
    /// A directory, or an entry, that could not be read.
    Failed(&'a [u8], FsError),
}

struct Child {
    name: Vec<u8>,
    node: NodeId,
    kind: FileKind,
    metadata: Option<Metadata>,
}

/// Walks everything below the directory `start`, whose own path is `path`, in the order of the
/// file system; `path` itself is not visited. With `recursive` false only its entries are.
///
/// # Errors
/// The first error that `visit` returns.
pub(crate) fn walk<E>(
    tree: &dyn FileSystem,
    start: NodeId,
    path: &[u8],
    recursive: bool,
    visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut path = path.to_vec();
    while path.last() == Some(&b'/') {
        path.pop();
    }
    let mut levels = vec![Level {
        dir: start,
        children: children(tree, start, &path, visit)?.into_iter(),
        base: path.len(),
    }];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.base);
        let Some(child) = level.children.next() else {
            levels.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(&child.name);
        let depth = levels.len() - 1;
        let metadata = match child.metadata.map_or_else(|| tree.metadata(child.node), Ok) {
            Ok(metadata) => metadata,
            Err(error) => {
                visit(Event::Failed(&path, error))?;
                continue;
            }
        };
        visit(Event::Node(Visit { path: &path, name: &child.name, metadata: &metadata, depth }))?;
        if !recursive || child.kind != FileKind::Directory {
            continue;
        }
        if levels.len() >= MAX_DEPTH || levels.iter().any(|level| level.dir == child.node) {
            let error = FsError::corrupt("directory contains itself or lies too deep");
            visit(Event::Failed(&path, error))?;
            continue;
        }
        let children = children(tree, child.node, &path, visit)?.into_iter();
        levels.push(Level { dir: child.node, children, base: path.len() });
    }
    Ok(())
}

struct Level {
    dir: NodeId,
    children: std::vec::IntoIter<Child>,
    base: usize,
}

fn children<E>(
    tree: &dyn FileSystem,
    dir: NodeId,
    path: &[u8],
    visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
) -> Result<Vec<Child>, E> {
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
    if let Err(error) = listed {
        visit(Event::Failed(path, error))?;
    }
    Ok(children)
}

/// The error of a `PATH` argument as a message.
pub(crate) fn path_error(path: &[u8], error: &FsError) -> String {
    let shown = String::from_utf8_lossy(path);
    let reason = volfold_block::error_chain(error);
    let hint = if error.kind() == FsErrorKind::NotFound {
        "; `volfold ls` shows what there is"
    } else {
        ""
    };
    format!("{shown}: {reason}{hint}")
}
