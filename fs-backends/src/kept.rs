//! What a driver keeps of the directories that were used last.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::error::{FsError, FsErrorKind, FsResult};

/// Something that takes memory.
pub(super) trait Memory {
    /// Its bytes of memory.
    fn memory(&self) -> u64;
}

#[derive(Clone)]
struct ByMemory;

impl<T: Memory> Weighter<u64, Arc<T>> for ByMemory {
    fn weight(&self, _: &u64, kept: &Arc<T>) -> u64 {
        kept.memory().saturating_add(64)
    }
}

type ByNumber<T> = Cache<u64, Arc<T>, ByMemory, DefaultHashBuilder, DefaultLifecycle<u64, Arc<T>>>;

/// Those that were used last, by the number of the directory.
pub(super) struct Kept<T: Memory>(ByNumber<T>);

impl<T: Memory> Kept<T> {
    /// Keeps no more than `capacity` bytes.
    pub(super) fn new(capacity: u64) -> FsResult<Self> {
        // One shard, because a shard admits nothing above its part of the capacity.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(256)
            .weight_capacity(capacity)
            .shards(1)
            .build()
            .map_err(|error| {
                FsError::new(FsErrorKind::Io, "no cache for directories").because(error.to_string())
            })?;
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(Self(Cache::with_options(options, ByMemory, hasher, lifecycle)))
    }

    /// What is kept of directory `number`.
    pub(super) fn get(&self, number: u64) -> Option<Arc<T>> {
        self.0.get(&number)
    }

    /// Keeps `made` of directory `number`.
    pub(super) fn insert(&self, number: u64, made: Arc<T>) {
        self.0.insert(number, made);
    }
}
