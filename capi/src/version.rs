//! Which library this is.

use std::ffi::c_char;

/// The number of the interface: it grows when a program has to be compiled anew. Functions that are
/// added, and structs that grow at their end, do not change it.
pub const VOLFOLD_ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library as text, "0.1.0". It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn volfold_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The VOLFOLD_ABI_VERSION that the library was built with.
#[unsafe(no_mangle)]
pub extern "C" fn volfold_abi_version() -> u32 {
    VOLFOLD_ABI_VERSION
}

/// How many threads the library may start to decode ahead of large reads, in all sets together; 0
/// forbids that. Without this call it is one less than there are processors, and at most four. A program
/// that forks without exec calls this with 0 before its first read.
#[unsafe(no_mangle)]
pub extern "C" fn volfold_set_threads(count: u32) {
    volfold::block::ahead::set_threads(usize::try_from(count).unwrap_or(usize::MAX));
}
