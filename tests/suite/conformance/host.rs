//! A folder of the host as a [`FileSystem`], so that the suite can be run on a mount.
//!
//! A node's number is what `stat` and `readdir` call the inode. If a mount gave two files one
//! number, or one file two, the suite would see a wrong node.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{Dir, OFlags, SeekFrom};
use rustix::io::Errno;
use volfold_fs::{
    CaseRule, DirCursor, DirEntry, FileData, FileExtent, FileExtentKind, FileKind, FileSystem,
    FsError, FsErrorKind, FsInfo, FsResult, LinkTarget, Metadata, Name, NodeId, Reason, StreamName,
    Times, Timestamp, Usage,
};

/// A folder of the host.
pub(crate) struct HostFolder {
    info: FsInfo,
    root: NodeId,
    paths: Mutex<HashMap<NodeId, PathBuf>>,
}

impl HostFolder {
    pub(crate) fn open(folder: &Path, case: CaseRule) -> io::Result<Self> {
        let root = NodeId(fs::symlink_metadata(folder)?.ino());
        let mut info = FsInfo::new("host", 4096, 0);
        info.case = case;
        let paths = Mutex::new(HashMap::from([(root, folder.to_path_buf())]));
        Ok(Self { info, root, paths })
    }

    fn path(&self, node: NodeId) -> FsResult<PathBuf> {
        let paths = self.paths.lock().expect("paths");
        paths.get(&node).cloned().ok_or_else(FsError::not_found)
    }

    fn remember(&self, node: NodeId, path: PathBuf) {
        self.paths.lock().expect("paths").entry(node).or_insert(path);
    }
}

/// The error of the trait for the host's; codes are lost on the way.
fn convert(error: &io::Error) -> FsError {
    let kind = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => FsErrorKind::NotFound,
        Some(Errno::NOTDIR) => FsErrorKind::NotADirectory,
        Some(Errno::ISDIR) => FsErrorKind::IsADirectory,
        Some(Errno::NAMETOOLONG) => FsErrorKind::InvalidName,
        Some(Errno::NOKEY) => FsErrorKind::Encrypted,
        Some(Errno::OPNOTSUPP) => FsErrorKind::Undecodable(Reason::UNSUPPORTED_LAYOUT),
        Some(Errno::UCLEAN) => FsErrorKind::Corrupt,
        Some(Errno::NXIO) => FsErrorKind::OutOfRange,
        _ => FsErrorKind::Io,
    };
    FsError::new(kind, error.to_string())
}

fn convert_errno(error: Errno) -> FsError {
    convert(&error.into())
}

fn kind_of(kind: fs::FileType) -> FileKind {
    match kind {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        kind if kind.is_char_device() => FileKind::CharDevice,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        kind if kind.is_fifo() => FileKind::Fifo,
        kind if kind.is_socket() => FileKind::Socket,
        _ => FileKind::Regular,
    }
}

fn kind_of_entry(kind: rustix::fs::FileType) -> FileKind {
    match kind {
        rustix::fs::FileType::Directory => FileKind::Directory,
        rustix::fs::FileType::Symlink => FileKind::Symlink,
        rustix::fs::FileType::CharacterDevice => FileKind::CharDevice,
        rustix::fs::FileType::BlockDevice => FileKind::BlockDevice,
        rustix::fs::FileType::Fifo => FileKind::Fifo,
        rustix::fs::FileType::Socket => FileKind::Socket,
        _ => FileKind::Regular,
    }
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).expect("nanoseconds") }
}

impl FileSystem for HostFolder {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        Ok(Usage::default())
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'/') || bytes.contains(&0) {
            return Err(FsError::new(FsErrorKind::InvalidName, "no name of the host"));
        }
        let path = self.path(dir)?.join(OsStr::from_bytes(bytes));
        let node = NodeId(fs::symlink_metadata(&path).map_err(|error| convert(&error))?.ino());
        self.remember(node, path);
        Ok(node)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        let found = fs::symlink_metadata(self.path(node)?).map_err(|error| convert(&error))?;
        let kind = kind_of(found.file_type());
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let mut metadata = Metadata::new(NodeId(found.ino()), kind);
        metadata.size = found.size();
        metadata.allocated = found.blocks() * 512;
        metadata.links = u32::try_from(found.nlink()).expect("links");
        metadata.times = Times {
            modified: timestamp(found.mtime(), found.mtime_nsec()),
            accessed: timestamp(found.atime(), found.atime_nsec()),
            changed: timestamp(found.ctime(), found.ctime_nsec()),
            created: None,
        };
        metadata.device =
            is_device.then(|| (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())));
        Ok(metadata)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let folder = self.path(dir)?;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
            .open(&folder)
            .map_err(|error| convert(&error))?;
        let mut listing = Dir::new(opened).map_err(convert_errno)?;
        if from != DirCursor::START {
            listing.seek(from.0.cast_signed()).map_err(convert_errno)?;
        }
        for entry in listing {
            let entry = entry.map_err(convert_errno)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let node = NodeId(entry.ino());
            self.remember(node, folder.join(OsStr::from_bytes(name)));
            let flow = emit(DirEntry {
                name: Name::new(name),
                node,
                kind: kind_of_entry(entry.file_type()),
                metadata: None,
                next: DirCursor(entry.offset().cast_unsigned()),
            });
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        match fs::read_link(self.path(node)?) {
            Ok(target) => Ok(LinkTarget(target.into_os_string().into_vec())),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                Err(FsError::not_a_link())
            }
            Err(error) => Err(convert(&error)),
        }
    }

    fn open(&self, node: NodeId, _stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(self.path(node)?)
            .map_err(|error| convert(&error))?;
        let found = file.metadata().map_err(|error| convert(&error))?;
        if found.is_dir() {
            // The kernel opens directories, and refuses to read them.
            file.read_at(&mut [0], 0).map_err(|error| convert(&error))?;
        }
        Ok(Arc::new(HostFile { file, size: found.len() }))
    }
}

struct HostFile {
    file: File,
    size: u64,
}

impl FileData for HostFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn memory(&self) -> u64 {
        size_of::<Self>() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let mut count = 0;
        while count < buf.len() {
            match self.file.read_at(&mut buf[count..], offset + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) => return Err(convert(&error)),
            }
        }
        Ok(count)
    }

    fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        let seek = |from| rustix::fs::seek(&self.file, from);
        let (kind, end) = match seek(SeekFrom::Data(offset)) {
            Ok(data) if data == offset => {
                (FileExtentKind::Data, seek(SeekFrom::Hole(offset)).map_err(convert_errno)?)
            }
            Ok(data) => (FileExtentKind::Hole, data),
            Err(Errno::NXIO) if offset < self.size => (FileExtentKind::Hole, self.size),
            Err(error) => return Err(convert_errno(error)),
        };
        Ok(FileExtent { kind, length: end - offset })
    }
}
