//! The footer of a VHD, and its copy at the start of the file.
//!
//! Specification: Virtual Hard Disk Image Format 1.0, "Hard Disk Footer Format". Big-endian. It is the
//! last 512 bytes of the file; dynamic and differencing images have a copy in their first 512.
//!
//! | offset | size | field               | rule                                               |
//! |--------|------|---------------------|----------------------------------------------------|
//! | 0x00   | 8    | cookie              | `conectix`                                         |
//! | 0x08   | 4    | features            | not looked at                                      |
//! | 0x0C   | 4    | version             | 1.x; the high half is the major one                |
//! | 0x10   | 8    | data offset         | of the dynamic header; all ones for fixed images   |
//! | 0x18   | 4    | time                | not looked at                                      |
//! | 0x1C   | 4    | creator application | decides what the size is, see [`Footer::size`]     |
//! | 0x20   | 16   | its version, host, original size | not looked at                         |
//! | 0x30   | 8    | current size        | in bytes                                           |
//! | 0x38   | 4    | geometry            | cylinders (2), heads, sectors                      |
//! | 0x3C   | 4    | type                | 2 fixed, 3 dynamic, 4 differencing                 |
//! | 0x40   | 4    | checksum            | all bits turned of the sum of all other bytes      |
//! | 0x44   | 16   | UUID                |                                                    |
//! | 0x54   | 1    | saved state         | not looked at                                      |

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Code, Finding, Severity, code,
};

use crate::guid::Guid;

/// The bytes of a footer.
pub(super) const FOOTER_BYTES: usize = 512;

const COOKIE: &[u8; 8] = b"conectix";

/// The version that is read.
const VERSION: u32 = 0x0001_0000;

/// Where the checksum is.
const CHECKSUM_AT: usize = 0x40;

/// The greatest geometry. It stands for any larger size, too.
const MAX_GEOMETRY: (u16, u8, u8) = (65535, 16, 255);

/// What kind of image it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Dynamic => "dynamic",
            Self::Differencing => "differencing",
        }
    }
}

/// What a footer says, be it possible or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RawFooter {
    version: u32,
    data_offset: u64,
    creator: [u8; 4],
    current_size: u64,
    geometry: (u16, u8, u8),
    kind: u32,
    uuid: Guid,
    /// Whether its checksum is right.
    is_intact: bool,
}

impl RawFooter {
    /// The footer in `bytes`; `None` if they are none.
    fn parse(bytes: &[u8; FOOTER_BYTES]) -> BlockResult<Option<Self>> {
        let mut reader = ByteReader::new("VHD footer", bytes, 0);
        let cookie = reader.array::<8>()?;
        reader.skip(4)?;
        let version = reader.u32_be()?;
        let same = cookie.iter().zip(COOKIE).filter(|(found, wanted)| found == wanted).count();
        // A cookie with one damaged byte is known by what follows.
        if same < 8 && !(same == 7 && version == VERSION) {
            return Ok(None);
        }
        let data_offset = reader.u64_be()?;
        reader.skip(4)?;
        let creator = reader.array()?;
        reader.skip(16)?;
        let current_size = reader.u64_be()?;
        let cylinders = reader.u16_be()?;
        let geometry = (cylinders, reader.u8()?, reader.u8()?);
        let kind = reader.u32_be()?;
        let checksum = reader.u32_be()?;
        let uuid = Guid::of(u128::from_be_bytes(reader.array()?));
        let is_intact = checksum == checksum_of(bytes, CHECKSUM_AT) && same == 8;
        Ok(Some(Self {
            version,
            data_offset,
            creator,
            current_size,
            geometry,
            kind,
            uuid,
            is_intact,
        }))
    }

    /// Whether it is of an image that has a copy of it at its start.
    fn has_copy(&self) -> bool {
        matches!(self.kind, 3 | 4) || self.data_offset != u64::MAX
    }
}

/// The checksum of `bytes`, in which it stands at `at`.
pub(super) fn checksum_of(bytes: &[u8], at: usize) -> u32 {
    let own = at..at.saturating_add(4);
    let others = bytes.iter().enumerate().filter(|(index, _)| !own.contains(index));
    !others.fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)))
}

/// A footer whose every field is within its bounds.
#[derive(Clone, Debug)]
pub(super) struct Footer {
    pub(super) kind: Kind,
    /// Where the dynamic header is.
    pub(super) data_offset: u64,
    /// The size of the disk in bytes.
    pub(super) size: u64,
    /// The size that the footer gives as a number.
    pub(super) current_size: u64,
    pub(super) uuid: Guid,
    /// Where the bytes of the disk end in the file: at the footer, or at the end.
    pub(super) data_end: u64,
    /// What is wrong with it.
    pub(super) findings: Vec<Finding>,
}

/// The footer at the end of a file and where it begins, and the one at its start.
type Both = (Option<(RawFooter, u64)>, Option<RawFooter>);

/// The footer at the end of `file` and where it begins, and the one at its start.
fn both(file: &dyn BlockDevice) -> BlockResult<Both> {
    let mut bytes = [0; FOOTER_BYTES];
    let mut head = None;
    if file.size() >= 512 {
        file.read_at(0, &mut bytes)?;
        head = RawFooter::parse(&bytes)?.filter(RawFooter::has_copy);
    }
    // QUIRK: Virtual PC before 2004 wrote footers of 511 bytes.
    for (before, length) in [(512, 512), (511, 511)] {
        let Some(at) = file.size().checked_sub(before) else { continue };
        bytes.fill(0);
        file.read_at(at, bytes.get_mut(..length).unwrap_or_default())?;
        if let Some(footer) = RawFooter::parse(&bytes)? {
            return Ok((Some((footer, at)), head));
        }
    }
    Ok((None, head))
}

