//! What C gives: the only code that follows its pointers.
//!
//! NULL, text that is not UTF-8 and lengths that no memory has are errors. Whether a pointer that is not
//! NULL leads to what it should is the promise of the C program, which each function here names.

use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::{ptr, slice};

/// LIMIT: items of one array that C gives.
const MAX_ITEMS: usize = 1 << 20;

/// An argument that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadArgument {
    /// Which one.
    pub name: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl BadArgument {
    /// `name` cannot be meant, for `reason`.
    pub fn new(name: &'static str, reason: &'static str) -> Self {
        Self { name, reason }
    }

    fn null(name: &'static str) -> Self {
        Self::new(name, "is NULL")
    }
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "argument {} {}", self.name, self.reason)
    }
}

impl std::error::Error for BadArgument {}

/// What C's functions take and give.
pub type Given<T> = Result<T, BadArgument>;

/// The bytes of the text at `pointer`, without its NUL.
///
/// # Errors
/// If `pointer` is NULL.
///
/// # Safety
/// `pointer` is NULL, or there is text there that ends in NUL and does not change for `'a`.
pub unsafe fn text_bytes<'a>(pointer: *const c_char, name: &'static str) -> Given<&'a [u8]> {
    if pointer.is_null() {
        return Err(BadArgument::null(name));
    }
    // SAFETY: not NULL, and the caller says that text is there.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// The text at `pointer`.
///
/// # Errors
/// If `pointer` is NULL or the text is not UTF-8.
///
/// # Safety
/// As [`text_bytes`].
pub unsafe fn text<'a>(pointer: *const c_char, name: &'static str) -> Given<&'a str> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { text_bytes(pointer, name) }?;
    str::from_utf8(bytes).map_err(|_| BadArgument::new(name, "is not UTF-8"))
}

/// The same; `None` for NULL.
///
/// # Errors
/// If the text is not UTF-8.
///
/// # Safety
/// As [`text_bytes`].
pub unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &'static str,
) -> Given<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    unsafe { text(pointer, name) }.map(Some)
}

/// The path of the host at `pointer`: UTF-8 on Windows, bytes elsewhere.
///
/// # Errors
/// If it is NULL or empty, or not UTF-8 on Windows.
///
/// # Safety
/// As [`text_bytes`].
pub unsafe fn host_path(pointer: *const c_char, name: &'static str) -> Given<PathBuf> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { text_bytes(pointer, name) }?;
    if bytes.is_empty() {
        return Err(BadArgument::new(name, "is empty"));
    }
    path_of(bytes, name)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "a path of Windows has to be UTF-8")]
fn path_of(bytes: &[u8], _name: &'static str) -> Given<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8], name: &'static str) -> Given<PathBuf> {
    let text = str::from_utf8(bytes).map_err(|_| BadArgument::new(name, "is not UTF-8"))?;
    Ok(PathBuf::from(text))
}

/// The `count` values at `pointer`.
///
/// # Errors
/// If `pointer` is NULL though there are some, is not aligned, or no array has so many.
///
/// # Safety
/// `pointer` is NULL, or there are `count` values of `T` there that do not change for `'a`.
pub unsafe fn array<'a, T: Copy>(
    pointer: *const T,
    count: usize,
    name: &'static str,
) -> Given<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(BadArgument::null(name));
    }
    if !pointer.is_aligned() {
        return Err(BadArgument::new(name, "is not aligned"));
    }
    if count > MAX_ITEMS {
        return Err(BadArgument::new(name, "has too many items"));
    }
    // SAFETY: not NULL, aligned, not too long, and the caller says that the values are there.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// The `length` bytes at `pointer`.
