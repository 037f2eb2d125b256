//! Decoded units: kept in the shared cache, and decoded on several cores for large requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::place::Map;
use crate::ahead;
use crate::bytes::{byte_count, bytes_to_index};
use crate::cache::{CachePool, DeviceKey};
use crate::error::{BlockError, BlockResult};

/// Requests of fewer units are not worth a second thread: a mount gets at most a mebibyte at once,
/// and several of those at a time on threads of its own. Measured with such requests, sharing gained
/// nothing with two readers, and a third of the cache was lost between the arenas of the allocator.
const MIN_SHARED: usize = 24;

/// The units of one map in the shared cache.
pub(super) struct Units<M> {
    map: Arc<M>,
    pool: Arc<CachePool>,
    key: DeviceKey,
    /// What has units decoded beside the reader.
    share: fn(&Self, Vec<u64>) -> Ahead,
}

/// A request whose units are decoded by several.
pub(super) struct Ahead(Option<Arc<Shared>>);

/// A decoded unit, until somebody takes it.
type Slot = Mutex<Option<Arc<[u8]>>>;

/// What the reader of such a request and its helpers know.
struct Shared {
    /// How far the reader has come.
    reached: AtomicUsize,
    /// What the helpers decoded, until the reader takes it: a scan-resistant cache is quick to let go of
    /// what was asked for once.
    done: Box<[Slot]>,
}

impl Ahead {
    /// The reader goes on with unit number `index` of its request; what helpers decoded of it.
    pub(super) fn take(&self, index: usize) -> Option<Arc<[u8]>> {
        let shared = self.0.as_ref()?;
        shared.reached.store(index, Ordering::Relaxed);
        shared.done.get(index)?.lock().take()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.reached.store(usize::MAX, Ordering::Relaxed);
        }
    }
}

impl<M: Map + 'static> Units<M> {
    pub(super) fn new(map: Arc<M>, pool: &Arc<CachePool>) -> Self {
        let share = if map.decodes_slowly() { Self::share } else { |_: &Self, _| Ahead(None) };
        Self { map, pool: pool.clone(), key: pool.device_key(), share }
    }

    /// The reader decodes `units` from the front, the helpers from the end; who comes second to a
    /// unit takes what the first one decoded.
    fn share(&self, units: Vec<u64>) -> Ahead {
        let helpers = ahead::threads();
        if helpers == 0 || units.len() < MIN_SHARED {
            return Ahead(None);
        }
        let units: Arc<[u64]> = units.into();
        let done = units.iter().map(|_| Mutex::new(None)).collect();
        let shared = Arc::new(Shared { reached: AtomicUsize::new(0), done });
        for helper in 0..helpers.min(units.len()) {
            let (map, pool, key) = (self.map.clone(), self.pool.clone(), self.key);
            let (units, shared) = (units.clone(), shared.clone());
            ahead::spawn(move || {
                for (index, unit) in units.iter().enumerate().rev().skip(helper).step_by(helpers) {
                    if index <= shared.reached.load(Ordering::Relaxed) {
                        return;
                    }
                    // An error is found again by the reader.
                    let Ok(bytes) = pool.get(key, *unit, || decoded(&*map, *unit)) else { return };
                    if let Some(place) = shared.done.get(index) {
                        *place.lock() = Some(bytes);
                    }
                }
            });
        }
        Ahead(Some(shared))
    }
}

impl<M: Map> Units<M> {
    pub(super) fn get(&self, unit: u64) -> BlockResult<Arc<[u8]>> {
        self.pool.get(self.key, unit, || decoded(&*self.map, unit))
    }

    /// Has `units` decoded beside the reader, where that pays.
    pub(super) fn ahead(&self, units: Vec<u64>) -> Ahead {
        (self.share)(self, units)
    }
}

/// Decodes `unit` where it stays.
pub(super) fn decoded<M: Map>(map: &M, unit: u64) -> BlockResult<Arc<[u8]>> {
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, map.unit_size(unit)).collect();
    map.decode(unit, Arc::make_mut(&mut bytes))?;
    Ok(bytes)
}

/// Fills `buf` with the bytes of `unit` from `skip` on.
pub(super) fn copy(unit: &[u8], skip: u64, buf: &mut [u8]) -> BlockResult<()> {
    let start = bytes_to_index(skip)?;
    let wanted = start.checked_add(buf.len()).and_then(|end| unit.get(start..end));
    match wanted {
        Some(bytes) => {
            buf.copy_from_slice(bytes);
            Ok(())
        }
        None => Err(BlockError::out_of_range(skip, byte_count(buf.len()), byte_count(unit.len()))),
    }
}
