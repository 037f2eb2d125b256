//! Content inside the inode: the 60 bytes of `block`, and an extended attribute after them.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Inline
//! Data". The attribute is `system.data`, which lies in the inode.

use volfold_block::byte_count;

use super::attributes;
use super::inode::Inode;
use crate::error::{FsError, FsResult};

/// The inline content of `inode`, whose bytes are `bytes`: the 60 bytes of `block` and the
/// attribute, with no regard to the size of the file.
///
/// # Errors
/// `Corrupt` if the attribute leaves the inode.
pub(super) fn read(inode: &Inode, bytes: &[u8]) -> FsResult<Vec<u8>> {
    let mut content = inode.block.to_vec();
    content.extend_from_slice(attributes::inline_data(inode, bytes)?.unwrap_or_default());
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
