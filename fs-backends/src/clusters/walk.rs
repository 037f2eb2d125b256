//! A walk over all files of a volume, for its check.

use std::ops::ControlFlow;

use crate::error::{FsError, FsErrorKind};
use crate::node::{DirCursor, FileKind, FileSystem, NodeId};

/// LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// What a walk meets.
pub(crate) enum Met {
    File(NodeId),
    /// A directory, before it is listed.
    #[cfg_attr(
        not(feature = "exfat"),
        expect(dead_code, reason = "only directories of exFAT have entries of others")
    )]
    Directory(NodeId),
    /// A directory that cannot be listed, for another reason than that it contradicts itself, which
    /// the listing has noted.
    NotListed(FsError),
    /// A directory that lies too deep to be entered.
    TooDeep,
}

struct Child {
    name: Vec<u8>,
    node: NodeId,
    kind: FileKind,
}

/// Lists every directory of `fs`, and gives what it meets with its path to `meet`.
pub(crate) fn walk(fs: &dyn FileSystem, meet: &mut dyn FnMut(Met, &[u8])) {
    let mut path = Vec::new();
    let mut levels = vec![(children(fs, fs.root(), &path, meet).into_iter(), path.len())];
    while let Some((children_left, base)) = levels.last_mut() {
        path.truncate(*base);
        let Some(child) = children_left.next() else {
            levels.pop();
            continue;
        };
        path.push(b'/');
        path.extend(&child.name);
        if child.kind != FileKind::Directory {
            meet(Met::File(child.node), &path);
        } else if levels.len() >= MAX_DEPTH {
            meet(Met::TooDeep, &path);
        } else {
            meet(Met::Directory(child.node), &path);
            let below = children(fs, child.node, &path, meet).into_iter();
            levels.push((below, path.len()));
        }
    }
}

fn children(
    fs: &dyn FileSystem,
    dir: NodeId,
    path: &[u8],
    meet: &mut dyn FnMut(Met, &[u8]),
) -> Vec<Child> {
    let mut children = Vec::new();
    let listed = fs.read_dir(dir, DirCursor::START, &mut |entry| {
        let name = entry.name.as_bytes().to_vec();
        children.push(Child { name, node: entry.node, kind: entry.kind });
        ControlFlow::Continue(())
    });
    match listed {
        Err(error) if error.kind() != FsErrorKind::Corrupt => meet(Met::NotListed(error), path),
        _ => {}
    }
    children
}
