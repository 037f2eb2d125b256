//! What handles stand for, and what the caller frees.

use std::ffi::c_char;
use std::sync::Arc;

use volfold_capi_support::{Arena, Blocks, Handle, Table};

use crate::connection::Connection;
use crate::disk::OpenDisk;
use crate::errors::{Done, Failure, VIX_E_DISK_INVALID_CONNECTION, VIX_E_INVALID_ARG, call};
use crate::set::{MountableVolume, OpenDiskSet};

/// An open object.
#[derive(Clone)]
pub(crate) enum Object {
    Connection(Arc<Connection>),
    Disk(Arc<OpenDisk>),
    Set(Arc<OpenDiskSet>),
    Volume(Arc<MountableVolume>),
}

/// What kind of memory the caller has, each freed by a function of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    DiskInfo,
    BlockList,
    ConnectParams,
    SetInfo,
    VolumeHandles,
    VolumeInfo,
    OsInfo,
}

static TABLE: Table<Object> = Table::new();

static BLOCKS: Blocks<Kind> = Blocks::new();

/// A handle for `object`, which is closed with `owner`.
pub(crate) fn open(object: Object, owner: Option<Handle>) -> Done<Handle> {
    TABLE.insert(object, owner).ok_or_else(|| match owner {
        Some(owner) if TABLE.get(owner).is_none() => Failure::handle("owner"),
        _ => Failure::memory(),
    })
}

/// Closes `handle` of `what`; what was open with it is given, to be dropped.
pub(crate) fn close(
    handle: Handle,
    what: &str,
    is_it: impl Fn(&Object) -> bool,
) -> Done<Vec<Object>> {
    TABLE.remove(handle, is_it).ok_or_else(|| Failure::handle(what))
}

/// Closes all that `is_it`.
pub(crate) fn close_all(is_it: impl Fn(&Object) -> bool) {
    for (handle, object) in TABLE.all() {
        if is_it(&object) {
            drop(object);
            drop(TABLE.remove(handle, &is_it));
        }
    }
}

pub(crate) fn connection(handle: Handle) -> Done<Arc<Connection>> {
    match TABLE.get(handle) {
        Some(Object::Connection(connection)) => Ok(connection),
        _ => Err(Failure::new(VIX_E_DISK_INVALID_CONNECTION, "not an open connection")),
    }
}

pub(crate) fn disk(handle: Handle) -> Done<Arc<OpenDisk>> {
    match TABLE.get(handle) {
        Some(Object::Disk(disk)) => Ok(disk),
        _ => Err(Failure::handle("disk")),
    }
}

pub(crate) fn set(handle: Handle) -> Done<Arc<OpenDiskSet>> {
    match TABLE.get(handle) {
        Some(Object::Set(set)) => Ok(set),
        _ => Err(Failure::handle("disk set")),
    }
}

pub(crate) fn volume(handle: Handle) -> Done<Arc<MountableVolume>> {
    match TABLE.get(handle) {
        Some(Object::Volume(volume)) => Ok(volume),
        _ => Err(Failure::handle("volume")),
    }
}

/// A struct for the caller; `fill` is called twice, as [`Blocks::make`].
pub(crate) fn block<T: Copy>(kind: Kind, fill: impl Fn(&mut Arena) -> T) -> Done<*const T> {
    BLOCKS.make(kind, fill).ok_or_else(Failure::memory)
}

/// The same with an open-ended array, as [`Blocks::make_with_tail`].
pub(crate) fn block_with_tail<T: Copy, U: Copy>(
    kind: Kind,
    tail_at: usize,
    count: usize,
    fill: impl Fn(&mut Arena) -> (T, Vec<U>),
) -> Done<*const T> {
    BLOCKS.make_with_tail(kind, tail_at, count, fill).ok_or_else(Failure::memory)
}

/// `count` values for the caller.
pub(crate) fn array(kind: Kind, values: &[Handle]) -> Done<*const Handle> {
    let fill = |_: &mut Arena| ((), values.to_vec());
    block_with_tail(kind, 0, values.len(), fill).map(<*const ()>::cast)
}

/// A text for the caller.
pub(crate) fn text(bytes: &[u8]) -> Done<*const c_char> {
    let fill = |_: &mut Arena| ((), [bytes, &[0]].concat());
    block_with_tail(Kind::Text, 0, bytes.len().saturating_add(1), fill).map(<*const ()>::cast)
}

/// Frees memory of `kind`.
pub(crate) fn free<T>(kind: Kind, pointer: *const T) -> Done {
    if pointer.is_null() || BLOCKS.free(kind, pointer) {
        return Ok(());
    }
    Err(Failure::new(VIX_E_INVALID_ARG, format!("no {kind:?} of this library, or freed before")))
}

/// The same where C has no code for it: what is refused is left alone, and told to the log.
pub(crate) fn free_quietly<T>(kind: Kind, pointer: *const T) {
    call(|| free(kind, pointer));
}
