//! The folder that files are extracted to.
//!
//! A file is written under a temporary name and gets its own when it is whole, so what stands under
//! a final name was never cut off.
//!
//! On Unix a handle, so that no name and no link can lead outside. On Windows the verbatim path
//! (`\\?\`): names are escaped and no link is entered, paths may be long, and shares are folders
//! too, of which handles there cannot tell the path.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::links::HostLink;
#[cfg(windows)]
use super::links::NotMade;

/// What temporary names begin and end with.
const TEMPORARY: (&str, &str) = (".volfold-", ".part");

/// A temporary name that this process has not used yet.
fn temporary_name() -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (begin, end) = TEMPORARY;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{begin}{}-{number}{end}", std::process::id()).into()
}

/// Whether `name` is one that a run may have left that was stopped.
fn is_temporary(name: &OsStr) -> bool {
    let (begin, end) = TEMPORARY;
    name.to_str().is_some_and(|name| name.starts_with(begin) && name.ends_with(end))
}

/// What stands under a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// A regular file of this size and modification time.
    File(u64, Option<SystemTime>),
    /// A folder.
    Folder,
    /// A link, or anything else.
    Other,
}

/// Whether a failed write means that all others will fail too: no space, quota, a read-only host.
pub(super) fn ends_all(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

impl Output {
    /// Gives the file `from` the name `to`, which nothing has.
    ///
    /// # Errors
    /// `AlreadyExists` if something has it: of two entries with one name none takes the place of
    /// the other.
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        /// For hosts whose file systems know no second names.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        match self.hard_link(Path::new(from), Path::new(to)) {
            Ok(()) => self.remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => {
                let _turn = ONE_AT_A_TIME.lock();
                match self.existing(to)? {
                    Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    None => self.rename(from, to),
                }
            }
        }
    }

    /// Whether names that differ in case only are one here.
    #[cfg(unix)]
    pub(super) fn ignores_case(&self) -> io::Result<bool> {
        let (name, _file) = self.create_temporary()?;
        let upper = self.existing(&name.to_ascii_uppercase());
        self.remove_file(&name)?;
        Ok(upper?.is_some())
    }

    /// A new file under a temporary name.
    pub(super) fn create_temporary(&self) -> io::Result<(OsString, File)> {
        loop {
            let name = temporary_name();
            match self.create_file(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (name, file)),
            }
        }
    }

    /// What stands at `path` below this folder.
    pub(super) fn existing_at(&self, path: &Path) -> Option<Existing> {
        let dir = self.below(path.parent()?).ok()?;
        dir.existing(path.file_name()?).ok().flatten()
    }

    /// The folder `name`, which may be there already if `merge` is.
    pub(super) fn enter(&self, name: &OsStr, merge: bool) -> io::Result<Self> {
        match self.create_dir(name) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && merge
                    && self.existing(name)? == Some(Existing::Folder) =>
            {
                self.below(Path::new(name))
            }
            other => other,
        }
    }
}

#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Output(cap_std::fs::Dir);

#[cfg(unix)]
impl Output {
    /// The folder at `path`, made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let authority = cap_std::ambient_authority();
        Ok(Self(cap_std::fs::Dir::open_ambient_dir(path, authority)?))
    }

    pub(super) fn is_empty(&self) -> io::Result<bool> {
        Ok(self.0.entries()?.next().is_none())
    }

    /// The folder at `path` below this one, made with all above it if it is not there.
    pub(super) fn below(&self, path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self(self.0.try_clone()?));
        }
        self.0.create_dir_all(path)?;
        Ok(Self(self.0.open_dir(path)?))
    }

    /// The folder `name`, which must be new.
    fn create_dir(&self, name: &OsStr) -> io::Result<Self> {
        self.0.create_dir(name)?;
        Ok(Self(self.0.open_dir(name)?))
    }

    /// What stands under `name`.
    pub(super) fn existing(&self, name: &OsStr) -> io::Result<Option<Existing>> {
        match self.0.symlink_metadata(name) {
            Ok(metadata) if metadata.is_file() => {
                let time = metadata.modified().ok().map(cap_std::time::SystemTime::into_std);
                Ok(Some(Existing::File(metadata.len(), time)))
            }
            Ok(metadata) if metadata.is_dir() => Ok(Some(Existing::Folder)),
            Ok(_) => Ok(Some(Existing::Other)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the file `from` the name `to`, which takes the place of what had it.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.0.rename(from, &self.0, to)
    }

    /// Where the link `name` leads.
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(self.0.read_link_contents(name)?.into_os_string())
    }

    /// Removes what a run left that was stopped.
    pub(super) fn remove_temporary(&self) -> io::Result<()> {
        for entry in self.0.entries()? {
            let name = entry?.file_name();
            if is_temporary(&name) {
                self.0.remove_file(&name)?;
            }
        }
        Ok(())
    }

    /// The file `name`, which must be new.
    fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let mut options = cap_std::fs::OpenOptions::new();
        let file = self.0.open_with(name, options.write(true).create_new(true))?;
        Ok(file.into_std())
    }

    pub(super) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        self.0.remove_file(name)
    }

    /// Makes `second` another name of `first`.
    pub(super) fn hard_link(&self, first: &Path, second: &Path) -> io::Result<()> {
        self.0.hard_link(first, &self.0, second)
    }

    /// Makes the symbolic link `name`, wherever it leads.
    pub(super) fn symlink(&self, name: &OsStr, link: &HostLink) -> io::Result<()> {
        self.0.symlink_contents(Path::new(&link.text), name)
    }

    /// The folder at `path` below this one, to set what it has.
    pub(super) fn open_folder(&self, path: &Path) -> io::Result<File> {
        Ok(self.0.open_dir(path)?.open(".")?.into_std())
    }

    /// Sets the times of the folder at `path` below this one.
    pub(super) fn set_times(&self, path: &Path, times: FileTimes) -> io::Result<()> {
        // The handle of a `Dir` is for finding names only; times need one to read from.
        self.open_folder(path)?.set_times(times)
    }
}

