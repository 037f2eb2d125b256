//! A hive as what keys and values are read from.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use volfold_block::FindingLog;
use volfold_fs::FsError;

use super::base_block::BaseBlock;
use super::pages::Pages;

/// The bins of a hive, and what the base block says of them.
pub(super) struct Store {
    pub(super) pages: Pages,
    pub(super) base_block: BaseBlock,
    /// The bins in which cells were found: the first byte of each, and the first after it.
    bins: Mutex<BTreeMap<u64, u64>>,
    /// What contradicts itself and was read all the same.
    pub(super) told: FindingLog,
}

/// Bytes of the header of a bin.
pub(super) const BIN_HEADER: u64 = 0x20;

/// LIMIT: bins that are remembered, some 3 MiB; with more of them all are forgotten.
const MAX_BINS: usize = 1 << 16;

/// LIMIT: headers of bins that a cell does not fit into, and that are passed by on the way back to
/// the header of its own.
pub(super) const MAX_PASSED: usize = 8;

impl Store {
    pub(super) fn new(pages: Pages, base_block: BaseBlock) -> Self {
        Self { pages, base_block, bins: Mutex::new(BTreeMap::new()), told: FindingLog::new() }
    }

    /// Whether a bin is known that has the bytes from `start` to `end`.
    ///
    /// No more than [`MAX_PASSED`] others can lie between the bin and its cell, so a bin is looked for
    /// once, whatever cells it has.
    pub(super) fn knows_bin(&self, start: u64, end: u64) -> bool {
        let bins = self.bins.lock();
        let near = bins.range(..=start).rev().take(MAX_PASSED.saturating_add(1));
        near.into_iter()
            .any(|(bin, bin_end)| start >= bin.saturating_add(BIN_HEADER) && end <= *bin_end)
    }

    /// Remembers the bin from `start` to `end`.
    pub(super) fn remember_bin(&self, start: u64, end: u64) {
        let mut bins = self.bins.lock();
        if bins.len() >= MAX_BINS {
            bins.clear();
        }
        bins.insert(start, end);
    }
}

/// `error`, its sentence led by what it is about.
pub(super) fn within(part: &str, error: FsError) -> FsError {
    let outer = FsError::new(error.kind(), format!("{part}: {}", error.message()));
    match error.position() {
        Some(position) => outer.at(position).because(error),
        None => outer.because(error),
    }
}