///
/// # Errors
/// If `pointer` is NULL though there are some, or no memory has so many.
///
/// # Safety
/// `pointer` is NULL, or there are `length` bytes there that do not change for `'a`.
pub unsafe fn bytes<'a>(
    pointer: *const c_void,
    length: usize,
    name: &'static str,
) -> Given<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    check_memory(pointer, length, name)?;
    // SAFETY: not NULL, not too long, and the caller says that the bytes are there.
    Ok(unsafe { slice::from_raw_parts(pointer.cast(), length) })
}

/// The `length` bytes at `pointer`, to be written.
///
/// # Errors
/// As [`bytes`].
///
/// # Safety
/// `pointer` is NULL, or there are `length` bytes there that nothing else uses for `'a`.
pub unsafe fn buffer<'a>(
    pointer: *mut c_void,
    length: usize,
    name: &'static str,
) -> Given<&'a mut [u8]> {
    if length == 0 {
        return Ok(&mut []);
    }
    check_memory(pointer, length, name)?;
    // SAFETY: not NULL, not too long, and the caller says that the bytes are there and its own.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.cast(), length) })
}

fn check_memory(pointer: *const c_void, length: usize, name: &'static str) -> Given<()> {
    if pointer.is_null() {
        return Err(BadArgument::null(name));
    }
    let end = pointer.addr().checked_add(length);
    if end.is_none() || isize::try_from(length).is_err() {
        return Err(BadArgument::new(name, "is longer than memory"));
    }
    Ok(())
}

/// A function of C that is told of a stage how much is done, and how much there is; it says whether to go on.
pub type ProgressFunction<S> = unsafe extern "C" fn(*mut c_void, S, u64, u64) -> bool;

/// What calls `function` with `context`.
///
/// # Safety
/// `function` may be called with `context` on any thread, as long as what is given out lives.
pub unsafe fn progress<S: Copy>(
    function: ProgressFunction<S>,
    context: *mut c_void,
) -> impl Fn(S, u64, u64) -> bool + Send + Sync {
    let context = AtomicPtr::new(context);
    move |stage, done, total| {
        // SAFETY: as the caller promises.
        unsafe { function(context.load(Ordering::Relaxed), stage, done, total) }
    }
}

/// Writes `value` to where C wants it.
///
/// # Errors
/// If `out` is NULL.
///
/// # Safety
/// `out` is NULL, or there is place for a `T` there.
pub unsafe fn put<T: Copy>(out: *mut T, value: T, name: &'static str) -> Given<()> {
    if out.is_null() {
        return Err(BadArgument::null(name));
    }
    // SAFETY: not NULL, and the caller says that there is place; C may not have aligned it.
    unsafe { ptr::write_unaligned(out, value) };
    Ok(())
}

/// What is at `pointer`.
///
/// # Errors
/// If `pointer` is NULL.
///
/// # Safety
/// `pointer` is NULL, or there is a `T` there.
pub unsafe fn take<T: Copy>(pointer: *const T, name: &'static str) -> Given<T> {
    if pointer.is_null() {
        return Err(BadArgument::null(name));
    }
    // SAFETY: not NULL, and the caller says that a value is there; C may not have aligned it.
    Ok(unsafe { ptr::read_unaligned(pointer) })
}

/// Writes `value` to a struct of C that begins with its own size in bytes, which C has set: as much of
/// `value` as there is place, but for that size. `least` is the size of the first version of the struct.
///
/// # Errors
/// If `out` is NULL or its size is less than `least`.
///
/// # Safety
/// `out` is NULL, or as many bytes are there as the size says that it begins with.
pub unsafe fn put_sized<T: Copy>(
    out: *mut T,
    value: &T,
    least: usize,
    name: &'static str,
) -> Given<()> {
    // SAFETY: the caller says that the struct begins with its size.
    let room: usize = unsafe { take(out.cast_const().cast(), name) }?;
    if room < least {
        return Err(BadArgument::new(name, "has a struct_size that no version has"));
    }
    let header = size_of::<usize>();
    let length = room.min(size_of::<T>()).saturating_sub(header);
    // SAFETY: both have `header + length` bytes: `value` by its type, `out` by its own size.
    unsafe {
        let from = ptr::from_ref(value).cast::<u8>().add(header);
        ptr::copy_nonoverlapping(from, out.cast::<u8>().add(header), length);
    }
    Ok(())
}

