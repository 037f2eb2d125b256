//! A directory in its inode.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Directories", "Shortform Directories".
//! Big-endian. The number of names, the number of those whose inode numbers need 8 bytes, and the
//! inode of the parent; all inode numbers have 8 bytes if one needs them, else 4. Then every name:
//!
//! | offset | size   | field         | rule                                          |
//! |--------|--------|---------------|-----------------------------------------------|
//! | 0x00   | 1      | `name_length` | not 0                                         |
//! | 0x01   | 2      | `offset`      | where it would be in a block; grows           |
//! | 0x03   |        | name          |                                               |
//! |        | 1      | `file_type`   | with ftype                                    |
//! |        | 4 or 8 | `inode`       |                                               |

use volfold_block::ByteReader;

use super::block;
use crate::error::{FsError, FsResult};
use crate::node::FileKind;

/// The names of a short form.
pub(super) struct ShortForm<'b> {
    reader: ByteReader<'b>,
    left: u8,
    wide: bool,
    has_ftype: bool,
    /// The inode of the directory that it lies in.
    pub(super) parent: u64,
}

/// One name of a short form.
pub(super) struct ShortName<'b> {
    pub(super) inode: u64,
    pub(super) name: &'b [u8],
    pub(super) kind: Option<FileKind>,
    /// Where it begins and where the next one does.
    pub(super) place: (u64, u64),
}

impl<'b> ShortForm<'b> {
    /// Reads the header of the short form in `bytes`.
    ///
    /// # Errors
    /// `Corrupt` if it is cut short.
    pub(super) fn parse(bytes: &'b [u8], has_ftype: bool) -> FsResult<Self> {
        let mut reader = ByteReader::new("short directory", bytes, 0);
        let left = reader.u8()?;
        let wide = reader.u8()? != 0;
        let parent = number(&mut reader, wide)?;
        Ok(Self { reader, left, wide, has_ftype, parent })
    }

    /// The next name, `None` after the last.
    ///
    /// # Errors
    /// `Corrupt` if it is cut short.
    pub(super) fn next(&mut self) -> FsResult<Option<ShortName<'b>>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let start = self.reader.position();
        let length = usize::from(self.reader.u8()?);
        self.reader.skip(2)?;
        let name = self.reader.take(length)?;
        let kind = if self.has_ftype { block::kind(self.reader.u8()?) } else { None };
        let inode = number(&mut self.reader, self.wide)?;
        if name.is_empty() {
            return Err(FsError::corrupt("short directory has an empty name"));
        }
        Ok(Some(ShortName { inode, name, kind, place: (start, self.reader.position()) }))
    }
}

fn number(reader: &mut ByteReader<'_>, wide: bool) -> FsResult<u64> {
    Ok(if wide { reader.u64_be()? } else { u64::from(reader.u32_be()?) })
}
