//! Our structures against bindings that were made from the genuine headers.

use std::mem::offset_of;

use volfold_projector::folder::winfsp::abi::{
    DirInfo, FileInfo, FspFileSystem, Interface, OpenFileInfo, StreamInfo, VolumeInfo,
    VolumeParams, flags, valid,
};
use winfsp_wrs_sys as headers;

use crate::harness::{apply, test};

macro_rules! same {
    ($theirs:ty, $ours:ty: $($their:ident $our:ident),* $(,)?) => {
        $(assert_eq!(
            offset_of!($theirs, $their),
            offset_of!($ours, $our),
            "{}.{}", stringify!($ours), stringify!($our)
        );)*
    };
}

macro_rules! same_size {
    ($($theirs:ty, $ours:ty);* $(;)?) => {
        $(assert_eq!(size_of::<$theirs>(), size_of::<$ours>(), "{}", stringify!($ours));)*
    };
}

#[apply(test)]
fn sizes_are_those_of_the_headers() {
    same_size! {
        headers::FSP_FSCTL_VOLUME_PARAMS, VolumeParams;
        headers::FSP_FSCTL_VOLUME_INFO, VolumeInfo;
        headers::FSP_FSCTL_FILE_INFO, FileInfo;
        headers::FSP_FSCTL_OPEN_FILE_INFO, OpenFileInfo;
        headers::FSP_FSCTL_DIR_INFO, DirInfo;
        headers::FSP_FSCTL_STREAM_INFO, StreamInfo;
        headers::FSP_FILE_SYSTEM_INTERFACE, Interface;
        headers::FSP_FILE_SYSTEM, FspFileSystem;
    }
}

#[apply(test)]
fn structures_lie_as_in_the_headers() {
    same!(headers::FSP_FSCTL_VOLUME_PARAMS, VolumeParams:
        Version version, SectorSize sector_size,
        SectorsPerAllocationUnit sectors_per_allocation_unit,
        MaxComponentLength max_component_length, VolumeCreationTime volume_creation_time,
        VolumeSerialNumber volume_serial_number, TransactTimeout transact_timeout,
        IrpTimeout irp_timeout, IrpCapacity irp_capacity, FileInfoTimeout file_info_timeout,
        Prefix prefix, FileSystemName file_system_name, VolumeInfoTimeout volume_info_timeout,
        DirInfoTimeout dir_info_timeout, SecurityTimeout security_timeout,
        StreamInfoTimeout stream_info_timeout, EaTimeout ea_timeout,
        FsextControlCode fsext_control_code,
    );
    same!(headers::FSP_FSCTL_VOLUME_INFO, VolumeInfo:
        TotalSize total_size, FreeSize free_size, VolumeLabelLength volume_label_length,
        VolumeLabel volume_label,
    );
    same!(headers::FSP_FSCTL_FILE_INFO, FileInfo:
        FileAttributes file_attributes, ReparseTag reparse_tag, AllocationSize allocation_size,
        FileSize file_size, CreationTime creation_time, LastAccessTime last_access_time,
        LastWriteTime last_write_time, ChangeTime change_time, IndexNumber index_number,
        HardLinks hard_links, EaSize ea_size,
    );
    same!(headers::FSP_FSCTL_OPEN_FILE_INFO, OpenFileInfo:
        FileInfo file_info, NormalizedName normalized_name,
        NormalizedNameSize normalized_name_size,
    );
    same!(headers::FSP_FSCTL_STREAM_INFO, StreamInfo:
        Size size, StreamSize stream_size, StreamAllocationSize stream_allocation_size,
    );
    same!(headers::FSP_FSCTL_DIR_INFO, DirInfo: Size size, FileInfo file_info);
    assert_eq!(offset_of!(headers::FSP_FSCTL_DIR_INFO, FileNameBuf), size_of::<DirInfo>());
    assert_eq!(offset_of!(headers::FSP_FSCTL_STREAM_INFO, StreamNameBuf), size_of::<StreamInfo>());
    same!(headers::FSP_FILE_SYSTEM, FspFileSystem:
        Version version, UserContext user_context, VolumeName volume_name,
        VolumeHandle volume_handle, EnterOperation enter_operation,
        LeaveOperation leave_operation, Operations operations, Interface interface,
        DispatcherThread dispatcher_thread, DispatcherThreadCount dispatcher_thread_count,
        DispatcherResult dispatcher_result, MountPoint mount_point, MountHandle mount_handle,
        DebugLog debug_log, OpGuardStrategy op_guard_strategy, OpGuardLock op_guard_lock,
    );
}

