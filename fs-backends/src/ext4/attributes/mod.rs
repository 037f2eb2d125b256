//! Extended attributes: in the inode, in a block of their own, and in inodes of their own.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Extended
//! Attributes". In an inode that is larger than 128 bytes the magic number 0xEA020000 follows the
//! `extra_isize` bytes, and the list of attributes follows that.

mod block;
mod entries;
mod hash;
mod names;
#[cfg(test)]
mod testing;
mod value;

use std::collections::HashSet;

use self::entries::{Entries, Entry, Value};
use super::features::RoCompat;
use super::inode::{Inode, OLD_SIZE};
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};

/// LIMIT: the bytes of the names of one inode; a block of 64 KiB has fewer.
const MAX_NAMES: usize = 256 << 10;

/// Where an attribute was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    InInode,
    InBlock,
}

/// The attributes of an inode.
pub(super) struct ExtendedAttributes<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    in_inode: Option<Entries<'a>>,
    block: Option<Vec<u8>>,
}

impl<'a> ExtendedAttributes<'a> {
    /// Those of `inode`, whose bytes are `bytes`.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged.
    pub(super) fn open(volume: &'a Volume, inode: &'a Inode, bytes: &'a [u8]) -> FsResult<Self> {
        let block = match inode.attribute_block {
            0 => None,
            number => Some(block::read(volume, number)?),
        };
        let attributes = Self { volume, inode, in_inode: of_inode(inode, bytes)?, block };
        if !volume.superblock.features.ro_compat(RoCompat::METADATA_CSUM) {
            attributes.check_hashes()?;
        }
        Ok(attributes)
    }

    /// Without checksums hashes alone tell names and values that were damaged.
    fn check_hashes(&self) -> FsResult<()> {
        for entry in self.entries()? {
            let (found, entry) = entry?;
            // Linux gives those in the inode none. Those of values elsewhere are looked at with them.
            let has_hash = found == Found::InBlock || entry.hash != 0;
            let is_here = matches!(entry.value, Value::Here(_));
            if has_hash && is_here && !hash::is_right(&entry, 0) {
                return Err(FsError::corrupt("extended attribute contradicts its hash"));
            }
        }
        Ok(())
    }

    /// The names as Linux shows them, each once.
    ///
    /// # Errors
    /// `Corrupt` if one is damaged.
    pub(super) fn names(&self) -> FsResult<Vec<Vec<u8>>> {
        let (mut names, mut seen, mut size) = (Vec::new(), HashSet::new(), 0_usize);
        for entry in self.entries()? {
            let (_, entry) = entry?;
            let Some(name) = names::shown(&entry) else { continue };
            size = size.saturating_add(name.len()).saturating_add(size_of::<Vec<u8>>());
            if size > MAX_NAMES {
                return Err(FsError::unsupported("inode has too many extended attributes"));
            }
            if seen.insert(name.clone()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Reads every name and value, of those in other inodes as long as `budget` has bytes.
    ///
    /// # Errors
    /// Why one cannot be read.
    pub(super) fn check(&self, budget: &mut u64) -> FsResult<()> {
        for entry in self.entries()? {
            let (_, entry) = entry?;
            if names::shown(&entry).is_none() {
                continue;
            }
            if let Value::Inode { size, .. } = entry.value {
                *budget = budget.saturating_sub(u64::from(size).saturating_add(4096));
                if *budget == 0 {
                    continue;
                }
            }
            names::shown_value(&entry, self.read(&entry)?)?;
        }
        Ok(())
    }

    /// The value of the attribute `name`.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported` if it is longer than 64 KiB, or why it cannot be read.
    pub(super) fn value(&self, name: &[u8]) -> FsResult<Vec<u8>> {
        for entry in self.entries()? {
            let (_, entry) = entry?;
            if names::shown(&entry).as_deref() == Some(name) {
                return names::shown_value(&entry, self.read(&entry)?);
            }
        }
        Err(FsError::new(FsErrorKind::NotFound, "no such extended attribute"))
    }

    fn entries(&self) -> FsResult<impl Iterator<Item = FsResult<(Found, Entry<'_>)>>> {
        let of_block = self.block.as_deref().map(block::entries).transpose()?;
        let tag = |found| move |entry: FsResult<Entry<'a>>| entry.map(|entry| (found, entry));
        let in_inode = self.in_inode.into_iter().flatten().map(tag(Found::InInode));
        let in_block = of_block.into_iter().flatten();
        Ok(in_inode.chain(in_block.map(|entry| entry.map(|entry| (Found::InBlock, entry)))))
    }

    fn read(&self, entry: &Entry<'_>) -> FsResult<Vec<u8>> {
        match entry.value {
            Value::Here(bytes) => Ok(bytes.to_vec()),
            Value::Inode { number, size } => {
                value::read(self.volume, self.inode, entry, (number, size))
            }
        }
    }
}

/// The list in the inode whose bytes are `bytes`; `None` if it has none.
///
/// # Errors
/// `Corrupt` if it leaves the inode.
fn of_inode<'b>(inode: &Inode, bytes: &'b [u8]) -> FsResult<Option<Entries<'b>>> {
    // Without fields after the first 128 bytes Linux looks for no attributes.
    if inode.extra_size == 0 {
        return Ok(None);
    }
    let start = OLD_SIZE.saturating_add(usize::from(inode.extra_size));
    match bytes.get(start..).and_then(<[u8]>::split_first_chunk) {
        Some((magic, list)) if u32::from_le_bytes(*magic) == block::MAGIC => {
            Entries::parse(list, 0).map(Some)
        }
        _ => Ok(None),
    }
}

/// What a file or directory in its inode keeps in the attribute `system.data`.
///
/// # Errors
/// `Corrupt` if the attribute leaves the inode.
pub(super) fn inline_data<'b>(inode: &Inode, bytes: &'b [u8]) -> FsResult<Option<&'b [u8]>> {
    for entry in of_inode(inode, bytes)?.into_iter().flatten() {
        let entry = entry?;
        if (entry.index, entry.name) == names::INLINE_DATA {
            return match entry.value {
                Value::Here(value) => Ok(Some(value)),
                Value::Inode { .. } => Err(FsError::corrupt("inline data lies in another inode")),
            };
        }
    }
    Ok(None)
}
