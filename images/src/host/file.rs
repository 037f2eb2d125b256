//! One file of the host, as a device.

use std::fs::{File, Metadata};
use std::path::Path;

use crate::host::drive;
use crate::host::handle::Handle;
use crate::host::identity::FileIdentity;
#[cfg(unix)]
use crate::host::unix as os;
use crate::host::watch::Watch;
#[cfg(windows)]
use crate::host::windows as os;
#[cfg(unix)]
use volfold_block::total_length;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent, ExtentKind, FileFacts,
    check_range, data_to_the_end, is_kept,
};

/// A file, block device or drive of the host.
///
/// Opened for reading only, and shared with programs that write it. Once a file is written to, or
/// gets another size, its reads are `Io` errors: what they would give belongs to another disk, or to
/// the same at another time. The host is asked with each read whose bytes are kept, and otherwise
/// when its last answer is 5 ms old, or as old as 50 answers take. Devices and drives are not watched.
pub struct HostFile {
    file: Handle,
    pub(super) identity: FileIdentity,
    watch: Option<Watch>,
    size: u64,
    /// The sector size of a drive that gives whole sectors only.
    sector_size: Option<u32>,
    facts: FileFacts,
}

impl HostFile {
    /// Opens the file at `path` without the right to write.
    ///
    /// # Errors
    /// `MissingPart` if there is no such file, `Io` with the host's reason otherwise; `Unsupported`
    /// for a folder or a special file that has no size.
    pub fn open(path: &Path) -> BlockResult<Self> {
        if os::is_drive(path) {
            return Self::open_drive(path);
        }
        // Before the open, since to open some character devices is to act on them; and after it,
        // since the name may mean another file by then.
        check_type(&std::fs::metadata(path).map_err(cannot_open)?)?;
        let file = os::open(path).map_err(cannot_open)?;
        let metadata = file.metadata()?;
        check_type(&metadata)?;
        let watch = metadata.is_file().then(|| Watch::new(&metadata));
        let size = if metadata.is_file() { metadata.len() } else { device_size(&file)? };
        let modified = metadata.modified().ok().filter(|_| metadata.is_file());
        let facts = FileFacts { id: os::file_id(&metadata), size, modified };
        let identity = FileIdentity::of(facts.id, path);
        let file = Handle::new(file, path, facts.id);
        Ok(Self { file, identity, watch, size, sector_size: None, facts })
    }

    fn open_drive(path: &Path) -> BlockResult<Self> {
        let file = os::open(path).map_err(|error| {
            let sentence = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "cannot be opened; drives are read by administrators only"
                }
                _ => return cannot_open(error),
            };
            BlockError::new(BlockErrorKind::Io, sentence).because(error)
        })?;
        let (sector_size, size) =
            drive::measure(&|offset, buf| os::read_exact_at(&file, buf, offset))?;
        let identity = FileIdentity::of(None, path);
        let facts = FileFacts { id: None, size, modified: None };
        let (file, sector_size) = (Handle::kept(file), Some(sector_size));
        Ok(Self { file, identity, watch: None, size, sector_size, facts })
    }

    /// Does `read`, at `offset`: it fails if the file is no longer what was opened.
    fn read(
        &self,
        offset: u64,
        read: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> BlockResult<()> {
        let result = self.file.with(|file| {
            let done = read(file);
            // After the read, so that a change before it is seen; a failed one wants its reason.
            let is_urgent = done.is_err() || is_kept();
            let same = self.watch.as_ref().map_or(Ok(()), |watch| watch.check(file, is_urgent));
            Ok((done, same))
        });
        let (done, same) = result.map_err(|error| unreadable(error, offset))?;
        same.map_err(|error| error.at(offset))?;
        done.map_err(|error| unreadable(error, offset))
    }
}

fn cannot_open(error: std::io::Error) -> BlockError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => BlockErrorKind::MissingPart,
        _ => BlockErrorKind::Io,
    };
    let sentence = if os::is_locked(&error) {
        "is locked by another program; close it there, or open a copy or a snapshot"
    } else {
        "cannot be opened"
    };
    BlockError::new(kind, sentence).because(error)
}

/// Refuses what has no size: folders, pipes, sockets, character devices.
fn check_type(metadata: &Metadata) -> BlockResult<()> {
    if metadata.is_dir() {
        return Err(BlockError::unsupported("is a folder, not an image"));
    }
    if !os::has_bytes(metadata) {
        return Err(BlockError::unsupported("is neither a file nor a block device"));
    }
    Ok(())
}

/// The size of a block device.
fn device_size(file: &File) -> BlockResult<u64> {
    use std::io::{Seek, SeekFrom};
    let mut cursor = file;
    Ok(cursor.seek(SeekFrom::End(0))?)
}

impl BlockDevice for HostFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size.unwrap_or(512)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        self.read(offset, |file| {
            let read = |offset, buf: &mut [u8]| os::read_exact_at(file, buf, offset);
            match self.sector_size {
                None => read(offset, buf),
                Some(sector_size) => drive::read_sectors(sector_size, offset, buf, &read),
            }
        })
    }

    #[cfg(unix)]
    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        check_range(offset, total_length(bufs), self.size)?;
        self.read(offset, |file| os::read_exact_vectored_at(file, bufs, offset))
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        let data = data_to_the_end(offset, self.size)?;
        let asked = self.file.with(|file| {
            let Some(extent) = os::extent(file, offset, self.size) else { return Ok(data) };
            // Zeros are not read, so it is here that they have to be those of the file that was opened.
            let is_changed =
                || self.watch.as_ref().is_some_and(|watch| watch.check(file, true).is_err());
            let is_doubtful = extent.kind == ExtentKind::Zero && is_changed();
            Ok(if is_doubtful { data } else { extent })
        });
        // Where it cannot be opened again a read tells why.
        Ok(asked.unwrap_or(data))
    }

    fn will_need(&self, offset: u64, length: u64) {
        if let Handle::Open(file) = &self.file {
            os::will_need(file, offset, length);
        }
    }

    fn file_facts(&self) -> Option<FileFacts> {
        Some(self.facts)
    }
}

/// Why a read at `offset` failed.
fn unreadable(error: std::io::Error, offset: u64) -> BlockError {
    let sentence = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "file has become shorter while it was open",
        _ if os::is_locked(&error) => {
            "another program has locked a part of the file; close it there, or open a copy"
        }
        _ => "the host could not read",
    };
    BlockError::new(BlockErrorKind::Io, sentence).at(offset).because(error)
}
