//! The parts of a compressed file that can be decoded alone.

use volfold_block::{BlockError, BlockResult};

/// LIMIT: bytes of a block, compressed and not.
pub(super) const MAX_BLOCK: u64 = 64 << 20;

/// LIMIT: blocks of a file. 8 TiB in blocks of 16 MiB are half of this.
pub(super) const MAX_BLOCKS: usize = 1 << 20;

/// LIMIT: what is unpacked of a file once before it is read, where nothing in it tells its blocks.
pub(super) const MAX_UNPACKED: u64 = 2 << 40;

/// A part of the file that can be decoded alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins in the file, and how many bytes it has there.
    pub(super) at: u64,
    pub(super) packed: u64,
    /// Where its bytes begin in what was compressed, and how many they are.
    pub(super) start: u64,
    pub(super) size: u64,
    /// What the decoder has to know besides.
    pub(super) flags: u16,
}

/// Puts blocks one after the other.
#[derive(Default)]
pub(super) struct Blocks {
    pub(super) blocks: Vec<Block>,
    pub(super) size: u64,
}

impl Blocks {
    /// Adds `block`, whose start need not be known; `too_large` says what to do with a file whose
    /// blocks are.
    pub(super) fn add(&mut self, block: Block, too_large: &str) -> BlockResult<()> {
        if block.size > MAX_BLOCK || block.packed > MAX_BLOCK.saturating_add(MAX_BLOCK >> 4) {
            return Err(BlockError::unsupported(too_large.to_owned()).at(block.at));
        }
        if self.blocks.len() >= MAX_BLOCKS {
            let line = format!("file is compressed in more than {MAX_BLOCKS} blocks; unpack it");
            return Err(BlockError::unsupported(line));
        }
        if block.size > 0 {
            self.blocks.push(Block { start: self.size, ..block });
            self.size = self.size.saturating_add(block.size);
        }
        Ok(())
    }
}
