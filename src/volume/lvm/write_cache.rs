//! Write caches: blocks that were not written to the volume below yet.
//!
//! Source: `drivers/md/dm-writecache.c` of Linux. Little-endian, at the start of the volume of the cache.
//!
//! | offset | size | field        | rule                                                            |
//! |--------|------|--------------|-----------------------------------------------------------------|
//! | 0x00   | 4    | `magic`      | 0x23489321                                                      |
//! | 0x04   | 4    | `version`    | 1                                                               |
//! | 0x08   | 4    | `block_size` | in bytes, a power of two from 512 to 64 KiB                     |
//! | 0x0C   | 4    | `padding`    | not looked at                                                   |
//! | 0x10   | 8    | `blocks`     | how many entries follow, and blocks after them                  |
//! | 0x18   | 8    | `sequence`   | entries with this number and above were not committed           |
//! | 0x40   | 16 n | entries      | sector of the volume below, and a number; all bits: no block    |
//!
//! After the entries, at the next multiple of `block_size`, come the blocks, one for each entry. Of two that are for
//! one sector the one with the higher number counts.

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, byte_count};

/// Where the entries begin.
const ENTRIES: u64 = 64;

/// LIMIT: entries that are looked at: 64 MiB of them, for a cache of 16 GiB in blocks of 4 KiB.
const MAX_ENTRIES: u64 = 1 << 22;

/// LIMIT: blocks that were not written yet, 16 bytes each, and 24 while they are read.
const MAX_HELD: usize = 1 << 21;

/// The blocks of a write cache.
pub(super) struct WriteCache {
    /// In bytes.
    pub(super) block_size: u64,
    /// Where its blocks begin, and their bytes together.
    pub(super) data: (u64, u64),
    /// Blocks of the volume below, ascending, each with the block of the cache that holds it.
    pub(super) held: Vec<(u64, u64)>,
}

/// An entry that was committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    block: u64,
    number: u64,
    /// The block of the cache.
    index: u64,
}

impl WriteCache {
    /// Reads what the write cache on `device` holds.
    ///
    /// # Errors
    /// `Corrupt` where it is no write cache or contradicts itself, `Unsupported` where it is too large or of another
    /// version, or why it cannot be read.
    pub(super) fn read(device: &dyn BlockDevice) -> BlockResult<Self> {
        let mut bytes = [0; 64];
        device.read_at(0, &mut bytes)?;
        let mut reader = ByteReader::new("write cache", &bytes, 0);
        if reader.u32_le()? != 0x2348_9321 {
            return Err(BlockError::corrupt("write cache has a wrong magic", 0, 0));
        }
        let version = reader.u32_le()?;
        let block_size = u64::from(reader.u32_le()?);
        reader.skip(4)?;
        let (count, sequence) = (reader.u64_le()?, reader.u64_le()?);
        if version != 1 || count > MAX_ENTRIES {
            let line = format!("write cache has version {version} and {count} blocks");
            return Err(BlockError::unsupported(line));
        }
        if !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
            return Err(BlockError::corrupt("write cache has an invalid block size", 0, 0x08));
        }
        let start = count.saturating_mul(16).saturating_add(ENTRIES);
        let start = start.next_multiple_of(block_size);
        let length = count.saturating_mul(block_size);
        if start.saturating_add(length) > device.size() {
            return Err(BlockError::corrupt("write cache is larger than its volume", 0, 0x10));
        }
        let held = newest(entries(device, count, sequence, block_size)?)?;
        Ok(Self { block_size, data: (start, length), held })
    }
}

