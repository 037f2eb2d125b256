//! Tables of places, as all sparse formats have them: read where they are needed, kept in the cache.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, CachePool, SectorCache, byte_count, bytes_to_index,
};

/// How much of a table is read at once.
const CHUNK_BYTES: u32 = 16 << 10;

/// LIMIT: entries that one look takes in. A request that needs more is several pieces.
pub(crate) const MAX_LOOK: usize = 64;

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// 32 bits, the lowest byte first.
    U32Le,
    /// 32 bits, the highest byte first.
    U32Be,
    /// 64 bits, the lowest byte first.
    U64Le,
    /// 64 bits, the highest byte first.
    #[cfg_attr(
        not(any(feature = "qcow2", test)),
        expect(dead_code, reason = "QCOW2 alone has such entries")
    )]
    U64Be,
}

impl Entry {
    /// The size in bytes.
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::U32Le | Self::U32Be => 4,
            Self::U64Le | Self::U64Be => 8,
        }
    }

    /// Takes the numbers out of `bytes`.
    fn decode(self, bytes: &[u8], out: &mut [u64]) {
        match self {
            Self::U32Le | Self::U32Be => {
                let (fours, _) = bytes.as_chunks::<4>();
                for (four, place) in fours.iter().zip(out) {
                    *place = u64::from(match self {
                        Self::U32Le => u32::from_le_bytes(*four),
                        _ => u32::from_be_bytes(*four),
                    });
                }
            }
            Self::U64Le | Self::U64Be => {
                let (eights, _) = bytes.as_chunks::<8>();
                for (eight, place) in eights.iter().zip(out) {
                    *place = match self {
                        Self::U64Le => u64::from_le_bytes(*eight),
                        _ => u64::from_be_bytes(*eight),
                    };
                }
            }
        }
    }
}

/// The tables of one file; their bytes are kept in the cache.
pub(crate) struct Tables {
    file: SectorCache,
    entry: Entry,
}

impl Tables {
    /// The tables in `file`, whose entries are written as `entry`.
    pub(crate) fn new(file: Arc<dyn BlockDevice>, entry: Entry, cache: &Arc<CachePool>) -> Self {
        Self { file: SectorCache::new(cache, file, CHUNK_BYTES), entry }
    }

    /// The bytes of the file, kept as those of tables are.
    pub(crate) fn file(&self) -> &SectorCache {
        &self.file
    }

    /// The entry number `index` of the table that begins at `at`.
    ///
    /// # Errors
    /// If it cannot be read, or is not in the file.
    pub(crate) fn get(&self, at: u64, index: u64) -> BlockResult<u64> {
        let mut one = [0];
        self.fill(at, index, &mut one)?;
        Ok(one[0])
    }

    /// Fills `out`, of at most [`MAX_LOOK`], with the entries from number `index` on of the table that
    /// begins at `at`.
    ///
    /// # Errors
    /// If they cannot be read, or are not in the file.
    pub(crate) fn fill(&self, at: u64, index: u64, out: &mut [u64]) -> BlockResult<()> {
        let mut bytes = [0; MAX_LOOK * 8];
        let size = self.entry.size();
        let length = bytes_to_index(byte_count(out.len()).saturating_mul(size))?;
        let start = index.checked_mul(size).and_then(|start| at.checked_add(start));
        let (Some(start), Some(bytes)) = (start, bytes.get_mut(..length)) else {
            return Err(BlockError::out_of_range(at, u64::MAX, self.file.size()));
        };
        self.file.read_at(start, bytes)?;
        self.entry.decode(bytes, out);
        Ok(())
    }
}

/// Where a block of the disk is, as an entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockPlace {
    /// In the file as it is, from this position on.
    Stored(u64),
    /// Nowhere: it is zeros.
    Zero,
    /// Nowhere: what is below shows through.
    Hole,
}

/// Of `places` of blocks of `block_size` bytes that follow each other on the disk, how many lie as the
/// first one does: in the file one after the other, or nowhere.
pub(crate) fn alike(places: impl IntoIterator<Item = BlockPlace>, block_size: u64) -> u64 {
    let mut places = places.into_iter();
    let Some(first) = places.next() else { return 0 };
    let mut count: u64 = 1;
    for place in places {
        let goes_on = match (first, place) {
            (BlockPlace::Stored(start), BlockPlace::Stored(at)) => {
                count.checked_mul(block_size).and_then(|size| start.checked_add(size)) == Some(at)
            }
            (first, place) => first == place,
        };
        if !goes_on {
            break;
        }
        count = count.saturating_add(1);
    }
    count
}

/// How many blocks of `block_size` bytes a look for `wanted` bytes takes in that begin `skip` bytes
/// into the first one; at most [`MAX_LOOK`].
pub(crate) fn blocks_to_look(wanted: u64, skip: u64, block_size: u64) -> usize {
    let count = wanted.saturating_add(skip).div_ceil(block_size.max(1)).max(1);
    usize::try_from(count).map_or(MAX_LOOK, |count| count.min(MAX_LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::{BlockErrorKind, MemoryDevice};

    fn tables(bytes: &[u8], entry: Entry) -> Tables {
        Tables::new(Arc::new(MemoryDevice::new(bytes)), entry, &CachePool::new(1 << 20))
    }

    #[test]
    fn entries_are_read_as_the_format_writes_them() {
        let bytes: Vec<u8> = (0..32).collect();
        assert_eq!(tables(&bytes, Entry::U32Le).get(4, 1).unwrap(), 0x0B0A_0908);
        assert_eq!(tables(&bytes, Entry::U32Be).get(4, 1).unwrap(), 0x0809_0A0B);
        assert_eq!(tables(&bytes, Entry::U64Le).get(8, 1).unwrap(), 0x1716_1514_1312_1110);
        let mut two = [0; 2];
        tables(&bytes, Entry::U64Be).fill(0, 1, &mut two).unwrap();
        assert_eq!(two, [0x0809_0A0B_0C0D_0E0F, 0x1011_1213_1415_1617]);
        for (at, index) in [(0, 4), (24, 1), (u64::MAX, 1), (0, u64::MAX)] {
            let error = tables(&bytes, Entry::U64Le).get(at, index).unwrap_err();
            assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
        }
    }

    #[test]
    fn blocks_that_lie_alike_are_one_run() {
        use BlockPlace::{Hole, Stored, Zero};
        assert_eq!(alike([Stored(8), Stored(12), Stored(16), Stored(24)], 4), 3);
        assert_eq!(alike([Zero, Zero, Hole], 4), 2);
        assert_eq!(alike([Hole, Zero], 4), 1);
        assert_eq!(alike([Stored(u64::MAX), Stored(3)], 4), 1);
        assert_eq!(alike([], 4), 0);
        assert_eq!((blocks_to_look(1, 0, 4), blocks_to_look(4, 1, 4)), (1, 2));
        assert_eq!(blocks_to_look(u64::MAX, 9, 4), MAX_LOOK);
    }
}
