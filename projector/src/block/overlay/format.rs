//! What is in the file beside an image that holds what was changed.
//!
//! A header that names what lies below, then records with checksums, only ever appended to. A record
//! counts when it is there whole. All numbers are little-endian; a checksum is a CRC-32C.
//!
//! | offset | size | field of the header | rule                                                  |
//! |--------|------|---------------------|-------------------------------------------------------|
//! | 0x00   | 7    | `magic`             | `VOLFOVL`                                             |
//! | 0x07   | 1    | `version`           | `2`                                                   |
//! | 0x08   | 16   | `salt`              | by chance; part of the checksums of all records       |
//! | 0x18   | 32   | `identity`          | of the device below                                   |
//! | 0x38   | 8    | `size`              | of the device below                                   |
//! | 0x40   | 4    | `files`             | how many files the device is made of                  |
//! | 0x44   | 4    | `length`            | of the table of files; at most [`MAX_TABLE`]          |
//! | 0x48   | 4    | `checksum`          | of the 0x48 bytes before and the table                |
//! | 0x4C   |      | table               |                                                       |
//!
//! | offset | size | field of a file     | rule                                                  |
//! |--------|------|---------------------|-------------------------------------------------------|
//! | 0x00   | 8    | `size`              |                                                       |
//! | 0x08   | 8    | `seconds`           | of its last change since 1970, or the least number    |
//! | 0x10   | 4    | `nanoseconds`       |                                                       |
//! | 0x14   | 4    | `name`              | length of its name, which follows                     |
//!
//! | offset | size | field of a record   | rule                                                  |
//! |--------|------|---------------------|-------------------------------------------------------|
//! | 0x00   | 4    | `magic`             | `RECD`                                                |
//! | 0x04   | 4    | `length`            | of the data; a multiple of 4096, or 0 for zeros       |
//! | 0x08   | 8    | `offset`            | of the first byte in the device; a multiple of 4096   |
//! | 0x10   | 8    | `zeros`             | how many bytes are zero, when there is no data        |
//! | 0x18   | 8    | `sequence`          | greater than that of the record before                |
//! | 0x20   | 4    | `bases`             | how many checksums of blocks below follow the data    |
//! | 0x24   | 4    | `data_checksum`     | of the data                                           |
//! | 0x28   | 4    | `bases_checksum`    | of those checksums                                    |
//! | 0x2C   | 4    | `checksum`          | of the salt and the 0x2C bytes before                 |
//! | 0x30   |      | data, bases         |                                                       |
//!
//! A base is the number of a block in the record and the checksum of what lay below it when it was
//! first changed, 4 bytes each. A record without data and zeros says that all before it was flushed.

use std::io;
use std::mem::offset_of;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use volfold_block::{Span, byte_count};
use zerocopy::byteorder::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::changes::BLOCK;
use crate::block::number::to_usize;

/// LIMIT: bytes of one record's data.
pub(super) const MAX_DATA: u64 = (32 << 20) + 2 * BLOCK;

/// LIMIT: checksums of blocks below that one record has.
pub(super) const MAX_BASES_OF_RECORD: u64 = MAX_DATA / BLOCK;

/// LIMIT: bytes of the table of files; an image of ten thousand extents takes two mebibytes.
const MAX_TABLE: u32 = 16 << 20;

/// LIMIT: bytes of a file's name that are kept.
const MAX_NAME: usize = 4096;

/// LIMIT: blocks of a record that is made zero whose checksums are kept. More could take hours:
/// whoever makes a file system first makes all of the device zero.
pub(super) const MAX_ZERO_BASES: u64 = 256;

/// The bytes of a record before its data.
pub(super) const RECORD_HEADER: usize = size_of::<RawRecord>();

/// The bytes of a base.
pub(super) const BASE: usize = size_of::<Base>();

/// What tells the records of one file from bytes that look like some.
pub(super) type Salt = [u8; 16];

/// A file that the device below is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFile {
    /// What messages call it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, where the host tells.
    pub modified: Option<SystemTime>,
}

/// What the header of a file says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) salt: Salt,
    pub(super) identity: [u8; 32],
    pub(super) size: u64,
    pub(super) files: Vec<BaseFile>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 7],
    version: u8,
    salt: Salt,
    identity: [u8; 32],
    size: U64,
    files: U32,
    length: U32,
    checksum: U32,
}
const _: () = assert!(offset_of!(RawHeader, salt) == 0x08);
const _: () = assert!(offset_of!(RawHeader, identity) == 0x18);
const _: () = assert!(offset_of!(RawHeader, size) == 0x38);
const _: () = assert!(offset_of!(RawHeader, checksum) == 0x48);
const _: () = assert!(size_of::<RawHeader>() == 0x4C);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFile {
    size: U64,
    seconds: I64,
    nanoseconds: U32,
    name: U32,
}
const _: () = assert!(offset_of!(RawFile, seconds) == 0x08);
const _: () = assert!(offset_of!(RawFile, name) == 0x14);
const _: () = assert!(size_of::<RawFile>() == 0x18);

