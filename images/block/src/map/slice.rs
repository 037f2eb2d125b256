//! A part of another device.

use std::sync::Arc;

use super::mapped::Mapped;
use super::place::{Map, Piece, Place};
use crate::device::BlockDevice;
use crate::error::{BlockError, BlockResult};
use crate::span::Span;

/// Where a part of a device lies.
pub struct SliceOf<D> {
    device: D,
    span: Span,
}

/// A part of another device: a partition, or a raw disk without its footer.
pub type Slice<D = Arc<dyn BlockDevice>> = Mapped<SliceOf<D>>;

impl<D: BlockDevice> Slice<D> {
    /// The `size` bytes of `device` from `start`.
    ///
    /// # Errors
    /// `OutOfRange` if they are not inside `device`.
    pub fn part(device: D, start: u64, size: u64) -> BlockResult<Self> {
        match Span::new(start, size) {
            Some(span) if Span::below(device.size()).holds(span) => {
                Ok(Self::new(SliceOf { device, span }))
            }
            _ => Err(BlockError::out_of_range(start, size, device.size())),
        }
    }
}

impl<D: BlockDevice> Map for SliceOf<D> {
    fn size(&self) -> u64 {
        self.span.length()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let out_of_range = || BlockError::out_of_range(offset, 1, self.size());
        let rest = self.span.rest(offset).ok_or_else(out_of_range)?;
        Ok(Piece::new(Place::At(&self.device, rest.start()), rest.length()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;
    use crate::error::BlockErrorKind;

    #[test]
    fn a_slice_reads_its_own_bytes_and_no_others() {
        let disk: Arc<dyn BlockDevice> =
            Arc::new(MemoryDevice::new((0..=255).collect::<Vec<u8>>()));
        let slice = Slice::part(disk, 16, 8).unwrap();
        let mut buf = [0; 8];
        slice.read_at(0, &mut buf).unwrap();
        assert_eq!(buf, [16, 17, 18, 19, 20, 21, 22, 23]);
        let error = slice.read_at(1, &mut buf).unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::OutOfRange, Some(1)));
    }

    #[test]
    fn a_slice_that_leaves_its_device_is_refused() {
        let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![0; 32]));
        for (start, size) in [(0, 33), (32, 1), (u64::MAX, 2)] {
            let error = Slice::part(disk.clone(), start, size).err().unwrap();
            assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
        }
    }
}
