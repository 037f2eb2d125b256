//! Open files, of which a process may have a limited number.
//!
//! A disk may be made of thousands of files. Those that are opened when half of what the host allows
//! is open are closed again, and opened for the time of a read; the last ones that were needed stay
//! open. Their names have to mean the same file then.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(unix)]
use crate::host::unix as os;
#[cfg(windows)]
use crate::host::windows as os;
use volfold_block::FileId;

/// LIMIT: files that stay open whatever the host allows.
const MAX_OPEN: usize = 4096;

/// LIMIT: files that stay open of those that are opened for a read.
const MAX_WARM: usize = 64;

/// How many files stay open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The files that were opened for a read, the last one last.
static WARM: Mutex<Vec<(u64, Arc<File>)>> = Mutex::new(Vec::new());

/// A file that is open whenever it is needed.
pub(super) enum Handle {
    /// It stays open.
    Open(File),
    /// It is opened when it is read.
    Parked {
        /// Its whole path.
        path: PathBuf,
        /// Which file it was.
        id: Option<FileId>,
        /// What the list of those that are open calls it.
        key: u64,
    },
}

impl Handle {
    /// The file at `path`, just opened, which the host calls `id`.
    pub(super) fn new(file: File, path: &Path, id: Option<FileId>) -> Self {
        let limit = os::open_limit().map_or(MAX_OPEN, |limit| (limit / 2).min(MAX_OPEN));
        if OPEN.load(Ordering::Relaxed) < limit {
            return Self::kept(file);
        }
        Self::parked(path, id).unwrap_or_else(|| Self::kept(file))
    }

    /// A file that stays open.
    pub(super) fn kept(file: File) -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self::Open(file)
    }

    /// The file at `path`, closed; `None` if it cannot be found again.
    fn parked(path: &Path, id: Option<FileId>) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = std::path::absolute(path).ok()?;
        Some(Self::Parked { path, id, key: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// What `use_file` does with the open file.
    ///
    /// # Errors
    /// Its own, or why the file cannot be opened again.
    pub(super) fn with<T>(&self, use_file: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Open(file) => use_file(file),
            Self::Parked { path, id, key } => use_file(&*reopened(path, *id, *key)?),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        match self {
            Self::Open(_) => drop(OPEN.fetch_sub(1, Ordering::Relaxed)),
            Self::Parked { key, .. } => warm(|files| files.retain(|(other, _)| other != key)),
        }
    }
}

/// Does `work` with the list of the files that were opened for a read.
fn warm<T>(work: impl FnOnce(&mut Vec<(u64, Arc<File>)>) -> T) -> T {
    work(&mut WARM.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The file `key` at `path`, open.
fn reopened(path: &Path, id: Option<FileId>, key: u64) -> io::Result<Arc<File>> {
    let found = warm(|files| {
        let place = files.iter().position(|(other, _)| *other == key)?;
        let entry = files.remove(place);
        let file = Arc::clone(&entry.1);
        files.push(entry);
        Some(file)
    });
    if let Some(file) = found {
        return Ok(file);
    }
    let file = Arc::new(os::open(path)?);
    if os::file_id(&file.metadata()?) != id {
        return Err(io::Error::other("another file has its name by now"));
    }
    // Those that go are closed after the list is free.
    let _old = warm(|files| {
        files.push((key, Arc::clone(&file)));
        let surplus = files.len().saturating_sub(MAX_WARM);
        files.drain(..surplus).collect::<Vec<_>>()
    });
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn text(handle: &Handle) -> io::Result<String> {
        handle.with(|mut file| {
            use std::io::Seek;
            let mut text = String::new();
            file.rewind()?;
            file.read_to_string(&mut text)?;
            Ok(text)
        })
    }

    #[test]
    fn a_parked_file_is_opened_for_each_read_and_has_to_be_the_same() {
        let name = format!("volfold-handle-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let handles: Vec<Handle> = (0..MAX_WARM * 2)
            .map(|number| {
                let path = folder.join(number.to_string());
                std::fs::write(&path, number.to_string()).unwrap();
                let id = os::file_id(&std::fs::metadata(&path).unwrap());
                Handle::parked(&path, id).unwrap()
            })
            .collect();
        for _ in 0..2 {
            for (number, handle) in handles.iter().enumerate() {
                assert_eq!(text(handle).unwrap(), number.to_string());
            }
        }
        assert!(warm(|files| files.len()) <= MAX_WARM);
        std::fs::remove_file(folder.join("0")).unwrap();
        assert!(text(&handles[0]).is_err());
        // Another file of that name, made while the old one still has its number.
        if cfg!(unix) {
            std::fs::write(folder.join("new"), "0").unwrap();
            std::fs::rename(folder.join("new"), folder.join("1")).unwrap();
            let error = text(&handles[1]).unwrap_err();
            assert_eq!(error.to_string(), "another file has its name by now");
        }
        drop(handles);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
