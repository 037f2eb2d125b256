//! The descriptor of a VMDK: text that says which files make the disk.
//!
//! Specification: VMware Virtual Disk Format 5.0, "The Descriptor File". Lines end in LF, CR or
//! both, `#` begins a comment. It stands in a file of its own, or in the first extent, filled up
//! with zero bytes. How its bytes become text is in [`crate::text`].
//!
//! | line                                 | meaning                                             |
//! |--------------------------------------|-----------------------------------------------------|
//! | `CID=fb183c20`                       | content id: changes when the guest writes           |
//! | `parentCID=ffffffff`                 | content id of the parent; all ones: no parent       |
//! | `parentFileNameHint="base.vmdk"`     | where the parent was                                |
//! | `createType="monolithicSparse"`      | name of the variant                                 |
//! | `RW 4192256 SPARSE "d-s001.vmdk"`    | extent: access, sectors, type, file                 |
//! | `RW 1048576 FLAT "d-f001.vmdk" 2048` | the same with the first sector in the file          |
//! | `encoding="GBK"`                     | the encoding of this text                           |
//! | `ddb.uuid.image="..."`               | id of the image, by VirtualBox                      |
//! | `ddb.uuid.parent="..."`              | id of the parent; all zeros: no parent              |
//! | `ddb.uuid.modification="..."`        | changes when the guest writes                       |
//! | `ddb.uuid.parentmodification="..."`  | that of the parent                                  |
//! | `encryption.keySafe = "vmware:..."`  | the disk is encrypted, by Workstation               |
//! | `ddb.iofilters = "vmwarevmcrypt"`    | the same, by ESX                                    |
//! | `ddb.adapterType = "lsilogic"`       | the disk's database: kept as it is, never acted on  |
//!
//! QUIRK: the specification wants `# Disk DescriptorFile` as the first line. VMware's converter
//! for streams writes another comment into embedded descriptors, so these are taken without it.
//! QEMU takes any descriptor whose first line that is no comment says `version=`.
//!
//! QUIRK: VirtualBox (7.0) writes `ddb.uuid.parent` into the descriptor of a snapshot, and a
//! `parentCID` of all ones, which says that there is no parent.

use crate::format::vmdk::header::{MAX_DISK_BYTES, SECTOR};
use crate::text::{FileName, TextEncoding};
use volfold_block::{BlockError, BlockResult, byte_count};

/// LIMIT: bytes of a descriptor. Real ones have a few hundred; one of 4096 extents has 200 KiB.
pub(super) const MAX_DESCRIPTOR_BYTES: u64 = 1 << 20;

/// LIMIT: extents of one disk: 8 TiB in extents of 2 GiB.
const MAX_EXTENTS: usize = 4096;

/// `parentCID` of a disk without a parent.
const NO_PARENT: u32 = u32::MAX;

/// The first comment of a descriptor, without the white space in it.
const SIGNATURE: &[u8] = b"#diskdescriptorfile";

/// What the first line that is no comment may be about.
const FIRST_KEYS: [&[u8]; 6] =
    [b"version", b"encoding", b"cid", b"parentcid", b"isnativesnapshot", b"createtype"];

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
    /// In grains, `VMFSSPARSE` or `SESPARSE`.
    Esx,
    /// On a disk of its own, which the file stands for or is a copy of.
    Mapped,
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
    /// The file; empty where none is named.
    pub(super) file: FileName,
}

/// A parent as its child describes it. INVARIANT: there is a content id and a hint, or an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParentLink {
    /// Its content id when the child was made.
    pub(super) cid: Option<u32>,
    /// Its file; empty where none is named.
    pub(super) hint: FileName,
    /// Its id.
    pub(super) uuid: Option<Uuid>,
    /// Its id of modification when the child was made.
    pub(super) modification: Option<Uuid>,
}

/// An id of VirtualBox: 32 hexadecimal digits in lower case.
pub(super) type Uuid = String;

