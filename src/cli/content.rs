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

/// The bytes of `file` from `offset` on, up to the end of `buf`, of the file, or of what can be
/// read: then with the error. A piece that fails is read again in halves, down to one sector.
pub(crate) fn read_as_far_as_possible<'a>(
    file: &dyn FileData,
    offset: u64,
    buf: &'a mut [u8],
) -> (&'a [u8], Option<FsError>) {
    const SECTOR: usize = 512;
    let mut done = 0;
    let mut step = buf.len();
    let mut error = None;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(done as u64);
        let length = step.min(rest.len());
        match read_piece(file, at, &mut rest[..length]) {
            Ok([]) => break,
            Ok(piece) => done += piece.len(),
            Err(_) if step > SECTOR => step = (step / 2).max(SECTOR),
            Err(found) => {
                error = Some(found);
                break;
            }
        }
    }
    (&buf[..done], error)
}
