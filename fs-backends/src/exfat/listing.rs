//! The names of a directory, decoded as it is read.

use volfold_block::byte_count;

use super::checksum;
use super::entry::{Entry, EntryType, Item, has_right_checksum, is_in_use, next_item};
use super::record::{FileRecord, FileSet, name_left};
use super::upcase::Upcase;
use crate::clusters::finding::ENTRY;
use crate::clusters::name_index::NameIndex;
use crate::clusters::twins::told_apart;
use crate::kept::Memory;
use crate::wtf8;

/// LIMIT: faults of one directory that are told; what comes after them is only counted.
const MAX_FAULTS: usize = 20;

/// A file or directory by its name.
#[derive(Clone, Copy)]
pub(super) struct ListedFile {
    /// Where its first entry is in the directory, counted in entries.
    position: u32,
    /// How many entries it has.
    count: u8,
    name_length: u16,
    /// Where its name begins among all.
    name_start: u32,
    pub(super) record: FileRecord,
}

impl ListedFile {
    /// Where its entries begin in the directory.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.position).saturating_mul(byte_count(ENTRY))
    }

    /// The bytes of its entries.
    pub(super) fn length(&self) -> u64 {
        u64::from(self.count).saturating_mul(byte_count(ENTRY))
    }
}

/// Something that is wrong in a directory.
pub(super) struct Fault {
    /// Where, in the directory.
    pub(super) offset: u64,
    pub(super) line: String,
    /// The entries that it is about are not listed.
    pub(super) hides: bool,
}

/// The names of a directory, in their order on the volume.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) files: Vec<ListedFile>,
    /// All names, WTF-8, one after the other.
    names: Vec<u8>,
    by_name: NameIndex,
    /// The entry that ends a directory before its last cluster was met.
    pub(super) is_ended: bool,
    /// Entries lie after that one.
    pub(super) has_more: bool,
    pub(super) faults: Vec<Fault>,
    /// Entries that should be listed are not.
    pub(super) lacks_some: bool,
}

impl Listing {
    /// The name of `file`, WTF-8.
    pub(super) fn name(&self, file: &ListedFile) -> &[u8] {
        let start = usize::try_from(file.name_start).unwrap_or(usize::MAX);
        let end = start.saturating_add(file.name_length.into());
        self.names.get(start..end).unwrap_or_default()
    }

    /// The file that `name` means.
    pub(super) fn find(&self, name: &[u8], upcase: &Upcase) -> Option<&ListedFile> {
        let wanted = upcase.folded(name)?;
        let mut candidates = self
            .by_name
            .candidates(&wanted)
            .filter_map(|index| self.files.get(index))
            .filter(|file| upcase.folded(self.name(file)).as_ref() == Some(&wanted));
        let first = candidates.next()?;
        if self.name(first) == name {
            return Some(first);
        }
        Some(candidates.find(|file| self.name(file) == name).unwrap_or(first))
    }

    fn fault(&mut self, offset: u64, hides: bool, line: String) {
        self.lacks_some |= hides;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { offset, line, hides });
        }
    }

    /// Gives other names to those that are there before, and tells which have the same name but for their
    /// case.
    fn tell_apart(&mut self, upcase: &Upcase) {
        let mut doubles = Vec::new();
        for (one, other) in self.by_name.doubles() {
            let [one, other] = [one, other].map(|index| self.files.get(index));
            let Some((one, other)) = one.zip(other) else { continue };
            let name = self.name(other);
            if upcase.folded(self.name(one)) == upcase.folded(name) && doubles.len() < MAX_FAULTS {
                let line = format!("{}: two files have this name", String::from_utf8_lossy(name));
                doubles.push((other.offset(), line));
            }
        }
        if doubles.is_empty() {
            return;
        }
        for (offset, line) in doubles {
            self.fault(offset, false, line);
        }
        for (index, name) in told_apart(self.files.iter().map(|file| self.name(file))) {
            let start = u32::try_from(self.names.len());
            let length = u16::try_from(name.len());
            let file = usize::try_from(index).ok().and_then(|index| self.files.get_mut(index));
            if let (Ok(start), Ok(length), Some(file)) = (start, length, file) {
                (file.name_start, file.name_length) = (start, length);
                self.names.extend_from_slice(&name);
                if let Some(units) = upcase.folded(&name) {
                    self.by_name.add(&units, index);
                }
            }
        }
        self.by_name.finish();
    }
}

/// About what it takes.
impl Memory for Listing {
    fn memory(&self) -> u64 {
        let files = self.files.capacity().saturating_mul(size_of::<ListedFile>().saturating_add(8));
        byte_count(files.saturating_add(self.names.capacity()))
    }
}

/// Decodes a directory whose bytes come in pieces.
pub(super) struct ListingReader<'a> {
    upcase: &'a Upcase,
    is_root: bool,
    listing: Listing,
    /// What was read and not decoded.
    buffer: Vec<u8>,
    /// Where the buffer begins in the directory.
    start: u64,
    /// The entry before was damaged, and so may be what belongs to it.
    after_damage: bool,
}

