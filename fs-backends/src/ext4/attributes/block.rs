//! The block of attributes of an inode, which inodes with the same attributes share.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Extended
//! Attributes". Little-endian. The list of attributes follows.
//!
//! | offset | size | field       | rule                                                          |
//! |--------|------|-------------|---------------------------------------------------------------|
//! | 0x00   | 4    | `magic`     | 0xEA020000                                                    |
//! | 0x04   | 4    | `refcount`  | inodes that have this block; not looked at                    |
//! | 0x08   | 4    | `blocks`    | 1                                                             |
//! | 0x0C   | 4    | `hash`      | of all attributes; not looked at                              |
//! | 0x10   | 4    | `checksum`  | with metadata_csum: CRC-32C of block number and block, this field taken as 0 |
//! | 0x14   | 12   | reserved    |                                                               |

use std::mem::offset_of;

use zerocopy::byteorder::{LE, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::entries::Entries;
use crate::error::{FsError, FsResult};
use crate::ext4::checksum;
use crate::ext4::features::RoCompat;
use crate::ext4::superblock::Superblock;
use crate::ext4::volume::Volume;

pub(super) const MAGIC: u32 = 0xEA02_0000;
pub(super) const HEADER: usize = 0x20;
const CHECKSUM_AT: usize = 0x10;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: U32<LE>,
    refcount: U32<LE>,
    blocks: U32<LE>,
    hash: U32<LE>,
    checksum: U32<LE>,
    reserved: [u8; 12],
}
const _: () = assert!(offset_of!(RawHeader, checksum) == CHECKSUM_AT);
const _: () = assert!(size_of::<RawHeader>() == HEADER);

/// Reads and checks the block `number` of attributes.
///
/// # Errors
/// `Corrupt` if it is none, or has a bad checksum.
pub(super) fn read(volume: &Volume, number: u64) -> FsResult<Vec<u8>> {
    let mut bytes = volume.block_buffer()?;
    let at = volume.read_own_block(number, &mut bytes)?;
    check(&volume.superblock, number, &bytes).map_err(|error| error.at(at))?;
    Ok(bytes)
}

/// The list in a block that [`read`] gave.
///
/// # Errors
/// `Corrupt` if it does not end.
pub(super) fn entries(bytes: &[u8]) -> FsResult<Entries<'_>> {
    Entries::parse(bytes, HEADER)
}

fn check(superblock: &Superblock, number: u64, bytes: &[u8]) -> FsResult<()> {
    let (raw, _) = RawHeader::ref_from_prefix(bytes)
        .map_err(|_| FsError::corrupt("block of extended attributes is cut short"))?;
    if raw.magic.get() != MAGIC || raw.blocks.get() != 1 {
        return Err(FsError::corrupt("block of extended attributes does not begin as one"));
    }
    let has_sum = superblock.features.ro_compat(RoCompat::METADATA_CSUM);
    if has_sum && sum(superblock.checksum_seed, number, bytes) != Some(raw.checksum.get()) {
        return Err(FsError::corrupt("block of extended attributes has a bad checksum"));
    }
    Ok(())
}

/// The checksum of a block with this number.
pub(super) fn sum(seed: u32, number: u64, bytes: &[u8]) -> Option<u32> {
    let (before, rest) = bytes.split_at_checked(CHECKSUM_AT)?;
    let (_, after) = rest.split_first_chunk::<4>()?;
    let sum = checksum::update(seed, &number.to_le_bytes());
    let sum = checksum::update(checksum::update(sum, before), &[0; 4]);
    Some(checksum::update(sum, after))
}
