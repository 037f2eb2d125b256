//! A block of names of a directory.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Directories". Big-endian. A header,
//! of 16 bytes in version 4 and 64 in version 5, then entries at multiples of 8:
//!
//! | offset | size | field         | rule                                                      |
//! |--------|------|---------------|-----------------------------------------------------------|
//! | 0x00   | 8    | `inode`       | begins with 0xFFFF: room, and the next two bytes say how much |
//! | 0x08   | 1    | `name_length` | not 0                                                     |
//! | 0x09   |      | name          |                                                           |
//! |        | 1    | `file_type`   | with ftype                                                |
//! |        | 2    | `tag`         | at the end: where the entry begins in the block           |
//!
//! A directory of one block has its hash index at the end of it: 8 bytes for every name, and the
//! number of names and of those that were deleted, 4 bytes each.

use crate::error::{FsError, FsResult};
use crate::node::FileKind;
use crate::xfs::bytes::{array, be16, be32, be64, byte};
use crate::xfs::superblock::Superblock;

const FREE_TAG: u16 = 0xFFFF;
const HEADER_V4: usize = 16;
const HEADER_V5: usize = 64;
const NAME_AT: usize = 9;
const ALIGNMENT: usize = 8;
const TAIL: usize = 8;

/// A block whose header is that of a block of names.
pub(super) struct NameBlock<'b> {
    bytes: &'b [u8],
    has_ftype: bool,
    start: usize,
    end: usize,
}

/// What begins at some offset of a block.
pub(super) enum Item<'b> {
    /// A name; its number, what it says of its kind, and where the next item begins.
    Name { inode: u64, name: &'b [u8], kind: Option<FileKind>, next: usize },
    /// Nothing up to that offset.
    Room(usize),
    /// Something that breaks the rules.
    Damaged,
}

impl<'b> NameBlock<'b> {
    /// Looks at the header of the directory block in `bytes`; that it describes itself rightly was
    /// checked before.
    ///
    /// # Errors
    /// `Corrupt` if it is no block of names.
    pub(super) fn parse(superblock: &Superblock, bytes: &'b [u8]) -> FsResult<Self> {
        let invalid = || FsError::corrupt("directory block has an invalid header");
        let magic = array(bytes, 0).ok_or_else(invalid)?;
        let is_v5 = superblock.features.is_v5;
        let end = match (&magic, is_v5) {
            (b"XD2D", false) | (b"XDD3", true) => bytes.len(),
            (b"XD2B", false) | (b"XDB3", true) => index_start(bytes).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        };
        let start = if is_v5 { HEADER_V5 } else { HEADER_V4 };
        Ok(Self { bytes, has_ftype: superblock.features.has_ftype, start, end })
    }

    /// Where the first item begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// What begins at `at`; `None` at the end.
    pub(super) fn item(&self, at: usize) -> Option<Item<'b>> {
        let rest = self.bytes.get(at..self.end).filter(|rest| !rest.is_empty())?;
        Some(self.parse_item(at, rest).unwrap_or(Item::Damaged))
    }

    fn parse_item(&self, at: usize, rest: &'b [u8]) -> Option<Item<'b>> {
        if be16(rest, 0)? == FREE_TAG {
            let length = usize::from(be16(rest, 2)?);
            let fits =
                length >= ALIGNMENT && length.is_multiple_of(ALIGNMENT) && length <= rest.len();
            return if fits { Some(Item::Room(at.checked_add(length)?)) } else { None };
        }
        let inode = be64(rest, 0)?;
        let length = usize::from(byte(rest, 8)?);
        let name_end = NAME_AT.checked_add(length)?;
        let name = rest.get(NAME_AT..name_end).filter(|name| !name.is_empty())?;
        let tag_from = name_end.checked_add(usize::from(self.has_ftype))?;
        let whole = tag_from.checked_add(2)?.checked_next_multiple_of(ALIGNMENT)?;
        let tag = be16(rest.get(..whole)?, whole.checked_sub(2)?)?;
        if usize::from(tag) != at {
            return None;
        }
        let kind = if self.has_ftype { kind(byte(rest, name_end)?) } else { None };
        Some(Item::Name { inode, name, kind, next: at.checked_add(whole)? })
    }
}

/// Where the hash index of a directory of one block begins.
fn index_start(bytes: &[u8]) -> Option<usize> {
    let tail = bytes.len().checked_sub(TAIL)?;
    let count = usize::try_from(be32(bytes, tail)?).ok()?;
    let start = tail.checked_sub(count.checked_mul(8)?)?;
    (start >= HEADER_V4).then_some(start)
}

/// The entries of the index of a directory of one block, as hash and place; `None` if there is none.
pub(super) fn index(bytes: &[u8]) -> Option<Vec<(u32, u32)>> {
    let start = index_start(bytes)?;
    let (entries, _) = bytes.get(start..bytes.len().checked_sub(TAIL)?)?.as_chunks::<8>();
    entries.iter().map(|entry| Some((be32(entry, 0)?, be32(entry, 4)?))).collect()
}

/// What the number in a name says that it is.
pub(super) fn kind(number: u8) -> Option<FileKind> {
    Some(match number {
        1 => FileKind::Regular,
        2 => FileKind::Directory,
        3 => FileKind::CharDevice,
        4 => FileKind::BlockDevice,
        5 => FileKind::Fifo,
        6 => FileKind::Socket,
        7 => FileKind::Symlink,
        _ => return None,
    })
}

/// Whether a file can be called `name`.
pub(super) fn is_possible(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(|&byte| matches!(byte, 0 | b'/'))
}
