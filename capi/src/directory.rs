//! Listing directories, and walking trees.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::ops::ControlFlow;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::block::error_chain;
use volfold::fs::{
    DirCursor, FileKind, FileSystem, FsError, FsErrorKind, FsResult, Metadata, NodeId,
};
use volfold_capi_support::foreign;

use crate::file;
use crate::objects::{self, Object, optional, text};
use crate::status::{VolfoldStatus, call};
use crate::types::{VolfoldDirectory, VolfoldEntry, VolfoldFileKind, VolfoldStat, VolfoldVolume};

/// LIMIT: entries that are kept of a directory at a time.
const BATCH: usize = 256;

/// LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// One entry of a directory.
struct Entry {
    path: Vec<u8>,
    name_at: usize,
    node: NodeId,
    kind: FileKind,
    metadata: Option<Metadata>,
}

/// A directory, as far as it is listed.
struct Listing {
    node: NodeId,
    path: Vec<u8>,
    cursor: DirCursor,
    batch: VecDeque<Entry>,
    is_read: bool,
}

/// What is to be told next.
enum Step {
    Entry(Box<Entry>),
    /// Why no more of the directory with this path can be listed.
    Broken(Vec<u8>, FsError),
    End,
}

/// A directory that is being listed, or the tree below it that is being walked.
pub(crate) struct Walk {
    files: Arc<dyn FileSystem>,
    is_deep: bool,
    /// The directories down to here.
    open: Vec<Listing>,
}

impl Walk {
    fn new(files: Arc<dyn FileSystem>, node: NodeId, path: Vec<u8>, is_deep: bool) -> Self {
        Self { files, is_deep, open: vec![Listing::new(node, path)] }
    }

    fn next(&mut self) -> Step {
        while let Some(listing) = self.open.last_mut() {
            if listing.batch.is_empty()
                && !listing.is_read
                && let Err(error) = listing.read(&*self.files)
            {
                let path = std::mem::take(&mut listing.path);
                self.open.pop();
                return Step::Broken(path, error);
            }
            let Some(entry) = listing.batch.pop_front() else {
                self.open.pop();
                continue;
            };
            if !self.is_deep || entry.kind != FileKind::Directory {
                return Step::Entry(Box::new(entry));
            }
            let inner = match self.open.len() {
                ..MAX_DEPTH => Listing::new(entry.node, entry.path.clone()),
                _ => Listing::too_deep(entry.node, entry.path.clone()),
            };
            self.open.push(inner);
            return Step::Entry(Box::new(entry));
        }
        Step::End
    }
}

impl Listing {
    fn new(node: NodeId, path: Vec<u8>) -> Self {
        let (cursor, batch) = (DirCursor::START, VecDeque::new());
        Self { node, path, cursor, batch, is_read: false }
    }

    /// A directory that is not entered.
    fn too_deep(node: NodeId, path: Vec<u8>) -> Self {
        Self { cursor: TOO_DEEP, ..Self::new(node, path) }
    }

    /// Reads the next entries.
    fn read(&mut self, files: &dyn FileSystem) -> FsResult<()> {
        if self.cursor == TOO_DEEP {
            let line = format!("directories lie deeper than {MAX_DEPTH}");
            return Err(FsError::new(FsErrorKind::Unsupported, line));
        }
        let Self { node, path, cursor, batch, is_read } = self;
        *is_read = true;
        let from = *cursor;
        let result = files.read_dir(*node, from, &mut |entry| {
            let mut inner = path.clone();
            if inner.last() != Some(&b'/') {
                inner.push(b'/');
            }
            let name_at = inner.len();
            inner.extend_from_slice(entry.name.as_bytes());
            batch.push_back(Entry {
                path: inner,
                name_at,
                node: entry.node,
                kind: entry.kind,
                metadata: entry.metadata.cloned(),
            });
            *cursor = entry.next;
            if batch.len() >= BATCH {
                *is_read = false;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if result.is_err() && !batch.is_empty() {
            // What was listed is told first; the next call meets the error again.
            *is_read = false;
            return Ok(());
        }
        for entry in batch.iter_mut().filter(|entry| entry.metadata.is_none()) {
            entry.metadata = files.metadata(entry.node).ok();
        }
        result
    }
}

/// A cursor that no file system gives.
const TOO_DEEP: DirCursor = DirCursor(u64::MAX);

/// Lists the directory at `path`; links are followed. Its entries come from volfold_directory_next().
/// Close it with volfold_directory_close(), or with its set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_directory_open(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    directory: *mut *mut VolfoldDirectory,
) -> VolfoldStatus {
    open(volume, path, path_length, directory, false)
}

/// The same for all that lies below `path`: each directory before what is in it. Links are told and not
/// followed. A directory that cannot be listed is told by one more entry, with another status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_walk_open(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    directory: *mut *mut VolfoldDirectory,
) -> VolfoldStatus {
    open(volume, path, path_length, directory, true)
}

unsafe fn open(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    directory: *mut *mut VolfoldDirectory,
    is_deep: bool,
) -> VolfoldStatus {
    call(|| {
        foreign::put(directory, ptr::null_mut(), "directory")?;
        let found = file::at(volume, path, path_length, true)?;
        if found.files.metadata(found.node)?.kind != FileKind::Directory {
            return Err(FsError::not_a_directory().into());
        }
        let walk = Walk::new(found.files, found.node, found.path, is_deep);
        let object = Object::Directory(Arc::new(Mutex::new(walk)));
        foreign::put(directory, objects::open(object, Some(found.volume.owner))?, "directory")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The next entry; VOLFOLD_STATUS_END, and NULL, if there are no more. An entry whose own status is
/// another than VOLFOLD_STATUS_OK says that no more of the directory `path` can be listed, and why. Free
/// each with volfold_free(). Threads that list one directory together share its entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_directory_next(
    directory: *mut VolfoldDirectory,
    entry: *mut *const VolfoldEntry,
) -> VolfoldStatus {
    call(|| {
        foreign::put(entry, ptr::null(), "entry")?;
        let walk = objects::directory(directory)?;
        let step = walk.lock().next();
        let (path, name_at, error, own) = match &step {
            Step::End => return Ok(VolfoldStatus::End),
            Step::Entry(own) => (&own.path, own.name_at, None, Some(own)),
            Step::Broken(path, error) => {
                let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                (path, name_at, Some(error), None)
            }
        };
        let status = error.map_or(VolfoldStatus::Ok, |error| error.kind().into());
        let message = error.map(|error| error_chain(error));
        let metadata = own.and_then(|own| own.metadata.as_ref());
        let block = objects::block(|arena| VolfoldEntry {
            struct_size: size_of::<VolfoldEntry>(),
            status,
            kind: own.map_or(VolfoldFileKind::Directory, |own| own.kind.into()),
            node: own.map_or(0, |own| own.node.0),
            name: text(arena, path.get(name_at..).unwrap_or_default()),
            path: text(arena, path),
            message: optional(arena, message.as_ref()),
            stat: metadata.map_or(ptr::null(), |found| arena.put(VolfoldStat::from(found))),
        })?;
        foreign::put(entry, block, "entry")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Closes the directory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_directory_close(
    directory: *mut VolfoldDirectory,
) -> VolfoldStatus {
    call(|| objects::close(directory, "directory", |object| matches!(object, Object::Directory(_))))
}
