//! Where copies go: directories of the output, and what waits for the end of the run.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use volfold_fs::{Metadata, NodeId};

use super::links::HostLink;
use super::output::Output;
use crate::cli::host_names::HostNames;

/// A directory of the output.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) dir: Arc<Output>,
    pub(super) names: HostNames,
    pub(super) lineage: Option<Arc<Lineage>>,
    /// Whether it is a copy in the place of a link.
    pub(super) is_copy: bool,
}

/// The guest's directory that is copied to a place, and those above.
pub(super) struct Lineage {
    pub(super) node: NodeId,
    pub(super) above: Option<Arc<Lineage>>,
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
