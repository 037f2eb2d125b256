//! The index of a directory or of attributes by hashes: a tree of nodes over a chain of leaves.
//!
//! Specification: "XFS Algorithms & Data Structures", chapters "Directories" and "Extended
//! Attributes". Big-endian. Every block begins with:
//!
//! | offset V4 | V5   | size | field      | rule                                                    |
//! |-----------|------|------|------------|---------------------------------------------------------|
//! | 0x00      | 0x00 | 4    | `next`     | the leaf or node after it, 0: none                      |
//! | 0x08      | 0x08 | 2    | `magic`    | see [`HashBlock::parse`]                                |
//! | 0x0C      | 0x38 | 2    | `count`    | entries                                                 |
//! | 0x0E      | 0x3A | 2    | `level`    | of a node, 1 above the leaves                           |
//!
//! An entry of a node is the largest hash below it and a block number, 4 bytes each; an entry of a
//! directory's leaf is a hash and the place of the name in units of 8 bytes, 0 for one that is gone.

use std::collections::HashSet;

use super::block_header::HASH_TREE;
use super::bytes::{be16, be32};
use super::volume::Volume;
use crate::error::{FsError, FsResult};
use crate::extents::Extents;

/// LIMIT: levels of nodes; the specification has no more than 5.
const MAX_LEVEL: u16 = 5;
/// LIMIT: leaves that are looked at, 256 MiB of them with blocks of 4 KiB.
const MAX_LEAVES: usize = 1 << 16;
const MAGIC_AT: usize = 0x08;
const NODE_HEADER_V4: usize = 0x10;
const NODE_HEADER_V5: usize = 0x40;
const ATTRIBUTE_HEADER_V4: usize = 0x20;
const ATTRIBUTE_HEADER_V5: usize = 0x50;

/// What a block of a hash tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Node,
    /// The one leaf of a directory without nodes, or one of several.
    DirectoryLeaf,
    AttributeLeaf,
}

/// A hash tree in a fork.
pub(super) struct HashTree<'a> {
    pub(super) volume: &'a Volume,
    /// The inode.
    pub(super) owner: u64,
    pub(super) extents: &'a Extents,
    /// The byte of the fork where the root lies.
    pub(super) root: u64,
    /// The bytes of a block.
    pub(super) block_size: u64,
}

/// A block of a hash tree.
pub(super) struct HashBlock {
    pub(super) kind: BlockKind,
    /// The block after it, 0 if it is the last.
    pub(super) next: u32,
    pub(super) count: u16,
    level: u16,
    is_v5: bool,
    pub(super) bytes: Vec<u8>,
}

impl HashTree<'_> {
    fn corrupt(&self, what: &str) -> FsError {
        FsError::corrupt(format!("hash tree of inode {} {what}", self.owner))
    }

    /// Reads the block at byte `offset` of the fork.
    fn read(&self, offset: u64) -> FsResult<HashBlock> {
        let mut bytes = Volume::buffer(self.block_size)?;
        self.volume.read_fork_block(self.extents, offset, self.owner, HASH_TREE, &mut bytes)?;
        let is_v5 = self.volume.superblock.features.is_v5;
        HashBlock::parse(bytes, is_v5).ok_or_else(|| self.corrupt("has an invalid block"))
    }

    /// Reads block `number` of the fork, in units of the file system's blocks.
    pub(super) fn block(&self, number: u32) -> FsResult<HashBlock> {
        let offset = self.volume.superblock.bytes(u64::from(number));
        self.read(offset.ok_or_else(|| self.corrupt("has an invalid block number"))?)
    }

    /// The first leaf that may have `hash`; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if a block on the way is damaged.
    pub(super) fn leaf(&self, hash: u32) -> FsResult<Option<HashBlock>> {
        let mut block = self.read(self.root)?;
        let mut above = MAX_LEVEL.saturating_add(1);
        while block.kind == BlockKind::Node {
            if block.level == 0 || block.level >= above {
                return Err(self.corrupt("has nodes out of order"));
            }
            above = block.level;
            let entries = block.entries().ok_or_else(|| self.corrupt("has an invalid node"))?;
            let found = entries.into_iter().find(|&(most, _)| most >= hash);
            let Some((most, child)) = found else { return Ok(None) };
            let child = self.block(child)?;
            if child.last_hash() != Some(most) {
                return Err(self.corrupt("has a node that contradicts what is below it"));
            }
            if (child.kind == BlockKind::Node) != (block.level > 1) {
                return Err(self.corrupt("has nodes out of order"));
            }
            block = child;
        }
        Ok(Some(block))
    }

    /// Visits the leaves from the one that may have `hash` on, until `visit` gives something.
    ///
    /// # Errors
    /// What `visit` says, or `Corrupt` if the chain is damaged.
    pub(super) fn find<T>(
        &self,
        hash: u32,
        mut visit: impl FnMut(&HashBlock) -> FsResult<LeafAnswer<T>>,
    ) -> FsResult<Option<T>> {
        let Some(mut leaf) = self.leaf(hash)? else { return Ok(None) };
        let mut seen = HashSet::new();
        loop {
            match visit(&leaf)? {
                LeafAnswer::Found(found) => return Ok(Some(found)),
                LeafAnswer::Absent => return Ok(None),
                LeafAnswer::GoOn if leaf.next == 0 => return Ok(None),
                LeafAnswer::GoOn => {}
            }
            if !seen.insert(leaf.next) || seen.len() > MAX_LEAVES {
                return Err(self.corrupt("has a chain of leaves without an end"));
            }
            leaf = self.block(leaf.next)?;
        }
    }
}

