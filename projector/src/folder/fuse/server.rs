//! The requests of the kernel, answered from a [`FileSystem`].
//!
//! Nothing changes while mounted, so every answer may be kept for ever: entries, attributes, data,
//! listings, links and the absence of names. Where the kernel can do without (Linux 5.1 and later),
//! `open` and `opendir` are answered with `ENOSYS`, after which it does not ask again. No state is
//! kept for an open file but its decoded run list, in a cache of bounded bytes.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr,
    Request,
};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use volfold_block::{ReadBuffer, error_chain, guard};
use volfold_fs::links::{Guest, VolumeNames};
use volfold_fs::{
    DirCursor, DirEntry, FileData, FileExtentKind, FileKind, FileSystem, FsError, FsErrorKind,
    FsResult, Metadata, Name, NodeId, StreamName, Timestamp, VolumeTree,
};

use super::places::{Places, shown};
use crate::folder::links::link_text;
use crate::folder::names;
use crate::folder::projector::{Links, MountOptions, Ownership};
use crate::folder::status::errno;
use crate::fuse_session::{FOREVER, MAX_LOG_LINES, MAX_READ};
use crate::log::Log;

/// LIMIT: bytes of decoded run lists that are kept for files that were read.
const OPEN_FILES: u64 = 16 << 20;

/// LIMIT: bytes of an extended attribute or of a list of them, and of a name: those of Linux.
const MAX_ATTRIBUTE: u32 = 64 << 10;
const MAX_NAME: usize = 255;

/// LIMIT: extents that one `SEEK_DATA` or `SEEK_HOLE` looks at. A stripe tells of one chunk at a time.
const MAX_SEEK_EXTENTS: u32 = 1 << 16;

/// The stream in which Windows keeps a compressed file; the content that is shown is made of it, and
/// Windows itself does not list it.
const WOF_STREAM: &[u8] = b"user.WofCompressedData";

/// What NTFS itself keeps; `getfattr -n` gives it.
const NTFS: &[u8] = b"system.ntfs_";

/// The offsets of `.` and `..` in a directory; entries follow.
const DOTS: u64 = 2;

/// What file content is cached by: the bytes its run list takes.
#[derive(Clone)]
struct ByRunList;

impl Weighter<NodeId, Arc<dyn FileData>> for ByRunList {
    fn weight(&self, _node: &NodeId, file: &Arc<dyn FileData>) -> u64 {
        const OVERHEAD: u64 = 192;
        file.memory().saturating_add(OVERHEAD)
    }
}

/// Answers the requests for one mount.
pub(super) struct Server {
    tree: Arc<VolumeTree>,
    /// That of the tree, or of the volume that is shown alone.
    root: NodeId,
    files: Cache<NodeId, Arc<dyn FileData>, ByRunList>,
    ownership: Ownership,
    links: Links,
    /// What links call the volumes.
    volumes: VolumeNames,
    places: Places,
    uid: u32,
    gid: u32,
    log: Log,
    logged: AtomicU32,
    /// What the kernel can do without asking.
    kernel_capabilities: InitFlags,
}

thread_local! {
    /// The bytes of one reply; grows to the largest read and stays.
    static REPLY: RefCell<ReadBuffer> = RefCell::default();
}

impl Server {
    /// Answers for what is below `root` of `tree`, which is the root of the tree or of a volume.
    pub(super) fn new(tree: Arc<VolumeTree>, root: NodeId, options: &MountOptions) -> Self {
        Self {
            root,
            tree,
            files: Cache::with_weighter(4096, OPEN_FILES, ByRunList),
            ownership: options.ownership,
            links: options.links,
            volumes: options.volumes.clone(),
            places: Places::new(root),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            log: options.log.clone(),
            logged: AtomicU32::new(0),
            kernel_capabilities: InitFlags::empty(),
        }
    }

