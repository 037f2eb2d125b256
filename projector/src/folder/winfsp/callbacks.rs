//! The functions that WinFsp calls: pointers in, a [`VolumeServer`] asked, a status out.

use std::ffi::c_void;

use super::abi::{
    DirInfo, FileInfo, FileSystemPtr, Interface, IoStatusBlock, NtStatus, OpenFileInfo, VolumeInfo,
};
use super::context::VolumeContext;
use super::page::RecordPage;
use crate::folder::names;
use crate::folder::status;
use crate::folder::windows::callbacks::{WRITE_ACCESS, answer};
use crate::folder::windows::listing::attribute;
use crate::folder::windows::{Handle, Lost, Page, VolumeServer};
use crate::wide::units;

/// What WinFsp calls; its context is a [`VolumeContext`].
pub static INTERFACE: Interface = Interface {
    get_volume_info: Some(get_volume_info),
    set_volume_label: Some(refuse),
    get_security_by_name: Some(get_security_by_name),
    create: Some(refuse),
    open: Some(open),
    overwrite: Some(refuse),
    cleanup: None,
    close: Some(close),
    read: Some(read),
    write: Some(refuse),
    flush: Some(flush),
    get_file_info: Some(get_file_info),
    set_basic_info: Some(refuse),
    set_file_size: Some(refuse),
    can_delete: Some(refuse),
    rename: Some(refuse),
    get_security: Some(get_security),
    set_security: Some(refuse),
    read_directory: Some(read_directory),
    resolve_reparse_points: Some(resolve_reparse_points),
    get_reparse_point: Some(get_reparse_point),
    set_reparse_point: Some(refuse),
    delete_reparse_point: Some(refuse),
    get_stream_info: Some(get_stream_info),
    get_dir_info_by_name: Some(get_dir_info_by_name),
    control: None,
    set_delete: Some(refuse),
    create_ex: None,
    overwrite_ex: None,
    get_ea: None,
    set_ea: Some(refuse),
    obsolete0: None,
    dispatcher_stopped: Some(dispatcher_stopped),
    reserved: [None; 31],
};

/// The context that `fs` was made with.
///
/// # Safety
/// `fs` must be a file system of the DLL whose context is a [`VolumeContext`] that outlives it.
unsafe fn context<'a>(fs: FileSystemPtr) -> &'a VolumeContext {
    // SAFETY: by the contract of this function.
    unsafe { &*(*fs).user_context.cast::<VolumeContext>() }
}

/// The server that `fs` was made with.
///
/// # Safety
/// As [`context`].
unsafe fn server<'a>(fs: FileSystemPtr) -> &'a VolumeServer {
    // SAFETY: by the contract of this function.
    unsafe { &context(fs).server }
}

/// Copies `bytes` to `buffer`, whose size `size` tells; then `size` is that of `bytes`.
///
/// # Safety
/// `size` must be null or valid, `buffer` null or of that size.
unsafe fn give(
    bytes: &[u8],
    buffer: *mut c_void,
    size: *mut usize,
    too_small: NtStatus,
) -> Result<(), NtStatus> {
    if size.is_null() {
        return Ok(());
    }
    // SAFETY: `size` is valid by the contract of this function.
    let room = unsafe { std::ptr::replace(size, bytes.len()) };
    if room < bytes.len() {
        return Err(too_small);
    }
    if !buffer.is_null() {
        // SAFETY: `buffer` holds `room` bytes, which is enough.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
    }
    Ok(())
}

unsafe extern "C" fn refuse() -> NtStatus {
    status::MEDIA_WRITE_PROTECTED
}

unsafe extern "C" fn get_volume_info(fs: FileSystemPtr, out: *mut VolumeInfo) -> NtStatus {
    answer(|| {
        // SAFETY: the DLL passes what `FspFileSystemCreate` was given, and valid pointers.
        unsafe { *out = context(fs).volume_info()? };
        Ok(())
    })
}

