//! Files of a volume, by their paths.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use volfold::fs::{
    FileData, FileKind, FileSystem, FsError, FsResult, NodeId, StreamName, VolumeTree,
};
use volfold_capi_support::foreign;

use crate::objects::{self, Object, OpenVolume, text};
use crate::status::{Done, Failure, VolfoldStatus, call};
use crate::types::{
    VolfoldExtent, VolfoldFile, VolfoldStat, VolfoldStream, VolfoldStreamList, VolfoldTextList,
    VolfoldVolume, text_list,
};

/// The length of a path or name that ends in NUL, in the place of a number of bytes.
pub const VOLFOLD_NUL_TERMINATED: usize = usize::MAX;

/// The size of the first version of VolfoldStat.
const FIRST_STAT: usize = size_of::<usize>() + 4 * 8 + 4 * 16 + 10 * 4;

/// A volume, and a node of the tree of its set.
pub(crate) struct Found {
    pub(crate) volume: OpenVolume,
    pub(crate) node: NodeId,
    /// Its path as it was given, with a `/` before each name.
    pub(crate) path: Vec<u8>,
}

impl Found {
    /// All volumes of the set.
    pub(crate) fn tree(&self) -> &VolumeTree {
        &self.volume.set.tree
    }
}

/// The bytes of a name of which C gave the length, or VOLFOLD_NUL_TERMINATED.
///
/// # Safety
/// As [`foreign::bytes`] or [`foreign::text_bytes`].
pub(crate) unsafe fn name_bytes<'a>(
    pointer: *const c_char,
    length: usize,
    name: &'static str,
) -> Done<&'a [u8]> {
    match length {
        VOLFOLD_NUL_TERMINATED => Ok(foreign::text_bytes(pointer, name)?),
        length => Ok(foreign::bytes(pointer.cast(), length, name)?),
    }
}

/// What is at a path of a volume.
///
/// # Safety
/// As [`name_bytes`].
pub(crate) unsafe fn at(
    volume: *const VolfoldVolume,
    path: *const c_char,
    length: usize,
    follow: bool,
) -> Done<Found> {
    let volume = objects::volume(volume)?;
    let given = name_bytes(path, length, "path")?;
    let node = volume.set.find(volume.index, given, follow)?;
    let names = given.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let path = names.flat_map(|name| [b"/", name].concat()).collect();
    Ok(Found { volume, node, path })
}

