//! The way to what is at a path.

use std::ops::ControlFlow;

use volfold_fs::links::{End, Guest};
use volfold_fs::{DirCursor, FileKind, FileSystem, FsError, FsErrorKind, FsResult, Name, NodeId};

/// LIMIT: links followed on the way to one path, as Linux.
const MAX_LINKS: u32 = 40;

/// Finds the entry of a directory that a name in a path means, and says by which of its names it did.
pub type LookUp = fn(&dyn FileSystem, NodeId, &[u8]) -> FsResult<(NodeId, Vec<u8>)>;

/// The entry of `dir` that the guest calls `name`.
///
/// # Errors
/// As [`FileSystem::lookup`].
pub fn look_up(tree: &dyn FileSystem, dir: NodeId, name: &[u8]) -> FsResult<(NodeId, Vec<u8>)> {
    Ok((tree.lookup(dir, Name::new(name))?, name.to_vec()))
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The node.
    pub node: NodeId,
    /// The path as it was asked for, links among it.
    pub path: Vec<u8>,
    /// The path without links but, perhaps, its last part.
    pub real: Vec<u8>,
}

/// The way to one path.
///
/// A path is `/<volume>/dir/file`. `\` separates too where there is no such name. Links on the way
/// are followed, `..` of a volume's root stays in it.
pub struct Search<'a> {
    guest: Guest<'a>,
    tree: &'a dyn FileSystem,
    look_up: LookUp,
    follow: bool,
    /// Whether names are wanted as the guest writes them.
    spells: bool,
    /// What is left, the next part last.
    parts: Vec<Vec<u8>>,
    /// The directories down to here, from the root on, and their names.
    trail: Vec<(NodeId, Vec<u8>)>,
    /// The names that were asked for, as the guest writes them.
    asked: Vec<Vec<u8>>,
    links: u32,
    /// Whether `..` came after a link: then the way without links is the only one to tell.
    is_turned: bool,
}

impl<'a> Search<'a> {
    /// The way to `path`; links at its end are followed, and names are given back as they were
    /// asked for.
    pub fn new(guest: Guest<'a>, path: &[u8]) -> Self {
        let tree = guest.fs();
        Self {
            guest,
            tree,
            look_up,
            follow: true,
            spells: false,
            parts: split(path).rev().map(<[u8]>::to_vec).collect(),
            trail: vec![(tree.root(), Vec::new())],
            asked: Vec::new(),
            links: 0,
            is_turned: false,
        }
    }

    /// Whether a link at the end of the path is followed.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Names are given back in the guest's own spelling, which may have other capitals.
    #[must_use]
    pub fn spell(mut self) -> Self {
        self.spells = true;
        self
    }

    /// Names are looked up by `look_up`.
    #[must_use]
    pub fn by(mut self, look_up: LookUp) -> Self {
        self.look_up = look_up;
        self
    }

    fn here(&self) -> NodeId {
        self.trail.last().map_or_else(|| self.tree.root(), |(node, _)| *node)
    }

    /// Goes all the way.
    ///
    /// # Errors
    /// `NotFound`, or why something on the way cannot be read.
    pub fn run(mut self) -> FsResult<Found> {
        while let Some(part) = self.parts.pop() {
            match part.as_slice() {
                b"." => {}
                b".." => self.up(),
                _ => self.down(&part)?,
            }
        }
        let node = self.here();
        let names: Vec<Vec<u8>> = self.trail.into_iter().skip(1).map(|(_, name)| name).collect();
        let real = join(&names);
        let path = if self.is_turned { real.clone() } else { join(&self.asked) };
        Ok(Found { node, path, real })
    }

    fn up(&mut self) {
        // `..` of a volume's root stays in it, as `/..` does.
        if self.trail.len() > 1 + self.guest.above() {
            self.trail.pop();
        }
        self.is_turned |= self.links > 0;
        if self.asked.len() > self.guest.above() {
            self.asked.pop();
        }
    }

