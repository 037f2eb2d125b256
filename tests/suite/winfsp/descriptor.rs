//! Security descriptors by their text.

use std::ffi::c_void;
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::ConvertStringSecurityDescriptorToSecurityDescriptorW;

/// What the mount gives: SYSTEM, administrators and the reader may read, nobody may write.
pub(crate) const READ_ONLY: &str = "O:BAG:BAD:P(A;;FRFX;;;SY)(A;;FRFX;;;BA)(A;;FRFX;;;WD)";

/// The self-relative descriptor that `sddl` describes.
pub(crate) fn descriptor(sddl: &str) -> Vec<u8> {
    let wide: Vec<u16> = sddl.encode_utf16().chain([0]).collect();
    let (mut found, mut size): (*mut c_void, _) = (ptr::null_mut(), 0);
    // SAFETY: the text ends with 0; what the function gives is freed once it is copied.
    unsafe {
        let done = ConvertStringSecurityDescriptorToSecurityDescriptorW(
            wide.as_ptr(),
            1,
            &raw mut found,
            &raw mut size,
        );
        assert!(done != 0, "{sddl}");
        let bytes = std::slice::from_raw_parts(found.cast::<u8>(), size as usize).to_vec();
        LocalFree(found);
        bytes
    }
}
