//! File records of the master file table, and the attributes in them.
//!
//! Source: the public documentation of NTFS (MS-FSA, Microsoft's "Master File Table" pages and the
//! Linux-NTFS documentation). Little-endian.
//!
//! File record:
//!
//! | offset | size | field              | rule                                               |
//! |--------|------|--------------------|----------------------------------------------------|
//! | 0x00   | 4    | `signature`        | `FILE`; `BAAD` is a record that chkdsk gave up     |
//! | 0x04   | 2    | `fixup_offset`     | of the update sequence array, in the record        |
//! | 0x06   | 2    | `fixup_count`      | one more than the record has blocks of 512 bytes   |
//! | 0x08   | 8    | `log_sequence`     | not looked at                                      |
//! | 0x10   | 2    | `sequence`         | counts the uses of the record                      |
//! | 0x12   | 2    | `links`            | not looked at: names are counted                   |
//! | 0x14   | 2    | `first_attribute`  | offset in the record                               |
//! | 0x16   | 2    | `flags`            | 1 in use, 2 directory, 8 holds indexes only        |
//! | 0x18   | 4    | `used`             | bytes, at most the record                          |
//! | 0x1C   | 4    | `allocated`        | not looked at                                      |
//! | 0x20   | 8    | `base`             | file reference; 0 in a base record                 |
//!
//! Attribute header, with the two forms that follow it:
//!
//! | offset | size | field              | rule                                               |
//! |--------|------|--------------------|----------------------------------------------------|
//! | 0x00   | 4    | `kind`             | 0xFFFFFFFF ends the attributes                     |
//! | 0x04   | 4    | `length`           | inside the record                                  |
//! | 0x08   | 1    | `non_resident`     | 0 resident, else not                               |
//! | 0x09   | 1    | `name_length`      | UTF-16 code units                                  |
//! | 0x0A   | 2    | `name_offset`      | in the attribute                                   |
//! | 0x0C   | 2    | `flags`            | 0x00FF compressed, 0x4000 encrypted, 0x8000 sparse |
//! | 0x0E   | 2    | `instance`         | tells attributes of one record apart               |
//! | 0x10   | 4    | `value_length`     | resident                                           |
//! | 0x14   | 2    | `value_offset`     | resident, in the attribute                         |
//! | 0x10   | 8    | `lowest_vcn`       | non-resident; 0 in the first piece                 |
//! | 0x18   | 8    | `highest_vcn`      | non-resident; -1 if there are no clusters          |
//! | 0x20   | 2    | `runs_offset`      | non-resident, in the attribute                     |
//! | 0x22   | 1    | `compression_unit` | a unit has 2 to the power of it clusters           |
//! | 0x28   | 8    | `allocated_size`   | first piece only, like the next two                |
//! | 0x30   | 8    | `data_size`        |                                                    |
//! | 0x38   | 8    | `initialized_size` | bytes past it read as zero                         |
//! | 0x40   | 8    | `total_allocated`  | only if compressed or sparse                       |

use std::borrow::Cow;
use std::mem::{offset_of, size_of};

use volfold_block::{BlockError, BlockResult, ByteReader, byte_count, bytes_to_index};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The blocks that the update sequence array protects, whatever the sector size.
const FIXUP_BLOCK: usize = 512;
/// The bytes of an attribute before its name.
const RESIDENT_HEADER: usize = 0x18;
const NON_RESIDENT_HEADER: usize = 0x40;
/// In the attributes of a name: it names a directory.
pub(super) const NAMES_DIRECTORY: u32 = 0x1000_0000;
/// The name space of an 8.3 name that stands beside a long one.
pub(super) const DOS_NAME_SPACE: u8 = 2;
/// The kind that ends the attributes of a record.
const END_MARK: u32 = 0xFFFF_FFFF;

