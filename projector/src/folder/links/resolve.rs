//! Where a link leads, found by following it as the guest does.
//!
//! A host that shows names other than the guest's cannot follow the guest's text: of `README` and
//! `readme` one has another name there. So the way is walked by the guest's names, and written down
//! as the directories on it.

use volfold_fs::{CaseRule, FileKind, FileSystem, FsErrorKind, FsResult, Name, NodeId, VolumeTree};

use super::{Begin, Target, parse};
use crate::folder::volume_names::VolumeNames;

/// LIMIT: links that are followed on one way, as in Linux.
const MAX_LINKS: usize = 40;

/// LIMIT: parts of all targets of one way together.
const MAX_PARTS: usize = 1024;

/// What links are resolved in: one volume, or a tree whose top directories are volumes.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) fs: &'a dyn FileSystem,
    /// The same as `fs`, where it is a tree.
    pub(crate) tree: Option<&'a VolumeTree>,
    /// The name of the volume, where it is one.
    pub(crate) own: &'a [u8],
    /// What links call the volumes.
    pub(crate) names: &'a VolumeNames,
}

/// Where a way ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In the last of the directories.
    Here,
    /// At this node of the last directory.
    Node(NodeId),
    /// There is no such name in the last directory; it, and what would follow.
    Missing(Vec<Vec<u8>>),
    /// Links lead in circles, or a name is below a file, or `..` after what is not there.
    Nowhere,
}

/// The way to where a link leads.
#[derive(PartialEq, Eq)]
pub(crate) struct Destination {
    /// The directories from the root on, none of them a link.
    pub(crate) dirs: Vec<NodeId>,
    pub(crate) end: End,
}

impl Guest<'_> {
    /// How many directories lie above the root of a volume.
    fn above(&self) -> usize {
        usize::from(self.tree.is_some())
    }

    /// The name of the volume that `dirs` lie in, and how it compares names.
    fn volume(&self, dirs: &[NodeId]) -> (&[u8], CaseRule) {
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
    pub(crate) fn resolve(
        &self,
        dirs: &[NodeId],
        target: &[u8],
        also_last: bool,
    ) -> FsResult<Destination> {
        let mut way =
            Way { guest: *self, dirs: dirs.to_vec(), parts: Vec::new(), links: 0, steps: 0 };
        let end = way.walk(target, also_last)?;
        Ok(Destination { dirs: way.dirs, end })
    }
}

/// A way that is being walked.
struct Way<'a> {
    guest: Guest<'a>,
    dirs: Vec<NodeId>,
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
                if self.dirs.len() > 1 + self.guest.above() {
                    self.dirs.pop();
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
                return Ok(End::Node(node));
            }
            match fs.metadata(node)?.kind {
                FileKind::Directory => self.dirs.push(node),
                FileKind::Symlink => {
                    self.links += 1;
                    let target = fs.read_link(node)?.0;
                    if self.links > MAX_LINKS || !self.begin(&target) {
                        return Ok(End::Nowhere);
                    }
                }
                _ if self.parts.is_empty() => return Ok(End::Node(node)),
                _ => return Ok(End::Nowhere),
            }
        }
        Ok(End::Here)
    }

    /// Goes on with the text of a link in the last directory; whether there are not too many parts.
    fn begin(&mut self, target: &[u8]) -> bool {
        let (own, case) = self.guest.volume(&self.dirs);
        let Target { begin, parts } = parse(own, case, target, self.guest.names);
        self.steps += parts.len();
        if self.steps > MAX_PARTS {
            return false;
        }
        self.parts.extend(parts.into_iter().rev().map(<[u8]>::to_vec));
        match begin {
            Begin::Here => {}
            Begin::Root => self.dirs.truncate(1 + self.guest.above()),
            Begin::Volume(folder) => {
                self.dirs.truncate(1);
                self.parts.push(folder.to_vec());
            }
        }
        true
    }

    /// There is no `part` in the last directory.
    fn missing(&mut self, part: Vec<u8>) -> End {
        let mut rest = vec![part];
        rest.extend(self.parts.drain(..).rev());
        if rest.iter().any(|part| part == b"..") { End::Nowhere } else { End::Missing(rest) }
    }
}