unsafe extern "C" fn get_security_by_name(
    fs: FileSystemPtr,
    path: *const u16,
    attributes: *mut u32,
    descriptor: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (server, path) = unsafe { (server(fs), units(path)) };
        let (value, result) = match server.walk(path, None) {
            Ok(found) => (found.info.file_attributes, Ok(found.node)),
            Err(Lost::Link(index)) => (index, Err(status::REPARSE)),
            Err(Lost::Status(status)) => return Err(status),
        };
        if !attributes.is_null() {
            // SAFETY: valid if it is not null.
            unsafe { *attributes = value };
        }
        let node = result?;
        if size.is_null() {
            return Ok(());
        }
        // SAFETY: descriptor and size are null or valid.
        unsafe { give(&server.security(node), descriptor, size, status::BUFFER_OVERFLOW) }
    })
}

unsafe extern "C" fn open(
    fs: FileSystemPtr,
    path: *const u16,
    _options: u32,
    granted: u32,
    context: *mut *mut c_void,
    info: *mut FileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (server, path) = unsafe { (server(fs), units(path)) };
        let mut spelled = Vec::with_capacity(path.len() + 8);
        let found = match server.walk(path, Some(&mut spelled)) {
            Ok(found) => found,
            Err(Lost::Link(_)) => return Err(status::OBJECT_PATH_NOT_FOUND),
            Err(Lost::Status(status)) => return Err(status),
        };
        if spelled.is_empty() {
            spelled.extend_from_slice(path);
        }
        let is_directory = found.info.file_attributes & attribute::DIRECTORY != 0;
        if granted & WRITE_ACCESS != 0 && !is_directory {
            // The cache manager would take the bytes and lose them later.
            return Err(status::MEDIA_WRITE_PROTECTED);
        }
        let handle = Box::new(server.open(found)?);
        // SAFETY: both are valid; `info` lies in the beginning of an `OpenFileInfo`.
        unsafe {
            *info = handle.info;
            give_name(&spelled, info.cast());
            *context = Box::into_raw(handle).cast();
        }
        Ok(())
    })
}

/// Writes `name`, a path as the guest spells it, to where programs are shown it from.
///
/// # Safety
/// `out` must be valid with a buffer of the size that it tells.
unsafe fn give_name(name: &[u16], out: *mut OpenFileInfo) {
    // SAFETY: by the contract of this function; the buffer holds `room` units.
    unsafe {
        let room = usize::from((*out).normalized_name_size) / 2;
        let Ok(size) = u16::try_from(2 * name.len()) else {
            return;
        };
        if name.len() <= room && !(*out).normalized_name.is_null() {
            std::ptr::copy_nonoverlapping(name.as_ptr(), (*out).normalized_name, name.len());
            (*out).normalized_name_size = size;
        }
    }
}

/// The handle of `context`.
///
/// # Safety
/// `context` must come from [`open`] and not have gone to [`close`].
unsafe fn handle<'a>(context: *mut c_void) -> &'a Handle {
    // SAFETY: by the contract of this function.
    unsafe { &*context.cast::<Handle>() }
}

unsafe extern "C" fn close(_fs: FileSystemPtr, context: *mut c_void) {
    // SAFETY: the DLL closes what it opened once.
    drop(unsafe { Box::from_raw(context.cast::<Handle>()) });
}

unsafe extern "C" fn read(
    fs: FileSystemPtr,
    context: *mut c_void,
    buffer: *mut c_void,
    offset: u64,
    length: u32,
    transferred: *mut u32,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; the buffer is the caller's, mapped, of `length` bytes.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            *transferred = server(fs).read(handle(context), offset, buf)?;
        }
        Ok(())
    })
}

unsafe extern "C" fn flush(
    _fs: FileSystemPtr,
    context: *mut c_void,
    info: *mut FileInfo,
) -> NtStatus {
    if !context.is_null() && !info.is_null() {
        // SAFETY: both are valid if they are not null; a flush of the volume has no handle.
        unsafe { *info = handle(context).info };
    }
    status::SUCCESS
}

unsafe extern "C" fn get_file_info(
    _fs: FileSystemPtr,
    context: *mut c_void,
    info: *mut FileInfo,
) -> NtStatus {
    // SAFETY: as for every callback.
    unsafe { *info = handle(context).info };
    status::SUCCESS
}

