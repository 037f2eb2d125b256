//! The file of an overlay, and the one that takes its place when it is compacted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
#[cfg(windows)]
use volfold_block::byte_count;
use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult};

use super::format::{Header, Salt};
use crate::process::{ImageFiles, is_at, open_writable};

/// The bits of a position that tell the place in the file; above them is the number of the file.
const PLACE_BITS: u32 = 56;

/// How often a file that was replaced between its open and its lock is opened again.
const TRIES: u32 = 8;

/// How often, and how far apart, a file that another export seems to have is tried.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file of an overlay.
pub(super) struct Sidecar {
    /// Its path, without links.
    path: PathBuf,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    /// Counts the files that took each other's place.
    number: u8,
    file: Arc<File>,
    salt: Salt,
}

/// Opens and locks the file at `path`.
///
/// # Errors
/// If it is no regular file or one of `images`, in use, or cannot be opened or made.
pub(super) fn open(path: &Path, images: &ImageFiles) -> io::Result<File> {
    let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "is in use by another export");
    for _ in 0..TRIES {
        #[cfg(windows)]
        aside::bring_back(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = open_writable(path, &mut options, images)?;
        if !is_ours_alone(&file) {
            return Err(busy());
        }
        // Who had it until now may have put another one in its place.
        if is_at(&file, path) {
            #[cfg(windows)]
            aside::clear(path);
            return Ok(file);
        }
    }
    Err(busy())
}

/// Locks `file`, unless another export has it.
fn is_ours_alone(file: &File) -> bool {
    let is_locked = || match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        // Where the host has no locks, two exports of one sidecar are the user's mistake.
        Err(TryLockError::Error(_)) | Ok(()) => true,
    };
    // A program that this process is starting has a copy of each open file until it runs, and with it
    // the lock of one that was closed here meanwhile.
    (0..LOCK_TRIES).any(|number| {
        if number > 0 {
            std::thread::sleep(LOCK_PAUSE);
        }
        is_locked()
    })
}

impl Sidecar {
    /// `file`, which `path` names.
    pub(super) fn new(path: &Path, file: File, salt: Salt) -> Self {
        // A link stays, and what it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let current = Current { number: 0, file: Arc::new(file), salt };
        Self { path, current: RwLock::new(current) }
    }

    fn current(&self) -> Current {
        self.current.read().clone()
    }

    /// Which of the files it is now. What was read from a position of another one failed.
    pub(super) fn number(&self) -> u8 {
        self.current.read().number
    }

    /// What records have in their checksums.
    pub(super) fn salt(&self) -> Salt {
        self.current.read().salt
    }

    /// The position, for reads of the device, of the byte at `place`.
    pub(super) fn position(&self, place: u64) -> u64 {
        place | (u64::from(self.number()) << PLACE_BITS)
    }

    /// The same of the file that will take the place of this one.
    pub(super) fn next_position(&self, place: u64) -> u64 {
        place | (u64::from(self.number().wrapping_add(1)) << PLACE_BITS)
    }

