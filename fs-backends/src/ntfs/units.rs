//! The content of files that are stored in compressed units, and the cache of decoded units.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};
use volfold_block::{ahead, byte_count, bytes_to_index};

use crate::error::{FsError, FsResult};
use crate::extents::inside;
use crate::node::{FileData, FileExtent, FileExtentKind};

/// LIMIT: bytes of decoded units that all files of a volume keep.
const UNIT_CACHE: u64 = 8 << 20;

/// Reads of as many bytes are shared with a thread that works ahead.
const SHARED: usize = 256 << 10;

/// LIMIT: bytes that are decoded at once: both halves fit into the cache with those of others.
const AT_ONCE: usize = 1 << 20;

/// A file as units.
pub(super) trait UnitSource: Send + Sync {
    /// The bytes of a unit; the last one of a file may be shorter.
    fn unit_size(&self) -> u64;

    /// The bytes of memory beside the source itself.
    fn memory(&self) -> u64;

    /// Fills `out` from `skip` bytes after the start of the unit `number`, if that takes no
    /// decoding; else says no.
    ///
    /// # Errors
    /// Why the bytes cannot be read.
    fn read_stored(&self, _number: u64, _skip: u64, _out: &mut [u8]) -> FsResult<bool> {
        Ok(false)
    }

    /// Whether a whole unit takes more than a read.
    fn needs_decoding(&self, _number: u64) -> bool {
        true
    }

    /// Has what is stored of the bytes from `offset` to `end` fetched, where it is known where that
    /// lies.
    fn will_need(&self, _offset: u64, _end: u64) {}

    /// Fills `out` with the first bytes of the unit `number`: the whole unit, or what of it is
    /// inside the file.
    ///
    /// # Errors
    /// Why they cannot be read or decoded.
    fn decode(&self, number: u64, out: &mut [u8]) -> FsResult<()>;

    /// What the unit `number` of a file of `size` bytes is, and how far that reaches.
    ///
    /// # Errors
    /// Why it cannot be told.
    fn extent(&self, _number: u64, size: u64) -> FsResult<FileExtent> {
        Ok(FileExtent { kind: FileExtentKind::Data, length: size })
    }
}

type Key = (u64, u64);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<[u8]>> for ByBytes {
    fn weight(&self, _key: &Key, unit: &Arc<[u8]>) -> u64 {
        const OVERHEAD: u64 = 96;
        byte_count(unit.len()).saturating_add(OVERHEAD)
    }
}

/// The decoded units that the files of one volume share.
pub(super) struct UnitCache {
    units: Cache<Key, Arc<[u8]>, ByBytes>,
    next_file: AtomicU64,
}

impl UnitCache {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            units: Cache::with_weighter(128, UNIT_CACHE, ByBytes),
            next_file: AtomicU64::new(0),
        })
    }
}

/// A file of `size` bytes in compressed units; bytes from `valid` on read as zero.
pub(super) struct UnitFile<S>(Arc<Units<S>>);

struct Units<S> {
    source: S,
    size: u64,
    valid: u64,
    cache: Arc<UnitCache>,
    number: u64,
}

impl<S: UnitSource + 'static> UnitFile<S> {
    pub(super) fn new(source: S, size: u64, valid: u64, cache: &Arc<UnitCache>) -> Self {
        let number = cache.next_file.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Units { source, size, valid: valid.min(size), cache: cache.clone(), number }))
    }

    /// Fills `out`, whose bytes are valid, from `offset`. The second half of much is decoded by
    /// another thread from its end on, until the two meet.
    fn read_valid(&self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        let units = &*self.0;
        let unit = units.source.unit_size();
        let of = |at: u64| at.checked_div(unit).unwrap_or(0);
        let end = offset.saturating_add(byte_count(out.len()));
        if of(offset) != of(end.saturating_sub(1)) {
            units.source.will_need(offset, end);
        }
        let reached = (out.len() >= SHARED).then(|| {
            let reached = Arc::new(AtomicU64::new(0));
            let middle = of(offset.saturating_add(byte_count(out.len()) / 2)).saturating_add(1);
            let (units, front, last) = (self.0.clone(), reached.clone(), of(end));
            ahead::spawn(move || units.decode_backwards(middle, last, &front));
            reached
        });
        let mut rest = out;
        let mut at = offset;
        while !rest.is_empty() {
            let number = of(at);
            if let Some(reached) = &reached {
                reached.store(number, Ordering::Relaxed);
            }
            let skip = at.saturating_sub(number.saturating_mul(unit));
            let length = units.length(number).saturating_sub(skip);
            let length = bytes_to_index(length)?.min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            units.read(number, skip, now)?;
            rest = later;
            at = at.saturating_add(byte_count(length));
        }
        Ok(())
    }
}

