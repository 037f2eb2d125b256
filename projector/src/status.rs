//! The only table from error kinds to the host's error numbers.

use fuser::Errno;
use rustix::io;
use volfold_fs::FsErrorKind;

/// What a program sees when a request fails for `kind`.
pub fn errno(kind: FsErrorKind) -> Errno {
    let number = match kind {
        FsErrorKind::Io | FsErrorKind::OutOfRange | FsErrorKind::MissingPart => io::Errno::IO,
        // As the kernel's own file systems: "Structure needs cleaning".
        FsErrorKind::Corrupt => io::Errno::UCLEAN,
        FsErrorKind::Unsupported | FsErrorKind::Undecodable(_) => io::Errno::OPNOTSUPP,
        FsErrorKind::Refused => io::Errno::PERM,
        FsErrorKind::NotFound => io::Errno::NOENT,
        FsErrorKind::NotADirectory => io::Errno::NOTDIR,
        FsErrorKind::IsADirectory => io::Errno::ISDIR,
        FsErrorKind::NotALink | FsErrorKind::InvalidName => io::Errno::INVAL,
        // As the kernel for fscrypt: "Required key not available".
        FsErrorKind::Encrypted => io::Errno::NOKEY,
    };
    Errno::from_i32(number.raw_os_error())
}