/// Kinds of attributes.
pub(super) mod kind {
    pub(in super::super) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in super::super) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in super::super) const FILE_NAME: u32 = 0x30;
    pub(in super::super) const OBJECT_ID: u32 = 0x40;
    pub(in super::super) const SECURITY_DESCRIPTOR: u32 = 0x50;
    pub(in super::super) const VOLUME_NAME: u32 = 0x60;
    pub(in super::super) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in super::super) const DATA: u32 = 0x80;
    pub(in super::super) const INDEX_ROOT: u32 = 0x90;
    pub(in super::super) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(in super::super) const BITMAP: u32 = 0xB0;
    pub(in super::super) const REPARSE_POINT: u32 = 0xC0;
    pub(in super::super) const EA: u32 = 0xE0;
    pub(in super::super) const LOGGED_UTILITY_STREAM: u32 = 0x100;
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    signature: [u8; 4],
    fixup_offset: U16,
    fixup_count: U16,
    log_sequence: U64,
    sequence: U16,
    links: U16,
    first_attribute: U16,
    flags: U16,
    used: U32,
    allocated: U32,
    base: U64,
}
const _: () = assert!(offset_of!(RawRecord, sequence) == 0x10);
const _: () = assert!(size_of::<RawRecord>() == 0x28);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawAttribute {
    kind: U32,
    length: U32,
    non_resident: u8,
    name_length: u8,
    name_offset: U16,
    flags: U16,
    instance: U16,
}
const _: () = assert!(size_of::<RawAttribute>() == 0x10);

/// What follows the header of a non-resident attribute.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawNonResident {
    lowest_vcn: U64,
    highest_vcn: U64,
    runs_offset: U16,
    compression_unit: u8,
    unused_23: [u8; 5],
    allocated_size: U64,
    data_size: U64,
    initialized_size: U64,
}
const _: () = assert!(size_of::<RawNonResident>() == 0x30);

/// The number of a record, and how often it was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileReference(pub(super) u64);

impl FileReference {
    /// The number of the record.
    pub(super) fn number(self) -> u64 {
        self.0 & 0x0000_FFFF_FFFF_FFFF
    }

    /// The sequence that the record must have.
    pub(super) fn sequence(self) -> u16 {
        u16::try_from(self.0 >> 48).unwrap_or_default()
    }
}

/// A file record whose update sequence fitted; its bytes may be part of a larger buffer.
pub(super) struct FileRecord<'b> {
    number: u64,
    position: u64,
    bytes: Cow<'b, [u8]>,
    sequence: u16,
    flags: u16,
    first_attribute: usize,
    base: FileReference,
}

impl<'b> FileRecord<'b> {
    /// Checks the record `number`, whose stored `bytes` began at `position` of the volume.
    ///
    /// # Errors
    /// `Corrupt` if it is none, or was written in part only.
    pub(super) fn parse(number: u64, position: u64, mut bytes: Vec<u8>) -> BlockResult<Self> {
        let head = Head::check(&mut bytes, position)?;
        Ok(head.over(number, position, Cow::Owned(bytes)))
    }

    /// As [`Self::parse`], without taking the bytes; they are put right in place.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn parse_in_place(
        number: u64,
        position: u64,
        bytes: &'b mut [u8],
    ) -> BlockResult<Self> {
        let head = Head::check(bytes, position)?;
        Ok(head.over(number, position, Cow::Borrowed(bytes)))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The byte position of the record in the volume.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn sequence(&self) -> u16 {
        self.sequence
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Whether `other` says the same of the file: what a write counts and signs is not compared.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let attributes =
            |record: &Self| record.bytes.get(record.first_attribute..).map(<[u8]>::to_vec);
        let head = |record: &Self| (record.sequence, record.flags, record.base);
        head(self) == head(other) && attributes(self) == attributes(other)
    }

    /// The name in the record that is no 8.3 name beside a long one, if there is one.
    pub(super) fn file_name(&self) -> Option<FileName<'_>> {
        let mut names = self.attributes().map_while(Result::ok).filter_map(|attribute| {
            match (attribute.kind, attribute.form) {
                (kind::FILE_NAME, Form::Resident(value)) => FileName::parse(value),
                _ => None,
            }
        });
        let first = names.next()?;
        if first.is_dos { names.next().or(Some(first)) } else { Some(first) }
    }

    /// Whether the file is made of indexes, as `$Secure` and those of `$Extend`.
    pub(super) fn is_view_index(&self) -> bool {
        self.flags & 8 != 0
    }

    /// The record that this one extends; number 0 and sequence 0 if it is a base record.
    pub(super) fn base(&self) -> FileReference {
        self.base
    }

    /// Whether it is a base record in use: a node of the tree.
    pub(super) fn is_node(&self) -> bool {
        self.is_in_use() && self.base == FileReference(0)
    }

    /// The attributes, in the order of the record. An error ends them.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes { bytes: &self.bytes, position: self.position, next: Some(self.first_attribute) }
    }
}

