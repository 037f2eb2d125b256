//! The file system traits, and what they speak of.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::Finding;

use crate::error::{FsError, FsErrorKind, FsResult};
pub use crate::time::Timestamp;

/// The file system's own number of a file or directory: an NTFS file record number, an inode
/// number. Stable while mounted, below 2^48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// One name of a directory entry: raw bytes for ext, WTF-8 for NTFS and FAT. Never a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// A name of these bytes.
    pub fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(bytes.as_ref())
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The name as text; what is not UTF-8 is replaced.
    pub fn to_text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// A position in a directory; `START` or what an entry gave as `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirCursor(pub u64);

impl DirCursor {
    /// Before the first entry.
    pub const START: Self = Self(0);
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link, or a junction.
    Symlink,
    /// A character device node.
    CharDevice,
    /// A block device node.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// The times of a node. What the file system does not keep is the modification time, or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Last change of the content.
    pub modified: Timestamp,
    /// Last read of the content.
    pub accessed: Timestamp,
    /// Last change of the metadata.
    pub changed: Timestamp,
    /// Creation.
    pub created: Option<Timestamp>,
}

/// The guest's own ownership of a node, where the file system has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
}

/// DOS attributes as FAT and NTFS write them (`FILE_ATTRIBUTE_*` of MS-FSCC 2.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u32);

/// What is known of a node without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The node itself.
    pub node: NodeId,
    /// Tells two files apart that had the same number at different times; 0 where unknown.
    pub generation: u64,
    /// What it is.
    pub kind: FileKind,
    /// The size of the content in bytes; of a link's target for links.
    pub size: u64,
    /// The bytes that the content takes on the volume. Programs take a file with none for one hole
    /// and do not read it, so 0 means that all of the content is zeros.
    pub allocated: u64,
    /// How many names it has. Directories: 2 and one for every sub-directory where the file system
    /// counts them, else 1.
    pub links: u32,
    /// Its times.
    pub times: Times,
    /// The guest's ownership.
    pub owner: Option<Owner>,
    /// Major and minor number of a device node.
    pub device: Option<(u32, u32)>,
    /// DOS attributes.
    pub attributes: Option<Attributes>,
    /// Why the content will be refused, where that is known without reading it.
    pub unreadable: Option<FsErrorKind>,
}

impl Metadata {
    /// An empty `node` of which nothing else is known, with one name.
    pub fn new(node: NodeId, kind: FileKind) -> Self {
        Self {
            node,
            generation: 0,
            kind,
            size: 0,
            allocated: 0,
            links: 1,
            times: Times::default(),
            owner: None,
            device: None,
            attributes: None,
            unreadable: None,
        }
    }
}

/// One entry of a directory, without `.` and `..`.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// The node it names.
    pub node: NodeId,
    /// What the node is.
    pub kind: FileKind,
    /// The node's metadata, when it came along cheaply.
    pub metadata: Option<&'a Metadata>,
    /// Where to go on after this entry.
    pub next: DirCursor,
}

/// Where a symbolic link leads, as bytes with `/` between the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget(pub Vec<u8>);

/// A directory that stands for another volume, or for a place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountedFolder {
    /// Its path from the root, with `/` before each part.
    pub path: Vec<u8>,
    /// What it stands for.
    pub target: LinkTarget,
}

/// The name of a data stream; the main one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StreamName(pub Vec<u8>);

impl StreamName {
    /// The main stream of a file.
    pub const MAIN: Self = Self(Vec::new());
}

/// An alternate stream of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: StreamName,
    /// Its size in bytes.
    pub size: u64,
}

/// How the file system compares names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseRule {
    /// Byte by byte.
    Sensitive,
    /// Without regard to case, kept as written.
    Insensitive,
}

/// What is known of a file system once it is mounted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FsInfo {
    /// The driver's id, or a closer name: `ntfs`, `fat32`, `ext4`.
    pub kind: &'static str,
    /// The volume label, `None` if empty.
    pub label: Option<String>,
    /// Serial number or UUID, as blkid writes it.
    pub uuid: Option<String>,
    /// How names compare.
    pub case: CaseRule,
    /// The allocation unit in bytes.
    pub cluster_size: u32,
    /// The size of the file system in bytes.
    pub size: u64,
    /// What is odd though readable.
    pub findings: Vec<Finding>,
}

