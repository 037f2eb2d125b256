//! Where links on a path lead, as the DLL resolves them: without leaving the volume.

use std::ffi::c_void;

use volfold_projector::folder::winfsp::abi::{
    FileSystemPtr, IoStatusBlock, NtStatus, ReparsePointByName, nt_status,
};

use crate::units;

const REPARSE: NtStatus = 0x104;
const BUFFER_TOO_SMALL: NtStatus = nt_status(0xC000_0023);
const OBJECT_NAME_NOT_FOUND: NtStatus = nt_status(0xC000_0034);
const OBJECT_PATH_NOT_FOUND: NtStatus = nt_status(0xC000_003A);
const NOT_A_REPARSE_POINT: NtStatus = nt_status(0xC000_0275);
const IO_REPARSE_DATA_INVALID: NtStatus = nt_status(0xC000_0278);
const IO_REPARSE_TAG_NOT_HANDLED: NtStatus = nt_status(0xC000_0279);
const REPARSE_POINT_NOT_RESOLVED: NtStatus = nt_status(0xC000_0280);

const TAG_SYMLINK: u32 = 0xA000_000C;

/// LIMIT: links on one path, as in the genuine DLL.
const MAX_TRIES: usize = 32;

/// LIMIT: bytes of a path.
const MAX_PATH: usize = 2048;

const SEPARATOR: u16 = b'\\' as u16;

/// `FspFileSystemResolveReparsePoints`.
///
/// # Safety
/// As the headers say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FspFileSystemResolveReparsePoints(
    fs: FileSystemPtr,
    by_name: ReparsePointByName,
    context: *mut c_void,
    path: *const u16,
    index: u32,
    resolve_last: u8,
    io_status: *mut IoStatusBlock,
    buffer: *mut c_void,
    size: *mut usize,
) -> NtStatus {
    // SAFETY: by the contract of this function.
    let path = unsafe { units(path) };
    let ask = |name: &[u16], is_directory: bool| {
        let name: Vec<u16> = name.iter().copied().chain([0]).collect();
        let mut data = vec![0_u8; 16 << 10];
        let mut size = data.len();
        // SAFETY: the name ends with 0, the size is that of the buffer.
        let status = unsafe {
            let out = data.as_mut_ptr().cast::<c_void>();
            by_name(fs, context, name.as_ptr(), u8::from(is_directory), out, &raw mut size)
        };
        if status < 0 {
            return Err(status);
        }
        data.truncate(size);
        Ok(data)
    };
    let (information, bytes) = match resolve(path, index as usize, resolve_last != 0, &ask) {
        Ok(Resolved::Path(units)) => (TAG_SYMLINK as usize, symlink_data(&units)),
        Ok(Resolved::Data(data)) => {
            let tag = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
            (tag as usize, data)
        }
        Err(status) => return status,
    };
    // SAFETY: the buffer is of the size that `size` tells, and all are valid.
    unsafe {
        if *size < bytes.len() {
            return BUFFER_TOO_SMALL;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len());
        *size = bytes.len();
        *io_status = IoStatusBlock { status: REPARSE as usize, information };
    }
    REPARSE
}

/// The path that the host goes on with when a request is answered with a reparse point.
///
/// # Errors
/// The status where the host would have to know the tag.
pub fn reparse_path(tag: usize, data: &[u8]) -> Result<Vec<u16>, NtStatus> {
    match symlink_target(data)? {
        Some(target) if tag == TAG_SYMLINK as usize => Ok(target),
        _ => Err(IO_REPARSE_TAG_NOT_HANDLED),
    }
}

/// The data of a link that leads to `path`, as the genuine DLL tells what it has resolved.
fn symlink_data(path: &[u16]) -> Vec<u8> {
    let length = u16::try_from(2 * path.len()).unwrap_or(0);
    let words = [0xC, 0xA000, 12 + length, 0, 0, length, 0, length, 1, 0];
    words.iter().chain(path).flat_map(|unit| unit.to_le_bytes()).collect()
}

/// Tells the reparse data of a path; the flag says that it has to be a directory.
type Ask<'a> = dyn Fn(&[u16], bool) -> Result<Vec<u8>, NtStatus> + 'a;

enum Resolved {
    /// The path to go on with.
    Path(Vec<u16>),
    /// Data that the host has to understand.
    Data(Vec<u8>),
}

fn resolve(
    path: &[u16],
    index: usize,
    resolve_last: bool,
    ask: &Ask<'_>,
) -> Result<Resolved, NtStatus> {
    // What is resolved, and what comes behind it, the next part last.
    let mut done: Vec<u16> = path.get(..index).unwrap_or_default().to_vec();
    while done.last() == Some(&SEPARATOR) {
        done.pop();
    }
    let mut rest = parts(path.get(index..).unwrap_or_default());
    rest.reverse();
    let mut tries = 0;
    while let Some(part) = rest.pop() {
        if part == [u16::from(b'.')] {
            continue;
        }
        if part == [u16::from(b'.'); 2] {
            let end = done.iter().rposition(|unit| *unit == SEPARATOR).unwrap_or(0);
            done.truncate(end);
            continue;
        }
        let before = done.len();
        done.push(SEPARATOR);
        done.extend_from_slice(&part);
        if rest.is_empty() && !resolve_last {
            break;
        }
        let data = match ask(&done, !rest.is_empty()) {
            Ok(data) => data,
            Err(NOT_A_REPARSE_POINT) => continue,
            Err(OBJECT_NAME_NOT_FOUND) if !rest.is_empty() => return Err(OBJECT_PATH_NOT_FOUND),
            Err(status) => return Err(status),
        };
        if tries == MAX_TRIES {
            return Err(REPARSE_POINT_NOT_RESOLVED);
        }
        tries += 1;
        let Some(target) = symlink_target(&data)? else {
            return Ok(Resolved::Data(data));
        };
        // A target that begins at the volume's root; one of another device is not for us.
        if target.starts_with(&[SEPARATOR, u16::from(b'?'), u16::from(b'?'), SEPARATOR]) {
            return Ok(Resolved::Data(data));
        }
        let is_rooted = target.first() == Some(&SEPARATOR);
        done.truncate(if is_rooted { 0 } else { before });
        let mut new = parts(&target);
        new.reverse();
        rest.extend(new);
        if 2 * (done.len() + rest.iter().map(Vec::len).sum::<usize>()) > MAX_PATH {
            return Err(REPARSE_POINT_NOT_RESOLVED);
        }
    }
    if done.is_empty() {
        done.push(SEPARATOR);
    }
    Ok(Resolved::Path(done))
}

fn parts(path: &[u16]) -> Vec<Vec<u16>> {
    path.split(|unit| *unit == SEPARATOR)
        .filter(|part| !part.is_empty())
        .map(<[_]>::to_vec)
        .collect()
}

/// The target of a symbolic link (MS-FSCC 2.1.2.4); `None` for another tag.
fn symlink_target(data: &[u8]) -> Result<Option<Vec<u16>>, NtStatus> {
    let word = |at: usize| data.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let tag = u32::from(word(0)) | u32::from(word(2)) << 16;
    if usize::from(word(4)) + 8 != data.len() {
        return Err(IO_REPARSE_DATA_INVALID);
    }
    if tag != TAG_SYMLINK {
        return Ok(None);
    }
    let start = 20 + usize::from(word(8));
    let bytes = data.get(start..start + usize::from(word(10))).ok_or(IO_REPARSE_DATA_INVALID)?;
    Ok(Some(bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect()))
}
