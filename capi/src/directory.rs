//! Listing directories, and walking trees.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::block::error_chain;
use volfold::files::{Descent, Step};
use volfold::fs::{FileKind, FileSystem, FsError};
use volfold_capi_support::{OpenSet, foreign};

use crate::file;
use crate::objects::{self, Object, optional, text};
use crate::status::{VolfoldStatus, call};
use crate::types::{VolfoldDirectory, VolfoldEntry, VolfoldFileKind, VolfoldStat, VolfoldVolume};

/// A directory that is being listed, or the tree below it that is being walked.
pub(crate) struct Walk {
    set: Arc<OpenSet>,
    descent: Descent,
    is_deep: bool,
}

/// What is told next.
struct Told {
    path: Vec<u8>,
    /// Where the name begins in it.
    name_at: usize,
    step: Step,
    /// The volume's own number of the node.
    number: u64,
}

impl Walk {
    fn next(&mut self) -> Option<Told> {
        let step = self.descent.step(&self.set.tree)?;
        let number = match &step {
            Step::Node(metadata) => self.set.own_number(metadata.node),
            Step::Failed(_) => 0,
        };
        if !self.is_deep && matches!(step, Step::Node(_)) {
            self.descent.skip();
        }
        let path = match self.descent.path() {
            [] => b"/".to_vec(),
            path => path.to_vec(),
        };
        let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        Some(Told { path, name_at, step, number })
    }
}

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
/// followed. What cannot be read is an entry too, with another status, and the walk goes on after it.
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
        if found.tree().metadata(found.node)?.kind != FileKind::Directory {
            return Err(FsError::not_a_directory().into());
        }
        let descent = Descent::new(found.node, &found.path);
        let walk = Walk { set: Arc::clone(&found.volume.set), descent, is_deep };
        let object = Object::Directory(Arc::new(Mutex::new(walk)));
        foreign::put(directory, objects::open(object, Some(found.volume.owner))?, "directory")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The next entry; VOLFOLD_STATUS_END, and NULL, if there are no more. An entry whose own status is
/// another than VOLFOLD_STATUS_OK says that its `path` cannot be read, and why: a walk without one has
/// seen everything. Free each with volfold_free(). Threads that list one directory together share its entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_directory_next(
    directory: *mut VolfoldDirectory,
    entry: *mut *const VolfoldEntry,
) -> VolfoldStatus {
    call(|| {
        foreign::put(entry, ptr::null(), "entry")?;
        let walk = objects::directory(directory)?;
        let Some(Told { path, name_at, step, number }) = walk.lock().next() else {
            return Ok(VolfoldStatus::End);
        };
        let message = match &step {
            Step::Failed(error) => Some(error_chain(error)),
            Step::Node(_) => None,
        };
        let block = objects::block(|arena| VolfoldEntry {
            struct_size: size_of::<VolfoldEntry>(),
            status: match &step {
                Step::Failed(error) => error.kind().into(),
                Step::Node(_) => VolfoldStatus::Ok,
            },
            kind: match &step {
                Step::Failed(_) => VolfoldFileKind::Directory,
                Step::Node(metadata) => metadata.kind.into(),
            },
            node: number,
            name: text(arena, path.get(name_at..).unwrap_or_default()),
            path: text(arena, &path),
            message: optional(arena, message.as_ref()),
            stat: match &step {
                Step::Failed(_) => ptr::null(),
                Step::Node(metadata) => arena.put(VolfoldStat::of(metadata, number)),
            },
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