impl FsInfo {
    /// A file system of `size` bytes without label and UUID, whose names compare byte by byte.
    pub fn new(kind: &'static str, cluster_size: u32, size: u64) -> Self {
        Self {
            kind,
            label: None,
            uuid: None,
            case: CaseRule::Sensitive,
            cluster_size,
            size,
            findings: Vec::new(),
        }
    }
}

/// How large a file system is, and how full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The allocation unit in bytes.
    pub block_size: u32,
    /// The size of the file system in bytes.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Nodes in all and free, where the file system has a fixed table.
    pub nodes: Option<(u64, u64)>,
}

impl Usage {
    /// The file system of `info` with `used` bytes in use.
    pub fn new(info: &FsInfo, used: u64) -> Self {
        Self { block_size: info.cluster_size, size: info.size, used, nodes: None }
    }
}

/// A mounted file system.
///
/// All calls take `&self` and may run at once.
pub trait FileSystem: Send + Sync {
    /// What is known of the file system as a whole.
    fn info(&self) -> &FsInfo;

    /// What is odd though readable: that of [`FsInfo::findings`], and what was noticed since, while
    /// files and directories were read.
    fn findings(&self) -> Vec<Finding> {
        self.info().findings.clone()
    }

    /// Compares what the volume records twice, over all of it, and gives each contradiction to
    /// `report`: a file system in order reports nothing. May read every structure of the volume,
    /// in memory of about a bit for each allocation unit and node; the content of files is not read.
    ///
    /// # Errors
    /// Why a structure that all of it depends on cannot be read; what else is damaged is reported.
    fn check(&self, _report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        Ok(())
    }

    /// How large it is, and how full. May read whole bitmaps.
    ///
    /// # Errors
    /// Why the tables cannot be read.
    fn usage(&self) -> FsResult<Usage>;

    /// The figures of the file system that `node` lies in; a tree of file systems has several.
    ///
    /// # Errors
    /// As [`FileSystem::usage`].
    fn statistics(&self, _node: NodeId) -> FsResult<Usage> {
        self.usage()
    }

    /// The root directory.
    fn root(&self) -> NodeId;

    /// The node that `name` names in `dir`, by the file system's own case rule.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or why the directory cannot be read.
    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId>;

    /// The metadata of `node`.
    ///
    /// # Errors
    /// `NotFound` for a number that is no node, or why it cannot be read.
    fn metadata(&self, node: NodeId) -> FsResult<Metadata>;

    /// Gives the entries of `dir` after `from` to `emit` until it breaks or the end is reached.
    /// The order is the same at every call.
    ///
    /// # Errors
    /// `NotADirectory`, or why the directory cannot be read.
    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()>;

    /// Where the link `node` leads.
    ///
    /// # Errors
    /// `NotALink`, or why it cannot be read.
    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget>;

    /// The directories that stand for other volumes or places of them, as far as the file system has a
    /// list of these; it may have some that are none by now, which are left out.
    ///
    /// # Errors
    /// Why the list cannot be read.
    fn mounted_folders(&self) -> FsResult<Vec<MountedFolder>> {
        Ok(Vec::new())
    }

