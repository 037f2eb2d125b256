//! The kernel's table of mounts, `/proc/self/mountinfo`.
//!
//! A line: `36 35 98:0 /root /mount\040point options ... - type source options`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountLine {
    /// Where the file system is mounted.
    pub(crate) folder: PathBuf,
    /// `major:minor` of the file system.
    pub(crate) device: String,
    /// The type: `ext4`, `fuse`, `fuse.sshfs`.
    pub(crate) kind: Vec<u8>,
    /// What is mounted: a device, or what a program says.
    pub(crate) source: PathBuf,
}

/// The table as the host tells it.
///
/// # Errors
/// If the host does not.
pub(crate) fn read() -> std::io::Result<Vec<MountLine>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The table as the process `pid` sees it.
///
/// # Errors
/// If there is no such process, or the host does not tell.
pub(crate) fn read_of(pid: u32) -> std::io::Result<Vec<MountLine>> {
    Ok(parse(&std::fs::read(format!("/proc/{pid}/mountinfo"))?))
}

/// The lines of `table`; what is no such line is left out.
pub(crate) fn parse(table: &[u8]) -> Vec<MountLine> {
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let folder = fields.nth(1)?;
    // Optional fields end with a dash.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(MountLine {
        folder: unescape(folder),
        device: String::from_utf8_lossy(device).into_owned(),
        kind: rest.next()?.to_vec(),
        source: unescape(rest.next()?),
    })
}

/// Undoes the octal escapes of the table (`\040` for a space).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match tail.split_at_checked(3).filter(|_| *first == b'\\').and_then(octal) {
            Some((byte, tail)) => {
                bytes.push(byte);
                rest = tail;
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The byte that the digits name, and what follows them.
fn octal<'a>((digits, tail): (&[u8], &'a [u8])) -> Option<(u8, &'a [u8])> {
    let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?;
    Some((byte, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_and_unescaped() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            40 22 0:40 / /mnt/a\\040b\\134c ro,nosuid shared:1 - fuse volfold:a.vmdk ro\n\
            no line\n";
        let [root, ours] = &parse(table)[..] else { panic!("two lines") };
        assert_eq!((&root.kind[..], root.source.to_str()), (&b"ext4"[..], Some("/dev/vda")));
        assert_eq!(ours.folder, PathBuf::from("/mnt/a b\\c"));
        assert_eq!((ours.device.as_str(), ours.source.to_str()), ("0:40", Some("volfold:a.vmdk")));
    }
}
