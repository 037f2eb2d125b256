//! The map of a fork: from its extents to a run list.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Data Extents". Big-endian. An extent
//! has 128 bits: 1 says that it was never written, 54 are the block of the file, 52 the block of the
//! file system, 21 the number of blocks. A long list lies in a tree. Its root in the inode has:
//!
//! | offset | size | field     | rule                                                    |
//! |--------|------|-----------|---------------------------------------------------------|
//! | 0x00   | 2    | `level`   | of the root, at least 1                                 |
//! | 0x02   | 2    | `records` |                                                         |
//! | 0x04   |      | keys      | first blocks of the file, 8 bytes each                  |
//! |        |      | pointers  | after room for all keys; block numbers, 8 bytes each    |
//!
//! and every other block:
//!
//! | offset | size | field        | rule                                                 |
//! |--------|------|--------------|------------------------------------------------------|
//! | 0x00   | 4    | `magic`      | `BMAP`, version 5: `BMA3`                            |
//! | 0x04   | 2    | `level`      | 0 in a leaf                                          |
//! | 0x06   | 2    | `records`    |                                                      |
//! | 0x08   | 16   | two siblings | not looked at                                        |
//! | 0x18   | 48   | header       | version 5, see [`super::block_header`]               |
//!
//! then extents in a leaf, keys and pointers elsewhere.

use super::block_header::{self, MAP_TREE};
use super::bytes::{be16, be64};
use super::inode::{Fork, Format};
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};

/// LIMIT: levels of a tree; with the smallest blocks 2^48 extents have as many.
const MAX_LEVEL: u16 = 16;
/// LIMIT: blocks of one tree, as many as hold the longest run list.
const MAX_TREE_BLOCKS: u64 = 1 << 18;
const EXTENT: usize = 16;
const POINTER: usize = 8;
const ROOT_HEADER: usize = 4;
const HEADER_V4: usize = 24;
const HEADER_V5: usize = 72;
/// The blocks that a file can have.
const ALL_BLOCKS: u64 = 1 << 54;
/// The bytes that a file can have.
const ALL_BYTES: u64 = i64::MAX.unsigned_abs();
/// The blocks of the attributes of an inode, whose numbers have 32 bits.
const ATTRIBUTE_BLOCKS: u64 = 1 << 32;

/// One extent of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) logical: u64,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) is_unwritten: bool,
}

impl Extent {
    /// The extent in the 16 bytes of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (high, low) = (be64(bytes, 0)?, be64(bytes, 8)?);
        Some(Self {
            logical: (high & (u64::MAX >> 1)) >> 9,
            first: ((high & 0x1FF) << 43) | (low >> 21),
            count: low & 0x1F_FFFF,
            is_unwritten: high >> 63 != 0,
        })
    }
}

/// The end that no attribute of an inode of `volume` lies after.
pub(super) fn end_of_attributes(volume: &Volume) -> u64 {
    volume.superblock.bytes(ATTRIBUTE_BLOCKS).unwrap_or(ALL_BYTES)
}

/// The run list of a fork of inode `owner`, of which `bytes` are the bytes in the inode. It ends
/// with the last extent, or at byte `end` if that comes first.
///
/// # Errors
/// `Corrupt` if the extents are out of order or not as many as the inode says, `Unsupported` if they
/// are too many. Damage below the root of a tree is in the list, in the place of what it hides.
pub(super) fn read(
    volume: &Volume,
    owner: u64,
    fork: &Fork,
    bytes: &[u8],
    end: u64,
) -> FsResult<Extents> {
    let end = end.min(ALL_BYTES).div_ceil(volume.superblock.block_size.get());
    let mut runs = Runs {
        volume,
        owner,
        extents: Extents::default(),
        end,
        budget: MAX_TREE_BLOCKS,
        found: 0,
        is_counted: true,
    };
    match fork.format {
        Format::Extents => {
            let (records, _) = fork.bytes(bytes).as_chunks::<EXTENT>();
            let count = usize::try_from(fork.extents).unwrap_or(usize::MAX);
            let records = records
                .get(..count)
                .ok_or_else(|| corrupt(owner, "has more extents than it has room for"))?;
            for record in records {
                runs.push(Extent::parse(record))?;
            }
        }
        Format::Tree => {
            runs.root(fork.bytes(bytes))?;
            if runs.is_counted && runs.found != fork.extents {
                return Err(corrupt(owner, "has another number of extents than its tree"));
            }
        }
        Format::Device | Format::Local => {
            return Err(corrupt(owner, "has no extents"));
        }
    }
    Ok(runs.extents.finish())
}

