//! What files of the host need on Windows: sharing, `\\?\`, drives, and names that are devices.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf, Prefix};

use volfold_block::{Extent, FileId, byte_count};

/// `FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE`: a running machine keeps its disk.
const SHARE_ALL: u32 = 7;

/// `SECURITY_IDENTIFICATION`: a pipe in the place of an image cannot act in our name.
const IDENTIFY_ONLY: u32 = 0x0001_0000;

const ERROR_SHARING_VIOLATION: i32 = 32;
const ERROR_LOCK_VIOLATION: i32 = 33;

/// Whether `path` is a whole drive: `\\.\PhysicalDrive0`.
pub(super) fn is_drive(path: &Path) -> bool {
    let mut components = path.components();
    let Some(Component::Prefix(prefix)) = components.next() else {
        return false;
    };
    let (Prefix::DeviceNS(name) | Prefix::Verbatim(name)) = prefix.kind() else {
        return false;
    };
    let number = name.to_str().and_then(|name| {
        let (word, number) = name.split_at_checked("PhysicalDrive".len())?;
        word.eq_ignore_ascii_case("PhysicalDrive").then_some(number)
    });
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        && !components.any(|component| matches!(component, Component::Normal(_)))
}

/// Whether there are bytes at positions in what `metadata` is of.
pub(super) fn has_bytes(metadata: &Metadata) -> bool {
    metadata.is_file()
}

/// The numbers of a file are asked for by `unsafe` calls only.
pub(super) fn file_id(_metadata: &Metadata) -> Option<FileId> {
    None
}

/// Handles have no limit to speak of.
pub(super) fn open_limit() -> Option<usize> {
    None
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .share_mode(SHARE_ALL)
        .security_qos_flags(IDENTIFY_ONLY)
        .open(path)
}

pub(super) fn read_exact_at(file: &File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        let count = file.seek_read(buf, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf = buf.get_mut(count..).unwrap_or_default();
        offset = offset.saturating_add(byte_count(count));
    }
    Ok(())
}

/// Windows takes no such advice.
pub(super) fn will_need(_file: &File, _offset: u64, _length: u64) {}

/// Whether another program keeps the bytes to itself.
pub(super) fn is_locked(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION))
}

/// Holes are not asked for: they read as zeros, and the system call needs `unsafe`.
pub(super) fn extent(_file: &File, _offset: u64, _size: u64) -> Option<Extent> {
    None
}

/// `path` as people write it, without `\\?\`.
pub(super) fn shown(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let Some(rest) = text.strip_prefix(r"\\?\") else {
        return text;
    };
    if let Some(share) = rest.strip_prefix(r"UNC\") {
        return Cow::Owned(format!(r"\\{share}"));
    }
    // Other verbatim paths have no other form.
    match rest.as_bytes() {
        [letter, b':', b'\\', ..] if letter.is_ascii_alphabetic() => Cow::Owned(rest.to_owned()),
        _ => text,
    }
}

/// The path of `path` without links.
///
/// Some drivers cannot tell the real path of what they hold. A file that is no link itself then
/// stands for itself.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path).or_else(|error| {
        let metadata = std::fs::symlink_metadata(path).map_err(|_| error)?;
        if metadata.is_symlink() {
            return Err(io::Error::other("a link that the driver cannot resolve"));
        }
        std::path::absolute(path)
    })
}

pub(super) fn host_path(reference: &Path) -> PathBuf {
    reference.to_path_buf()
}

/// Whether the host may be asked what is at `reference`.
///
/// To ask for `\\server\share\a` is to call that server, and to ask for a device is to act on it.
/// So only paths of plain names are, on the drives that the user named; of others the last name is
/// all that counts.
pub(super) fn may_ask<'a>(
    folders: impl IntoIterator<Item = &'a PathBuf>,
    reference: &Path,
) -> bool {
    let mut drive = None;
    let mut rooted = false;
    for component in reference.components() {
        match component {
            Component::Prefix(prefix) => match prefix.kind() {
                Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => drive = Some(letter),
                _ => return false,
            },
            Component::RootDir => rooted = true,
            Component::CurDir | Component::ParentDir => {}
            Component::Normal(name) => {
                if !is_plain(Path::new(name)) {
                    return false;
                }
            }
        }
    }
    let Some(letter) = drive else {
        return true;
    };
    let mut folders = folders.into_iter();
    // `C:a` is relative to a folder of this process, which no image can mean.
    rooted && folders.any(|folder| drive_letter(folder) == Some(letter.to_ascii_uppercase()))
}

fn drive_letter(path: &Path) -> Option<u8> {
    match path.components().next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
                Some(letter.to_ascii_uppercase())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether `name` means a file of that name: no device, no stream, no wildcard, and nothing that
/// Windows would cut off.
///
/// Source: "Naming Files, Paths, and Namespaces" of the Windows documentation.
pub(super) fn is_plain(name: &Path) -> bool {
    let Some(name) = name.to_str() else {
        // Unpaired surrogates are strange, but ordinary files.
        return true;
    };
    let bad = |c: char| c < ' ' || r#""*/:<>?\|"#.contains(c);
    !name.is_empty() && !name.ends_with(['.', ' ']) && !name.contains(bad) && !is_device(name)
}

/// Whether Windows takes `name` for a device, with or without what looks like an extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let stem = stem.to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    // Superscript digits count as digits.
    let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let mut digits = number.unwrap_or_default().chars();
    let is_digit = |c: char| c.is_ascii_digit() || "\u{B9}\u{B2}\u{B3}".contains(c);
    digits.next().is_some_and(is_digit) && digits.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_known_by_their_names() {
        for drive in [r"\\.\PhysicalDrive0", r"\\.\physicaldrive12", r"\\?\PhysicalDrive3"] {
            assert!(is_drive(Path::new(drive)), "{drive}");
        }
        for other in [
            "PhysicalDrive0",
            r"\\.\PhysicalDrive",
            r"\\.\PhysicalDrive0x",
            r"\\.\PhysicalDrive0\a",
            r"\\.\C:",
            r"\\.\pipe\a",
            r"C:\PhysicalDrive0",
            r"\\PhysicalDrive0\PhysicalDrive0",
        ] {
            assert!(!is_drive(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn people_are_shown_no_verbatim_paths() {
        for (path, wanted) in [
            (r"\\?\C:\a\b", r"C:\a\b"),
            (r"\\?\UNC\server\share\a", r"\\server\share\a"),
            (r"\\?\Volume{0}\a", r"\\?\Volume{0}\a"),
            (r"C:\a", r"C:\a"),
            ("a", "a"),
        ] {
            assert_eq!(shown(Path::new(path)), wanted);
        }
    }

    #[test]
    fn names_of_devices_and_streams_are_not_plain() {
        for name in [
            "NUL",
            "con",
            "Aux.vmdk",
            "nul .tar.gz",
            "COM1",
            "lpt9.img",
            "COM\u{B2}",
            "CONIN$",
            "conout$",
            "a:b",
            ":b",
            "a.",
            "a ",
            "a?",
            "a*",
            "a|b",
            "a<",
            "\u{1}",
            "",
        ] {
            assert!(!is_plain(Path::new(name)), "{name}");
        }
        for name in ["a", "disk.vmdk", "console", "COM", "COM10", "nul2", ".a", "a b.img", "\u{E4}"]
        {
            assert!(is_plain(Path::new(name)), "{name}");
        }
    }
}
