//! The structures and functions of WinFsp's DLL, as `winfsp/winfsp.h` and `winfsp/fsctl.h` (2.1)
//! declare them, for 64-bit hosts.
//!
//! Sizes are held here, offsets and bits by a test against bindings that were made from the headers.

#![expect(missing_docs, reason = "the fields are those of the headers, which document them")]

use std::ffi::c_void;

pub use crate::folder::status::{NtStatus, number as nt_status};
pub use crate::folder::windows::FileInfo;

/// A file system of the DLL.
pub type FileSystemPtr = *mut FspFileSystem;

/// `FSP_FSCTL_VOLUME_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolumeParams {
    pub version: u16,
    pub sector_size: u16,
    pub sectors_per_allocation_unit: u16,
    pub max_component_length: u16,
    pub volume_creation_time: u64,
    pub volume_serial_number: u32,
    pub transact_timeout: u32,
    pub irp_timeout: u32,
    pub irp_capacity: u32,
    pub file_info_timeout: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    pub prefix: [u16; 192],
    pub file_system_name: [u16; 16],
    /// Bits of [`valid`].
    pub valid: u32,
    pub volume_info_timeout: u32,
    pub dir_info_timeout: u32,
    pub security_timeout: u32,
    pub stream_info_timeout: u32,
    pub ea_timeout: u32,
    pub fsext_control_code: u32,
    pub reserved32: u32,
    pub reserved64: [u64; 2],
}

/// Bits of [`VolumeParams::flags`].
pub mod flags {
    pub const CASE_SENSITIVE_SEARCH: u32 = 1 << 0;
    pub const CASE_PRESERVED_NAMES: u32 = 1 << 1;
    pub const UNICODE_ON_DISK: u32 = 1 << 2;
    pub const PERSISTENT_ACLS: u32 = 1 << 3;
    pub const REPARSE_POINTS: u32 = 1 << 4;
    pub const NAMED_STREAMS: u32 = 1 << 6;
    pub const READ_ONLY_VOLUME: u32 = 1 << 9;
    pub const POST_CLEANUP_WHEN_MODIFIED_ONLY: u32 = 1 << 10;
    pub const PASS_QUERY_DIRECTORY_FILE_NAME: u32 = 1 << 13;
    pub const UM_FILE_CONTEXT_IS_USER_CONTEXT2: u32 = 1 << 16;
    pub const UM_NO_REPARSE_POINTS_DIR_CHECK: u32 = 1 << 18;
    pub const ALLOW_OPEN_IN_KERNEL_MODE: u32 = 1 << 24;
    pub const DIRECTORY_MARKER_AS_NEXT_OFFSET: u32 = 1 << 27;
}

/// Bits of [`VolumeParams::valid`]: which of the separate timeouts count.
pub mod valid {
    pub const VOLUME_INFO_TIMEOUT: u32 = 1 << 0;
    pub const DIR_INFO_TIMEOUT: u32 = 1 << 1;
    pub const SECURITY_TIMEOUT: u32 = 1 << 2;
    pub const STREAM_INFO_TIMEOUT: u32 = 1 << 3;
    pub const EA_TIMEOUT: u32 = 1 << 4;
}

/// `FSP_FSCTL_VOLUME_INFO`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolumeInfo {
    pub total_size: u64,
    pub free_size: u64,
    /// In bytes.
    pub volume_label_length: u16,
    pub volume_label: [u16; 32],
}

/// `FSP_FSCTL_OPEN_FILE_INFO`, which every `FileInfo` of an open lies in the beginning of.
#[repr(C)]
pub struct OpenFileInfo {
    pub file_info: FileInfo,
    pub normalized_name: *mut u16,
    /// In bytes; on entry what the buffer holds.
    pub normalized_name_size: u16,
}

/// The head of `FSP_FSCTL_DIR_INFO`; the name follows, without an end mark.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DirInfo {
    /// Of head and name, in bytes.
    pub size: u16,
    pub file_info: FileInfo,
    pub next_offset: u64,
    pub padding: [u64; 2],
}

/// The head of `FSP_FSCTL_STREAM_INFO`; the name follows, without an end mark.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamInfo {
    /// Of head and name, in bytes.
    pub size: u16,
    pub stream_size: u64,
    pub stream_allocation_size: u64,
}

/// `IO_STATUS_BLOCK`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IoStatusBlock {
    pub status: usize,
    pub information: usize,
}

/// A callback that only refuses; its arguments do not matter.
pub type Refuse = unsafe extern "C" fn() -> NtStatus;

