//! Security descriptors and identifiers of Windows: who this user is, and who owns a folder.

#![expect(unsafe_code, reason = "the host is asked by its own functions")]

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
#[cfg(any(feature = "winfsp", feature = "dokan"))]
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
    GetNamedSecurityInfoW, SDDL_REVISION_1, SE_FILE_OBJECT,
};
#[cfg(any(feature = "winfsp", feature = "dokan"))]
use windows_sys::Win32::Security::Authorization::{GetSecurityInfo, SE_KERNEL_OBJECT};
use windows_sys::Win32::Security::{
    ACL, CheckTokenMembership, CreateWellKnownSid, DACL_SECURITY_INFORMATION, GetTokenInformation,
    OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    SetFileSecurityW, TOKEN_QUERY, TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid,
};
use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION,
};
use windows_sys::Win32::UI::Shell::{FOLDERID_ProgramData, SHGetKnownFolderPath};

use crate::wide::{units, wide};

/// SYSTEM.
pub(crate) const SYSTEM: &str = "S-1-5-18";

/// The group of the administrators, which owns what an elevated one makes.
pub(crate) const ADMINISTRATORS: &str = "S-1-5-32-544";

/// The bytes of the descriptor that `text` describes in SDDL.
///
/// # Errors
/// If it describes none.
pub(crate) fn parse(text: &str) -> io::Result<Vec<u8>> {
    let wide = wide(text);
    let mut descriptor = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: `wide` ends with 0; both results are valid places.
    let done = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            wide.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            &raw mut size,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the function gave `size` bytes, which are freed once they are copied.
    unsafe {
        let bytes = std::slice::from_raw_parts(descriptor.cast::<u8>(), size as usize).to_vec();
        LocalFree(descriptor);
        Ok(bytes)
    }
}

/// The security identifier of the user who runs this process: `S-1-5-...`.
pub(crate) fn current_user() -> io::Result<String> {
    // SAFETY: the pseudo handle of the process needs no closing.
    unsafe { user_of(GetCurrentProcess()) }
}

/// The user as whom this process judges others: the current one, but where a test says another.
pub(crate) fn acting_user() -> io::Result<String> {
    #[cfg(debug_assertions)]
    if let Ok(user) = std::env::var("VOLFOLD_TEST_USER") {
        return Ok(user);
    }
    current_user()
}

/// Whether this process has the rights of an administrator: a member that has not elevated has
/// them not.
pub(crate) fn is_administrator() -> bool {
    #[cfg(debug_assertions)]
    if std::env::var_os("VOLFOLD_TEST_NO_ADMINISTRATOR").is_some() {
        return false;
    }
    // A SID of two numbers takes 16 bytes; `u64` for its alignment.
    let mut administrators = [0_u64; 16];
    let mut size = u32::try_from(size_of_val(&administrators)).unwrap_or(0);
    let mut is_member = 0;
    // SAFETY: the size is that of the buffer, and the token of this thread is asked.
    unsafe {
        let group = administrators.as_mut_ptr().cast();
        CreateWellKnownSid(WinBuiltinAdministratorsSid, std::ptr::null_mut(), group, &raw mut size)
            != 0
            && CheckTokenMembership(std::ptr::null_mut(), group, &raw mut is_member) != 0
            && is_member != 0
    }
}

/// The user of the process with this number, as far as this one may ask.
///
/// # Errors
/// If the host does not tell.
pub(crate) fn user_of_process(pid: u32) -> io::Result<String> {
    // SAFETY: the handle is used while it is open, and closed once.
    unsafe {
        let process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid);
        if process.is_null() {
            return Err(io::Error::last_os_error());
        }
        let user = user_of(process);
        CloseHandle(process);
        user
    }
}

