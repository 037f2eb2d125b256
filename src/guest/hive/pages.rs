//! The bins of a hive as bytes: the primary file, over it what logs have newer, and a small cache.

use std::sync::Arc;

use parking_lot::Mutex;
use volfold_block::{byte_count, bytes_to_index};
use volfold_fs::{FileData, FsError, FsResult};

use super::base_block::BASE_BLOCK_SIZE;
use super::overlay::Overlay;

/// LIMIT: pages that are kept, 1 MiB in all.
const KEPT_PAGES: u64 = 256;

const PAGE_SIZE: u64 = 4096;

type Page = Arc<[u8; 4096]>;

/// The bins of a hive.
pub(super) struct Pages {
    primary: Arc<dyn FileData>,
    logs: Vec<Arc<dyn FileData>>,
    overlay: Overlay,
    size: u64,
    /// The page with the number `n` is kept at `n` modulo [`KEPT_PAGES`].
    kept: Mutex<Vec<Option<(u64, Page)>>>,
}

impl Pages {
    /// The `size` bytes after the base block of `primary`, over them the pieces of `overlay`.
    pub(super) fn new(
        primary: Arc<dyn FileData>,
        logs: Vec<Arc<dyn FileData>>,
        overlay: Overlay,
        size: u32,
    ) -> Self {
        let kept = Mutex::new(Vec::new());
        Self { primary, logs, overlay, size: size.into(), kept }
    }

    /// The bytes of all bins.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the last page of the bins can be had.
    pub(super) fn reaches_end(&self) -> bool {
        let last = self.size.saturating_sub(PAGE_SIZE);
        self.is_in_primary(last) || self.covers(last)
    }

    /// Fills `buf` from `offset`, counted from the first bin.
    ///
    /// # Errors
    /// `Corrupt` past the end of the bins or of the file, or why the bytes cannot be read.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> FsResult<()> {
        let end = offset.checked_add(byte_count(buf.len()));
        if end.is_none_or(|end| end > self.size) {
            let line = "offset lies outside of the bins of the hive";
            return Err(FsError::corrupt(line).at(file_offset(offset)));
        }
        let mut next = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let page = self.page(next / PAGE_SIZE)?;
            let skip = bytes_to_index(next % PAGE_SIZE)?;
            let from = page.get(skip..).unwrap_or_default();
            let (to, later) = rest.split_at_mut(from.len().min(rest.len()));
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
            next = next.saturating_add(byte_count(to.len()));
            rest = later;
        }
        Ok(())
    }

    fn page(&self, number: u64) -> FsResult<Page> {
        let slot = bytes_to_index(number % KEPT_PAGES)?;
        if let Some(Some((kept, page))) = self.kept.lock().get(slot)
            && *kept == number
        {
            return Ok(page.clone());
        }
        let page = Arc::new(self.load(number.saturating_mul(PAGE_SIZE))?);
        let mut kept = self.kept.lock();
        if kept.is_empty() {
            kept.resize(bytes_to_index(KEPT_PAGES)?, None);
        }
        if let Some(slot) = kept.get_mut(slot) {
            *slot = Some((number, page.clone()));
        }
        Ok(page)
    }

    fn load(&self, start: u64) -> FsResult<[u8; 4096]> {
        let mut page = [0; 4096];
        let end = start.saturating_add(PAGE_SIZE);
        if self.is_in_primary(start) {
            exact(&*self.primary, file_offset(start), &mut page)?;
        } else if !self.covers(start) {
            return Err(FsError::corrupt("hive ends early").at(file_offset(start)));
        }
        for piece in self.overlay.within(start, end) {
            let from = bytes_to_index(piece.start.saturating_sub(start))?;
            let to = bytes_to_index(piece.end.saturating_sub(start))?;
            let log = self.logs.get(piece.log);
            if let (Some(log), Some(buf)) = (log, page.get_mut(from..to)) {
                exact(&**log, piece.log_offset, buf)?;
            }
        }
        Ok(page)
    }

    fn is_in_primary(&self, page_start: u64) -> bool {
        file_offset(page_start).saturating_add(PAGE_SIZE) <= self.primary.size()
    }

    /// Whether the logs have all of the page.
    fn covers(&self, page_start: u64) -> bool {
        let mut next = page_start;
        for piece in self.overlay.within(page_start, page_start.saturating_add(PAGE_SIZE)) {
            if piece.start != next {
                return false;
            }
            next = piece.end;
        }
        next == page_start.saturating_add(PAGE_SIZE)
    }
}

/// The position in the file of `offset`, counted from the first bin.
pub(super) fn file_offset(offset: u64) -> u64 {
    BASE_BLOCK_SIZE.saturating_add(offset)
}

/// Fills all of `buf` from `offset` of `file`.
///
/// # Errors
/// `Corrupt` where the file ends before, or why it cannot be read.
pub(super) fn exact(file: &dyn FileData, offset: u64, buf: &mut [u8]) -> FsResult<()> {
    match file.read_at(offset, buf)? {
        count if count == buf.len() => Ok(()),
        _ => Err(FsError::corrupt("file ends early").at(offset)),
    }
}
