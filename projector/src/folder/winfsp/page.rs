//! Pages of directory and stream records, as the functions of the DLL fill them.

use super::abi::{DirInfo, FileInfo, NtStatus, StreamInfo};
use crate::folder::status;

/// A buffer of records that each begin at a multiple of 8, as `FspFileSystemAddDirInfo` fills it.
pub(super) struct RecordPage<'a> {
    buf: &'a mut [u8],
    /// The bytes that are filled.
    pub(super) used: usize,
    /// Whether records are put into a page with others.
    aligned: bool,
}

impl<'a> RecordPage<'a> {
    pub(super) fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, used: 0, aligned: true }
    }

    /// A page for one record, without padding after it.
    pub(super) fn single(buf: &'a mut [u8]) -> Self {
        Self { buf, used: 0, aligned: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(super) fn push(&mut self, info: &FileInfo, name: &[u16], next: u64) -> bool {
        let size = size_of::<DirInfo>() + 2 * name.len();
        let head = DirInfo {
            size: u16::try_from(size).unwrap_or(0),
            file_info: *info,
            next_offset: next,
            padding: [0; 2],
        };
        // SAFETY: `DirInfo` is plain data of 104 bytes; the padding after `size` is overwritten.
        let mut bytes = unsafe { bytes_of::<DirInfo, 104>(&head) };
        bytes[2..8].fill(0);
        self.push_record(&bytes, name)
    }

    pub(super) fn push_stream(&mut self, size: u64, allocation_size: u64, name: &[u16]) -> bool {
        let mut bytes = [0; size_of::<StreamInfo>()];
        let length = bytes.len() + 2 * name.len();
        bytes[..2].copy_from_slice(&u16::try_from(length).unwrap_or(0).to_le_bytes());
        bytes[8..16].copy_from_slice(&size.to_le_bytes());
        bytes[16..24].copy_from_slice(&allocation_size.to_le_bytes());
        self.push_record(&bytes, name)
    }

    fn push_record(&mut self, head: &[u8], name: &[u16]) -> bool {
        let size = head.len() + 2 * name.len();
        let padded = if self.aligned { size.next_multiple_of(8) } else { size };
        let Some(slot) = self.buf.get_mut(self.used..self.used + padded) else {
            return false;
        };
        slot[..head.len()].copy_from_slice(head);
        for (unit, bytes) in name.iter().zip(slot[head.len()..].as_chunks_mut::<2>().0) {
            *bytes = unit.to_le_bytes();
        }
        slot[size..].fill(0);
        self.used += padded;
        true
    }

    /// What to answer when the next record does not fit: an empty page would be the end of the list.
    pub(super) fn full(&self) -> Result<(), NtStatus> {
        if self.is_empty() { Err(status::BUFFER_OVERFLOW) } else { Ok(()) }
    }

    /// Marks the end of the list, if there is room; if not, the next page will be empty.
    pub(super) fn end(&mut self) {
        if let Some(slot) = self.buf.get_mut(self.used..self.used + 2) {
            slot.fill(0);
            self.used += 2;
        }
    }
}

/// The bytes of `value`.
///
/// # Safety
/// `T` must be plain data of `N` bytes; bytes of padding have no certain value.
unsafe fn bytes_of<T: Copy, const N: usize>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N) };
    let mut bytes = [0; N];
    // SAFETY: both are `N` bytes long and do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast(), bytes.as_mut_ptr(), N)
    };
    bytes
}
