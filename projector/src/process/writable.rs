//! Files that are written: regular ones alone, and never an image.
//!
//! A path that a user gives may name a drive, a pipe, or the very image that is read, by another name
//! too. So what counts is what was opened, not what it is called.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use volfold_block::FileId;

#[cfg(unix)]
use super::unix as os;
#[cfg(windows)]
use super::windows as os;

/// The files that images are made of, none of which may be written.
#[derive(Clone, Debug, Default)]
pub struct ImageFiles(Vec<(PathBuf, Option<FileId>)>);

impl ImageFiles {
    /// The files at these paths, with their numbers where the host gave some.
    pub fn new(files: impl IntoIterator<Item = (PathBuf, Option<FileId>)>) -> Self {
        Self(files.into_iter().collect())
    }

    /// Whether `file` is one of them, whatever it is called.
    fn hold(&self, file: &File) -> bool {
        let own = os::file_id(file);
        self.0.iter().any(|(path, id)| {
            let id = id.or_else(|| os::id_at(path));
            id.is_some() && id == own
        })
    }
}

/// Opens the file at `path` as `options` say, which may create it but not empty it.
///
/// # Errors
/// `InvalidInput` if there is something else than a regular file, or one of `images`; then nothing of
/// it was changed. Otherwise why it cannot be opened.
pub fn open_writable(
    path: &Path,
    options: &mut OpenOptions,
    images: &ImageFiles,
) -> io::Result<File> {
    // Before the open, since to open some devices is to act on them; and after it, since the name
    // may mean another file by then.
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(not_a_file(path)),
        _ => {}
    }
    os::never_wait(options);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(not_a_file(path));
    }
    if images.hold(&file) {
        let line = "is an image that is read, and images are never written; take another file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, line));
    }
    Ok(file)
}

fn not_a_file(path: &Path) -> io::Error {
    let line = match path.is_dir() {
        true => "is a folder; give the path of a file in it",
        false => "is a device, pipe or socket, which is never written; take a regular file",
    };
    io::Error::new(io::ErrorKind::InvalidInput, line)
}

/// Whether `file` still is what `path` names.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let own = os::file_id(file);
    own.is_some() && os::id_at(path) == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_any_name_and_is_not_changed() {
        let name = format!("volfold-writable-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (image, other) = (folder.join("image"), folder.join("other"));
        std::fs::write(&image, b"image").unwrap();
        let _ = std::fs::remove_file(&other);
        std::fs::hard_link(&image, &other).unwrap();
        let id = os::file_id(&File::open(&image).unwrap());
        let write = |path: &Path, images: &ImageFiles| {
            open_writable(path, OpenOptions::new().write(true).create(true), images)
        };
        for id in [id, None] {
            let images = ImageFiles::new([(image.clone(), id)]);
            for path in [&image, &other] {
                let error = write(path, &images).unwrap_err();
                assert!(error.to_string().contains("never written"), "{error}");
            }
            assert!(write(&folder.join("new"), &images).is_ok());
        }
        assert!(write(&folder, &ImageFiles::default()).unwrap_err().to_string().contains("folder"));
        assert_eq!(std::fs::read(&image).unwrap(), b"image");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let pipe = std::env::temp_dir().join(format!("volfold-pipe-{}", std::process::id()));
        let _ = std::fs::remove_file(&pipe);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        for path in [pipe.as_path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
            if path.exists() {
                let mut options = OpenOptions::new();
                options.write(true).create(true);
                let error = open_writable(path, &mut options, &ImageFiles::default()).unwrap_err();
                assert!(error.to_string().contains("regular file"), "{error}");
            }
        }
        assert!(made.is_ok());
        std::fs::remove_file(pipe).unwrap();
    }
}