    /// The alternate streams of `node`.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn streams(&self, _node: NodeId) -> FsResult<Vec<StreamInfo>> {
        Ok(Vec::new())
    }

    /// Whether nodes may have extended attributes. `true` where it is not known yet.
    fn has_extended_attributes(&self) -> bool {
        false
    }

    /// The names of what else is known of `node`: `system.` and a name for what the file system
    /// itself keeps, `user.` and a name for what programs wrote.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn extended_attributes(&self, _node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// The value of the extended attribute `name` of `node`.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Unsupported` if it is longer than 64 KiB, or why it cannot be
    /// read.
    fn extended_attribute(&self, _node: NodeId, _name: &[u8]) -> FsResult<Vec<u8>> {
        Err(FsError::new(FsErrorKind::NotFound, "no such extended attribute"))
    }

    /// Gives the files and directories that were deleted to `visit` until it breaks, as far as the volume
    /// still has their names, and says how many it met of which nothing more is left. May read every
    /// directory or file record.
    ///
    /// # Errors
    /// `Unsupported` where they are not looked for; why the structures cannot be read.
    fn deleted(&self, _visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>) -> FsResult<u64> {
        let kind = self.info().kind;
        Err(FsError::unsupported(format!("deleted files are not looked for in {kind}")))
    }

    /// The number that `node` has for tools of the file system: the record of NTFS, the inode. A view of a
    /// file system has nodes with other numbers.
    fn number(&self, node: NodeId) -> u64 {
        node.0
    }

    /// Opens the content of a file that [`Self::deleted`] gave as `node`.
    ///
    /// # Errors
    /// `NotFound` if it gives none that is called so; why the content is gone.
    fn open_deleted(&self, _node: NodeId) -> FsResult<Arc<dyn FileData>> {
        Err(FsError::not_found())
    }

    /// Where the link that [`Self::deleted`] gave as `node` led.
    ///
    /// # Errors
    /// `NotALink`, or why it cannot be read.
    fn read_deleted_link(&self, _node: NodeId) -> FsResult<LinkTarget> {
        Err(FsError::not_a_link())
    }

    /// Opens a stream of a file.
    ///
    /// # Errors
    /// `IsADirectory`, `Encrypted`, `Undecodable`, `NotFound` for a stream that is not there, or
    /// why it cannot be read.
    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>>;
}

/// What a run of bytes of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileExtentKind {
    /// Bytes on the volume.
    Data,
    /// Bytes that read as zero and take no place.
    Hole,
    /// Bytes that will be refused.
    Unreadable(FsErrorKind),
}

/// A run of bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileExtent {
    /// What the bytes are.
    pub kind: FileExtentKind,
    /// How many bytes from the offset asked for; at least 1 inside the file.
    pub length: u64,
}

/// A file or directory that was deleted.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// Where it was.
    pub parent: DeletedIn,
    /// Its name there.
    pub name: Vec<u8>,
    /// What is known of it. Its node is for [`FileSystem::open_deleted`] alone; `unreadable` says why its
    /// content is gone.
    pub metadata: Metadata,
}

/// The directory that a deleted file was in.
#[derive(Clone, Debug)]
pub enum DeletedIn {
    /// One that is there.
    Living(LivingPath),
    /// One that was deleted too, by the number that it was given with, or will be.
    Deleted(NodeId),
    /// It is not known any more.
    Unknown,
}

/// The names that lead from the root to a directory.
#[derive(Clone, Debug, Default)]
pub struct LivingPath(Option<Arc<(LivingPath, Vec<u8>)>>);

impl LivingPath {
    /// The directory `name` in this one.
    #[must_use]
    pub fn join(&self, name: impl Into<Vec<u8>>) -> Self {
        Self(Some(Arc::new((self.clone(), name.into()))))
    }

    /// The directory that it lies in, and its name; `None` for the root.
    pub fn split(&self) -> Option<(&Self, &[u8])> {
        self.0.as_deref().map(|(above, name)| (above, name.as_slice()))
    }

    /// Whether it is the same value, or a copy of it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// The names, the first one below the root.
    pub fn names(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = std::iter::successors(self.split(), |(above, _)| above.split())
            .map(|(_, name)| name)
            .collect();
        names.reverse();
        names
    }
}

/// The content of an open file; owns the file's run list.
pub trait FileData: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// The bytes of memory that the open file takes while it is kept, its run list included. What
    /// it keeps in caches that files share does not count.
    fn memory(&self) -> u64;

    /// Fills `buf` from `offset`, and says how much of it; less than all only at the end of the
    /// file.
    ///
    /// # Errors
    /// Why the bytes cannot be had; then none of `buf` counts.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize>;

    /// The kind of the bytes at `offset`, and how far they reach.
    ///
    /// # Errors
    /// `OutOfRange` at the end of the file and past it.
    fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        match self.size().checked_sub(offset) {
            None | Some(0) => Err(FsError::past_the_end(offset)),
            Some(length) => Ok(FileExtent { kind: FileExtentKind::Data, length }),
        }
    }
}
