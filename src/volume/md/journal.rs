//! The journal of an array with parity: writes that may not be on its devices yet.
//!
//! Source: `drivers/md/raid5-log-format.h` and `raid5-cache.c` of Linux. Little-endian. The log is a ring of
//! blocks of 4 KiB on the data of the journal's device; the superblock has where it begins. A meta block:
//!
//! | offset | size | field       | rule                                            |
//! |--------|------|-------------|-------------------------------------------------|
//! | 0x00   | 4    | `magic`     | 0x6433c509                                      |
//! | 0x04   | 4    | `checksum`  | not looked at: what may be an entry counts      |
//! | 0x08   | 1    | `version`   | 1                                               |
//! | 0x0C   | 4    | `meta_size` | bytes of the block that are used; 32: no entry  |
//! | 0x10   | 8    | `seq`       | one more than that of the block before          |

use volfold_block::{BlockResult, ByteReader, error_chain};

use super::build::Refusal;
use super::member::Member;

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// Bytes of a meta block without entries.
const EMPTY: u32 = 32;

/// What stands at the head of the log.
struct MetaBlock {
    size: u32,
    sequence: u64,
}

/// Why an array whose writes go to the journal on `device` is not read; `None` if the log is empty.
pub(super) fn refusal(device: Option<&Member<'_>>) -> Option<Refusal> {
    let Some(device) = device else {
        return Some(Refusal::missing(
            "has a journal that may hold newer writes, and its device is missing; give its image with \
             the others",
        ));
    };
    match is_empty(device) {
        Ok(true) => None,
        Ok(false) => Some(Refusal::unsupported(format!(
            "has writes in its journal ({}) that may not be on its devices yet; a system that starts \
             the array writes them",
            device.what()
        ))),
        Err(error) => {
            let line = format!("has a journal that cannot be read: {}", error_chain(&error));
            Some(Refusal::missing(line))
        }
    }
}

/// Whether the log of `device` has no entry.
fn is_empty(device: &Member<'_>) -> BlockResult<bool> {
    let own = &device.superblock;
    let Some(head) = meta_block(device, own.journal_tail)? else {
        // Linux begins a new log then.
        return Ok(true);
    };
    if head.size != EMPTY {
        return Ok(false);
    }
    let next = own.journal_tail.saturating_add(BLOCK);
    let end = own.data_size.saturating_sub(own.data_size & BLOCK.saturating_sub(1));
    let follower = meta_block(device, if next >= end { 0 } else { next })?;
    Ok(follower.is_none_or(|next| Some(next.sequence) != head.sequence.checked_add(1)))
}

/// The meta block at `at` of the log, if one is there.
fn meta_block(device: &Member<'_>, at: u64) -> BlockResult<Option<MetaBlock>> {
    let own = &device.superblock;
    if at.checked_add(BLOCK).is_none_or(|end| end > own.data_size) {
        return Ok(None);
    }
    let place = own.data_offset.saturating_add(at);
    let mut bytes = [0; 24];
    device.region.device.read_at(place, &mut bytes)?;
    let mut reader = ByteReader::new("journal of the MD array", &bytes, place);
    if reader.u32_le()? != 0x6433_C509 {
        return Ok(None);
    }
    reader.skip(8)?;
    Ok(Some(MetaBlock { size: reader.u32_le()?, sequence: reader.u64_le()? }))
}