/// What a `$FILE_NAME` says, for messages and comparisons.
pub(super) struct FileName<'a> {
    /// The directory that has it.
    pub(super) parent: FileReference,
    /// It says that it names a directory.
    pub(super) is_directory: bool,
    /// It is an 8.3 name beside a long one.
    pub(super) is_dos: bool,
    /// UTF-16, little-endian.
    pub(super) name: &'a [u8],
}

impl<'a> FileName<'a> {
    /// The name in the value `bytes` of the attribute; `None` if it is cut short.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = ByteReader::new("file name", bytes, 0);
        let parent = FileReference(reader.u64_le().ok()?);
        reader.skip(0x30).ok()?;
        let attributes = reader.u32_le().ok()?;
        reader.skip(4).ok()?;
        let length = usize::from(reader.u8().ok()?);
        let name_space = reader.u8().ok()?;
        let name = reader.take(length.saturating_mul(2)).ok()?;
        let is_directory = attributes & NAMES_DIRECTORY != 0;
        Some(Self { parent, is_directory, is_dos: name_space == DOS_NAME_SPACE, name })
    }
}

/// The header of a record, after every check.
struct Head {
    used: usize,
    sequence: u16,
    flags: u16,
    first_attribute: usize,
    base: FileReference,
}

impl Head {
    fn check(bytes: &mut [u8], position: u64) -> BlockResult<Self> {
        let corrupt = |what, field| BlockError::corrupt(what, position, field);
        let (raw, _) = RawRecord::read_from_prefix(bytes)
            .map_err(|_| corrupt("file record is cut short", 0x00))?;
        if raw.signature != *b"FILE" {
            return Err(corrupt("file record has a wrong signature", 0x00));
        }
        undo_fixups(bytes, raw.fixup_offset.get(), raw.fixup_count.get())
            .ok_or_else(|| corrupt("file record has a torn or wrong update sequence", 0x04))?;
        let used = bytes_to_index(u64::from(raw.used.get()))?;
        if used > bytes.len() {
            return Err(corrupt("file record uses more bytes than it has", 0x18));
        }
        Ok(Self {
            used,
            sequence: raw.sequence.get(),
            flags: raw.flags.get(),
            first_attribute: usize::from(raw.first_attribute.get()),
            base: FileReference(raw.base.get()),
        })
    }

    fn over(self, number: u64, position: u64, bytes: Cow<'_, [u8]>) -> FileRecord<'_> {
        let bytes = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(..self.used).unwrap_or_default()),
            Cow::Owned(mut bytes) => {
                bytes.truncate(self.used);
                Cow::Owned(bytes)
            }
        };
        FileRecord {
            number,
            position,
            bytes,
            sequence: self.sequence,
            flags: self.flags,
            first_attribute: self.first_attribute,
            base: self.base,
        }
    }
}

/// Puts back the last two bytes of every block. `None` if they do not fit, as in a torn write.
pub(super) fn undo_fixups(bytes: &mut [u8], offset: u16, count: u16) -> Option<()> {
    let blocks = usize::from(count).checked_sub(1)?;
    if blocks.checked_mul(FIXUP_BLOCK)? != bytes.len() {
        return None;
    }
    let array_end = usize::from(count).checked_mul(2)?.checked_add(usize::from(offset))?;
    // LIMIT: the array lies in the first block, before the bytes that it keeps.
    if array_end > FIXUP_BLOCK.saturating_sub(2) {
        return None;
    }
    let (first, others) = bytes.split_at_mut_checked(FIXUP_BLOCK)?;
    let (array, first_tail) = first.split_at_mut_checked(array_end)?;
    let array = array.get(usize::from(offset)..)?;
    let (array, _) = array.as_chunks::<2>();
    let (mark, values) = array.split_first()?;
    let (others, _) = others.as_chunks_mut::<FIXUP_BLOCK>();
    let tails = others.iter_mut().map(|block| block.last_chunk_mut::<2>());
    let tails = std::iter::once(first_tail.last_chunk_mut::<2>()).chain(tails);
    for (tail, value) in tails.zip(values) {
        let tail = tail?;
        if tail != mark {
            return None;
        }
        *tail = *value;
    }
    Some(())
}

/// One attribute of a record.
pub(super) struct Attribute<'a> {
    pub(super) kind: u32,
    pub(super) instance: u16,
    /// UTF-16, little-endian.
    pub(super) name: &'a [u8],
    /// The compression format: 0 none, 1 LZNT1.
    pub(super) compression: u8,
    pub(super) is_encrypted: bool,
    /// Its runs may have holes.
    pub(super) may_have_holes: bool,
    pub(super) form: Form<'a>,
    /// The byte position in the volume.
    pub(super) position: u64,
}