    /// The kernel's root is 1, whatever the tree's is; then the tree's node 1 takes the root's
    /// number.
    fn node(&self, ino: INodeNo) -> NodeId {
        match ino.0 {
            1 => self.root,
            number if number == self.root.0 => NodeId(1),
            number => NodeId(number),
        }
    }

    fn ino(&self, node: NodeId) -> INodeNo {
        match node {
            root if root == self.root => INodeNo(1),
            NodeId(1) => INodeNo(self.root.0),
            NodeId(number) => INodeNo(number),
        }
    }

    /// Writes down that `what` was done with `node` and failed: `read of`, `lookup in`.
    fn log_and_errno(&self, what: &str, node: NodeId, error: &FsError) -> Errno {
        let expected = matches!(error.kind(), FsErrorKind::NotFound | FsErrorKind::NotADirectory);
        if !expected {
            self.note(what, node, &error_chain(error));
        }
        errno(error.kind())
    }

    fn note(&self, what: &str, node: NodeId, reason: &str) {
        if self.logged.fetch_add(1, Ordering::Relaxed) < MAX_LOG_LINES {
            let path = self.places.path(&*self.tree, node);
            let path = path.unwrap_or_else(|| format!("inode {}", self.ino(node).0));
            (self.log)(&format!("{what} {path}: {reason}"));
        }
    }

    /// The content of `node`; opened once, also when several readers come at the same time.
    fn file(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        self.files.get_or_insert_with(&node, || {
            let file = self.tree.open(node, &StreamName::MAIN)?;
            // INVARIANT: the kernel fills what a reply lacks up to the size it knows with zeros.
            if file.size() != self.tree.metadata(node)?.size {
                return Err(FsError::corrupt("two sizes are recorded for the file"));
            }
            Ok(file)
        })
    }

