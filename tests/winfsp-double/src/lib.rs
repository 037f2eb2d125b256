//! A double of WinFsp's DLL: no driver, and every rule of the genuine one enforced.
//!
//! As a DLL it takes the place of `winfsp-x64.dll` in the built program: when it is mounted, some
//! threads walk the volume and write what they saw into the file that `VOLFOLD_DOUBLE_REPORT`
//! names. As a library it lets a test put its own requests: see `Double`.
#![cfg(windows)]
#![expect(unsafe_code, reason = "it is called, and calls back, with raw pointers")]
#![expect(clippy::expect_used, reason = "a test stops by a panic")]

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use volfold_projector::folder::winfsp::abi::{
    FileSystemPtr, FspFileSystem, Functions, Interface, NtStatus, VolumeParams, flags, nt_status,
};

mod dokan;
mod requests;
mod resolve;
mod script;

pub use dokan::{DokanOpened, DokanVolume, dokan_functions, name_of};
pub use requests::{
    Double, Listed, OPEN_REPARSE_POINT, Opened, Requests, list, parse_page, parse_streams, wide,
};
pub use resolve::{FspFileSystemResolveReparsePoints, reparse_path};
pub use script::walk;

const SUCCESS: NtStatus = 0;
const INVALID_PARAMETER: NtStatus = nt_status(0xC000_000D);
const OBJECT_NAME_COLLISION: NtStatus = nt_status(0xC000_0035);
const OBJECT_PATH_NOT_FOUND: NtStatus = nt_status(0xC000_003A);

/// What `FspVersion` says: 2.1.
const VERSION: u32 = 0x0002_0001;

/// A volume. The DLL's own structure comes first, so that a pointer to one is one to the other.
#[repr(C)]
struct Volume {
    public: FspFileSystem,
    params: VolumeParams,
    interface: Interface,
    /// Requests that run.
    running: AtomicUsize,
    stopping: AtomicBool,
    /// Opens without their close.
    open: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The mount point, which is there as long as the volume.
    folder: Mutex<Option<PathBuf>>,
}

/// The volume behind `fs`.
///
/// # Safety
/// `fs` must come from [`FspFileSystemCreate`] and not have gone to [`FspFileSystemDelete`].
unsafe fn volume<'a>(fs: FileSystemPtr) -> &'a Volume {
    // SAFETY: by the contract of this function; `public` is the first field.
    unsafe { &*fs.cast::<Volume>() }
}

/// The functions of the double, for a program that has it linked in.
pub fn functions() -> Functions {
    Functions {
        version: FspVersion,
        create: FspFileSystemCreate,
        delete: FspFileSystemDelete,
        set_mount_point_ex: FspFileSystemSetMountPointEx,
        start_dispatcher: FspFileSystemStartDispatcher,
        stop_dispatcher: FspFileSystemStopDispatcher,
        resolve_reparse_points: FspFileSystemResolveReparsePoints,
    }
}

/// `FspVersion`.
///
/// # Safety
/// `version` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspVersion(version: *mut u32) -> NtStatus {
    let told = std::env::var("VOLFOLD_DOUBLE_VERSION").ok().and_then(|text| text.parse().ok());
    // SAFETY: by the contract of this function.
    unsafe { *version = told.unwrap_or(VERSION) };
    SUCCESS
}

/// `FspFileSystemCreate`.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspFileSystemCreate(
    device: *const u16,
    params: *const VolumeParams,
    interface: *const Interface,
    out: *mut FileSystemPtr,
) -> NtStatus {
    // SAFETY: by the contract of this function.
    let (device, params, table) = unsafe { (text(device), *params, *interface) };
    if let Some(status) = told_status("VOLFOLD_DOUBLE_CREATE") {
        return status;
    }
    let both = flags::UM_FILE_CONTEXT_IS_USER_CONTEXT2 | FULL_CONTEXT;
    if device != "WinFsp.Disk"
        || !matches!(params.version, 0 | 504)
        || params.flags & both == both
        || !params.sector_size.is_power_of_two()
        || params.max_component_length > 255
    {
        return INVALID_PARAMETER;
    }
    // SAFETY: numbers, pointers and optional functions may all be 0.
    let mut public: FspFileSystem = unsafe { std::mem::zeroed() };
    let number = VOLUMES.fetch_add(1, Ordering::Relaxed);
    let name = format!(r"\Device\Volume{{5eed0000-0000-0000-0000-{number:012}}}");
    for (unit, slot) in name.encode_utf16().zip(&mut public.volume_name) {
        *slot = unit;
    }
    public.interface = interface;
    public.um_file_context_is_user_context2 =
        u8::from(params.flags & flags::UM_FILE_CONTEXT_IS_USER_CONTEXT2 != 0);
    let volume = Box::new(Volume {
        public,
        params,
        interface: table,
        running: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        open: AtomicU64::new(0),
        threads: Mutex::default(),
        folder: Mutex::default(),
    });
    // SAFETY: by the contract of this function.
    unsafe { *out = Box::into_raw(volume).cast() };
    SUCCESS
}

/// How many volumes were made.
static VOLUMES: AtomicU64 = AtomicU64::new(1);

/// `UmFileContextIsFullContext`.
const FULL_CONTEXT: u32 = 1 << 17;

