//! What all formats that are written have in common.

use std::io;

/// The bytes that a file has or has not as a whole.
pub(super) const BLOCK: u64 = 64 << 10;

/// What a file format has to write.
pub(super) trait Writer {
    /// Writes block number `number`, the last one filled up with zeros. They come in order.
    fn block(&mut self, number: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes what is left, when all blocks were written.
    fn finish(&mut self) -> io::Result<()>;
}
