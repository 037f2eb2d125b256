//! Paths that are given as arguments: of volumes, and of the host.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf, Prefix};

use volfold::DiskSet;
use volfold_fs::{FsError, FsErrorKind};
use volfold_projector::process::drive_letters;

/// A path argument as [`DiskSet::spell`] spells it; on Windows `\` separates always.
pub(crate) fn guest_path(set: &DiskSet, given: &OsStr) -> Vec<u8> {
    let mut path = given.as_encoded_bytes().to_vec();
    if cfg!(windows) {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    set.spell(&path)
}

/// Why no volume is called as `path` begins; `None` if there is nothing more to say than that it is
/// not there.
pub(crate) fn no_volume(set: &DiskSet, path: &[u8]) -> Option<FsError> {
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let wanted = std::str::from_utf8(parts.next().unwrap_or_default()).ok()?;
    if let Some(line) = set.why_no_volume(wanted) {
        return Some(FsError::new(FsErrorKind::NotFound, line));
    }
    set.path_of_system(path).and_then(Result::err)
}

/// What is said where `wanted` names none of the disks and volumes.
pub(crate) fn not_named(set: &DiskSet, wanted: &str) -> String {
    let reason = set.why_no_volume(wanted);
    let reason = reason.unwrap_or_else(|| "no such disk or volume".to_owned());
    format!("{wanted}: {reason}; `volfold list` shows names and ids")
}

/// `path` made absolute and without `.` and `..`, without asking the host: a dead mount would not
/// answer.
pub(crate) fn plain_path(path: &Path) -> PathBuf {
    if is_letter(path) {
        return path.to_path_buf();
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            // `\\?\C:\a` and `\\.\C:\a` are `C:\a`: one folder has one name here.
            Component::Prefix(prefix) => match prefix.kind() {
                Prefix::VerbatimDisk(letter) => plain.push(format!("{}:", char::from(letter))),
                Prefix::DeviceNS(drive) if is_letter(Path::new(drive)) => plain.push(drive),
                _ => plain.push(part),
            },
            other => plain.push(other),
        }
    }
    if cfg!(windows) {
        return plain;
    }
    // Links above the folder itself are resolved, as the kernel's table of mounts does.
    match (plain.parent(), plain.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => parent.join(name),
            Err(_) => plain,
        },
        _ => plain,
    }
}

/// Whether `path` is a drive and not a folder: `X:`.
pub(crate) fn is_letter(path: &Path) -> bool {
    cfg!(windows)
        && matches!(path.as_os_str().as_encoded_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

/// Whether no drive has the letter of `path` yet, one without a medium neither.
pub(crate) fn is_letter_free(path: &Path) -> bool {
    match path.as_os_str().as_encoded_bytes().first() {
        Some(letter) => !drive_letters().contains(&letter.to_ascii_uppercase()),
        None => false,
    }
}
