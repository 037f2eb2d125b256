//! Paths that are given as arguments: of volumes, and of the host.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf, Prefix};

use volfold::DiskSet;
use volfold_fs::{FsError, FsErrorKind};
use volfold_projector::process::drive_letters;

/// A path argument with `/` as its separator, and with the folder name in place of what else a
/// volume can be called: its id, a drive letter, the name with other capitals.
///
/// On Windows `\` separates always. On Unix a guest's name may hold it: it separates around the
/// volume, where that is not called so, and the search for the rest takes it for a part of a name
/// first.
pub(crate) fn guest_path(set: &DiskSet, given: &OsStr) -> Vec<u8> {
    let mut path = given.as_encoded_bytes().to_vec();
    if cfg!(windows) {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    let is_separator = |byte: &u8| matches!(*byte, b'/' | b'\\');
    let without_separators = |path: &[u8]| {
        let count = path.iter().take_while(|byte| is_separator(byte)).count();
        path[count..].to_vec()
    };
    let path = match &path[..] {
        [a, b, b'?' | b'.', c, rest @ ..] if [a, b, c].into_iter().all(is_separator) => rest,
        path => path,
    };
    let path = without_separators(path);
    let named = |first: &[u8]| std::str::from_utf8(first).ok().and_then(|name| set.volume(name));
    let whole = first_part(&path);
    let (first, below) = match (named(whole), letter(&path)) {
        (Some(_), _) => path.split_at(whole.len()),
        (None, Some(letter)) => path.split_at(letter.len()),
        (None, None) => path.split_at(path.iter().position(is_separator).unwrap_or(path.len())),
    };
    let first = named(first).map_or(first, |volume| volume.name.as_bytes());
    // `C:Users` is below the root too: there is no folder that a guest's program works in.
    let below = without_separators(below);
    let separator: &[u8] = if below.is_empty() { b"" } else { b"/" };
    [b"/", first, separator, &below].concat()
}

/// The part of `path` that names the volume.
fn first_part(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or_default()
}

/// The drive letter that `path` begins with, and its colon.
fn letter(path: &[u8]) -> Option<&[u8]> {
    path.get(..2).filter(|first| matches!(first, [letter, b':'] if letter.is_ascii_alphabetic()))
}

/// Why no volume is called as `path` begins; `None` if there is nothing more to say than that it is
/// not there.
pub(crate) fn no_volume(set: &DiskSet, path: &[u8]) -> Option<FsError> {
    let wanted = std::str::from_utf8(first_part(path)).ok()?;
    let line = why_no_volume(set, wanted)?;
    Some(FsError::new(FsErrorKind::NotFound, line))
}

/// Why `wanted` names no volume of `set`, where there is more to say than that.
pub(crate) fn why_no_volume(set: &DiskSet, wanted: &str) -> Option<String> {
    let called = set.volumes_called(wanted);
    if called.len() > 1 {
        let names: Vec<&str> = called.iter().map(|volume| volume.name.as_str()).collect();
        return Some(format!("several volumes are called {wanted}: {}", names.join(", ")));
    }
    (called.is_empty() && letter(wanted.as_bytes()).is_some())
        .then(|| format!("the set does not tell which volume is {wanted}"))
}

/// What is said where `wanted` names none of the disks and volumes.
pub(crate) fn not_named(set: &DiskSet, wanted: &str) -> String {
    let reason = why_no_volume(set, wanted);
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
