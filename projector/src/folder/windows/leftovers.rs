//! What mounts leave behind that were ended with their machine, or by a failure of it.
//!
//! WinFsp makes a mount point that goes when its last handle is closed; when the machine stops before
//! that, it stays, and leads to a volume that is gone. Removed is only what nothing else makes or
//! needs: a mount point for a device of WinFsp that is not there, and, where the record of a dead
//! process names it, one by the name of the Mount Manager, or an empty directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;

use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_DISPOSITION_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_READ_ATTRIBUTES, FileDispositionInfo, SetFileInformationByHandle,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::FSCTL_GET_REPARSE_POINT;

use crate::folder::names;

/// LIMIT: entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// LIMIT: bytes of a reparse point, as Windows has it (`MAXIMUM_REPARSE_DATA_BUFFER_SIZE`).
const MAX_REPARSE_DATA: usize = 16 << 10;

/// `IO_REPARSE_TAG_MOUNT_POINT` (MS-FSCC 2.1.2.1).
const MOUNT_POINT: u32 = 0xA000_0003;

/// The volume that a mount point leads to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// `\Device\Volume{GUID}`: only WinFsp makes mount points for these names.
    Device(String),
    /// `\??\Volume{GUID}`: the Mount Manager's, also of a disk that is not plugged in now.
    MountManager(String),
}

/// Removes what dead mounts left at `folder`, and in it; `volumes` are the names that the record of a
/// dead process has, and empty without one. How many there were.
pub(crate) fn clear(folder: &Path, volumes: &[String]) -> usize {
    if clear_mount_point(folder, !volumes.is_empty()) {
        return 1;
    }
    let names: Vec<_> = volumes.iter().map(|name| names::to_host(name.as_bytes())).collect();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_ENTRIES);
    let cleared = entries.filter(|entry| {
        let is_named = names.contains(&entry.file_name());
        // Only an empty directory goes; a link does not go this way, whatever it leads to.
        let is_directory = || entry.file_type().is_ok_and(|kind| kind.is_dir());
        clear_mount_point(&entry.path(), is_named)
            || is_named && is_directory() && std::fs::remove_dir(entry.path()).is_ok()
    });
    cleared.count()
}

/// Removes the mount point at `path` if its volume is gone; one of the Mount Manager only if it
/// `is_recorded`. Whether it did.
fn clear_mount_point(path: &Path, is_recorded: bool) -> bool {
    // The same handle all along: what it is cannot change on the way.
    let mut options = OpenOptions::new();
    options
        .access_mode(DELETE | FILE_READ_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT);
    let Ok(point) = options.open(path) else {
        return false;
    };
    let target = match reparse_data(&point) {
        Ok(data) => target(&data),
        Err(_) => None,
    };
    let device = match target {
        Some(Target::Device(device)) => format!(r"\\?\GLOBALROOT{device}"),
        Some(Target::MountManager(volume)) if is_recorded => format!(r"\\?\{volume}"),
        _ => return false,
    };
    is_gone(Path::new(&device)) && delete(&point)
}

/// The reparse data of an open file.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn reparse_data(file: &File) -> io::Result<Vec<u8>> {
    let mut data = vec![0_u8; MAX_REPARSE_DATA];
    let (size, mut count) = (u32::try_from(data.len()).unwrap_or(0), 0);
    // SAFETY: the handle is open, the size is that of the buffer, nothing is overlapped.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_GET_REPARSE_POINT,
            std::ptr::null(),
            0,
            data.as_mut_ptr().cast(),
            size,
            &raw mut count,
            std::ptr::null_mut(),
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    data.truncate(usize::try_from(count).unwrap_or(0));
    Ok(data)
}

