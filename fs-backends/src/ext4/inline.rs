//! Content inside the inode: the 60 bytes of `block`, and an extended attribute after them.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapters "Inline
//! Data" and "Extended Attributes". Little-endian. The attributes begin after `extra_isize` with
//! the magic number 0xEA020000; then entries of
//!
//! | offset | size | field          | rule                                                   |
//! |--------|------|----------------|--------------------------------------------------------|
//! | 0x00   | 1    | `name_length`  | 0, with `name_index` 0, ends the list                  |
//! | 0x01   | 1    | `name_index`   | 7 stands for `system.`                                 |
//! | 0x02   | 2    | `value_offset` | from the first entry                                   |
//! | 0x04   | 4    | `value_inode`  | 0: the value is in this inode                          |
//! | 0x08   | 4    | `value_size`   |                                                        |
//! | 0x0C   | 4    | `hash`         | not looked at                                          |
//! | 0x10   |      | name           | filled to a multiple of 4                              |

use std::mem::offset_of;

use volfold_block::{ByteReader, byte_count};
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::inode::{Inode, OLD_SIZE};
use crate::error::{FsError, FsResult};

const MAGIC: u32 = 0xEA02_0000;
const INDEX_SYSTEM: u8 = 7;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    name_length: u8,
    name_index: u8,
    value_offset: U16<LE>,
    value_inode: U32<LE>,
    value_size: U32<LE>,
    hash: U32<LE>,
}
const _: () = assert!(offset_of!(RawEntry, value_size) == 0x08);
const _: () = assert!(size_of::<RawEntry>() == 0x10);

/// The inline content of `inode`, whose bytes are `bytes`: the 60 bytes of `block` and the
/// attribute, with no regard to the size of the file.
///
/// # Errors
/// `Corrupt` if the attribute leaves the inode.
pub(super) fn read(inode: &Inode, bytes: &[u8]) -> FsResult<Vec<u8>> {
    let mut content = inode.block.to_vec();
    content.extend_from_slice(attribute(inode, bytes)?.unwrap_or_default());
    Ok(content)
}

/// The inline content of a regular file, which may be shorter than the file; the rest is zeros.
///
/// QUIRK: mke2fs 1.47.0 writes files of nothing but zeros as inline data that is shorter than the
/// file. Linux reads what the inode lacks as zeros, and e2fsck finds nothing wrong with it.
///
/// # Errors
/// `Corrupt` if the inode has something, and not all.
pub(super) fn read_file(inode: &Inode, bytes: &[u8]) -> FsResult<Vec<u8>> {
    let content = read(inode, bytes)?;
    if inode.size > byte_count(content.len()) && content.iter().any(|&byte| byte != 0) {
        return Err(FsError::corrupt("inline data is shorter than the file"));
    }
    Ok(content)
}

/// The inline content of a link, cut to its size.
///
/// # Errors
/// `Corrupt` if the inode has fewer bytes than its size.
pub(super) fn read_sized(inode: &Inode, bytes: &[u8]) -> FsResult<Vec<u8>> {
    let mut content = read(inode, bytes)?;
    match usize::try_from(inode.size) {
        Ok(size) if size <= content.len() => {
            content.truncate(size);
            Ok(content)
        }
        _ => Err(FsError::corrupt("inline data is shorter than the link")),
    }
}

/// The value of `system.data`.
fn attribute<'a>(inode: &Inode, bytes: &'a [u8]) -> FsResult<Option<&'a [u8]>> {
    let start = OLD_SIZE.saturating_add(usize::from(inode.extra_size));
    let mut reader = ByteReader::new("inode attribute list", bytes, 0);
    if reader.skip(start).is_err() || reader.remaining() < 4 || reader.u32_le()? != MAGIC {
        return Ok(None);
    }
    let values = bytes.get(start.saturating_add(4)..).unwrap_or_default();
    // Every turn takes at least the 16 bytes of an entry.
    while reader.remaining() >= size_of::<RawEntry>() {
        let (entry, _) = RawEntry::ref_from_prefix(reader.take(size_of::<RawEntry>())?)
            .map_err(|_| FsError::corrupt("inode attribute is cut short"))?;
        if entry.name_length == 0 && entry.name_index == 0 {
            break;
        }
        let name = reader.take(usize::from(entry.name_length))?;
        let filled = name.len().next_multiple_of(4).saturating_sub(name.len());
        reader.skip(filled.min(reader.remaining()))?;
        if entry.name_index == INDEX_SYSTEM && name == b"data" {
            return value(entry, values).map(Some);
        }
    }
    Ok(None)
}

fn value<'a>(entry: &RawEntry, values: &'a [u8]) -> FsResult<&'a [u8]> {
    if entry.value_inode.get() != 0 {
        return Err(FsError::corrupt("inline data lies in another inode"));
    }
    if entry.value_size.get() == 0 {
        return Ok(&[]);
    }
    let start = usize::from(entry.value_offset.get());
    let end = usize::try_from(entry.value_size.get()).ok().and_then(|size| start.checked_add(size));
    end.and_then(|end| values.get(start..end))
        .ok_or_else(|| FsError::corrupt("inline data leaves its inode"))
}