/// `FSP_FILE_SYSTEM_INTERFACE`; the mutating calls are all of type [`Refuse`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Interface {
    pub get_volume_info: Option<unsafe extern "C" fn(FileSystemPtr, *mut VolumeInfo) -> NtStatus>,
    pub set_volume_label: Option<Refuse>,
    pub get_security_by_name: Option<
        unsafe extern "C" fn(
            FileSystemPtr,
            *const u16,
            *mut u32,
            *mut c_void,
            *mut usize,
        ) -> NtStatus,
    >,
    pub create: Option<Refuse>,
    pub open: Option<
        unsafe extern "C" fn(
            FileSystemPtr,
            *const u16,
            u32,
            u32,
            *mut *mut c_void,
            *mut FileInfo,
        ) -> NtStatus,
    >,
    pub overwrite: Option<Refuse>,
    pub cleanup: Option<unsafe extern "C" fn(FileSystemPtr, *mut c_void, *const u16, u32)>,
    pub close: Option<unsafe extern "C" fn(FileSystemPtr, *mut c_void)>,
    pub read: Option<
        unsafe extern "C" fn(
            FileSystemPtr,
            *mut c_void,
            *mut c_void,
            u64,
            u32,
            *mut u32,
        ) -> NtStatus,
    >,
    pub write: Option<Refuse>,
    pub flush: Option<unsafe extern "C" fn(FileSystemPtr, *mut c_void, *mut FileInfo) -> NtStatus>,
    pub get_file_info:
        Option<unsafe extern "C" fn(FileSystemPtr, *mut c_void, *mut FileInfo) -> NtStatus>,
    pub set_basic_info: Option<Refuse>,
    pub set_file_size: Option<Refuse>,
    pub can_delete: Option<Refuse>,
    pub rename: Option<Refuse>,
    pub get_security: Option<
        unsafe extern "C" fn(FileSystemPtr, *mut c_void, *mut c_void, *mut usize) -> NtStatus,
    >,
    pub set_security: Option<Refuse>,
    pub read_directory: Option<
        unsafe extern "C" fn(
            FileSystemPtr,
            *mut c_void,
            *const u16,
            *const u16,
            *mut c_void,
            u32,
            *mut u32,
        ) -> NtStatus,
    >,
    pub resolve_reparse_points: Option<
        unsafe extern "C" fn(
            FileSystemPtr,
            *const u16,
            u32,
            u8,
            *mut IoStatusBlock,
            *mut c_void,
            *mut usize,
        ) -> NtStatus,
    >,
    pub get_reparse_point: Option<
        unsafe extern "C" fn(
            FileSystemPtr,
            *mut c_void,
            *const u16,
            *mut c_void,
            *mut usize,
        ) -> NtStatus,
    >,
    pub set_reparse_point: Option<Refuse>,
    pub delete_reparse_point: Option<Refuse>,
    pub get_stream_info: Option<
        unsafe extern "C" fn(FileSystemPtr, *mut c_void, *mut c_void, u32, *mut u32) -> NtStatus,
    >,
    pub get_dir_info_by_name: Option<
        unsafe extern "C" fn(FileSystemPtr, *mut c_void, *const u16, *mut DirInfo) -> NtStatus,
    >,
    pub control: Option<Refuse>,
    pub set_delete: Option<Refuse>,
    pub create_ex: Option<Refuse>,
    pub overwrite_ex: Option<Refuse>,
    pub get_ea: Option<Refuse>,
    pub set_ea: Option<Refuse>,
    pub obsolete0: Option<Refuse>,
    pub dispatcher_stopped: Option<unsafe extern "C" fn(FileSystemPtr, u8)>,
    pub reserved: [Option<Refuse>; 31],
}

/// `FSP_FILE_SYSTEM`. Only `user_context` is ours to write.
#[repr(C)]
pub struct FspFileSystem {
    pub version: u16,
    pub user_context: *mut c_void,
    pub volume_name: [u16; 256],
    pub volume_handle: *mut c_void,
    pub enter_operation: *mut c_void,
    pub leave_operation: *mut c_void,
    pub operations: [*mut c_void; 22],
    pub interface: *const Interface,
    pub dispatcher_thread: *mut c_void,
    pub dispatcher_thread_count: u32,
    pub dispatcher_result: NtStatus,
    pub mount_point: *mut u16,
    pub mount_handle: *mut c_void,
    pub debug_log: u32,
    pub op_guard_strategy: u32,
    pub op_guard_lock: *mut c_void,
    pub um_file_context_is_user_context2: u8,
    pub um_file_context_is_full_context: u8,
    pub um_bits: u16,
}

const _: () = {
    assert!(size_of::<VolumeParams>() == 504);
    assert!(size_of::<VolumeInfo>() == 88);
    assert!(size_of::<FileInfo>() == 72);
    assert!(size_of::<DirInfo>() == 104);
    assert!(size_of::<StreamInfo>() == 24);
    assert!(size_of::<Interface>() == 64 * size_of::<usize>());
    assert!(size_of::<FspFileSystem>() == 792);
};

/// The parameter `GetReparsePointByName` of the headers: tells the reparse data of a path, if it has
/// any.
pub type ReparsePointByName = unsafe extern "C" fn(
    FileSystemPtr,
    *mut c_void,
    *const u16,
    u8,
    *mut c_void,
    *mut usize,
) -> NtStatus;

/// `FspVersion`.
pub type Version = unsafe extern "C" fn(*mut u32) -> NtStatus;

/// `FspFileSystemCreate`.
pub type Create = unsafe extern "C" fn(
    *const u16,
    *const VolumeParams,
    *const Interface,
    *mut FileSystemPtr,
) -> NtStatus;

/// `FspFileSystemDelete` and `FspFileSystemStopDispatcher`.
pub type OnFileSystem = unsafe extern "C" fn(FileSystemPtr);

/// `FspFileSystemSetMountPointEx`.
pub type SetMountPointEx = unsafe extern "C" fn(FileSystemPtr, *const u16, *mut c_void) -> NtStatus;

/// `FspFileSystemStartDispatcher`.
pub type StartDispatcher = unsafe extern "C" fn(FileSystemPtr, u32) -> NtStatus;

/// `FspFileSystemResolveReparsePoints`.
pub type ResolveReparsePoints = unsafe extern "C" fn(
    FileSystemPtr,
    ReparsePointByName,
    *mut c_void,
    *const u16,
    u32,
    u8,
    *mut IoStatusBlock,
    *mut c_void,
    *mut usize,
) -> NtStatus;

/// The functions of the DLL that are called here.
#[derive(Clone, Copy)]
pub struct Functions {
    pub version: Version,
    pub create: Create,
    pub delete: OnFileSystem,
    pub set_mount_point_ex: SetMountPointEx,
    pub start_dispatcher: StartDispatcher,
    pub stop_dispatcher: OnFileSystem,
    pub resolve_reparse_points: ResolveReparsePoints,
}
