//! The content of files, piece by piece.

use volfold_fs::{FileData, FsError, FsResult};

/// Bytes read at once.
pub(crate) const PIECE: usize = 1 << 20;

/// The next piece of `file` at `offset`; a piece that is not whole before the end is an error.
pub(crate) fn read_piece<'a>(
    file: &dyn FileData,
    offset: u64,
    buf: &'a mut [u8],
) -> FsResult<&'a [u8]> {
    let wanted = file.size().saturating_sub(offset).min(buf.len() as u64) as usize;
    let count = file.read_at(offset, &mut buf[..wanted])?;
    if count < wanted {
        return Err(FsError::corrupt("content ends before the size of the file"));
    }
    Ok(&buf[..wanted])
}
