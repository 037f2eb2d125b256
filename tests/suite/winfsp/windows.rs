//! What tests ask of the host by its own functions, and where the host is wine.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::ptr;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
use windows_sys::Win32::Security::Authorization::ConvertSidToStringSidW;
use windows_sys::Win32::Security::{GetTokenInformation, TOKEN_QUERY, TOKEN_USER, TokenUser};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows_sys::Win32::UI::Shell::IsUserAnAdmin;

/// `text` as UTF-16 that ends with 0.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// Whether the host is wine.
pub(super) fn is_wine() -> bool {
    let name = wide("ntdll.dll");
    // SAFETY: names end with 0; the library is loaded in every process.
    unsafe {
        GetProcAddress(GetModuleHandleW(name.as_ptr()), c"wine_get_version".as_ptr().cast())
            .is_some()
    }
}

/// Whether the tests have the rights of an administrator.
pub(super) fn is_administrator() -> bool {
    // SAFETY: it takes nothing.
    unsafe { IsUserAnAdmin() != 0 }
}

/// The security identifier of the user of the tests.
pub(super) fn current_user() -> String {
    let mut token: HANDLE = ptr::null_mut();
    let mut buffer = [0_u64; 32];
    let (mut needed, mut text) = (0, ptr::null_mut());
    // SAFETY: the size is that of the buffer; the text ends with 0 and lives until the process ends.
    unsafe {
        assert_ne!(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token), 0);
        let told =
            GetTokenInformation(token, TokenUser, buffer.as_mut_ptr().cast(), 256, &raw mut needed);
        CloseHandle(token);
        let user = (*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid;
        assert!(told != 0 && ConvertSidToStringSidW(user, &raw mut text) != 0);
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        String::from_utf16_lossy(std::slice::from_raw_parts(text, length))
    }
}
