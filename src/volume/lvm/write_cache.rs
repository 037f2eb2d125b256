//! Write caches: blocks that were not written to the volume below yet.
//!
//! Source: `drivers/md/dm-writecache.c` of Linux. Little-endian, at the start of the volume of the cache.
//!
//! | offset | size | field        | rule                                                            |
//! |--------|------|--------------|-----------------------------------------------------------------|
//! | 0x00   | 4    | `magic`      | 0x23489321                                                      |
//! | 0x04   | 4    | `version`    | 1                                                               |
//! | 0x08   | 4    | `block_size` | not looked at                                                   |
//! | 0x0C   | 4    | `padding`    | not looked at                                                   |
//! | 0x10   | 8    | `blocks`     | how many entries follow                                         |
//! | 0x18   | 8    | `sequence`   | entries with this number and above do not count                 |
//! | 0x40   | 16 n | entries      | sector of the volume below, and a number; all bits: no block    |

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, byte_count};

/// Where the entries begin.
const ENTRIES: u64 = 64;

/// LIMIT: entries that are looked at: 64 MiB of them, for a cache of 16 GiB in blocks of 4 KiB.
const MAX_ENTRIES: u64 = 1 << 22;

/// Why a write cache cannot be left out: it holds blocks that the volume below does not. `None` if it holds
/// none.
///
/// # Errors
/// `Corrupt` where it is no write cache, or why it cannot be read.
pub(super) fn why_not_empty(device: &dyn BlockDevice) -> BlockResult<Option<String>> {
    let mut bytes = [0; 64];
    device.read_at(0, &mut bytes)?;
    let mut reader = ByteReader::new("write cache", &bytes, 0);
    if reader.u32_le()? != 0x2348_9321 {
        return Err(BlockError::corrupt("write cache has a wrong magic", 0, 0));
    }
    let version = reader.u32_le()?;
    reader.skip(8)?;
    let (count, sequence) = (reader.u64_le()?, reader.u64_le()?);
    if version != 1 || count > MAX_ENTRIES {
        return Ok(Some(format!("its write cache has version {version} and {count} blocks")));
    }
    let mut used = 0_u64;
    let mut part = vec![0; 64 << 10];
    let (mut at, mut left) = (ENTRIES, count.saturating_mul(16));
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        let bytes = part.get_mut(..length).unwrap_or_default();
        device.read_at(at, bytes)?;
        let mut reader = ByteReader::new("entries of the write cache", bytes, at);
        while reader.remaining() >= 16 {
            let (_, number) = (reader.u64_le()?, reader.u64_le()?);
            if number < sequence {
                used = used.saturating_add(1);
            }
        }
        at = at.saturating_add(byte_count(length));
        left = left.saturating_sub(byte_count(length));
    }
    Ok((used > 0).then(|| {
        format!("its write cache has {used} blocks that were not written to the volume below yet, which \
                 this build does not read")
    }))
}

#[cfg(test)]
mod tests {
    use volfold_block::{BlockErrorKind, MemoryDevice};

    use super::*;

    fn cache(entries: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = [0x2348_9321_u32, 1, 4096, 0]
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect::<Vec<_>>();
        bytes.extend([entries.len() as u64, 7].iter().flat_map(|it| it.to_le_bytes()));
        bytes.resize(64, 0);
        bytes.extend(
            entries
                .iter()
                .flat_map(|(sector, number)| [sector.to_le_bytes(), number.to_le_bytes()].concat()),
        );
        bytes
    }

    #[test]
    fn only_committed_blocks_are_in_the_way() {
        let none = u64::MAX;
        let empty = cache(&[(none, none), (8, 7), (16, 9)]);
        assert_eq!(why_not_empty(&MemoryDevice::new(empty)).unwrap(), None);
        let used = cache(&[(none, none), (8, 6), (0, 0)]);
        let line = why_not_empty(&MemoryDevice::new(used)).unwrap().unwrap();
        assert!(line.starts_with("its write cache has 2 blocks"), "{line}");
        let many: Vec<(u64, u64)> = vec![(none, none); 10_000];
        assert_eq!(why_not_empty(&MemoryDevice::new(cache(&many))).unwrap(), None);
    }

    #[test]
    fn what_is_no_write_cache_or_ends_early_is_an_error() {
        let error = why_not_empty(&MemoryDevice::new(vec![0; 64])).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Corrupt);
        let mut short = cache(&[(8, 9), (8, 9)]);
        short.truncate(80);
        assert!(why_not_empty(&MemoryDevice::new(short)).is_err());
        let mut huge = cache(&[]);
        huge[0x17] = 1;
        assert!(why_not_empty(&MemoryDevice::new(huge)).unwrap().is_some());
    }
}