/// The entries that were committed, of `count`.
fn entries(
    device: &dyn BlockDevice,
    count: u64,
    sequence: u64,
    block_size: u64,
) -> BlockResult<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut part = vec![0; 64 << 10];
    let (mut at, mut left, mut index) = (ENTRIES, count.saturating_mul(16), 0_u64);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        let bytes = part.get_mut(..length).unwrap_or_default();
        device.read_at(at, bytes)?;
        let mut reader = ByteReader::new("entries of the write cache", bytes, at);
        while reader.remaining() >= 16 {
            let (sector, number) = (reader.u64_le()?, reader.u64_le()?);
            if number < sequence {
                let place = sector.checked_mul(512);
                let place = place.filter(|place| place.checked_rem(block_size) == Some(0));
                let block = place.and_then(|place| place.checked_div(block_size));
                let line = "an entry of the write cache is for no block of the volume below";
                let block = block.ok_or_else(|| BlockError::corrupt(line, at, 0))?;
                if entries.len() >= MAX_HELD {
                    let line = format!("write cache holds more than {MAX_HELD} blocks");
                    return Err(BlockError::unsupported(line));
                }
                entries.push(Entry { block, number, index });
            }
            index = index.saturating_add(1);
        }
        at = at.saturating_add(byte_count(length));
        left = left.saturating_sub(byte_count(length));
    }
    Ok(entries)
}

/// For each block of the volume below the block of the cache that was written last.
fn newest(mut entries: Vec<Entry>) -> BlockResult<Vec<(u64, u64)>> {
    entries.sort_unstable();
    let is_same = |pair: &[Entry]| matches!(pair, [one, next] if (one.block, one.number) == (next.block, next.number));
    if entries.windows(2).any(is_same) {
        let line = "two entries of the write cache are for one block and have one number";
        return Err(BlockError::corrupt(line, ENTRIES, 0));
    }
    let mut held: Vec<(u64, u64)> = Vec::with_capacity(entries.len());
    for entry in entries {
        match held.last_mut() {
            Some((block, index)) if *block == entry.block => *index = entry.index,
            _ => held.push((entry.block, entry.index)),
        }
    }
    Ok(held)
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
        bytes.resize(bytes.len().next_multiple_of(4096) + entries.len() * 4096, 0);
        bytes
    }

    fn read(bytes: Vec<u8>) -> BlockResult<WriteCache> {
        WriteCache::read(&MemoryDevice::new(bytes))
    }

    fn kind(bytes: Vec<u8>) -> BlockErrorKind {
        read(bytes).err().map(|error| error.kind()).unwrap()
    }

    #[test]
    fn the_newest_of_the_committed_blocks_count() {
        let none = u64::MAX;
        assert_eq!(read(cache(&[(none, none), (8, 7), (16, 9)])).unwrap().held, []);
        let used = read(cache(&[(none, none), (8, 6), (0, 0), (8, 3), (16, 5), (16, 6)])).unwrap();
        assert_eq!(used.held, [(0, 2), (1, 1), (2, 5)]);
        assert_eq!((used.block_size, used.data), (4096, (4096, 6 * 4096)));
        let many: Vec<(u64, u64)> = vec![(none, none); 10_000];
        assert_eq!(read(cache(&many)).unwrap().held, []);
    }

    #[test]
    fn what_is_no_write_cache_or_contradicts_itself_is_an_error() {
        assert_eq!(kind(vec![0; 64]), BlockErrorKind::Corrupt);
        // The blocks leave the volume; a block that begins nowhere; two of one number.
        let mut short = cache(&[(8, 9), (8, 9)]);
        short.truncate(8192);
        assert_eq!(kind(short), BlockErrorKind::Corrupt);
        assert_eq!(kind(cache(&[(9, 1)])), BlockErrorKind::Corrupt);
        assert_eq!(kind(cache(&[(u64::MAX, 1)])), BlockErrorKind::Corrupt);
        assert_eq!(kind(cache(&[(8, 1), (8, 1)])), BlockErrorKind::Corrupt);
        for (at, value, wanted) in [
            (0x04, 2, BlockErrorKind::Unsupported),
            (0x09, 0, BlockErrorKind::Corrupt),
            (0x08, 1, BlockErrorKind::Corrupt),
            (0x0B, 1, BlockErrorKind::Corrupt),
            (0x17, 1, BlockErrorKind::Unsupported),
        ] {
            let mut bytes = cache(&[(8, 1)]);
            bytes[at] = value;
            assert_eq!(kind(bytes), wanted, "{at:#x}");
        }
    }
}
