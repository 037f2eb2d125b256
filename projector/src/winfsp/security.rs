//! Who may read: one security descriptor for all files of a mount.

use std::io;

use windows_sys::Win32::Foundation::{CloseHandle, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{GetTokenInformation, TOKEN_QUERY, TOKEN_USER, TokenUser};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use crate::Access;

/// The self-relative descriptor for `access`.
///
/// SYSTEM and the administrators may always read: services that look for malware run as SYSTEM.
/// Nobody may write. Owner and group are the administrators.
///
/// # Errors
/// If the host does not tell who the user is.
pub(super) fn descriptor(access: Access) -> io::Result<Vec<u8>> {
    let reader = match access {
        Access::Me => current_user()?,
        Access::Everyone => "WD".to_owned(),
    };
    parse(&format!("O:BAG:BAD:P(A;;FRFX;;;SY)(A;;FRFX;;;BA)(A;;FRFX;;;{reader})"))
}

/// The text of a descriptor that gives SYSTEM, the administrators and the user everything, and
/// nobody else anything.
///
/// # Errors
/// As [`descriptor`].
pub(super) fn private() -> io::Result<String> {
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
fn current_user() -> io::Result<String> {
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
    let mut text = std::ptr::null_mut();
    // SAFETY: `buffer` holds a `TOKEN_USER` whose SID lies in it; `text` is a valid place.
    let done = unsafe {
        let user = &*buffer.as_ptr().cast::<TOKEN_USER>();
        ConvertSidToStringSidW(user.User.Sid, &raw mut text)
    };
    if done == 0 {
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
        }
        assert!(private().unwrap().contains(";;;S-1-"));
    }
}