/// The path of the library or program that this code is in; `None` where the host does not tell.
#[cfg(unix)]
pub fn own_library() -> Option<PathBuf> {
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let address: *const c_void = ptr::from_ref(&MARK).cast();
    // SAFETY: `dladdr` only looks the address up, and writes the struct that it is given.
    let is_found = unsafe { libc::dladdr(address, found.as_mut_ptr()) } != 0;
    // SAFETY: zeros are a `Dl_info`, whatever was written.
    let found = unsafe { found.assume_init() };
    if !is_found || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: what `dladdr` found is text that stays as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    path_of(name.to_bytes(), "library").ok()
}

/// The path of the library or program that this code is in; `None` where the host does not tell.
#[cfg(windows)]
pub fn own_library() -> Option<PathBuf> {
    use std::os::windows::ffi::OsStringExt;
    use windows_sys::Win32::System::LibraryLoader::{
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
        GetModuleFileNameW, GetModuleHandleExW,
    };

    let flags =
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let mut module = ptr::null_mut();
    // SAFETY: by these flags the address is only looked up.
    let found = unsafe { GetModuleHandleExW(flags, ptr::from_ref(&MARK).cast(), &raw mut module) };
    if found == 0 {
        return None;
    }
    let mut name = vec![0_u16; 1 << 15];
    // LIMIT: 32,767, the longest path of Windows.
    let room = u32::try_from(name.len()).ok()?;
    // SAFETY: `name` has room for that many units.
    let length = unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), room) };
    name.truncate(usize::try_from(length).ok()?);
    (!name.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_wide(&name)))
}

/// A place in this library.
#[cfg(any(unix, windows))]
static MARK: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_refused_and_named() {
        // SAFETY: NULL is allowed.
        let error = unsafe { text(ptr::null(), "path") }.unwrap_err();
        assert_eq!(error.to_string(), "argument path is NULL");
        // SAFETY: NULL is allowed.
        assert!(unsafe { bytes(ptr::null(), 1, "key") }.is_err());
        // SAFETY: NULL is allowed.
        assert!(unsafe { put(ptr::null_mut::<u64>(), 1, "size") }.is_err());
        // SAFETY: nothing is read where nothing is wanted.
        assert_eq!(unsafe { bytes(ptr::null(), 0, "key") }, Ok(&[][..]));
    }

    #[test]
    fn lengths_that_no_memory_has_are_refused() {
        let mut byte = 0_u8;
        let pointer: *mut c_void = (&raw mut byte).cast();
        for length in [usize::MAX, usize::MAX / 2 + 1] {
            // SAFETY: nothing is read, for it is refused.
            assert!(unsafe { buffer(pointer, length, "buffer") }.is_err());
        }
    }

    #[test]
    fn a_struct_of_an_older_version_gets_what_it_has_room_for() {
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq)]
        struct Now {
            struct_size: usize,
            a: u64,
            b: u64,
        }
        let value = Now { struct_size: size_of::<Now>(), a: 1, b: 2 };
        let mut out = Now { struct_size: size_of::<usize>() + 8, a: 0, b: 7 };
        // SAFETY: the struct is larger than its size says.
        unsafe { put_sized(&raw mut out, &value, 16, "stat") }.unwrap();
        assert_eq!(out, Now { struct_size: size_of::<usize>() + 8, a: 1, b: 7 });
        out.struct_size = 8;
        // SAFETY: as above.
        assert!(unsafe { put_sized(&raw mut out, &value, 16, "stat") }.is_err());
    }

    #[test]
    fn the_place_of_this_code_is_known() {
        assert!(own_library().is_some_and(|path| path.is_file()));
    }
}
