//! The block device: the one interface between image formats, caches, volumes and file systems.

use std::sync::Arc;
use std::time::SystemTime;

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

/// What tells a file of the host from all others, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The number of the file system.
    pub device: u64,
    /// The number of the file in it.
    pub file: u64,
}

/// What the host says of the file that bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Which file it is; `None` where the host gives files no numbers.
    pub id: Option<FileId>,
    /// The size in bytes.
    pub size: u64,
    /// When it was last changed; `None` for what has no such time, as drives.
    pub modified: Option<SystemTime>,
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

    /// Fills all of `bufs`, one after the other, from `offset`: one run of bytes that is wanted in
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

    /// What the host said of the file that the bytes are of, when it was opened; `None` for what is
    /// made of other devices.
    fn file_facts(&self) -> Option<FileFacts> {
        None
    }
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

/// What points to a device is the device.
macro_rules! through_a_pointer {
    ($pointer:ty) => {
        impl<T: BlockDevice + ?Sized> BlockDevice for $pointer {
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

            fn file_facts(&self) -> Option<FileFacts> {
                (**self).file_facts()
            }
        }
    };
}

through_a_pointer!(Arc<T>);
through_a_pointer!(&T);

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
