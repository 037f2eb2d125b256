//! Checked reading of structures whose layout varies, and conversions between counts.

use crate::error::{BlockError, BlockResult};

/// A byte count of memory as a count of a device.
pub fn byte_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A byte count of a device as an index into memory.
///
/// # Errors
/// `Unsupported` where the host's memory cannot be that large (32-bit hosts).
pub fn bytes_to_index(count: u64) -> BlockResult<usize> {
    usize::try_from(count)
        .map_err(|_| BlockError::unsupported("structure is larger than this machine's memory"))
}

/// A cursor over bytes of a structure; every step is checked and every error has its position.
#[derive(Clone, Debug)]
pub struct ByteReader<'a> {
    bytes: &'a [u8],
    next: usize,
    origin: u64,
    structure: &'static str,
}

impl<'a> ByteReader<'a> {
    /// A cursor over `bytes`, which began at `origin` in the device; `structure` is the name that
    /// errors use.
    pub fn new(structure: &'static str, bytes: &'a [u8], origin: u64) -> Self {
        Self { bytes, next: 0, origin, structure }
    }

    /// The position of the next byte in the device.
    pub fn position(&self) -> u64 {
        self.origin.saturating_add(byte_count(self.next))
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.next)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn take(&mut self, count: usize) -> BlockResult<&'a [u8]> {
        let end = self.next.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.next..end)) {
            Some(bytes) => {
                self.next = self.next.saturating_add(count);
                Ok(bytes)
            }
            None => Err(self.corrupt("is cut short")),
        }
    }

    /// Steps over `count` bytes.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn skip(&mut self, count: usize) -> BlockResult<()> {
        self.take(count).map(|_| ())
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn array<const N: usize>(&mut self) -> BlockResult<[u8; N]> {
        let at = self.position();
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| BlockError::corrupt("structure is cut short", at, 0))
    }

    /// The next byte.
    ///
    /// # Errors
    /// `Corrupt` with the position at the end.
    pub fn u8(&mut self) -> BlockResult<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes, little-endian.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn u16_le(&mut self) -> BlockResult<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes, little-endian.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn u32_le(&mut self) -> BlockResult<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes, little-endian.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn u64_le(&mut self) -> BlockResult<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next two bytes, big-endian.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn u16_be(&mut self) -> BlockResult<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn u32_be(&mut self) -> BlockResult<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes, big-endian.
    ///
    /// # Errors
    /// `Corrupt` with the position if fewer are left.
    pub fn u64_be(&mut self) -> BlockResult<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `Corrupt` error at the next byte: the name of the structure, then `problem`.
    pub fn corrupt(&self, problem: &str) -> BlockError {
        BlockError::corrupt(format!("{} {problem}", self.structure), self.position(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BlockErrorKind;

    #[test]
    fn a_read_past_the_end_is_corrupt_with_its_position() {
        let mut reader = ByteReader::new("test table", &[1, 0, 0, 0, 9], 0x100);
        assert_eq!(reader.u32_le().unwrap(), 1);
        let error = reader.u16_le().unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(0x104)));
        assert_eq!(error.message(), "test table is cut short");
        assert_eq!(reader.u8().unwrap(), 9);
    }

    #[test]
    fn a_huge_count_is_refused_without_overflow() {
        let mut reader = ByteReader::new("test table", &[0; 4], 0);
        reader.skip(2).unwrap();
        assert!(reader.take(usize::MAX).is_err());
    }
}
