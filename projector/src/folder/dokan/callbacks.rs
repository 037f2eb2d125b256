//! The functions that Dokan calls: pointers in, a [`VolumeServer`] asked, a status out.

use std::ffi::c_void;

use volfold_fs::FsErrorKind;
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem::{BY_HANDLE_FILE_INFORMATION, WIN32_FIND_DATAW};

use super::abi::{
    DokanFileInfo, DokanOperations, FillFindData, FillFindStreamData, FindStreamData, NtStatus,
};
use super::access::{Token, give_parts};
use super::context::VolumeContext;
use crate::folder::names;
use crate::folder::status::{self, nt_status};
use crate::folder::windows::callbacks::{WRITE_ACCESS, answer};
use crate::folder::windows::listing::attribute;
use crate::folder::windows::{FileInfo, Handle, Page, VolumeServer};
use crate::wide::units;

/// `DELETE`.
const DELETE: u32 = 0x1_0000;

/// Bits of the options of an open (`NtCreateFile`).
mod option {
    pub(super) const DIRECTORY_FILE: u32 = 0x1;
    pub(super) const NON_DIRECTORY_FILE: u32 = 0x40;
    pub(super) const DELETE_ON_CLOSE: u32 = 0x1000;
    pub(super) const OPEN_REPARSE_POINT: u32 = 0x20_0000;
}

/// What is to happen with a file that is there, or is not (`NtCreateFile`).
mod disposition {
    pub(super) const OPEN: u32 = 1;
    pub(super) const OPEN_IF: u32 = 3;
}

/// What the volume says of itself (`GetVolumeInformation`): names keep their case and are Unicode,
/// access lists, named streams, read-only.
const VOLUME_FLAGS: u32 = 0x2 | 0x4 | 0x8 | 0x4_0000 | 0x8_0000;

/// What Dokan calls; the global context of its options is a [`VolumeContext`].
pub static OPERATIONS: DokanOperations = DokanOperations {
    zw_create_file: Some(zw_create_file),
    cleanup: Some(cleanup),
    close_file: Some(close_file),
    read_file: Some(read_file),
    write_file: Some(refuse),
    flush_file_buffers: Some(flush_file_buffers),
    get_file_information: Some(get_file_information),
    find_files: Some(find_files),
    find_files_with_pattern: None,
    set_file_attributes: Some(refuse),
    set_file_time: Some(refuse),
    delete_file: Some(refuse),
    delete_directory: Some(refuse),
    move_file: Some(refuse),
    set_end_of_file: Some(refuse),
    set_allocation_size: Some(refuse),
    lock_file: None,
    unlock_file: None,
    get_disk_free_space: Some(get_disk_free_space),
    get_volume_information: Some(get_volume_information),
    mounted: None,
    unmounted: Some(unmounted),
    get_file_security: Some(get_file_security),
    set_file_security: Some(refuse),
    find_streams: Some(find_streams),
};

/// The context that the volume of `info` was made with.
///
/// # Safety
/// `info` must be valid and come from a volume whose global context is a [`VolumeContext`] that
/// outlives it.
unsafe fn context<'a>(info: *mut DokanFileInfo) -> &'a VolumeContext {
    // SAFETY: by the contract of this function.
    unsafe {
        let address = (*(*info).dokan_options).global_context;
        &*std::ptr::with_exposed_provenance::<VolumeContext>(address as usize)
    }
}

/// The handle that `info` was opened with; `None` for what was closed or is no file.
///
/// # Safety
/// As [`context`].
unsafe fn handle<'a>(info: *mut DokanFileInfo) -> Result<&'a Handle, NtStatus> {
    // SAFETY: the context of a file is one that `zw_create_file` made, until `close_file` sets it to 0.
    let handle = unsafe {
        let address = (*info).context;
        std::ptr::with_exposed_provenance::<Handle>(address as usize).as_ref()
    };
    handle.ok_or(status::INVALID_HANDLE)
}

unsafe extern "system" fn refuse() -> NtStatus {
    status::MEDIA_WRITE_PROTECTED
}

unsafe extern "system" fn zw_create_file(
    path: *const u16,
    _security: *mut c_void,
    access: u32,
    _attributes: u32,
    _share: u32,
    disposition: u32,
    options: u32,
    info: *mut DokanFileInfo,
) -> NtStatus {
    let mut was_there = false;
    let status = answer(|| {
        // SAFETY: the DLL passes a valid path and info, and what the volume was made with.
        let (context, path) = unsafe { (context(info), units(path)) };
        if !matches!(disposition, disposition::OPEN | disposition::OPEN_IF)
            || options & option::DELETE_ON_CLOSE != 0
        {
            return Err(status::MEDIA_WRITE_PROTECTED);
        }
        let handle = open(context, path, access, options, info).map_err(|status| {
            let is_new = disposition == disposition::OPEN_IF;
            if is_new && status == status::OBJECT_NAME_NOT_FOUND {
                status::MEDIA_WRITE_PROTECTED
            } else {
                status
            }
        })?;
        was_there = disposition == disposition::OPEN_IF;
        let is_directory = handle.info.file_attributes & attribute::DIRECTORY != 0;
        // SAFETY: `info` is valid.
        unsafe {
            (*info).is_directory = u8::from(is_directory && handle.info.reparse_tag == 0);
            (*info).context = Box::into_raw(Box::new(handle)).expose_provenance() as u64;
        }
        Ok(())
    });
    // So does an open say that it made nothing.
    if status == status::SUCCESS && was_there { status::OBJECT_NAME_COLLISION } else { status }
}

