//! How calls end, and what is told of those that fail.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

use volfold::block::{BlockError, BlockErrorKind, Panicked, error_chain, guard};
use volfold::fs::{FsError, FsErrorKind};
use volfold_capi_support::{BadArgument, ProgramError, foreign};

/// How a call ended. Later versions may have more.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldStatus {
    /// It was done.
    Ok = 0,
    /// There are no more entries. No error: nothing is kept for volfold_error_message().
    End = 1,
    /// Images of the set cannot be opened, or volumes not be mounted; the rest is there.
    Incomplete = 2,
    /// An argument is NULL, no text, out of range, or otherwise cannot be meant.
    InvalidArgument = 10,
    /// A handle is not open, is of another kind, or never was a handle.
    InvalidHandle = 11,
    /// There is no memory, or too many handles are open.
    OutOfMemory = 12,
    /// The host could not read. A second try may help.
    Io = 20,
    /// The bytes contradict their format.
    Corrupt = 21,
    /// The bytes are fine, and this version cannot read them.
    Unsupported = 22,
    /// A read outside of the disk, volume or file.
    OutOfRange = 23,
    /// Another file or disk is needed.
    MissingPart = 24,
    /// Policy forbids it, or the volume is locked.
    Refused = 25,
    /// The content is encrypted, and no key is known.
    Encrypted = 26,
    /// The content is stored in a form that is not read, or not on the volume at all;
    /// volfold_error_code() says in which.
    Undecodable = 27,
    /// The program stopped the work, by its VolfoldProgressFn.
    Stopped = 28,
    /// There is no such file, volume or stream.
    NotFound = 30,
    /// A directory was needed.
    NotADirectory = 31,
    /// A file was needed.
    IsADirectory = 32,
    /// A link was needed.
    NotALink = 33,
    /// No name can look like this.
    InvalidName = 34,
    /// The program volfold, which mounts, was not found or could not be started.
    NoProgram = 40,
    /// The program volfold did not mount, or not free the folder.
    ProgramFailed = 41,
    /// A fault of the library; please report it.
    Internal = 50,
}

use VolfoldStatus as Status;

impl Status {
    /// The same as text.
    fn text(number: i32) -> &'static std::ffi::CStr {
        let all = [
            (Self::Ok, c"done"),
            (Self::End, c"no more entries"),
            (Self::Incomplete, c"done in part"),
            (Self::InvalidArgument, c"invalid argument"),
            (Self::InvalidHandle, c"invalid handle"),
            (Self::OutOfMemory, c"out of memory or handles"),
            (Self::Io, c"the host could not read"),
            (Self::Corrupt, c"corrupt"),
            (Self::Unsupported, c"unsupported"),
            (Self::OutOfRange, c"out of range"),
            (Self::MissingPart, c"a file or disk is missing"),
            (Self::Refused, c"refused"),
            (Self::Encrypted, c"encrypted"),
            (Self::Undecodable, c"content cannot be decoded"),
            (Self::Stopped, c"stopped"),
            (Self::NotFound, c"not found"),
            (Self::NotADirectory, c"not a directory"),
            (Self::IsADirectory, c"is a directory"),
            (Self::NotALink, c"not a link"),
            (Self::InvalidName, c"invalid name"),
            (Self::NoProgram, c"the program volfold was not found"),
            (Self::ProgramFailed, c"the program volfold failed"),
            (Self::Internal, c"internal error"),
        ];
        let number_of = |status: Self| status as i32;
        let found = all.iter().find(|(status, _)| number_of(*status) == number);
        found.map_or(c"unknown status", |(_, text)| text)
    }

    /// The code of what has none of its own.
    fn code(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::InvalidArgument => "invalid-argument",
            Self::InvalidHandle => "invalid-handle",
            Self::OutOfMemory => "out-of-memory",
            Self::NotFound => "not-found",
            Self::OutOfRange => "out-of-range",
            Self::NoProgram => "no-program",
            Self::ProgramFailed => "program-failed",
            _ => "internal",
        }
    }
}

impl From<BlockErrorKind> for Status {
    fn from(kind: BlockErrorKind) -> Self {
        match kind {
            BlockErrorKind::Corrupt => Self::Corrupt,
            BlockErrorKind::Unsupported => Self::Unsupported,
            BlockErrorKind::OutOfRange => Self::OutOfRange,
            BlockErrorKind::MissingPart => Self::MissingPart,
            BlockErrorKind::Refused => Self::Refused,
            BlockErrorKind::Encrypted => Self::Encrypted,
            BlockErrorKind::Stopped => Self::Stopped,
            BlockErrorKind::Internal => Self::Internal,
            _ => Self::Io,
        }
    }
}

impl From<FsErrorKind> for Status {
    fn from(kind: FsErrorKind) -> Self {
        match kind {
            FsErrorKind::Corrupt => Self::Corrupt,
            FsErrorKind::Unsupported => Self::Unsupported,
            FsErrorKind::OutOfRange => Self::OutOfRange,
            FsErrorKind::MissingPart => Self::MissingPart,
            FsErrorKind::Refused => Self::Refused,
            FsErrorKind::NotFound => Self::NotFound,
            FsErrorKind::NotADirectory => Self::NotADirectory,
            FsErrorKind::IsADirectory => Self::IsADirectory,
            FsErrorKind::NotALink => Self::NotALink,
            FsErrorKind::InvalidName => Self::InvalidName,
            FsErrorKind::Encrypted => Self::Encrypted,
            FsErrorKind::Undecodable(_) => Self::Undecodable,
            FsErrorKind::Stopped => Self::Stopped,
            FsErrorKind::Internal => Self::Internal,
            _ => Self::Io,
        }
    }
}

