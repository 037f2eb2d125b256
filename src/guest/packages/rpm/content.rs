//! The bytes of a database, within bounds.

use volfold_block::bytes_to_index;
use volfold_fs::{FileData, FsError, FsErrorKind, FsResult};

/// LIMIT: bytes of the header of one package; those of packages of 100,000 files have some 20 MiB.
const MAX_HEADER: u64 = 64 << 20;

/// The `count` bytes of `file` at `offset`.
///
/// # Errors
/// `Corrupt` if the file ends before them, or why they cannot be read.
pub(super) fn bytes_at(file: &dyn FileData, offset: u64, count: u64) -> FsResult<Vec<u8>> {
    let end = offset.checked_add(count);
    if end.is_none_or(|end| end > file.size()) {
        return Err(FsError::corrupt("database ends early").at(offset));
    }
    let mut bytes = vec![0; bytes_to_index(count)?];
    let read = file.read_at(offset, &mut bytes)?;
    if read < bytes.len() {
        return Err(FsError::corrupt("database ends early").at(offset));
    }
    Ok(bytes)
}

/// The bytes that the headers in a file may have: no more than the file, as no two share any.
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// LIMIT: `size`, that of the files that are read.
    pub(super) fn new(size: u64) -> Self {
        Self { left: size }
    }

    /// Takes the `count` bytes of a header, before there is memory for it.
    ///
    /// # Errors
    /// `Refused` if it is larger than is read; `Corrupt` if all have more bytes than their file.
    pub(super) fn take(&mut self, count: u64) -> FsResult<()> {
        if count > MAX_HEADER {
            let line = format!("package header has {count} bytes; at most {MAX_HEADER} are read");
            return Err(FsError::new(FsErrorKind::Refused, line));
        }
        self.left = self.left.checked_sub(count).ok_or_else(|| {
            FsError::corrupt("package headers have more bytes than their database")
        })?;
        Ok(())
    }
}