#[apply(test)]
fn callbacks_stand_at_their_places() {
    same!(headers::FSP_FILE_SYSTEM_INTERFACE, Interface:
        GetVolumeInfo get_volume_info, SetVolumeLabelW set_volume_label,
        GetSecurityByName get_security_by_name, Create create, Open open, Overwrite overwrite,
        Cleanup cleanup, Close close, Read read, Write write, Flush flush,
        GetFileInfo get_file_info, SetBasicInfo set_basic_info, SetFileSize set_file_size,
        CanDelete can_delete, Rename rename, GetSecurity get_security, SetSecurity set_security,
        ReadDirectory read_directory, ResolveReparsePoints resolve_reparse_points,
        GetReparsePoint get_reparse_point, SetReparsePoint set_reparse_point,
        DeleteReparsePoint delete_reparse_point, GetStreamInfo get_stream_info,
        GetDirInfoByName get_dir_info_by_name, Control control, SetDelete set_delete,
        CreateEx create_ex, OverwriteEx overwrite_ex, GetEa get_ea, SetEa set_ea,
        Obsolete0 obsolete0, DispatcherStopped dispatcher_stopped,
    );
}

/// The two words of flags of a structure of the headers.
fn words(set: impl FnOnce(&mut headers::FSP_FSCTL_VOLUME_PARAMS)) -> (u32, u32) {
    let mut theirs = headers::FSP_FSCTL_VOLUME_PARAMS::default();
    set(&mut theirs);
    // SAFETY: both are plain data of one size.
    let ours: VolumeParams = unsafe { std::mem::transmute(theirs) };
    (ours.flags, ours.valid)
}

#[apply(test)]
fn flags_are_the_bits_of_the_headers() {
    macro_rules! flag {
        ($($setter:ident $flag:ident),* $(,)?) => {
            $(assert_eq!(words(|p| p.$setter(1)), (flags::$flag, 0), stringify!($flag));)*
        };
    }
    flag! {
        set_CaseSensitiveSearch CASE_SENSITIVE_SEARCH,
        set_CasePreservedNames CASE_PRESERVED_NAMES,
        set_UnicodeOnDisk UNICODE_ON_DISK,
        set_PersistentAcls PERSISTENT_ACLS,
        set_ReparsePoints REPARSE_POINTS,
        set_NamedStreams NAMED_STREAMS,
        set_ReadOnlyVolume READ_ONLY_VOLUME,
        set_PostCleanupWhenModifiedOnly POST_CLEANUP_WHEN_MODIFIED_ONLY,
        set_PassQueryDirectoryFileName PASS_QUERY_DIRECTORY_FILE_NAME,
        set_UmFileContextIsUserContext2 UM_FILE_CONTEXT_IS_USER_CONTEXT2,
        set_UmNoReparsePointsDirCheck UM_NO_REPARSE_POINTS_DIR_CHECK,
        set_AllowOpenInKernelMode ALLOW_OPEN_IN_KERNEL_MODE,
        set_DirectoryMarkerAsNextOffset DIRECTORY_MARKER_AS_NEXT_OFFSET,
    }
    macro_rules! valid {
        ($($setter:ident $flag:ident),* $(,)?) => {
            $(assert_eq!(words(|p| p.$setter(1)), (0, valid::$flag), stringify!($flag));)*
        };
    }
    valid! {
        set_VolumeInfoTimeoutValid VOLUME_INFO_TIMEOUT,
        set_DirInfoTimeoutValid DIR_INFO_TIMEOUT,
        set_SecurityTimeoutValid SECURITY_TIMEOUT,
        set_StreamInfoTimeoutValid STREAM_INFO_TIMEOUT,
        set_EaTimeoutValid EA_TIMEOUT,
    }
}

/// `tests/windows/dokan_layout.c` holds the same numbers against the headers.
#[apply(test)]
fn dokan_layout() {
    use volfold_projector::folder::dokan::abi::{
        DokanFileInfo, DokanOperations, DokanOptions, FindStreamData, MountPointInfo,
    };
    macro_rules! at {
        ($type:ty: $($field:ident $offset:literal),*) => {
            $(assert_eq!(offset_of!($type, $field), $offset, stringify!($field));)*
        };
    }
    at!(DokanOptions: single_thread 2, options 4, global_context 8, mount_point 16, unc_name 24);
    at!(DokanOptions: timeout 32, allocation_unit_size 36, sector_size 40);
    at!(DokanOptions: volume_security_descriptor_length 44, volume_security_descriptor 48);
    at!(DokanFileInfo: context 0, dokan_options 16, processing_context 24, process_id 32);
    at!(DokanFileInfo: is_directory 36, write_to_end_of_file 41);
    at!(MountPointInfo: mount_point 4, device_name 652, session_id 780);
    at!(FindStreamData: stream_name 8);
    at!(DokanOperations: zw_create_file 0, cleanup 8, close_file 16, read_file 24);
    at!(DokanOperations: flush_file_buffers 40, get_file_information 48, find_files 56);
    at!(DokanOperations: find_files_with_pattern 64, move_file 104, lock_file 128);
    at!(DokanOperations: get_disk_free_space 144, get_volume_information 152, unmounted 168);
    at!(DokanOperations: get_file_security 176, find_streams 192);
}
