//! The file allocation table: which cluster follows which.
//!
//! Most volumes have the table twice. Each window of the first that is read is compared with the
//! second, once for each mount; where they differ, both are read.

use std::sync::atomic::{AtomicU8, Ordering};

use volfold_block::{BlockDevice, Span, byte_count, bytes_to_index};

use super::boot::{Boot, FatKind};
use crate::clusters::chain::Link;
use crate::error::{FsError, FsResult};

/// Bytes of the table that are read at once when a chain is followed.
const WINDOW: usize = 4096;
/// Bytes of the table that are read at once when free clusters are counted.
const SCAN: usize = 64 * 1024 * 3;
/// Bytes after a window that are read with it: an entry of 12 bits may begin in its last byte.
const OVERLAP: usize = 4;

/// Which windows of the two tables of a volume were compared, and how that ended.
pub(super) struct Compared(Box<[AtomicU8]>);

const EQUAL: u8 = 1;
const DIFFERENT: u8 = 2;

impl Compared {
    pub(super) fn new(boot: &Boot) -> Self {
        // LIMIT: 4 bytes for each of at most 2^28 clusters make 262,145 windows.
        let used = u64::from(boot.clusters).saturating_add(2).saturating_mul(4);
        let windows = used.min(boot.table_size).div_ceil(byte_count(WINDOW));
        Self((0..windows).map(|_| AtomicU8::new(0)).collect())
    }

    fn window(&self, offset: u64) -> Option<&AtomicU8> {
        self.0.get(usize::try_from(offset.checked_div(byte_count(WINDOW))?).ok()?)
    }
}

/// A reader of table entries, with a window of its own.
pub(super) struct Table<'a> {
    device: &'a dyn BlockDevice,
    boot: &'a Boot,
    compared: Option<&'a Compared>,
    window: Vec<u8>,
    /// The same window of the other table, where it differs; else empty.
    other: Vec<u8>,
    window_start: u64,
    window_size: usize,
    /// The first cluster met whose entries differ.
    pub(super) differing: Option<u32>,
    /// The first byte of a table that was taken from the other.
    pub(super) replaced: Option<u64>,
}

impl<'a> Table<'a> {
    /// The first table alone.
    pub(super) fn new(device: &'a dyn BlockDevice, boot: &'a Boot) -> Self {
        Self {
            device,
            boot,
            compared: None,
            window: Vec::new(),
            other: Vec::new(),
            window_start: 0,
            window_size: WINDOW,
            differing: None,
            replaced: None,
        }
    }

    /// Both tables.
    pub(super) fn both(
        device: &'a dyn BlockDevice,
        boot: &'a Boot,
        compared: &'a Compared,
    ) -> Self {
        Self { compared: Some(compared), ..Self::new(device, boot) }
    }

    /// The raw entry of `cluster`, 12, 16 or 28 bits.
    ///
    /// # Errors
    /// `Corrupt` outside the table; what the device says.
    pub(super) fn entry(&mut self, cluster: u32) -> FsResult<u32> {
        self.entries(cluster).map(|(entry, _)| entry)
    }

    /// The raw entry of `cluster`, and that of the other table where its window differs.
    fn entries(&mut self, cluster: u32) -> FsResult<(u32, Option<u32>)> {
        let kind = self.boot.kind;
        let offset = offset_of_entry(kind, cluster);
        let bytes = match self.in_window(offset) {
            Some(bytes) => bytes,
            None => self.load(offset)?,
        };
        let other = byte_at(&self.other, self.window_start, offset);
        Ok((decode(kind, cluster, bytes), other.map(|bytes| decode(kind, cluster, bytes))))
    }

