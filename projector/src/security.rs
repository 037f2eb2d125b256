//! Security descriptors and identifiers of Windows: who may read a mount, and who wrote a folder.

#![expect(unsafe_code, reason = "the host is asked by its own functions")]

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{CloseHandle, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
    GetNamedSecurityInfoW, SDDL_REVISION_1, SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetTokenInformation, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSID, SetFileSecurityW, TOKEN_QUERY, TOKEN_USER,
    TokenUser,
};
use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows_sys::Win32::UI::Shell::{FOLDERID_ProgramData, SHGetKnownFolderPath};

use crate::Access;

/// The self-relative descriptor for `access`.
///
/// SYSTEM and the administrators may always read: services that look for malware run as SYSTEM.
/// Nobody may write. Owner and group are the administrators.
///
/// # Errors
/// If the host does not tell who the user is.
pub(crate) fn descriptor(access: Access) -> io::Result<Vec<u8>> {
    let reader = match access {
        // What has no descriptor of its own is the mounting user's.
        Access::Me | Access::Guest => current_user()?,
        Access::Everyone => "WD".to_owned(),
    };
    parse(&format!("O:BAG:BAD:P(A;;FRFX;;;SY)(A;;FRFX;;;BA)(A;;FRFX;;;{reader})"))
}

/// Whether `bytes` is a self-relative descriptor (MS-DTYP 2.4.6) whose parts lie in it whole and
/// are of the kinds that access checks know.
///
/// Windows' own check of a descriptor with a length is not used: under wine it reads behind the end.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    const DACL_PRESENT: u16 = 0x0004;
    const SACL_PRESENT: u16 = 0x0010;
    const SELF_RELATIVE: u16 = 0x8000;
    let Some([1, _, low, high]) = bytes.first_chunk() else {
        return false;
    };
    let control = u16::from_le_bytes([*low, *high]);
    let part = |at: usize| {
        let offset = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        bytes.get(usize::try_from(offset).ok().filter(|offset| *offset >= 20)?..)
    };
    let list = |at: usize, flag: u16| {
        let is_null = bytes.get(at..at + 4).is_some_and(|offset| offset == [0; 4]);
        control & flag == 0 || is_null || part(at).is_some_and(is_access_list)
    };
    control & SELF_RELATIVE != 0
        && part(4).is_some_and(|owner| identifier_length(owner).is_some())
        && part(8).is_some_and(|group| identifier_length(group).is_some())
        && list(12, SACL_PRESENT)
        && list(16, DACL_PRESENT)
}

/// The length of the security identifier (MS-DTYP 2.4.2) that `bytes` begins with.
fn identifier_length(bytes: &[u8]) -> Option<usize> {
    let [1, count @ ..=15, ..] = bytes else {
        return None;
    };
    let length = 8 + 4 * usize::from(*count);
    (length <= bytes.len()).then_some(length)
}

/// Whether `bytes` begins with an access list (MS-DTYP 2.4.5) of plain entries: a mask and an
/// identifier each.
fn is_access_list(bytes: &[u8]) -> bool {
    let [2 | 4, _, size_low, size_high, count_low, count_high, _, _, ..] = bytes else {
        return false;
    };
    let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
    let Some(mut rest) = bytes.get(8..size) else {
        return false;
    };
    for _ in 0..u16::from_le_bytes([*count_low, *count_high]) {
        // Allowed, denied, audit, alarm, mandatory label.
        let [0..=3 | 0x11, _, size_low, size_high, ..] = rest else {
            return false;
        };
        let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
        let is_whole = rest.get(8..size).is_some_and(|entry| identifier_length(entry).is_some());
        if !is_whole || !size.is_multiple_of(4) {
            return false;
        }
        rest = &rest[size..];
    }
    true
}

/// The text of a descriptor that gives SYSTEM, the administrators and the user everything, and
/// nobody else anything.
///
/// # Errors
/// As [`descriptor`].
pub(crate) fn private() -> io::Result<String> {
    Ok(format!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{})", current_user()?))
}

/// The bytes of the descriptor that `text` describes in SDDL.
fn parse(text: &str) -> io::Result<Vec<u8>> {
    let wide: Vec<u16> = text.encode_utf16().chain([0]).collect();
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
    let mut token = std::ptr::null_mut();
    // SAFETY: the pseudo handle of the process needs no closing; `token` is a valid place.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) } == 0 {
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

/// The security identifier of the owner of the file or folder at `path`.
///
/// # Errors
/// If the host does not tell.
pub(crate) fn owner(path: &Path) -> io::Result<String> {
    let wide = wide(path);
    let (mut owner, mut descriptor) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the name ends with 0; the results are valid places or null.
    let status = unsafe {
        GetNamedSecurityInfoW(
            wide.as_ptr(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status.cast_signed()));
    }
    // SAFETY: `owner` lies in `descriptor`, which is freed behind its last use.
    unsafe {
        let text = identifier_text(owner);
        LocalFree(descriptor);
        text
    }
}

/// Gives the file or folder at `path` the access list that `text` describes, and none of its
/// parents'.
///
/// # Errors
/// If the host refuses.
pub(crate) fn protect(path: &Path, text: &str) -> io::Result<()> {
    let (wide, mut descriptor) = (wide(path), parse(text)?);
    let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
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
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        let path = OsString::from_wide(std::slice::from_raw_parts(text, length));
        CoTaskMemFree(text.cast());
        Ok(path.into())
    }
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
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
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        let shown = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
        LocalFree(text.cast());
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_self_relative() {
        for access in [Access::Me, Access::Everyone] {
            let bytes = descriptor(access).unwrap();
            // Revision 1; SE_SELF_RELATIVE is the top bit of the control word.
            assert_eq!((bytes[0], bytes[3] & 0x80), (1, 0x80));
            assert!(is_valid(&bytes));
            for length in 0..bytes.len() {
                assert!(!is_valid(&bytes[..length]), "{length}");
            }
        }
        assert!(private().unwrap().contains(";;;S-1-"));
    }
}