/// Opens what is at `path`, if who asks may.
fn open(
    context: &VolumeContext,
    path: &[u16],
    access: u32,
    options: u32,
    info: *mut DokanFileInfo,
) -> Result<Handle, NtStatus> {
    let server = &context.server;
    // The driver knows no links.
    let found = server.walk_through_links(path, options & option::OPEN_REPARSE_POINT == 0)?;
    let is_directory =
        found.info.file_attributes & attribute::DIRECTORY != 0 && found.info.reparse_tag == 0;
    if options & option::DIRECTORY_FILE != 0 && !is_directory {
        return Err(nt_status(FsErrorKind::NotADirectory));
    }
    if options & option::NON_DIRECTORY_FILE != 0 && is_directory {
        return Err(nt_status(FsErrorKind::IsADirectory));
    }
    // SAFETY: `info` is that of the open that is being answered, as the function wants it.
    let token = Token::new(unsafe { (context.functions.open_requestor_token)(info) });
    let descriptor = server.security(found.node);
    if !token.is_some_and(|token| token.may(&descriptor, access)) {
        // To "access denied" the library would ask whether the directory lets its children be deleted,
        // and take a yes for an open of the file.
        return Err(match access & DELETE {
            0 => nt_status(FsErrorKind::Refused),
            _ => status::MEDIA_WRITE_PROTECTED,
        });
    }
    if access & WRITE_ACCESS != 0 && !is_directory {
        return Err(status::MEDIA_WRITE_PROTECTED);
    }
    server.open(found)
}

unsafe extern "system" fn cleanup(_path: *const u16, _info: *mut DokanFileInfo) {
    // What is mapped into memory is still read after it.
}

unsafe extern "system" fn close_file(_path: *const u16, info: *mut DokanFileInfo) {
    // SAFETY: the context was made by `zw_create_file`, and is freed once.
    unsafe {
        let address = std::mem::take(&mut (*info).context);
        let handle = std::ptr::with_exposed_provenance_mut::<Handle>(address as usize);
        if !handle.is_null() {
            drop(Box::from_raw(handle));
        }
    }
}

unsafe extern "system" fn read_file(
    _path: *const u16,
    buffer: *mut c_void,
    length: u32,
    count: *mut u32,
    offset: i64,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; the buffer has `length` bytes.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length as usize);
            let offset = u64::try_from(offset).map_err(|_| status::END_OF_FILE)?;
            *count = context(info).server.read(handle(info)?, offset, buf)?;
        }
        Ok(())
    })
}

unsafe extern "system" fn flush_file_buffers(
    _path: *const u16,
    _info: *mut DokanFileInfo,
) -> NtStatus {
    status::SUCCESS
}

fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

fn time(steps: u64) -> FILETIME {
    let (high, low) = halves(steps);
    FILETIME { dwLowDateTime: low, dwHighDateTime: high }
}

unsafe extern "system" fn get_file_information(
    _path: *const u16,
    out: *mut BY_HANDLE_FILE_INFORMATION,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (context, file) = unsafe { (context(info), &handle(info)?.info) };
        let (size_high, size_low) = halves(file.file_size);
        let (index_high, index_low) = halves(file.index_number);
        let told = BY_HANDLE_FILE_INFORMATION {
            dwFileAttributes: file.file_attributes,
            ftCreationTime: time(file.creation_time),
            ftLastAccessTime: time(file.last_access_time),
            ftLastWriteTime: time(file.last_write_time),
            dwVolumeSerialNumber: context.server.serial(),
            nFileSizeHigh: size_high,
            nFileSizeLow: size_low,
            nNumberOfLinks: file.hard_links,
            nFileIndexHigh: index_high,
            nFileIndexLow: index_low,
        };
        // SAFETY: as for every callback.
        unsafe { *out = told };
        Ok(())
    })
}

