//! Texts of Windows: UTF-16 that ends with 0.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;

/// `text` as functions of Windows take it.
pub(crate) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// The code units of such a text, without the 0.
///
/// # Safety
/// `text` must point to one that lives for `'a`.
#[expect(unsafe_code, reason = "the length of the text is found in it")]
pub(crate) unsafe fn units<'a>(text: *const u16) -> &'a [u16] {
    // SAFETY: by the contract of this function there is a 0 before the end.
    unsafe {
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        std::slice::from_raw_parts(text, length)
    }
}
