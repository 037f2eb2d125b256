//! Files that the Windows overlay filter compressed (CompactOS, `compact /exe`).
//!
//! The content is in the alternate stream [`STREAM`], in units that stand alone; the main stream is
//! one hole that tells the size. The stream begins with a table of where each unit but the first
//! begins, counted from the end of the table; the entries have 4 bytes, or 8 if the content has 4
//! GiB or more. A unit that takes as many bytes as it gives is stored as it is. It is the layout of
//! a resource in a WIM file. Source: Microsoft's `WOF_EXTERNAL_INFO` pages and the "Windows Imaging
//! (WIM) File Format" paper.

use std::sync::Arc;

use volfold_block::{byte_count, bytes_to_index};

use super::codec::{lzx, xpress};
use super::units::{UnitSource, with_scratch};
use crate::error::{FsError, FsResult};
use crate::node::FileData;

/// `WofCompressedData`, the name of the stream, in UTF-16.
pub(super) const STREAM: &[u8] = b"W\0o\0f\0C\0o\0m\0p\0r\0e\0s\0s\0e\0d\0D\0a\0t\0a\0";

/// Content from this size on has table entries of 8 bytes.
const WIDE: u64 = 1 << 32;

/// How the units of a file are compressed, and how large they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Number 0.
    Xpress4K,
    /// Number 1.
    Lzx,
    /// Number 2.
    Xpress8K,
    /// Number 3.
    Xpress16K,
}

impl Algorithm {
    /// The algorithm that reparse points call `number`.
    pub(super) fn new(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Xpress4K),
            1 => Some(Self::Lzx),
            2 => Some(Self::Xpress8K),
            3 => Some(Self::Xpress16K),
            _ => None,
        }
    }

    fn unit_size(self) -> u64 {
        match self {
            Self::Xpress4K => 4096,
            Self::Xpress8K => 8192,
            Self::Xpress16K => 16_384,
            Self::Lzx => 32_768,
        }
    }
}

/// The units of a file.
pub(super) struct Wof {
    stored: Arc<dyn FileData>,
    algorithm: Algorithm,
    size: u64,
}

impl Wof {
    /// The file of `size` bytes whose compressed stream is `stored`.
    pub(super) fn new(stored: Arc<dyn FileData>, algorithm: Algorithm, size: u64) -> Self {
        Self { stored, algorithm, size }
    }

    /// The bytes of the table.
    fn table_size(&self) -> u64 {
        let units = self.size.div_ceil(self.algorithm.unit_size());
        units.saturating_sub(1).saturating_mul(self.entry_size())
    }

    fn entry_size(&self) -> u64 {
        if self.size < WIDE { 4 } else { 8 }
    }

    /// Fills all of `buf` from `offset` of the stored stream.
    fn read(&self, offset: u64, buf: &mut [u8]) -> FsResult<()> {
        if self.stored.read_at(offset, buf)? == buf.len() {
            Ok(())
        } else {
            Err(FsError::corrupt("compressed stream of the file is cut short"))
        }
    }

    /// The entry `index` of the table.
    fn entry(&self, index: u64) -> FsResult<u64> {
        let mut wide = [0; 8];
        let size = self.entry_size();
        let bytes = wide.get_mut(..bytes_to_index(size)?).unwrap_or_default();
        self.read(index.saturating_mul(size), bytes)?;
        Ok(u64::from_le_bytes(wide))
    }

    /// Where the unit `number` begins in the stored stream, and its stored bytes.
    fn place(&self, number: u64) -> FsResult<(u64, u64)> {
        let table = self.table_size();
        let start = match number.checked_sub(1) {
            None => 0,
            Some(before) => self.entry(before)?,
        };
        let is_last = number.saturating_add(1).saturating_mul(self.unit_size()) >= self.size;
        let end =
            if is_last { self.stored.size().saturating_sub(table) } else { self.entry(number)? };
        match (table.checked_add(start), end.checked_sub(start)) {
            (Some(start), Some(length)) => Ok((start, length)),
            _ => Err(FsError::corrupt("compressed units of the file are out of order")),
        }
    }
}

impl UnitSource for Wof {
    fn unit_size(&self) -> u64 {
        self.algorithm.unit_size()
    }

    fn memory(&self) -> u64 {
        self.stored.memory()
    }

    fn decode(&self, number: u64, out: &mut [u8]) -> FsResult<()> {
        let (start, length) = self.place(number)?;
        let unit_start = number.saturating_mul(self.unit_size());
        let size = self.size.saturating_sub(unit_start).min(self.unit_size());
        if length == size {
            return self.read(start, out);
        }
        if length == 0 || length > size {
            return Err(FsError::corrupt("compressed unit of the file has an invalid size"));
        }
        if byte_count(out.len()) != size {
            return Err(FsError::corrupt("compressed unit of the file is asked for in part"));
        }
        with_scratch(bytes_to_index(length)?, |stored| {
            self.read(start, stored)?;
            let decoded = match self.algorithm {
                Algorithm::Lzx => lzx::decode(stored, out),
                _ => xpress::decode(stored, out),
            };
            decoded.map_err(|broken| {
                FsError::corrupt("compressed unit of the file is damaged").because(broken)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;
    use crate::extents::BytesFile;
    use crate::ntfs::units::{UnitCache, UnitFile};

    fn file(stored: impl FileData + 'static, algorithm: Algorithm, size: u64) -> UnitFile<Wof> {
        let wof = Wof::new(Arc::new(stored), algorithm, size);
        UnitFile::new(wof, size, size, &UnitCache::new())
    }

    /// A stream whose table says that every unit is stored as it is; a unit's bytes are its number.
    struct Plain {
        units: u64,
        entry: u64,
        unit: u64,
    }

    impl FileData for Plain {
        fn size(&self) -> u64 {
            (self.units - 1) * self.entry + self.units * self.unit
        }

        fn memory(&self) -> u64 {
            byte_count(size_of::<Self>())
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
            let table = (self.units - 1) * self.entry;
            for (at, byte) in (offset..).zip(buf.iter_mut()) {
                *byte = match at.checked_sub(table) {
                    Some(at) => (at / self.unit) as u8,
                    None => {
                        let value = (at / self.entry + 1) * self.unit;
                        value.to_le_bytes()[(at % self.entry) as usize]
                    }
                };
            }
            Ok(buf.len())
        }
    }

    #[test]
    fn the_table_has_wide_entries_from_4_gib_on() {
        for (units, entry) in [(131_071, 4), (131_072, 8), (1 << 20, 8)] {
            let unit = 32_768;
            let file = file(Plain { units, entry, unit }, Algorithm::Lzx, units * unit);
            for number in [0, 1, 70_000, units - 1] {
                let mut buf = [0xA5; 2];
                assert_eq!(file.read_at(number * unit + 9, &mut buf).unwrap(), 2);
                assert_eq!(buf, [number as u8; 2], "{units} {number}");
            }
        }
    }

    #[test]
    fn a_table_that_cannot_be_is_corrupt() {
        let cases: [(&[u8], u64); 4] = [
            (b"", 9000),
            (&[0, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3], 9000),
            (&[9, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3], 9000),
            (&[1, 0, 0, 0xFF, 2, 0, 0, 0xFF, 1, 2, 3], 9000),
        ];
        for (stored, size) in cases {
            let file = file(BytesFile::new(stored.to_vec()), Algorithm::Xpress4K, size);
            for offset in [0, 4096, 8999] {
                let error = file.read_at(offset, &mut [0; 1]).unwrap_err();
                assert_eq!(error.kind(), FsErrorKind::Corrupt, "{stored:?} at {offset}");
            }
        }
    }
}
