//! The format that the device-mapper keeps its tables in: blocks with checksums, and trees of them.
//!
//! Source: `drivers/md/persistent-data` of Linux. All blocks have 4096 bytes; they begin with a checksum
//! and hold their own number, so that a block that was written to the wrong place is noticed.

mod array;
mod block;
mod btree;
mod node;
#[cfg(test)]
mod tests;

pub(super) use array::read_array;
pub(super) use block::{BlockKind, Blocks, Nodes};
pub(super) use btree::Found;