    fn down(&mut self, part: &[u8]) -> FsResult<()> {
        let here = self.here();
        let (next, name) = match (self.look_up)(self.tree, here, part) {
            Ok(found) => found,
            Err(error) if error.kind() == FsErrorKind::NotFound && self.splits(part) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let name = self.spelled(here, name, next);
        self.asked.push(name.clone());
        let is_on_the_way = !self.parts.is_empty() || self.follow;
        if self.trail.len() > self.guest.above()
            && is_on_the_way
            && self.tree.metadata(next)?.kind == FileKind::Symlink
        {
            return self.go_by_link(next);
        }
        self.trail.push((next, name));
        Ok(())
    }

    /// The name by which `node` was found in `dir`, as it is wanted.
    fn spelled(&self, dir: NodeId, name: Vec<u8>, node: NodeId) -> Vec<u8> {
        if self.spells { spelling(self.tree, dir, name, node) } else { name }
    }

    /// Parts `part`, which is not there, at a `\` that separates as Windows does: the last one before
    /// which there is something. Whether there was one.
    fn splits(&mut self, part: &[u8]) -> bool {
        let here = self.here();
        let ends = part.iter().enumerate().filter(|(_, byte)| **byte == b'\\');
        let mut heads = ends.rev().map(|(end, _)| part.split_at(end));
        let is_there = |head: &[u8]| {
            matches!(head, b"" | b"." | b"..") || (self.look_up)(self.tree, here, head).is_ok()
        };
        let Some((head, rest)) = heads.find(|(head, _)| is_there(head)) else {
            return false;
        };
        let rest = rest.get(1..).unwrap_or_default();
        let names = [rest, head].into_iter().filter(|name| !name.is_empty());
        self.parts.extend(names.map(<[u8]>::to_vec));
        true
    }

    /// Goes where `link`, an entry of the last directory, leads for the guest.
    fn go_by_link(&mut self, link: NodeId) -> FsResult<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(FsError::corrupt("links lead in a circle"));
        }
        let dirs: Vec<NodeId> = self.trail.iter().map(|(node, _)| *node).collect();
        let target = self.tree.read_link(link)?.0;
        let way = self.guest.resolve(&dirs, &target, true)?;
        self.trail.truncate(way.kept);
        let last = match way.end {
            End::Here => None,
            End::Node(node, name) => Some((node, name)),
            End::Missing(_) => return Err(FsError::not_found()),
            End::Nowhere => {
                let reason = "a link on the way leads to nothing, or in a circle";
                return Err(FsError::new(FsErrorKind::NotFound, reason));
            }
        };
        let dirs = way.dirs.into_iter().skip(way.kept);
        for (node, name) in dirs.zip(way.names).chain(last) {
            let name = self.spelled(self.here(), name, node);
            self.trail.push((node, name));
        }
        Ok(())
    }
}

/// How the guest writes the name of the entry `node` of `dir`, which was found by `name`: by other
/// capitals, or by the short name that FAT and NTFS give long ones.
fn spelling(tree: &dyn FileSystem, dir: NodeId, name: Vec<u8>, node: NodeId) -> Vec<u8> {
    let folded = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    let (mut own, mut is_exact, mut is_alike) = (None, false, false);
    // Where the directory cannot be listed, the name that was given is as good.
    let _ = tree.read_dir(dir, DirCursor::START, &mut |entry| {
        let other = entry.name.as_bytes();
        if other == name {
            is_exact = true;
            return ControlFlow::Break(());
        }
        if entry.node == node && !is_alike {
            is_alike = folded(other) == folded(&name);
            own = Some(other.to_vec());
        }
        ControlFlow::Continue(())
    });
    if is_exact { name } else { own.unwrap_or(name) }
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// The path of these names; that of none is `/`.
fn join(names: &[Vec<u8>]) -> Vec<u8> {
    [b"/", names.join(&b'/').as_slice()].concat()
}

/// The part of `path` that names the volume.
pub(crate) fn first_part(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or_default()
}
