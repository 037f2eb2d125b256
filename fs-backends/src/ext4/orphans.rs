//! Files that were deleted while they were open: they keep their content until a mount for writing.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Orphan file";
//! Linux, `fs/ext4/orphan.c`. Little-endian. `last_orphan` of the superblock is the first inode of a
//! list whose links are in `dtime`. With the feature orphan_file there is a file too, each block of
//! which is filled with inode numbers, 4 bytes each, 0 where there is none, up to its end:
//!
//! | offset | size | field      | rule                                                         |
//! |--------|------|------------|--------------------------------------------------------------|
//! | -0x08  | 4    | `magic`    | 0x0B10CA04                                                   |
//! | -0x04  | 4    | `checksum` | with metadata_csum: CRC-32C of block number and inode numbers |
//!
//! An inode that still has names waits there for the end of a truncation, and is no deleted file.

use std::collections::HashSet;

use zerocopy::byteorder::{LE, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::features::{Compat, RoCompat};
use super::inode::{Flags, Inode};
use super::map;
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::Place;
use crate::node::FileKind;

/// LIMIT: files of one volume that wait. The list takes a read for each.
const MAX_ORPHANS: usize = 1 << 16;
/// LIMIT: the bytes of the orphan file; mke2fs makes it of at most 512 blocks.
const MAX_FILE: u64 = 32 << 20;
const MAGIC: u32 = 0x0B10_CA04;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTail {
    magic: U32<LE>,
    checksum: U32<LE>,
}
const _: () = assert!(size_of::<RawTail>() == 0x08);

/// The inodes of the deleted files that keep their content, each once.
///
/// # Errors
/// `Corrupt` if the list or the file cannot be followed to its end.
pub(super) fn list(volume: &Volume) -> FsResult<Vec<Inode>> {
    let mut orphans = Orphans { volume, seen: HashSet::new(), found: Vec::new() };
    orphans.of_list()?;
    orphans.of_file()?;
    Ok(orphans.found)
}

/// The inode `number`, which is one of those.
///
/// # Errors
/// `Corrupt` if it is none; `Unsupported` if fast commits have changed it: what they say of it is not applied.
pub(super) fn read(volume: &Volume, number: u32, bytes: &mut Vec<u8>) -> FsResult<Inode> {
    if is_changed(volume, number) {
        let line = format!("deleted file with inode {number} was changed by fast commits");
        return Err(FsError::unsupported(line));
    }
    read_stored(volume, number, bytes)
}

/// Whether fast commits say something of the inode `number`.
pub(super) fn is_changed(volume: &Volume, number: u32) -> bool {
    let changes = volume.changes();
    changes.inode(number).is_some() || changes.ranges(number).is_some()
}

fn read_stored(volume: &Volume, number: u32, bytes: &mut Vec<u8>) -> FsResult<Inode> {
    let position = volume.read_inode_bytes(number, bytes)?;
    Inode::parse_unlinked(&volume.superblock, number, bytes, position)
}

struct Orphans<'a> {
    volume: &'a Volume,
    seen: HashSet<u32>,
    found: Vec<Inode>,
}

impl Orphans<'_> {
    fn of_list(&mut self) -> FsResult<()> {
        let mut next = self.volume.superblock.last_orphan;
        while next != 0 {
            let is_new = self.seen.insert(next);
            if !is_new || self.seen.len() > MAX_ORPHANS {
                return Err(FsError::corrupt("list of orphan inodes has no end"));
            }
            next = self.take(next)?;
        }
        Ok(())
    }

    /// Takes in the inode `number`, and gives what its `dtime` says.
    fn take(&mut self, number: u32) -> FsResult<u32> {
        let inode = match read_stored(self.volume, number, &mut Vec::new()) {
            Err(error) if error.kind() == FsErrorKind::NotFound => {
                let line =
                    format!("list of orphan inodes has inode {number}, which was never used");
                return Err(FsError::corrupt(line));
            }
            result => result?,
        };
        let next = inode.deletion;
        // Its number may have been given to another file since.
        let is_used = is_changed(self.volume, number)
            && self.volume.read_inode(number, &mut Vec::new()).is_ok_and(|inode| inode.links > 0);
        if inode.links == 0 && !is_used && !inode.flags.has(Flags::EA_INODE) {
            self.found.push(inode);
        }
        Ok(next)
    }

    fn of_file(&mut self) -> FsResult<()> {
        let superblock = &self.volume.superblock;
        let [_, number] = superblock.hidden_inodes;
        if !superblock.features.compat(Compat::ORPHAN_FILE) || number == 0 {
            return Ok(());
        }
        let file = self.volume.read_inode(number, &mut Vec::new())?;
        if file.kind != FileKind::Regular || file.size > MAX_FILE {
            return Err(FsError::corrupt("orphan file is none"));
        }
        let extents = map::read(self.volume, &file)?;
        let mut block = self.volume.block_buffer()?;
        let mut offset = 0;
        while offset < file.size {
            let Some((Place::At(at), _)) = extents.at(offset) else {
                return Err(FsError::corrupt("orphan file has a hole"));
            };
            let number = at / superblock.block_size;
            self.volume.read_own_block(number, &mut block)?;
            for number in numbers(self.volume, &file, number, &block)? {
                if number != 0 && self.seen.insert(number) {
                    if self.seen.len() > MAX_ORPHANS {
                        return Err(FsError::corrupt("orphan file has too many inodes"));
                    }
                    self.take(number)?;
                }
            }
            offset = offset.saturating_add(superblock.block_size.get());
        }
        Ok(())
    }
}

/// The inode numbers in a block of the orphan file.
fn numbers(volume: &Volume, file: &Inode, number: u64, block: &[u8]) -> FsResult<Vec<u32>> {
    let invalid = || FsError::corrupt("block of the orphan file is damaged");
    let (numbers, tail) = RawTail::ref_from_suffix(block).map_err(|_| invalid())?;
    let sum = checksum::update(file.checksum_seed, &number.to_le_bytes());
    let has_sum = volume.superblock.features.ro_compat(RoCompat::METADATA_CSUM);
    let is_bad = has_sum && checksum::update(sum, numbers) != tail.checksum.get();
    if tail.magic.get() != MAGIC || is_bad {
        return Err(invalid());
    }
    let (numbers, _) = numbers.as_chunks::<4>();
    Ok(numbers.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect())
}