/// Why a call failed.
pub(crate) struct Failure {
    status: Status,
    code: &'static str,
    message: String,
    position: Option<u64>,
}

/// How the work of a call ends.
pub(crate) type Done<T = Status> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, code: status.code(), message: message.into(), position: None }
    }

    /// That `what` is not open.
    pub(crate) fn handle(what: &str) -> Self {
        Self::new(Status::InvalidHandle, format!("not an open {what}"))
    }

    /// That there is no memory.
    pub(crate) fn memory() -> Self {
        Self::new(Status::OutOfMemory, "out of memory, or too many handles are open")
    }

    /// That there are less than `index + 1` of `what`.
    pub(crate) fn index(what: &str, index: usize) -> Self {
        Self::new(Status::OutOfRange, format!("there is no {what} {index}"))
    }
}

impl From<BadArgument> for Failure {
    fn from(error: BadArgument) -> Self {
        Self::new(Status::InvalidArgument, error.to_string())
    }
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        let (kind, position) = (error.kind(), error.position());
        Self { status: kind.into(), code: kind.code(), message: error_chain(&error), position }
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        let (kind, position) = (error.kind(), error.position());
        Self { status: kind.into(), code: error.code(), message: error_chain(&error), position }
    }
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        let status = match error {
            ProgramError::Missing | ProgramError::NotStarted(..) => Status::NoProgram,
            ProgramError::Failed(_) => Status::ProgramFailed,
            ProgramError::HasKeys => Status::Refused,
        };
        let code = if status == Status::Refused { "refused" } else { status.code() };
        Self { code, ..Self::new(status, error.to_string()) }
    }
}

impl From<Panicked<'_>> for Failure {
    fn from(panicked: Panicked<'_>) -> Self {
        Self::new(Status::Internal, panicked.to_string())
    }
}

/// What is kept of the last call of a thread that failed.
struct Kept {
    message: CString,
    code: CString,
    position: Option<u64>,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Does the work of an exported function: the one way in which errors and panics leave it.
pub(crate) fn call(work: impl FnOnce() -> Done) -> Status {
    match guard("what a C program asked for", work) {
        Ok(status) => status,
        Err(failure) => {
            let status = failure.status;
            keep(failure);
            status
        }
    }
}

/// Keeps `failure` for the thread.
pub(crate) fn keep(failure: Failure) {
    let text = |text: &str| CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default();
    let Failure { code, message, position, .. } = failure;
    let kept = Kept { message: text(&message), code: text(code), position };
    // A thread that ends has nobody to tell.
    let _ = KEPT.try_with(|place| place.replace(Some(kept)));
}

/// What is kept of the thread's last failure, if it has one.
fn kept<T>(of: impl FnOnce(&Kept) -> T) -> Option<T> {
    KEPT.try_with(|place| place.borrow().as_ref().map(of)).ok().flatten()
}

/// What `status` is, in a few words. It is never freed; any number may be asked for.
#[unsafe(no_mangle)]
pub extern "C" fn volfold_status_text(status: i32) -> *const c_char {
    Status::text(status).as_ptr()
}

/// Why the last call of this thread failed that did: a sentence with the part that is concerned and the
/// cause. Empty if none failed. It may be read until the next call that fails on this thread, and is
/// never freed.
#[unsafe(no_mangle)]
pub extern "C" fn volfold_error_message() -> *const c_char {
    kept(|kept| kept.message.as_ptr()).unwrap_or(c"".as_ptr())
}

/// The stable code of the same failure, as `volfold --json` has it: "corrupt", "wof-compressed". As long
/// to be read as volfold_error_message().
#[unsafe(no_mangle)]
pub extern "C" fn volfold_error_code() -> *const c_char {
    kept(|kept| kept.code.as_ptr()).unwrap_or(c"".as_ptr())
}

/// Writes the byte position that the same failure is about to `position`, and says whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn volfold_error_position(position: *mut u64) -> bool {
    match kept(|kept| kept.position).flatten() {
        Some(found) => foreign::put(position, found, "position").is_ok(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn a_panic_is_a_status_with_a_message() {
        assert_eq!(call(|| panic!("a bug")), Status::Internal);
        // SAFETY: the text is the thread's until its next failure.
        let message = unsafe { CStr::from_ptr(volfold_error_message()) };
        assert!(message.to_str().unwrap().contains("please report it"));
    }

    #[test]
    fn every_status_has_words_of_its_own() {
        let texts: Vec<_> = (0..=50).map(Status::text).collect();
        assert_eq!(texts.iter().filter(|text| **text != c"unknown status").count(), 23);
        assert_eq!(Status::text(-1), c"unknown status");
    }

    #[test]
    fn a_failure_keeps_its_code_and_position() {
        let status = call(|| Err(BlockError::corrupt("header is cut short", 512, 8).into()));
        let mut position = 0;
        // SAFETY: there is place for the position, and the text is this thread's.
        let code = unsafe {
            assert!(volfold_error_position(&raw mut position));
            CStr::from_ptr(volfold_error_code())
        };
        assert_eq!((status, position, code), (Status::Corrupt, 520, c"corrupt"));
    }
}