/// A descriptor whose every line that matters was understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptor {
    pub(super) cid: Option<u32>,
    pub(super) uuid: Option<Uuid>,
    pub(super) modification: Option<Uuid>,
    pub(super) parent: Option<ParentLink>,
    pub(super) create_type: Option<String>,
    pub(super) extents: Vec<ExtentLine>,
    /// The keys that begin with `ddb.`, without that, and their values, in the order of the lines.
    pub(super) database: Vec<(String, String)>,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    /// They are of a descriptor.
    Descriptor,
    /// The same, in UTF-16.
    Utf16,
    /// They are not.
    Other,
}

/// Whether the first bytes of a file are those of a descriptor file.
pub(super) fn text_kind(bytes: &[u8]) -> TextKind {
    if starts_descriptor(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)) {
        return TextKind::Descriptor;
    }
    let marked = bytes.strip_prefix(b"\xFF\xFE").or_else(|| bytes.strip_prefix(b"\xFE\xFF"));
    let (pairs, _) = marked.unwrap_or(bytes).as_chunks::<2>();
    let narrow = |pair: &[u8; 2]| match pair {
        [0, byte] | [byte, 0] => *byte,
        _ => b'?',
    };
    let is_wide = pairs.first().is_some_and(|pair| pair.contains(&0));
    let text: Vec<u8> = if is_wide { pairs.iter().map(narrow).collect() } else { Vec::new() };
    if starts_descriptor(&text) { TextKind::Utf16 } else { TextKind::Other }
}

/// Whether `bytes` begin as a descriptor does, after comments and empty lines.
fn starts_descriptor(bytes: &[u8]) -> bool {
    for line in bytes.split(|byte| is_line_end(*byte)) {
        let line = line.trim_ascii();
        if let [b'#', ..] = line {
            let solid = line.iter().filter(|byte| !byte.is_ascii_whitespace());
            if solid.take(SIGNATURE.len()).map(u8::to_ascii_lowercase).eq(SIGNATURE.iter().copied())
            {
                return true;
            }
        } else if !line.is_empty() {
            let mut parts = line.splitn(2, |byte| *byte == b'=');
            let key = parts.next().unwrap_or_default().trim_ascii();
            let is_known = FIRST_KEYS.iter().any(|known| key.eq_ignore_ascii_case(known));
            return is_known && parts.next().is_some_and(|value| !value.contains(&0));
        }
    }
    false
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The value of a key, and where its line is.
type Value = Option<(String, u64)>;

/// The values of the keys, as they come by.
#[derive(Default)]
struct Keys {
    cid: Value,
    parent_cid: Value,
    parent_hint: Option<(FileName, u64)>,
    create_type: Value,
    uuid: Value,
    parent_uuid: Value,
    modification: Value,
    parent_modification: Value,
    /// Whether one of them tells of a key.
    is_encrypted: bool,
}

/// One line, in both forms.
struct Line<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: u64,
    encoding: TextEncoding,
}

impl Descriptor {
    /// Checks the descriptor in `bytes`, which began at `at` in the file.
    ///
    /// # Errors
    /// `Corrupt` with the position of the line that cannot be understood.
    pub(super) fn parse(bytes: &[u8], at: u64) -> BlockResult<Self> {
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let encoding = text_encoding(bytes);
        let mut keys = Keys::default();
        let mut descriptor = Self::default();
        let mut line_at = at;
        for whole in bytes.split_inclusive(|byte| is_line_end(*byte)) {
            let bytes = whole.strip_prefix(BYTE_ORDER_MARK).unwrap_or(whole).trim_ascii();
            let text = encoding.decode(bytes);
            let line = Line { bytes, text: text.trim(), at: line_at, encoding };
            descriptor.line(&line, &mut keys)?;
            line_at = line_at.saturating_add(byte_count(whole.len()));
        }
        if keys.is_encrypted {
            return Err(BlockError::encrypted(
                "is encrypted by VMware; decrypt the machine, or copy the disk by a tool that has \
                 its key",
            ));
        }
        if descriptor.extents.is_empty() {
            return Err(BlockError::corrupt("descriptor names no extent", at, 0));
        }
        descriptor.cid = keys.cid.as_ref().map(content_id).transpose()?;
        descriptor.parent = parent_link(&keys)?;
        descriptor.uuid = keys.uuid.and_then(|(text, _)| uuid(&text).ok().flatten());
        descriptor.modification =
            keys.modification.and_then(|(text, _)| uuid(&text).ok().flatten());
        descriptor.create_type = keys.create_type.map(|(value, _)| value);
        Ok(descriptor)
    }

