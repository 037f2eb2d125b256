//! A double of Dokan's DLL: no driver, and the rules of the genuine library between it and the
//! callbacks.
//!
//! Every request gets a `DOKAN_FILE_INFO` of its own, which carries the context of the open file to
//! and fro, as the genuine library makes it.

use std::ffi::{OsString, c_void};
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use volfold_projector::folder::dokan::abi::{
    DokanFileInfo, DokanHandle, DokanOperations, DokanOptions, FindStreamData, Functions,
    MountPointInfo, NtStatus, flags, nt_status, result,
};
use windows_sys::Win32::Security::{TOKEN_DUPLICATE, TOKEN_QUERY};
use windows_sys::Win32::Storage::FileSystem::{BY_HANDLE_FILE_INFORMATION, WIN32_FIND_DATAW};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use crate::{told_status, units};

const INVALID_DEVICE_REQUEST: NtStatus = nt_status(0xC000_0010);
const OBJECT_NAME_COLLISION: NtStatus = nt_status(0xC000_0035);
const BUFFER_OVERFLOW: NtStatus = nt_status(0x8000_0005);

/// A volume.
pub struct DokanVolume {
    options: *mut DokanOptions,
    operations: DokanOperations,
    point: String,
    number: u64,
    /// Opens without their close.
    open: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

// SAFETY: the options are only read, and outlive the volume.
unsafe impl Send for DokanVolume {}
// SAFETY: as above.
unsafe impl Sync for DokanVolume {}

/// The mount points that there are, and how many volumes were made.
static MOUNTED: Mutex<Vec<(String, u64)>> = Mutex::new(Vec::new());
static VOLUMES: AtomicU64 = AtomicU64::new(1);

/// An open file: what every request about it carries.
#[derive(Debug)]
pub struct DokanOpened {
    context: u64,
    /// As the open told it.
    pub is_directory: bool,
}

/// The functions of the double, for a program that has it linked in.
pub fn dokan_functions() -> Functions {
    Functions {
        init: DokanInit,
        shutdown: DokanShutdown,
        version: DokanVersion,
        driver_version: DokanDriverVersion,
        create_file_system: DokanCreateFileSystem,
        close_handle: DokanCloseHandle,
        open_requestor_token: DokanOpenRequestorToken,
        get_mount_point_list: DokanGetMountPointList,
        release_mount_point_list: DokanReleaseMountPointList,
    }
}

/// `DokanInit`.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn DokanInit() {}

/// `DokanShutdown`.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn DokanShutdown() {}

/// `DokanVersion`.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn DokanVersion() -> u32 {
    std::env::var("VOLFOLD_DOUBLE_VERSION").ok().and_then(|text| text.parse().ok()).unwrap_or(206)
}

/// `DokanDriverVersion`: 0 without a driver.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn DokanDriverVersion() -> u32 {
    u32::from(std::env::var_os("VOLFOLD_DOUBLE_NO_DRIVER").is_none()) * 400
}

/// `DokanCreateFileSystem`: takes a drive, or an empty folder that is there.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn DokanCreateFileSystem(
    options: *mut DokanOptions,
    operations: *mut DokanOperations,
    out: *mut DokanHandle,
) -> i32 {
    // SAFETY: by the contract of this function.
    let (told, table) = unsafe { (&*options, *operations) };
    if let Some(status) = told_status("VOLFOLD_DOUBLE_CREATE") {
        return status;
    }
    if told.version < 200 {
        return result::VERSION_ERROR;
    }
    // SAFETY: by the contract of this function.
    let point = unsafe { units(told.mount_point) }.to_vec();
    let path = PathBuf::from(OsString::from_wide(&point));
    let is_empty = || path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if point.len() > 256 - 13 || (point.len() > 3 && !is_empty()) {
        return result::MOUNT_POINT_ERROR;
    }
    if told.options & flags::WRITE_PROTECT == 0 || table.zw_create_file.is_none() {
        return result::MOUNT_ERROR;
    }
    let point = String::from_utf16_lossy(&point);
    let number = VOLUMES.fetch_add(1, Ordering::Relaxed);
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).push((point.clone(), number));
    let volume = Box::new(DokanVolume {
        options,
        operations: table,
        point,
        number,
        open: AtomicU64::new(0),
        threads: Mutex::default(),
    });
    let volume = Box::into_raw(volume);
    // SAFETY: by the contract of this function; closing waits for the thread.
    unsafe {
        *out = volume.cast();
        if let Some(report) = std::env::var_os("VOLFOLD_DOUBLE_REPORT") {
            let volume: &'static DokanVolume = &*volume;
            let thread = thread::spawn(move || volume.report(Path::new(&report)));
            volume.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
    }
    result::SUCCESS
}