/// Whether `file` has a footer or a copy of one, and whether a whole cookie says so.
pub(super) fn is_there(file: &dyn BlockDevice) -> BlockResult<Option<bool>> {
    let (tail, head) = both(file)?;
    let all = [tail.map(|(footer, _)| footer), head];
    let found = all.into_iter().flatten().map(|footer| footer.is_intact);
    Ok(found.max())
}

impl Footer {
    /// Reads the footer of the image in `file`, or its copy where that is damaged.
    ///
    /// # Errors
    /// `Corrupt` if there is none or a field cannot be, `Unsupported` for versions before 1.
    pub(super) fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let end = file.size();
        let warning =
            |code: Code, sentence: &str, at| Finding::new(Severity::Warning, code, sentence).at(at);
        let unsure = |at| warning(code::VHD_CHECKSUM, "the footer has a wrong checksum", at);
        let (raw, at, data_end, finding) = match both(file)? {
            (Some((tail, at)), Some(head)) if tail.is_intact && tail.has_copy() => {
                let finding = match head {
                    head if !head.is_intact => {
                        let sentence = "the copy of the footer has a wrong checksum";
                        Some(warning(code::VHD_FOOTER_COPY, sentence, 0))
                    }
                    head if head != tail => {
                        let sentence = "the footer and its copy differ";
                        Some(warning(code::VHD_FOOTERS_DIFFER, sentence, at))
                    }
                    _ => None,
                };
                (tail, at, at, finding)
            }
            (Some((tail, at)), None) if tail.is_intact && tail.has_copy() => {
                let sentence = "the copy of the footer is missing";
                (tail, at, at, Some(warning(code::VHD_FOOTER_COPY, sentence, 0)))
            }
            (Some((tail, at)), _) if tail.is_intact => (tail, at, at, None),
            // What a guest wrote to the first sector of a fixed disk says nothing.
            (Some((tail, at)), Some(head)) if head.is_intact && tail.has_copy() => {
                let sentence = "the footer has a wrong checksum; its copy is used";
                (head, 0, at, Some(warning(code::VHD_FOOTER_DAMAGED, sentence, at)))
            }
            (Some((tail, at)), _) => (tail, at, at, Some(unsure(at))),
            (None, Some(head)) if head.is_intact => {
                let sentence = "the footer at the end is missing; its copy is used";
                (head, 0, end, Some(warning(code::VHD_FOOTER_DAMAGED, sentence, end)))
            }
            (None, Some(head)) => (head, 0, end, Some(unsure(0))),
            (None, None) => return Err(BlockError::corrupt("VHD has no footer", end, 0)),
        };
        let mut footer = Self::check(&raw, at, data_end)?;
        footer.findings.extend(finding);
        Ok(footer)
    }

    /// The footer `raw`, which begins at `at`.
    fn check(raw: &RawFooter, at: u64, data_end: u64) -> BlockResult<Self> {
        if raw.version >> 16 != 1 {
            let (major, minor) = (raw.version >> 16, raw.version & 0xFFFF);
            let line = format!("VHD of version {major}.{minor} is not read; 1.x is");
            return Err(BlockError::unsupported(line).at(at.saturating_add(0x0C)));
        }
        let kind = match raw.kind {
            2 => Kind::Fixed,
            3 => Kind::Dynamic,
            4 => Kind::Differencing,
            other => {
                let line = format!("VHD footer has the unknown type {other}");
                return Err(BlockError::corrupt(line, at, 0x3C));
            }
        };
        let (size, by_geometry) = size(raw);
        if size == 0 {
            return Err(BlockError::corrupt("VHD footer has the size 0", at, 0x30));
        }
        let mut findings = Vec::new();
        if by_geometry && size < raw.current_size {
            let line = format!(
                "the disk has the {size} bytes of its geometry; the footer tells of {} bytes",
                raw.current_size
            );
            findings.push(Finding::info(code::VHD_SIZE_BY_GEOMETRY, line));
        }
        let (data_offset, current_size, uuid) = (raw.data_offset, raw.current_size, raw.uuid);
        Ok(Self { kind, data_offset, size, current_size, uuid, data_end, findings })
    }
}

/// The size of the disk in bytes, and whether it is the one of the geometry.
///
/// QUIRK: Virtual PC and Virtual Server round a disk down to its geometry, and their guests rely on
/// that; QEMU does the same under the name `qemu`. All others, Hyper-V (`win `), QEMU where it was
/// told the size (`qem2`), Disk2vhd (`d2v `), XenServer (`tap\0`, `CTXS`), VirtualBox (`vbox`) and
/// Azure (`wa\0\0`), go by the current size; and so do all where the geometry is the greatest.
fn size(raw: &RawFooter) -> (u64, bool) {
    let (cylinders, heads, sectors) = raw.geometry;
    // 16 + 8 + 8 + 9 bits.
    let tracks = u64::from(cylinders).saturating_mul(heads.into());
    let by_geometry = tracks.saturating_mul(sectors.into()).saturating_mul(512);
    let goes_by_it = matches!(&raw.creator, b"vpc " | b"vs  " | b"qemu");
    let is_possible = (1..=raw.current_size).contains(&by_geometry);
    if goes_by_it && is_possible && raw.geometry != MAX_GEOMETRY {
        (by_geometry, true)
    } else {
        (raw.current_size, false)
    }
}
