//! The memory of all caches of a disk set: metadata, and units that are expensive to decode.
//!
//! One [`CachePool`] bounds the bytes of all caches of a disk set. It is sharded, weighs entries by
//! bytes, and resists scans: blocks seen once leave before blocks that were asked for again. Two
//! readers that miss the same block share one read of the device below.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};

use crate::bytes::byte_count;
use crate::error::BlockResult;
use crate::keep::keep;

/// A device that keeps blocks in a [`CachePool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKey(u32);

/// Which block of which device.
type BlockKey = (DeviceKey, u64);

#[derive(Clone)]
struct BlockBytes;

impl Weighter<BlockKey, Arc<[u8]>> for BlockBytes {
    fn weight(&self, _key: &BlockKey, block: &Arc<[u8]>) -> u64 {
        // What the entry itself takes beside its bytes.
        const OVERHEAD: u64 = 64;
        byte_count(block.len()).saturating_add(OVERHEAD)
    }
}

/// The memory that all sector caches of a disk set share.
pub struct CachePool {
    blocks: Cache<BlockKey, Arc<[u8]>, BlockBytes>,
    capacity: u64,
    next_device: AtomicU32,
}

impl CachePool {
    /// A pool of at most `capacity` bytes.
    pub fn new(capacity: u64) -> Arc<Self> {
        // The guess only sizes the tables.
        let blocks = usize::try_from(capacity / (32 << 10)).unwrap_or(usize::MAX).max(16);
        Arc::new(Self {
            blocks: Cache::with_weighter(blocks, capacity, BlockBytes),
            capacity,
            next_device: AtomicU32::new(0),
        })
    }

    /// The bytes in use now.
    pub fn used(&self) -> u64 {
        self.blocks.weight()
    }

    /// The bound in bytes.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// A key that no other device of the pool has.
    pub fn device_key(&self) -> DeviceKey {
        DeviceKey(self.next_device.fetch_add(1, Ordering::Relaxed))
    }

    /// The block `index` of the device `key`: kept, or read by `read`, or waited for if another
    /// thread reads it. What is read is checked as [`keep`] says.
    ///
    /// # Errors
    /// What `read` returns. It is not kept.
    pub fn get(
        &self,
        key: DeviceKey,
        index: u64,
        read: impl FnOnce() -> BlockResult<Arc<[u8]>>,
    ) -> BlockResult<Arc<[u8]>> {
        match self.blocks.get_value_or_guard(&(key, index), None) {
            GuardResult::Value(block) => Ok(block),
            // INVARIANT: the guard is a promise to the readers of this one block, not a lock of
            // the cache; if the read fails, the next of them tries for itself.
            GuardResult::Guard(guard) => {
                let block = keep(read)?;
                let _ = guard.insert(block.clone());
                Ok(block)
            }
            GuardResult::Timeout => read(),
        }
    }
}