/// `DokanCloseHandle`: no request runs after it.
///
/// # Safety
/// `handle` must come from [`DokanCreateFileSystem`], and not be used after it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn DokanCloseHandle(handle: DokanHandle) {
    // SAFETY: by the contract of this function.
    let volume = unsafe { Box::from_raw(handle.cast::<DokanVolume>()) };
    let threads =
        std::mem::take(&mut *volume.threads.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in threads {
        thread.join().expect("a thread of the double ends well");
    }
    if let Some(unmounted) = volume.operations.unmounted {
        let mut info = volume.info(0);
        // SAFETY: the options and their context are still there.
        unsafe { unmounted(&raw mut info) };
    }
    let mut mounted = MOUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    mounted.retain(|(_, number)| *number != volume.number);
}

/// `DokanOpenRequestorToken`: that of this process.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn DokanOpenRequestorToken(
    info: *mut DokanFileInfo,
) -> *mut c_void {
    assert!(!info.is_null(), "a request");
    let mut token = ptr::null_mut();
    let access = TOKEN_QUERY | TOKEN_DUPLICATE;
    // SAFETY: the result is a valid place.
    unsafe { OpenProcessToken(GetCurrentProcess(), access, &raw mut token) };
    token
}

/// `DokanGetMountPointList`.
///
/// # Safety
/// `count` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn DokanGetMountPointList(
    _unc_only: i32,
    count: *mut u32,
) -> *mut MountPointInfo {
    let mounted = MOUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = |(point, number): &(String, u64)| {
        let mut info = MountPointInfo {
            kind: 0,
            mount_point: [0; 260],
            unc_name: [0; 64],
            device_name: [0; 64],
            session_id: 0,
            mount_options: 0,
        };
        let device = format!(r"\Device\Volume{{5eedd0ca-0000-0000-0000-{number:012}}}");
        let point = format!(r"\DosDevices\{point}");
        for (unit, slot) in point.encode_utf16().zip(&mut info.mount_point) {
            *slot = unit;
        }
        for (unit, slot) in device.encode_utf16().zip(&mut info.device_name) {
            *slot = unit;
        }
        info
    };
    let list: Box<[MountPointInfo]> = mounted.iter().map(entry).collect();
    // SAFETY: by the contract of this function.
    unsafe { *count = u32::try_from(list.len()).expect("few volumes") };
    // As the genuine library, it does not tell the length when it takes the list back.
    Box::into_raw(list).cast()
}

/// `DokanReleaseMountPointList`; the little memory is left.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn DokanReleaseMountPointList(_list: *mut MountPointInfo) {}

unsafe extern "system" fn fill(data: *mut WIN32_FIND_DATAW, info: *mut DokanFileInfo) -> i32 {
    // SAFETY: `find_files` is called with a list in this place.
    unsafe { (*(*info).processing_context.cast::<Vec<WIN32_FIND_DATAW>>()).push(*data) };
    0
}

unsafe extern "system" fn fill_stream(data: *mut FindStreamData, list: *mut c_void) -> i32 {
    // SAFETY: `find_streams` is called with a list in this place.
    unsafe {
        let name = (*data).stream_name;
        let end = name.iter().position(|unit| *unit == 0).expect("an end");
        let name = String::from_utf16_lossy(&name[..end]);
        (*list.cast::<Vec<(String, i64)>>()).push((name, (*data).stream_size));
    }
    1
}

fn ended(path: &[u16]) -> Vec<u16> {
    path.iter().copied().chain([0]).collect()
}

fn checked(status: NtStatus) -> Result<(), NtStatus> {
    if status < 0 { Err(status) } else { Ok(()) }
}

