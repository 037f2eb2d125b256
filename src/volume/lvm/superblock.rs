//! What the kernel keeps of one side of a RAID in the volume beside it.
//!
//! Source: `struct dm_raid_superblock` of Linux (`drivers/md/dm-raid.c`). Little-endian, at the start of
//! the volume. Fields from `flags` on count if bit 0 of `features` is set.
//!
//! | offset | size | field                  | rule                                                   |
//! |--------|------|------------------------|--------------------------------------------------------|
//! | 0x00   | 4    | `magic`                | `DmRd`; zeros: the RAID was never started              |
//! | 0x04   | 4    | `features`             | 1: the second half is there                            |
//! | 0x08   | 4    | `sides`                | not looked at                                          |
//! | 0x0C   | 4    | `position`             | the number of the side                                 |
//! | 0x10   | 8    | `events`               | counts the changes of the state                        |
//! | 0x18   | 8    | `failed`               | one bit for each side that failed                      |
//! | 0x20   | 8    | `recovered`            | sectors of this side that are in sync; all bits: all   |
//! | 0x28   | 8    | `synced`               | the same of the whole RAID                             |
//! | 0x30   | 4    | `level`                | of MD                                                  |
//! | 0x34   | 4    | `layout`               | of MD                                                  |
//! | 0x38   | 4    | `chunk`                | in sectors                                             |
//! | 0x3C   | 4    | `flags`                | 1: it is being reshaped                                |
//! | 0x40   | 8    | `reshape_position`     | not looked at                                          |
//! | 0x48   | 16   | new level, layout, chunk, sides | not looked at                                 |
//! | 0x58   | 8    | `size`                 | not looked at                                          |
//! | 0x60   | 8    | `data_offset`          | sectors before the data of this side                   |
//! | 0x68   | 8    | `new_data_offset`      | the same after the reshape; equal here                 |
//! | 0x70   | 8    | `side_size`            | not looked at                                          |
//! | 0x78   | 24   | `more_failed`          | bits for sides from 64 on                              |
//! | 0x90   | 4    | `incompatible`         | 0                                                      |
//!
//! At byte 4096 comes the bitmap of MD (`drivers/md/md-bitmap.h`), which says where writes were going on:
//!
//! | offset | size | field                  | rule                                                   |
//! |--------|------|------------------------|--------------------------------------------------------|
//! | 0x00   | 4    | `magic`                | `bitm`                                                 |
//! | 0x28   | 8    | `size`                 | of the side in sectors                                 |
//! | 0x34   | 4    | `region`               | bytes for each bit                                     |
//! | 0x100  | n    | bits                   | 1: the sides may differ there                          |

use std::mem::{offset_of, size_of};

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Where the bitmap is.
const BITMAP: u64 = 4096;

/// LIMIT: bytes of the bitmap that are looked at; lvm2 makes two million regions at most.
const MAX_BITMAP: u64 = 1 << 18;

/// What stands for "all of it".
const ALL: u64 = u64::MAX;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    magic: [u8; 4],
    features: U32<LE>,
    sides: U32<LE>,
    position: U32<LE>,
    events: U64<LE>,
    failed: U64<LE>,
    recovered: U64<LE>,
    synced: U64<LE>,
    level: U32<LE>,
    layout: U32<LE>,
    chunk: U32<LE>,
    flags: U32<LE>,
    reshape_position: U64<LE>,
    new_shape: [U32<LE>; 4],
    size: U64<LE>,
    data_offset: U64<LE>,
    new_data_offset: U64<LE>,
    side_size: U64<LE>,
    more_failed: [U64<LE>; 3],
    incompatible: U32<LE>,
}
const _: () = assert!(offset_of!(RawSuperblock, level) == 0x30);
const _: () = assert!(offset_of!(RawSuperblock, data_offset) == 0x60);
const _: () = assert!(offset_of!(RawSuperblock, incompatible) == 0x90);
const _: () = assert!(size_of::<RawSuperblock>() == 0x94);

/// The state of a RAID as one of its sides has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) position: u32,
    pub(super) events: u64,
    /// One bit for each side.
    failed: [u64; 4],
    /// The bytes of this side that hold what they should, from its begin on; `None` if all do.
    pub(super) recovered: Option<u64>,
    /// Whether all sides of the RAID were made to agree once.
    pub(super) is_synced: bool,
    pub(super) level: u32,
    pub(super) layout: u32,
    /// In bytes.
    pub(super) chunk: u64,
    /// Where its data begins on this side, in bytes.
    pub(super) data_offset: u64,
}

impl Superblock {
    /// Reads the superblock of a side; `None` where the RAID was never started.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` where it is no state that can be read, or why it cannot be read.
    pub(super) fn read(device: &dyn BlockDevice) -> BlockResult<Option<Self>> {
        let mut bytes = [0; 512];
        device.read_at(0, &mut bytes)?;
        let (raw, _) = RawSuperblock::ref_from_prefix(&bytes).map_err(|_| {
            BlockError::corrupt("metadata of a side of the RAID is cut short", 0, 0)
        })?;
        if raw.magic == [0; 4] {
            return Ok(None);
        }
        if raw.magic != *b"DmRd" {
            let line = "metadata of a side of the RAID has a wrong signature";
            return Err(BlockError::corrupt(line, 0, 0));
        }
        let mut failed = [raw.failed.get(), 0, 0, 0];
        let mut data_offset = 0;
        if raw.features.get() & 1 != 0 {
            if raw.flags.get() & 1 != 0 {
                return Err(BlockError::unsupported("the RAID is being reshaped"));
            }
            data_offset = raw.data_offset.get().saturating_mul(512);
            if raw.new_data_offset.get() != raw.data_offset.get() {
                return Err(BlockError::unsupported("the RAID is being reshaped"));
            }
            if raw.incompatible.get() != 0 {
                let line = format!("the RAID has features {:#x}", raw.incompatible.get());
                return Err(BlockError::unsupported(line));
            }
            for (place, more) in failed.iter_mut().skip(1).zip(raw.more_failed) {
                *place = more.get();
            }
        }
        Ok(Some(Self {
            position: raw.position.get(),
            events: raw.events.get(),
            failed,
            recovered: Some(raw.recovered.get())
                .filter(|sectors| *sectors != ALL)
                .map(|sectors| sectors.saturating_mul(512)),
            is_synced: raw.synced.get() == ALL,
            level: raw.level.get(),
            layout: raw.layout.get(),
            chunk: u64::from(raw.chunk.get()).saturating_mul(512),
            data_offset,
        }))
    }