/// One entry of a directory as the host's searches give it.
fn find_data(file: &FileInfo, name: &[u16]) -> WIN32_FIND_DATAW {
    let (size_high, size_low) = halves(file.file_size);
    let mut data = WIN32_FIND_DATAW {
        dwFileAttributes: file.file_attributes,
        ftCreationTime: time(file.creation_time),
        ftLastAccessTime: time(file.last_access_time),
        ftLastWriteTime: time(file.last_write_time),
        nFileSizeHigh: size_high,
        nFileSizeLow: size_low,
        // The tag of what is a reparse point.
        dwReserved0: file.reparse_tag,
        ..WIN32_FIND_DATAW::default()
    };
    // Names have at most 255 units, so one 0 is left.
    for (unit, slot) in name.iter().zip(&mut data.cFileName[..names::MAX_WINDOWS]) {
        *slot = *unit;
    }
    data
}

unsafe extern "system" fn find_files(
    _path: *const u16,
    fill: FillFindData,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (server, handle) = unsafe { (&context(info).server, handle(info)?) };
        let mut take = |file: &FileInfo, name: &[u16], _next| {
            let mut data = find_data(file, name);
            // SAFETY: the DLL's own function, which copies the entry.
            unsafe { fill(&raw mut data, info) == 0 }
        };
        match server.read_directory(handle, 0, &mut take)? {
            Page::End => Ok(()),
            Page::Full => Err(status::BUFFER_OVERFLOW),
            // The list is given at once, and one that lacks names must not look whole.
            Page::Damaged(status) => Err(status),
        }
    })
}

unsafe extern "system" fn get_disk_free_space(
    available: *mut u64,
    size: *mut u64,
    free: *mut u64,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; places are null or valid.
        unsafe {
            let figures = context(info).server.figures()?;
            for (place, value) in
                [(available, figures.free), (size, figures.size), (free, figures.free)]
            {
                if !place.is_null() {
                    *place = value;
                }
            }
        }
        Ok(())
    })
}

/// Writes `text` and a 0 into `room` units at `out`, cut to what there is room for.
///
/// # Safety
/// `out` must be null or valid for `room` units.
unsafe fn give_text(text: &[u16], out: *mut u16, room: u32) {
    let Some(last) = (room as usize).checked_sub(1).filter(|_| !out.is_null()) else {
        return;
    };
    let count = text.len().min(last);
    // SAFETY: by the contract of this function; `count` and the 0 fit.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), out, count);
        *out.add(count) = 0;
    }
}

unsafe extern "system" fn get_volume_information(
    label: *mut u16,
    label_room: u32,
    serial: *mut u32,
    longest: *mut u32,
    flags: *mut u32,
    kind: *mut u16,
    kind_room: u32,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; places are null or valid, with the room that is told.
        unsafe {
            let server: &VolumeServer = &context(info).server;
            let facts = server.facts();
            give_text(&server.figures()?.label, label, label_room);
            let name: Vec<u16> = facts.file_system.encode_utf16().collect();
            give_text(&name, kind, kind_room);
            let length = u32::try_from(names::MAX_WINDOWS).unwrap_or(255);
            for (place, value) in [(serial, facts.serial), (longest, length), (flags, VOLUME_FLAGS)]
            {
                if !place.is_null() {
                    *place = value;
                }
            }
        }
        Ok(())
    })
}

unsafe extern "system" fn unmounted(info: *mut DokanFileInfo) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        (unsafe { context(info) }.lost)();
        Ok(())
    })
}

unsafe extern "system" fn get_file_security(
    _path: *const u16,
    wanted: *mut u32,
    out: *mut c_void,
    room: u32,
    needed: *mut u32,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback; the buffer has `room` bytes.
        unsafe {
            let descriptor = context(info).server.security(handle(info)?.node);
            let given = give_parts(&descriptor, *wanted, out, room);
            let (size, had_room) = given.ok_or_else(|| nt_status(FsErrorKind::Refused))?;
            *needed = size;
            if had_room { Ok(()) } else { Err(status::BUFFER_OVERFLOW) }
        }
    })
}

unsafe extern "system" fn find_streams(
    _path: *const u16,
    fill: FillFindStreamData,
    find: *mut c_void,
    info: *mut DokanFileInfo,
) -> NtStatus {
    answer(|| {
        // SAFETY: as for every callback.
        let (server, handle) = unsafe { (&context(info).server, handle(info)?) };
        let colon = u16::from(b':');
        let mut take = |size: u64, _allocated, name: &[u16]| {
            let mut data =
                FindStreamData { stream_size: size.cast_signed(), stream_name: [0; 296] };
            let units = [colon].into_iter().chain(name.iter().copied());
            let units = units.chain(":$DATA".encode_utf16());
            for (unit, slot) in units.zip(&mut data.stream_name[..295]) {
                *slot = unit;
            }
            // SAFETY: the DLL's own function, which copies the entry.
            unsafe { fill(&raw mut data, find) != 0 }
        };
        let all = server.each_stream(handle, &mut take)?;
        if all { Ok(()) } else { Err(status::BUFFER_OVERFLOW) }
    })
}
