//! Cells: where every structure of a hive lies.
//!
//! Specification: "Hive bin" and "Cell" of the registry file format specification.
//!
//! A bin begins with a header:
//!
//! | offset | size | field       | rule                                       |
//! |--------|------|-------------|--------------------------------------------|
//! | 0x00   | 4    | `signature` | `hbin`                                     |
//! | 0x04   | 4    | `offset`    | its own                                    |
//! | 0x08   | 4    | `size`      | a multiple of 4096                         |
//! | 0x0C   | 8    | `reserved`  | not looked at                              |
//! | 0x14   | 8    | `timestamp` | FILETIME in the first bin                  |
//! | 0x1C   | 4    | `spare`     | not looked at                              |
//!
//! A cell begins with its size, a multiple of 8, negative if the cell is in use.

use std::mem::size_of;

use volfold_block::{byte_count, bytes_to_index};
use volfold_fs::{FsError, FsErrorKind, FsResult};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::base_block::PAGE;
use super::pages::{Pages, file_offset};
use super::store::Store;

/// The offset that leads nowhere.
pub(super) const NONE: u32 = u32::MAX;

/// LIMIT: pages of one bin. Windows makes bins of some pages, and up to 1 MiB for a large value of
/// version 1.3.
const MAX_BIN_PAGES: usize = 4096;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBin {
    signature: [u8; 4],
    offset: U32<LE>,
    size: U32<LE>,
    reserved: [u8; 8],
    timestamp: U64<LE>,
    spare: U32<LE>,
}
const _: () = assert!(size_of::<RawBin>() == 0x20);

const BIN_HEADER: u64 = 0x20;

/// A cell that is in use and lies in a bin, without its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// The first byte after the size, counted from the first bin.
    start: u64,
    length: u64,
}

impl Cell {
    /// The cell at `offset`.
    ///
    /// # Errors
    /// `Corrupt` for a place that is no cell in use inside a bin, or why it cannot be read.
    pub(super) fn locate(store: &Store, offset: u32) -> FsResult<Self> {
        let pages = &store.pages;
        let at = file_offset(offset.into());
        let corrupt = |line: &'static str| Err(FsError::corrupt(line).at(at));
        if !offset.is_multiple_of(8) {
            return corrupt("cell has an odd place");
        }
        let mut size = [0; 4];
        pages.read(offset.into(), &mut size)?;
        let size = i32::from_le_bytes(size);
        if size >= 0 {
            return corrupt("cell is not in use");
        }
        let size = u64::from(size.unsigned_abs());
        if size < 8 || !size.is_multiple_of(8) {
            return corrupt("cell has an invalid size");
        }
        let start = u64::from(offset);
        if !is_in_bin(pages, start, start.saturating_add(size))? {
            return corrupt("cell does not lie inside a bin");
        }
        Ok(Self { start: start.saturating_add(4), length: size.saturating_sub(4) })
    }

    /// The bytes that the cell has, at least 4.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// An error about what is `field` bytes past the start of the cell's content.
    pub(super) fn corrupt(&self, message: impl Into<String>, field: u64) -> FsError {
        let at = file_offset(self.start).saturating_add(field);
        FsError::corrupt(message.into()).at(at)
    }

    /// Fills `buf` from `skip` bytes past the start of the cell's content.
    ///
    /// # Errors
    /// `Corrupt` past the end of the cell, or why it cannot be read.
    pub(super) fn read(&self, store: &Store, skip: u64, buf: &mut [u8]) -> FsResult<()> {
        let end = skip.checked_add(byte_count(buf.len()));
        if end.is_none_or(|end| end > self.length) {
            return Err(self.corrupt("cell is too small for what it holds", 0));
        }
        store.pages.read(self.start.saturating_add(skip), buf)
    }

    /// The same as new bytes; the caller has bounded `length`.
    ///
    /// # Errors
    /// As [`Cell::read`].
    pub(super) fn bytes(&self, store: &Store, skip: u64, length: u64) -> FsResult<Vec<u8>> {
        // Before memory is asked for.
        if skip.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(self.corrupt("cell is too small for what it holds", 0));
        }
        let mut bytes = vec![0; bytes_to_index(length)?];
        self.read(store, skip, &mut bytes)?;
        Ok(bytes)
    }
}

/// Whether the bytes from `start` to `end` lie in one bin, after its header.
///
/// The header is looked for backwards. The content of a value may look like one, so that a header
/// that does not fit is passed by.
fn is_in_bin(pages: &Pages, start: u64, end: u64) -> FsResult<bool> {
    let page = u64::from(PAGE);
    let last = start.checked_div(page).unwrap_or(0);
    for number in (0..=last).rev().take(MAX_BIN_PAGES) {
        let bin = number.saturating_mul(page);
        match bin_size(pages, bin) {
            Ok(Some(size)) => {
                let fits = start >= bin.saturating_add(BIN_HEADER)
                    && end <= bin.saturating_add(size)
                    && end <= pages.size();
                if fits {
                    return Ok(true);
                }
            }
            Ok(None) => {}
            Err(error) if error.kind() == FsErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The size of the bin at `start`, `None` if none begins there.
fn bin_size(pages: &Pages, start: u64) -> FsResult<Option<u64>> {
    let mut bytes = [0; size_of::<RawBin>()];
    pages.read(start, &mut bytes)?;
    let Ok(raw) = RawBin::ref_from_bytes(&bytes) else { return Ok(None) };
    let is_bin = raw.signature == *b"hbin"
        && u64::from(raw.offset.get()) == start
        && raw.size.get().is_multiple_of(PAGE);
    Ok(is_bin.then(|| raw.size.get().into()))
}

/// The FILETIME in the header of the first bin, in which the base block is copied; `bytes` are those
/// of the bin.
pub(super) fn bin_timestamp(bytes: &[u8]) -> Option<u64> {
    let (raw, _) = RawBin::ref_from_prefix(bytes).ok()?;
    (raw.signature == *b"hbin").then(|| raw.timestamp.get())
}
