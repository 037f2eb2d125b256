//! Reparse points: what a node is other than its bytes, and where its links lead.
//!
//! Specification: MS-FSCC 2.1.2. Little-endian. All begin with the tag (4 bytes), the length of
//! the data (2) and 2 bytes reserved; the data of a symbolic link or mount point is
//!
//! | offset | size | field               | rule                                         |
//! |--------|------|---------------------|----------------------------------------------|
//! | 0x00   | 2    | `substitute_offset` | in the path buffer                           |
//! | 0x02   | 2    | `substitute_length` | bytes                                        |
//! | 0x04   | 2    | `print_offset`      | not looked at                                |
//! | 0x06   | 2    | `print_length`      | not looked at                                |
//! | 0x08   | 4    | `flags`             | symbolic link only; 1: relative              |
//! | 0x0C   | -    | path buffer         | UTF-16; at 0x08 in a mount point             |
//!
//! and that of the Windows overlay filter (MS-FSCC 2.1.2.10 and `WOF_EXTERNAL_INFO`) is
//!
//! | offset | size | field              | rule                                          |
//! |--------|------|--------------------|-----------------------------------------------|
//! | 0x00   | 4    | `version`          | 1                                             |
//! | 0x04   | 4    | `provider`         | 1: a WIM holds the content; 2: a stream does  |
//! | 0x08   | 4    | `provider_version` | 1                                             |
//! | 0x0C   | 4    | `algorithm`        | provider 2: [`super::wof::Algorithm`]         |

use volfold_block::ByteReader;

use super::wof::Algorithm;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::node::FileKind;
use crate::wtf8;

/// LIMIT: the specification's bound of a reparse buffer, with its header.
pub(super) const MAX_REPARSE: u64 = 16 * 1024 + 24;

pub(super) const TAG_MOUNT_POINT: u32 = 0xA000_0003;
const TAG_SYMLINK: u32 = 0xA000_000C;
const TAG_LX_SYMLINK: u32 = 0xA000_001D;
const TAG_WOF: u32 = 0x8000_0017;

const WOF_VERSION: u32 = 1;
const WOF_PROVIDER_WIM: u32 = 1;
const WOF_PROVIDER_FILE: u32 = 2;
const WOF_FILE_VERSION: u32 = 1;

/// What a reparse point makes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A link.
    Link,
    /// Another kind of node, without content.
    Kind(FileKind),
    /// A file whose content is compressed in another stream.
    Wof(Algorithm),
    /// A file whose content is in the cloud, unless all of it is here.
    Cloud,
    /// A file whose main stream is not its content.
    Unreadable(FsErrorKind),
}

/// What the reparse buffer `bytes` means for a file.
///
/// # Errors
/// `Corrupt` if it is cut short.
pub(super) fn meaning(bytes: &[u8]) -> FsResult<Meaning> {
    let undecodable = |reason| Meaning::Unreadable(FsErrorKind::Undecodable(reason));
    let mut reader = ByteReader::new("reparse point", bytes, 0);
    let tag = reader.u32_le()?;
    Ok(match tag {
        TAG_MOUNT_POINT | TAG_SYMLINK | TAG_LX_SYMLINK => Meaning::Link,
        0x8000_0023 => Meaning::Kind(FileKind::Socket),
        0x8000_0024 => Meaning::Kind(FileKind::Fifo),
        0x8000_0025 => Meaning::Kind(FileKind::CharDevice),
        0x8000_0026 => Meaning::Kind(FileKind::BlockDevice),
        TAG_WOF => wof(&mut reader),
        // A file in a WIM that Windows 7 mounted.
        0x8000_0008 => undecodable(Reason::WOF_WIM),
        0x8000_0013 => undecodable(Reason::DEDUPLICATED),
        // 0x80000021 is the older OneDrive; the others differ in four bits.
        0x8000_0021 => undecodable(Reason::CLOUD),
        _ if tag & 0xFFFF_0FFF == 0x9000_001A => Meaning::Cloud,
        0xC000_0004 | 0x8000_0006 => undecodable(Reason::OFFLINE),
        _ => undecodable(Reason::REPARSE_POINT),
    })
}

