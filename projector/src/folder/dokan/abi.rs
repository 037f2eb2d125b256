//! The structures and functions of Dokan's DLL, as `dokan/dokan.h` and `sys/public.h` (2.0.6) declare
//! them, for 64-bit hosts.
//!
//! Sizes are held here, offsets by a test against the values that a compiler found in the headers.

#![expect(missing_docs, reason = "the fields are those of the headers, which document them")]

use std::ffi::c_void;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem::{BY_HANDLE_FILE_INFORMATION, WIN32_FIND_DATAW};

pub use crate::folder::status::{NtStatus, number as nt_status};

/// `DOKAN_VERSION` of the headers.
pub const VERSION: u16 = 206;

/// `VOLUME_SECURITY_DESCRIPTOR_MAX_SIZE`.
pub const MAX_SECURITY: usize = 16 << 10;

/// Bits of [`DokanOptions::options`].
pub mod flags {
    pub const ALT_STREAM: u32 = 1 << 2;
    pub const WRITE_PROTECT: u32 = 1 << 3;
    pub const MOUNT_MANAGER: u32 = 1 << 6;
}

/// `DOKAN_OPTIONS`.
#[repr(C)]
pub struct DokanOptions {
    pub version: u16,
    pub single_thread: u8,
    /// Bits of [`flags`].
    pub options: u32,
    pub global_context: u64,
    pub mount_point: *const u16,
    pub unc_name: *const u16,
    /// In milliseconds.
    pub timeout: u32,
    pub allocation_unit_size: u32,
    pub sector_size: u32,
    pub volume_security_descriptor_length: u32,
    pub volume_security_descriptor: [u8; MAX_SECURITY],
}

/// `DOKAN_FILE_INFO`.
#[repr(C)]
pub struct DokanFileInfo {
    pub context: u64,
    pub dokan_context: u64,
    pub dokan_options: *mut DokanOptions,
    pub processing_context: *mut c_void,
    pub process_id: u32,
    pub is_directory: u8,
    pub delete_on_close: u8,
    pub paging_io: u8,
    pub synchronous_io: u8,
    pub nocache: u8,
    pub write_to_end_of_file: u8,
}

/// `WIN32_FIND_STREAM_DATA`.
#[repr(C)]
pub struct FindStreamData {
    pub stream_size: i64,
    pub stream_name: [u16; 296],
}

/// `DOKAN_MOUNT_POINT_INFO`.
#[repr(C)]
pub struct MountPointInfo {
    pub kind: u32,
    pub mount_point: [u16; 260],
    pub unc_name: [u16; 64],
    pub device_name: [u16; 64],
    pub session_id: u32,
    pub mount_options: u32,
}

/// `PFillFindData`.
pub type FillFindData = unsafe extern "system" fn(*mut WIN32_FIND_DATAW, *mut DokanFileInfo) -> i32;

/// `PFillFindStreamData`.
pub type FillFindStreamData = unsafe extern "system" fn(*mut FindStreamData, *mut c_void) -> i32;

/// A callback that only refuses; its arguments do not matter.
pub type Refuse = unsafe extern "system" fn() -> NtStatus;

type Path = *const u16;
type Info = *mut DokanFileInfo;

