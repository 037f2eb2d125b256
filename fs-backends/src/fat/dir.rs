//! Directories of FAT: short entries and the long names before them.
//!
//! Short entry, 32 bytes, little-endian:
//!
//! | offset | size | field          | rule                                          |
//! |--------|------|----------------|-----------------------------------------------|
//! | 0x00   | 11   | `name`         | 0xE5 first: deleted; 0 first: no more entries |
//! | 0x0B   | 1    | `attributes`   | 0x08 label, 0x10 directory, 0x0F long name    |
//! | 0x0C   | 1    | `case`         | 0x08 base, 0x10 extension in lower case       |
//! | 0x0D   | 1    | `created_10ms` | 0 to 199                                      |
//! | 0x0E   | 2    | `created_time` | like `modified_time`                          |
//! | 0x10   | 2    | `created_date` |                                               |
//! | 0x12   | 2    | `accessed_date`|                                               |
//! | 0x14   | 2    | `cluster_high` | FAT32 only                                    |
//! | 0x16   | 2    | `modified_time`| hours 5, minutes 6, two seconds 5 bits        |
//! | 0x18   | 2    | `modified_date`| years from 1980 7, month 4, day 5 bits        |
//! | 0x1A   | 2    | `cluster_low`  |                                               |
//! | 0x1C   | 4    | `size`         | 0 in a directory                              |
//!
//! Long name entry; up to 20 of them stand before their short entry, the last part first:
//!
//! | offset | size | field          | rule                                          |
//! |--------|------|----------------|-----------------------------------------------|
//! | 0x00   | 1    | `order`        | 1 to 20; 0x40 in the last part                |
//! | 0x01   | 10   | `name_0`       | UTF-16, ends with 0 then 0xFFFF               |
//! | 0x0B   | 1    | `attributes`   | 0x0F                                          |
//! | 0x0D   | 1    | `checksum`     | of the short name                             |
//! | 0x0E   | 12   | `name_1`       |                                               |
//! | 0x1C   | 4    | `name_2`       |                                               |

use std::mem::{offset_of, size_of};
use std::ops::ControlFlow;

use volfold_block::byte_count;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::names;
use crate::clusters::dos_time::timestamp;
use crate::clusters::finding::ENTRY;
use crate::clusters::name_index::NameIndex;
use crate::clusters::twins::told_apart;
use crate::code_page::CodePage;
use crate::kept::Memory;
use crate::local::TimeZone;
use crate::node::Times;
use crate::wtf8;

/// LIMIT: eight times the specification's bound of a directory, 65,536 entries, which writers pass
/// on FAT32. A listing takes some 100 bytes for an entry.
pub(super) const MAX_DIRECTORY: u64 = 8 * 65536 * 32;

const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
pub(super) const LONG_NAME: u8 = 0x0F;
/// Code units in one long name entry, and entries in one long name.
pub(super) const PART: usize = 13;
const MAX_PARTS: u8 = 20;

/// A short entry as it is on the volume.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawEntry {
    name: [u8; 11],
    attributes: u8,
    case: u8,
    created_10ms: u8,
    created_time: U16,
    created_date: U16,
    accessed_date: U16,
    cluster_high: U16,
    modified_time: U16,
    modified_date: U16,
    cluster_low: U16,
    size: U32,
}
const _: () = assert!(offset_of!(RawEntry, cluster_high) == 0x14);
const _: () = assert!(size_of::<RawEntry>() == ENTRY);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLongName {
    order: u8,
    name_0: [u8; 10],
    attributes: u8,
    kind: u8,
    checksum: u8,
    name_1: [u8; 12],
    cluster: U16,
    name_2: [u8; 4],
}
const _: () = assert!(offset_of!(RawLongName, name_1) == 0x0E);
const _: () = assert!(size_of::<RawLongName>() == ENTRY);

impl RawEntry {
    /// What a deleted entry begins with.
    pub(super) const DELETED: u8 = 0xE5;

    /// The entry in `bytes`, if a node can be one: not free, no label, no part of a long name.
    pub(super) fn parse(bytes: &[u8; ENTRY]) -> Option<Self> {
        let entry = Self::read_from_bytes(bytes).ok()?;
        let is_node =
            !matches!(entry.name, [0 | Self::DELETED, ..]) && entry.attributes & LABEL == 0;
        is_node.then_some(entry)
    }