    fn read_into(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let file = self.file(node)?;
        let wanted = file.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..wanted];
        let count = guard("the file", || file.read_at(offset, buf))?;
        if count != wanted {
            return Err(FsError::corrupt("content ends before the size of the file").at(offset));
        }
        Ok(count)
    }

    fn attributes(&self, metadata: &Metadata) -> FileAttr {
        let guest = metadata.owner.filter(|_| self.ownership == Ownership::Guest);
        let modified = system_time(metadata.times.modified);
        // INVARIANT: what cannot be read is never shown as a hole. `tar --sparse` and others would
        // write zeros for it without reading.
        let allocated = match metadata.unreadable {
            Some(_) => metadata.allocated.max(shown_size(metadata)),
            None => metadata.allocated,
        };
        // Programs that copy links cut the target at the size.
        let size = match metadata.kind {
            FileKind::Symlink => {
                self.link_target(metadata.node).map_or(metadata.size, |target| target.len() as u64)
            }
            _ => shown_size(metadata),
        };
        FileAttr {
            ino: self.ino(metadata.node),
            size,
            blocks: allocated.div_ceil(512),
            atime: system_time(metadata.times.accessed),
            mtime: modified,
            ctime: system_time(metadata.times.changed),
            crtime: metadata.times.created.map_or(modified, system_time),
            kind: file_type(metadata.kind),
            perm: guest.map_or_else(|| default_mode(metadata.kind), |owner| owner.mode),
            nlink: metadata.links,
            uid: guest.map_or(self.uid, |owner| owner.uid),
            gid: guest.map_or(self.gid, |owner| owner.gid),
            rdev: metadata.device.map_or(0, device_number),
            blksize: 4096,
            flags: 0,
        }
    }

    /// What a listing says of an entry whose metadata is not there yet; not to be kept.
    fn placeholder(&self, entry: &DirEntry<'_>) -> FileAttr {
        FileAttr {
            ino: self.ino(entry.node),
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: file_type(entry.kind),
            perm: default_mode(entry.kind),
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Whether a volume is shown alone, and the folder is its root.
    fn shows_one(&self) -> bool {
        self.root != self.tree.root()
    }

    /// The directories from the root of the tree to that of `node`, as far as they are known.
    fn directories(&self, node: NodeId) -> Option<Vec<NodeId>> {
        let mut dirs = self.places.directories(node)?;
        if self.shows_one() {
            dirs.insert(0, self.tree.root());
        }
        Some(dirs)
    }

    /// What the link `node` says: where the guest means, but never outside of the volumes.
    fn link_target(&self, node: NodeId) -> FsResult<Vec<u8>> {
        let target = self.tree.read_link(node)?.0;
        if self.links != Links::Guest {
            return Ok(target);
        }
        // The link itself, and the folder of its volume.
        let above = if self.shows_one() { 1 } else { 2 };
        let depth = self.places.depth(node);
        let Some(depth) = depth.and_then(|depth| usize::from(depth).checked_sub(above)) else {
            return Err(FsError::new(FsErrorKind::Refused, "it is not known where the link lies"));
        };
        let own = (self.tree.volume_name(node).unwrap_or_default(), self.tree.case(node));
        let guest = Guest::set(&self.tree, &self.volumes);
        let text = link_text(&guest, own, depth, &target, || self.directories(node))?;
        if text.climbs && self.tree.metadata(node)?.links > 1 {
            // The kernel keeps one target for all its names, which may lie at different depths.
            return Err(FsError::new(FsErrorKind::Refused, "link with `..` has several names"));
        }
        Ok(text.bytes)
    }

    /// Finds `name`, also in its escaped form.
    fn find(&self, parent: NodeId, name: &[u8]) -> FsResult<Metadata> {
        let found = match self.tree.lookup(parent, Name::new(name)) {
            Err(error) if error.kind() == FsErrorKind::NotFound => match names::to_guest(name) {
                Some(guest) => self.tree.lookup(parent, Name::new(&guest)),
                None => Err(error),
            },
            found => found,
        };
        let metadata = self.tree.metadata(found?)?;
        if self.links == Links::Hide && metadata.kind == FileKind::Symlink {
            return Err(FsError::not_found());
        }
        self.places.remember(parent, metadata.node, metadata.kind);
        Ok(metadata)
    }

    /// Gives the entries from the kernel's position `offset` to `add`, until it is full.
    fn list(
        &self,
        ino: INodeNo,
        offset: u64,
        add: &mut dyn FnMut(u64, &[u8], &DirEntry<'_>) -> bool,
    ) -> FsResult<()> {
        let dir = self.node(ino);
        for (at, name) in [(0, &b"."[..]), (1, b"..")] {
            let entry = DirEntry {
                name: Name::new(name),
                node: dir,
                kind: FileKind::Directory,
                metadata: None,
                next: DirCursor(at + 1),
            };
            if offset <= at && add(at + 1, name, &entry) {
                return Ok(());
            }
        }
        self.tree.read_dir(dir, DirCursor(offset.saturating_sub(DOTS)), &mut |entry| {
            if self.links == Links::Hide && entry.kind == FileKind::Symlink {
                return ControlFlow::Continue(());
            }
            self.places.remember(dir, entry.node, entry.kind);
            let name = names::to_unix(entry.name.as_bytes());
            if add(entry.next.0.saturating_add(DOTS), &name, &entry) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    /// Whether the attribute `name` goes with the owners and modes that are shown.
    fn shows(&self, name: &[u8]) -> bool {
        self.ownership == Ownership::Guest || !name.starts_with(b"system.posix_acl_")
    }

    /// The names of the attributes of `node` that can be had, each with a zero byte. Programs that
    /// copy files give up one that lists an attribute which cannot be had; so the others are left to
    /// the log. As below the file systems of Linux, `root` alone sees those of `trusted`.
    fn listed_attributes(&self, node: NodeId, root: bool) -> FsResult<Vec<u8>> {
        let mut list: Vec<u8> = Vec::new();
        for name in self.tree.extended_attributes(node)? {
            // A name with a zero byte, or a longer one than Linux bears, is found by path only.
            let has_place = !name.contains(&0) && name.len() <= MAX_NAME;
            let is_hidden = name.starts_with(NTFS) || name == WOF_STREAM || !self.shows(&name);
            if is_hidden || !has_place || (name.starts_with(b"trusted.") && !root) {
                continue;
            }
            let reason = match self.tree.extended_attribute(node, &name) {
                Err(error) => error_chain(&error),
                Ok(value) if value.len() > MAX_ATTRIBUTE as usize => {
                    "longer than 64 KiB".to_owned()
                }
                Ok(_) if list.len() + name.len() >= MAX_ATTRIBUTE as usize => {
                    "the list would be longer than 64 KiB".to_owned()
                }
                Ok(_) => {
                    list.extend_from_slice(&name);
                    list.push(0);
                    continue;
                }
            };
            let what = format!("not listed: attribute {} of", shown(&name));
            self.note(&what, node, &reason);
        }
        Ok(list)
    }

    /// `SEEK_DATA` and `SEEK_HOLE`; `None` if there is no data after `offset`.
    ///
    /// INVARIANT: what cannot be read is data, so that programs try to read it and are told.
    fn seek(&self, node: NodeId, offset: u64, hole: bool) -> FsResult<Option<u64>> {
        let Ok(file) = self.file(node) else {
            let size = shown_size(&self.tree.metadata(node)?);
            return Ok((offset < size).then_some(if hole { size } else { offset }));
        };
        let mut at = offset;
        for _ in 0..MAX_SEEK_EXTENTS {
            if at >= file.size() {
                return Ok((hole && offset < file.size()).then_some(file.size()));
            }
            let extent = file.extent_at(at)?;
            if (extent.kind == FileExtentKind::Hole) == hole {
                return Ok(Some(at));
            }
            at = at.saturating_add(extent.length.max(1));
        }
        // Holes may be taken for data, never the other way round.
        Ok(Some(if hole { file.size() } else { at.min(file.size().saturating_sub(1)) }))
    }
}

/// The size that the kernel is told.
///
/// INVARIANT: a file that will be refused has a byte at least. The kernel asks for none of a file of
/// 0 bytes, so that one whose recorded size is 0 would read as empty, and nobody would be told.
fn shown_size(metadata: &Metadata) -> u64 {
    match (metadata.kind, metadata.unreadable) {
        (FileKind::Regular, Some(_)) => metadata.size.max(1),
        _ => metadata.size,
    }
}

/// Answers with `value`, or with its size if the kernel asks for that alone.
fn reply_attribute(value: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(length) if length > MAX_ATTRIBUTE => reply.error(Errno::E2BIG),
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(_) => reply.error(Errno::E2BIG),
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let nanoseconds = Duration::from_nanos(time.nanoseconds.into());
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

fn default_mode(kind: FileKind) -> u16 {
    match kind {
        FileKind::Directory => 0o555,
        FileKind::Symlink => 0o777,
        _ => 0o444,
    }
}

/// The 32-bit form in which FUSE carries device numbers.
fn device_number((major, minor): (u32, u32)) -> u32 {
    (minor & 0xFF) | ((major & 0xFFF) << 8) | ((minor & !0xFF) << 12)
}

impl Filesystem for Server {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(64);
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_MAX_PAGES,
        ] {
            // What an old kernel lacks costs speed, nothing else.
            let _ = config.add_capabilities(wanted);
        }
        self.kernel_capabilities = config.capabilities();
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = self.node(parent);
        match self.find(parent, name.as_bytes()) {
            Ok(metadata) => {
                let generation = Generation(metadata.generation);
                reply.entry(&FOREVER, &self.attributes(&metadata), generation);
            }
            // An entry with inode 0 is an absence that the kernel may remember.
            Err(error) if error.kind() == FsErrorKind::NotFound => {
                let absent = DirEntry {
                    name: Name::new(b""),
                    node: parent,
                    kind: FileKind::Regular,
                    metadata: None,
                    next: DirCursor::START,
                };
                let attributes = FileAttr { ino: INodeNo(0), ..self.placeholder(&absent) };
                reply.entry(&FOREVER, &attributes, Generation(0));
            }
            Err(error) => reply.error(self.log_and_errno("lookup in", parent, &error)),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let node = self.node(ino);
        match self.tree.metadata(node) {
            Ok(metadata) => reply.attr(&FOREVER, &self.attributes(&metadata)),
            Err(error) => reply.error(self.log_and_errno("metadata of", node, &error)),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let node = self.node(ino);
        match self.link_target(node) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(self.log_and_errno("link target of", node, &error)),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.kernel_capabilities.contains(InitFlags::FUSE_NO_OPEN_SUPPORT) {
            return reply.error(Errno::ENOSYS);
        }
        let node = self.node(ino);
        match self.file(node) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(self.log_and_errno("open of", node, &error)),
        }
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.kernel_capabilities.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT) {
            return reply.error(Errno::ENOSYS);
        }
        let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        reply.opened(FileHandle(0), keep);
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn access(&self, _req: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let node = self.node(ino);
        let size = size.min(MAX_READ) as usize;
        REPLY.with_borrow_mut(|buf| {
            let buf = buf.space(size);
            match self.read_into(node, offset, buf) {
                Ok(count) => reply.data(&buf[..count]),
                Err(error) => reply.error(self.log_and_errno("read of", node, &error)),
            }
        });
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut given = offset;
        let outcome = self.list(ino, offset, &mut |next, name, entry| {
            given = next;
            reply.add(self.ino(entry.node), next, file_type(entry.kind), OsStr::from_bytes(name))
        });
        match outcome {
            Ok(()) => reply.ok(),
            // An error would take the names of this reply with it; the next call meets it again.
            Err(_) if given != offset => reply.ok(),
            Err(error) => reply.error(self.log_and_errno("listing of", self.node(ino), &error)),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut given = offset;
        let outcome = self.list(ino, offset, &mut |next, name, entry| {
            given = next;
            let (attributes, ttl, generation) = match entry.metadata {
                Some(known) => (self.attributes(known), FOREVER, known.generation),
                None => (self.placeholder(entry), Duration::ZERO, 0),
            };
            let name = OsStr::from_bytes(name);
            reply.add(attributes.ino, next, name, &ttl, &attributes, Generation(generation))
        });
        match outcome {
            Ok(()) => reply.ok(),
            // An error would take the names of this reply with it; the next call meets it again.
            Err(_) if given != offset => reply.ok(),
            Err(error) => reply.error(self.log_and_errno("listing of", self.node(ino), &error)),
        }
    }

    fn statfs(&self, _req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let node = self.node(ino);
        match self.tree.statistics(node) {
            Ok(figures) => {
                let unit = u64::from(figures.block_size.max(512));
                let free = figures.size.saturating_sub(figures.used) / unit;
                let (nodes, free_nodes) = figures.nodes.unwrap_or_default();
                let unit = figures.block_size.max(512);
                let blocks = figures.size / u64::from(unit);
                reply.statfs(blocks, free, 0, nodes, free_nodes, unit, 255, unit);
            }
            Err(error) => reply.error(self.log_and_errno("statistics of", node, &error)),
        }
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.tree.has_extended_attributes() {
            // The kernel does not ask again.
            return reply.error(Errno::ENOSYS);
        }
        let node = self.node(ino);
        if !self.shows(name.as_bytes()) {
            return reply.error(Errno::ENODATA);
        }
        match self.tree.extended_attribute(node, name.as_bytes()) {
            Ok(value) => reply_attribute(&value, size, reply),
            Err(error) if error.kind() == FsErrorKind::NotFound => reply.error(Errno::ENODATA),
            // Of "not supported" programs that copy files say nothing.
            Err(error) if error.kind() == FsErrorKind::Unsupported => reply.error(Errno::E2BIG),
            Err(error) => reply.error(self.log_and_errno("extended attribute of", node, &error)),
        }
    }

    /// Of NTFS streams alone are listed, as below ntfs-3g; what else there is has well-known names.
    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.tree.has_extended_attributes() {
            return reply.error(Errno::ENOSYS);
        }
        let node = self.node(ino);
        match self.listed_attributes(node, req.uid() == 0) {
            Ok(list) => reply_attribute(&list, size, reply),
            Err(error) => reply.error(self.log_and_errno("extended attributes of", node, &error)),
        }
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let node = self.node(ino);
        let (SEEK_DATA | SEEK_HOLE, Ok(from)) = (whence, u64::try_from(offset)) else {
            return reply.error(Errno::EINVAL);
        };
        match self.seek(node, from, whence == SEEK_HOLE) {
            Ok(Some(found)) => match i64::try_from(found) {
                Ok(found) => reply.offset(found),
                Err(_) => reply.error(Errno::EOVERFLOW),
            },
            Ok(None) => reply.error(Errno::ENXIO),
            Err(error) => reply.error(self.log_and_errno("seek in", node, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::{BlockDevice, BlockResult, Extent, ExtentKind};

    use super::*;
    use crate::block::{Export, raw};

    /// Zeros, told of in pieces of 512 bytes.
    struct Crumbs(ExtentKind);

    impl BlockDevice for Crumbs {
        fn size(&self) -> u64 {
            1 << 40
        }

        fn read_at(&self, _offset: u64, buf: &mut [u8]) -> BlockResult<()> {
            buf.fill(0);
            Ok(())
        }

        fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
            Ok(Extent { kind: self.0, length: 512 - offset % 512 })
        }
    }

    fn server(device: impl BlockDevice + 'static) -> (Server, NodeId) {
        let volume = raw::volume(vec![Arc::new(Export::read_only("disk", Arc::new(device)))]);
        let tree = Arc::new(VolumeTree::new(vec![volume]));
        let folder = tree.lookup(tree.root(), Name::new(raw::FOLDER)).unwrap();
        let node = tree.lookup(folder, Name::new("disk")).unwrap();
        let options = MountOptions::new("", Arc::new(|_| {}));
        (Server::new(tree.clone(), tree.root(), &options), node)
    }

    #[test]
    fn a_file_that_will_be_refused_is_never_shown_as_empty() {
        let mut metadata = Metadata::new(NodeId(7), FileKind::Regular);
        assert_eq!(shown_size(&metadata), 0);
        metadata.unreadable = Some(FsErrorKind::Corrupt);
        assert_eq!(shown_size(&metadata), 1);
        let (server, _) = server(Crumbs(ExtentKind::Data));
        assert_eq!(server.attributes(&metadata).blocks, 1, "not a hole either");
        metadata.size = 9;
        assert_eq!(shown_size(&metadata), 9);
        (metadata.size, metadata.kind) = (0, FileKind::Symlink);
        assert_eq!(shown_size(&metadata), 0);
    }

    #[test]
    fn a_seek_over_crumbs_ends_and_takes_no_data_for_a_hole() {
        let (data, node) = server(Crumbs(ExtentKind::Data));
        assert_eq!(data.seek(node, 5, false).unwrap(), Some(5));
        assert_eq!(data.seek(node, 5, true).unwrap(), Some(1 << 40));
        assert_eq!(data.seek(node, 1 << 40, true).unwrap(), None);
        let (hole, node) = server(Crumbs(ExtentKind::Zero));
        assert_eq!(hole.seek(node, 5, true).unwrap(), Some(5));
        assert_eq!(hole.seek(node, 0, false).unwrap(), Some(512 << 16));
        let near_the_end = (1 << 40) - 1000;
        assert_eq!(hole.seek(node, near_the_end, false).unwrap(), None);
    }
}