/// What is at `path` of the volume, "/a/b". Links on the way are followed as the guest follows them, also
/// to other volumes of the set; one at the end only if `follow`. The program sets `stat->struct_size` before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_stat(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    follow: bool,
    stat: *mut VolfoldStat,
) -> VolfoldStatus {
    call(|| {
        let found = at(volume, path, path_length, follow)?;
        let metadata = found.tree().metadata(found.node)?;
        let own = found.volume.set.own_number(found.node);
        foreign::put_sized(stat, &VolfoldStat::of(&metadata, own), FIRST_STAT, "stat")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Opens the file at `path` of the volume; links are followed. `stream` is the name of a stream beside
/// the main one, or NULL. Close it with volfold_file_close(), or with its set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_file_open(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    stream: *const c_char,
    stream_length: usize,
    file: *mut *mut VolfoldFile,
) -> VolfoldStatus {
    call(|| {
        foreign::put(file, ptr::null_mut(), "file")?;
        let found = at(volume, path, path_length, true)?;
        let stream = match stream.is_null() {
            true => StreamName::MAIN,
            false => StreamName(name_bytes(stream, stream_length, "stream")?.to_vec()),
        };
        let opened = open_stream(&found, &stream)?;
        let handle = objects::open(Object::File(opened), Some(found.volume.owner))?;
        foreign::put(file, handle, "file")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Opens a stream of what was found.
fn open_stream(found: &Found, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
    let tree = found.tree();
    match tree.metadata(found.node)?.kind {
        FileKind::Directory if *stream == StreamName::MAIN => Err(FsError::is_a_directory()),
        FileKind::Directory | FileKind::Regular => tree.open(found.node, stream),
        _ => Err(FsError::unsupported("not a regular file")),
    }
}

/// Closes the file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_file_close(file: *mut VolfoldFile) -> VolfoldStatus {
    call(|| objects::close(file, "file", |object| matches!(object, Object::File(_))))
}

/// The size of the file in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_file_size(
    file: *const VolfoldFile,
    size: *mut u64,
) -> VolfoldStatus {
    call(|| {
        foreign::put(size, objects::file(file)?.size(), "size")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Reads up to `length` bytes of the file from `offset` on, and writes how many to `count`: less than
/// `length` only at the end of the file. With another status than VOLFOLD_STATUS_OK the content of
/// `buffer` is undefined. There is no position: any number of threads may read at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_file_read(
    file: *const VolfoldFile,
    offset: u64,
    buffer: *mut c_void,
    length: usize,
    count: *mut usize,
) -> VolfoldStatus {
    call(|| {
        foreign::put(count, 0, "count")?;
        let file = objects::file(file)?;
        let buffer = foreign::buffer(buffer, length, "buffer")?;
        foreign::put(count, file.read_at(offset, buffer)?, "count")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The kind of the bytes at `offset` of the file, and how far they reach.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_file_extent(
    file: *const VolfoldFile,
    offset: u64,
    extent: *mut VolfoldExtent,
) -> VolfoldStatus {
    call(|| {
        let found = objects::file(file)?.extent_at(offset)?;
        foreign::put(extent, VolfoldExtent::from(found), "extent")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// Where the link at `path` leads, as bytes with `/` between the parts: a list of one text. Free it with
/// volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_read_link(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    target: *mut *const VolfoldTextList,
) -> VolfoldStatus {
    call(|| {
        foreign::put(target, ptr::null(), "target")?;
        let found = at(volume, path, path_length, false)?;
        let link = found.tree().read_link(found.node)?.0;
        let block = objects::block(|arena| text_list(arena, &[&link]))?;
        foreign::put(target, block, "target")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The streams of the file at `path` beside its main one. Free them with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_streams(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    streams: *mut *const VolfoldStreamList,
) -> VolfoldStatus {
    call(|| {
        foreign::put(streams, ptr::null(), "streams")?;
        let found = at(volume, path, path_length, true)?;
        let all = found.tree().streams(found.node)?;
        let block = objects::block(|arena| {
            let items: Vec<VolfoldStream> = all
                .iter()
                .map(|one| VolfoldStream { name: text(arena, &one.name.0), size: one.size })
                .collect();
            VolfoldStreamList {
                struct_size: size_of::<VolfoldStreamList>(),
                count: items.len(),
                items: arena.list(&items),
            }
        })?;
        foreign::put(streams, block, "streams")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The names of the extended attributes of what is at `path`: "system." and a name for what the file
/// system keeps, "user." and a name for what programs wrote. Free them with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_attributes(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    names: *mut *const VolfoldTextList,
) -> VolfoldStatus {
    call(|| {
        foreign::put(names, ptr::null(), "names")?;
        let found = at(volume, path, path_length, false)?;
        let all = found.tree().extended_attributes(found.node)?;
        let block = objects::block(|arena| text_list(arena, &all))?;
        foreign::put(names, block, "names")?;
        Ok(VolfoldStatus::Ok)
    })
}

/// The value of the extended attribute `name` of what is at `path`: a list of one text, whose bytes may
/// be anything. Free it with volfold_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_attribute(
    volume: *const VolfoldVolume,
    path: *const c_char,
    path_length: usize,
    name: *const c_char,
    value: *mut *const VolfoldTextList,
) -> VolfoldStatus {
    call(|| {
        foreign::put(value, ptr::null(), "value")?;
        let name = foreign::text_bytes(name, "name")?;
        if name.is_empty() {
            return Err(Failure::new(VolfoldStatus::InvalidArgument, "argument name is empty"));
        }
        let found = at(volume, path, path_length, false)?;
        let bytes = found.tree().extended_attribute(found.node, name)?;
        let block = objects::block(|arena| text_list(arena, &[&bytes]))?;
        foreign::put(value, block, "value")?;
        Ok(VolfoldStatus::Ok)
    })
}