    /// Whether `cluster` is free, in both tables.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn is_free(&mut self, cluster: u32) -> FsResult<bool> {
        let (entry, other) = self.entries(cluster)?;
        Ok(entry == 0 && other.unwrap_or(0) == 0)
    }

    /// What follows `cluster`.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn next(&mut self, cluster: u32) -> FsResult<Link> {
        let (entry, other) = self.entries(cluster)?;
        let link = self.link(cluster, entry);
        let Some(other) = other.filter(|other| *other != entry) else { return Ok(link) };
        let other = self.link(cluster, other);
        // Two marks of the end may differ.
        if link == other && link != Link::Broken {
            return Ok(link);
        }
        self.differing.get_or_insert(cluster);
        Ok(match (link, other) {
            (Link::Broken, other) => other,
            (link, Link::Broken) => link,
            _ => Link::Doubtful,
        })
    }

    fn link(&self, cluster: u32, entry: u32) -> Link {
        let end = match self.boot.kind {
            FatKind::Fat12 => 0x0FF8,
            FatKind::Fat16 => 0xFFF8,
            FatKind::Fat32 => 0x0FFF_FFF8,
        };
        if entry >= end {
            Link::End
        } else if self.boot.heap().has_cluster(entry) && entry != cluster {
            Link::Next(entry)
        } else {
            Link::Broken
        }
    }

    /// How many clusters are free.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn count_free(mut self) -> FsResult<u32> {
        self.window_size = SCAN;
        let mut free: u32 = 0;
        for cluster in self.boot.heap().all_clusters() {
            if self.entry(cluster)? == 0 {
                free = free.saturating_add(1);
            }
        }
        Ok(free)
    }

    /// Reads every entry of both tables: gives each cluster with its entry in the first, and that
    /// in the second where it is another.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn scan(mut self, mut each: impl FnMut(u32, u32, Option<u32>)) -> FsResult<()> {
        for cluster in self.boot.heap().all_clusters() {
            let (entry, other) = self.entries(cluster)?;
            each(cluster, entry, other.filter(|other| *other != entry));
        }
        Ok(())
    }

    /// Whether `entry` is that of a cluster that is in use.
    pub(super) fn is_in_use(kind: FatKind, entry: u32) -> bool {
        let bad = match kind {
            FatKind::Fat12 => 0x0FF7,
            FatKind::Fat16 => 0xFFF7,
            FatKind::Fat32 => 0x0FFF_FFF7,
        };
        entry != 0 && entry != bad
    }

    /// Reads the window around the byte `offset` of the table, and gives the bytes there.
    fn load(&mut self, offset: u64) -> FsResult<[u8; 4]> {
        let size = byte_count(self.window_size);
        let start = offset.checked_div(size).unwrap_or(0).saturating_mul(size);
        self.other.clear();
        self.window_start = start;
        let length = size.saturating_add(byte_count(OVERLAP));
        let mut window = std::mem::take(&mut self.window);
        let first = self.read(self.boot.table, start, length, &mut window);
        let copy = self.boot.table_copy.filter(|_| self.window_size == WINDOW);
        match (first, self.compared.zip(copy)) {
            (Ok(()), Some((compared, copy))) => {
                self.window = window;
                self.compare(compared, copy, start, length);
            }
            (Ok(()), None) => self.window = window,
            (Err(error), Some((_, copy))) => {
                self.read(copy, start, length, &mut window).map_err(|_| error)?;
                self.replaced.get_or_insert(self.boot.table.saturating_add(start));
                self.window = window;
            }
            (Err(error), None) => return Err(error),
        }
        self.in_window(offset).ok_or_else(|| {
            FsError::corrupt("file allocation table is too short").at(self.boot.table)
        })
    }

    /// Fills `self.other` if the window differs from that of the copy.
    fn compare(&mut self, compared: &Compared, copy: u64, start: u64, length: u64) {
        let state = compared.window(start);
        if state.is_some_and(|state| state.load(Ordering::Relaxed) == EQUAL) {
            return;
        }
        let mut other = std::mem::take(&mut self.other);
        // A second table that cannot be read says nothing against the first.
        let is_other = self.read(copy, start, length, &mut other).is_ok() && other != self.window;
        if let Some(state) = state {
            state.store(if is_other { DIFFERENT } else { EQUAL }, Ordering::Relaxed);
        }
        if !is_other {
            other.clear();
        }
        self.other = other;
    }

    /// Reads at most `length` bytes from `start` of the table at `table`.
    fn read(&self, table: u64, start: u64, length: u64, to: &mut Vec<u8>) -> FsResult<()> {
        let length = self.boot.table_size.saturating_sub(start).min(length);
        to.resize(bytes_to_index(length)?, 0);
        let stored = Span::new(table, self.boot.table_size)
            .and_then(|table| table.rest(start))
            .map(|rest| rest.first(length));
        let place = stored.map_or(table, Span::start);
        if !stored.is_some_and(|stored| Span::below(self.device.size()).holds(stored)) {
            return Err(FsError::corrupt("file allocation table leaves the volume").at(place));
        }
        Ok(self.device.read_at(place, to)?)
    }

    fn in_window(&self, offset: u64) -> Option<[u8; 4]> {
        byte_at(&self.window, self.window_start, offset)
    }
}

/// The four bytes at `offset` in `window`, which begins at `start`; zeros past the end of the table.
fn byte_at(window: &[u8], start: u64, offset: u64) -> Option<[u8; 4]> {
    let skipped = usize::try_from(offset.checked_sub(start)?).ok()?;
    let bytes = window.get(skipped..)?;
    if let Some(bytes) = bytes.first_chunk::<4>() {
        return Some(*bytes);
    }
    let mut short = [0; 4];
    short.get_mut(..bytes.len())?.copy_from_slice(bytes);
    (bytes.len() >= 2).then_some(short)
}

fn offset_of_entry(kind: FatKind, cluster: u32) -> u64 {
    let number = u64::from(cluster);
    match kind {
        FatKind::Fat12 => number.saturating_add(number / 2),
        FatKind::Fat16 => number.saturating_mul(2),
        FatKind::Fat32 => number.saturating_mul(4),
    }
}

fn decode(kind: FatKind, cluster: u32, bytes: [u8; 4]) -> u32 {
    let entry = u32::from_le_bytes(bytes);
    match kind {
        FatKind::Fat12 if cluster & 1 == 0 => entry & 0x0FFF,
        FatKind::Fat12 => entry >> 4 & 0x0FFF,
        FatKind::Fat16 => entry & 0xFFFF,
        FatKind::Fat32 => entry & 0x0FFF_FFFF,
    }
}