/// `FspFileSystemSetMountPointEx`: makes a directory, as the genuine one does, and appends the mount
/// point as it was told to the file that ends in `.points` beside the report.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspFileSystemSetMountPointEx(
    fs: FileSystemPtr,
    mount_point: *const u16,
    _security: *mut std::ffi::c_void,
) -> NtStatus {
    // SAFETY: by the contract of this function.
    let (volume, text) = unsafe { (volume(fs), units(mount_point).to_vec()) };
    if let Some(status) = told_status("VOLFOLD_DOUBLE_MOUNT_POINT") {
        return status;
    }
    wait_while_told();
    let mut folder = volume.folder.lock().unwrap_or_else(PoisonError::into_inner);
    if folder.is_some() {
        return INVALID_PARAMETER;
    }
    if let Some(report) = std::env::var_os("VOLFOLD_DOUBLE_REPORT") {
        let points = PathBuf::from(report).with_extension("points");
        let line = format!("{}\n", String::from_utf16_lossy(&text));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(points);
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    }
    // The form that the Mount Manager is told by.
    let plain = text.strip_prefix(&r"\\.\".encode_utf16().collect::<Vec<_>>()[..]);
    let path = PathBuf::from(OsString::from_wide(plain.unwrap_or(&text)));
    if path.as_os_str().len() > 2 {
        match std::fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return OBJECT_NAME_COLLISION;
            }
            Err(_) => return OBJECT_PATH_NOT_FOUND,
        }
    }
    *folder = Some(path);
    SUCCESS
}

/// Waits while the file exists that `VOLFOLD_DOUBLE_WAIT` names, beside which `.met` tells of it.
fn wait_while_told() {
    let Some(file) = std::env::var_os("VOLFOLD_DOUBLE_WAIT").map(PathBuf::from) else { return };
    while file.exists() {
        let _ = std::fs::write(file.with_extension("met"), "");
        thread::sleep(Duration::from_millis(10));
    }
}

/// `FspFileSystemStartDispatcher`: walks the volume if a report is wanted.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspFileSystemStartDispatcher(fs: FileSystemPtr, threads: u32) -> NtStatus {
    // SAFETY: by the contract of this function.
    let volume = unsafe { volume(fs) };
    let mut running = volume.threads.lock().unwrap_or_else(PoisonError::into_inner);
    if !running.is_empty() || volume.public.user_context.is_null() {
        return INVALID_PARAMETER;
    }
    let Some(report) = std::env::var_os("VOLFOLD_DOUBLE_REPORT") else {
        return SUCCESS;
    };
    let place = volume.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let name = place.as_ref().and_then(|path| path.file_name()).unwrap_or_default();
    let mut file = PathBuf::from(report).into_os_string();
    file.push(".");
    file.push(name);
    let count = if threads == 0 { 4 } else { threads.max(2) };
    let address = fs as usize;
    for number in 0..count {
        let file = file.clone();
        running.push(thread::spawn(move || {
            // SAFETY: stopping waits for this thread, and the volume is deleted after that.
            let double = unsafe { Double::new(address as FileSystemPtr) };
            script::report(&double, number, &PathBuf::from(file));
        }));
    }
    SUCCESS
}

/// `FspFileSystemStopDispatcher`: no request runs after it, and it does not return while the file
/// exists that `VOLFOLD_DOUBLE_HANG` names.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspFileSystemStopDispatcher(fs: FileSystemPtr) {
    // SAFETY: by the contract of this function.
    let volume = unsafe { volume(fs) };
    if volume.stopping.swap(true, Ordering::SeqCst) {
        return;
    }
    let threads =
        std::mem::take(&mut *volume.threads.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in threads {
        thread.join().expect("a thread of the double ends well");
    }
    // As a request that waits for an image on a share that is gone.
    while std::env::var_os("VOLFOLD_DOUBLE_HANG").is_some_and(|file| Path::new(&file).exists()) {
        thread::sleep(Duration::from_millis(10));
    }
    while volume.running.load(Ordering::SeqCst) != 0 {
        thread::sleep(Duration::from_millis(1));
    }
    if let Some(stopped) = volume.interface.dispatcher_stopped {
        // SAFETY: the volume and its context are still there.
        unsafe { stopped(fs, 1) };
    }
}

/// `FspFileSystemDelete`: removes the mount point.
///
/// # Safety
/// As the headers say; the dispatcher must have been stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspFileSystemDelete(fs: FileSystemPtr) {
    // SAFETY: by the contract of this function.
    let volume = unsafe { Box::from_raw(fs.cast::<Volume>()) };
    assert!(volume.stopping.load(Ordering::SeqCst), "deleted without being stopped");
    let folder = volume.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(folder) = folder {
        let _ = std::fs::remove_dir(folder);
    }
}

/// The status that a test wants of a function.
fn told_status(variable: &str) -> Option<NtStatus> {
    let text = std::env::var(variable).ok()?;
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok().map(nt_status)
}

/// The code units before the 0.
///
/// # Safety
/// `text` must end with 0.
unsafe fn units<'a>(text: *const u16) -> &'a [u16] {
    assert!(!text.is_null(), "a name is missing");
    // SAFETY: by the contract of this function.
    unsafe {
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        ptr::slice_from_raw_parts(text, length).as_ref().unwrap_or_default()
    }
}

/// As [`units`], as text.
///
/// # Safety
/// As [`units`].
unsafe fn text(text: *const u16) -> String {
    // SAFETY: by the contract of this function.
    String::from_utf16_lossy(unsafe { units(text) })
}
