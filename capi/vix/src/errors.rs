//! The codes of errors, and what is told of them.
//!
//! Names and numbers are those of VixDiskLib and VixMntapi, with the misspellings that their headers
//! have.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::{CStr, CString, c_char};
use std::io;

use volfold::block::{BlockError, BlockErrorKind, Panicked, error_chain, guard};
use volfold_capi_support::{BadArgument, ProgramError};

use crate::{log, objects};

/// A code in the low 16 bits; 0 is success.
pub type VixError = u64;

/// Codes, their names and their words.
macro_rules! codes {
    ($($number:literal $name:ident $text:literal)*) => {
        $(
            #[doc = $text]
            pub const $name: VixError = $number;
        )*

        /// Each code, and what it is.
        const TEXTS: &[(VixError, &str)] = &[$(($number, $text)),*];
    };
}

codes! {
    0 VIX_OK "The operation was successful"
    1 VIX_E_FAIL "Unknown error"
    2 VIX_E_OUT_OF_MEMORY "Memory allocation failed"
    3 VIX_E_INVALID_ARG "One of the parameters was invalid"
    4 VIX_E_FILE_NOT_FOUND "A file was not found"
    5 VIX_E_OBJECT_IS_BUSY "This function cannot be performed because the handle is busy"
    6 VIX_E_NOT_SUPPORTED "The operation is not supported"
    7 VIX_E_FILE_ERROR "A file access error occurred"
    9 VIX_E_INCORRECT_FILE_TYPE "The file is of the wrong type"
    10 VIX_E_CANCELLED "The operation was cancelled"
    11 VIX_E_FILE_READ_ONLY "The disk is open for reading only"
    13 VIX_E_FILE_ACCESS_ERROR "Insufficient permissions to access the file"
    15 VIX_E_FILE_ALREADY_LOCKED "The file is already in use"
    24 VIX_E_BUFFER_TOOSMALL "The buffer is too small"
    30 VIX_E_NEED_KEY "A key is needed"
    1000 VIX_E_INVALID_HANDLE "The handle is not valid"
    16000 VIX_E_DISK_INVAL "One of the parameters was invalid"
    16001 VIX_E_DISK_NOINIT "The library was not initialized"
    16002 VIX_E_DISK_NOIO "The disk could not be read"
    16003 VIX_E_DISK_PARTIALCHAIN "A disk of the chain is missing"
    16006 VIX_E_DISK_NEEDSREPAIR "The disk is damaged"
    16007 VIX_E_DISK_OUTOFRANGE "The request lies outside of the disk"
    16008 VIX_E_DISK_CID_MISMATCH "The parent was changed after its child was made"
    16010 VIX_E_DISK_PARTMISMATCH "The partition table differs from that of the physical disk"
    16011 VIX_E_DISK_UNSUPPORTEDDISKVERSION "The version of the disk is not supported"
    16012 VIX_E_DISK_OPENPARENT "The parent could not be opened"
    16013 VIX_E_DISK_NOTSUPPORTED "The disk does not support this operation"
    16014 VIX_E_DISK_NEEDKEY "The disk is encrypted"
    16018 VIX_E_DISK_INVALIDPARTITIONTABLE "The partition table is not valid"
    16024 VIX_E_DISK_RAWTOOBIG "The physical disk is too large"
    16027 VIX_E_DISK_TOOMANYOPENFILES "Too many files are open"
    16028 VIX_E_DISK_TOOMANYREDO "The chain is too long"
    16029 VIX_E_DISK_RAWTOOSMALL "The physical disk is too small"
    16030 VIX_E_DISK_INVALIDCHAIN "The chain is not valid"
    16052 VIX_E_DISK_KEY_NOTFOUND "The disk has no such key"
    16053 VIX_E_DISK_SUBSYSTEM_INIT_FAIL "A part of the library could not be initialized"
    16054 VIX_E_DISK_INVALID_CONNECTION "The connection is not valid"
    16061 VIX_E_DISK_ENCODING "A text is not UTF-8"
    16062 VIX_E_DISK_CANTREPAIR "The disk cannot be repaired"
    16063 VIX_E_DISK_INVALIDDISK "The disk is not valid"
    16064 VIX_E_DISK_NOLICENSE "There is no license"
    16067 VIX_E_DISK_CAPACITY_MISMATCH "Parent and child differ in size"
    16068 VIX_E_DISK_PARENT_NOTALLOWED "The disk must not have a parent"
    16069 VIX_E_DISK_ATTACH_ROOTLINK "A disk that is no child cannot be attached"
    24000 VIX_E_MNTAPI_MOUNTPT_NOT_FOUND "The mount point was not found"
    24001 VIX_E_MNTAPI_MOUNTPT_IN_USE "The mount point is in use"
    24002 VIX_E_MNTAPI_DISK_NOT_FOUND "The disk was not found"
    24003 VIX_E_MNTAPI_DISK_NOT_MOUNTED "The disk is not mounted"
    24004 VIX_E_MNTAPI_DISK_IS_MOUNTED "The disk is mounted already"
    24005 VIX_E_MNTAPI_DISK_NOT_SAFE "The disk cannot be mounted safely"
    24006 VIX_E_MNTAPI_DISK_CANT_OPEN "The disk cannot be opened"
    24007 VIX_E_MNTAPI_CANT_READ_PARTS "The partition table cannot be read"
    24008 VIX_E_MNTAPI_UMOUNT_APP_NOT_FOUND "The program that unmounts was not found"
    24009 VIX_E_MNTAPI_UMOUNT "The mount point cannot be freed"
    24010 VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS "The volume has no file system that can be mounted"
    24011 VIX_E_MNTAPI_PARTITION_RANGE "The volume reaches past the end of its disk"
    24012 VIX_E_MNTAPI_PERM "Permission is missing"
    24013 VIX_E_MNTAPI_DICT "The record of mounts cannot be read"
    24014 VIX_E_MNTAPI_DICT_LOCKED "The record of mounts is locked"
    24015 VIX_E_MNTAPI_OPEN_HANDLES "Files of the volume are open"
    24016 VIX_E_MNTAPI_CANT_MAKE_VAR_DIR "The folder for mounts cannot be made"
    24017 VIX_E_MNTAPI_NO_ROOT "The rights of root are needed"
    24018 VIX_E_MNTAPI_LOOP_FAILED "The block device cannot be made"
    24019 VIX_E_MNTAPI_DAEMON "The process of the mount has ended"
    24020 VIX_E_MNTAPI_INTERNAL "Internal error"
    24021 VIX_E_MNTAPI_SYSTEM "Error of the operating system"
    24022 VIX_E_MNTAPI_NO_CONNECTION_DETAILS "The connection is not known"
    24300 VIX_E_MNTAPI_INCOMPATIBLE_VERSION "The version is not supported"
    24301 VIX_E_MNTAPI_OS_ERROR "The volume cannot be mounted here"
    24302 VIX_E_MNTAPI_DRIVE_LETTER_IN_USE "The drive letter is in use"
    24303 VIX_E_MNTAPI_DRIVE_LETTER_ALREADY_ASSIGNED "The volume has a drive letter already"
    24304 VIX_E_MNTAPI_VOLUME_NOT_MOUNTED "The volume is not mounted"
    24305 VIX_E_MNTAPI_VOLUME_ALREADY_MOUNTED "The volume is mounted already"
    24306 VIX_E_MNTAPI_FORMAT_FAILURE "The volume cannot be formatted"
    24307 VIX_E_MNTAPI_NO_DRIVER "What mounts volumes is missing"
    24308 VIX_E_MNTAPI_ALREADY_OPENED "A disk is in the set twice"
    24309 VIX_E_MNTAPI_ITEM_NOT_FOUND "The item was not found"
    24310 VIX_E_MNTAPI_UNSUPPROTED_BOOT_LOADER "The boot loader is not supported"
    24311 VIX_E_MNTAPI_UNSUPPROTED_OS "The operating system is not supported"
    24312 VIX_E_MNTAPI_CODECONVERSION "A text cannot be converted"
    24313 VIX_E_MNTAPI_REGWRITE_ERROR "The registry cannot be written"
    24314 VIX_E_MNTAPI_UNSUPPORTED_FT_VOLUME "Parts of the volume are missing"
    24315 VIX_E_MNTAPI_PARTITION_NOT_FOUND "The partition was not found"
    24316 VIX_E_MNTAPI_PUTFILE_ERROR "A file cannot be written"
    24317 VIX_E_MNTAPI_GETFILE_ERROR "A file cannot be read"
    24318 VIX_E_MNTAPI_REG_NOT_OPENED "The registry cannot be read"
    24319 VIX_E_MNTAPI_REGDELKEY_ERROR "A key of the registry cannot be deleted"
    24320 VIX_E_MNTAPI_CREATE_PARTITIONTABLE_ERROR "The partition table cannot be made"
    24321 VIX_E_MNTAPI_OPEN_FAILURE "The set cannot be opened"
    24322 VIX_E_MNTAPI_VOLUME_NOT_WRITABLE "The volume is not writable"
    25000 VIX_ASYNC "The operation was begun"
    26000 VIX_E_ASYNC_MIXEDMODE_UNSUPPORTED "Reads that wait and reads that do not cannot be mixed"
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: VixError,
    message: String,
}

