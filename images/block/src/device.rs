//! The block device: the one interface between image formats, caches, volumes and file systems.

use std::sync::Arc;

use crate::bytes::{byte_count, bytes_to_index};
use crate::error::{BlockError, BlockResult};

/// What a run of bytes of a device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes that have to be read.
    Data,
    /// Bytes that read as zero and take no place in the image.
    Zero,
}

/// A run of bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// What the bytes are.
    pub kind: ExtentKind,
    /// How many bytes from the offset asked for. At least 1 inside the device.
    pub length: u64,
}

/// Bytes at positions, read-only.
///
/// Reads are positional and take `&self`; there is no cursor. An implementation holds no lock
/// across a call into a device below it.
pub trait BlockDevice: Send + Sync {
    /// The size in bytes. It does not change while the device lives.
    fn size(&self) -> u64;

    /// The size of a logical sector in bytes, 512 or 4096.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Fills all of `buf` from `offset`.
    ///
    /// # Errors
    /// `OutOfRange` if the request leaves the device; else why the bytes cannot be had. After an
    /// error the content of `buf` is undefined.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()>;

    /// Fills all of `bufs`, one behind the other, from `offset`: one run of bytes that is wanted in
    /// several places.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn read_vectored_at(&self, mut offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        for buf in bufs {
            self.read_at(offset, buf)?;
            offset = offset.saturating_add(byte_count(buf.len()));
        }
        Ok(())
    }

    /// The kind of the bytes at `offset`, and how far they reach.
    ///
    /// # Errors
    /// `OutOfRange` if `offset` is not inside the device.
    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        data_to_the_end(offset, self.size())
    }

    /// Says that the `length` bytes from `offset` on are wanted soon. A device that can have them
    /// fetched meanwhile does so; this takes no time to speak of, and never fails.
    fn will_need(&self, _offset: u64, _length: u64) {}
}

/// The answer of a device of `size` bytes that knows of no holes.
///
/// # Errors
/// `OutOfRange` if `offset` is not inside the device.
pub fn data_to_the_end(offset: u64, size: u64) -> BlockResult<Extent> {
    match size.checked_sub(offset) {
        None | Some(0) => Err(BlockError::out_of_range(offset, 1, size)),
        Some(length) => Ok(Extent { kind: ExtentKind::Data, length }),
    }
}

/// Checks that `length` bytes at `offset` lie inside a device of `size` bytes.
///
/// # Errors
/// `OutOfRange` if they do not.
pub fn check_range(offset: u64, length: usize, size: u64) -> BlockResult<()> {
    let length = byte_count(length);
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(BlockError::out_of_range(offset, length, size)),
    }
}

/// The bytes of all of `bufs` together.
pub fn total_length(bufs: &[&mut [u8]]) -> usize {
    bufs.iter().fold(0, |sum: usize, buf| sum.saturating_add(buf.len()))
}

impl<T: BlockDevice + ?Sized> BlockDevice for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn sector_size(&self) -> u32 {
        (**self).sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        (**self).read_at(offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        (**self).read_vectored_at(offset, bufs)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        (**self).extent_at(offset)
    }

    fn will_need(&self, offset: u64, length: u64) {
        (**self).will_need(offset, length);
    }
}

/// A device in memory, for tests and for small decoded structures.
#[derive(Clone, Debug)]
pub struct MemoryDevice {
    bytes: Arc<[u8]>,
    sector_size: u32,
}

impl MemoryDevice {
    /// A device over `bytes` with sectors of 512 bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into(), sector_size: 512 }
    }

    /// The same device with sectors of `sector_size` bytes.
    #[must_use]
    pub fn with_sector_size(mut self, sector_size: u32) -> Self {
        self.sector_size = sector_size;
        self
    }
}

impl BlockDevice for MemoryDevice {
    fn size(&self) -> u64 {
        byte_count(self.bytes.len())
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        let start = bytes_to_index(offset)?;
        let end = start.saturating_add(buf.len());
        match self.bytes.get(start..end) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(BlockError::out_of_range(offset, byte_count(buf.len()), self.size())),
        }
    }
}

/// A part of another device: a partition, or a raw disk without its footer.
pub struct Slice {
    device: Arc<dyn BlockDevice>,
    start: u64,
    size: u64,
}

impl Slice {
    /// The `size` bytes of `device` from `start`.
    ///
    /// # Errors
    /// `OutOfRange` if they are not inside `device`.
    pub fn new(device: Arc<dyn BlockDevice>, start: u64, size: u64) -> BlockResult<Self> {
        match start.checked_add(size) {
            Some(end) if end <= device.size() => Ok(Self { device, start, size }),
            _ => Err(BlockError::out_of_range(start, size, device.size())),
        }
    }
}

impl BlockDevice for Slice {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        // `new` checked that `start + size` is inside the device.
        self.device.read_at(self.start.saturating_add(offset), buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        check_range(offset, total_length(bufs), self.size)?;
        self.device.read_vectored_at(self.start.saturating_add(offset), bufs)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        let rest = data_to_the_end(offset, self.size)?;
        let below = self.device.extent_at(self.start.saturating_add(offset))?;
        Ok(Extent { kind: below.kind, length: below.length.min(rest.length) })
    }

    fn will_need(&self, offset: u64, length: u64) {
        let length = length.min(self.size.saturating_sub(offset));
        self.device.will_need(self.start.saturating_add(offset), length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BlockErrorKind;

    #[test]
    fn a_slice_reads_its_own_bytes_and_no_others() {
        let disk: Arc<dyn BlockDevice> =
            Arc::new(MemoryDevice::new((0..=255).collect::<Vec<u8>>()));
        let slice = Slice::new(disk, 16, 8).unwrap();
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
            let error = Slice::new(disk.clone(), start, size).err().unwrap();
            assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
        }
    }
}