/// The checksum of a block below a record.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Base {
    /// Which of the record's blocks it is of.
    pub(super) block: U32,
    pub(super) checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    magic: [u8; 4],
    length: U32,
    offset: U64,
    zeros: U64,
    sequence: U64,
    bases: U32,
    data_checksum: U32,
    bases_checksum: U32,
    checksum: U32,
}
const _: () = assert!(offset_of!(RawRecord, offset) == 0x08);
const _: () = assert!(offset_of!(RawRecord, zeros) == 0x10);
const _: () = assert!(offset_of!(RawRecord, sequence) == 0x18);
const _: () = assert!(offset_of!(RawRecord, bases) == 0x20);
const _: () = assert!(offset_of!(RawRecord, data_checksum) == 0x24);
const _: () = assert!(offset_of!(RawRecord, checksum) == 0x2C);
const _: () = assert!(size_of::<RawRecord>() == 0x30);

fn invalid(line: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, line.into())
}

impl BaseFile {
    /// Seconds and nanoseconds of the last change; the least number without one.
    fn time(&self) -> (i64, u32) {
        let Some(modified) = self.modified else { return (i64::MIN, 0) };
        match modified.duration_since(UNIX_EPOCH) {
            Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                (seconds.saturating_neg(), before.subsec_nanos())
            }
        }
    }

    /// Whether `other` has the same size and time, whatever it is called.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.size == other.size && self.time() == other.time()
    }

    /// The last part of its path.
    pub(super) fn short_name(&self) -> &str {
        self.name.rsplit(['/', '\\']).next().unwrap_or(&self.name)
    }
}

impl Header {
    const MAGIC: [u8; 7] = *b"VOLFOVL";
    const VERSION: u8 = b'2';

    /// A header with a salt by chance.
    ///
    /// # Errors
    /// If the host has none.
    pub(super) fn new(identity: [u8; 32], size: u64, files: Vec<BaseFile>) -> io::Result<Self> {
        let mut salt = Salt::default();
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        Ok(Self { salt, identity, size, files })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If it has more files than there is room for.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut table = Vec::new();
        for file in &self.files {
            let end = file.name.floor_char_boundary(MAX_NAME);
            let (name, _) = file.name.split_at(end);
            let (seconds, nanoseconds) = file.time();
            let raw = RawFile {
                size: file.size.into(),
                seconds: seconds.into(),
                nanoseconds: nanoseconds.into(),
                name: u32::try_from(name.len()).unwrap_or(u32::MAX).into(),
            };
            table.extend_from_slice(raw.as_bytes());
            table.extend_from_slice(name.as_bytes());
        }
        let length = u32::try_from(table.len()).ok().filter(|length| *length <= MAX_TABLE);
        let length = length.ok_or_else(|| invalid("the image is made of too many files"))?;
        let mut raw = RawHeader {
            magic: Self::MAGIC,
            version: Self::VERSION,
            salt: self.salt,
            identity: self.identity,
            size: self.size.into(),
            files: u32::try_from(self.files.len()).unwrap_or(u32::MAX).into(),
            length: length.into(),
            checksum: U32::ZERO,
        };
        raw.checksum = raw.sum(&table).into();
        let mut bytes = raw.as_bytes().to_vec();
        bytes.append(&mut table);
        Ok(bytes)
    }

    /// Reads a header; how many bytes it takes.
    ///
    /// # Errors
    /// If there is none, or one of another version, or it is damaged.
    pub(super) fn read(file: &mut dyn io::Read) -> io::Result<(Self, u64)> {
        let mut raw = RawHeader::new_zeroed();
        let whole = read_full(file, raw.as_mut_bytes())?;
        if raw.magic != Self::MAGIC {
            return Err(invalid("not a volfold overlay"));
        }
        match raw.version {
            Self::VERSION => {}
            b'1' => {
                return Err(invalid(
                    "is an overlay of format 1, of an older volfold; use it with that, or begin \
                     another file",
                ));
            }
            version => {
                let version = char::from(version).escape_default();
                return Err(invalid(format!(
                    "is an overlay of format {version}, which this volfold does not know"
                )));
            }
        }
        let damaged = || invalid("its header is damaged; restore it from a copy");
        if !whole || raw.length.get() > MAX_TABLE {
            return Err(damaged());
        }
        let mut table = vec![0; to_usize(raw.length.get().into())];
        if !read_full(file, &mut table)? || raw.sum(&table) != raw.checksum.get() {
            return Err(damaged());
        }
        let mut files = Vec::new();
        let mut rest = &table[..];
        while !rest.is_empty() {
            let (entry, after) = RawFile::ref_from_prefix(rest).map_err(|_| damaged())?;
            let name = to_usize(entry.name.get().into());
            let (name, after) = after.split_at_checked(name).ok_or_else(damaged)?;
            files.push(BaseFile {
                name: String::from_utf8_lossy(name).into_owned(),
                size: entry.size.get(),
                modified: time(entry.seconds.get(), entry.nanoseconds.get()),
            });
            rest = after;
        }
        if to_usize(raw.files.get().into()) != files.len() {
            return Err(damaged());
        }
        let length = byte_count(size_of::<RawHeader>()).saturating_add(byte_count(table.len()));
        let RawHeader { salt, identity, size, .. } = raw;
        Ok((Self { salt, identity, size: size.get(), files }, length))
    }
}