impl DokanVolume {
    /// The volume behind `handle`.
    ///
    /// # Safety
    /// It must come from [`DokanCreateFileSystem`] and outlive what is given.
    pub unsafe fn of<'a>(handle: DokanHandle) -> &'a Self {
        // SAFETY: by the contract of this function.
        unsafe { &*handle.cast::<Self>() }
    }

    /// Opens without their close.
    pub fn open_files(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    fn info(&self, context: u64) -> DokanFileInfo {
        DokanFileInfo {
            context,
            dokan_context: 0,
            dokan_options: self.options,
            processing_context: ptr::null_mut(),
            process_id: std::process::id(),
            is_directory: 0,
            delete_on_close: 0,
            paging_io: 0,
            synchronous_io: 0,
            nocache: 0,
            write_to_end_of_file: 0,
        }
    }

    /// Opens what is at `path`, with a disposition and options as `NtCreateFile` has them.
    ///
    /// # Errors
    /// The status.
    pub fn open(
        &self,
        path: &[u16],
        access: u32,
        disposition: u32,
        options: u32,
    ) -> Result<DokanOpened, NtStatus> {
        let create = self.operations.zw_create_file.ok_or(INVALID_DEVICE_REQUEST)?;
        let (path, mut info) = (ended(path), self.info(0));
        info.is_directory = u8::from(options & 1 != 0);
        // SAFETY: the path ends with 0, the info is valid.
        let status = unsafe {
            let none = ptr::null_mut();
            create(path.as_ptr(), none, access, 0, 7, disposition, options, &raw mut info)
        };
        // A file that was there is no failure of an open that may make one.
        if status != OBJECT_NAME_COLLISION || disposition != 3 {
            checked(status)?;
        }
        assert_ne!(info.context, 0, "an open without a context");
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(DokanOpened { context: info.context, is_directory: info.is_directory != 0 })
    }

    /// Closes a file, as the last of its handles goes.
    pub fn close(&self, opened: DokanOpened) {
        let mut info = self.info(opened.context);
        let empty = [0];
        // SAFETY: the path ends with 0, the info is valid.
        unsafe {
            if let Some(cleanup) = self.operations.cleanup {
                cleanup(empty.as_ptr(), &raw mut info);
            }
            if let Some(close) = self.operations.close_file {
                close(empty.as_ptr(), &raw mut info);
            }
        }
        assert_eq!(info.context, 0, "a context is left");
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Reads into `buf`.
    ///
    /// # Errors
    /// The status.
    pub fn read(
        &self,
        opened: &DokanOpened,
        offset: i64,
        buf: &mut [u8],
    ) -> Result<usize, NtStatus> {
        let read = self.operations.read_file.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut info, mut count, empty) = (self.info(opened.context), 0, [0]);
        let length = u32::try_from(buf.len()).expect("a short read");
        // SAFETY: the length is that of the buffer.
        checked(unsafe {
            let out = buf.as_mut_ptr().cast();
            read(empty.as_ptr(), out, length, &raw mut count, offset, &raw mut info)
        })?;
        assert!(count <= length, "more bytes than the buffer holds");
        Ok(count as usize)
    }

    /// The metadata.
    ///
    /// # Errors
    /// The status.
    pub fn metadata(&self, opened: &DokanOpened) -> Result<BY_HANDLE_FILE_INFORMATION, NtStatus> {
        let get = self.operations.get_file_information.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut info, empty) = (self.info(opened.context), [0]);
        let mut out = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: all are valid.
        checked(unsafe { get(empty.as_ptr(), &raw mut out, &raw mut info) })?;
        Ok(out)
    }

