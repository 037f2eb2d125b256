//! Who may open what. Dokan's driver checks nothing, so every open is checked here, against the same
//! descriptors that WinFsp's driver is given.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Security::{
    AccessCheck, DuplicateToken, GENERIC_MAPPING, GetPrivateObjectSecurity, MapGenericMask,
    PRIVILEGE_SET, SecurityIdentification,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ALL_ACCESS, FILE_GENERIC_EXECUTE, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
};

/// `MAXIMUM_ALLOWED`: as much as there is.
const MAXIMUM_ALLOWED: u32 = 0x0200_0000;

/// What generic rights are for files.
static FILES: GENERIC_MAPPING = GENERIC_MAPPING {
    GenericRead: FILE_GENERIC_READ,
    GenericWrite: FILE_GENERIC_WRITE,
    GenericExecute: FILE_GENERIC_EXECUTE,
    GenericAll: FILE_ALL_ACCESS,
};

/// The token of who makes a request; closed when it is dropped.
pub(super) struct Token(HANDLE);

impl Token {
    /// Takes `handle`, which may be none.
    pub(super) fn new(handle: HANDLE) -> Option<Self> {
        (!handle.is_null() && handle != INVALID_HANDLE_VALUE).then_some(Self(handle))
    }

    /// Whether `wanted` is granted by the self-relative `descriptor`.
    pub(super) fn may(&self, descriptor: &[u8], wanted: u32) -> bool {
        let mut copy = std::ptr::null_mut();
        // SAFETY: the token is open, and the result is a valid place.
        if unsafe { DuplicateToken(self.0, SecurityIdentification, &raw mut copy) } == 0 {
            return false;
        }
        let Some(copy) = Self::new(copy) else {
            return false;
        };
        let mut wanted = wanted;
        let mut privileges = PRIVILEGE_SET::default();
        let mut size = u32::try_from(size_of::<PRIVILEGE_SET>()).unwrap_or(0);
        let (mut granted, mut status) = (0, 0);
        // SAFETY: the descriptor is whole, the sizes are those of the places.
        unsafe {
            MapGenericMask(&raw mut wanted, &raw const FILES);
            if wanted & MAXIMUM_ALLOWED != 0 {
                // Whatever the check granted, the object manager grants all of it to a new file.
                wanted |= FILE_GENERIC_READ;
            }
            let done = AccessCheck(
                descriptor.as_ptr().cast_mut().cast(),
                copy.0,
                wanted,
                &raw const FILES,
                &raw mut privileges,
                &raw mut size,
                &raw mut granted,
                &raw mut status,
            );
            done != 0 && status != 0
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and closed once.
        unsafe { CloseHandle(self.0) };
    }
}

/// Writes the parts `wanted` of the self-relative `descriptor` into `room` bytes at `out`; gives the
/// bytes that it takes, and whether they had room. `None` if the host refuses.
///
/// # Safety
/// `out` must be valid for `room` bytes.
pub(super) unsafe fn give_parts(
    descriptor: &[u8],
    wanted: u32,
    out: *mut c_void,
    room: u32,
) -> Option<(u32, bool)> {
    let mut needed = 0;
    let source = descriptor.as_ptr().cast_mut().cast();
    // SAFETY: the descriptor is whole; `out` by the contract of this function.
    let done = unsafe { GetPrivateObjectSecurity(source, wanted, out, room, &raw mut needed) };
    match done {
        0 if needed > room => Some((needed, false)),
        0 => None,
        _ => Some((needed, true)),
    }
}
