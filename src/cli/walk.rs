//! Finding paths in a tree, and walking below them.

use std::ops::ControlFlow;

use volfold_fs::{
    DirCursor, FileKind, FileSystem, FsError, FsErrorKind, FsResult, Metadata, Name, NodeId,
};
use volfold_projector::folder::links::{End, Guest};
use volfold_projector::folder::names;

/// LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// LIMIT: links followed on the way to one path, as Linux.
const MAX_LINKS: u32 = 40;

/// The node at `path` (`/<volume>/dir/file`), following links on the way; those at the end only if
/// `follow`.
pub(crate) fn resolve(guest: Guest<'_>, path: &[u8], follow: bool) -> FsResult<NodeId> {
    Ok(Search::new(guest, path, follow, false).run()?.node)
}

/// As [`resolve`], with the path in the guest's own spelling, which may have other capitals, and no
/// `.` and `..`.
pub(crate) fn find(guest: Guest<'_>, path: &[u8], follow: bool) -> FsResult<Found> {
    Search::new(guest, path, follow, true).run()
}

/// What is at a path.
pub(crate) struct Found {
    pub(crate) node: NodeId,
    /// The path as it was asked for, links among it.
    pub(crate) path: Vec<u8>,
    /// The path without links but, perhaps, its last part.
    pub(crate) real: Vec<u8>,
}

/// What was `found`, without what lies in another part of it, and each once.
pub(crate) fn outermost(found: Vec<(Vec<u8>, FsResult<Found>)>) -> Vec<(Vec<u8>, FsResult<Found>)> {
    let reals: Vec<Option<Vec<u8>>> = found
        .iter()
        .map(|(_, found)| found.as_ref().ok().map(|found| found.real.clone()))
        .collect();
    let is_in = |inner: &[u8], outer: &[u8]| {
        let rest = inner.strip_prefix(outer.strip_suffix(b"/").unwrap_or(outer));
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let covers = |number: usize, real: &Vec<u8>| {
        reals.iter().enumerate().any(|(other, outer)| match outer {
            Some(outer) => {
                (outer == real && other < number) || (outer != real && is_in(real, outer))
            }
            None => false,
        })
    };
    let is_outermost = |number: usize| {
        reals.get(number).and_then(Option::as_ref).is_none_or(|real| !covers(number, real))
    };
    let numbered = found.into_iter().enumerate();
    numbered.filter(|(number, _)| is_outermost(*number)).map(|(_, found)| found).collect()
}

/// The way to one path.
struct Search<'a> {
    guest: Guest<'a>,
    tree: &'a dyn FileSystem,
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
    fn new(guest: Guest<'a>, path: &[u8], follow: bool, spells: bool) -> Self {
        let tree = guest.fs();
        let parts = split(path).rev().map(<[u8]>::to_vec).collect();
        let trail = vec![(tree.root(), Vec::new())];
        let (asked, links, is_turned) = (Vec::new(), 0, false);
        Self { guest, tree, follow, spells, parts, trail, asked, links, is_turned }
    }

    fn here(&self) -> NodeId {
        self.trail.last().map_or_else(|| self.tree.root(), |(node, _)| *node)
    }

    fn run(mut self) -> FsResult<Found> {
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
        if self.trail.len() > 2 {
            self.trail.pop();
        }
        self.is_turned |= self.links > 0;
        if self.asked.len() > 1 {
            self.asked.pop();
        }
    }

    fn down(&mut self, part: &[u8]) -> FsResult<()> {
        let here = self.here();
        let (next, name) = match lookup(self.tree, here, part) {
            Ok(found) => found,
            Err(error) if error.kind() == FsErrorKind::NotFound && self.splits(part) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let name = self.spelled(here, name, next);
        self.asked.push(name.clone());
        let is_on_the_way = !self.parts.is_empty() || self.follow;
        if self.trail.len() >= 2
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
            matches!(head, b"" | b"." | b"..") || lookup(self.tree, here, head).is_ok()
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

/// The entry `name` of `dir`, and its name; that may also be written as a mount shows it.
fn lookup(tree: &dyn FileSystem, dir: NodeId, name: &[u8]) -> FsResult<(NodeId, Vec<u8>)> {
    let exact = tree.lookup(dir, Name::new(name));
    let shown = names::to_guest(name)
        .and_then(|guest| Some((tree.lookup(dir, Name::new(&guest)).ok()?, guest)));
    match (exact, shown) {
        (Ok(node), Some((other, _))) if node != other => Err(FsError::new(
            FsErrorKind::InvalidName,
            "two files may be meant, one is called so and one is shown so; give the other's own name, \
             or its name with a number",
        )),
        (Ok(node), _) => Ok((node, name.to_vec())),
        (Err(error), _) if error.kind() != FsErrorKind::NotFound => Err(error),
        (Err(_), Some(shown)) => Ok(shown),
        (Err(error), None) => numbered(tree, dir, name).ok_or(error),
    }
}

/// The entry of `dir` that Windows is shown as `name`, with the number of one of several names that
/// differ in case, or of one that is too long.
fn numbered(tree: &dyn FileSystem, dir: NodeId, name: &[u8]) -> Option<(NodeId, Vec<u8>)> {
    let wanted: Vec<u16> = std::str::from_utf8(name).ok()?.encode_utf16().collect();
    names::has_number(&wanted).then_some(())?;
    let mut entries: Vec<(NodeId, Vec<u8>)> = Vec::new();
    tree.read_dir(dir, DirCursor::START, &mut |entry| {
        entries.push((entry.node, entry.name.as_bytes().to_vec()));
        ControlFlow::Continue(())
    })
    .ok()?;
    let guests: Vec<&[u8]> = entries.iter().map(|(_, name)| name.as_slice()).collect();
    let fold = |name: &[u16]| name.iter().map(|unit| names::fold(*unit)).collect::<Vec<_>>();
    let wanted = fold(&wanted);
    let mut hosts = names::disambiguate_case(&guests).into_iter();
    let (place, _) = hosts.find(|(_, host)| fold(host) == wanted)?;
    entries.into_iter().nth(place)
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
