//! Files of the host, opened read-only and shared.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

#[cfg(windows)]
use crate::bytes::byte_count;
use crate::device::{BlockDevice, Extent, check_range, data_to_the_end};
use crate::error::{BlockError, BlockErrorKind, BlockResult};
use crate::locator::{Located, Locator};

/// A file or block device of the host.
///
/// Opened for reading only. Its size is taken once; a file that shrinks later gives `Io` to the
/// reads that need the lost bytes.
pub struct HostFile {
    file: File,
    size: u64,
}

impl HostFile {
    /// Opens the file at `path` without the right to write.
    ///
    /// # Errors
    /// `MissingPart` if there is no such file, `Io` with the host's reason otherwise; `Unsupported`
    /// for a folder or a special file that has no size.
    pub fn open(path: &Path) -> BlockResult<Self> {
        let file = open_shared(path).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => BlockErrorKind::MissingPart,
                _ => BlockErrorKind::Io,
            };
            BlockError::new(kind, "cannot be opened").because(error)
        })?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(BlockError::unsupported("is a folder, not an image"));
        }
        let size = if metadata.is_file() {
            metadata.len()
        } else {
            device_size(&file)?
        };
        Ok(Self { file, size })
    }
}

#[cfg(unix)]
fn open_shared(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // A named pipe in the place of an image must not hang the open; O_NONBLOCK means nothing for
    // files and block devices.
    const O_NONBLOCK: i32 = 0o4000;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
}

#[cfg(windows)]
fn open_shared(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// The size of a block device. Pipes, sockets and character devices have none.
fn device_size(file: &File) -> BlockResult<u64> {
    use std::io::{Seek, SeekFrom};
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if !file.metadata()?.file_type().is_block_device() {
            return Err(BlockError::unsupported(
                "is neither a file nor a block device",
            ));
        }
    }
    let mut cursor = file;
    Ok(cursor.seek(SeekFrom::End(0))?)
}

#[cfg(unix)]
fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.read_exact_at(buf, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buf: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buf.is_empty() {
        let count = file.seek_read(buf, offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buf = buf.get_mut(count..).unwrap_or_default();
        offset = offset.saturating_add(byte_count(count));
    }
    Ok(())
}

impl BlockDevice for HostFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        read_exact_at(&self.file, buf, offset).map_err(|error| {
            let sentence = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "file has become shorter while it was open",
                _ => "the host could not read",
            };
            BlockError::new(BlockErrorKind::Io, sentence)
                .at(offset)
                .because(error)
        })
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        data_to_the_end(offset, self.size)
    }
}

/// The default policy: files beside the image, and below folders that the user named.
pub struct HostLocator {
    /// The folder of the file whose references are resolved.
    beside: PathBuf,
    allowed: Arc<[PathBuf]>,
}

impl HostLocator {
    /// The policy for the references in the image at `image`. References may leave its folder only
    /// into the folders `allowed`, which must exist.
    ///
    /// # Errors
    /// `Io` if one of the folders cannot be resolved.
    pub fn new(image: &Path, allowed: &[PathBuf]) -> BlockResult<Self> {
        let canonical = |path: &Path| {
            std::fs::canonicalize(path).map_err(|error| {
                BlockError::new(
                    BlockErrorKind::Io,
                    format!("folder {} cannot be resolved", path.display()),
                )
                .because(error)
            })
        };
        let beside = canonical(parent_folder(image))?;
        let allowed = allowed
            .iter()
            .map(|path| canonical(path))
            .collect::<BlockResult<_>>()?;
        Ok(Self { beside, allowed })
    }

    fn permits(&self, path: &Path) -> bool {
        path.parent() == Some(&self.beside)
            || self.allowed.iter().any(|folder| path.starts_with(folder))
    }
}

fn parent_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Opens the image at `path`, which the user named, with the default policy for what it names.
///
/// # Errors
/// As [`HostFile::open`] and [`HostLocator::new`].
pub fn open_image_file(path: &Path, allowed: &[PathBuf]) -> BlockResult<Located> {
    let device = Arc::new(HostFile::open(path)?);
    // A link to an image stands for the image: its parts lie beside the real file.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let files = Arc::new(HostLocator::new(&real, allowed)?);
    Ok(Located {
        device,
        name: path.display().to_string(),
        files,
    })
}

/// `reference` as a path of this host: `\` separates as well, since Windows wrote most images.
fn host_path(reference: &Path) -> PathBuf {
    match reference.to_str() {
        Some(text) if cfg!(unix) && text.contains('\\') => PathBuf::from(text.replace('\\', "/")),
        _ => reference.to_path_buf(),
    }
}

impl Locator for HostLocator {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let wanted = host_path(reference);
        let mut candidates = vec![self.beside.join(&wanted)];
        // An absolute path of another machine usually means the file beside the image.
        if let Some(name) = wanted.file_name()
            && wanted
                .components()
                .any(|part| !matches!(part, Component::CurDir))
        {
            candidates.push(self.beside.join(name));
            candidates.extend(self.allowed.iter().map(|folder| folder.join(name)));
        }
        let shown = reference.display();
        let mut refused = None;
        for candidate in candidates {
            // Links are resolved before the policy looks, so none can lead outside.
            let Ok(real) = std::fs::canonicalize(&candidate) else {
                continue;
            };
            if !self.permits(&real) {
                refused = Some(real);
                continue;
            }
            let device = Arc::new(HostFile::open(&real)?);
            let beside = parent_folder(&real).to_path_buf();
            let files = Arc::new(Self {
                beside,
                allowed: self.allowed.clone(),
            });
            return Ok(Located {
                device,
                name: real.display().to_string(),
                files,
            });
        }
        Err(match refused {
            Some(real) => BlockError::refused(format!(
                "image names {}, which is outside its folder; allow it with --allow-path {}",
                real.display(),
                parent_folder(&real).display()
            )),
            None => BlockError::missing(format!("{shown} is missing; put it beside the image")),
        })
    }
}