/// Where a mount point with this `REPARSE_DATA_BUFFER` (MS-FSCC 2.1.2.5) leads, if to a volume's root.
///
/// | offset | size | field                                        |
/// |--------|------|----------------------------------------------|
/// | 0      | 4    | tag                                          |
/// | 4      | 2    | bytes from offset 8 on                       |
/// | 8      | 2    | offset of the substitute name, from offset 16 |
/// | 10     | 2    | bytes of the substitute name                 |
fn target(data: &[u8]) -> Option<Target> {
    let word = |at: usize| Some(u16::from_le_bytes(*data.get(at..)?.first_chunk()?));
    if u32::from_le_bytes(*data.first_chunk()?) != MOUNT_POINT {
        return None;
    }
    let names = data.get(16..usize::from(word(4)?).checked_add(8)?)?;
    let name = names.get(usize::from(word(8)?)..)?.get(..usize::from(word(10)?))?;
    let (units, []) = name.as_chunks::<2>() else {
        return None;
    };
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let name = String::from_utf16(&units).ok()?;
    let name = name.strip_suffix('\\').unwrap_or(&name);
    if let Some(volume) = name.strip_prefix(r"\Device\") {
        return is_volume(volume).then(|| Target::Device(name.to_owned()));
    }
    let volume = name.strip_prefix(r"\??\")?;
    is_volume(volume).then(|| Target::MountManager(volume.to_owned()))
}

/// Whether `name` is `Volume{01234567-89ab-cdef-0123-456789abcdef}`.
fn is_volume(name: &str) -> bool {
    let Some(guid) = name.strip_prefix("Volume{").and_then(|rest| rest.strip_suffix('}')) else {
        return false;
    };
    let lengths = guid.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && guid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Whether there is no device at `path`; one that cannot be asked is there.
fn is_gone(path: &Path) -> bool {
    match OpenOptions::new().access_mode(0).open(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(_) => false,
    }
}

/// Deletes what `file` is open for, not what it leads to.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn delete(file: &File) -> bool {
    let gone = FILE_DISPOSITION_INFO { DeleteFile: true };
    let size = u32::try_from(size_of_val(&gone)).unwrap_or(0);
    // SAFETY: the handle is open, and the size is that of the structure.
    unsafe {
        let facts = (&raw const gone).cast();
        SetFileInformationByHandle(file.as_raw_handle(), FileDispositionInfo, facts, size) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "Volume{01234567-89ab-CDEF-0123-456789abcdef}";

    /// A mount point that leads to `substitute`, as Windows stores it.
    fn mount_point(substitute: &str) -> Vec<u8> {
        let name: Vec<u8> = substitute.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let length = u16::try_from(name.len()).unwrap();
        let mut data = MOUNT_POINT.to_le_bytes().to_vec();
        for word in [8 + length + 4, 0, 0, length, length + 2, 0] {
            data.extend(word.to_le_bytes());
        }
        data.extend(name);
        data.extend([0; 4]);
        data
    }

    #[test]
    fn a_mount_point_names_its_volume() {
        let device = format!(r"\Device\{GUID}");
        let manager = format!(r"\??\{GUID}");
        for end in ["", r"\"] {
            let leads_to = |name: &str| target(&mount_point(&format!("{name}{end}")));
            assert_eq!(leads_to(&device), Some(Target::Device(device.clone())));
            assert_eq!(leads_to(&manager), Some(Target::MountManager(GUID.to_owned())));
        }
    }

    #[test]
    fn what_leads_to_anything_else_is_not_ours() {
        for name in [
            r"\??\C:\data",
            r"\Device\HarddiskVolume3\",
            r"\Device\Volume{01234567-89ab-cdef-0123-456789abcde}",
            r"\Device\Volume{0123456789ab-cdef-0123-456789abcdef0}",
            r"\Device\Volume{01234567-89ab-cdef-0123-456789abcdeg}",
            r"\Device\Volume{01234567-89ab-cdef-0123-456789abcdef}\data",
            r"Volume{01234567-89ab-cdef-0123-456789abcdef}",
            "",
        ] {
            assert_eq!(target(&mount_point(name)), None, "{name}");
        }
        let mut symlink = mount_point(&format!(r"\Device\{GUID}"));
        symlink[..4].copy_from_slice(&0xA000_000C_u32.to_le_bytes());
        assert_eq!(target(&symlink), None, "a symbolic link");
    }

    #[test]
    fn cut_data_is_no_mount_point() {
        let whole = mount_point(&format!(r"\Device\{GUID}"));
        for length in 0..whole.len() {
            assert_eq!(target(&whole[..length]), None, "{length}");
        }
        for at in [8, 10] {
            let mut bent = whole.clone();
            bent[at..at + 2].copy_from_slice(&[0xFF, 0xFF]);
            assert_eq!(target(&bent), None, "{at}");
        }
    }

    #[test]
    fn only_empty_directories_that_a_record_names_go() {
        let folder = std::env::temp_dir().join(format!("volfold-leftovers-{}", std::process::id()));
        for name in ["BOOT", "Data", "other", "full"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("full").join("file"), b"x").unwrap();
        std::fs::write(folder.join("file"), b"x").unwrap();
        let left = || {
            let mut names: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(clear(&folder, &[]), 0);
        assert_eq!(left(), ["BOOT", "Data", "file", "full", "other"], "without a record");
        let named = ["BOOT", "Data", "file", "full", "gone"].map(str::to_owned);
        assert_eq!(clear(&folder, &named), 2);
        assert_eq!(left(), ["file", "full", "other"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_device_that_is_there_is_not_gone() {
        assert!(!is_gone(Path::new(r"\\?\GLOBALROOT\Device\HarddiskVolume1")));
        let absent = format!(r"\\?\GLOBALROOT\Device\{GUID}");
        assert!(is_gone(Path::new(&absent)));
    }
}
