//! The footer of a stream-optimized extent: a second header, written when the stream is complete.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Stream-optimized compressed sparse extents".

use volfold_block::{BlockDevice, BlockError, BlockResult};

use crate::format::vmdk::header::{DirectoryPlace, HEADER_BYTES, MAGIC, SECTOR, SparseHeader};

/// The footer of a stream-optimized extent: a header in the last sector but one. `None` if there
/// is none, which is how a file that was cut short or padded looks.
///
/// # Errors
/// `Corrupt` if there is one that does not go with `header`.
pub(super) fn footer(
    file: &dyn BlockDevice,
    header: &SparseHeader,
) -> BlockResult<Option<SparseHeader>> {
    let Some(at) = file.size().checked_sub(2 * SECTOR).filter(|at| *at > 0) else {
        return Ok(None);
    };
    footer_at(file, at, header)
}

/// The footer at `at`, if there is one.
///
/// # Errors
/// As [`footer`].
pub(super) fn footer_at(
    file: &dyn BlockDevice,
    at: u64,
    header: &SparseHeader,
) -> BlockResult<Option<SparseHeader>> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(at, &mut bytes)?;
    if !bytes.starts_with(&MAGIC) {
        return Ok(None);
    }
    let footer = SparseHeader::parse(&bytes, at)?;
    let is_same = footer.capacity == header.capacity
        && footer.grain_size == header.grain_size
        && footer.compressed == header.compressed;
    if !is_same {
        let sentence = "footer of the sparse extent contradicts its header";
        return Err(BlockError::corrupt(sentence, at, 0));
    }
    Ok(match footer.directory {
        DirectoryPlace::At(_) => Some(footer),
        DirectoryPlace::InFooter => None,
    })
}
