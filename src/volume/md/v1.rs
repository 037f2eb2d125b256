//! Superblocks of version 1.
//!
//! Source: `struct mdp_superblock_1` of Linux (`include/uapi/linux/raid/md_p.h`, `drivers/md/md.c`).
//! Little-endian, at the start (1.1), 4 KiB after it (1.2), or at the last multiple of 4 KiB that leaves
//! 8 KiB (1.0).
//!
//! | offset | size | field             | rule                                                      |
//! |--------|------|-------------------|-----------------------------------------------------------|
//! | 0x00   | 4    | `magic`           | 0xa92b4efc                                                |
//! | 0x04   | 4    | `major_version`   | 1                                                         |
//! | 0x08   | 4    | `feature_map`     | bits, see `superblock`                                    |
//! | 0x0C   | 4    | `pad0`            | not looked at                                             |
//! | 0x10   | 16   | `set_uuid`        | of the array                                              |
//! | 0x20   | 32   | `set_name`        | text, ends with a zero; host and name with a colon        |
//! | 0x40   | 8    | `ctime`           | 40 bits of seconds                                        |
//! | 0x48   | 4    | `level`           | signed                                                    |
//! | 0x4C   | 4    | `layout`          |                                                           |
//! | 0x50   | 8    | `size`            | of each device in sectors of 512 bytes; 0: as it has      |
//! | 0x58   | 4    | `chunksize`       | in sectors                                                |
//! | 0x5C   | 4    | `raid_disks`      |                                                           |
//! | 0x60   | 4    | `bitmap_offset`   | not looked at                                             |
//! | 0x64   | 28   | new shape         | of a reshape; not looked at                               |
//! | 0x80   | 8    | `data_offset`     | in sectors; past a superblock at the start                |
//! | 0x88   | 8    | `data_size`       | in sectors; an image may end before                       |
//! | 0x90   | 8    | `super_offset`    | where this superblock is, in sectors                      |
//! | 0x98   | 8    | `recovery_offset` | sectors that were rebuilt; tail of the log of a journal   |
//! | 0xA0   | 4    | `dev_number`      | index into `dev_roles`                                    |
//! | 0xA4   | 4    | `corrected`       | not looked at                                             |
//! | 0xA8   | 16   | `device_uuid`     |                                                           |
//! | 0xB8   | 1    | `devflags`        | 1: write-mostly                                           |
//! | 0xB9   | 1    | `bblog_shift`     |                                                           |
//! | 0xBA   | 2    | `bblog_size`      | in sectors, at most 8                                     |
//! | 0xBC   | 4    | `bblog_offset`    | in sectors after the superblock, signed                   |
//! | 0xC0   | 8    | `utime`           | not looked at                                             |
//! | 0xC8   | 8    | `events`          |                                                           |
//! | 0xD0   | 8    | `resync_offset`   | sectors that are in sync; all bits: all                   |
//! | 0xD8   | 4    | `sb_csum`         | of all up to the last role                                |
//! | 0xDC   | 4    | `max_dev`         | number of roles, at most 1920                             |
//! | 0xE0   | 32   | `pad3`            | not looked at                                             |
//! | 0x100  | 2 n  | `dev_roles`       | column; 0xffff spare, 0xfffe faulty, 0xfffd journal       |

use std::mem::{offset_of, size_of};

use volfold_block::{BlockError, BlockResult, byte_count};
use zerocopy::byteorder::{BE, LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::superblock::{
    BadBlockLog, FEATURE_BAD_BLOCKS, FEATURE_RECOVERY, MAGIC, Role, SUPERBLOCK, Shape, Superblock,
    Version, uuid,
};

/// LIMIT: roles, as many as there is room for in 4 KiB; Linux has the same bound.
const MAX_ROLES: usize = (SUPERBLOCK - size_of::<RawSuperblock>()) / 2;

/// LIMIT: sectors of the log of bad blocks; Linux has the same bound.
const MAX_LOG: u16 = 8;

/// What stands for "all of it".
const ALL: u64 = u64::MAX;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    magic: U32<LE>,
    major_version: U32<LE>,
    feature_map: U32<LE>,
    pad0: U32<LE>,
    set_uuid: [U32<BE>; 4],
    set_name: [u8; 32],
    ctime: U64<LE>,
    level: U32<LE>,
    layout: U32<LE>,
    size: U64<LE>,
    chunksize: U32<LE>,
    raid_disks: U32<LE>,
    bitmap_offset: U32<LE>,
    new_shape: [U32<LE>; 7],
    data_offset: U64<LE>,
    data_size: U64<LE>,
    super_offset: U64<LE>,
    recovery_offset: U64<LE>,
    dev_number: U32<LE>,
    corrected: U32<LE>,
    device_uuid: [U32<BE>; 4],
    devflags: u8,
    bblog_shift: u8,
    bblog_size: U16<LE>,
    bblog_offset: U32<LE>,
    utime: U64<LE>,
    events: U64<LE>,
    resync_offset: U64<LE>,
    sb_csum: U32<LE>,
    max_dev: U32<LE>,
    pad3: [u8; 32],
}
const _: () = assert!(offset_of!(RawSuperblock, data_offset) == 0x80);
const _: () = assert!(offset_of!(RawSuperblock, bblog_offset) == 0xBC);
const _: () = assert!(offset_of!(RawSuperblock, sb_csum) == 0xD8);
const _: () = assert!(size_of::<RawSuperblock>() == 0x100);

