//! The segment files of an image, and the sections that each of them is a chain of.
//!
//! Specification: libyal, "Expert Witness Compression Format (EWF)", sections 2 and 3.1.
//!
//! | offset | size | of a file       | rule                                              |
//! |--------|------|-----------------|---------------------------------------------------|
//! | 0x00   | 8    | signature       | `EVF`, 0x09, 0x0D, 0x0A, 0xFF, 0x00               |
//! | 0x08   | 1    | fields start    | 1                                                 |
//! | 0x09   | 2    | segment number  | 1 for the first file                              |
//! | 0x0B   | 2    | fields end      | 0                                                 |
//!
//! | offset | size | of a section    | rule                                              |
//! |--------|------|-----------------|---------------------------------------------------|
//! | 0x00   | 16   | type            | text, filled up with zeros                        |
//! | 0x10   | 8    | next            | where the next section begins in the file         |
//! | 0x18   | 8    | size            | with this descriptor; see below                   |
//! | 0x20   | 40   | padding         | not looked at                                     |
//! | 0x48   | 4    | checksum        | Adler-32 of what comes before                     |
//!
//! QUIRK: EnCase writes a size of 0 for the last section, Expert Witness 1.35 for all. So `next` tells
//! where a section ends; a size that says something else is a finding, for another reader may see
//! another image. A section `next` or `done` leads to itself.

use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader};

use super::checksum::Adler32;
use crate::locator::Located;

/// How all files begin.
pub(super) const SIGNATURE: [u8; 8] = *b"EVF\x09\x0D\x0A\xFF\0";

const FILE_HEADER_BYTES: usize = 13;
pub(super) const DESCRIPTOR_BYTES: usize = 76;

/// LIMIT: segment files. More names than these there are not: `.E01` to `.ZZZ`.
const MAX_SEGMENTS: u32 = 14_971;

/// A segment file.
pub(super) struct Segment {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) name: String,
}

/// Checks that `file` is the segment number `number` of an image.
///
/// # Errors
/// `Corrupt` if it is no segment file, `MissingPart` if it is another one.
pub(super) fn check_file(file: &dyn BlockDevice, number: u32) -> BlockResult<()> {
    let found = segment_number(file)?;
    match (found, number) {
        (found, number) if u32::from(found) == number => Ok(()),
        (0, 1) => Err(BlockError::corrupt("EWF file has the segment number 0", 0x09, 0)),
        (found, 1) => Err(BlockError::missing(format!(
            "file is segment {found} of an EWF image; open the first one, whose name ends in 01"
        ))),
        (found, number) => Err(BlockError::missing(format!(
            "file is segment {found} of an EWF image, where segment {number} is needed"
        ))),
    }
}

/// The number of the segment that `file` is.
fn segment_number(file: &dyn BlockDevice) -> BlockResult<u16> {
    let mut bytes = [0; FILE_HEADER_BYTES];
    if file.size() < 13 {
        return Err(BlockError::corrupt("EWF file header is cut short", file.size(), 0));
    }
    file.read_at(0, &mut bytes)?;
    let mut reader = ByteReader::new("EWF file header", &bytes, 0);
    if reader.array()? != SIGNATURE {
        return Err(BlockError::corrupt("EWF file header has another signature", 0, 0));
    }
    let start = reader.u8()?;
    let number = reader.u16_le()?;
    if start != 1 || reader.u16_le()? != 0 {
        return Err(BlockError::corrupt("EWF file header has unknown fields", 0x08, 0));
    }
    Ok(number)
}

/// The name of the segment file number `number`, where the first one is called `first`; `None` if
/// that does not end in `01`, or there are no more names.
///
/// `.E01` to `.E99`, `.EAA` to `.EZZ`, `.FAA` to `.ZZZ`; SMART has small letters.
pub(super) fn segment_name(first: &str, number: u32) -> Option<String> {
    let stem = first.strip_suffix("01")?;
    if number <= 99 {
        return Some(format!("{stem}{number:02}"));
    }
    let index = number.checked_sub(100)?;
    let series = stem.chars().next_back().filter(char::is_ascii_alphabetic)?;
    let (zero, last) = if series.is_ascii_lowercase() { ('a', 'z') } else { ('A', 'Z') };
    // QUIRK: `.Ex01` goes on with `.ExAA`.
    let upper =
        stem.rsplit('.').next().is_some_and(|it| it.starts_with(|c: char| c.is_uppercase()));
    let letter_zero = if upper { 'A' } else { zero };
    let letter = |from: char, index: u32| char::from_u32(u32::from(from).checked_add(index)?);
    let series = letter(series, index / 676).filter(|letter| *letter <= last)?;
    let first = letter(letter_zero, index / 26 % 26)?;
    let second = letter(letter_zero, index % 26)?;
    let mut name: String = stem.to_owned();
    name.pop();
    name.extend([series, first, second]);
    Some(name)
}

