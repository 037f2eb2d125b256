//! The file allocation table: 32 bits for each cluster.
//!
//! Specification: Microsoft, "exFAT file system specification", 4. Of two tables, which only
//! transactional exFAT has, the active one counts.

use volfold_block::{BlockDevice, Span, bytes_to_index};

use super::boot::Boot;
use crate::clusters::chain::Link;
use crate::error::{FsError, FsResult};

/// Bytes of the table that are read at once.
const WINDOW: u64 = 4096;
/// The entry of the last cluster of a chain, and that of a bad one.
const END: u32 = u32::MAX;
const BAD: u32 = 0xFFFF_FFF7;

/// A reader of table entries, with a window of its own.
pub(super) struct Table<'a> {
    device: &'a dyn BlockDevice,
    boot: &'a Boot,
    window: Vec<u8>,
    /// Where the window begins in the table.
    start: u64,
}

impl<'a> Table<'a> {
    pub(super) fn new(device: &'a dyn BlockDevice, boot: &'a Boot) -> Self {
        Self { device, boot, window: Vec::new(), start: 0 }
    }

    /// The raw entry of `cluster`.
    ///
    /// # Errors
    /// `Corrupt` outside the table; what the device says.
    pub(super) fn entry(&mut self, cluster: u32) -> FsResult<u32> {
        let offset = u64::from(cluster).saturating_mul(4);
        if let Some(entry) = self.in_window(offset) {
            return Ok(entry);
        }
        self.load(offset)?;
        self.in_window(offset).ok_or_else(|| {
            FsError::corrupt("file allocation table is too short").at(self.boot.table)
        })
    }

    /// What follows `cluster`.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn next(&mut self, cluster: u32) -> FsResult<Link> {
        Ok(match self.entry(cluster)? {
            END => Link::End,
            next if next != cluster && self.boot.heap.has_cluster(next) => Link::Next(next),
            _ => Link::Broken,
        })
    }

    /// Whether `cluster` is marked as bad.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn is_bad(&mut self, cluster: u32) -> FsResult<bool> {
        Ok(self.entry(cluster)? == BAD)
    }

    fn in_window(&self, offset: u64) -> Option<u32> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.window.get(at..)?.first_chunk().map(|entry| u32::from_le_bytes(*entry))
    }

    /// Reads the window with the byte `offset` of the table.
    fn load(&mut self, offset: u64) -> FsResult<()> {
        self.start = offset.checked_div(WINDOW).unwrap_or(0).saturating_mul(WINDOW);
        let length = self.boot.table_size.saturating_sub(self.start).min(WINDOW);
        self.window.clear();
        let place = Span::new(self.boot.table, self.boot.table_size)
            .and_then(|table| table.rest(self.start))
            .map(|rest| rest.first(length))
            .filter(|place| Span::below(self.device.size()).holds(*place))
            .ok_or_else(|| {
                FsError::corrupt("file allocation table leaves the volume").at(self.boot.table)
            })?;
        let mut window = std::mem::take(&mut self.window);
        window.resize(bytes_to_index(length)?, 0);
        self.device.read_at(place.start(), &mut window)?;
        self.window = window;
        Ok(())
    }
}
