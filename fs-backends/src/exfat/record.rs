//! The entry set of a file or directory.
//!
//! Specification: Microsoft, "exFAT file system specification", 7.4, 7.6 and 7.7. Little-endian. The
//! primary entry is a File entry; then come a Stream Extension, as many File Names as the name needs,
//! and benign entries.
//!
//! | offset | size | field                         | rule                                      |
//! |--------|------|-------------------------------|-------------------------------------------|
//! | 0x00   | 1    | `EntryType`                   | 0x85: File                                |
//! | 0x01   | 1    | `SecondaryCount`              | 2 to 18                                   |
//! | 0x04   | 2    | `FileAttributes`              | 0x10 directory                            |
//! | 0x08   | 4    | `CreateTimestamp`             | time in the low half, date in the high one|
//! | 0x0C   | 4    | `LastModifiedTimestamp`       |                                           |
//! | 0x10   | 4    | `LastAccessedTimestamp`       |                                           |
//! | 0x14   | 1    | `Create10msIncrement`         | 0 to 199                                  |
//! | 0x15   | 1    | `LastModified10msIncrement`   |                                           |
//! | 0x16   | 1    | `CreateUtcOffset`             | bit 7: valid; 7 bits of quarter hours     |
//! | 0x17   | 1    | `LastModifiedUtcOffset`       |                                           |
//! | 0x18   | 1    | `LastAccessedUtcOffset`       |                                           |
//!
//! | offset | size | field                         | rule                                      |
//! |--------|------|-------------------------------|-------------------------------------------|
//! | 0x00   | 1    | `EntryType`                   | 0xC0: Stream Extension                    |
//! | 0x01   | 1    | `GeneralSecondaryFlags`       |                                           |
//! | 0x03   | 1    | `NameLength`                  | 1 to 255 units                            |
//! | 0x04   | 2    | `NameHash`                    | of the name in upper case                 |
//! | 0x08   | 8    | `ValidDataLength`             | the bytes from there on are zeros         |
//! | 0x14   | 4    | `FirstCluster`                |                                           |
//! | 0x18   | 8    | `DataLength`                  |                                           |
//!
//! A File Name has the type 0xC1, and 15 units from byte 2 on.

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::entry::{Allocation, Entry, EntryType, has_right_checksum};
use crate::clusters::dos_time::timestamp;
use crate::clusters::finding::ENTRY;
use crate::local::TimeZone;
use crate::node::{Times, Timestamp};
use crate::wtf8;

/// LIMIT: a quarter of the specification's bound of a directory, 256 MiB: some 700,000 files, whose
/// listing takes some 90 bytes for each.
pub(super) const MAX_DIRECTORY: u64 = 64 << 20;
/// The entries of the longest set, with its primary one.
pub(super) const MAX_SET: usize = 19;
/// Code units in one File Name.
const PART: usize = 15;
const DIRECTORY: u16 = 0x10;
/// A quarter of an hour, in seconds.
const QUARTER: i64 = 900;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFile {
    kind: u8,
    secondary_count: u8,
    set_checksum: U16,
    attributes: U16,
    reserved: U16,
    created: U32,
    modified: U32,
    accessed: U32,
    created_10ms: u8,
    modified_10ms: u8,
    created_offset: u8,
    modified_offset: u8,
    accessed_offset: u8,
    reserved_2: [u8; 7],
}
const _: () = assert!(offset_of!(RawFile, created_10ms) == 0x14);
const _: () = assert!(size_of::<RawFile>() == ENTRY);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStream {
    kind: u8,
    flags: u8,
    reserved: u8,
    name_length: u8,
    name_hash: U16,
    reserved_2: U16,
    valid_data_length: U64,
    reserved_3: U32,
    first_cluster: U32,
    data_length: U64,
}
const _: () = assert!(offset_of!(RawStream, valid_data_length) == 0x08);
const _: () = assert!(size_of::<RawStream>() == ENTRY);

/// A time as it is stored: date and time of DOS, hundredths of a second, and the offset from UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StoredTime {
    local: u32,
    hundredths: u8,
    offset: u8,
}

