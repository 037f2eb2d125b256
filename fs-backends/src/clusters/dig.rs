//! The walk that looks for what was deleted: over the directories that are there, and those that were deleted too.

use volfold_block::{Code, FindingLog};

use super::finding::finding_of;
use crate::error::{FsErrorKind, FsResult};
use crate::node::{LivingPath, NodeId};

/// LIMIT: how deep directories may lie.
const MAX_DEPTH: usize = 2048;
/// LIMIT: what was deleted on one volume.
pub(crate) const MAX_FOUND: usize = 1 << 21;

/// A directory that is looked into; `G` says where one was that is gone.
pub(crate) enum Place<G> {
    Living(NodeId, LivingPath),
    Deleted(NodeId, G),
}

/// The directories that will be looked into, each with how deep it lies.
pub(crate) struct Ahead<G>(Vec<(Place<G>, usize)>);

impl<G> Ahead<G> {
    /// The root directory alone.
    pub(crate) fn from(root: NodeId) -> Self {
        Self(vec![(Place::Living(root, LivingPath::default()), 0)])
    }

    /// Whether what lies in a directory that is `depth` deep may be looked into.
    pub(crate) fn goes_below(depth: usize) -> bool {
        depth < MAX_DEPTH
    }

    /// Adds a directory that lies in one which is `depth` deep.
    pub(crate) fn push(&mut self, place: Place<G>, depth: usize) {
        if Self::goes_below(depth) {
            self.0.push((place, depth.saturating_add(1)));
        }
    }
}

/// What looks into directories.
pub(crate) trait Digger {
    /// Where a directory was that is gone.
    type Gone;

    fn ahead(&mut self) -> &mut Ahead<Self::Gone>;

    /// Notes what was deleted in the directory `here`, which is `depth` deep, and adds those in it to
    /// [`Self::ahead`].
    ///
    /// # Errors
    /// `Unsupported` if the whole volume is beyond bounds; why the directory cannot be read.
    fn look_into(&mut self, here: &Place<Self::Gone>, depth: usize) -> FsResult<()>;
}

/// Has `digger` look into all directories. One that cannot be read is told as `code`.
///
/// # Errors
/// `Unsupported`, as [`Digger::look_into`].
pub(crate) fn dig<D: Digger>(digger: &mut D, log: &FindingLog, code: Code) -> FsResult<()> {
    while let Some((here, depth)) = digger.ahead().0.pop() {
        match digger.look_into(&here, depth) {
            Ok(()) => {}
            Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
            Err(error) => {
                let (node, name) = match &here {
                    Place::Living(node, path) => {
                        (*node, path.split().map_or(&b"root directory"[..], |(_, name)| name))
                    }
                    Place::Deleted(node, _) => (*node, &b"deleted directory"[..]),
                };
                let line = format!("not looked into for deleted files: {error}");
                log.add(finding_of(node, &String::from_utf8_lossy(name), code, &line));
            }
        }
    }
    Ok(())
}