    /// The entry in `bytes`, whatever it is.
    pub(super) fn any(bytes: &[u8; ENTRY]) -> Option<Self> {
        Self::read_from_bytes(bytes).ok()
    }

    /// The entry in `bytes`, if a node was one, and was deleted.
    pub(super) fn parse_deleted(bytes: &[u8; ENTRY]) -> Option<Self> {
        let entry = Self::any(bytes)?;
        let is_node = entry.name[0] == Self::DELETED && entry.attributes & (LABEL | 0xC0) == 0;
        let has_name = entry.name.iter().all(|byte| *byte >= b' ');
        (is_node && has_name).then_some(entry)
    }

    /// Whether it is that of the directory itself, or of the one above.
    pub(super) fn is_dots(&self) -> bool {
        matches!(&self.name, b".          " | b"..         ")
    }

    pub(super) fn raw_name(&self) -> &[u8; 11] {
        &self.name
    }

    /// The 8.3 name `raw`, in the case that the entry gives it.
    pub(super) fn short_units_of(&self, raw: &[u8; 11], page: CodePage) -> Vec<u16> {
        names::short_name(raw, self.case, page)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }

    pub(super) fn attributes(&self) -> u32 {
        u32::from(self.attributes & 0x37)
    }

    pub(super) fn size(&self) -> u64 {
        u64::from(self.size.get())
    }

    /// The first cluster; the high half counts on FAT32 alone.
    pub(super) fn first_cluster(&self, is_fat32: bool) -> u32 {
        let low = u32::from(self.cluster_low.get());
        match is_fat32 {
            true => (u32::from(self.cluster_high.get()) << 16 | low) & 0x0FFF_FFFF,
            false => low,
        }
    }

    /// The 8.3 name.
    pub(super) fn short_units(&self, page: CodePage) -> Vec<u16> {
        self.short_units_of(&self.name, page)
    }

    /// The 8.3 name, for messages.
    pub(super) fn short_name(&self, page: CodePage) -> String {
        String::from_utf16_lossy(&self.short_units(page))
    }

    /// The times, which are kept as the clocks of `zone` showed them; of the last access only the day is.
    pub(super) fn times(&self, zone: &TimeZone) -> Times {
        let at =
            |date: U16, time: u16, hundredths| zone.to_utc(timestamp(date.get(), time, hundredths));
        let modified = at(self.modified_date, self.modified_time.get(), 0);
        let created = at(self.created_date, self.created_time.get(), self.created_10ms);
        Times {
            modified,
            // 0 is no day: systems before Windows 95 keep none.
            accessed: if self.accessed_date.get() == 0 {
                modified
            } else {
                at(self.accessed_date, 0, 0)
            },
            changed: modified,
            created: (self.created_date.get() != 0).then_some(created),
        }
    }
}

/// A name of a directory.
pub(super) struct ListedEntry {
    /// WTF-8.
    pub(super) name: Box<[u8]>,
    /// Where the short entry begins, in the directory.
    pub(super) offset: u64,
    pub(super) raw: RawEntry,
}

/// The names of a directory, in their order on the volume.
#[derive(Default)]
pub(super) struct Listing {
    page: CodePage,
    pub(super) entries: Vec<ListedEntry>,
    /// The names as they compare, long and short.
    by_name: NameIndex,
    /// The entries `.` and `..`, which are the first of a directory that is no root.
    pub(super) own: Option<RawEntry>,
    pub(super) above: Option<RawEntry>,
    /// The volume label, in the root directory.
    pub(super) label: Option<[u8; 11]>,
    /// The entry that ends a directory before its last cluster was met.
    pub(super) is_ended: bool,
    /// What looks like names lies after that entry.
    pub(super) has_more: bool,
    /// The short names of the first entries whose long name is damaged or of another entry.
    pub(super) lost_long_names: Vec<String>,
    /// The names that the first entries without one, or with that of another, were given.
    pub(super) given_names: Vec<String>,
}

/// LIMIT: lost long names of one directory that are told, and names that were given.
const MAX_LOST: usize = 20;

/// What an entry is called whose name is blank.
const BLANK: u16 = 0x5F;