    fn line(&mut self, line: &Line<'_>, keys: &mut Keys) -> BlockResult<()> {
        let at = line.at;
        if line.text.is_empty() || line.text.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = next_word(line.text);
        if let Some(access) = access(word) {
            if self.extents.len() >= MAX_EXTENTS {
                let sentence = format!("descriptor names more than {MAX_EXTENTS} extents");
                return Err(BlockError::unsupported(sentence).at(at));
            }
            self.extents.push(extent_line(access, rest, line)?);
            return Ok(());
        }
        // A line that is neither is of a later version, and no later version has come.
        let Some((key, value)) = line.text.split_once('=') else {
            return Ok(());
        };
        let value = unquoted(value.trim());
        // Of Workstation, and of the filter of ESX.
        let key_name = key.trim().to_ascii_lowercase();
        if key_name.starts_with("ddb.")
            && let Some((_, own)) = key.trim().split_once('.')
        {
            self.database.push((own.to_owned(), value.to_owned()));
        }
        keys.is_encrypted |= key_name.starts_with("encryption.")
            || (key_name == "ddb.iofilters" && value.contains("vmcrypt"));
        let is_new = match key_name.as_str() {
            "cid" => note(&mut keys.cid, value.to_owned(), at),
            "parentcid" => note(&mut keys.parent_cid, value.to_owned(), at),
            "parentfilenamehint" => {
                let raw = line.bytes.iter().position(|byte| *byte == b'=');
                let raw = raw.and_then(|place| line.bytes.get(place..)).unwrap_or_default();
                let raw = raw.strip_prefix(b"=").unwrap_or(raw).trim_ascii();
                let raw = raw.strip_prefix(b"\"").unwrap_or(raw);
                let raw = raw.strip_suffix(b"\"").unwrap_or(raw);
                note(&mut keys.parent_hint, line.encoding.file_name(raw), at)
            }
            "createtype" => note(&mut keys.create_type, value.to_owned(), at),
            "ddb.uuid.image" => note(&mut keys.uuid, value.to_owned(), at),
            "ddb.uuid.parent" => note(&mut keys.parent_uuid, value.to_owned(), at),
            "ddb.uuid.modification" => note(&mut keys.modification, value.to_owned(), at),
            "ddb.uuid.parentmodification" => {
                note(&mut keys.parent_modification, value.to_owned(), at)
            }
            _ => true,
        };
        if is_new {
            return Ok(());
        }
        let sentence = format!("descriptor has two values of {}", key.trim());
        Err(BlockError::corrupt(sentence, at, 0))
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

/// The encoding that the descriptor in `bytes` says it has.
fn text_encoding(bytes: &[u8]) -> TextEncoding {
    let label = bytes.split(|byte| is_line_end(*byte)).find_map(|line| {
        let (key, value) = str::from_utf8(line).ok()?.split_once('=')?;
        key.trim().eq_ignore_ascii_case("encoding").then(|| unquoted(value.trim()))
    });
    label.map(TextEncoding::of).unwrap_or_default()
}

/// Keeps `value`; false if there is another one already.
fn note<T: PartialEq>(place: &mut Option<(T, u64)>, value: T, at: u64) -> bool {
    match place {
        Some((earlier, _)) => *earlier == value,
        None => {
            *place = Some((value, at));
            true
        }
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

/// The `line` of an extent, of which `rest` follows its access.
fn extent_line(access: Access, rest: &str, line: &Line<'_>) -> BlockResult<ExtentLine> {
    let corrupt = |problem: &str| BlockError::corrupt(format!("extent line {problem}"), line.at, 0);
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
        Some(quoted) => {
            let (_, rest) = quoted
                .split_once('"')
                .ok_or_else(|| corrupt("has a file name without its second quote"))?;
            let raw = line.bytes.split(|byte| *byte == b'"').nth(1).unwrap_or_default();
            (line.encoding.file_name(raw), rest)
        }
        None => {
            let (file, rest) = next_word(rest);
            (line.encoding.file_name(file.as_bytes()), rest)
        }
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
        "VMFSSPARSE" | "SESPARSE" => ExtentType::Esx,
        "VMFSRDM" | "VMFSRAW" => ExtentType::Mapped,
        "ZERO" => ExtentType::Zero,
        other => ExtentType::Other(other.to_owned()),
    };
    let needs_file = extent_type != ExtentType::Zero && access != Access::Forbidden;
    if needs_file && file.is_empty() {
        return Err(corrupt("names no file"));
    }
    Ok(ExtentLine { access, size, extent_type, file })
}

fn content_id((value, at): &(String, u64)) -> BlockResult<u32> {
    u32::from_str_radix(value, 16).map_err(|error| {
        let sentence = "descriptor has a content id that is no hexadecimal number";
        BlockError::corrupt(sentence, *at, 0).because(error)
    })
}

/// The id in `text`, `None` if it is the one that stands for nothing; an error if it is no id.
fn uuid(text: &str) -> Result<Option<Uuid>, ()> {
    let digits: Uuid = text
        .chars()
        .filter(|c| !"{}-".contains(*c) && !c.is_ascii_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_uuid {
        return if digits.is_empty() { Ok(None) } else { Err(()) };
    }
    Ok(digits.bytes().any(|digit| digit != b'0').then_some(digits))
}

fn parent_link(keys: &Keys) -> BlockResult<Option<ParentLink>> {
    let hint = keys.parent_hint.as_ref().filter(|(hint, _)| !hint.is_empty());
    let written = keys.parent_cid.as_ref().map(content_id).transpose()?;
    let cid = written.filter(|cid| *cid != NO_PARENT);
    let checked = |key: &Option<(String, u64)>, sentence: &'static str| match key {
        Some((text, at)) => uuid(text).map_err(|()| BlockError::corrupt(sentence, *at, 0)),
        None => Ok(None),
    };
    let id = checked(&keys.parent_uuid, "descriptor has a parent whose UUID is none")?;
    let sentence = match (cid, hint, &id) {
        (Some(_), Some(_), _) | (_, _, Some(_)) => {
            let sentence = "descriptor has a parent whose modification UUID is none";
            let modification = checked(&keys.parent_modification, sentence)?;
            return Ok(Some(ParentLink {
                cid,
                hint: hint.map(|(hint, _)| hint.clone()).unwrap_or_default(),
                modification,
                uuid: id,
            }));
        }
        (None, None, None) => return Ok(None),
        (Some(_), None, None) => "descriptor has a parent but does not name its file",
        (None, Some(_), None) if written.is_some() => {
            "descriptor names a parent and says that there is none"
        }
        (None, Some(_), None) => "descriptor names a parent without its content id",
    };
    let at = hint.map(|(_, at)| *at).or(keys.parent_cid.as_ref().map(|(_, at)| *at));
    Err(BlockError::corrupt(sentence, at.unwrap_or(0), 0))
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
                file: TextEncoding::default().file_name(b"d-flat.vmdk"),
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
        assert_eq!((parent.cid, parent.hint.shown.as_str()), (Some(1), "C:\\vm\\base disk.vmdk"));
        let files: Vec<_> = descriptor.extents.iter().map(|e| e.file.shown.as_str()).collect();
        assert_eq!(files, ["a b.vmdk", "flat.bin", ""]);
        let flat = ExtentType::Flat { offset: 2048 };
        assert_eq!(descriptor.extents[1].extent_type, flat);
        assert_eq!(descriptor.extents[2].access, Access::Forbidden);
    }

    #[test]
    fn a_name_that_is_no_utf8_is_windows_1252() {
        let bytes = b"RW 8 FLAT \"gr\xFC\xDFe \x80.vmdk\"\n";
        let descriptor = Descriptor::parse(bytes, 0).unwrap();
        assert_eq!(descriptor.extents[0].file.shown, "gr\u{FC}\u{DF}e \u{20AC}.vmdk");
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
    fn a_parent_may_be_known_by_an_id_alone() {
        let ids = |parent: &str| {
            parse(&format!(
                "parentCID=ffffffff\nRW 8 ZERO\nddb.uuid.image=\"11111111-2222-4333-8444-55555555555A\"\n\
                 ddb.uuid.parent=\"{parent}\"\nddb.uuid.parentmodification=\"{{{}}}\"\n",
                "4e1d0f9c-0000-4000-8000-000000000001"
            ))
        };
        let descriptor = ids("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee").unwrap();
        assert_eq!(descriptor.uuid.unwrap(), "1111111122224333844455555555555a");
        let parent = descriptor.parent.unwrap();
        assert_eq!(parent.uuid.unwrap(), "aaaaaaaabbbb4ccc8dddeeeeeeeeeeee");
        assert_eq!(parent.modification.unwrap(), "4e1d0f9c000040008000000000000001");
        assert_eq!((parent.cid, parent.hint.is_empty()), (None, true));
        let none = ids("00000000-0000-0000-0000-000000000000").unwrap();
        assert_eq!((none.parent, ids("").unwrap().parent), (None, None));
        assert_eq!(ids("aaaaaaaa").unwrap_err().kind(), BlockErrorKind::Corrupt);
    }

    #[test]
    fn a_parent_that_is_named_and_denied_is_corrupt() {
        let text = "RW 8 ZERO\nparentCID=ffffffff\nparentFileNameHint=\"base.vmdk\"\n";
        let sentence = refuses(text, BlockErrorKind::Corrupt, 0x200 + 29);
        assert_eq!(sentence, "descriptor names a parent and says that there is none");
    }

    #[test]
    fn lines_may_end_in_any_way() {
        for end in ["\n", "\r\n", "\r"] {
            let descriptor = parse(&PLAIN.replace('\n', end)).unwrap();
            assert_eq!((descriptor.cid, descriptor.extents.len()), (Some(0xfb18_3c20), 1));
        }
    }

    #[test]
    fn names_are_in_the_encoding_of_the_descriptor() {
        let mut bytes = b"encoding = \"Shift_JIS\"\nparentCID=1\nparentFileNameHint=\"".to_vec();
        bytes.extend(b"\x95\x5C.vmdk\"\nRW 8 FLAT \"\x95\x5C-flat.vmdk\" 0\n");
        let descriptor = Descriptor::parse(&bytes, 0).unwrap();
        assert_eq!(descriptor.extents[0].file.shown, "\u{8868}-flat.vmdk");
        assert_eq!(descriptor.parent.unwrap().hint.shown, "\u{8868}.vmdk");
    }

    #[test]
    fn a_descriptor_is_known_as_qemu_knows_it_and_by_its_first_comment() {
        for text in [
            "# Disk DescriptorFile\n",
            "\u{FEFF} \r\n# DISK DESCRIPTORFILE",
            "#Disk DescriptorFile",
            "#  Disk  Descriptor File\n",
            "version=1\n",
            "# made by a script\n\n   \r\nversion=3\r\nCID=1",
            "Version = 1\r",
            "encoding=\"UTF-8\"\n",
            "\tCID=1\ncreateType=\"vmfs\"\n",
        ] {
            assert_eq!(text_kind(text.as_bytes()), TextKind::Descriptor, "{text:?}");
        }
        for text in
            ["# Disk Descriptor", "KDMV", "", "# a comment\n", "version\n", "x=1\nversion=1"]
        {
            assert_eq!(text_kind(text.as_bytes()), TextKind::Other, "{text:?}");
        }
        assert_eq!(text_kind(b"version=\0\0\0"), TextKind::Other);
    }

    #[test]
    fn a_descriptor_in_utf_16_is_known_as_such() {
        for mark in ["\u{FEFF}", ""] {
            let text = format!("{mark}# Disk DescriptorFile\r\nversion=1\r\n");
            let units: Vec<u16> = text.encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!(text_kind(&little), TextKind::Utf16);
            assert_eq!(text_kind(&big), TextKind::Utf16);
        }
    }
}