impl<S: UnitSource> Units<S> {
    /// Decodes the units from `end` back to `first` into the cache, as far as the reader that goes
    /// forward has not `reached` them.
    fn decode_backwards(&self, first: u64, end: u64, reached: &AtomicU64) {
        for number in (first..end).rev() {
            if reached.load(Ordering::Relaxed) >= number {
                return;
            }
            let key = (self.number, number);
            if self.source.needs_decoding(number)
                && let GuardResult::Guard(guard) =
                    self.cache.units.get_value_or_guard(&key, Some(Duration::ZERO))
            {
                // The reader that needs the unit tries again and tells what is wrong.
                let Ok(unit) = self.decode(number) else { return };
                let _ = guard.insert(unit);
            }
        }
    }

    /// The valid bytes of the unit `number`.
    fn length(&self, number: u64) -> u64 {
        let unit = self.source.unit_size();
        self.valid.saturating_sub(number.saturating_mul(unit)).min(unit)
    }

    fn decode(&self, number: u64) -> FsResult<Arc<[u8]>> {
        // Filled where it stays: a `Vec` would be copied.
        let length = bytes_to_index(self.length(number))?;
        let mut unit: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        self.source.decode(number, Arc::make_mut(&mut unit))?;
        Ok(unit)
    }

    /// Fills `out` from `skip` bytes after the start of the unit `number`.
    fn read(&self, number: u64, skip: u64, out: &mut [u8]) -> FsResult<()> {
        let length = bytes_to_index(self.length(number))?;
        if out.len() < length && self.source.read_stored(number, skip, out)? {
            return Ok(());
        }
        let unit = match self.cache.units.get_value_or_guard(&(self.number, number), None) {
            GuardResult::Value(unit) => unit,
            GuardResult::Guard(_) | GuardResult::Timeout if out.len() == length => {
                return self.source.decode(number, out);
            }
            // INVARIANT: the guard is a promise to the readers of this one unit, not a lock of the
            // cache; if the decoding fails, the next of them tries for itself.
            GuardResult::Guard(guard) => {
                let unit = self.decode(number)?;
                let _ = guard.insert(unit.clone());
                unit
            }
            GuardResult::Timeout => self.decode(number)?,
        };
        let skip = bytes_to_index(skip)?;
        let bytes = unit.get(skip..skip.saturating_add(out.len()));
        out.copy_from_slice(bytes.ok_or_else(|| FsError::corrupt("unit of the file is short"))?);
        Ok(())
    }
}

impl<S: UnitSource + 'static> FileData for UnitFile<S> {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn memory(&self) -> u64 {
        self.0.source.memory().saturating_add(byte_count(size_of::<Units<S>>()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let count = self.0.size.saturating_sub(offset).min(byte_count(buf.len()));
        let stored = bytes_to_index(self.0.valid.saturating_sub(offset).min(count))?;
        let count = bytes_to_index(count)?;
        let (stored, zero) = buf.get_mut(..count).unwrap_or_default().split_at_mut(stored);
        zero.fill(0);
        let mut at = offset;
        for piece in stored.chunks_mut(AT_ONCE) {
            self.read_valid(at, piece)?;
            at = at.saturating_add(byte_count(piece.len()));
        }
        Ok(count)
    }

    fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        let left = inside(self.0.size, offset)?;
        let Some(valid) = self.0.valid.checked_sub(offset).filter(|valid| *valid > 0) else {
            return Ok(FileExtent { kind: FileExtentKind::Hole, length: left });
        };
        let unit = self.0.source.unit_size();
        let number = offset.checked_div(unit).unwrap_or(0);
        let skip = offset.saturating_sub(number.saturating_mul(unit));
        let extent = self.0.source.extent(number, self.0.size)?;
        let length = extent.length.saturating_sub(skip).max(1);
        Ok(match extent.kind {
            FileExtentKind::Hole => FileExtent { length: length.min(left), ..extent },
            _ => FileExtent { length: length.min(valid), ..extent },
        })
    }
}

thread_local! {
    /// The stored bytes of one unit, or file records that are read together; grows to the largest
    /// and stays.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Gives `work` a buffer of `length` bytes.
pub(super) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            if scratch.len() < length {
                scratch.resize(length, 0);
            }
            work(scratch.get_mut(..length).unwrap_or_default())
        }
        Err(_) => work(&mut vec![0; length]),
    })
}
