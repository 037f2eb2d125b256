//! A device whose blocks are kept.

use std::sync::Arc;

use crate::cache::CachePool;
use crate::device::{BlockDevice, Extent};
use crate::error::BlockResult;
use crate::map::{Map, Mapped, Piece, Place};

/// The blocks of a device as units that are "decoded" by reading them.
struct Blocks {
    device: Arc<dyn BlockDevice>,
    /// A power of two.
    block_size: u64,
}

impl Map for Blocks {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let skip = offset & self.block_size.saturating_sub(1);
        let unit = offset >> self.block_size.trailing_zeros();
        let length = self.block_size.saturating_sub(skip);
        let left = self.size().saturating_sub(offset);
        Ok(Piece::new(Place::Decode { unit, skip }, length.min(left)))
    }

    fn unit_size(&self, unit: u64) -> usize {
        let start = unit.saturating_mul(self.block_size);
        let length = self.block_size.min(self.size().saturating_sub(start));
        // A block has 32 bits.
        usize::try_from(length).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        self.device.read_at(unit.saturating_mul(self.block_size), out)
    }
}

/// A device whose blocks are kept in a [`CachePool`].
pub struct SectorCache {
    blocks: Mapped<Blocks>,
    device: Arc<dyn BlockDevice>,
}

impl SectorCache {
    /// Caches `device` in blocks of `block_size` bytes, rounded up to a power of two from 512.
    pub fn new(pool: &Arc<CachePool>, device: Arc<dyn BlockDevice>, block_size: u32) -> Self {
        let block_size = u64::from(block_size.max(512)).next_power_of_two();
        let blocks = Blocks { device: device.clone(), block_size };
        Self { blocks: Mapped::cached(blocks, pool), device }
    }
}

impl BlockDevice for SectorCache {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.blocks.read_at(offset, buf)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        self.device.extent_at(offset)
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.device.will_need(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::error::{BlockError, BlockErrorKind};

    /// Bytes that count up, slow to read; counts reads and can refuse a range.
    struct Slow {
        size: u64,
        reads: AtomicUsize,
        broken_from: u64,
        delay: Duration,
    }

    impl Slow {
        fn new(size: u64) -> Self {
            let (reads, delay) = (AtomicUsize::new(0), Duration::ZERO);
            Self { size, reads, broken_from: u64::MAX, delay }
        }
    }

    impl BlockDevice for Slow {
        fn size(&self) -> u64 {
            self.size
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(self.delay);
            if offset + buf.len() as u64 > self.broken_from {
                return Err(BlockError::new(BlockErrorKind::Io, "broken"));
            }
            for (at, byte) in (offset..).zip(buf) {
                *byte = (at % 251) as u8;
            }
            Ok(())
        }
    }

    fn expected(offset: u64, length: usize) -> Vec<u8> {
        (offset..).take(length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn reads_across_blocks_and_up_to_the_end_are_right() {
        let pool = CachePool::new(1 << 20);
        let cache = SectorCache::new(&pool, Arc::new(Slow::new(10_000)), 1024);
        for (offset, length) in [(0, 10_000), (1000, 100), (1023, 2), (9_990, 10), (10_000, 0)] {
            let mut buf = vec![0; length];
            cache.read_at(offset, &mut buf).unwrap();
            assert_eq!(buf, expected(offset, length), "{offset}+{length}");
        }
        assert!(cache.read_at(9_999, &mut [0; 2]).is_err());
    }

    #[test]
    fn concurrent_misses_share_one_read() {
        let pool = CachePool::new(1 << 20);
        let mut slow = Slow::new(4096);
        slow.delay = Duration::from_millis(50);
        let device = Arc::new(slow);
        let cache = SectorCache::new(&pool, device.clone(), 4096);
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut buf = [0; 16];
                    barrier.wait();
                    cache.read_at(5, &mut buf).unwrap();
                    assert_eq!(buf.to_vec(), expected(5, 16));
                });
            }
        });
        assert_eq!(device.reads.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failed_read_is_not_kept_and_harms_no_other_block() {
        let pool = CachePool::new(1 << 20);
        let mut slow = Slow::new(8192);
        slow.broken_from = 4096;
        let cache = SectorCache::new(&pool, Arc::new(slow), 4096);
        let mut buf = [0; 8];
        for _ in 0..2 {
            assert_eq!(cache.read_at(5000, &mut buf).unwrap_err().kind(), BlockErrorKind::Io);
            cache.read_at(0, &mut buf).unwrap();
        }
    }

    #[test]
    fn a_scan_does_not_evict_the_hot_set_and_the_bound_holds() {
        let pool = CachePool::new(4 << 20);
        let device = Arc::new(Slow::new(64 << 20));
        let cache = SectorCache::new(&pool, device.clone(), 16 << 10);
        let mut buf = vec![0; 16 << 10];
        let hot = |buf: &mut [u8]| (0..32_u64).for_each(|i| cache.read_at(i << 14, buf).unwrap());
        for _ in 0..4 {
            hot(&mut buf);
        }
        for index in 32..4096_u64 {
            cache.read_at(index << 14, &mut buf).unwrap();
            assert!(pool.used() <= pool.capacity());
        }
        let before = device.reads.load(Ordering::SeqCst);
        hot(&mut buf);
        let missed = device.reads.load(Ordering::SeqCst) - before;
        assert!(missed <= 3, "{missed} of 32 hot blocks were lost to one scan");
    }
}
