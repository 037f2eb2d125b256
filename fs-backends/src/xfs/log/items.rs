//! What the items of a transaction say in their first region. Little-endian, but for new inodes.

use super::transactions::Item;
use crate::xfs::bytes::{array, be32};

/// Kinds of items.
pub(in crate::xfs) mod kind {
    /// Free space, with its end after it.
    pub(in crate::xfs) const FREE_INTENT: u16 = 0x1236;
    pub(in crate::xfs) const FREE_DONE: u16 = 0x1237;
    pub(in crate::xfs) const QUOTA: u16 = 0x123D;
    pub(in crate::xfs) const QUOTA_OFF: u16 = 0x123E;
    /// The owners of blocks, with its end after it.
    pub(in crate::xfs) const OWNER_INTENT: u16 = 0x1240;
    /// How often blocks are shared, with its end after it.
    pub(in crate::xfs) const SHARE_DONE: u16 = 0x1243;
    /// The same three of the realtime device.
    pub(in crate::xfs) const REALTIME_FREE_INTENT: u16 = 0x124A;
    pub(in crate::xfs) const REALTIME_SHARE_DONE: u16 = 0x124F;
    pub(in crate::xfs) const INODE: u16 = 0x123B;
    pub(in crate::xfs) const BUFFER: u16 = 0x123C;
    pub(in crate::xfs) const NEW_INODES: u16 = 0x123F;
    pub(in crate::xfs) const MAP_INTENT: u16 = 0x1244;
    pub(in crate::xfs) const MAP_DONE: u16 = 0x1245;
    pub(in crate::xfs) const ATTRIBUTE_INTENT: u16 = 0x1246;
    pub(in crate::xfs) const ATTRIBUTE_DONE: u16 = 0x1247;
    pub(in crate::xfs) const EXCHANGE_INTENT: u16 = 0x1248;
    pub(in crate::xfs) const EXCHANGE_DONE: u16 = 0x1249;
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// LIMIT: words of the map of a buffer: a bit for each 128 bytes of 256 KiB.
const MAX_WORDS: usize = 64;

/// A change of a buffer: some of its pieces of 128 bytes.
///
/// | offset | size | field    | rule                                         |
/// |--------|------|----------|----------------------------------------------|
/// | 0x04   | 2    | `flags`  | see the constants                            |
/// | 0x06   | 2    | `length` | of the buffer, in units of 512 bytes         |
/// | 0x08   | 8    | `number` | where it begins, in the same units           |
/// | 0x10   | 4    | `words`  | of the map                                   |
/// | 0x14   |      | map      | a bit for each piece; each run of them is a region |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferItem<'b> {
    pub(super) flags: u16,
    pub(super) length: u16,
    pub(super) number: u64,
    map: &'b [u8],
}

impl<'b> BufferItem<'b> {
    /// The buffer was freed: what was logged of it before is not applied.
    const CANCEL: u16 = 0x02;
    /// Only the links of a list of inodes are in it.
    const INODES: u16 = 0x01;
    /// It is of a quota file.
    const QUOTAS: u16 = 0x1C;

    pub(super) fn parse(item: &'b Item) -> Option<Self> {
        let bytes = item.region(0);
        let words = usize::try_from(le32(bytes, 0x10)?).ok().filter(|words| *words <= MAX_WORDS)?;
        let map = bytes.get(0x14..)?;
        Some(Self {
            flags: le16(bytes, 4)?,
            length: le16(bytes, 6)?,
            number: le64(bytes, 8)?,
            map: map.get(..words.checked_mul(4)?.min(map.len()))?,
        })
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.flags & Self::CANCEL != 0
    }

    /// Whether nothing that is read is in it.
    pub(super) fn is_ignored(&self) -> bool {
        self.flags & (Self::INODES | Self::QUOTAS) != 0
    }

    /// The runs of pieces that changed: the first, and how many.
    pub(super) fn runs(&self) -> Vec<(usize, usize)> {
        let bits = self.map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 != 0));
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (index, _) in bits.enumerate().filter(|(_, set)| *set) {
            match runs.last_mut() {
                Some((first, count)) if first.saturating_add(*count) == index => {
                    *count = count.saturating_add(1);
                }
                _ => runs.push((index, 1)),
            }
        }
        runs
    }
}

/// A change of an inode.
///
/// | offset | size | field     | rule                                                   |
/// |--------|------|-----------|--------------------------------------------------------|
/// | 0x04   | 4    | `fields`  | what else is in the item, see the constants            |
/// | 0x10   | 8    | `inode`   | its number; at 0x0C in items of 52 bytes               |
/// | 0x18   | 16   | `device`  |                                                        |
/// | 0x28   | 8    | `number`  | of the buffer that it lies in, in units of 512 bytes   |
/// | 0x30   | 4    | `length`  | of that buffer, in the same units                      |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeItem {
    pub(super) fields: u32,
    pub(super) inode: u64,
    pub(super) device: u32,
    pub(super) number: u64,
    pub(super) length: u32,
}

impl InodeItem {
    pub(super) const DATA: u32 = 0x002;
    pub(super) const DATA_EXTENTS: u32 = 0x004;
    pub(super) const DATA_ROOT: u32 = 0x008;
    pub(super) const DEVICE: u32 = 0x010;
    pub(super) const OTHER: u32 = 0x040;
    pub(super) const OTHER_EXTENTS: u32 = 0x080;
    pub(super) const OTHER_ROOT: u32 = 0x100;
    /// The blocks of a fork's tree get another owner.
    pub(super) const OWNERS: u32 = 0x600;

    pub(super) fn parse(item: &Item) -> Option<Self> {
        let bytes = item.region(0);
        // Systems of 32 bits have no padding.
        let at: usize = match bytes.len() {
            56 => 0x10,
            52 => 0x0C,
            _ => return None,
        };
        let field = |offset: usize| at.checked_add(offset);
        Some(Self {
            fields: le32(bytes, 4)?,
            inode: le64(bytes, at)?,
            device: le32(bytes, field(8)?)?,
            number: le64(bytes, field(0x18)?)?,
            length: le32(bytes, field(0x20)?)?,
        })
    }
}

/// A chunk of inodes that were made. Big-endian after its first four bytes: group, block, number of
/// inodes, their size, blocks, generation, 4 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewInodes {
    pub(super) group: u32,
    pub(super) block: u32,
    pub(super) count: u32,
    pub(super) inode_size: u32,
    pub(super) blocks: u32,
    pub(super) generation: u32,
}

impl NewInodes {
    pub(super) fn parse(item: &Item) -> Option<Self> {
        let bytes = item.region(0);
        Some(Self {
            group: be32(bytes, 4)?,
            block: be32(bytes, 8)?,
            count: be32(bytes, 12)?,
            inode_size: be32(bytes, 16)?,
            blocks: be32(bytes, 20)?,
            generation: be32(bytes, 24)?,
        })
    }
}