/// What the overlay filter made of a file. What is not known well is not read.
fn wof(reader: &mut ByteReader<'_>) -> Meaning {
    let mut algorithm = || -> FsResult<Result<Algorithm, Reason>> {
        reader.skip(4)?;
        let (version, provider) = (reader.u32_le()?, reader.u32_le()?);
        Ok(match (version, provider) {
            (WOF_VERSION, WOF_PROVIDER_WIM) => Err(Reason::WOF_WIM),
            (WOF_VERSION, WOF_PROVIDER_FILE) if reader.u32_le()? == WOF_FILE_VERSION => {
                Algorithm::new(reader.u32_le()?).ok_or(Reason::WOF)
            }
            _ => Err(Reason::WOF),
        })
    };
    match algorithm() {
        Ok(Ok(algorithm)) => Meaning::Wof(algorithm),
        Ok(Err(reason)) => Meaning::Unreadable(FsErrorKind::Undecodable(reason)),
        Err(_) => Meaning::Unreadable(FsErrorKind::Undecodable(Reason::WOF)),
    }
}

/// Where the link in the reparse buffer `bytes` leads, with `/` between the parts.
///
/// # Errors
/// `NotALink` for another tag, `Corrupt` if the buffer is cut short.
pub(super) fn target(bytes: &[u8]) -> FsResult<Vec<u8>> {
    let mut reader = ByteReader::new("reparse point", bytes, 0);
    let tag = reader.u32_le()?;
    let length = usize::from(reader.u16_le()?);
    reader.skip(2)?;
    let mut data = ByteReader::new("reparse point", reader.take(length)?, 8);
    if tag == TAG_LX_SYMLINK {
        let version = data.u32_le()?;
        if version != 2 {
            return Err(FsError::unsupported("symbolic link of Linux has another version than 2"));
        }
        return Ok(data.take(data.remaining())?.to_vec());
    }
    if tag != TAG_SYMLINK && tag != TAG_MOUNT_POINT {
        return Err(FsError::not_a_link());
    }
    let offset = usize::from(data.u16_le()?);
    let length = usize::from(data.u16_le()?);
    data.skip(4)?;
    if tag == TAG_SYMLINK {
        data.skip(4)?;
    }
    data.skip(offset)?;
    Ok(portable(wtf8::units_le(data.take(length)?)))
}

/// A path of Windows with `/` between the parts and without the prefix of the NT name space.
fn portable(units: impl Iterator<Item = u16>) -> Vec<u8> {
    let slashed = units.map(|unit| if unit == 0x5C { 0x2F } else { unit });
    let path = wtf8::encode(slashed);
    for prefix in [&b"/??/"[..], b"//?/", b"/DosDevices/"] {
        if let Some(rest) = path.strip_prefix(prefix) {
            return match rest.strip_prefix(b"UNC/") {
                Some(share) => [b"//", share].concat(),
                None => rest.to_vec(),
            };
        }
    }
    path
}

/// What an Interix file (the links and device nodes of Services for Unix and of ntfs-3g) is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Interix {
    /// A symbolic link to this.
    Link(Vec<u8>),
    /// A device node with major and minor number.
    Device(FileKind, (u32, u32)),
}

/// LIMIT: bytes of an Interix link: the magic and 4096 code units, as ntfs-3g writes at most.
pub(super) const MAX_INTERIX: u64 = 8 + 2 * 4096;