/// What one leaf has of the hash that is looked for.
pub(super) enum LeafAnswer<T> {
    Found(T),
    /// It is not there, and not in later leaves.
    Absent,
    /// It may be in the next leaf.
    GoOn,
}

impl HashBlock {
    fn parse(bytes: Vec<u8>, is_v5: bool) -> Option<Self> {
        let kind = match (be16(&bytes, MAGIC_AT)?, is_v5) {
            (0xFEBE, false) | (0x3EBE, true) => BlockKind::Node,
            (0xD2F1 | 0xD2FF, false) | (0x3DF1 | 0x3DFF, true) => BlockKind::DirectoryLeaf,
            (0xFBEE, false) | (0x3BEE, true) => BlockKind::AttributeLeaf,
            _ => return None,
        };
        let at = if is_v5 { 0x38 } else { 0x0C };
        Some(Self {
            kind,
            next: be32(&bytes, 0)?,
            count: be16(&bytes, at)?,
            level: be16(&bytes, at.checked_add(2)?)?,
            is_v5,
            bytes,
        })
    }

    /// Whether it has the layout of version 5.
    pub(super) fn is_v5(&self) -> bool {
        self.is_v5
    }

    /// The entries of a node, at least one; `None` if they do not fit or are out of order.
    fn entries(&self) -> Option<Vec<(u32, u32)>> {
        let entries = (0..usize::from(self.count)).map(|index| self.node_entry(index));
        let entries: Vec<(u32, u32)> = entries.collect::<Option<_>>()?;
        let in_order = entries.array_windows().all(|[one, next]| one.0 <= next.0);
        (in_order && !entries.is_empty()).then_some(entries)
    }

    /// The largest hash in it, that of its last entry.
    fn last_hash(&self) -> Option<u32> {
        let last = usize::from(self.count).checked_sub(1)?;
        match self.kind {
            // Hash and place have 8 bytes there too.
            BlockKind::AttributeLeaf => {
                let header = if self.is_v5 { ATTRIBUTE_HEADER_V5 } else { ATTRIBUTE_HEADER_V4 };
                be32(&self.bytes, header.checked_add(last.checked_mul(8)?)?)
            }
            _ => self.node_entry(last).map(|(hash, _)| hash),
        }
    }

    /// Entry `index` of a node or of a directory's leaf: a hash, and what it leads to.
    pub(super) fn node_entry(&self, index: usize) -> Option<(u32, u32)> {
        let header = if self.is_v5 { NODE_HEADER_V5 } else { NODE_HEADER_V4 };
        let at = header.checked_add(index.checked_mul(8)?)?;
        Some((be32(&self.bytes, at)?, be32(&self.bytes, at.checked_add(4)?)?))
    }
}