    /// Whether it says that the side `position` failed.
    pub(super) fn has_failed(&self, position: usize) -> bool {
        let (word, bit) = (position.wrapping_shr(6), position & 63);
        self.failed.get(word).is_some_and(|word| word.wrapping_shr(bit_number(bit)) & 1 == 1)
    }
}

/// In how many regions of the RAID on `device`, the metadata of a side, writes were going on; `None` where
/// there is no bitmap that says so.
pub(super) fn unsettled_regions(device: &dyn BlockDevice) -> Option<u64> {
    let mut bytes = [0; 256];
    device.read_at(BITMAP, &mut bytes).ok()?;
    let mut reader = ByteReader::new("bitmap of the RAID", &bytes, BITMAP);
    if reader.array::<4>().ok()? != *b"bitm" {
        return None;
    }
    reader.skip(0x24).ok()?;
    let size = reader.u64_le().ok()?.checked_mul(512)?;
    reader.skip(4).ok()?;
    let region = u64::from(reader.u32_le().ok()?);
    let regions = size.checked_add(region.saturating_sub(1))?.checked_div(region)?;
    let length = regions.div_ceil(8).min(MAX_BITMAP);
    let mut bits = vec![0; usize::try_from(length).ok()?];
    device.read_at(BITMAP.saturating_add(256), &mut bits).ok()?;
    let set = bits.iter().map(|byte: &u8| u64::from(byte.count_ones()));
    Some(set.fold(0, u64::saturating_add))
}

fn bit_number(bit: usize) -> u32 {
    u32::try_from(bit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use volfold_block::{BlockErrorKind, MemoryDevice};

    use super::*;

    fn bytes(features: u32) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..4].copy_from_slice(b"DmRd");
        bytes[4..8].copy_from_slice(&features.to_le_bytes());
        bytes[0x0C] = 1;
        bytes[0x10] = 9;
        bytes[0x18] = 0b100;
        bytes[0x20..0x30].fill(0xFF);
        bytes[0x30] = 5;
        bytes[0x34] = 2;
        bytes[0x38] = 8;
        bytes
    }

    fn read(bytes: Vec<u8>) -> BlockResult<Option<Superblock>> {
        Superblock::read(&MemoryDevice::new(bytes))
    }

    #[test]
    fn the_state_of_a_side_is_read() {
        let mut raw = bytes(1);
        raw[0x78 + 8] = 1;
        let state = read(raw).unwrap().unwrap();
        assert_eq!((state.position, state.events, state.chunk), (1, 9, 4096));
        assert_eq!((state.level, state.layout), (5, 2));
        assert!(state.recovered.is_none() && state.is_synced);
        assert_eq!((0..256).filter(|side| state.has_failed(*side)).collect::<Vec<_>>(), [2, 128]);
        assert_eq!(read(vec![0; 512]).unwrap(), None);
    }

    #[test]
    fn a_side_that_is_behind_says_so() {
        let mut raw = bytes(0);
        raw[0x20..0x28].copy_from_slice(&24_u64.to_le_bytes());
        raw[0x28] = 0;
        let state = read(raw).unwrap().unwrap();
        assert!(state.recovered == Some(24 * 512) && !state.is_synced);
    }

    #[test]
    fn the_bitmap_says_where_writes_were_going_on() {
        let mut raw = vec![0; 8192];
        assert_eq!(unsettled_regions(&MemoryDevice::new(raw.clone())), None);
        raw[4096..4100].copy_from_slice(b"bitm");
        raw[4096 + 0x28] = 100;
        raw[4096 + 0x35] = 4;
        assert_eq!(unsettled_regions(&MemoryDevice::new(raw.clone())), Some(0));
        // 50 regions of 1 KiB: seven bytes.
        raw[4096 + 256..4096 + 264].copy_from_slice(&[1, 0, 0, 0, 0, 0, 3, 0xFF]);
        assert_eq!(unsettled_regions(&MemoryDevice::new(raw.clone())), Some(3));
        raw[4096 + 0x2F] = 0xFF;
        assert_eq!(unsettled_regions(&MemoryDevice::new(raw)), None);
    }

    #[test]
    fn reshapes_and_features_are_refused() {
        for at in [0x3C, 0x60, 0x68, 0x90] {
            let mut raw = bytes(1);
            raw[at] = 1;
            let error = read(raw.clone()).unwrap_err();
            assert_eq!(error.kind(), BlockErrorKind::Unsupported, "{at:#x}");
            raw[4] = 0;
            assert!(read(raw).is_ok());
        }
        let mut raw = bytes(1);
        raw[0x61] = 8;
        raw[0x69] = 8;
        assert_eq!(read(raw.clone()).unwrap().map(|state| state.data_offset), Some(1 << 20));
        raw[0] = b'X';
        assert_eq!(read(raw).unwrap_err().kind(), BlockErrorKind::Corrupt);
    }
}