/// How the work of a call ends.
pub(crate) type Done<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: VixError, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What `code` says of itself.
    pub(crate) fn plain(code: VixError) -> Self {
        Self::new(code, "")
    }

    /// That `what` is not open.
    pub(crate) fn handle(what: &str) -> Self {
        Self::new(VIX_E_INVALID_HANDLE, format!("not an open {what}"))
    }

    pub(crate) fn memory() -> Self {
        Self::plain(VIX_E_OUT_OF_MEMORY)
    }

    /// The same with another code.
    pub(crate) fn with_code(self, code: VixError) -> Self {
        Self { code, ..self }
    }

    /// The same, which happened to `what`.
    pub(crate) fn of(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<BadArgument> for Failure {
    fn from(error: BadArgument) -> Self {
        let is_text = error.reason == "is not UTF-8";
        let code = if is_text { VIX_E_DISK_ENCODING } else { VIX_E_INVALID_ARG };
        Self::new(code, error.to_string())
    }
}

impl From<Panicked<'_>> for Failure {
    fn from(panicked: Panicked<'_>) -> Self {
        Self::new(VIX_E_FAIL, panicked.to_string())
    }
}

impl From<&BlockError> for Failure {
    fn from(error: &BlockError) -> Self {
        let code = match error.kind() {
            BlockErrorKind::Corrupt => VIX_E_DISK_INVALIDDISK,
            BlockErrorKind::Unsupported => VIX_E_DISK_NOTSUPPORTED,
            BlockErrorKind::OutOfRange => VIX_E_DISK_OUTOFRANGE,
            BlockErrorKind::MissingPart => VIX_E_DISK_PARTIALCHAIN,
            BlockErrorKind::Refused => VIX_E_FILE_ACCESS_ERROR,
            BlockErrorKind::Encrypted => VIX_E_DISK_NEEDKEY,
            BlockErrorKind::Stopped => VIX_E_CANCELLED,
            BlockErrorKind::Internal => VIX_E_FAIL,
            _ => match host_error(error) {
                Some(io::ErrorKind::NotFound) => VIX_E_FILE_NOT_FOUND,
                Some(io::ErrorKind::PermissionDenied) => VIX_E_FILE_ACCESS_ERROR,
                _ => VIX_E_DISK_NOIO,
            },
        };
        Self::new(code, error_chain(error))
    }
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        Self::from(&error)
    }
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        let code = match error {
            ProgramError::Missing | ProgramError::NotStarted(..) => VIX_E_MNTAPI_NO_DRIVER,
            ProgramError::Failed(_) | ProgramError::HasKeys => VIX_E_MNTAPI_OS_ERROR,
        };
        Self::new(code, error.to_string())
    }
}