    /// Makes sure that what was written is there after a crash.
    ///
    /// # Errors
    /// If the host cannot write.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.current().file.sync_data()
    }

    /// Writes `bytes` at `place`.
    ///
    /// # Errors
    /// If the host cannot write.
    pub(super) fn write_at(&self, place: u64, bytes: &[u8]) -> io::Result<()> {
        write_at(&self.current().file, place, bytes)
    }

    /// Fills `buf` from `place`.
    ///
    /// # Errors
    /// If there are fewer bytes, or the host cannot read.
    pub(super) fn read_exact_at(&self, place: u64, buf: &mut [u8]) -> io::Result<()> {
        read_at(&self.current().file, place, buf)
    }

    /// Cuts what is at `end` and after it, so that nobody takes it for a record again.
    ///
    /// # Errors
    /// If the host does neither that, nor lets the begin be written over.
    pub(super) fn cut(&self, end: u64) -> io::Result<()> {
        let file = self.current().file;
        file.set_len(end).or_else(|_| write_at(&file, end, &[0; 64]))
    }

    /// A new file beside this one that is to take its place; locked.
    ///
    /// # Errors
    /// If the host makes none, or there is one that is not ours.
    pub(super) fn successor(&self) -> io::Result<(PathBuf, File)> {
        let mut name = self.path.file_name().unwrap_or_default().to_os_string();
        name.push(".compact");
        let path = self.path.with_file_name(name);
        // What a crash left. Whoever writes one has this file locked, which we have now.
        let is_ours = match File::open(&path) {
            Ok(mut left) => {
                let metadata = left.metadata()?;
                metadata.is_file() && (metadata.len() == 0 || Header::read(&mut left).is_ok())
            }
            Err(_) => false,
        };
        // Closed by now: on Windows the name of an open file is not free at once.
        if is_ours {
            std::fs::remove_file(&path)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(&path)?;
        file.set_permissions(self.current().file.metadata()?.permissions())?;
        if is_ours_alone(&file) {
            Ok((path, file))
        } else {
            Err(io::ErrorKind::ResourceBusy.into())
        }
    }

    /// Puts `file` at `path` in the place of this one. Positions that were given until now cannot be
    /// read any more.
    ///
    /// # Errors
    /// If the host does not; then this one stays.
    pub(super) fn replace(&self, path: &Path, file: File, salt: Salt) -> io::Result<()> {
        #[cfg(unix)]
        std::fs::rename(path, &self.path)?;
        #[cfg(windows)]
        std::fs::rename(path, &self.path).or_else(|_| aside::rename(path, &self.path))?;
        #[cfg(unix)]
        if let Some(folder) = self.path.parent() {
            // The name counts after a crash, whichever file it is; both hold what was flushed.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        let mut current = self.current.write();
        let number = current.number.wrapping_add(1);
        *current = Current { number, file: Arc::new(file), salt };
        #[cfg(windows)]
        aside::clear(&self.path);
        Ok(())
    }
}

/// Taking the place of an open file where Windows refuses that: on old versions, and on other file
/// systems than NTFS. An open file can be renamed there, so it steps aside first.
///
/// INVARIANT: one of the two is whole at any time. A crash in between leaves no file of the name, and
/// what stepped aside gets it back.
#[cfg(windows)]
mod aside {
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::Header;

    /// What a file is called while another one takes its name.
    fn place(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".before");
        path.with_file_name(name)
    }

    /// Whether there is one that is ours.
    fn is_ours(aside: &Path) -> bool {
        File::open(aside).is_ok_and(|mut file| Header::read(&mut file).is_ok())
    }

    /// Gives the file `from` the name `to`, whose file may be open.
    ///
    /// # Errors
    /// If the host does not; then `to` is what it was.
    pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
        let aside = place(to);
        if aside.exists() && !is_ours(&aside) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(to, &aside)?;
        std::fs::rename(from, to).inspect_err(|_| {
            // If this fails too, the next one that opens it does it.
            let _ = std::fs::rename(&aside, to);
        })
    }

    /// Ends a [`rename`] that a crash cut off.
    ///
    /// # Errors
    /// If the host does not; a new file must not take the name then.
    pub(super) fn bring_back(path: &Path) -> io::Result<()> {
        let aside = place(path);
        if path.try_exists()? || !aside.exists() {
            return Ok(());
        }
        match File::open(&aside).and_then(|mut file| Header::read(&mut file)) {
            Ok(_) => std::fs::rename(&aside, path),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(()),
            // One that is locked cannot be read: its owner is in the middle of it.
            Err(error) => Err(error),
        }
    }

    /// Removes what stepped aside, once the other one has the name and is locked.
    pub(super) fn clear(path: &Path) {
        let aside = place(path);
        if is_ours(&aside) {
            // If it stays, it is removed when the file is opened again.
            let _ = std::fs::remove_file(aside);
        }
    }
}

/// Writes `bytes` at `place` of `file`.
///
/// # Errors
/// If the host cannot write.
#[cfg(unix)]
pub(super) fn write_at(file: &File, place: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, place)
}

/// Writes `bytes` at `place` of `file`.
///
/// # Errors
/// If the host cannot write.
#[cfg(windows)]
pub(super) fn write_at(file: &File, mut place: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_write(file, bytes, place)?;
        place = place.saturating_add(byte_count(count));
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Fills `buf` from `place` of `file`.
///
/// # Errors
/// If there are fewer bytes, or the host cannot read.
#[cfg(unix)]
pub(super) fn read_at(file: &File, place: u64, buf: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, place)
}

/// Fills `buf` from `place` of `file`.
///
/// # Errors
/// If there are fewer bytes, or the host cannot read.
#[cfg(windows)]
pub(super) fn read_at(file: &File, mut place: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, buf, place)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        place = place.saturating_add(byte_count(count));
        buf = buf.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

/// The bytes of the file, at positions that [`Sidecar::position`] gave. Blocks that are changed lie in
/// it where they were written.
impl BlockDevice for Sidecar {
    fn size(&self) -> u64 {
        u64::MAX
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> BlockResult<()> {
        let Current { number, file, .. } = self.current();
        if position >> PLACE_BITS != u64::from(number) {
            let line = "the overlay was compacted while it was read";
            return Err(BlockError::new(BlockErrorKind::Io, line));
        }
        let place = position & ((1 << PLACE_BITS) - 1);
        Ok(read_at(&file, place, buf)?)
    }
}
