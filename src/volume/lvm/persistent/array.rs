//! An array of numbers: blocks of them, which a tree finds by their order.
//!
//! Source: `dm-array.c` of Linux. Little-endian.
//!
//! | offset | size | field         | rule                                                          |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x00   | 4    | `checksum`    | of the rest of the block                                      |
//! | 0x04   | 4    | `max_entries` | places for values                                             |
//! | 0x08   | 4    | `entries`     | how many of them are used                                     |
//! | 0x0C   | 4    | `value_size`  | in bytes; here 8                                              |
//! | 0x10   | 8    | `block`       | the number of this block                                      |
//! | 0x18   | 8 n  | values        |                                                               |

use volfold_block::{BlockError, BlockResult, ByteReader};

use super::block::{BlockKind, Blocks};
use super::node::BLOCK_SIZE;

/// Values that fit into a block.
const IN_BLOCK: u64 = (BLOCK_SIZE - 24) / 8;

/// Gives the first `count` values of the array whose tree has the root `root` to `take`, with their places.
/// The caller bounds `count`.
///
/// # Errors
/// `Corrupt` where a block contradicts itself, why one cannot be read, or what `take` says.
pub(in super::super) fn read_array(
    blocks: &Blocks,
    root: u64,
    count: u64,
    take: &mut dyn FnMut(u64, u64) -> BlockResult<()>,
) -> BlockResult<()> {
    for number in 0..count.div_ceil(IN_BLOCK) {
        let found = blocks.find(root, number)?;
        let Some(block) = found.exact(number) else {
            return Err(BlockError::corrupt(
                "array lacks a block",
                root.saturating_mul(BLOCK_SIZE),
                0,
            ));
        };
        let bytes = blocks.read(block, BlockKind::Array)?;
        let at = block.saturating_mul(BLOCK_SIZE);
        let mut reader = ByteReader::new("block of the array", &bytes, at);
        reader.skip(8)?;
        let (entries, value_size) = (u64::from(reader.u32_le()?), reader.u32_le()?);
        let first = number.saturating_mul(IN_BLOCK);
        let wanted = count.saturating_sub(first).min(IN_BLOCK);
        if value_size != 8 || entries < wanted {
            return Err(BlockError::corrupt("block of the array has too few values", at, 0x08));
        }
        reader.skip(8)?;
        for index in 0..wanted {
            take(first.saturating_add(index), reader.u64_le()?)?;
        }
    }
    Ok(())
}