fn corrupt(owner: u64, what: &str) -> FsError {
    FsError::corrupt(format!("inode {owner} {what}"))
}

/// The runs that were found, in order. What lies between them is a hole.
struct Runs<'a> {
    volume: &'a Volume,
    owner: u64,
    extents: Extents,
    /// The blocks that count.
    end: u64,
    /// Blocks of the tree that may still be read.
    budget: u64,
    /// The extents in the leaves.
    found: u64,
    /// Whether all leaves were looked at.
    is_counted: bool,
}

impl Runs<'_> {
    fn push(&mut self, extent: Option<Extent>) -> FsResult<()> {
        let extent =
            extent.ok_or_else(|| corrupt(self.owner, "has an extent that is cut short"))?;
        let end = extent.logical.checked_add(extent.count).filter(|&end| end <= ALL_BLOCKS);
        if extent.count == 0 || end.is_none() {
            return Err(corrupt(self.owner, "has an invalid extent"));
        }
        let place = if extent.is_unwritten {
            Place::Unwritten
        } else {
            self.volume.place(extent.first, extent.count)
        };
        self.place(extent.logical, extent.count, place)
    }

    /// Appends what is at `place`, after a hole if there is one.
    fn place(&mut self, logical: u64, count: u64, place: Place) -> FsResult<()> {
        let Some(left) = self.end.checked_sub(logical).filter(|&left| left > 0) else {
            return Ok(());
        };
        let bytes = |blocks: u64| {
            let count = self.volume.superblock.bytes(blocks);
            count.ok_or_else(|| corrupt(self.owner, "has an invalid extent"))
        };
        let (start, length) = (bytes(logical)?, bytes(count.min(left))?);
        self.extents.push_hole_to(start)?;
        if self.extents.end() != start {
            return Err(corrupt(self.owner, "has extents out of order"));
        }
        self.extents.push(place, length)
    }

    fn root(&mut self, bytes: &[u8]) -> FsResult<()> {
        let invalid = || corrupt(self.owner, "has an invalid extent tree");
        let level = be16(bytes, 0).filter(|level| (1..=MAX_LEVEL).contains(level));
        let level = level.ok_or_else(invalid)?;
        let count = be16(bytes, 2).ok_or_else(invalid)?;
        let children = children(bytes, ROOT_HEADER, count).ok_or_else(invalid)?;
        self.descend(&children, level, ALL_BLOCKS)
    }

    /// Takes in what is below `children`, which belong to a block of `level`, up to block `end` of
    /// the file.
    fn descend(&mut self, children: &[(u64, u64)], level: u16, end: u64) -> FsResult<()> {
        for (index, &(first, block)) in children.iter().enumerate() {
            let next = children.get(index.saturating_add(1)).map_or(end, |&(next, _)| next);
            if first >= self.end && self.volume.superblock.features.is_v5 {
                // Without checksums the number of extents is compared always.
                self.is_counted = false;
                break;
            }
            if let Err(error) = self.child(block, level.saturating_sub(1), next) {
                if error.kind() != FsErrorKind::Corrupt {
                    return Err(error);
                }
                self.is_counted = false;
                // What was taken in before the damage is good.
                let size = self.volume.superblock.block_size.get();
                let start = first.max(self.extents.end().div_ceil(size));
                let hidden = next.min(self.end).saturating_sub(start);
                if hidden == 0 && first < self.end {
                    return Err(error);
                }
                self.place(start, hidden, Place::Refused(FsErrorKind::Corrupt))?;
            }
        }
        Ok(())
    }

    fn child(&mut self, block: u64, level: u16, end: u64) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or_else(|| FsError::unsupported("file has too many runs"))?;
        let position = superblock
            .blocks_position(block, 1)
            .ok_or_else(|| corrupt(self.owner, "has an extent tree outside the file system"))?;
        let mut bytes = Volume::buffer(superblock.block_size.get())?;
        self.volume.read_metadata(position, &mut bytes)?;
        block_header::check(superblock, MAP_TREE, &bytes, position, self.owner)?;
        let is_v5 = superblock.features.is_v5;
        let (magic, header) = if is_v5 { (b"BMA3", HEADER_V5) } else { (b"BMAP", HEADER_V4) };
        let owner = self.owner;
        let invalid = || corrupt(owner, "has an invalid extent tree").at(position);
        if !bytes.starts_with(magic) || be16(&bytes, 4) != Some(level) {
            return Err(invalid());
        }
        let count = be16(&bytes, 6).ok_or_else(invalid)?;
        if level > 0 {
            let children = children(&bytes, header, count).ok_or_else(invalid)?;
            return self.descend(&children, level, end);
        }
        let (records, _) = bytes.get(header..).unwrap_or_default().as_chunks::<EXTENT>();
        let records = records.get(..usize::from(count)).ok_or_else(invalid)?;
        for record in records {
            let extent = Extent::parse(record);
            if extent.is_none_or(|extent| extent.logical.saturating_add(extent.count) > end) {
                return Err(invalid());
            }
            self.push(extent)?;
            self.found = self.found.saturating_add(1);
        }
        Ok(())
    }
}

