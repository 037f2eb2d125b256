//! The only tables from error kinds to the host's error numbers.

#[cfg(all(target_os = "linux", feature = "fuse"))]
use volfold_fs::FsErrorKind;

/// What a program of Linux sees when a request fails for `kind`.
#[cfg(all(target_os = "linux", feature = "fuse"))]
pub(crate) fn errno(kind: FsErrorKind) -> fuser::Errno {
    use rustix::io::Errno;
    let number = match kind {
        FsErrorKind::Io
        | FsErrorKind::OutOfRange
        | FsErrorKind::MissingPart
        | FsErrorKind::Internal => Errno::IO,
        // As the kernel's own file systems: "Structure needs cleaning".
        FsErrorKind::Corrupt => Errno::UCLEAN,
        FsErrorKind::Unsupported | FsErrorKind::Undecodable(_) => Errno::OPNOTSUPP,
        FsErrorKind::Refused => Errno::PERM,
        FsErrorKind::NotFound => Errno::NOENT,
        FsErrorKind::NotADirectory => Errno::NOTDIR,
        FsErrorKind::IsADirectory => Errno::ISDIR,
        FsErrorKind::NotALink | FsErrorKind::InvalidName => Errno::INVAL,
        // As the kernel for fscrypt: "Required key not available".
        FsErrorKind::Encrypted => Errno::NOKEY,
        FsErrorKind::Stopped => Errno::CANCELED,
        _ => Errno::IO,
    };
    fuser::Errno::from_i32(number.raw_os_error())
}

#[cfg(all(windows, any(feature = "winfsp", feature = "dokan")))]
pub use windows::*;

/// The numbers of `ntstatus.h` (MS-ERREF 2.3.1).
#[cfg(all(windows, any(feature = "winfsp", feature = "dokan")))]
#[cfg_attr(
    not(all(feature = "winfsp", feature = "dokan")),
    expect(dead_code, reason = "what one driver asks for, another may not")
)]
mod windows {
    use volfold_fs::{FsErrorKind, Reason};

    /// `NTSTATUS`: negative for errors and warnings.
    pub type NtStatus = i32;

    /// The number of a status as the headers write it.
    pub const fn number(number: u32) -> NtStatus {
        number.cast_signed()
    }

    /// It went well.
    pub(crate) const SUCCESS: NtStatus = 0;
    /// A link stands in the way.
    pub(crate) const REPARSE: NtStatus = 0x104;
    /// There is more than the buffer holds.
    pub(crate) const BUFFER_OVERFLOW: NtStatus = number(0x8000_0005);
    /// The request is about nothing that is open.
    pub(crate) const INVALID_HANDLE: NtStatus = number(0xC000_0008);
    /// The read begins past the end.
    pub(crate) const END_OF_FILE: NtStatus = number(0xC000_0011);
    /// The buffer holds nothing of it.
    pub(crate) const BUFFER_TOO_SMALL: NtStatus = number(0xC000_0023);
    /// The last part of the path is not there.
    pub(crate) const OBJECT_NAME_NOT_FOUND: NtStatus = number(0xC000_0034);
    /// What was opened is no new file.
    pub(crate) const OBJECT_NAME_COLLISION: NtStatus = number(0xC000_0035);
    /// A directory of the path is not there.
    pub(crate) const OBJECT_PATH_NOT_FOUND: NtStatus = number(0xC000_003A);
    /// The volume cannot be written to.
    pub(crate) const MEDIA_WRITE_PROTECTED: NtStatus = number(0xC000_00A2);
    /// A link that Windows cannot bear.
    pub(crate) const IO_REPARSE_DATA_INVALID: NtStatus = number(0xC000_0278);
    /// A link that leads in circles, or below a file.
    pub(crate) const REPARSE_POINT_NOT_RESOLVED: NtStatus = number(0xC000_0280);

    /// What a program of Windows sees when a request fails for `kind`.
    pub(crate) fn nt_status(kind: FsErrorKind) -> NtStatus {
        match kind {
            // STATUS_IO_DEVICE_ERROR
            FsErrorKind::Io | FsErrorKind::OutOfRange => number(0xC000_0185),
            // STATUS_DEVICE_NOT_CONNECTED
            FsErrorKind::MissingPart => number(0xC000_009D),
            // STATUS_FILE_CORRUPT_ERROR
            FsErrorKind::Corrupt => number(0xC000_0102),
            // STATUS_FILE_IS_OFFLINE
            FsErrorKind::Undecodable(Reason::CLOUD | Reason::OFFLINE) => number(0xC000_0267),
            // STATUS_NOT_SUPPORTED
            FsErrorKind::Unsupported | FsErrorKind::Undecodable(_) => number(0xC000_00BB),
            // STATUS_ACCESS_DENIED
            FsErrorKind::Refused => number(0xC000_0022),
            FsErrorKind::NotFound => OBJECT_NAME_NOT_FOUND,
            // STATUS_NOT_A_DIRECTORY
            FsErrorKind::NotADirectory => number(0xC000_0103),
            // STATUS_FILE_IS_A_DIRECTORY
            FsErrorKind::IsADirectory => number(0xC000_00BA),
            // STATUS_NOT_A_REPARSE_POINT
            FsErrorKind::NotALink => number(0xC000_0275),
            // STATUS_OBJECT_NAME_INVALID
            FsErrorKind::InvalidName => number(0xC000_0033),
            // STATUS_FILE_ENCRYPTED
            FsErrorKind::Encrypted => number(0xC000_0293),
            // STATUS_CANCELLED
            FsErrorKind::Stopped => number(0xC000_0120),
            // STATUS_INTERNAL_ERROR
            FsErrorKind::Internal => number(0xC000_00E5),
            // STATUS_IO_DEVICE_ERROR
            _ => number(0xC000_0185),
        }
    }
}
