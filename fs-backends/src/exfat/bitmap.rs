//! The allocation bitmap: which clusters are in use.
//!
//! Specification: Microsoft, "exFAT file system specification", 7.1. A bit for each cluster from
//! number 2 on, the lowest of a byte first.

use std::ops::Range;

use volfold_block::{BlockDevice, byte_count, bytes_to_index};

use super::system::SystemEntry;
use super::volume::Volume;
use crate::error::{FsError, FsResult};
use crate::extents::Extents;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// The bitmap of a volume.
pub(super) struct Bitmap {
    extents: Extents,
    clusters: u32,
}

impl Bitmap {
    /// That which `entry` names.
    ///
    /// # Errors
    /// `Corrupt` if it is too short; why the table cannot be read.
    pub(super) fn open(volume: &Volume, entry: &SystemEntry) -> FsResult<Self> {
        let clusters = volume.boot.heap.clusters;
        let length = entry.allocation.length;
        if length < u64::from(clusters.div_ceil(8)) {
            let line = format!("it has {length} bytes for {clusters} clusters");
            return Err(FsError::corrupt(line));
        }
        Ok(Self { extents: volume.part(entry)?, clusters })
    }

    /// How many clusters are in use.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn count(&self, device: &dyn BlockDevice) -> FsResult<u64> {
        let mut used: u64 = 0;
        self.pieces(device, |_, bytes| {
            let ones = bytes.iter().map(|byte| u64::from(byte.count_ones()));
            used = used.saturating_add(ones.sum());
        })?;
        Ok(used)
    }

    /// Whether one of `clusters` is in use.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn has_used(
        &self,
        device: &dyn BlockDevice,
        clusters: Range<u32>,
    ) -> FsResult<bool> {
        let first = u64::from(clusters.start.saturating_sub(2));
        let end = u64::from(clusters.end.saturating_sub(2));
        let mut piece = [0; 4096];
        let mut at = first / 8;
        while at < end.div_ceil(8) {
            let length = end.div_ceil(8).saturating_sub(at).min(byte_count(piece.len()));
            let bytes = piece.get_mut(..bytes_to_index(length)?).unwrap_or_default();
            self.extents.read(device, at, bytes)?;
            let is_used = bytes.iter().zip(at..).any(|(byte, at)| {
                let wanted = |bit: &u64| {
                    let number = at.saturating_mul(8).saturating_add(*bit);
                    (first..end).contains(&number)
                };
                *byte != 0 && (0..8_u64).filter(wanted).any(|bit| byte >> bit & 1 != 0)
            });
            if is_used {
                return Ok(true);
            }
            at = at.saturating_add(length);
        }
        Ok(false)
    }

    /// Gives each cluster, and whether it is in use.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn scan(
        &self,
        device: &dyn BlockDevice,
        mut each: impl FnMut(u32, bool),
    ) -> FsResult<()> {
        self.pieces(device, |first, bytes| {
            let numbers = first..self.clusters.saturating_add(2);
            let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 != 0));
            numbers.zip(bits).for_each(|(cluster, is_used)| each(cluster, is_used));
        })
    }

    /// Gives all of it in pieces, each with the cluster that its first bit is for. The bits after that of
    /// the last cluster are 0.
    fn pieces(&self, device: &dyn BlockDevice, mut each: impl FnMut(u32, &[u8])) -> FsResult<()> {
        let mut piece = vec![0; PIECE];
        let (mut offset, end) = (0_u64, u64::from(self.clusters.div_ceil(8)));
        while offset < end {
            let length = end.saturating_sub(offset).min(byte_count(PIECE));
            let bytes = piece.get_mut(..bytes_to_index(length)?).unwrap_or_default();
            self.extents.read(device, offset, bytes)?;
            let first = u32::try_from(offset.saturating_mul(8).saturating_add(2));
            offset = offset.saturating_add(length);
            let spare = u32::try_from(end.saturating_mul(8)).unwrap_or(u32::MAX);
            if let Some(last) = bytes.last_mut()
                && offset == end
            {
                *last &= u8::MAX.checked_shr(spare.saturating_sub(self.clusters)).unwrap_or(0);
            }
            each(first.unwrap_or(u32::MAX), bytes);
        }
        Ok(())
    }
}
