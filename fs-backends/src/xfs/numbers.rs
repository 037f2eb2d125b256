//! The numbers of nodes, which are those of inodes where these are small enough.
//!
//! An inode of XFS has a number of 64 bits, that of a node has 48. The few volumes with larger numbers,
//! of some 16 PiB and more, get others for them in the order in which they are met, which stay the same
//! while the volume is mounted.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::error::{FsError, FsResult};
use crate::node::NodeId;

/// LIMIT: inodes with other numbers than their own, 12 MiB of them.
const MAX_LARGE: usize = 1 << 18;
/// Numbers of nodes are below 2^48, and from this one on they are not those of inodes.
const FIRST_LARGE: u64 = (1 << 48) - (1 << 18);

/// The nodes of inodes.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<Large>);

#[derive(Debug, Default)]
struct Large {
    inodes: Vec<u64>,
    nodes: HashMap<u64, u64>,
}

impl Numbers {
    /// The node of the inode `inode`.
    ///
    /// # Errors
    /// `Unsupported` if too many have another number than their own.
    pub(super) fn node(&self, inode: u64) -> FsResult<NodeId> {
        if inode < FIRST_LARGE {
            return Ok(NodeId(inode));
        }
        let mut large = self.0.lock();
        if let Some(node) = large.nodes.get(&inode) {
            return Ok(NodeId(*node));
        }
        if large.inodes.len() >= MAX_LARGE {
            let message = "too many inodes with numbers of more than 48 bits are in use at once";
            return Err(FsError::unsupported(message));
        }
        let node = FIRST_LARGE.saturating_add(volfold_block::byte_count(large.inodes.len()));
        large.inodes.push(inode);
        large.nodes.insert(inode, node);
        Ok(NodeId(node))
    }

    /// The inode of `node`.
    ///
    /// # Errors
    /// `NotFound` if it has none.
    pub(super) fn inode(&self, node: NodeId) -> FsResult<u64> {
        let Some(index) = node.0.checked_sub(FIRST_LARGE) else { return Ok(node.0) };
        let index = usize::try_from(index).map_err(|_| FsError::not_found())?;
        self.0.lock().inodes.get(index).copied().ok_or_else(FsError::not_found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    #[test]
    fn large_numbers_have_others_that_stay() {
        let numbers = Numbers::default();
        assert_eq!(numbers.node(131).unwrap(), NodeId(131));
        let large = [1 << 48, u64::MAX, FIRST_LARGE];
        let nodes = large.map(|inode| numbers.node(inode).unwrap());
        assert!(nodes.iter().all(|node| node.0 < 1 << 48 && node.0 >= FIRST_LARGE));
        assert_eq!(nodes, large.map(|inode| numbers.node(inode).unwrap()));
        assert_eq!(nodes.map(|node| numbers.inode(node).unwrap()), large);
        assert_eq!(numbers.inode(NodeId(131)).unwrap(), 131);
        let unknown = numbers.inode(NodeId(FIRST_LARGE + 3)).unwrap_err();
        assert_eq!(unknown.kind(), FsErrorKind::NotFound);
        for inode in 0..1 << 18 {
            let _ = numbers.node((1 << 50) + inode);
        }
        assert_eq!(numbers.node(1 << 60).unwrap_err().kind(), FsErrorKind::Unsupported);
    }
}