/// The superblock in `bytes`, which are at `at` of a device; `None` if there is none, or one that was written
/// for another place.
///
/// # Errors
/// `Corrupt` if a superblock is there and contradicts itself.
pub(super) fn parse(bytes: &[u8], at: u64, version: Version) -> BlockResult<Option<Superblock>> {
    let Ok((raw, rest)) = RawSuperblock::ref_from_prefix(bytes) else {
        return Ok(None);
    };
    let is_other = at.checked_div(512) != Some(raw.super_offset.get());
    if raw.magic.get() != MAGIC || raw.major_version.get() != 1 || is_other {
        return Ok(None);
    }
    let corrupt = |line: &'static str, field| BlockError::corrupt(line, at, field);
    let count = usize::try_from(raw.max_dev.get()).unwrap_or(usize::MAX);
    let roles = rest.get(..count.saturating_mul(2)).filter(|_| count <= MAX_ROLES);
    let roles = roles.ok_or_else(|| corrupt("MD superblock has too many roles", 0xDC))?;
    let whole = bytes.get(..size_of::<RawSuperblock>().saturating_add(roles.len()));
    if whole.map(checksum) != Some(raw.sb_csum.get()) {
        return Err(corrupt("MD superblock has a bad checksum", 0xD8));
    }
    let large = |field| move || corrupt("MD superblock has a number that is too large", field);
    let bytes_of = |sectors: U64<LE>| sectors.get().checked_mul(512);
    let data_offset = bytes_of(raw.data_offset).ok_or_else(large(0x80))?;
    let data_size = bytes_of(raw.data_size).ok_or_else(large(0x88))?;
    let component = bytes_of(raw.size).ok_or_else(large(0x50))?;
    // A superblock at the end bounds the data. Else an image may have been cut short.
    let room = if version == Version::End { at } else { u64::MAX };
    if data_offset.checked_add(data_size).is_none_or(|end| end > room) {
        return Err(corrupt("MD superblock has data past the end of the device", 0x88));
    }
    // Linux leaves 4 KiB to a superblock at the start.
    if version != Version::End && data_offset < at.saturating_add(byte_count(SUPERBLOCK)) {
        return Err(corrupt("MD superblock has data in its own place", 0x80));
    }
    let features = raw.feature_map.get();
    let is_rebuilt = features & FEATURE_RECOVERY != 0;
    let bad_blocks = match features & FEATURE_BAD_BLOCKS {
        0 => None,
        _ => Some(bad_blocks(raw, at).ok_or_else(|| {
            corrupt("MD superblock has a log of bad blocks in an invalid place", 0xBC)
        })?),
    };
    let resync = raw.resync_offset.get();
    Ok(Some(Superblock {
        version,
        place: at,
        array: uuid(raw.set_uuid.map(U32::get)),
        array_bytes: raw.set_uuid.as_bytes().try_into().unwrap_or_default(),
        name: text(&raw.set_name),
        minor: None,
        created: raw.ctime.get() & 0xFF_FFFF_FFFF,
        shape: Shape {
            level: raw.level.get().cast_signed(),
            layout: raw.layout.get(),
            component,
            chunk: u64::from(raw.chunksize.get()).saturating_mul(512),
            raid_disks: raw.raid_disks.get(),
        },
        features,
        data_offset,
        data_size,
        number: raw.dev_number.get(),
        device: uuid(raw.device_uuid.map(U32::get)),
        events: raw.events.get(),
        synced: (resync != ALL).then(|| resync.saturating_mul(512)),
        recovered: is_rebuilt.then(|| raw.recovery_offset.get().saturating_mul(512)),
        journal_tail: raw.recovery_offset.get().saturating_mul(512),
        is_write_mostly: raw.devflags & 1 != 0,
        bad_blocks,
        roles: roles.chunks_exact(2).map(role).collect(),
    }))
}

/// Where the log of bad blocks is; `None` if that is no place.
fn bad_blocks(raw: &RawSuperblock, at: u64) -> Option<BadBlockLog> {
    let offset = i64::from(raw.bblog_offset.get().cast_signed()).checked_mul(512)?;
    let sectors = Some(raw.bblog_size.get()).filter(|sectors| *sectors <= MAX_LOG)?;
    let size = u64::from(sectors).saturating_mul(512);
    (offset != 0 && size != 0).then_some(())?;
    Some(BadBlockLog { offset: at.checked_add_signed(offset)?, size, shift: raw.bblog_shift })
}

fn role(bytes: &[u8]) -> Role {
    match bytes.try_into().map(u16::from_le_bytes) {
        Ok(0xFFFD) => Role::Journal,
        Ok(0xFFFE) => Role::Faulty,
        Ok(column @ ..0xFF00) => Role::Active(u32::from(column)),
        _ => Role::Spare,
    }
}

/// Text up to the first zero, without what would break a line or a path.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes));
    let shown = |letter: char| if letter.is_control() || letter == '/' { '_' } else { letter };
    text.trim().chars().map(shown).collect()
}

/// The sum of all words of `bytes`, the one of the checksum taken as 0, folded to 32 bits.
fn checksum(bytes: &[u8]) -> u32 {
    let own = offset_of!(RawSuperblock, sb_csum) / 4;
    let words = bytes.chunks(4).enumerate().filter(|(index, _)| *index != own);
    let sum = words.fold(0_u64, |sum, (_, word)| {
        let word = word.iter().rev().fold(0, |word: u64, byte| (word << 8) | u64::from(*byte));
        sum.saturating_add(word)
    });
    fold(sum)
}

/// The upper half of `sum` added to the lower one.
pub(super) fn fold(sum: u64) -> u32 {
    let (low, high) = (sum & 0xFFFF_FFFF, sum >> 32);
    u32::try_from(low.saturating_add(high) & 0xFFFF_FFFF).unwrap_or(0)
}
