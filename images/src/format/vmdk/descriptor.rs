//! The descriptor of a VMDK: text that says which files make the disk.
//!
//! Specification: VMware Virtual Disk Format 5.0, "The Descriptor File". Lines end in LF or CRLF,
//! `#` begins a comment. It stands in a file of its own, or in the first extent, filled up with
//! zero bytes.
//!
//! | line                                 | meaning                                             |
//! |--------------------------------------|-----------------------------------------------------|
//! | `CID=fb183c20`                       | content id: changes when the guest writes           |
//! | `parentCID=ffffffff`                 | content id of the parent; all ones: no parent       |
//! | `parentFileNameHint="base.vmdk"`     | where the parent was                                |
//! | `createType="monolithicSparse"`      | name of the variant                                 |
//! | `RW 4192256 SPARSE "d-s001.vmdk"`    | extent: access, sectors, type, file                 |
//! | `RW 1048576 FLAT "d-f001.vmdk" 2048` | the same with the first sector in the file          |
//! | `ddb.adapterType = "lsilogic"`       | and every other key: not looked at                  |
//!
//! QUIRK: the specification wants `# Disk DescriptorFile` as the first line. VMware's converter
//! for streams writes another comment into embedded descriptors, so these are taken without it.

use std::borrow::Cow;

use crate::format::vmdk::header::{MAX_DISK_BYTES, SECTOR};
use volfold_block::{BlockError, BlockResult, byte_count};

/// LIMIT: bytes of a descriptor. Real ones have a few hundred; one of 4096 extents has 200 KiB.
pub(super) const MAX_DESCRIPTOR_BYTES: u64 = 1 << 20;

/// LIMIT: extents of one disk: 8 TiB in extents of 2 GiB.
const MAX_EXTENTS: usize = 4096;

/// `parentCID` of a disk without a parent.
const NO_PARENT: u32 = u32::MAX;

const SIGNATURE: &[u8] = b"# disk descriptorfile";

/// What may be done with an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading and writing.
    ReadWrite,
    /// Reading.
    ReadOnly,
    /// Nothing.
    Forbidden,
}

/// How an extent keeps its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExtentType {
    /// As they are, `FLAT` or `VMFS`, from this byte of the file on.
    Flat { offset: u64 },
    /// In grains.
    Sparse,
    /// Not at all.
    Zero,
    /// In a way that is not read here.
    Other(String),
}

/// A line about an extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtentLine {
    pub(super) access: Access,
    /// Its size on the disk in bytes.
    pub(super) size: u64,
    pub(super) extent_type: ExtentType,
    /// The file as written; empty where none is named.
    pub(super) file: String,
}

/// A parent as its child describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParentLink {
    /// Its content id when the child was made.
    pub(super) cid: u32,
    /// Its file as written.
    pub(super) hint: String,
}

/// A descriptor whose every line that matters was understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptor {
    pub(super) cid: Option<u32>,
    pub(super) parent: Option<ParentLink>,
    pub(super) create_type: Option<String>,
    pub(super) extents: Vec<ExtentLine>,
}

/// Whether the first bytes of a file are those of a descriptor file.
pub(super) fn has_signature(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    bytes
        .trim_ascii_start()
        .get(..SIGNATURE.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SIGNATURE))
}