impl Listing {
    /// Reads the directory `bytes`, whose short names are of `page`.
    pub(super) fn parse(bytes: &[u8], page: CodePage) -> Self {
        let mut listing = Self { page, ..Self::default() };
        let mut long = LongName::default();
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let mut offset: u64 = 0;
        for entry in entries {
            match entry[0] {
                0 => {
                    listing.is_ended = true;
                    break;
                }
                RawEntry::DELETED => long = LongName::default(),
                _ if entry[0x0B] == LONG_NAME => long.add(entry),
                _ => listing.add(entry, offset, std::mem::take(&mut long)),
            }
            offset = offset.saturating_add(byte_count(ENTRY));
        }
        if listing.is_ended {
            let read = usize::try_from(offset).unwrap_or(usize::MAX) / ENTRY;
            listing.has_more = entries.iter().skip(read).any(is_plausible);
        }
        listing.by_name.finish();
        listing.tell_apart();
        listing.entries.shrink_to_fit();
        listing
    }

    /// Gives each entry that is called as one before it is a name of its own: `NAME~2`.
    fn tell_apart(&mut self) {
        if self.by_name.doubles().next().is_none() {
            return;
        }
        let given = told_apart(self.entries.iter().map(|entry| &*entry.name));
        for (index, name) in given {
            if let Some(mut units) = wtf8::decode(&name) {
                names::fold(&mut units);
                self.by_name.add(&units, index);
            }
            self.give_name(&name);
            if let Some(entry) =
                usize::try_from(index).ok().and_then(|index| self.entries.get_mut(index))
            {
                entry.name = name;
            }
        }
        self.by_name.finish();
    }

    fn give_name(&mut self, name: &[u8]) {
        if self.given_names.len() < MAX_LOST {
            self.given_names.push(String::from_utf8_lossy(name).into_owned());
        }
    }

    fn add(&mut self, bytes: &[u8; ENTRY], offset: u64, long: LongName) {
        let Some(raw) = RawEntry::parse(bytes) else {
            if let Some((label, _)) = bytes.split_first_chunk::<11>() {
                self.label.get_or_insert(*label);
            }
            return;
        };
        let mut short = raw.short_units(self.page);
        // QUIRK: the crate fatfs gives `.` and `..` long names, of one entry each.
        let is_entry = |number: usize, with_long_names: usize| {
            let number = if long.is_met { with_long_names } else { number };
            offset == byte_count(number.saturating_mul(ENTRY))
        };
        match &raw.name {
            b".          " if raw.is_directory() => {
                self.own = self.own.or(Some(raw).filter(|_| is_entry(0, 1)));
                return;
            }
            b"..         " if raw.is_directory() => {
                self.above = self.above.or(Some(raw).filter(|_| is_entry(1, 3)));
                return;
            }
            _ => {}
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let had_long_name = long.is_met;
        let found = long.finish(&raw.name);
        if had_long_name && found.is_none() && self.lost_long_names.len() < MAX_LOST {
            self.lost_long_names.push(String::from_utf16_lossy(&short));
        }
        let mut shown = found.unwrap_or_else(|| short.clone());
        if shown.is_empty() {
            shown.push(BLANK);
            self.give_name(b"_");
        }
        let name = wtf8::encode(shown.iter().copied()).into_boxed_slice();
        for units in [&mut shown, &mut short] {
            names::fold(units);
            self.by_name.add(units, index);
        }
        self.entries.push(ListedEntry { name, offset, raw });
    }

    /// The entry that `name` means, by its long or its short name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&ListedEntry> {
        let wanted = names::folded(name)?;
        let mut candidates =
            self.by_name.candidates(&wanted).filter_map(|index| self.entries.get(index)).filter(
                |entry| {
                    let mut short = entry.raw.short_units(self.page);
                    names::fold(&mut short);
                    short == wanted || names::folded(&entry.name).as_ref() == Some(&wanted)
                },
            );
        let first = candidates.next()?;
        if *first.name == *name {
            return Some(first);
        }
        Some(candidates.find(|entry| *entry.name == *name).unwrap_or(first))
    }
}

/// About what it takes.
impl Memory for Listing {
    fn memory(&self) -> u64 {
        let names: usize = self.entries.iter().map(|entry| entry.name.len()).sum();
        let fixed = size_of::<ListedEntry>().saturating_add(32);
        byte_count(names.saturating_add(self.entries.len().saturating_mul(fixed)))
    }
}