/// Where the value of an attribute is.
pub(super) enum Form<'a> {
    Resident(&'a [u8]),
    NonResident(NonResident<'a>),
}

/// A value in clusters of the volume, or one piece of it.
pub(super) struct NonResident<'a> {
    pub(super) lowest_vcn: u64,
    /// How many clusters the piece says it has.
    pub(super) clusters: u64,
    pub(super) compression_unit: u8,
    /// The bytes that the value takes on the volume.
    pub(super) allocated: u64,
    /// The bytes that all pieces say they have, holes included.
    pub(super) spanned: u64,
    pub(super) size: u64,
    pub(super) initialized: u64,
    /// The mapping pairs.
    pub(super) runs: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn parse(bytes: &'a [u8], position: u64) -> BlockResult<Self> {
        let corrupt = |what, field| BlockError::corrupt(what, position, field);
        let (raw, body) = RawAttribute::ref_from_prefix(bytes)
            .map_err(|_| corrupt("attribute is cut short", 0x00))?;
        let name_start = usize::from(raw.name_offset.get());
        let name_end = name_start.saturating_add(usize::from(raw.name_length).saturating_mul(2));
        let name = match raw.name_length {
            0 => &[][..],
            _ => bytes
                .get(name_start..name_end)
                .ok_or_else(|| corrupt("attribute name leaves the attribute", 0x0A))?,
        };
        let flags = raw.flags.get();
        // Header, name and value are three parts; the bytes of one are never those of another.
        let is_resident = raw.non_resident == 0;
        let header = if is_resident { RESIDENT_HEADER } else { NON_RESIDENT_HEADER };
        let head_end = if name.is_empty() { header } else { header.max(name_end) };
        if !name.is_empty() && name_start < header {
            return Err(corrupt("attribute name begins in the header", 0x0A));
        }
        let form = if is_resident {
            let mut reader = ByteReader::new("resident attribute", body, position);
            let length = bytes_to_index(u64::from(reader.u32_le()?))?;
            let start = usize::from(reader.u16_le()?);
            let value = bytes.get(start..start.saturating_add(length));
            let value = value.ok_or_else(|| corrupt("value leaves its attribute", 0x10))?;
            if length > 0 && start < head_end {
                return Err(corrupt("value begins in the header of its attribute", 0x14));
            }
            Form::Resident(value)
        } else {
            let piece = NonResident::parse(bytes, body, flags, position)?;
            if bytes.len().saturating_sub(piece.runs.len()) < head_end {
                return Err(corrupt("run list begins in the header of its attribute", 0x20));
            }
            Form::NonResident(piece)
        };
        let [compression, _] = flags.to_le_bytes();
        Ok(Self {
            kind: raw.kind.get(),
            instance: raw.instance.get(),
            name,
            compression,
            is_encrypted: flags & 0x4000 != 0,
            may_have_holes: flags & 0x80FF != 0,
            form,
            position,
        })
    }

    /// The first cluster of the piece; 0 of a resident value.
    pub(super) fn lowest_vcn(&self) -> u64 {
        match &self.form {
            Form::Resident(_) => 0,
            Form::NonResident(piece) => piece.lowest_vcn,
        }
    }

    /// The size of the value and the bytes that it takes. Only a first piece knows.
    pub(super) fn sizes(&self) -> (u64, u64) {
        match &self.form {
            Form::Resident(value) => {
                let size = byte_count(value.len());
                // In the record a value takes whole units of 8 bytes.
                (size, size.checked_next_multiple_of(8).unwrap_or(size))
            }
            Form::NonResident(piece) => (piece.size, piece.allocated),
        }
    }
}

impl<'a> NonResident<'a> {
    fn parse(bytes: &'a [u8], body: &[u8], flags: u16, position: u64) -> BlockResult<Self> {
        let corrupt = |what, field| BlockError::corrupt(what, position, field);
        let (raw, rest) = RawNonResident::ref_from_prefix(body)
            .map_err(|_| corrupt("attribute is cut short", 0x10))?;
        let runs_start = usize::from(raw.runs_offset.get());
        let runs = bytes
            .get(runs_start..)
            .ok_or_else(|| corrupt("run list leaves the attribute", 0x20))?;
        let lowest_vcn = raw.lowest_vcn.get();
        // `highest_vcn` is -1 where there are no clusters.
        let clusters = raw.highest_vcn.get().wrapping_add(1).checked_sub(lowest_vcn);
        let mut allocated = raw.allocated_size.get();
        if flags & 0x80FF != 0
            && runs_start >= 0x48
            && let Ok((total, _)) = U64::read_from_prefix(rest)
        {
            allocated = total.get();
        }
        Ok(Self {
            lowest_vcn,
            clusters: clusters.ok_or_else(|| corrupt("cluster range is backwards", 0x18))?,
            compression_unit: raw.compression_unit,
            allocated,
            spanned: raw.allocated_size.get(),
            size: raw.data_size.get(),
            initialized: raw.initialized_size.get(),
            runs,
        })
    }
}