/// What the host said, if it is the cause of `error`.
fn host_error(error: &BlockError) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(host) = error.downcast_ref::<io::Error>() {
            return Some(host.kind());
        }
        cause = error.source();
    }
    None
}

thread_local! {
    /// The last failure of the thread.
    static LAST: RefCell<Option<(VixError, String)>> = const { RefCell::new(None) };
}

/// Does the work of an exported function: the one way in which errors and panics leave it.
pub(crate) fn call(work: impl FnOnce() -> Done) -> VixError {
    code_of(guard("what a C program asked for", work))
}

/// The code of `done`; a failure is kept for the thread and told to the log.
pub(crate) fn code_of(done: Done) -> VixError {
    match done {
        Ok(()) => VIX_OK,
        Err(Failure { code, message }) => {
            let text = if message.is_empty() { text_of(code) } else { message.as_str() };
            log::warn(&format!("error {code}: {text}"));
            // A thread that ends has nobody to tell.
            let _ = LAST.try_with(|last| last.replace(Some((code, message))));
            code
        }
    }
}

/// As [`call`] for what gives `T`, or `otherwise` on failure.
pub(crate) fn value<T>(otherwise: T, work: impl FnOnce() -> Done<T>) -> T {
    let mut value = otherwise;
    call(|| {
        value = work()?;
        Ok(())
    });
    value
}

fn text_of(code: VixError) -> &'static str {
    let found = TEXTS.iter().find(|(known, _)| *known == code & 0xFFFF);
    found.map_or("Unknown error", |(_, text)| text)
}

/// What `error` is, as text, with what is known of the last failure of this thread, if it had that code.
/// `locale` is not used: texts are English. The text is freed by VixDiskLib_FreeErrorText.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_GetErrorText(error: VixError, _locale: *const c_char) -> *mut c_char {
    let detail = LAST.try_with(|last| match &*last.borrow() {
        Some((code, message)) if *code == error && !message.is_empty() => Some(message.clone()),
        _ => None,
    });
    let text = match detail.ok().flatten() {
        Some(detail) => format!("{}: {detail}", text_of(error)),
        None => text_of(error).to_owned(),
    };
    let text = CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default();
    value(std::ptr::null_mut(), || objects::text(text.to_bytes()).map(<*const c_char>::cast_mut))
}

/// Frees a text of VixDiskLib_GetErrorText; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_FreeErrorText(text: *mut c_char) {
    objects::free_quietly(objects::Kind::Text, text.cast_const());
}

/// A text of ours for C, which is never freed.
pub(crate) fn fixed(text: &'static CStr) -> *const c_char {
    text.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_mount_layer_are_those_of_the_headers() {
        assert_eq!(VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS, 24010);
        assert_eq!(VIX_E_MNTAPI_UNSUPPROTED_OS, 24311);
        assert_eq!(VIX_E_MNTAPI_VOLUME_NOT_WRITABLE, 24322);
        assert!(TEXTS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(TEXTS.iter().filter(|(code, _)| (24000..24400).contains(code)).count(), 46);
    }

    #[test]
    fn a_panic_is_a_code() {
        assert_eq!(call(|| panic!("a bug")), VIX_E_FAIL);
    }
}