/// The user of a process.
///
/// # Safety
/// `process` must be the handle of one.
unsafe fn user_of(process: HANDLE) -> io::Result<String> {
    let mut token = std::ptr::null_mut();
    // SAFETY: by the contract of this function; `token` is a valid place.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // A token's user takes 16 bytes and a SID of at most 68; `u64` for their alignment.
    let mut buffer = [0_u64; 32];
    let mut needed = 0;
    // SAFETY: the size is that of `buffer`; the token is closed once, here.
    let told = unsafe {
        let size = u32::try_from(size_of_val(&buffer)).unwrap_or(0);
        let told = GetTokenInformation(
            token,
            TokenUser,
            buffer.as_mut_ptr().cast(),
            size,
            &raw mut needed,
        );
        CloseHandle(token);
        told
    };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `buffer` holds a `TOKEN_USER` whose SID lies in it.
    unsafe { identifier_text((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// The security identifier of the owner of the pipe that `handle` is an end of; only a user with the
/// right to restore files can make one that another owns.
///
/// # Errors
/// If the host does not tell.
#[cfg(any(feature = "winfsp", feature = "dokan"))]
pub(crate) fn pipe_owner(handle: &std::fs::File) -> io::Result<String> {
    // SAFETY: the handle is open as long as the file; the results are valid places or null.
    owner_by(|owner, descriptor| unsafe {
        let handle = handle.as_raw_handle();
        let (what, groups) = (OWNER_SECURITY_INFORMATION, std::ptr::null_mut());
        GetSecurityInfo(
            handle,
            SE_KERNEL_OBJECT,
            what,
            owner,
            groups,
            null_list(),
            null_list(),
            descriptor,
        )
    })
}

/// The security identifier of the owner of the file or folder at `path`.
///
/// # Errors
/// If the host does not tell.
pub(crate) fn owner(path: &Path) -> io::Result<String> {
    let wide = wide(path);
    // SAFETY: the name ends with 0; the results are valid places or null.
    owner_by(|owner, descriptor| unsafe {
        let (what, groups) = (OWNER_SECURITY_INFORMATION, std::ptr::null_mut());
        let name = wide.as_ptr();
        GetNamedSecurityInfoW(
            name,
            SE_FILE_OBJECT,
            what,
            owner,
            groups,
            null_list(),
            null_list(),
            descriptor,
        )
    })
}

/// No access list is asked for.
fn null_list() -> *mut *mut ACL {
    std::ptr::null_mut()
}

/// The owner that `ask` gives, with the descriptor that it lies in.
fn owner_by(ask: impl FnOnce(*mut PSID, *mut PSECURITY_DESCRIPTOR) -> u32) -> io::Result<String> {
    let (mut owner, mut descriptor) = (std::ptr::null_mut(), std::ptr::null_mut());
    let status = ask(&raw mut owner, &raw mut descriptor);
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status.cast_signed()));
    }
    // SAFETY: `owner` is null or lies in `descriptor`, which is freed after its last use.
    unsafe {
        let text = match owner.is_null() {
            true => Err(io::ErrorKind::NotFound.into()),
            false => identifier_text(owner),
        };
        LocalFree(descriptor);
        text
    }
}

/// Gives the file or folder at `path` the owner and the access list that `text` describes, and none
/// of its parents'.
///
/// # Errors
/// If the host refuses.
pub(crate) fn protect(path: &Path, text: &str) -> io::Result<()> {
    let (wide, mut descriptor) = (wide(path), parse(text)?);
    let what = OWNER_SECURITY_INFORMATION
        | DACL_SECURITY_INFORMATION
        | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the name ends with 0, the descriptor is self-relative and complete.
    let done = unsafe { SetFileSecurityW(wide.as_ptr(), what, descriptor.as_mut_ptr().cast()) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The folder for what programs keep for all users; not by the environment, which is the user's.
///
/// # Errors
/// If the host does not tell.
pub(crate) fn program_data() -> io::Result<PathBuf> {
    let mut text = std::ptr::null_mut();
    // SAFETY: the result is a valid place; it ends with 0 and is freed once it is copied, also after
    // a failure.
    unsafe {
        let result =
            SHGetKnownFolderPath(&FOLDERID_ProgramData, 0, std::ptr::null_mut(), &raw mut text);
        if result != 0 {
            CoTaskMemFree(text.cast());
            return Err(io::Error::other(format!("ProgramData is not known ({result:#010x})")));
        }
        let path = OsString::from_wide(units(text));
        CoTaskMemFree(text.cast());
        Ok(path.into())
    }
}

/// `identifier` as text: `S-1-5-...`.
///
/// # Safety
/// It must point to a security identifier.
unsafe fn identifier_text(identifier: PSID) -> io::Result<String> {
    let mut text = std::ptr::null_mut();
    // SAFETY: by the contract of this function; `text` is a valid place.
    if unsafe { ConvertSidToStringSidW(identifier, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the function gave a text that ends with 0, freed once it is copied.
    unsafe {
        let shown = String::from_utf16_lossy(units(text));
        LocalFree(text.cast());
        Ok(shown)
    }
}
