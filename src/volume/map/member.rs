//! What the mapping devices share: a member that is not there, reads in halves, comparison.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent, ExtentKind, byte_count,
    check_range, data_to_the_end,
};

/// Bytes below which a failed read is not tried again in halves: the smallest sector.
const SMALLEST_READ: usize = 512;

/// Bytes that are compared, or rebuilt from parity, at once.
pub(super) const BLOCK: usize = 128 << 10;

/// The grain of [`Comparison`].
pub(super) const UNIT: usize = 4096;

/// A member that is not there, or must not be used; every read gives the reason.
pub struct Absent {
    size: u64,
    kind: BlockErrorKind,
    reason: Arc<str>,
}

impl Absent {
    /// `size` bytes that are on something that is missing, as `reason` says.
    pub fn new(size: u64, reason: impl Into<Arc<str>>) -> Self {
        Self { size, kind: BlockErrorKind::MissingPart, reason: reason.into() }
    }

    /// `size` bytes whose place contradicts itself, as `reason` says.
    pub fn corrupt(size: u64, reason: impl Into<Arc<str>>) -> Self {
        Self { size, kind: BlockErrorKind::Corrupt, reason: reason.into() }
    }

    /// `size` bytes that cannot be had, as `kind` and `reason` say.
    pub fn of_kind(size: u64, kind: BlockErrorKind, reason: impl Into<Arc<str>>) -> Self {
        Self { size, kind, reason: reason.into() }
    }

    fn error(&self) -> BlockError {
        BlockError::new(self.kind, self.reason.to_string())
    }
}

impl BlockDevice for Absent {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        if buf.is_empty() { Ok(()) } else { Err(self.error()) }
    }

    fn extent_at(&self, _offset: u64) -> BlockResult<Extent> {
        Err(self.error())
    }
}

/// Bytes that are zeros by definition.
pub struct Zeros {
    size: u64,
}

impl Zeros {
    /// `size` zeros.
    pub fn new(size: u64) -> Self {
        Self { size }
    }
}

impl BlockDevice for Zeros {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        buf.fill(0);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        let extent = data_to_the_end(offset, self.size)?;
        Ok(Extent { kind: ExtentKind::Zero, ..extent })
    }
}

/// What a comparison of redundant copies found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Bytes of the volume that were compared.
    pub compared: u64,
    /// Bytes in blocks of 4096 that differ.
    pub differing: u64,
    /// The offset in the volume of the first such block; for parity, of the row it is in.
    pub first: Option<u64>,
    /// Bytes of the volume that could not be compared, because a member could not be read.
    pub unreadable: u64,
}

impl Comparison {
    pub(super) fn differs(&mut self, at: u64, length: u64) {
        self.differing = self.differing.saturating_add(length);
        self.first.get_or_insert(at);
    }
}

/// LIMIT: parts one after the other that cannot be compared; what follows is counted as unreadable then. An array
/// of two small images may claim to be larger than all disks of the world.
const MAX_FAILED: u32 = 1 << 16;

/// Parts that are compared one after the other.
#[derive(Default)]
pub(super) struct Parts {
    failed: u32,
}

impl Parts {
    /// Counts a part of `length` bytes of a volume that has `left` from its start on; whether there is a next one
    /// to compare.
    pub(super) fn count(
        &mut self,
        result: &mut Comparison,
        is_readable: bool,
        length: u64,
        left: u64,
    ) -> bool {
        if is_readable {
            self.failed = 0;
            result.compared = result.compared.saturating_add(length);
            return true;
        }
        self.failed = self.failed.saturating_add(1);
        let is_end = self.failed >= MAX_FAILED;
        let lost = if is_end { left } else { length };
        result.unreadable = result.unreadable.saturating_add(lost);
        !is_end
    }
}

/// A device that keeps bytes more than once, and can compare.
pub trait Redundancy: Send + Sync {
    /// Reads all members and compares what they hold. Never fails; unreadable parts are counted.
    fn compare(&self) -> Comparison;
}

/// Parts of a device that each keep their bytes more than once, with where they begin.
pub struct RedundantParts(pub Vec<(u64, Arc<dyn Redundancy>)>);

impl Redundancy for RedundantParts {
    fn compare(&self) -> Comparison {
        let mut all = Comparison::default();
        for (start, part) in &self.0 {
            let found = part.compare();
            all.compared = all.compared.saturating_add(found.compared);
            all.differing = all.differing.saturating_add(found.differing);
            all.unreadable = all.unreadable.saturating_add(found.unreadable);
            let first = found.first.map(|first| start.saturating_add(first));
            all.first = all.first.or(first);
        }
        all
    }
}

/// Reads by `read`; where that fails, again in halves, since another member may have to serve each
/// of them.
pub(super) fn in_halves(
    offset: u64,
    buf: &mut [u8],
    read: &dyn Fn(u64, &mut [u8]) -> BlockResult<()>,
) -> BlockResult<()> {
    let error = match read(offset, buf) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if buf.len() <= SMALLEST_READ {
        return Err(error);
    }
    let half = buf.len().div_euclid(2).next_multiple_of(SMALLEST_READ);
    let Some((left, right)) = buf.split_at_mut_checked(half) else {
        return Err(error);
    };
    let middle = offset.saturating_add(byte_count(half));
    in_halves(offset, left, read)?;
    in_halves(middle, right, read)
}

/// The first `length` bytes of `buf` or all of it, and the rest.
pub(crate) fn split(buf: &mut [u8], length: u64) -> (&mut [u8], &mut [u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
    buf.split_at_mut_checked(length).unwrap_or_default()
}

/// The sector size of a device made of `members`: the largest of theirs.
pub(super) fn sector_size<'a>(members: impl Iterator<Item = &'a Arc<dyn BlockDevice>>) -> u32 {
    members.map(|member| member.sector_size()).max().unwrap_or(512)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::volume::map) fn missing(size: u64, name: &str) -> Arc<dyn BlockDevice> {
        Arc::new(Absent::new(size, format!("disk {name} is missing")))
    }

    /// What has to be read.
    pub(in crate::volume::map) fn data(length: u64) -> Extent {
        Extent { kind: ExtentKind::Data, length }
    }
}