/// Fills `buf`; whether there were as many bytes.
fn read_full(file: &mut dyn io::Read, buf: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buf) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn time(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let length = Duration::new(seconds.unsigned_abs(), nanoseconds.min(999_999_999));
    match (seconds, seconds < 0) {
        (i64::MIN, _) => None,
        // What was before 1970 counts its nanoseconds backwards too.
        (_, true) => UNIX_EPOCH.checked_sub(length),
        (_, false) => UNIX_EPOCH.checked_add(length),
    }
}

impl RawHeader {
    fn sum(&self, table: &[u8]) -> u32 {
        let (summed, _) = self.as_bytes().split_at(offset_of!(Self, checksum));
        crc32c::crc32c_append(crc32c::crc32c(summed), table)
    }
}

/// A record whose header is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// The blocks that it is for; none if it says that all before it was flushed.
    pub(super) blocks: Span,
    /// The bytes of its data; 0 for zeros.
    pub(super) data: u64,
    pub(super) sequence: u64,
    pub(super) bases: u32,
    pub(super) data_checksum: u32,
    pub(super) bases_checksum: u32,
}

impl Record {
    /// The magic of a record.
    pub(super) const MAGIC: [u8; 4] = *b"RECD";

    /// The bytes that `blocks` with `data`, or with zeros if that is empty, begin with; `bases` will
    /// follow the data.
    pub(super) fn header(
        salt: &Salt,
        sequence: u64,
        blocks: Span,
        data: &[u8],
        bases: &[Base],
    ) -> [u8; RECORD_HEADER] {
        let mut raw = RawRecord {
            magic: Self::MAGIC,
            // No data reaches 4 GiB, and no record has as many blocks.
            length: u32::try_from(data.len()).unwrap_or(u32::MAX).into(),
            offset: blocks.start().into(),
            zeros: if data.is_empty() { blocks.length() } else { 0 }.into(),
            sequence: sequence.into(),
            bases: u32::try_from(bases.len()).unwrap_or(u32::MAX).into(),
            data_checksum: crc32c::crc32c(data).into(),
            bases_checksum: crc32c::crc32c(bases.as_bytes()).into(),
            checksum: U32::ZERO,
        };
        raw.checksum = raw.sum(salt).into();
        zerocopy::transmute!(raw)
    }

    /// The record whose header `bytes` are, of a device whose blocks end at `end`.
    pub(super) fn parse(bytes: &[u8], salt: &Salt, end: u64) -> Option<Self> {
        let (raw, _) = RawRecord::ref_from_prefix(bytes).ok()?;
        if raw.magic != Self::MAGIC || raw.sum(salt) != raw.checksum.get() {
            return None;
        }
        let data = u64::from(raw.length.get());
        let covered = if data == 0 { raw.zeros.get() } else { data };
        let blocks = Span::new(raw.offset.get(), covered)?;
        let is_sane = data <= MAX_DATA
            && blocks.start().is_multiple_of(BLOCK)
            && covered.is_multiple_of(BLOCK)
            && blocks.end() <= end
            && u64::from(raw.bases.get()) <= MAX_BASES_OF_RECORD;
        is_sane.then_some(Self {
            blocks,
            data,
            sequence: raw.sequence.get(),
            bases: raw.bases.get(),
            data_checksum: raw.data_checksum.get(),
            bases_checksum: raw.bases_checksum.get(),
        })
    }

    /// The bytes of it all.
    pub(super) fn length(&self) -> u64 {
        let bases = u64::from(self.bases).saturating_mul(byte_count(BASE));
        byte_count(RECORD_HEADER).saturating_add(self.data).saturating_add(bases)
    }
}

impl RawRecord {
    fn sum(&self, salt: &Salt) -> u32 {
        let (summed, _) = self.as_bytes().split_at(offset_of!(Self, checksum));
        crc32c::crc32c_append(crc32c::crc32c(salt), summed)
    }
}
