//! Paths that are given as arguments: of volumes, and of the host.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf, Prefix};

use volfold::DiskSet;
use volfold_projector::process::drive_letters;

/// The bytes of a path argument: as they are on Unix, WTF-8 on Windows, where `\` separates too.
pub(crate) fn path_bytes(path: &OsStr) -> Vec<u8> {
    let mut bytes = path.as_encoded_bytes().to_vec();
    if cfg!(windows) {
        for byte in bytes.iter_mut().filter(|byte| **byte == b'\\') {
            *byte = b'/';
        }
    }
    bytes
}

/// `path` with the folder name in place of a volume id.
pub(crate) fn name_of_volume(set: &DiskSet, path: &[u8]) -> Vec<u8> {
    let rest = path.strip_prefix(b"/").unwrap_or(path);
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (first, below) = rest.split_at(end);
    let volume = std::str::from_utf8(first).ok().and_then(|wanted| set.volume(wanted));
    let first = volume.map_or(first, |volume| volume.name.as_bytes());
    [b"/", first, below].concat()
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
