//! Values that are the content of an inode of their own (ea_inode).
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Extended
//! Attributes"; Linux, `fs/ext4/xattr.c`. Such an inode has the flag EA_INODE and the CRC-32C of its
//! content in place of its access time; the hash of the entry is made of that.

use volfold_block::bytes_to_index;

use super::entries::Entry;
use super::hash;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::ext4::features::Incompat;
use crate::ext4::inode::{Flags, Inode};
use crate::ext4::volume::Volume;
use crate::ext4::{checksum, map};
use crate::node::{FileData, FileKind};

/// LIMIT: a longer value no call of Linux gives.
const MAX_VALUE: u32 = 65536;

/// The value of `entry` of the inode `owner`, that is `size` bytes in the inode `number`.
///
/// # Errors
/// `Unsupported` if it is longer than 64 KiB, `Corrupt` if the inode is not made for it or a hash is
/// wrong.
pub(super) fn read(
    volume: &Volume,
    owner: &Inode,
    entry: &Entry<'_>,
    (number, size): (u32, u32),
) -> FsResult<Vec<u8>> {
    let corrupt = |what: &str| {
        FsError::corrupt(format!(
            "extended attribute has its value in inode {number}, which {what}"
        ))
    };
    if !volume.superblock.features.incompat(Incompat::EA_INODE) {
        return Err(corrupt("the features of the file system do not allow"));
    }
    if size > MAX_VALUE {
        return Err(FsError::unsupported("value of the extended attribute is longer than 64 KiB"));
    }
    let inode = match volume.read_inode(number, &mut Vec::new()) {
        Err(error) if error.kind() == FsErrorKind::NotFound => Err(corrupt("is not in use")),
        result => result,
    }?;
    let is_made_for_it = inode.kind == FileKind::Regular && inode.flags.has(Flags::EA_INODE);
    if !is_made_for_it || inode.size != u64::from(size) {
        return Err(corrupt("is not one of this value"));
    }
    let mut value = vec![0; bytes_to_index(inode.size)?];
    map::open(volume, &inode)?.read_at(0, &mut value)?;
    let found = checksum::update(volume.superblock.checksum_seed, &value);
    let is_right = found == inode.value_hash() && hash::is_right(entry, found);
    if is_right || is_of_lustre(owner, entry, &inode) {
        Ok(value)
    } else {
        Err(corrupt("has other content"))
    }
}

/// Whether `inode` is one of Lustre for `owner`: those have no hash, and say whose they are.
fn is_of_lustre(owner: &Inode, entry: &Entry<'_>, inode: &Inode) -> bool {
    let is_hashed = entry.hash == inode.value_hash();
    !is_hashed && inode.value_parent() == (owner.number, owner.generation())
}