impl StoredTime {
    /// The time; one without an offset is that of clocks of `zone`.
    fn timestamp(self, zone: &TimeZone) -> Timestamp {
        let [_, _, date_low, date_high] = self.local.to_le_bytes();
        let [time_low, time_high, _, _] = self.local.to_le_bytes();
        let date = u16::from_le_bytes([date_low, date_high]);
        let time = u16::from_le_bytes([time_low, time_high]);
        let local = timestamp(date, time, self.hundredths);
        if self.offset & 0x80 == 0 {
            return zone.to_utc(local);
        }
        // Seven bits with a sign, of which the lowest are moved to the top.
        let [quarters] = [self.offset << 1].map(u8::cast_signed);
        let seconds = i64::from(quarters / 2).saturating_mul(QUARTER);
        Timestamp { seconds: local.seconds.saturating_sub(seconds), ..local }
    }
}

/// What is known of a file or directory without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileRecord {
    attributes: u16,
    created: StoredTime,
    modified: StoredTime,
    accessed: StoredTime,
    pub(super) allocation: Allocation,
    /// The bytes from there on are zeros.
    pub(super) valid_length: u64,
}

impl FileRecord {
    pub(super) fn is_directory(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }

    pub(super) fn attributes(&self) -> u32 {
        u32::from(self.attributes & 0x37)
    }

    /// The length of the content.
    pub(super) fn size(&self) -> u64 {
        self.allocation.length
    }

    /// The times; those without an offset are of clocks of `zone`.
    pub(super) fn times(&self, zone: &TimeZone) -> Times {
        let modified = self.modified.timestamp(zone);
        Times {
            modified,
            accessed: self.accessed.timestamp(zone),
            changed: modified,
            created: (self.created.local >> 16 != 0).then(|| self.created.timestamp(zone)),
        }
    }
}

/// The set of a file or directory.
#[derive(Debug)]
pub(super) struct FileSet {
    pub(super) record: FileRecord,
    pub(super) name: Vec<u16>,
    pub(super) name_hash: u16,
}

impl FileSet {
    /// Reads the set of `primary` and `secondaries`, which are as many as it says.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow a colon.
    pub(super) fn parse(primary: &Entry, secondaries: &[Entry]) -> Result<Self, &'static str> {
        if !has_right_checksum(primary, secondaries) {
            return Err("its entries have a bad checksum");
        }
        let cut = "it has too few entries";
        let (stream, later) = secondaries.split_first().ok_or(cut)?;
        let file = RawFile::read_from_bytes(primary).map_err(|_| cut)?;
        let raw = RawStream::read_from_bytes(stream).map_err(|_| cut)?;
        if EntryType::of(stream) != EntryType::STREAM {
            return Err("its second entry is no Stream Extension");
        }
        let length = usize::from(raw.name_length);
        let parts = later.get(..length.div_ceil(PART)).ok_or(cut)?;
        if length == 0 || secondaries.len() >= MAX_SET {
            return Err("the length of its name contradicts its entries");
        }
        if parts.iter().any(|part| EntryType::of(part) != EntryType::NAME) {
            return Err("it has too few entries for its name");
        }
        let others = later.get(parts.len()..).unwrap_or_default();
        if others.iter().any(|other| !EntryType::of(other).is_benign()) {
            return Err("it has a critical entry of an unknown type");
        }
        let name = units_of(parts).take(length).collect();
        let time = |local: U32, hundredths, offset| {
            let local = local.get();
            StoredTime { local, hundredths, offset }
        };
        let record = FileRecord {
            attributes: file.attributes.get(),
            created: time(file.created, file.created_10ms, file.created_offset),
            modified: time(file.modified, file.modified_10ms, file.modified_offset),
            accessed: time(file.accessed, 0, file.accessed_offset),
            allocation: Allocation::of_secondary(stream),
            valid_length: raw.valid_data_length.get(),
        };
        Ok(Self { record, name, name_hash: raw.name_hash.get() })
    }

    /// The name as text, for messages.
    pub(super) fn shown(&self) -> String {
        String::from_utf16_lossy(&self.name)
    }
}

fn units_of(parts: &[Entry]) -> impl Iterator<Item = u16> + '_ {
    parts.iter().flat_map(|part| wtf8::units_le(part.get(2..).unwrap_or_default()))
}

/// What is left of the name in a damaged set, for messages.
pub(super) fn name_left(secondaries: &[Entry]) -> String {
    let parts: Vec<Entry> = secondaries
        .iter()
        .filter(|entry| EntryType::of(entry) == EntryType::NAME)
        .copied()
        .collect();
    let units: Vec<u16> = units_of(&parts).take_while(|unit| *unit != 0).collect();
    match String::from_utf16_lossy(&units) {
        name if name.is_empty() => "a name that is lost".to_owned(),
        name => name,
    }
}
