//! What handles stand for.

use std::sync::Arc;

use parking_lot::Mutex;
use volfold::SetVolume;
use volfold::fs::{FileData, FileSystem, FsResult};
use volfold_capi_support::{Arena, Blocks, Handle, OpenSet, SetOptions, Table};

use crate::directory::Walk;
use crate::status::{Done, Failure, VolfoldStatus};
use crate::types::VolfoldText;

/// An open object.
#[derive(Clone)]
pub(crate) enum Object {
    Options(Arc<Mutex<SetOptions>>),
    Set(Arc<OpenSet>),
    Volume(OpenVolume),
    File(Arc<dyn FileData>),
    Directory(Arc<Mutex<Walk>>),
}

/// A volume of a set.
#[derive(Clone)]
pub(crate) struct OpenVolume {
    /// The handle of the set.
    pub(crate) owner: Handle,
    pub(crate) set: Arc<OpenSet>,
    pub(crate) index: usize,
    pub(crate) volume: Arc<SetVolume>,
}

impl OpenVolume {
    pub(crate) fn files(&self) -> FsResult<Arc<dyn FileSystem>> {
        self.set.file_system(self.index)
    }
}

static TABLE: Table<Object> = Table::new();

static BLOCKS: Blocks<()> = Blocks::new();

/// The handle of `object` as C keeps it.
pub(crate) fn open<T>(object: Object, owner: Option<Handle>) -> Done<*mut T> {
    match TABLE.insert(object, owner) {
        Some(handle) => Ok(std::ptr::without_provenance_mut(handle)),
        None if owner.is_some_and(|owner| TABLE.get(owner).is_none()) => {
            Err(Failure::handle("set"))
        }
        None => Err(Failure::memory()),
    }
}

/// Closes `handle`, if it is one of `what`.
pub(crate) fn close<T>(handle: *mut T, what: &str, is_it: fn(&Object) -> bool) -> Done {
    match TABLE.remove(handle.addr(), is_it) {
        Some(closed) => {
            drop(closed);
            Ok(VolfoldStatus::Ok)
        }
        None => Err(Failure::handle(what)),
    }
}

fn get<T, O>(handle: *const T, what: &str, of: impl Fn(Object) -> Option<O>) -> Done<O> {
    TABLE.get(handle.addr()).and_then(of).ok_or_else(|| Failure::handle(what))
}

pub(crate) fn options<T>(handle: *const T) -> Done<Arc<Mutex<SetOptions>>> {
    get(handle, "options", |object| match object {
        Object::Options(options) => Some(options),
        _ => None,
    })
}

pub(crate) fn set<T>(handle: *const T) -> Done<Arc<OpenSet>> {
    get(handle, "set", |object| match object {
        Object::Set(set) => Some(set),
        _ => None,
    })
}

pub(crate) fn volume<T>(handle: *const T) -> Done<OpenVolume> {
    get(handle, "volume", |object| match object {
        Object::Volume(volume) => Some(volume),
        _ => None,
    })
}

pub(crate) fn file<T>(handle: *const T) -> Done<Arc<dyn FileData>> {
    get(handle, "file", |object| match object {
        Object::File(file) => Some(file),
        _ => None,
    })
}

pub(crate) fn directory<T>(handle: *const T) -> Done<Arc<Mutex<Walk>>> {
    get(handle, "directory", |object| match object {
        Object::Directory(walk) => Some(walk),
        _ => None,
    })
}

/// A struct for C, with all that it points to; `fill` is called twice, as [`Blocks::make`].
pub(crate) fn block<T: Copy>(fill: impl Fn(&mut Arena) -> T) -> Done<*const T> {
    BLOCKS.make((), fill).ok_or_else(Failure::memory)
}

/// Frees a struct that [`block`] has made.
pub(crate) fn free<T>(pointer: *const T) -> Done {
    if pointer.is_null() || BLOCKS.free((), pointer) {
        return Ok(VolfoldStatus::Ok);
    }
    let reason = "not a struct of this library, or freed before";
    Err(Failure::new(VolfoldStatus::InvalidArgument, reason))
}

/// `bytes` in the block that `arena` lays out.
pub(crate) fn text(arena: &mut Arena, bytes: impl AsRef<[u8]>) -> VolfoldText {
    let bytes = bytes.as_ref();
    VolfoldText { bytes: arena.text(bytes), length: bytes.len() }
}

/// The same; NULL for `None`.
pub(crate) fn optional<T: AsRef<[u8]>>(arena: &mut Arena, bytes: Option<T>) -> VolfoldText {
    bytes.map_or(VolfoldText::NONE, |bytes| text(arena, bytes))
}

/// All of `texts`, one after the other.
pub(crate) fn texts<T: AsRef<[u8]>>(arena: &mut Arena, texts: &[T]) -> *const VolfoldText {
    let texts: Vec<VolfoldText> = texts.iter().map(|one| text(arena, one)).collect();
    arena.list(&texts)
}

/// Pointers to all that `put` lays out for `items`.
pub(crate) fn pointers<I, T>(
    arena: &mut Arena,
    items: &[I],
    put: impl Fn(&mut Arena, &I) -> *const T,
) -> *const *const T {
    let pointers: Vec<*const T> = items.iter().map(|item| put(arena, item)).collect();
    arena.list(&pointers)
}
