//! A node of a B-tree of numbers: keys in order, with a value for each.
//!
//! Source: `dm-btree-internal.h` of Linux. Little-endian.
//!
//! | offset | size | field         | rule                                                          |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x00   | 4    | `checksum`    | of the rest of the block                                      |
//! | 0x04   | 4    | `kind`        | 1: the values are blocks of nodes; 2: a leaf                  |
//! | 0x08   | 8    | `block`       | the number of this block                                      |
//! | 0x10   | 4    | `entries`     | at most `max_entries`                                         |
//! | 0x14   | 4    | `max_entries` | keys and values of as many fit into the block                 |
//! | 0x18   | 4    | `value_size`  | in bytes; 8 but in leaves                                     |
//! | 0x1C   | 4    | `padding`     | not looked at                                                 |
//! | 0x20   | 8 n  | keys          | `max_entries` places, ascending                               |
//! |        |      | values        | `max_entries` places                                          |

use volfold_block::{BlockError, BlockResult, ByteReader, bytes_to_index};

/// The size of a block in bytes.
pub(super) const BLOCK_SIZE: u64 = 4096;

/// The size of the header of a node.
pub(super) const HEADER: u64 = 32;

/// A node that was checked: its keys ascend.
#[derive(Debug)]
pub(in super::super) struct Node {
    pub(super) is_leaf: bool,
    pub(super) entries: usize,
    /// Where the values begin.
    values: usize,
    value_size: usize,
    bytes: Vec<u8>,
}

impl Node {
    /// Checks the node in `bytes`, which began at `at`.
    ///
    /// # Errors
    /// `Corrupt` where it contradicts itself.
    pub(super) fn parse(bytes: Vec<u8>, at: u64) -> BlockResult<Self> {
        let corrupt = |what: &'static str, field| BlockError::corrupt(what, at, field);
        let mut reader = ByteReader::new("node of the tree", &bytes, at);
        reader.skip(4)?;
        let kind = reader.u32_le()?;
        reader.skip(8)?;
        let (entries, max_entries) = (reader.u32_le()?, reader.u32_le()?);
        let value_size = reader.u32_le()?;
        if !matches!(kind, 1 | 2) {
            return Err(corrupt("node of the tree is of no known kind", 0x04));
        }
        if entries > max_entries {
            return Err(corrupt("node of the tree has too many entries", 0x10));
        }
        let entry = u64::from(value_size).checked_add(8);
        let all = entry.and_then(|entry| entry.checked_mul(u64::from(max_entries)));
        if all.and_then(|all| all.checked_add(HEADER)).is_none_or(|all| all > BLOCK_SIZE) {
            return Err(corrupt("entries of a node of the tree leave its block", 0x14));
        }
        if kind == 1 && (value_size != 8 || entries == 0) {
            return Err(corrupt("node of the tree has no nodes below it", 0x18));
        }
        let values = HEADER.saturating_add(u64::from(max_entries).saturating_mul(8));
        let node = Self {
            is_leaf: kind == 2,
            entries: bytes_to_index(u64::from(entries))?,
            values: bytes_to_index(values)?,
            value_size: bytes_to_index(u64::from(value_size))?,
            bytes,
        };
        let keys: Vec<Option<u64>> = (0..node.entries).map(|index| node.key(index)).collect();
        if !keys.is_sorted_by(|one, next| one < next) {
            return Err(corrupt("keys of a node of the tree are not in order", HEADER));
        }
        Ok(node)
    }

    /// The key of the entry `index`; `None` if there is none.
    pub(in super::super) fn key(&self, index: usize) -> Option<u64> {
        if index >= self.entries {
            return None;
        }
        let at = index.checked_mul(8)?.checked_add(bytes_to_index(HEADER).ok()?)?;
        number(self.bytes.get(at..)?)
    }

    /// The bytes of the value of the entry `index`; `None` if there is none.
    pub(in super::super) fn value(&self, index: usize) -> Option<&[u8]> {
        if index >= self.entries {
            return None;
        }
        let at = index.checked_mul(self.value_size)?.checked_add(self.values)?;
        self.bytes.get(at..at.checked_add(self.value_size)?)
    }

    /// The value of the entry `index` as a number of eight bytes.
    pub(in super::super) fn number(&self, index: usize) -> Option<u64> {
        number(self.value(index)?)
    }

    /// The last entry whose key is not above `wanted`.
    pub(super) fn at_most(&self, wanted: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle).is_some_and(|key| key <= wanted) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}