/// What the content `bytes` of a system file makes of it; `None` for an ordinary system file.
pub(super) fn interix(bytes: &[u8]) -> Option<Interix> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    if magic == b"IntxLNK\x01" {
        return Some(Interix::Link(wtf8::encode(wtf8::units_le(rest))));
    }
    let kind = match magic {
        b"IntxCHR\0" => FileKind::CharDevice,
        b"IntxBLK\0" => FileKind::BlockDevice,
        _ => return None,
    };
    let mut numbers = ByteReader::new("device node", rest, 8);
    let major = u32::try_from(numbers.u64_le().ok()?).ok()?;
    let minor = u32::try_from(numbers.u64_le().ok()?).ok()?;
    (numbers.remaining() == 0).then_some(Interix::Device(kind, (major, minor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(tag: u32, path: &str, header: usize) -> Vec<u8> {
        let path: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = tag.to_le_bytes().to_vec();
        let length = u16::try_from(header + path.len()).unwrap();
        bytes.extend(length.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        bytes.resize(8 + header, 0);
        bytes.extend(path);
        bytes
    }

    #[test]
    fn targets_use_slashes_and_lose_the_nt_prefix() {
        let cases = [
            (r"..\a\b", "../a/b"),
            (r"\??\C:\x", "C:/x"),
            (r"\??\UNC\host\share", "//host/share"),
            (r"\??\Volume{1}\", "Volume{1}/"),
            (r"\x", "/x"),
        ];
        for (stored, shown) in cases {
            assert_eq!(target(&link(TAG_SYMLINK, stored, 12)).unwrap(), shown.as_bytes());
            assert_eq!(target(&link(TAG_MOUNT_POINT, stored, 8)).unwrap(), shown.as_bytes());
        }
        let mut lx = TAG_LX_SYMLINK.to_le_bytes().to_vec();
        lx.extend([7, 0, 0, 0, 2, 0, 0, 0]);
        lx.extend(b"a/b");
        assert_eq!(target(&lx).unwrap(), b"a/b");
    }

    #[test]
    fn a_link_that_is_cut_short_is_corrupt() {
        let whole = link(TAG_SYMLINK, "target", 12);
        for length in 0..whole.len() {
            let error = target(&whole[..length]).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Corrupt, "{length}");
        }
        let error = target(&link(0x8000_0017, "x", 8)).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::NotALink);
    }

    #[test]
    fn interix_files_are_known_by_their_magic() {
        let link = b"IntxLNK\x01a\0/\0b\0";
        assert_eq!(interix(link), Some(Interix::Link(b"a/b".to_vec())));
        let mut device = b"IntxBLK\0".to_vec();
        device.extend(8_u64.to_le_bytes());
        device.extend(1_u64.to_le_bytes());
        let node = Interix::Device(FileKind::BlockDevice, (8, 1));
        assert_eq!(interix(&device), Some(node));
        assert_eq!(interix(b"MZ......."), None);
    }

    #[test]
    fn tags_of_foreign_content_are_refused_by_their_reason() {
        for (tag, reason) in [
            (0x8000_0008_u32, Reason::WOF_WIM),
            (0x8000_0013, Reason::DEDUPLICATED),
            (0x8000_0021, Reason::CLOUD),
            (0xC000_0004, Reason::OFFLINE),
            (0x8000_001B, Reason::REPARSE_POINT),
            (0x8000_0017, Reason::WOF),
        ] {
            let kind = FsErrorKind::Undecodable(reason);
            assert_eq!(meaning(&tag.to_le_bytes()).unwrap(), Meaning::Unreadable(kind));
        }
        assert_eq!(meaning(&0x9000_601A_u32.to_le_bytes()).unwrap(), Meaning::Cloud);
        assert_eq!(meaning(b"abc").unwrap_err().kind(), FsErrorKind::Corrupt);
    }

    #[test]
    fn the_overlay_filter_names_its_algorithm() {
        let of = |numbers: [u32; 4]| {
            let mut bytes = TAG_WOF.to_le_bytes().to_vec();
            bytes.extend([16, 0, 0, 0]);
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            meaning(&bytes).unwrap()
        };
        assert_eq!(of([1, 2, 1, 1]), Meaning::Wof(Algorithm::Lzx));
        assert_eq!(of([1, 2, 1, 3]), Meaning::Wof(Algorithm::Xpress16K));
        let refused = |reason| Meaning::Unreadable(FsErrorKind::Undecodable(reason));
        assert_eq!(of([1, 1, 2, 0]), refused(Reason::WOF_WIM));
        for unknown in [[2, 2, 1, 1], [1, 3, 1, 1], [1, 2, 2, 1], [1, 2, 1, 4]] {
            assert_eq!(of(unknown), refused(Reason::WOF));
        }
    }
}