/// The attributes of a [`FileRecord`].
pub(super) struct Attributes<'a> {
    bytes: &'a [u8],
    position: u64,
    next: Option<usize>,
}

impl<'a> Attributes<'a> {
    fn step(&mut self, start: usize) -> BlockResult<Option<Attribute<'a>>> {
        let bytes = self.bytes.get(start..).unwrap_or_default();
        let position = self.position.saturating_add(byte_count(start));
        let mut reader = ByteReader::new("file record", bytes, position);
        if reader.u32_le()? == END_MARK {
            return Ok(None);
        }
        let length = bytes_to_index(u64::from(reader.u32_le()?))?;
        let bytes = bytes
            .get(..length)
            .filter(|bytes| bytes.len() >= size_of::<RawAttribute>())
            .ok_or_else(|| BlockError::corrupt("attribute leaves its record", position, 0x04))?;
        // INVARIANT: every attribute is at least 16 bytes long, so the steps come to an end.
        self.next = start.checked_add(length);
        Attribute::parse(bytes, position).map(Some)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = BlockResult<Attribute<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next.take()?;
        let step = self.step(start).transpose();
        if step.as_ref().is_some_and(Result::is_err) {
            self.next = None;
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4..8].copy_from_slice(&[0x30, 0, 3, 0]);
        bytes[0x10] = 7;
        bytes[0x14] = 0x38;
        bytes[0x16] = 1;
        bytes[0x18..0x1C].copy_from_slice(&1024_u32.to_le_bytes());
        // A resident $DATA of three bytes, then the end.
        bytes[0x38] = 0x80;
        bytes[0x3C] = 0x20;
        bytes[0x48] = 3;
        bytes[0x4C] = 0x18;
        bytes[0x50..0x53].copy_from_slice(b"abc");
        bytes[0x58..0x5C].fill(0xFF);
        // The update sequence.
        bytes[0x30..0x36].copy_from_slice(&[1, 1, 8, 8, 9, 9]);
        bytes[510..512].fill(1);
        bytes[1022..].fill(1);
        bytes
    }

    #[test]
    fn a_record_gives_its_attributes() {
        let mut in_place = record();
        let records = [
            FileRecord::parse(40, 4096, record()).unwrap(),
            FileRecord::parse_in_place(40, 4096, &mut in_place).unwrap(),
        ];
        for record in records {
            assert_eq!((record.sequence(), record.is_node()), (7, true));
            assert!(!record.is_directory());
            assert_eq!((record.number(), record.position()), (40, 4096));
            assert_eq!(record.bytes[510..512], [8, 8]);
            assert_eq!(record.bytes[1022..], [9, 9]);
            let attributes: Vec<_> = record.attributes().map(Result::unwrap).collect();
            assert_eq!(attributes.len(), 1);
            assert_eq!(attributes[0].kind, kind::DATA);
            assert_eq!(attributes[0].sizes(), (3, 8));
            assert!(matches!(attributes[0].form, Form::Resident(b"abc")));
        }
    }

    #[test]
    fn a_bent_record_is_corrupt() {
        for (at, value) in [(0, b'X'), (4, 0xFF), (5, 3), (6, 2), (510, 2), (1023, 0), (0x1A, 1)] {
            let mut bytes = record();
            bytes[at] = value;
            let error = FileRecord::parse(40, 4096, bytes).err().unwrap();
            assert!(error.position() >= Some(4096), "{at}: {error}");
        }
        for (at, value) in
            [(0x3C, 8), (0x3E, 1), (0x48, 30), (0x4C, 0x40), (0x4C, 0), (0x4C, 0x17), (0x40, 1)]
        {
            let mut bytes = record();
            bytes[at] = value;
            let record = FileRecord::parse(40, 4096, bytes).unwrap();
            assert!(record.attributes().any(|step| step.is_err()), "{at:x}");
        }
    }
}
