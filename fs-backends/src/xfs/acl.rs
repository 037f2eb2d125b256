//! Access control lists, as XFS keeps them and as Linux shows them.
//!
//! XFS keeps a POSIX access control list in the attributes `SGI_ACL_FILE` and `SGI_ACL_DEFAULT` of
//! the namespace `trusted`, big-endian: the number of entries, 4 bytes, and for each its tag and id,
//! 4 bytes each, its permissions, 2 bytes, and 2 of padding. How Linux shows them:
//! [`crate::posix_acl`].

use super::bytes::be16;
use super::bytes::be32;
use crate::error::{FsError, FsResult};
use crate::posix_acl::{ACCESS, DEFAULT, ShownList, Tag};

/// The name that an attribute of `trusted` also has, and its own.
const NAMES: [(&[u8], &[u8]); 2] = [(ACCESS, b"SGI_ACL_FILE"), (DEFAULT, b"SGI_ACL_DEFAULT")];
const ENTRY: usize = 12;

/// The name that Linux gives to the list in the attribute `own` of `trusted`.
pub(super) fn shown(own: &[u8]) -> Option<&'static [u8]> {
    NAMES.iter().find(|(_, name)| *name == own).map(|(shown, _)| *shown)
}

/// The attribute of `trusted` that has the list which Linux calls `shown`.
pub(super) fn own(shown: &[u8]) -> Option<&'static [u8]> {
    NAMES.iter().find(|(name, _)| *name == shown).map(|(_, own)| *own)
}

/// The list in `bytes` as Linux shows it.
///
/// # Errors
/// `Corrupt` if it is cut short.
pub(super) fn convert(bytes: &[u8]) -> FsResult<Vec<u8>> {
    let corrupt = || FsError::corrupt("access control list is cut short");
    let count = be32(bytes, 0).and_then(|count| usize::try_from(count).ok()).ok_or_else(corrupt)?;
    let (entries, _) = bytes.get(4..).unwrap_or_default().as_chunks::<ENTRY>();
    let entries = entries.get(..count).ok_or_else(corrupt)?;
    let mut list = ShownList::new();
    for entry in entries {
        let tag = be32(entry, 0).ok_or_else(corrupt)?;
        let permissions = be16(entry, 8).ok_or_else(corrupt)?;
        let tag = Tag(u16::try_from(tag).map_err(|_| corrupt())?);
        list.push(tag, permissions, be32(entry, 4));
    }
    Ok(list.into_bytes())
}
