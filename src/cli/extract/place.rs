//! Where copies go: directories of the output, and what waits for the end of the run.

#[cfg(unix)]
use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
#[cfg(unix)]
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(unix)]
use volfold_fs::DirCursor;
use volfold_fs::{FileSystem, Metadata, NodeId};

use super::links::HostLink;
use super::output::Output;
use crate::cli::host_names::HostNames;

/// A directory of the output.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) dir: Arc<Output>,
    pub(super) names: HostNames,
    pub(super) lineage: Option<Arc<Lineage>>,
    /// The guest's names that the host takes for others of the directory.
    pub(super) clashing: HashSet<Vec<u8>>,
    /// Whether it is a copy in the place of a link.
    pub(super) is_copy: bool,
}

/// The names of `dir` that `output` takes for others of them: all but the first of those that differ
/// in case only, where the host ignores case. A run that adds to what is there would mix them up; one
/// that does not meets the first.
#[cfg(unix)]
pub(super) fn clashing(
    tree: &dyn FileSystem,
    dir: NodeId,
    output: &Output,
) -> io::Result<HashSet<Vec<u8>>> {
    let mut groups: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    // The walk tells of directories that cannot be read.
    let _ = tree.read_dir(dir, DirCursor::START, &mut |entry| {
        let name = entry.name.as_bytes();
        let folded = String::from_utf8_lossy(name).to_uppercase();
        groups.entry(folded).or_default().push(name.to_vec());
        ControlFlow::Continue(())
    });
    groups.retain(|_, names| names.len() > 1);
    if groups.is_empty() || !output.ignores_case()? {
        return Ok(HashSet::new());
    }
    let but_first = |mut names: Vec<Vec<u8>>| {
        names.sort();
        names.into_iter().skip(1)
    };
    Ok(groups.into_values().flat_map(but_first).collect())
}

/// Names that Windows takes for one were parted when they were made the host's.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "other hosts are asked")]
pub(super) fn clashing(
    _tree: &dyn FileSystem,
    _dir: NodeId,
    _output: &Output,
) -> io::Result<HashSet<Vec<u8>>> {
    Ok(HashSet::new())
}

/// The guest's directory that is copied to a place, and those above.
pub(super) struct Lineage {
    node: NodeId,
    above: Option<Arc<Lineage>>,
}

impl Lineage {
    pub(super) fn new(node: NodeId, above: Option<Arc<Self>>) -> Option<Arc<Self>> {
        Some(Arc::new(Self { node, above }))
    }

    /// Whether `node` is among them.
    pub(super) fn has(lineage: &Option<Arc<Self>>, node: NodeId) -> bool {
        let mut next = lineage.as_ref();
        while let Some(one) = next {
            if one.node == node {
                return true;
            }
            next = one.above.as_ref();
        }
        false
    }
}

/// They go one after the other: each in the other's end would need as deep a stack as they are.
impl Drop for Lineage {
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(one) = next {
            next = Arc::into_inner(one).and_then(|mut one| one.above.take());
        }
    }
}

/// A link in whose place what it leads to is copied.
pub(super) struct CopiedLink {
    pub(super) place: Arc<Place>,
    pub(super) name: OsString,
    pub(super) path: Vec<u8>,
}

/// A symbolic link that is made at the end.
pub(super) struct Link {
    pub(super) dir: Arc<Output>,
    pub(super) name: OsString,
    pub(super) path: Vec<u8>,
    pub(super) link: HostLink,
}

/// What can only be made when all files are there.
#[derive(Default)]
pub(super) struct Later {
    pub(super) links: Vec<Link>,
    pub(super) twins: Vec<(PathBuf, PathBuf, Vec<u8>)>,
    pub(super) directories: Vec<(PathBuf, Metadata)>,
    pub(super) first_names: HashMap<NodeId, PathBuf>,
}
