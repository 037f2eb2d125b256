//! What files of the host need on Unix.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use volfold_block::{Extent, FileId, byte_count};

/// No drive of Unix asks for whole sectors.
pub(super) fn is_drive(_path: &Path) -> bool {
    false
}

/// Whether there are bytes at positions in what `metadata` is of.
pub(super) fn has_bytes(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let file_type = metadata.file_type();
    file_type.is_file() || file_type.is_block_device()
}

/// The numbers of the file that `metadata` is of.
pub(super) fn file_id(metadata: &Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some(FileId { device: metadata.dev(), file: metadata.ino() })
}

/// How many files this process may have open; `None` where there is no limit.
pub(super) fn open_limit() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.and_then(|limit| usize::try_from(limit).ok())
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // A named pipe that came into the place of an image must not hang the open; the flag means
    // nothing for files and block devices.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

pub(super) fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.read_exact_at(buf, offset)
}

/// Fills all of `bufs` from `offset` with as few calls as the host allows.
pub(super) fn read_exact_vectored_at(
    file: &File,
    bufs: &mut [&mut [u8]],
    mut offset: u64,
) -> io::Result<()> {
    /// Every Unix takes as many at once.
    const AT_ONCE: usize = 16;
    for bufs in bufs.chunks_mut(AT_ONCE) {
        let mut slices: Vec<io::IoSliceMut<'_>> =
            bufs.iter_mut().map(|buf| io::IoSliceMut::new(buf)).collect();
        let mut rest = slices.as_mut_slice();
        io::IoSliceMut::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::preadv(file, rest, offset).map_err(io::Error::from) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    io::IoSliceMut::advance_slices(&mut rest, count);
                    offset = offset.saturating_add(byte_count(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Lets the host fetch `length` bytes from `offset` on.
pub(super) fn will_need(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(length) {
        // It is advice; reads tell what is wrong.
        let _ = rustix::fs::fadvise(file, offset, Some(length), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// Locks of Unix are advice; they keep no program from reading.
pub(super) fn is_locked(_error: &io::Error) -> bool {
    false
}

/// How the host says what is at `offset` of a sparse file; `None` where it cannot.
///
/// This moves the file's cursor, which nothing reads: every read has a position.
#[cfg(target_os = "linux")]
pub(super) fn extent(file: &File, offset: u64, size: u64) -> Option<Extent> {
    use rustix::fs::{SeekFrom, seek};

    use volfold_block::ExtentKind;

    let (kind, end) = match seek(file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => (ExtentKind::Zero, data),
        Ok(_) => (ExtentKind::Data, seek(file, SeekFrom::Hole(offset)).ok()?),
        // No data up to the end, if the host knows of holes at all; but a file that was cut short
        // has no end to speak of.
        Err(_) => {
            let hole_here = seek(file, SeekFrom::Hole(offset)).is_ok_and(|hole| hole == offset);
            if !hole_here || file.metadata().ok()?.len() < size {
                return None;
            }
            (ExtentKind::Zero, size)
        }
    };
    let length = end.min(size).checked_sub(offset).filter(|length| *length > 0)?;
    Some(Extent { kind, length })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn extent(_file: &File, _offset: u64, _size: u64) -> Option<Extent> {
    None
}

/// `path` as people write it.
pub(super) fn shown(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// The path of `path` without links.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// `reference` as a path of this host: `\` separates as well, since Windows wrote most images.
pub(super) fn host_path(reference: &Path) -> PathBuf {
    match reference.to_str() {
        Some(text) if text.contains('\\') => PathBuf::from(text.replace('\\', "/")),
        _ => reference.to_path_buf(),
    }
}

/// Whether the host may be asked what is at `reference`, where files of `folders` are allowed.
pub(super) fn may_ask<'a>(
    _folders: impl IntoIterator<Item = &'a PathBuf>,
    _reference: &Path,
) -> bool {
    true
}

/// Whether `name` can be the name of a file.
pub(super) fn is_plain(_name: &Path) -> bool {
    true
}
