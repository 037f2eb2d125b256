//! Functions that would change images, or make others. Nothing is written, so they are refused.

use std::ffi::{c_char, c_void};

use volfold_capi_support::Handle;

use crate::asynchronous::CompletionFunction;
use crate::errors::{Failure, VIX_E_FILE_READ_ONLY, VIX_E_NOT_SUPPORTED, VixError, code_of};
use crate::layout::Bool;

fn read_only() -> VixError {
    code_of(Err(Failure::plain(VIX_E_FILE_READ_ONLY)))
}

fn not_supported() -> VixError {
    code_of(Err(Failure::plain(VIX_E_NOT_SUPPORTED)))
}

/// Refused: VIX_E_FILE_READ_ONLY.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Write(
    _diskHandle: Handle,
    _startSector: u64,
    _numSectors: u64,
    _writeBuffer: *const u8,
) -> VixError {
    read_only()
}

/// Refused: VIX_E_FILE_READ_ONLY, and the callback is not called.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_WriteAsync(
    _diskHandle: Handle,
    _startSector: u64,
    _numSectors: u64,
    _writeBuffer: *const u8,
    _callback: CompletionFunction,
    _cbData: *mut c_void,
) -> VixError {
    read_only()
}

/// Refused: VIX_E_FILE_READ_ONLY.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_WriteMetadata(
    _diskHandle: Handle,
    _key: *const c_char,
    _val: *const c_char,
) -> VixError {
    read_only()
}

/// Refused: VIX_E_NOT_SUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Create(
    _connection: Handle,
    _path: *const c_char,
    _createParams: *const c_void,
    _progressFunc: *const c_void,
    _progressCallbackData: *mut c_void,
) -> VixError {
    not_supported()
}

/// Refused: VIX_E_NOT_SUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Clone(
    _dstConnection: Handle,
    _dstPath: *const c_char,
    _srcConnection: Handle,
    _srcPath: *const c_char,
    _createParams: *const c_void,
    _progressFunc: *const c_void,
    _progressCallbackData: *mut c_void,
    _overWrite: Bool,
) -> VixError {
    not_supported()
}

/// Refused: VIX_E_NOT_SUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Grow(
    _connection: Handle,
    _path: *const c_char,
    _capacity: u64,
    _updateGeometry: Bool,
    _progressFunc: *const c_void,
    _progressCallbackData: *mut c_void,
) -> VixError {
    not_supported()
}

/// Refused: VIX_E_NOT_SUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Shrink(
    _diskHandle: Handle,
    _progressFunc: *const c_void,
    _progressCallbackData: *mut c_void,
) -> VixError {
    not_supported()
}

/// Refused: VIX_E_NOT_SUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Defragment(
    _diskHandle: Handle,
    _progressFunc: *const c_void,
    _progressCallbackData: *mut c_void,
) -> VixError {
    not_supported()
}

/// Refused: VIX_E_NOT_SUPPORTED.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Rename(
    _srcFileName: *const c_char,
    _dstFileName: *const c_char,
) -> VixError {
    not_supported()
}
