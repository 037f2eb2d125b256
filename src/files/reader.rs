//! Files and devices as streams of bytes.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use volfold_block::{BlockDevice, guard};
use volfold_fs::{FileData, FileExtent, FsError, FsErrorKind, FsResult};

use crate::monitor::Monitor;

/// An open file: reads at any position on any thread, and a cursor of its own for [`Read`] and
/// [`Seek`]. It stays open while it lives, also without its set.
#[derive(Clone)]
pub struct File {
    data: Arc<dyn FileData>,
    position: u64,
    monitor: Monitor,
}

impl File {
    pub(super) fn new(data: Arc<dyn FileData>, monitor: Monitor) -> Self {
        Self { data, position: 0, monitor }
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.data.size()
    }

    /// Fills `buf` from `offset`, and says how much of it; less than all only at the end of the file.
    ///
    /// # Errors
    /// Why the bytes cannot be had; then none of `buf` counts.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        self.monitor.whole(|| guard("the file", || self.data.read_at(offset, buf)))
    }

    /// The whole content of a file of at most `limit` bytes.
    ///
    /// # Errors
    /// `Refused` for a larger one, or why a byte cannot be read.
    pub fn read_at_most(&self, limit: u64) -> FsResult<Vec<u8>> {
        self.monitor.whole(|| guard("the file", || read_at_most(&*self.data, limit)))
    }

    /// The kind of the bytes at `offset`, and how far they reach.
    ///
    /// # Errors
    /// `OutOfRange` at the end of the file and past it.
    pub fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        self.monitor.whole(|| guard("the file", || self.data.extent_at(offset)))
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(self.position, buf)?;
        self.position = advanced(self.position, count);
        Ok(count)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = position(to, self.position, self.size())?;
        Ok(self.position)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("size", &self.size())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// A disk or volume as a stream of bytes.
#[derive(Clone)]
pub struct DeviceReader {
    device: Arc<dyn BlockDevice>,
    position: u64,
}

impl DeviceReader {
    /// A reader of `device`, at its first byte.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        Self { device, position: 0 }
    }
}

impl Read for DeviceReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.device.size().saturating_sub(self.position);
        let count = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buf.get_mut(..count).unwrap_or_default();
        if !part.is_empty() {
            let read = || self.device.read_at(self.position, part).map_err(FsError::from);
            guard("the device", read)?;
        }
        self.position = advanced(self.position, count);
        Ok(count)
    }
}

impl Seek for DeviceReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = position(to, self.position, self.device.size())?;
        Ok(self.position)
    }
}

impl fmt::Debug for DeviceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceReader")
            .field("size", &self.device.size())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The whole content of `file`, which has at most `limit` bytes.
///
/// # Errors
/// `Refused` for a larger one, or why a byte cannot be read.
pub(crate) fn read_at_most(file: &dyn FileData, limit: u64) -> FsResult<Vec<u8>> {
    let size = file.size();
    let too_large = || {
        let line = format!("file has {size} bytes, more than the {limit} that are read at once");
        FsError::new(FsErrorKind::Refused, line)
    };
    let length = usize::try_from(size).ok().filter(|_| size <= limit).ok_or_else(too_large)?;
    let mut content = Vec::new();
    content.try_reserve_exact(length).map_err(|_| too_large())?;
    content.resize(length, 0);
    let count = file.read_at(0, &mut content)?;
    content.truncate(count);
    Ok(content)
}

fn advanced(position: u64, count: usize) -> u64 {
    position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX))
}

/// The position that `to` means.
fn position(to: SeekFrom, now: u64, size: u64) -> io::Result<u64> {
    let position = match to {
        SeekFrom::Start(position) => Some(position),
        SeekFrom::End(distance) => size.checked_add_signed(distance),
        SeekFrom::Current(distance) => now.checked_add_signed(distance),
    };
    position.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "seek to a position before the first byte")
    })
}