#[cfg(windows)]
#[derive(Debug)]
pub(super) struct Output(std::path::PathBuf);

#[cfg(windows)]
impl Output {
    /// The folder at `path`, made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let real = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
        if !real.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(real))
    }

    pub(super) fn is_empty(&self) -> io::Result<bool> {
        Ok(std::fs::read_dir(&self.0)?.next().is_none())
    }

    /// The folder at `path` below this one, made with all above it if it is not there.
    pub(super) fn below(&self, path: &Path) -> io::Result<Self> {
        // INVARIANT: links lie as deep below the folder as in the guest, or they would lead out of it;
        // so no folder is entered through a link.
        let mut inner = self.0.clone();
        for part in path.components() {
            inner.push(part);
            match std::fs::symlink_metadata(&inner) {
                Ok(facts) if facts.is_symlink() => {
                    return Err(io::Error::other(format!("{}: is a link", inner.display())));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir(&inner)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self(inner))
    }

    /// The folder `name`, which must be new.
    fn create_dir(&self, name: &OsStr) -> io::Result<Self> {
        let inner = self.0.join(name);
        std::fs::create_dir(&inner)?;
        Ok(Self(inner))
    }

    /// What stands under `name`.
    pub(super) fn existing(&self, name: &OsStr) -> io::Result<Option<Existing>> {
        match std::fs::symlink_metadata(self.0.join(name)) {
            Ok(metadata) if metadata.is_file() => {
                Ok(Some(Existing::File(metadata.len(), metadata.modified().ok())))
            }
            Ok(metadata) if metadata.is_dir() => Ok(Some(Existing::Folder)),
            Ok(_) => Ok(Some(Existing::Other)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the file `from` the name `to`, which takes the place of what had it.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    /// Where the link `name` leads.
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(std::fs::read_link(self.0.join(name))?.into_os_string())
    }

    /// Removes what a run left that was stopped.
    pub(super) fn remove_temporary(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            if is_temporary(&entry.file_name()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The file `name`, which must be new.
    fn create_file(&self, name: &OsStr) -> io::Result<File> {
        File::create_new(self.0.join(name))
    }

    /// Removes the file or link `name`.
    pub(super) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        use std::os::windows::fs::FileTypeExt;
        let path = self.0.join(name);
        match std::fs::symlink_metadata(&path)?.file_type().is_symlink_dir() {
            true => std::fs::remove_dir(path),
            false => std::fs::remove_file(path),
        }
    }

    /// Makes `second` another name of `first`.
    pub(super) fn hard_link(&self, first: &Path, second: &Path) -> io::Result<()> {
        std::fs::hard_link(self.0.join(first), self.0.join(second))
    }

    /// Makes the symbolic link `name`, wherever it leads.
    pub(super) fn symlink(&self, name: &OsStr, link: &HostLink) -> io::Result<()> {
        use std::os::windows::fs::{symlink_dir, symlink_file};
        let path = self.0.join(name);
        match link.is_to_folder {
            true => symlink_dir(&link.text, &path)?,
            false => symlink_file(&link.text, &path)?,
        }
        // QUIRK: wine 8 says that it made one and makes none.
        match std::fs::symlink_metadata(&path) {
            Ok(made) if made.is_symlink() => Ok(()),
            _ => Err(NotMade.into()),
        }
    }

    /// Sets the times of the folder at `path` below this one.
    pub(super) fn set_times(&self, path: &Path, times: FileTimes) -> io::Result<()> {
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