/// The values of the keys, as they come by.
#[derive(Default)]
struct Keys<'a> {
    cid: Option<(&'a str, u64)>,
    parent_cid: Option<(&'a str, u64)>,
    parent_hint: Option<(&'a str, u64)>,
    create_type: Option<(&'a str, u64)>,
}

impl Descriptor {
    /// Checks the descriptor in `bytes`, which began at `at` in the file.
    ///
    /// # Errors
    /// `Corrupt` with the position of the line that cannot be understood.
    pub(super) fn parse(bytes: &[u8], at: u64) -> BlockResult<Self> {
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = decode_text(bytes);
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
        let mut keys = Keys::default();
        let mut descriptor = Self::default();
        let mut line_at = at;
        for line in text.split_inclusive('\n') {
            descriptor.line(line.trim(), line_at, &mut keys)?;
            line_at = line_at.saturating_add(byte_count(line.len()));
        }
        if descriptor.extents.is_empty() {
            return Err(BlockError::corrupt("descriptor names no extent", at, 0));
        }
        descriptor.create_type = keys.create_type.map(|(value, _)| value.to_owned());
        descriptor.cid = keys.cid.map(content_id).transpose()?;
        descriptor.parent = parent_link(&keys)?;
        Ok(descriptor)
    }

    fn line<'a>(&mut self, line: &'a str, at: u64, keys: &mut Keys<'a>) -> BlockResult<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = next_word(line);
        if let Some(access) = access(word) {
            if self.extents.len() >= MAX_EXTENTS {
                let sentence = format!("descriptor names more than {MAX_EXTENTS} extents");
                return Err(BlockError::unsupported(sentence).at(at));
            }
            self.extents.push(extent_line(access, rest, at)?);
            return Ok(());
        }
        // A line that is neither is of a later version, and no later version has come.
        let Some((key, value)) = line.split_once('=') else {
            return Ok(());
        };
        let place = match key.trim().to_ascii_lowercase().as_str() {
            "cid" => &mut keys.cid,
            "parentcid" => &mut keys.parent_cid,
            "parentfilenamehint" => &mut keys.parent_hint,
            "createtype" => &mut keys.create_type,
            _ => return Ok(()),
        };
        let value = unquoted(value.trim());
        match place {
            Some((earlier, _)) if *earlier != value => {
                let sentence = format!("descriptor has two values of {}", key.trim());
                Err(BlockError::corrupt(sentence, at, 0))
            }
            _ => {
                *place = Some((value, at));
                Ok(())
            }
        }
    }

    /// The size of the disk in bytes.
    ///
    /// # Errors
    /// `Corrupt` if the extents are larger than any disk.
    pub(super) fn disk_size(&self) -> BlockResult<u64> {
        let mut size: u64 = 0;
        for extent in &self.extents {
            size = size.saturating_add(extent.size);
        }
        if size > MAX_DISK_BYTES {
            let sentence = "descriptor has extents of an impossible total size";
            return Err(BlockError::corrupt(sentence, 0, 0));
        }
        Ok(size)
    }
}

fn access(word: &str) -> Option<Access> {
    [("RW", Access::ReadWrite), ("RDONLY", Access::ReadOnly), ("NOACCESS", Access::Forbidden)]
        .into_iter()
        .find_map(|(name, access)| word.eq_ignore_ascii_case(name).then_some(access))
}

/// The first word of `text`, and what follows.
fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').map_or(value, |rest| rest.strip_suffix('"').unwrap_or(rest))
}

/// The line of an extent after its access.
fn extent_line(access: Access, rest: &str, at: u64) -> BlockResult<ExtentLine> {
    let corrupt = |problem: &str| BlockError::corrupt(format!("extent line {problem}"), at, 0);
    let (sectors, rest) = next_word(rest);
    let size = sectors
        .parse::<u64>()
        .ok()
        .and_then(|sectors| sectors.checked_mul(SECTOR))
        .filter(|size| *size <= MAX_DISK_BYTES)
        .ok_or_else(|| corrupt("has no possible count of sectors"))?;
    let (name, rest) = next_word(rest);
    let rest = rest.trim();
    let (file, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted
            .split_once('"')
            .ok_or_else(|| corrupt("has a file name without its second quote"))?,
        None => next_word(rest),
    };
    let (offset, _) = next_word(rest);
    let extent_type = match name.to_ascii_uppercase().as_str() {
        "" => return Err(corrupt("has no type")),
        "FLAT" | "VMFS" => {
            let sectors = if offset.is_empty() { "0" } else { offset };
            let offset = sectors
                .parse::<u64>()
                .ok()
                .and_then(|sectors| sectors.checked_mul(SECTOR))
                .filter(|offset| *offset <= MAX_DISK_BYTES)
                .ok_or_else(|| corrupt("has no possible offset"))?;
            ExtentType::Flat { offset }
        }
        "SPARSE" => ExtentType::Sparse,
        "ZERO" => ExtentType::Zero,
        other => ExtentType::Other(other.to_owned()),
    };
    let needs_file = extent_type != ExtentType::Zero && access != Access::Forbidden;
    if needs_file && file.is_empty() {
        return Err(corrupt("names no file"));
    }
    Ok(ExtentLine { access, size, extent_type, file: file.to_owned() })
}

fn content_id((value, at): (&str, u64)) -> BlockResult<u32> {
    u32::from_str_radix(value, 16).map_err(|error| {
        let sentence = "descriptor has a content id that is no hexadecimal number";
        BlockError::corrupt(sentence, at, 0).because(error)
    })
}

fn parent_link(keys: &Keys<'_>) -> BlockResult<Option<ParentLink>> {
    let hint = keys.parent_hint.filter(|(hint, _)| !hint.is_empty());
    let cid = keys.parent_cid.map(content_id).transpose()?;
    match (cid, hint, keys.parent_cid) {
        (Some(NO_PARENT), ..) | (None, None, _) => Ok(None),
        (Some(cid), Some((hint, _)), _) => Ok(Some(ParentLink { cid, hint: hint.to_owned() })),
        (Some(_), None, place) => {
            let at = place.map_or(0, |(_, at)| at);
            let sentence = "descriptor has a parent but does not name its file";
            Err(BlockError::corrupt(sentence, at, 0))
        }
        (None, Some((_, at)), _) => {
            let sentence = "descriptor names a parent without its content id";
            Err(BlockError::corrupt(sentence, at, 0))
        }
    }
}

/// The text in `bytes`: UTF-8, else windows-1252, which every byte is a character of.
fn decode_text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().copied().map(windows_1252).collect(),
    }
}