/// Whether `entry` could be that of a file or directory with an 8.3 name in upper case.
fn is_plausible(entry: &[u8; ENTRY]) -> bool {
    let is_of_name =
        |byte: &u8| matches!(byte, b' ' | b'0'..=b'9' | b'A'..=b'Z' | b'_' | b'~' | b'-' | 0x80..);
    let Some(raw) = RawEntry::parse(entry) else { return false };
    raw.name.iter().all(is_of_name) && raw.name[0] != b' ' && raw.attributes & 0xC8 == 0
}

/// Looks for the volume label in a part of a root directory. Breaks with it, or with `None` where
/// the directory ends.
pub(super) fn find_label(bytes: &[u8]) -> ControlFlow<Option<[u8; 11]>> {
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    for entry in entries {
        match entry[0] {
            0 => return ControlFlow::Break(None),
            RawEntry::DELETED => {}
            _ if entry[0x0B] == LONG_NAME || RawEntry::parse(entry).is_some() => {}
            _ => return ControlFlow::Break(entry.first_chunk().copied()),
        }
    }
    ControlFlow::Continue(())
}

impl RawLongName {
    fn units(&self) -> impl Iterator<Item = u16> {
        [&self.name_0[..], &self.name_1, &self.name_2].into_iter().flat_map(wtf8::units_le)
    }
}

/// The code units in a part of a long name, and the checksum of the short name that it belongs to.
pub(super) fn part_of_long_name(bytes: &[u8; ENTRY]) -> Option<([u16; PART], u8)> {
    let raw = RawLongName::read_from_bytes(bytes).ok()?;
    let mut units = [0; PART];
    for (to, from) in units.iter_mut().zip(raw.units()) {
        *to = from;
    }
    Some((units, raw.checksum))
}

/// The parts of a long name that were met so far.
#[derive(Default)]
pub(super) struct LongName {
    units: Vec<u16>,
    /// The order of the part met last; 0 if there is none.
    order: u8,
    checksum: u8,
    /// Whether any part was met, be it one that does not fit.
    is_met: bool,
}

impl LongName {
    /// Takes the next part; one that does not continue the name drops it.
    pub(super) fn add(&mut self, bytes: &[u8; ENTRY]) {
        let Ok(raw) = RawLongName::read_from_bytes(bytes) else {
            return;
        };
        let order = raw.order & !0x40;
        if raw.order & 0x40 != 0 {
            *self = Self { is_met: true, ..Self::default() };
            if (1..=MAX_PARTS).contains(&order) {
                self.order = order;
                self.checksum = raw.checksum;
                self.units = vec![0; usize::from(order).saturating_mul(PART)];
            }
        } else if self.order > 1
            && order == self.order.saturating_sub(1)
            && raw.checksum == self.checksum
        {
            self.order = order;
        } else {
            *self = Self { is_met: true, ..Self::default() };
        }
        if self.order > 0 {
            let start = usize::from(self.order.saturating_sub(1)).saturating_mul(PART);
            for (to, from) in self.units.iter_mut().skip(start).zip(raw.units()) {
                *to = from;
            }
        }
    }

