//! Where a link leads, found by following it as the guest does.
//!
//! A host that shows names other than the guest's cannot follow the guest's text: of `README` and
//! `readme` one has another name there. So the way is walked by the guest's names, and written down
//! as the directories on it.

use super::{Begin, Target, VolumeNames, parse};
use crate::error::{FsErrorKind, FsResult};
use crate::node::{CaseRule, FileKind, FileSystem, Name, NodeId};
use crate::tree::VolumeTree;

/// LIMIT: links that are followed on one way, as in Linux.
const MAX_LINKS: usize = 40;

/// LIMIT: parts of all targets of one way together.
const MAX_PARTS: usize = 1024;

/// What links are resolved in: one volume, or a tree whose top directories are volumes.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    fs: &'a dyn FileSystem,
    /// The same as `fs`, where it is a tree.
    tree: Option<&'a VolumeTree>,
    /// The name of the volume, where it is one.
    own: &'a [u8],
    /// What links call the volumes.
    names: &'a VolumeNames,
}

/// Where a way ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// In the last of the directories.
    Here,
    /// At this node of the last directory, by this name of the guest.
    Node(NodeId, Vec<u8>),
    /// There is no such name in the last directory; it, and what would follow.
    Missing(Vec<Vec<u8>>),
    /// Links lead in circles, or a name is below a file, or `..` after what is not there.
    Nowhere,
}

/// The way to where a link leads.
#[derive(Debug)]
pub struct Destination {
    /// The directories from the root on, none of them a link.
    pub dirs: Vec<NodeId>,
    /// How many of the directories of the link the way goes on from.
    pub kept: usize,
    /// The guest's names of the directories after those.
    pub names: Vec<Vec<u8>>,
    /// What the way ends with.
    pub end: End,
}

impl Destination {
    /// Whether both lead to one place.
    pub fn is_same(&self, other: &Self) -> bool {
        self.dirs == other.dirs && self.end == other.end
    }
}

impl<'a> Guest<'a> {
    /// All volumes of `tree`, which links call what `names` tells.
    pub fn set(tree: &'a VolumeTree, names: &'a VolumeNames) -> Self {
        Self { fs: tree, tree: Some(tree), own: b"", names }
    }

    /// One volume, whose folder in a set is `own`.
    pub fn volume(fs: &'a dyn FileSystem, own: &'a [u8], names: &'a VolumeNames) -> Self {
        Self { fs, tree: None, own, names }
    }

    /// Whether its top directories are volumes.
    pub fn is_set(&self) -> bool {
        self.tree.is_some()
    }

    /// What links call the volumes.
    pub fn names(&self) -> &'a VolumeNames {
        self.names
    }

    /// The files.
    pub fn fs(&self) -> &'a dyn FileSystem {
        self.fs
    }

    /// How many directories lie above the root of a volume.
    pub fn above(&self) -> usize {
        usize::from(self.tree.is_some())
    }

    /// The name of the volume that `dirs` lie in, and how it compares names.
    pub fn volume_of(&self, dirs: &[NodeId]) -> (&[u8], CaseRule) {
        match (self.tree, dirs.get(1)) {
            (Some(tree), Some(root)) => {
                let name = tree.volume_name(*root).unwrap_or_default();
                (name, tree.case(*root))
            }
            _ => (self.own, self.fs.info().case),
        }
    }

    /// Follows `target`, the text of a link in the last one of `dirs`; the directories begin with the
    /// root. Links on the way are followed, and one at its end with `also_last`.
    ///
    /// # Errors
    /// Why something on the way cannot be read.
    pub fn resolve(
        &self,
        dirs: &[NodeId],
        target: &[u8],
        also_last: bool,
    ) -> FsResult<Destination> {
        let mut way = Way {
            guest: *self,
            dirs: dirs.to_vec(),
            kept: dirs.len(),
            names: Vec::new(),
            parts: Vec::new(),
            links: 0,
            steps: 0,
        };
        let end = way.walk(target, also_last)?;
        Ok(Destination { dirs: way.dirs, kept: way.kept, names: way.names, end })
    }
}

/// A way that is being walked.
struct Way<'a> {
    guest: Guest<'a>,
    dirs: Vec<NodeId>,
    kept: usize,
    names: Vec<Vec<u8>>,
    /// What is still to be walked, the next part last.
    parts: Vec<Vec<u8>>,
    links: usize,
    steps: usize,
}

impl Way<'_> {
    fn walk(&mut self, target: &[u8], also_last: bool) -> FsResult<End> {
        if !self.begin(target) {
            return Ok(End::Nowhere);
        }
        let fs = self.guest.fs;
        while let Some(part) = self.parts.pop() {
            if part == b".." {
                if self.dirs.len() > self.guest.above().saturating_add(1) {
                    self.up_to(self.dirs.len().saturating_sub(1));
                }
                continue;
            }
            let here = self.dirs.last().copied().unwrap_or_else(|| fs.root());
            let node = match fs.lookup(here, Name::new(&part)) {
                Ok(node) => node,
                Err(error) if error.kind() == FsErrorKind::NotFound => {
                    return Ok(self.missing(part));
                }
                Err(error) => return Err(error),
            };
            if self.parts.is_empty() && !also_last {
                return Ok(End::Node(node, part));
            }
            match fs.metadata(node)?.kind {
                FileKind::Directory => {
                    self.dirs.push(node);
                    self.names.push(part);
                }
                FileKind::Symlink => {
                    self.links = self.links.saturating_add(1);
                    let target = fs.read_link(node)?.0;
                    if self.links > MAX_LINKS || !self.begin(&target) {
                        return Ok(End::Nowhere);
                    }
                }
                _ if self.parts.is_empty() => return Ok(End::Node(node, part)),
                _ => return Ok(End::Nowhere),
            }
        }
        Ok(End::Here)
    }

    /// Goes on with the text of a link in the last directory; whether there are not too many parts.
    fn begin(&mut self, target: &[u8]) -> bool {
        let (own, case) = self.guest.volume_of(&self.dirs);
        let Target { begin, parts } = parse(own, case, target, self.guest.names);
        self.steps = self.steps.saturating_add(parts.len());
        if self.steps > MAX_PARTS {
            return false;
        }
        self.parts.extend(parts.into_iter().rev().map(<[u8]>::to_vec));
        match begin {
            Begin::Here => {}
            Begin::Root => self.up_to(self.guest.above().saturating_add(1)),
            Begin::Volume(folder) => {
                self.parts.push(folder.to_vec());
                self.up_to(1);
            }
        }
        true
    }

    /// Leaves all but the first `count` directories.
    fn up_to(&mut self, count: usize) {
        self.dirs.truncate(count);
        self.kept = self.kept.min(count);
        self.names.truncate(self.dirs.len().saturating_sub(self.kept));
    }

    /// There is no `part` in the last directory.
    fn missing(&mut self, part: Vec<u8>) -> End {
        let mut rest = vec![part];
        rest.extend(self.parts.drain(..).rev());
        if rest.iter().any(|part| part == b"..") { End::Nowhere } else { End::Missing(rest) }
    }
}
