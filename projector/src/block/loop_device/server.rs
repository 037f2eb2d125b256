//! A folder of files for loop devices: each is a block device, and may take changes.
//!
//! Apart from the server of trees, which has no way to write. Here every file is opened and closed, so
//! that the end of the last loop device is noticed.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use volfold_block::{BlockResult, ReadBuffer, byte_count, error_chain, guard};

use crate::block::export::Export;
use crate::block::number::{length_u32, to_usize};
use crate::block::overlay::Overlay;
use crate::fuse_session::{FOREVER, MAX_LOG_LINES, MAX_READ};
use crate::log::Log;

/// The number of the first file; the folder is 1.
const FIRST: u64 = 2;

/// Ways of `fallocate` that make bytes zero.
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;

/// Called when the last open file was closed.
pub type Closed = Box<dyn Fn() + Send + Sync>;

/// Answers the requests for one folder.
pub(super) struct BlockServer {
    files: Vec<Arc<Export>>,
    open: AtomicUsize,
    closed: Closed,
    uid: u32,
    gid: u32,
    log: Log,
    logged: AtomicU32,
}

thread_local! {
    /// The bytes of one reply; grows to the largest read and stays.
    static REPLY: RefCell<ReadBuffer> = RefCell::default();
}

impl BlockServer {
    pub(super) fn new(files: Vec<Arc<Export>>, log: Log, closed: Closed) -> Self {
        Self {
            files,
            open: AtomicUsize::new(0),
            closed,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            log,
            logged: AtomicU32::new(0),
        }
    }

    fn file(&self, ino: INodeNo) -> Option<&Export> {
        let index = usize::try_from(ino.0.checked_sub(FIRST)?).ok()?;
        self.files.get(index).map(|file| &**file)
    }

    fn attributes(&self, ino: INodeNo, file: Option<&Export>) -> FileAttr {
        let size = file.map_or(0, |file| file.content.device().size());
        let (kind, perm) = match file {
            None => (FileType::Directory, 0o500),
            Some(file) if file.content.overlay().is_some() => (FileType::RegularFile, 0o600),
            Some(_) => (FileType::RegularFile, 0o400),
        };
        FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: if file.is_some() { 1 } else { 2 },
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn log_failure(&self, what: &str, file: &Export, reason: &str) {
        if self.logged.fetch_add(1, Ordering::Relaxed) < MAX_LOG_LINES {
            (self.log)(&format!("{}: {what}: {reason}", file.name));
        }
    }

    fn read_into(&self, file: &Export, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let device = file.content.device();
        let count = to_usize(device.size().saturating_sub(offset)).min(buf.len());
        let (part, _) = buf.split_at_mut(count);
        let read: BlockResult<()> = guard("the device", || device.read_at(offset, part));
        read.map(|()| count).map_err(|error| {
            self.log_failure(&format!("read at byte {offset}"), file, &error_chain(&error));
            Errno::EIO
        })
    }

    /// Does `work` with the changes of the file.
    fn change(
        &self,
        ino: INodeNo,
        what: &str,
        work: impl FnOnce(&Overlay) -> io::Result<()>,
    ) -> Result<(), Errno> {
        let file = self.file(ino).ok_or(Errno::ENOENT)?;
        let overlay = file.content.overlay().ok_or(Errno::EROFS)?;
        let changed: io::Result<()> = guard("the device", || work(overlay));
        changed.map_err(|error| {
            self.log_failure(what, file, &error_chain(&error));
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            if is_full { Errno::ENOSPC } else { Errno::EIO }
        })
    }
}

fn reply_empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(number) => reply.error(number),
    }
}

impl Filesystem for BlockServer {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(64);
        let _ = config.add_capabilities(InitFlags::FUSE_MAX_PAGES);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let is_it = |file: &Arc<Export>| file.name.as_bytes() == name.as_bytes();
        let found = if parent.0 == 1 { self.files.iter().position(is_it) } else { None };
        match found {
            Some(index) => {
                let ino = INodeNo(FIRST.saturating_add(byte_count(index)));
                let attributes = self.attributes(ino, self.file(ino));
                reply.entry(&FOREVER, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let file = self.file(ino);
        if ino.0 != 1 && file.is_none() {
            return reply.error(Errno::ENOENT);
        }
        reply.attr(&FOREVER, &self.attributes(ino, file));
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino.0 != 1 {
            return reply.error(Errno::ENOTDIR);
        }
        let files = self.files.iter().map(|file| (FileType::RegularFile, file.name.as_str()));
        let dots = [(FileType::Directory, "."), (FileType::Directory, "..")];
        for (place, (kind, name)) in (0..).zip(dots.into_iter().chain(files)) {
            // The two dots are the folder itself.
            let ino = if place < FIRST { 1 } else { place };
            if place >= offset && reply.add(INodeNo(ino), place.saturating_add(1), kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.file(ino).is_none() {
            return reply.error(Errno::ENOENT);
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        // Only the kernel changes the bytes.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.closed)();
        }
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
        let Some(file) = self.file(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let size = to_usize(size.min(MAX_READ).into());
        REPLY.with_borrow_mut(|buf| {
            let buf = buf.space(size);
            match self.read_into(file, offset, buf) {
                Ok(count) => reply.data(buf.split_at(count).0),
                Err(number) => reply.error(number),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let what = format!("write at byte {offset}");
        match self.change(ino, &what, |overlay| overlay.write(offset, data)) {
            Ok(()) => reply.written(length_u32(data)),
            Err(number) => reply.error(number),
        }
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        match self.file(ino).map(|file| file.content.overlay().is_some()) {
            Some(false) => reply.ok(),
            _ => reply_empty(self.change(ino, "flush", Overlay::flush), reply),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & (PUNCH_HOLE | ZERO_RANGE) == 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let what = format!("zeros at byte {offset}");
        let outcome = self.change(ino, &what, |overlay| overlay.write_zeroes(offset, length));
        reply_empty(outcome, reply);
    }
}