impl<'a> ListingReader<'a> {
    pub(super) fn new(upcase: &'a Upcase, is_root: bool) -> Self {
        Self {
            upcase,
            is_root,
            listing: Listing::default(),
            buffer: Vec::new(),
            start: 0,
            after_damage: false,
        }
    }

    /// Takes the next bytes of the directory.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.decode(false);
    }

    /// Passes over `length` bytes, of which is known only that they cannot be read.
    pub(super) fn pass(&mut self, length: u64) {
        self.decode(true);
        let end = self.start.saturating_add(byte_count(self.buffer.len()));
        self.buffer.clear();
        self.start = end.saturating_add(length);
        self.after_damage = true;
        // What comes after the end was no entry of the directory.
        self.listing.lacks_some |= !self.listing.is_ended;
    }

    /// The names.
    pub(super) fn finish(mut self) -> Listing {
        self.decode(true);
        self.listing.by_name.finish();
        self.listing.tell_apart(self.upcase);
        self.listing.files.shrink_to_fit();
        self.listing.names.shrink_to_fit();
        self.listing
    }

    /// Decodes what the buffer has; `is_last` if nothing follows it.
    fn decode(&mut self, is_last: bool) {
        let buffer = std::mem::take(&mut self.buffer);
        let (mut entries, rest) = buffer.as_chunks::<ENTRY>();
        while !entries.is_empty() {
            if self.listing.is_ended {
                self.listing.has_more |= entries.iter().any(is_left_over);
                self.start = self.start.saturating_add(byte_count(entries.as_flattened().len()));
                entries = &[];
                break;
            }
            let Some(item) = next_item(entries, is_last) else { break };
            self.meet(item);
            let count = item.entries();
            self.start = self.start.saturating_add(byte_count(count.saturating_mul(ENTRY)));
            entries = entries.get(count..).unwrap_or_default();
        }
        let left = entries.as_flattened().len().saturating_add(rest.len());
        let taken = buffer.len().saturating_sub(left);
        self.buffer = buffer;
        self.buffer.drain(..taken);
    }

    fn meet(&mut self, item: Item<'_>) {
        let was_damaged = std::mem::take(&mut self.after_damage);
        match item {
            Item::End => self.listing.is_ended = true,
            Item::Deleted(_) => {}
            Item::Orphan(_) => {
                if !was_damaged {
                    self.fault("secondary entries without a primary one".to_owned());
                }
                self.after_damage = true;
            }
            Item::Incomplete(_, secondaries) => {
                let name = name_left(secondaries);
                self.fault(format!("{name}: its entries are incomplete"));
                self.after_damage = true;
            }
            Item::Set(primary, secondaries) => self.meet_set(primary, secondaries),
        }
    }

    fn meet_set(&mut self, primary: &Entry, secondaries: &[Entry]) {
        let kind = EntryType::of(primary);
        match kind {
            EntryType::FILE => match FileSet::parse(primary, secondaries) {
                Ok(set) => self.add(&set, secondaries.len()),
                Err(why) => {
                    self.fault(format!("{}: {why}", name_left(secondaries)));
                    self.after_damage = true;
                }
            },
            // They were read when the volume was mounted.
            EntryType::BITMAP | EntryType::UPCASE | EntryType::LABEL if self.is_root => {}
            _ if !kind.is_benign() => {
                self.fault(format!("critical entry of the type {:#04X}", kind.byte()));
                self.after_damage = true;
            }
            _ if !has_right_checksum(primary, secondaries) => {
                self.fault(format!("entry of the type {:#04X} has a bad checksum", kind.byte()));
                self.after_damage = true;
            }
            _ => {}
        }
    }

    fn fault(&mut self, line: String) {
        self.listing.fault(self.start, true, line);
    }

    fn add(&mut self, set: &FileSet, secondaries: usize) {
        let listing = &mut self.listing;
        let place = || {
            let position = u32::try_from(self.start.checked_div(byte_count(ENTRY))?).ok()?;
            let count = u8::try_from(secondaries.checked_add(1)?).ok()?;
            let name_start = u32::try_from(listing.names.len()).ok()?;
            Some((position, count, name_start, u32::try_from(listing.files.len()).ok()?))
        };
        let Some((position, count, name_start, index)) = place() else {
            listing.lacks_some = true;
            return;
        };
        wtf8::encode_to(set.name.iter().copied(), &mut listing.names);
        let start = usize::try_from(name_start).unwrap_or(usize::MAX);
        let name_length = listing.names.len().saturating_sub(start);
        let name_length = u16::try_from(name_length).unwrap_or(u16::MAX);
        let mut units = set.name.clone();
        self.upcase.fold(&mut units);
        listing.by_name.add(&units, index);
        let record = set.record;
        listing.files.push(ListedFile { position, count, name_length, name_start, record });
        if self.upcase.is_own() && checksum::of_name(&units) != set.name_hash {
            let line = format!("{}: its name does not have the hash that is recorded", set.shown());
            listing.fault(self.start, false, line);
        }
    }
}

/// Whether an entry after the end of a directory may be one that was in use.
fn is_left_over(entry: &Entry) -> bool {
    is_in_use(entry) && EntryType::of(entry).is_known()
}
