//! Directory entries, and the sets that they form.
//!
//! Specification: Microsoft, "exFAT file system specification", 6. Each has 32 bytes and begins with
//! its type:
//!
//! | bits | field            | says                                                        |
//! |------|------------------|-------------------------------------------------------------|
//! | 0-4  | `TypeCode`       |                                                             |
//! | 5    | `TypeImportance` | 1: benign, may be passed over by who does not know it       |
//! | 6    | `TypeCategory`   | 1: secondary, belongs to the primary entry before it        |
//! | 7    | `InUse`          | 0: deleted                                                  |
//!
//! A primary entry of most types begins with these fields:
//!
//! | offset | size | field            | rule                                             |
//! |--------|------|------------------|--------------------------------------------------|
//! | 0x00   | 1    | `EntryType`      | 0: no more entries                               |
//! | 0x01   | 1    | `SecondaryCount` | the entries after this one that belong to it     |
//! | 0x02   | 2    | `SetChecksum`    | of all of them                                   |
//!
//! A secondary entry:
//!
//! | offset | size | field                   | rule                                      |
//! |--------|------|-------------------------|-------------------------------------------|
//! | 0x00   | 1    | `EntryType`             |                                           |
//! | 0x01   | 1    | `GeneralSecondaryFlags` | bit 0 `AllocationPossible`, 1 `NoFatChain`|
//! | 0x14   | 4    | `FirstCluster`          | if an allocation is possible              |
//! | 0x18   | 8    | `DataLength`            |                                           |

use super::checksum;
use crate::clusters::finding::ENTRY;

/// One entry.
pub(super) type Entry = [u8; ENTRY];

/// A deleted entry has the type without this.
const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;
const BENIGN: u8 = 0x20;

/// What an entry is, without the bit that says whether it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryType(u8);

impl EntryType {
    pub(super) const BITMAP: Self = Self(0x01);
    pub(super) const UPCASE: Self = Self(0x02);
    pub(super) const LABEL: Self = Self(0x03);
    pub(super) const FILE: Self = Self(0x05);
    /// Of transactional exFAT, with a layout of its own.
    pub(super) const PADDING: Self = Self(0x21);
    pub(super) const STREAM: Self = Self(0x40);
    pub(super) const NAME: Self = Self(0x41);

    /// The type of an entry that is not the end of its directory.
    pub(super) fn of(entry: &Entry) -> Self {
        Self(entry[0] & !IN_USE)
    }

    pub(super) fn is_secondary(self) -> bool {
        self.0 & SECONDARY != 0
    }

    pub(super) fn is_benign(self) -> bool {
        self.0 & BENIGN != 0
    }

    /// The first byte of such an entry that is in use.
    pub(super) fn byte(self) -> u8 {
        self.0 | IN_USE
    }

    /// Whether entries of this type stand alone and have no checksum.
    fn is_single(self) -> bool {
        matches!(self, Self::BITMAP | Self::UPCASE | Self::LABEL | Self::PADDING)
    }

    /// Whether it is one that some writer writes.
    pub(super) fn is_known(self) -> bool {
        let (guid, access, vendor) = (Self(0x20), Self(0x22), [Self(0x60), Self(0x61)]);
        self.is_single()
            || [Self::FILE, Self::STREAM, Self::NAME, guid, access].contains(&self)
            || vendor.contains(&self)
    }
}

pub(super) fn is_in_use(entry: &Entry) -> bool {
    entry[0] & IN_USE != 0
}

/// The same entry before it was deleted.
pub(super) fn in_use(entry: &Entry) -> Entry {
    let mut living = *entry;
    living[0] |= IN_USE;
    living
}

/// What comes next in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// The entry that ends it.
    End,
    /// An entry that is not in use.
    Deleted(&'a Entry),
    /// A set that is whole; the primary entry comes first.
    Set(&'a Entry, &'a [Entry]),
    /// A primary entry with fewer secondary ones than it says.
    Incomplete(&'a Entry, &'a [Entry]),
    /// A secondary entry that belongs to none.
    Orphan(&'a Entry),
}

impl Item<'_> {
    /// How many entries it is.
    pub(super) fn entries(&self) -> usize {
        match self {
            Self::End | Self::Deleted(_) | Self::Orphan(_) => 1,
            Self::Set(_, secondaries) | Self::Incomplete(_, secondaries) => {
                secondaries.len().saturating_add(1)
            }
        }
    }
}

/// The first item of `entries`; `None` if there is none, or if more entries are needed and will come.
pub(super) fn next_item(entries: &[Entry], is_last: bool) -> Option<Item<'_>> {
    let (primary, later) = entries.split_first()?;
    if primary[0] == 0 {
        return Some(Item::End);
    }
    if !is_in_use(primary) {
        return Some(Item::Deleted(primary));
    }
    let kind = EntryType::of(primary);
    if kind.is_secondary() {
        return Some(Item::Orphan(primary));
    }
    let count = if kind.is_single() { 0 } else { usize::from(primary[1]) };
    let is_part = |entry: &&Entry| is_in_use(entry) && EntryType::of(entry).is_secondary();
    let found = later.iter().take(count).take_while(is_part).count();
    let secondaries = later.get(..found).unwrap_or_default();
    if found == count {
        return Some(Item::Set(primary, secondaries));
    }
    let may_come = later.len() == found && !is_last;
    (!may_come).then_some(Item::Incomplete(primary, secondaries))
}

/// Whether the set has the checksum that it says.
pub(super) fn has_right_checksum(primary: &Entry, secondaries: &[Entry]) -> bool {
    let stored = u16::from_le_bytes([primary[2], primary[3]]);
    EntryType::of(primary).is_single() || checksum::of_set(primary, secondaries) == stored
}

/// Where the clusters of an entry are, secondary or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allocation {
    pub(super) is_possible: bool,
    /// The clusters follow each other, and the table says nothing of them.
    pub(super) is_contiguous: bool,
    pub(super) first_cluster: u32,
    pub(super) length: u64,
}

impl Allocation {
    /// That of a secondary entry.
    pub(super) fn of_secondary(entry: &Entry) -> Self {
        let [_, flags, ..] = *entry;
        let is_possible = flags & 1 != 0;
        Self { is_possible, is_contiguous: flags & 2 != 0, ..Self::of_primary(entry) }
    }

    /// That of the bitmap or the up-case table, which always have a chain.
    pub(super) fn of_primary(entry: &Entry) -> Self {
        let length = entry.last_chunk().copied().unwrap_or_default();
        let first = entry.get(20..24).and_then(|bytes| bytes.first_chunk()).copied();
        Self {
            is_possible: true,
            is_contiguous: false,
            first_cluster: u32::from_le_bytes(first.unwrap_or_default()),
            length: u64::from_le_bytes(length),
        }
    }
}
