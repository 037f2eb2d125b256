//! The folder that files are extracted to.
//!
//! On Unix a handle, so that no name and no link can lead outside. On Windows the verbatim path
//! (`\\?\`): names are escaped and no links are made, paths may be long, and shares are folders
//! too, of which handles there cannot tell the path.

use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;

#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Output(cap_std::fs::Dir);

#[cfg(unix)]
impl Output {
    /// The folder at `path`, made if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let authority = cap_std::ambient_authority();
        Ok(Self(cap_std::fs::Dir::open_ambient_dir(path, authority)?))
    }

    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        Ok(self.0.entries()?.next().is_none())
    }

    /// The folder at `path` below this one, made with all above it if it is not there.
    pub(crate) fn below(&self, path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self(self.0.try_clone()?));
        }
        self.0.create_dir_all(path)?;
        Ok(Self(self.0.open_dir(path)?))
    }

    /// The folder `name`, which must be new.
    pub(crate) fn create_dir(&self, name: &OsStr) -> io::Result<Self> {
        self.0.create_dir(name)?;
        Ok(Self(self.0.open_dir(name)?))
    }

    /// The file `name`, which must be new.
    pub(crate) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let mut options = cap_std::fs::OpenOptions::new();
        let file = self.0.open_with(name, options.write(true).create_new(true))?;
        Ok(file.into_std())
    }

    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        self.0.remove_file(name)
    }

    /// Makes `second` another name of `first`.
    pub(crate) fn hard_link(&self, first: &Path, second: &Path) -> io::Result<()> {
        self.0.hard_link(first, &self.0, second)
    }

    /// Makes the symbolic link `name` to `target`, whatever that is.
    pub(crate) fn symlink(&self, name: &OsStr, target: &[u8]) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        self.0.symlink_contents(Path::new(OsStr::from_bytes(target)), name)
    }

    /// Sets the times of the folder at `path` below this one.
    pub(crate) fn set_times(&self, path: &Path, times: FileTimes) -> io::Result<()> {
        // The handle of a `Dir` is for finding names only; times need one to read from.
        self.0.open_dir(path)?.open(".")?.into_std().set_times(times)
    }
}

#[cfg(windows)]
#[derive(Debug)]
pub(crate) struct Output(std::path::PathBuf);

#[cfg(windows)]
impl Output {
    /// The folder at `path`, made if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let real = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
        if !real.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(real))
    }

    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        Ok(std::fs::read_dir(&self.0)?.next().is_none())
    }

    /// The folder at `path` below this one, made with all above it if it is not there.
    pub(crate) fn below(&self, path: &Path) -> io::Result<Self> {
        let inner = self.0.join(path);
        std::fs::create_dir_all(&inner)?;
        Ok(Self(inner))
    }

    /// The folder `name`, which must be new.
    pub(crate) fn create_dir(&self, name: &OsStr) -> io::Result<Self> {
        let inner = self.0.join(name);
        std::fs::create_dir(&inner)?;
        Ok(Self(inner))
    }

    /// The file `name`, which must be new.
    pub(crate) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        File::create_new(self.0.join(name))
    }

    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    /// Makes `second` another name of `first`.
    pub(crate) fn hard_link(&self, first: &Path, second: &Path) -> io::Result<()> {
        std::fs::hard_link(self.0.join(first), self.0.join(second))
    }

    /// No links are made: they need a right that few users have, and lead anywhere.
    pub(crate) fn symlink(&self, _name: &OsStr, _target: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sets the times of the folder at `path` below this one.
    pub(crate) fn set_times(&self, path: &Path, times: FileTimes) -> io::Result<()> {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
        // Without it Windows opens no folder.
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        let folder = std::fs::OpenOptions::new()
            .access_mode(FILE_WRITE_ATTRIBUTES)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(self.0.join(path))?;
        folder.set_times(times)
    }
}
