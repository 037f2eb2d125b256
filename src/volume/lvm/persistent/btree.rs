//! A B-tree of numbers: the way from its root to the leaf where a key is.

use std::sync::Arc;

use volfold_block::{BlockError, BlockResult, byte_count};

use super::block::Blocks;
use super::node::{BLOCK_SIZE, HEADER, Node};

/// LIMIT: nodes from a root to a leaf; a full tree of 2^64 keys has nine.
const MAX_DEPTH: usize = 16;

/// The leaf where a key is, or would be.
pub(in super::super) struct Found {
    /// The leaf; the node where the way ended, if the key lies before all others.
    pub(in super::super) node: Arc<Node>,
    /// The last entry whose key is not above the one that was looked for.
    pub(in super::super) index: Option<usize>,
    /// All keys of the leaf are below.
    pub(in super::super) end: u64,
}

impl Found {
    /// The value of the key `wanted` itself, as a number.
    pub(in super::super) fn exact(&self, wanted: u64) -> Option<u64> {
        let index = self.index.filter(|index| self.node.key(*index) == Some(wanted))?;
        self.node.number(index)
    }

    /// The first key above the one that was looked for; of the next leaf a bound below it.
    pub(in super::super) fn next(&self) -> u64 {
        let after = self.index.map_or(0, |index| index.saturating_add(1));
        self.node.key(after).unwrap_or(self.end)
    }
}

impl Blocks {
    /// Looks for `wanted` in the tree whose root is the block `root`.
    ///
    /// # Errors
    /// `Corrupt` where a node contradicts itself or the one above it, or why one cannot be read.
    pub(in super::super) fn find(&self, root: u64, wanted: u64) -> BlockResult<Found> {
        let (mut block, mut start, mut end) = (root, 0, u64::MAX);
        for _ in 0..MAX_DEPTH {
            let node = self.node(block)?;
            let at = block.saturating_mul(BLOCK_SIZE);
            let first = node.key(0);
            let last = node.entries.checked_sub(1).and_then(|last| node.key(last));
            if first.is_some_and(|first| first < start) || last.is_some_and(|last| last >= end) {
                let line = "keys of a node of the tree are not those that the node above it has";
                // The last key there is has no key above it.
                if !(end == u64::MAX && last == Some(u64::MAX)) {
                    return Err(BlockError::corrupt(line, at, HEADER));
                }
            }
            let index = node.at_most(wanted);
            let Some(below) = index.filter(|_| !node.is_leaf) else {
                return Ok(Found { node, index, end });
            };
            let key = node.key(below);
            let next = node.key(below.saturating_add(1));
            let child = node.number(below);
            let (Some(key), Some(child)) = (key, child) else {
                return Err(BlockError::corrupt("node of the tree is cut short", at, HEADER));
            };
            (block, start, end) = (child, key, next.unwrap_or(end));
        }
        let line = format!("tree is more than {} nodes deep", byte_count(MAX_DEPTH));
        Err(BlockError::corrupt(line, root.saturating_mul(BLOCK_SIZE), 0))
    }
}