/// `DOKAN_OPERATIONS`; the mutating calls are all of type [`Refuse`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DokanOperations {
    pub zw_create_file: Option<
        unsafe extern "system" fn(Path, *mut c_void, u32, u32, u32, u32, u32, Info) -> NtStatus,
    >,
    pub cleanup: Option<unsafe extern "system" fn(Path, Info)>,
    pub close_file: Option<unsafe extern "system" fn(Path, Info)>,
    pub read_file:
        Option<unsafe extern "system" fn(Path, *mut c_void, u32, *mut u32, i64, Info) -> NtStatus>,
    pub write_file: Option<Refuse>,
    pub flush_file_buffers: Option<unsafe extern "system" fn(Path, Info) -> NtStatus>,
    pub get_file_information:
        Option<unsafe extern "system" fn(Path, *mut BY_HANDLE_FILE_INFORMATION, Info) -> NtStatus>,
    pub find_files: Option<unsafe extern "system" fn(Path, FillFindData, Info) -> NtStatus>,
    pub find_files_with_pattern: Option<Refuse>,
    pub set_file_attributes: Option<Refuse>,
    pub set_file_time: Option<Refuse>,
    pub delete_file: Option<Refuse>,
    pub delete_directory: Option<Refuse>,
    pub move_file: Option<Refuse>,
    pub set_end_of_file: Option<Refuse>,
    pub set_allocation_size: Option<Refuse>,
    pub lock_file: Option<Refuse>,
    pub unlock_file: Option<Refuse>,
    pub get_disk_free_space:
        Option<unsafe extern "system" fn(*mut u64, *mut u64, *mut u64, Info) -> NtStatus>,
    pub get_volume_information: Option<
        unsafe extern "system" fn(
            *mut u16,
            u32,
            *mut u32,
            *mut u32,
            *mut u32,
            *mut u16,
            u32,
            Info,
        ) -> NtStatus,
    >,
    pub mounted: Option<unsafe extern "system" fn(Path, Info) -> NtStatus>,
    pub unmounted: Option<unsafe extern "system" fn(Info) -> NtStatus>,
    pub get_file_security: Option<
        unsafe extern "system" fn(Path, *mut u32, *mut c_void, u32, *mut u32, Info) -> NtStatus,
    >,
    pub set_file_security: Option<Refuse>,
    pub find_streams:
        Option<unsafe extern "system" fn(Path, FillFindStreamData, *mut c_void, Info) -> NtStatus>,
}

const _: () = {
    assert!(size_of::<DokanOptions>() == 16432);
    assert!(size_of::<DokanFileInfo>() == 48);
    assert!(size_of::<FindStreamData>() == 600);
    assert!(size_of::<MountPointInfo>() == 788);
    assert!(size_of::<DokanOperations>() == 25 * size_of::<usize>());
    assert!(size_of::<FILETIME>() == 8);
};

/// `DOKAN_HANDLE`.
pub type DokanHandle = *mut c_void;

/// What `DokanCreateFileSystem` answers.
pub mod result {
    pub const SUCCESS: i32 = 0;
    pub const DRIVE_LETTER_ERROR: i32 = -2;
    pub const DRIVER_INSTALL_ERROR: i32 = -3;
    pub const START_ERROR: i32 = -4;
    pub const MOUNT_ERROR: i32 = -5;
    pub const MOUNT_POINT_ERROR: i32 = -6;
    pub const VERSION_ERROR: i32 = -7;
}

/// `DokanInit` and `DokanShutdown`.
pub type Plain = unsafe extern "system" fn();

/// `DokanVersion` and `DokanDriverVersion`.
pub type Version = unsafe extern "system" fn() -> u32;

/// `DokanCreateFileSystem`.
pub type CreateFileSystem =
    unsafe extern "system" fn(*mut DokanOptions, *mut DokanOperations, *mut DokanHandle) -> i32;

/// `DokanCloseHandle`.
pub type CloseHandle = unsafe extern "system" fn(DokanHandle);

/// `DokanOpenRequestorToken`.
pub type OpenRequestorToken = unsafe extern "system" fn(*mut DokanFileInfo) -> *mut c_void;

/// `DokanGetMountPointList`.
pub type GetMountPointList = unsafe extern "system" fn(i32, *mut u32) -> *mut MountPointInfo;

/// `DokanReleaseMountPointList`.
pub type ReleaseMountPointList = unsafe extern "system" fn(*mut MountPointInfo);

/// The functions of the DLL that are called here.
#[derive(Clone, Copy)]
pub struct Functions {
    pub init: Plain,
    pub shutdown: Plain,
    pub version: Version,
    pub driver_version: Version,
    pub create_file_system: CreateFileSystem,
    pub close_handle: CloseHandle,
    pub open_requestor_token: OpenRequestorToken,
    pub get_mount_point_list: GetMountPointList,
    pub release_mount_point_list: ReleaseMountPointList,
}
