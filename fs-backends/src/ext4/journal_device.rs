//! A device that is nothing but the journal of an ext file system on another volume.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapters "Super
//! Block" and "Journal (jbd2)". Little-endian. It has the superblock of a file system at byte 1024,
//! of which only this counts:
//!
//! | offset | size | field             | rule                                                     |
//! |--------|------|-------------------|----------------------------------------------------------|
//! | 0x004  | 4    | `blocks_count_lo` |                                                          |
//! | 0x018  | 4    | `log_block_size`  | 0 to 6: 1 KiB to 64 KiB                                  |
//! | 0x038  | 2    | `magic`           | 0xEF53                                                   |
//! | 0x060  | 4    | `incompat`        | with the bit 8                                           |
//! | 0x064  | 4    | `ro_compat`       |                                                          |
//! | 0x068  | 16   | `uuid`            | what the file system calls its journal                   |
//! | 0x078  | 16   | `volume_name`     | padded with 0                                            |
//! | 0x3FC  | 4    | `checksum`        | with metadata_csum: CRC-32C of the bytes before          |
//!
//! The superblock of the journal is in the block after that: in block 2 if blocks have 1 KiB, else
//! in block 1. The blocks of the journal are numbered from the start of the device.

use std::mem::offset_of;
use std::sync::Arc;

use volfold_block::BlockDevice;
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::identity::label;
use super::journal::Journal;
use super::superblock::{MAGIC, MAX_LOG_BLOCK_SIZE, SUPERBLOCK_OFFSET};
use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};

const JOURNAL_DEV: u32 = 0x0008;
const METADATA_CSUM: u32 = 0x0400;
const CHECKSUM_AT: usize = 0x3FC;

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    unread_00: [u8; 0x04],
    blocks_count_lo: U32<LE>,
    unread_08: [u8; 0x10],
    log_block_size: U32<LE>,
    unread_1c: [u8; 0x1C],
    magic: U16<LE>,
    unread_3a: [u8; 0x26],
    incompat: U32<LE>,
    ro_compat: U32<LE>,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    unread_88: [u8; 0x374],
    checksum: U32<LE>,
}
const _: () = assert!(offset_of!(RawSuperblock, log_block_size) == 0x018);
const _: () = assert!(offset_of!(RawSuperblock, magic) == 0x038);
const _: () = assert!(offset_of!(RawSuperblock, incompat) == 0x060);
const _: () = assert!(offset_of!(RawSuperblock, volume_name) == 0x078);
const _: () = assert!(offset_of!(RawSuperblock, checksum) == CHECKSUM_AT);
const _: () = assert!(size_of::<RawSuperblock>() == 0x400);

/// The checked superblock of such a device.
pub(super) struct JournalDevice {
    pub(super) uuid: [u8; 16],
    pub(super) label: Option<String>,
    block_size: u64,
    blocks_count: u64,
}

impl JournalDevice {
    /// The journal on `device`; `None` if it is something else.
    ///
    /// # Errors
    /// `Corrupt` if it is one that is damaged; why `device` cannot be read.
    pub(super) fn read(device: &dyn BlockDevice) -> FsResult<Option<Self>> {
        let mut bytes = [0; size_of::<RawSuperblock>()];
        if device.size() < SUPERBLOCK_OFFSET.saturating_mul(2) {
            return Ok(None);
        }
        device.read_at(SUPERBLOCK_OFFSET, &mut bytes)?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> FsResult<Option<Self>> {
        let corrupt =
            |what, field| FsError::corrupt(what).at(SUPERBLOCK_OFFSET.saturating_add(field));
        let (raw, _) = RawSuperblock::ref_from_prefix(bytes)
            .map_err(|_| corrupt("superblock is cut short", 0))?;
        if raw.magic.get() != MAGIC || raw.incompat.get() & JOURNAL_DEV == 0 {
            return Ok(None);
        }
        let covered = raw.as_bytes().get(..CHECKSUM_AT).unwrap_or_default();
        if raw.ro_compat.get() & METADATA_CSUM != 0 && checksum::sum(covered) != raw.checksum.get()
        {
            return Err(corrupt("superblock has a bad checksum", 0x3FC));
        }
        let log = Some(raw.log_block_size.get()).filter(|log| *log <= MAX_LOG_BLOCK_SIZE);
        let block_size = log.and_then(|log| 1024_u64.checked_shl(log));
        Ok(Some(Self {
            uuid: raw.uuid,
            label: label(&raw.volume_name),
            block_size: block_size
                .ok_or_else(|| corrupt("superblock has an invalid block size", 0x18))?,
            blocks_count: u64::from(raw.blocks_count_lo.get()),
        }))
    }

    /// The journal of a file system with blocks of `block_size`, read from `device`.
    ///
    /// # Errors
    /// `Corrupt` if it belongs to another kind of file system, or `device` is cut short.
    pub(super) fn journal(
        &self,
        device: Arc<dyn BlockDevice>,
        block_size: u64,
    ) -> FsResult<Journal> {
        if self.block_size != block_size {
            return Err(FsError::corrupt("device of the journal has a wrong block size"));
        }
        let size = self
            .blocks_count
            .checked_mul(block_size)
            .ok_or_else(|| FsError::corrupt("device of the journal has an invalid size"))?;
        let mut extents = Extents::default();
        extents.push(Place::At(0), size)?;
        let superblock = if block_size == 1024 { 2 } else { 1 };
        Ok(Journal { device, extents, size, block_size, superblock })
    }
}
