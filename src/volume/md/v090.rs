//! Superblocks of version 0.90.
//!
//! Source: `struct mdp_superblock_s` of Linux (`include/uapi/linux/raid/md_p.h`, `drivers/md/md.c`). Words
//! of 4 bytes in the byte order of the machine that wrote it, at the last multiple of 64 KiB that leaves
//! 64 KiB.
//!
//! | word    | field               | rule                                                          |
//! |---------|---------------------|---------------------------------------------------------------|
//! | 0       | `md_magic`          | 0xa92b4efc, which tells the byte order                        |
//! | 1, 2    | version             | 0 and 90; 91 while it is reshaped                             |
//! | 5       | `set_uuid0`         | the others are words 13 to 15                                 |
//! | 6       | `ctime`             | seconds                                                       |
//! | 7       | `level`             | signed                                                        |
//! | 8       | `size`              | of each device in KiB                                         |
//! | 10      | `raid_disks`        |                                                               |
//! | 11      | `md_minor`          | the number of its device node                                 |
//! | 33      | `state`             | bit 0: it was stopped                                         |
//! | 38      | `sb_csum`           | of all words                                                  |
//! | 39, 40  | `events`            | low word first, or high word first where words are big-endian |
//! | 41, 42  | `cp_events`         | the same: the events that `recovery_cp` was written at        |
//! | 43      | `recovery_cp`       | sectors that are in sync                                      |
//! | 64      | `layout`            |                                                               |
//! | 65      | `chunk_size`        | in bytes                                                      |
//! | 128 ... | 27 devices          | 32 words each: number, major, minor, `raid_disk`, `state`     |
//! | 992     | `this_disk`         | the same, of this device                                      |
//!
//! Bits of the state of a device: 0 faulty, 1 active, 2 in sync, 3 removed, 9 write-mostly, 18 journal.

use volfold_block::{BlockError, BlockResult};

use super::superblock::{
    FEATURE_RESHAPE, MAGIC, Role, SUPERBLOCK, Shape, Superblock, Version, uuid,
};
use super::v1::fold;

/// Devices that a superblock has room for.
const DEVICES: usize = 27;

/// The words of a superblock.
struct Words {
    words: Vec<u32>,
    is_big_endian: bool,
}

impl Words {
    /// The words of `bytes`, in the byte order that the first one tells; `None` if it is another number.
    fn of(bytes: &[u8]) -> Option<Self> {
        let first: [u8; 4] = bytes.first_chunk().copied()?;
        let is_big_endian = match MAGIC {
            magic if magic == u32::from_le_bytes(first) => false,
            magic if magic == u32::from_be_bytes(first) => true,
            _ => return None,
        };
        let (words, _) = bytes.get(..SUPERBLOCK)?.as_chunks::<4>();
        let from = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        Some(Self { words: words.iter().map(|word| from(*word)).collect(), is_big_endian })
    }

    fn get(&self, index: usize) -> u32 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// The number in two words.
    fn long(&self, index: usize) -> u64 {
        let (one, other) = (self.get(index), self.get(index.saturating_add(1)));
        let (low, high) = if self.is_big_endian { (other, one) } else { (one, other) };
        u64::from(high) << 32 | u64::from(low)
    }

    fn checksum(&self) -> u32 {
        let words = self.words.iter().enumerate().filter(|(index, _)| *index != 38);
        fold(words.fold(0_u64, |sum, (_, word)| sum.saturating_add(u64::from(*word))))
    }
}

/// The superblock in `bytes`, which are at `at` of a device; `None` if there is none.
///
/// # Errors
/// `Corrupt` if a superblock is there and contradicts itself.
pub(super) fn parse(bytes: &[u8], at: u64) -> BlockResult<Option<Superblock>> {
    let Some(words) = Words::of(bytes) else {
        return Ok(None);
    };
    // Those of version 1 have the same magic number.
    if words.get(1) != 0 || !matches!(words.get(2), 90 | 91) {
        return Ok(None);
    }
    let corrupt = |line: &'static str, word| BlockError::corrupt(line, at, word);
    if words.checksum() != words.get(38) {
        return Err(corrupt("MD superblock has a bad checksum", 38 * 4));
    }
    let number = words.get(992);
    if usize::try_from(number).is_ok_and(|number| number >= DEVICES) {
        return Err(corrupt("MD superblock has an invalid number of the device", 992 * 4));
    }
    let level = words.get(7).cast_signed();
    let component = u64::from(words.get(8)).saturating_mul(1024);
    if level > 0 && component > at {
        return Err(corrupt("MD superblock has data past the end of the device", 8 * 4));
    }
    let roles: Vec<Role> = (0..DEVICES).map(|device| role(&words, device)).collect();
    let state = |index: usize| words.get(device(index).saturating_add(4));
    let own = state(usize::try_from(number).unwrap_or(DEVICES));
    let synced = match (words.get(33) & 1, words.long(39) == words.long(41)) {
        (1, _) => None,
        (_, true) => Some(u64::from(words.get(43)).saturating_mul(512)),
        (_, false) => Some(0),
    };
    Ok(Some(Superblock {
        version: Version::Old,
        place: at,
        array: uuid([5, 13, 14, 15].map(|index| words.get(index))),
        // Only a journal asks for it, which there is none of.
        array_bytes: [0; 16],
        name: String::new(),
        minor: Some(words.get(11)),
        created: u64::from(words.get(6)),
        shape: Shape {
            level,
            layout: words.get(64),
            component: if level > 0 { component } else { 0 },
            chunk: u64::from(words.get(65)),
            raid_disks: words.get(10),
        },
        features: if words.get(2) == 91 { FEATURE_RESHAPE } else { 0 },
        data_offset: 0,
        data_size: at,
        number,
        device: format!("device {number}"),
        events: words.long(39),
        synced,
        recovered: None,
        journal_tail: 0,
        is_write_mostly: own & (1 << 9) != 0,
        bad_blocks: None,
        roles,
    }))
}

/// The first word of the device `index`.
fn device(index: usize) -> usize {
    index.saturating_mul(32).saturating_add(128)
}

fn role(words: &Words, index: usize) -> Role {
    let at = device(index);
    let state = words.get(at.saturating_add(4));
    match state {
        _ if state & 0b1001 != 0 => Role::Faulty,
        _ if state & (1 << 18) != 0 => Role::Journal,
        _ if state & 0b100 != 0 => Role::Active(words.get(at.saturating_add(3))),
        _ => Role::Spare,
    }
}
