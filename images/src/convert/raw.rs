//! The bytes of the disk as they are.

use std::io::{self, Seek, SeekFrom, Write};

use super::writer::{BLOCK, Writer};
use volfold_block::byte_count;

/// Writes blocks where they belong; what lies between becomes a hole.
pub(super) struct RawWriter<'a, W> {
    out: &'a mut W,
    size: u64,
    /// Where the bytes end that were written.
    end: u64,
}

impl<'a, W: Write + Seek> RawWriter<'a, W> {
    pub(super) fn new(out: &'a mut W, size: u64) -> Self {
        Self { out, size, end: 0 }
    }
}

impl<W: Write + Seek> Writer for RawWriter<'_, W> {
    fn block(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let at = number.saturating_mul(BLOCK);
        if at != self.end {
            self.out.seek(SeekFrom::Start(at))?;
        }
        self.out.write_all(bytes)?;
        self.end = at.saturating_add(byte_count(bytes.len()));
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        // The last byte gives the file its size.
        if let Some(last) = self.size.checked_sub(1)
            && self.end < self.size
        {
            self.out.seek(SeekFrom::Start(last))?;
            self.out.write_all(&[0])?;
        }
        self.out.flush()
    }
}
