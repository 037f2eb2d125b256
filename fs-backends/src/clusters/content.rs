//! What the chain of a file is worth: told where it is too long or too short, and given up to where
//! it is the file's own.

use volfold_block::{Code, Finding, FindingLog, code};

use super::chain::{ChainEnd, Link};
use super::claims::{Claim, Claims};
use super::heap::ClusterHeap;
use crate::error::{FsErrorKind, FsResult};
use crate::extents::{Extents, Place};
use crate::node::NodeId;

/// The codes of what can be wrong with a chain.
pub(crate) struct ChainCodes {
    pub(crate) long: Code,
    pub(crate) short: Code,
    pub(crate) crossed: Code,
}

/// How the findings about one file are told.
pub(crate) struct Teller<'a> {
    pub(crate) codes: &'static ChainCodes,
    /// Takes what is odd about the file.
    pub(crate) note: &'a dyn Fn(Code, &str),
    /// Takes what is odd about the volume.
    pub(crate) log: &'a FindingLog,
}

impl Teller<'_> {
    /// Tells how the chain of a file of `size` bytes ends, which has `stored` of them.
    pub(crate) fn tell_end(&self, end: ChainEnd, stored: u64, size: u64) {
        match (end, end.fault()) {
            (ChainEnd::Whole(Link::Doubtful), _) => {}
            (ChainEnd::Whole(_), Some(fault)) => {
                let line = format!("cluster chain {fault} after the {size} bytes of the file");
                (self.note)(self.codes.long, &line);
            }
            (ChainEnd::Whole(_), None) => {}
            (_, fault) => {
                let fault = fault.unwrap_or("ends");
                let line = format!("cluster chain {fault} after {stored} of {size} bytes");
                (self.note)(self.codes.short, &line);
            }
        }
    }

    /// Cuts off `extents`, which begin with the cluster `first`, where the clusters are another file's,
    /// and makes them `size` bytes long by what is refused.
    ///
    /// # Errors
    /// As [`Extents::push`].
    pub(crate) fn keep_own(
        &self,
        (claims, heap): (&Claims, &ClusterHeap),
        (node, first): (NodeId, u32),
        extents: &mut Extents,
        size: u64,
    ) -> FsResult<()> {
        if heap.has_cluster(first) {
            let own = match claims.take(heap, node, first, extents) {
                Claim::Whole => size,
                Claim::TooMany => {
                    let line = "volume has more files than are compared with each other";
                    self.log.add(Finding::warning(code::NOT_COMPARED, line));
                    size
                }
                Claim::UpTo(offset) => offset,
                Claim::Foreign => 0,
            };
            if own < size {
                extents.truncate(own);
                let line = format!("clusters from byte {own} of {size} on are another file's");
                (self.note)(self.codes.crossed, &line);
            }
        }
        extents.push(Place::Refused(FsErrorKind::Corrupt), size.saturating_sub(extents.end()))
    }
}