/// Opens the segment number `number` of the image whose first file is `first`.
///
/// # Errors
/// `MissingPart` with its name if it is not there, or is another one.
pub(super) fn open_segment(first: &Located, number: u32) -> BlockResult<Segment> {
    let path = Path::new(&first.name);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(name) = segment_name(name, number).filter(|_| number <= MAX_SEGMENTS) else {
        let line = format!(
            "segment {number} of the image is needed, and the name of the first file does not tell \
             what it is called; let it end in .E01"
        );
        return Err(BlockError::missing(line));
    };
    let file = first.files.open(Path::new(&name))?;
    check_file(&*file.device, number).map_err(|error| error.within(&name))?;
    Ok(Segment { device: file.device, name: file.name })
}

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `volume` or `disk`: the shape of the disk.
    Volume,
    /// `data`: a copy of it.
    Data,
    Sectors,
    Table,
    Table2,
    Digest,
    Hash,
    Error2,
    Next,
    Done,
    /// What the bytes of the disk do not need.
    Other,
}

impl Kind {
    fn of(name: [u8; 16]) -> Self {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        match name.get(..end).unwrap_or_default() {
            b"volume" | b"disk" => Self::Volume,
            b"data" => Self::Data,
            b"sectors" => Self::Sectors,
            b"table" => Self::Table,
            b"table2" => Self::Table2,
            b"digest" => Self::Digest,
            b"hash" => Self::Hash,
            b"error2" => Self::Error2,
            b"next" => Self::Next,
            b"done" => Self::Done,
            _ => Self::Other,
        }
    }
}

/// One section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) kind: Kind,
    /// Where its data begins, past the descriptor.
    pub(super) start: u64,
    /// Where it ends: in the file.
    pub(super) end: u64,
    /// Whether its size says that it ends there.
    pub(super) is_sure: bool,
}

/// How the chain of a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// There is another file.
    Next,
    /// The image is complete.
    Done,
    /// The file ends before its chain does.
    Cut(u64),
    /// The descriptor there is damaged.
    Broken(u64),
}

/// The sections of one file, one after the other.
pub(super) struct Sections<'a> {
    file: &'a dyn BlockDevice,
    next: u64,
    pub(super) ending: Option<Ending>,
}

impl<'a> Sections<'a> {
    pub(super) fn of(file: &'a dyn BlockDevice) -> Self {
        Self { file, next: 13, ending: None }
    }

    /// The next section; `None` at the end, which `ending` then tells.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn next(&mut self) -> BlockResult<Option<Section>> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let at = self.next;
        let mut bytes = [0; DESCRIPTOR_BYTES];
        let start = at.saturating_add(76);
        if start > self.file.size() {
            self.ending = Some(Ending::Cut(at));
            return Ok(None);
        }
        self.file.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new("EWF section", &bytes, at);
        let kind = Kind::of(reader.array()?);
        let (next, size) = (reader.u64_le()?, reader.u64_le()?);
        reader.skip(40)?;
        let sum = Adler32::of(bytes.get(..72).unwrap_or_default());
        if reader.u32_le()? != sum {
            self.ending = Some(Ending::Broken(at));
            return Ok(None);
        }
        match kind {
            Kind::Next => self.ending = Some(Ending::Next),
            Kind::Done => self.ending = Some(Ending::Done),
            // The chain never leads back.
            _ if next < start => {
                self.ending = Some(Ending::Broken(at));
                return Ok(None);
            }
            _ if next > self.file.size() => self.ending = Some(Ending::Cut(self.file.size())),
            _ => self.next = next,
        }
        if matches!(kind, Kind::Next | Kind::Done) {
            return Ok(None);
        }
        let is_sure = size == 0 || at.checked_add(size) == Some(next);
        Ok(Some(Section { kind, start, end: next.min(self.file.size()), is_sure }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_encase_names_them() {
        for (first, number, name) in [
            ("a.E01", 2, "a.E02"),
            ("a.E01", 99, "a.E99"),
            ("a.E01", 100, "a.EAA"),
            ("a.E01", 125, "a.EAZ"),
            ("a.E01", 126, "a.EBA"),
            ("a.E01", 775, "a.EZZ"),
            ("a.E01", 776, "a.FAA"),
            ("a.E01", 14_971, "a.ZZZ"),
            ("a.e01", 776, "a.faa"),
            ("a.s01", 100, "a.saa"),
            ("a.s01", 5507, "a.zzz"),
            ("a.Ex01", 101, "a.ExAB"),
            ("a.Ex01", 776, "a.EyAA"),
        ] {
            assert_eq!(segment_name(first, number).as_deref(), Some(name));
        }
        assert_eq!(segment_name("a.E01", 14_972), None);
        assert_eq!(segment_name("a.s01", 5508), None);
        assert_eq!(segment_name("a.E02", 2), None);
        assert_eq!(segment_name("01", 100), None);
    }
}