    /// The name, if it is whole and belongs to the short name `raw`.
    pub(super) fn finish(mut self, raw: &[u8; 11]) -> Option<Vec<u16>> {
        if self.order != 1 || self.checksum != names::checksum(raw) {
            return None;
        }
        let end = self.units.iter().position(|unit| *unit == 0);
        self.units.truncate(end.unwrap_or(self.units.len()));
        (!self.units.is_empty()).then_some(self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(name: &[u8; 11], attributes: u8) -> [u8; 32] {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry
    }

    fn long(name: &str, for_short: &[u8; 11]) -> Vec<u8> {
        let mut units: Vec<u16> = name.encode_utf16().chain([0]).collect();
        units.resize(units.len().div_ceil(13) * 13, 0xFFFF);
        let parts = units.len() / 13;
        let mut bytes = Vec::new();
        for (index, part) in units.chunks(13).enumerate().rev() {
            let part: Vec<u8> = part.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let mut entry = [0; 32];
            entry[0] = (index as u8 + 1) | if index + 1 == parts { 0x40 } else { 0 };
            entry[1..11].copy_from_slice(&part[..10]);
            entry[11] = 0x0F;
            entry[13] = names::checksum(for_short);
            entry[14..26].copy_from_slice(&part[10..22]);
            entry[28..].copy_from_slice(&part[22..]);
            bytes.extend(entry);
        }
        bytes
    }

    fn names(listing: &Listing) -> Vec<String> {
        let names = listing.entries.iter();
        names.map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
    }

    #[test]
    fn long_names_belong_to_the_short_name_after_them() {
        let mut bytes = short(b"MY DISK    ", 0x08).to_vec();
        bytes.extend(long("A long name of two parts.text", b"ALONGN~1TEX"));
        bytes.extend(short(b"ALONGN~1TEX", 0x20));
        bytes.extend(long("stray.txt", b"OTHER   TXT"));
        bytes.extend(short(b"STRAY~1 TXT", 0x20));
        bytes.extend(short(b"\xE5ELETED TXT", 0x20));
        bytes.extend(short(b".          ", 0x10));
        bytes.extend(short(b"DIR        ", 0x10));
        bytes.extend([0; 32]);
        bytes.extend(short(b"AFTER      ", 0x20));
        let listing = Listing::parse(&bytes, CodePage::default());
        let shown = ["A long name of two parts.text", "STRAY~1.TXT", "DIR"];
        assert_eq!(names(&listing), shown);
        assert_eq!(listing.lost_long_names, ["STRAY~1.TXT"]);
        assert_eq!(listing.label, Some(*b"MY DISK    "));
        assert!(listing.is_ended && listing.has_more);
        assert!(listing.own.is_none() && listing.above.is_none(), "they are not at the start");
        for name in ["a LONG name of two parts.TEXT", "alongn~1.tex"] {
            let found = listing.find(name.as_bytes()).unwrap();
            assert_eq!(found.offset, 4 * 32, "{name}");
        }
        assert!(listing.find(b"after").is_none());
    }

    #[test]
    fn the_entries_for_the_directory_itself_and_its_parent_may_have_long_names() {
        let mut bytes = long(".", b".          ");
        bytes.extend(short(b".          ", 0x10));
        bytes.extend(long("..", b"..         "));
        bytes.extend(short(b"..         ", 0x10));
        bytes.extend(short(b"FILE       ", 0x20));
        let listing = Listing::parse(&bytes, CodePage::default());
        assert!(listing.own.is_some() && listing.above.is_some());
        assert_eq!(names(&listing), ["FILE"]);
        assert!(listing.lost_long_names.is_empty());
    }

    #[test]
    fn entries_without_a_name_of_their_own_are_given_one() {
        let mut bytes = Vec::new();
        for name in [b"A       TXT", b"           ", b"A       TXT", b"           ", b"A       TXT"]
        {
            bytes.extend(short(name, 0x20));
        }
        bytes.extend(long("A.TXT~2", b"A~1     TXT"));
        bytes.extend(short(b"A~1     TXT", 0x20));
        let listing = Listing::parse(&bytes, CodePage::default());
        let wanted = ["A.TXT", "_", "A.TXT~2", "_~2", "A.TXT~3", "A.TXT~2~2"];
        assert_eq!(names(&listing), wanted);
        assert_eq!(listing.given_names, ["_", "_", "A.TXT~2", "_~2", "A.TXT~3", "A.TXT~2~2"]);
        for (entry, name) in listing.entries.iter().zip(wanted) {
            assert_eq!(listing.find(name.as_bytes()).unwrap().offset, entry.offset, "{name}");
        }
    }

    #[test]
    fn a_long_name_with_a_gap_is_dropped() {
        let whole = long("A long name of two parts.text", b"ALONGN~1TEX");
        for gap in [0, 1, 2] {
            let mut bytes = whole.clone();
            bytes.drain(gap * 32..(gap + 1) * 32);
            bytes.extend(short(b"ALONGN~1TEX", 0x20));
            let listing = Listing::parse(&bytes, CodePage::default());
            assert_eq!(names(&listing), ["ALONGN~1.TEX"], "{gap}");
            assert_eq!(listing.lost_long_names, ["ALONGN~1.TEX"], "{gap}");
        }
    }
}
