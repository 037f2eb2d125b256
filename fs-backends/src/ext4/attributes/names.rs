//! What stands before the name of an attribute, and how Linux shows access control lists.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Extended
//! Attributes", table "Attribute Name Indices"; Linux, `fs/ext4/xattr.h` and `fs/ext4/acl.h`.
//!
//! A list of ext4 has the version 1, 4 bytes, and for each entry its tag and its permissions, 2 bytes
//! each, and for users and groups alone their number, 4 bytes.

use volfold_block::ByteReader;

use super::entries::Entry;
use crate::error::{FsError, FsResult};
use crate::posix_acl::{self, ShownList, Tag};

/// Prefixes by their index. Those that are whole names have nothing after them.
const PREFIXES: [(u8, &[u8]); 8] = [
    (1, b"user."),
    (ACCESS, posix_acl::ACCESS),
    (DEFAULT, posix_acl::DEFAULT),
    (4, b"trusted."),
    (6, b"security."),
    (SYSTEM, b"system."),
    (8, b"system.richacl"),
    (10, b"gnu."),
];
const ACCESS: u8 = 2;
const DEFAULT: u8 = 3;
const SYSTEM: u8 = 7;

const ACL_VERSION: u32 = 1;

/// The index and the name of the value of a file in its inode.
pub(in crate::ext4) const INLINE_DATA: (u8, &[u8]) = (SYSTEM, b"data");

/// The whole name of `entry`; `None` if it is the file system's own, as inline data is and what
/// encryption (9) and Lustre (5) keep.
pub(super) fn shown(entry: &Entry<'_>) -> Option<Vec<u8>> {
    if (entry.index, entry.name) == INLINE_DATA {
        return None;
    }
    let (_, prefix) = PREFIXES.iter().find(|(index, _)| *index == entry.index)?;
    let is_whole = !prefix.ends_with(b".");
    (entry.name.is_empty() || !is_whole).then(|| [prefix, entry.name].concat())
}

/// `value` as Linux shows it under the index of `entry`.
///
/// # Errors
/// `Corrupt` if it is an access control list that is none.
pub(super) fn shown_value(entry: &Entry<'_>, value: Vec<u8>) -> FsResult<Vec<u8>> {
    match entry.index {
        ACCESS | DEFAULT => convert(&value),
        _ => Ok(value),
    }
}

fn convert(bytes: &[u8]) -> FsResult<Vec<u8>> {
    let mut reader = ByteReader::new("access control list", bytes, 0);
    if reader.u32_le()? != ACL_VERSION {
        return Err(FsError::unsupported("access control list has an unknown version"));
    }
    let mut list = ShownList::new();
    while reader.remaining() > 0 {
        let (tag, permissions) = (Tag(reader.u16_le()?), reader.u16_le()?);
        if !tag.is_known() {
            return Err(FsError::corrupt("access control list has an unknown kind of entry"));
        }
        let id = if tag.has_id() { Some(reader.u32_le()?) } else { None };
        list.push(tag, permissions, id);
    }
    Ok(list.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    #[test]
    fn a_list_is_shown_as_linux_does() {
        let stored =
            [&[1, 0, 0, 0][..], &[1, 0, 6, 0], &[2, 0, 5, 0, 0xD2, 4, 0, 0], &[0x20, 0, 4, 0]];
        let expected: [&[u8]; 4] = [
            &[2, 0, 0, 0],
            &[1, 0, 6, 0, 0xFF, 0xFF, 0xFF, 0xFF],
            &[2, 0, 5, 0, 0xD2, 4, 0, 0],
            &[0x20, 0, 4, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        ];
        assert_eq!(convert(&stored.concat()).unwrap(), expected.concat());
    }

    #[test]
    fn a_list_that_is_none_is_an_error() {
        for (bytes, kind) in [
            (&[][..], FsErrorKind::Corrupt),
            (&[2, 0, 0, 0], FsErrorKind::Unsupported),
            (&[1, 0, 0, 0, 1, 0], FsErrorKind::Corrupt),
            (&[1, 0, 0, 0, 2, 0, 7, 0], FsErrorKind::Corrupt),
            (&[1, 0, 0, 0, 3, 0, 7, 0], FsErrorKind::Corrupt),
        ] {
            assert_eq!(convert(bytes).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }
}