unsafe extern "C" fn get_security(
    fs: FileSystemPtr,
    context: *mut c_void,
    descriptor: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    // SAFETY: as for every callback.
    answer(|| unsafe {
        let own = server(fs).security(handle(context).node);
        give(&own, descriptor, size, status::BUFFER_OVERFLOW)
    })
}

unsafe extern "C" fn read_directory(
    fs: FileSystemPtr,
    context: *mut c_void,
    _pattern: *const u16,
    marker: *const u16,
    buffer: *mut c_void,
    length: u32,
    transferred: *mut u32,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback. With `DIRECTORY_MARKER_AS_NEXT_OFFSET` the marker is a
        // `u64`; nothing is said of its alignment.
        unsafe {
            let from = if marker.is_null() { 0 } else { marker.cast::<u64>().read_unaligned() };
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            let mut page = RecordPage::new(buf);
            let mut take = |info: &FileInfo, name: &[u16], next| page.push(info, name, next);
            match server(fs).read_directory(handle(context), from, &mut take)? {
                Page::Full => page.full()?,
                Page::End => page.end(),
                // What there is has been given; now it is time to say that it is not all.
                Page::Damaged(status) if page.is_empty() => return Err(status),
                Page::Damaged(_) => {}
            }
            *transferred = u32::try_from(page.used).unwrap_or(0);
        }
        Ok(())
    })
}

unsafe extern "C" fn get_dir_info_by_name(
    fs: FileSystemPtr,
    context: *mut c_void,
    name: *const u16,
    out: *mut DirInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; the DLL gives room for a name of 255 units.
        unsafe {
            let room = size_of::<DirInfo>() + 2 * names::MAX_WINDOWS;
            let buf = std::slice::from_raw_parts_mut(out.cast::<u8>(), room);
            let mut page = RecordPage::single(buf);
            server(fs).find_in(handle(context), units(name), |info, name| {
                page.push(info, name, 0);
            })
        }
    })
}

unsafe extern "C" fn get_stream_info(
    fs: FileSystemPtr,
    context: *mut c_void,
    buffer: *mut c_void,
    length: u32,
    transferred: *mut u32,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            let mut page = RecordPage::new(buf);
            let mut take = |size, allocated, name: &[u16]| page.push_stream(size, allocated, name);
            let all = server(fs).each_stream(handle(context), &mut take)?;
            if all {
                page.end();
            }
            *transferred = u32::try_from(page.used).unwrap_or(0);
            if all { Ok(()) } else { Err(status::BUFFER_OVERFLOW) }
        }
    })
}

unsafe extern "C" fn get_reparse_point(
    fs: FileSystemPtr,
    _context: *mut c_void,
    path: *const u16,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    // SAFETY: the arguments of the request are handed through; the callback takes no context.
    unsafe { reparse_point_by_name(fs, std::ptr::null_mut(), path, 0, buffer, size) }
}

unsafe extern "C" fn resolve_reparse_points(
    fs: FileSystemPtr,
    path: *const u16,
    index: u32,
    resolve_last: u8,
    io_status: *mut IoStatusBlock,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    // SAFETY: the arguments of the request are handed through; the callback takes no context.
    unsafe {
        let resolve = context(fs).functions.resolve_reparse_points;
        let none = std::ptr::null_mut();
        resolve(fs, reparse_point_by_name, none, path, index, resolve_last, io_status, buffer, size)
    }
}

unsafe extern "C" fn reparse_point_by_name(
    fs: FileSystemPtr,
    _context: *mut c_void,
    path: *const u16,
    _is_directory: u8,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        unsafe {
            let data = match server(fs).reparse_data(units(path)) {
                Ok(data) => data,
                Err(Lost::Link(_)) => return Err(status::OBJECT_PATH_NOT_FOUND),
                Err(Lost::Status(status)) => return Err(status),
            };
            give(&data, buffer, size, status::BUFFER_TOO_SMALL)
        }
    })
}

unsafe extern "C" fn dispatcher_stopped(fs: FileSystemPtr, normally: u8) {
    if normally == 0 {
        answer(|| {
            // SAFETY: as for every callback.
            (unsafe { context(fs) }.lost)();
            Ok(())
        });
    }
}