    /// The entries of a directory.
    ///
    /// # Errors
    /// The status.
    pub fn list(&self, opened: &DokanOpened) -> Result<Vec<WIN32_FIND_DATAW>, NtStatus> {
        let find = self.operations.find_files.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut info, empty) = (self.info(opened.context), [0]);
        let mut list: Vec<WIN32_FIND_DATAW> = Vec::new();
        info.processing_context = (&raw mut list).cast();
        // SAFETY: all are valid, and the list is there until the call ends.
        checked(unsafe { find(empty.as_ptr(), fill, &raw mut info) })?;
        Ok(list)
    }

    /// The streams of a file, as `:name:$DATA`, and their sizes.
    ///
    /// # Errors
    /// The status.
    pub fn streams(&self, opened: &DokanOpened) -> Result<Vec<(String, i64)>, NtStatus> {
        let find = self.operations.find_streams.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut info, empty) = (self.info(opened.context), [0]);
        let mut list: Vec<(String, i64)> = Vec::new();
        // SAFETY: all are valid, and the list is there until the call ends.
        checked(unsafe {
            find(empty.as_ptr(), fill_stream, (&raw mut list).cast(), &raw mut info)
        })?;
        Ok(list)
    }

    /// The parts `wanted` of the security descriptor; asked for its size first.
    ///
    /// # Errors
    /// The status.
    pub fn security(&self, opened: &DokanOpened, wanted: u32) -> Result<Vec<u8>, NtStatus> {
        let get = self.operations.get_file_security.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut wanted, mut needed, empty) = (wanted, 0, [0]);
        let mut bytes = vec![0_u8; 1];
        for _ in 0..2 {
            let mut info = self.info(opened.context);
            let room = u32::try_from(bytes.len()).expect("a small buffer");
            // SAFETY: the size is that of the buffer.
            let status = unsafe {
                let out = bytes.as_mut_ptr().cast();
                get(empty.as_ptr(), &raw mut wanted, out, room, &raw mut needed, &raw mut info)
            };
            if status != BUFFER_OVERFLOW {
                checked(status)?;
                break;
            }
            bytes = vec![0; needed as usize];
        }
        Ok(bytes)
    }

    /// Label, serial number, name of the file system, and flags.
    ///
    /// # Errors
    /// The status.
    pub fn volume(&self) -> Result<(String, u32, String, u32), NtStatus> {
        let get = self.operations.get_volume_information.ok_or(INVALID_DEVICE_REQUEST)?;
        let mut info = self.info(0);
        let (mut label, mut kind) = ([0_u16; 260], [0_u16; 260]);
        let (mut serial, mut longest, mut flags) = (0, 0, 0);
        // SAFETY: the sizes are those of the buffers.
        checked(unsafe {
            get(
                label.as_mut_ptr(),
                260,
                &raw mut serial,
                &raw mut longest,
                &raw mut flags,
                kind.as_mut_ptr(),
                260,
                &raw mut info,
            )
        })?;
        assert_eq!(longest, 255);
        let text = |units: &[u16]| {
            let end = units.iter().position(|unit| *unit == 0).expect("an end");
            String::from_utf16_lossy(&units[..end])
        };
        Ok((text(&label), serial, text(&kind), flags))
    }

    /// Size and free bytes.
    ///
    /// # Errors
    /// The status.
    pub fn space(&self) -> Result<(u64, u64), NtStatus> {
        let get = self.operations.get_disk_free_space.ok_or(INVALID_DEVICE_REQUEST)?;
        let (mut info, mut available, mut size, mut free) = (self.info(0), 0, 0, 0);
        // SAFETY: all are valid.
        checked(unsafe { get(&raw mut available, &raw mut size, &raw mut free, &raw mut info) })?;
        assert_eq!(available, free);
        Ok((size, free))
    }

    /// Writes the names of the volume's top directories, one on each line, to `file` with the ending
    /// `dokan`, and below them the mount point as it was told.
    fn report(&self, file: &Path) {
        let root = self.open(&[u16::from(b'\\')], 1, 1, 0).expect("the root");
        let entries = self.list(&root).expect("a listing");
        self.close(root);
        let mut lines: Vec<String> = entries.iter().map(name_of).collect();
        lines.sort();
        lines.push(self.point.clone());
        let part = file.with_extension("dokan.part");
        let whole = file.with_extension("dokan");
        let _ = std::fs::write(&part, lines.join("\n")).and_then(|()| std::fs::rename(part, whole));
    }
}

/// The name of an entry.
pub fn name_of(entry: &WIN32_FIND_DATAW) -> String {
    let end = entry.cFileName.iter().position(|unit| *unit == 0).unwrap_or(260);
    String::from_utf16_lossy(&entry.cFileName[..end])
}