fn windows_1252(byte: u8) -> char {
    /// What differs from Latin-1, from 0x80 on; the five without a character stay controls.
    const HIGH: [char; 32] = [
        '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}',
        '\u{2021}', '\u{2C6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}',
        '\u{8F}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201C}', '\u{201D}', '\u{2022}', '\u{2013}',
        '\u{2014}', '\u{2DC}', '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}', '\u{17E}',
        '\u{178}',
    ];
    let high = byte.checked_sub(0x80).map(usize::from);
    high.and_then(|index| HIGH.get(index)).copied().unwrap_or_else(|| char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::BlockErrorKind;

    const PLAIN: &str = "# Disk DescriptorFile\nversion=1\nCID=fb183c20\nparentCID=ffffffff\n\
        createType=\"monolithicFlat\"\nRW 2048 FLAT \"d-flat.vmdk\" 0\nddb.x = \"1\"\n";

    fn parse(text: &str) -> BlockResult<Descriptor> {
        Descriptor::parse(text.as_bytes(), 0x200)
    }

    #[track_caller]
    fn refuses(text: &str, kind: BlockErrorKind, position: u64) -> String {
        let error = parse(text).unwrap_err();
        assert_eq!((error.kind(), error.position()), (kind, Some(position)));
        error.message().to_owned()
    }

    #[test]
    fn a_plain_descriptor_is_understood() {
        let descriptor = parse(PLAIN).unwrap();
        assert_eq!(descriptor.cid, Some(0xfb18_3c20));
        assert_eq!(descriptor.parent, None);
        assert_eq!(descriptor.create_type.as_deref(), Some("monolithicFlat"));
        assert_eq!(
            descriptor.extents,
            [ExtentLine {
                access: Access::ReadWrite,
                size: 1 << 20,
                extent_type: ExtentType::Flat { offset: 0 },
                file: "d-flat.vmdk".to_owned(),
            }]
        );
    }

    #[test]
    fn odd_but_clear_writing_is_understood() {
        let text = "\u{FEFF}# disk descriptorfile\r\n  cid = \"FB183C20\" \r\nPARENTCID=1\r\n\
            parentFileNameHint=C:\\vm\\base disk.vmdk\r\n\trw\t8  Sparse  \"a b.vmdk\"  \r\n\
            RDONLY 16 vmfs flat.bin 4\r\nNOACCESS 1 ZERO\r\nnonsense\r\n\0CID=2\n";
        let descriptor = parse(text).unwrap();
        assert_eq!(descriptor.cid, Some(0xfb18_3c20));
        let parent = descriptor.parent.unwrap();
        assert_eq!((parent.cid, parent.hint.as_str()), (1, "C:\\vm\\base disk.vmdk"));
        let files: Vec<_> = descriptor.extents.iter().map(|e| e.file.as_str()).collect();
        assert_eq!(files, ["a b.vmdk", "flat.bin", ""]);
        let flat = ExtentType::Flat { offset: 2048 };
        assert_eq!(descriptor.extents[1].extent_type, flat);
        assert_eq!(descriptor.extents[2].access, Access::Forbidden);
    }

    #[test]
    fn a_name_that_is_no_utf8_is_windows_1252() {
        let bytes = b"RW 8 FLAT \"gr\xFC\xDFe \x80.vmdk\"\n";
        let descriptor = Descriptor::parse(bytes, 0).unwrap();
        assert_eq!(descriptor.extents[0].file, "gr\u{FC}\u{DF}e \u{20AC}.vmdk");
    }

    #[test]
    fn lines_that_cannot_be_true_are_corrupt_with_their_position() {
        use BlockErrorKind::Corrupt;
        let first = "CID=1\n";
        for line in [
            "RW x FLAT \"a\"",
            "RW 36893488147419103232 FLAT \"a\"",
            "RW 18014398509481984 FLAT \"a\"",
            "RW 8",
            "RW 8 FLAT",
            "RW 8 FLAT \"a",
            "RW 8 FLAT \"a\" x",
            "RW 8 SPARSE \"\"",
            "CID=2",
        ] {
            refuses(&format!("{first}{line}\n"), Corrupt, 0x206);
        }
        refuses("CID=1\n", Corrupt, 0x200);
        refuses("CID=12345678f\nRW 8 ZERO\n", Corrupt, 0x200);
        refuses("RW 8 ZERO\nparentCID=z\n", Corrupt, 0x20A);
        refuses("RW 8 ZERO\nparentCID=1\n", Corrupt, 0x20A);
        refuses("RW 8 ZERO\nparentFileNameHint=\"a\"\n", Corrupt, 0x20A);
    }

    #[test]
    fn too_many_extents_are_unsupported() {
        let text = "RW 8 ZERO\n".repeat(MAX_EXTENTS + 1);
        let position = 0x200 + 10 * byte_count(MAX_EXTENTS);
        refuses(&text, BlockErrorKind::Unsupported, position);
    }

    #[test]
    fn a_total_beyond_any_disk_is_corrupt() {
        let line = format!("RW {} ZERO\n", MAX_DISK_BYTES / SECTOR);
        let descriptor = parse(&line.repeat(2)).unwrap();
        let error = descriptor.disk_size().unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Corrupt);
        assert_eq!(parse(&line).unwrap().disk_size().unwrap(), MAX_DISK_BYTES);
    }

    #[test]
    fn the_signature_may_follow_a_mark_and_white_space() {
        assert!(has_signature(b"# Disk DescriptorFile\n"));
        assert!(has_signature(b"\xEF\xBB\xBF \r\n# DISK DESCRIPTORFILE"));
        assert!(!has_signature(b"# Disk Descriptor"));
        assert!(!has_signature(b"KDMV"));
    }
}
