//! The file allocation table: which cluster follows which.

use volfold_block::{BlockDevice, Span, byte_count, bytes_to_index};

use super::boot::{Boot, FatKind};
use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};

/// Bytes of the table that are read at once when a chain is followed.
const WINDOW: usize = 4096;
/// Bytes of the table that are read at once when all of it is read.
const SCAN: usize = 64 * 1024 * 3;

/// What an entry of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Next(u32),
    End,
    /// Free, bad, reserved or outside the volume.
    Broken,
}

/// A reader of table entries, with a window of its own.
pub(super) struct Table<'a> {
    device: &'a dyn BlockDevice,
    boot: &'a Boot,
    window: Vec<u8>,
    window_start: u64,
    window_size: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(device: &'a dyn BlockDevice, boot: &'a Boot) -> Self {
        Self { device, boot, window: Vec::new(), window_start: 0, window_size: WINDOW }
    }

    /// The raw entry of `cluster`, 12, 16 or 28 bits.
    ///
    /// # Errors
    /// `Corrupt` outside the table; what the device says.
    pub(super) fn entry(&mut self, cluster: u32) -> FsResult<u32> {
        let number = u64::from(cluster);
        match self.boot.kind {
            FatKind::Fat12 => {
                let pair = self.bytes(number.saturating_add(number / 2))?;
                let pair = u16::from_le_bytes(pair);
                Ok(u32::from(match cluster & 1 {
                    0 => pair & 0x0FFF,
                    _ => pair >> 4,
                }))
            }
            FatKind::Fat16 => {
                let bytes = self.bytes(number.saturating_mul(2))?;
                Ok(u32::from(u16::from_le_bytes(bytes)))
            }
            FatKind::Fat32 => {
                let bytes = self.bytes(number.saturating_mul(4))?;
                Ok(u32::from_le_bytes(bytes) & 0x0FFF_FFFF)
            }
        }
    }

    /// What follows `cluster`.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn next(&mut self, cluster: u32) -> FsResult<Link> {
        let entry = self.entry(cluster)?;
        let end = match self.boot.kind {
            FatKind::Fat12 => 0x0FF8,
            FatKind::Fat16 => 0xFFF8,
            FatKind::Fat32 => 0x0FFF_FFF8,
        };
        Ok(if entry >= end {
            Link::End
        } else if self.boot.has_cluster(entry) {
            Link::Next(entry)
        } else {
            Link::Broken
        })
    }

    /// How many clusters are free.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn count_free(mut self) -> FsResult<u32> {
        self.window_size = SCAN;
        let mut free: u32 = 0;
        for cluster in 2..self.boot.clusters.saturating_add(2) {
            if self.entry(cluster)? == 0 {
                free = free.saturating_add(1);
            }
        }
        Ok(free)
    }

    /// The `N` bytes at `offset` of the table.
    fn bytes<const N: usize>(&mut self, offset: u64) -> FsResult<[u8; N]> {
        if let Some(bytes) = self.in_window(offset) {
            return Ok(bytes);
        }
        let left = self.boot.table_size.saturating_sub(offset);
        let length = left.min(byte_count(self.window_size));
        self.window.resize(bytes_to_index(length)?, 0);
        self.window_start = offset;
        let rest = Span::new(self.boot.table, self.boot.table_size);
        let rest = rest.and_then(|table| table.rest(offset));
        let place = rest.map_or(self.boot.table, Span::start);
        let stored = rest.map(|rest| rest.first(length));
        if !stored.is_some_and(|stored| Span::below(self.device.size()).holds(stored)) {
            self.window.clear();
            return Err(FsError::corrupt("file allocation table leaves the volume").at(place));
        }
        if let Err(error) = self.device.read_at(place, &mut self.window) {
            self.window.clear();
            return Err(error.into());
        }
        self.in_window(offset)
            .ok_or_else(|| FsError::corrupt("file allocation table is too short").at(place))
    }

    fn in_window<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let skipped = usize::try_from(offset.checked_sub(self.window_start)?).ok()?;
        self.window.get(skipped..)?.first_chunk::<N>().copied()
    }
}

impl Boot {
    /// Whether `cluster` is one of the volume.
    pub(super) fn has_cluster(&self, cluster: u32) -> bool {
        cluster.checked_sub(2).is_some_and(|index| index < self.clusters)
    }

    /// The position of `cluster`.
    fn position(&self, cluster: u32) -> FsResult<u64> {
        let index = cluster.checked_sub(2).map(u64::from);
        index
            .and_then(|index| index.checked_mul(u64::from(self.cluster_size)))
            .and_then(|offset| self.data.checked_add(offset))
            .ok_or_else(|| FsError::corrupt("cluster lies outside the volume"))
    }

    /// The run list of the `wanted` bytes in the chain that begins with `first`. What the chain
    /// has more is left out.
    ///
    /// # Errors
    /// `Corrupt` if the chain is shorter or meets itself.
    pub(super) fn chain(
        &self,
        device: &dyn BlockDevice,
        first: u32,
        wanted: u64,
    ) -> FsResult<Extents> {
        let (extents, is_whole) = self.follow(device, first, wanted)?;
        if is_whole {
            Ok(extents)
        } else {
            Err(FsError::corrupt("cluster chain is shorter than the file"))
        }
    }

    /// As [`Self::chain`] for a directory, which ends where its chain ends but has at most `limit`
    /// bytes.
    ///
    /// # Errors
    /// `Corrupt` if there is no first cluster, or the chain meets itself.
    pub(super) fn directory_chain(
        &self,
        device: &dyn BlockDevice,
        first: u32,
        limit: u64,
    ) -> FsResult<Extents> {
        if !self.has_cluster(first) {
            return Err(FsError::corrupt("directory begins outside the volume"));
        }
        self.follow(device, first, limit).map(|(extents, _)| extents)
    }

    /// The run list, and whether it has all the bytes wanted.
    fn follow(
        &self,
        device: &dyn BlockDevice,
        first: u32,
        wanted: u64,
    ) -> FsResult<(Extents, bool)> {
        let size = u64::from(self.cluster_size);
        let mut table = Table::new(device, self);
        let mut extents = Extents::default();
        let mut link = match self.has_cluster(first) {
            true => Link::Next(first),
            false => Link::Broken,
        };
        // Brent's algorithm: a chain that meets itself comes back to a mark that moves to the
        // steps 1, 2, 4, 8... It ends a loop early; the check of the run list finds the rest.
        let (mut mark, mut steps, mut limit) = (0, 0_u32, 1_u32);
        while extents.end() < wanted {
            let cluster = match link {
                Link::Next(cluster) => cluster,
                Link::End | Link::Broken => return Ok((extents, false)),
            };
            if cluster == mark {
                return Err(looped());
            }
            steps = steps.saturating_add(1);
            if steps >= limit {
                mark = cluster;
                limit = limit.saturating_mul(2);
            }
            extents.push(Place::At(self.position(cluster)?), size)?;
            if extents.end() < wanted {
                link = table.next(cluster)?;
            }
        }
        if extents.has_overlap() {
            return Err(looped());
        }
        Ok((extents, true))
    }
}

fn looped() -> FsError {
    FsError::corrupt("cluster chain has a loop")
}