/// Key and pointer of each of the `count` children of an interior block with a header of `header`
/// bytes. `None` if they do not fit, or the keys are out of order.
fn children(bytes: &[u8], header: usize, count: u16) -> Option<Vec<(u64, u64)>> {
    let room = bytes.len().checked_sub(header)? / EXTENT;
    let count = usize::from(count);
    if count == 0 || count > room {
        return None;
    }
    let keys = bytes.get(header..)?;
    let pointers = keys.get(room.checked_mul(POINTER)?..)?;
    let (keys, _) = keys.as_chunks::<POINTER>();
    let (pointers, _) = pointers.as_chunks::<POINTER>();
    let all: Vec<(u64, u64)> = keys
        .iter()
        .zip(pointers)
        .take(count)
        .map(|(key, pointer)| (u64::from_be_bytes(*key), u64::from_be_bytes(*pointer)))
        .collect();
    let in_order = all.array_windows().all(|[one, next]| one.0 < next.0);
    (in_order && all.len() == count).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_has_its_four_fields() {
        let high: u64 = (1 << 63) | (0x0012_3456_789A << 9) | 0x1AB;
        let low: u64 = (0x123_4567_89AB << 21) | 0x1F_0001;
        let bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
        let extent = Extent::parse(&bytes).unwrap();
        assert_eq!(extent.logical, 0x0012_3456_789A);
        assert_eq!(extent.first, (0x1AB << 43) | 0x123_4567_89AB);
        assert_eq!((extent.count, extent.is_unwritten), (0x1F_0001, true));
        assert_eq!(Extent::parse(&bytes[..15]), None);
    }

    #[test]
    fn children_fit_their_block_and_are_in_order() {
        let mut block = vec![0; 4 + 32];
        block[11] = 5;
        block[4 + 16 + 7] = 9;
        block[4 + 16 + 15] = 8;
        assert_eq!(children(&block, 4, 2), None);
        block[4 + 15] = 6;
        assert_eq!(children(&block, 4, 2), Some(vec![(5, 9), (6, 8)]));
        assert_eq!(children(&block, 4, 3), None);
        assert_eq!(children(&block, 4, 0), None);
    }
}
