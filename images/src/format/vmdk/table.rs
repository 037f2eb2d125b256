//! A grain table, compared with its redundant copy and with what a file can hold.
//!
//! An entry is possible if its grain lies in the file, after the metadata, and if no other grain has
//! its place. Where the table and its copy differ, the one entry that is possible is used; where
//! both are, the grain is in doubt and is refused.

use crate::format::vmdk::header::SECTOR;
use volfold_block::{BlockError, BlockResult, Finding, code};

/// Entries of a grain table.
pub(super) const TABLE_ENTRIES: usize = 512;

/// The same as a count of grains.
pub(super) const GRAINS_PER_TABLE: u64 = 512;

/// The size of a grain table.
pub(super) const TABLE_BYTES: usize = 2048;

/// The entries of a table.
pub(super) type Entries = [u32; TABLE_ENTRIES];

/// Why a grain is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its place is not in the file, or no place.
    Outside,
    /// Its place holds metadata.
    Metadata,
    /// The copy names this other place.
    Differs(u32),
    /// Another grain has the place.
    Shared,
}

impl Refusal {
    /// The error of a grain whose entry is `entry`.
    pub(super) fn error(self, entry: u32) -> BlockError {
        let sentence = match self {
            Self::Outside => "grain table entry points outside the grains of the file".into(),
            Self::Metadata => "grain table entry points into the metadata of the file".into(),
            Self::Shared => "grain table entry names a place that another grain has too".into(),
            Self::Differs(other) => format!(
                "grain table and its copy differ about this grain: sector {entry} and {other}"
            ),
        };
        BlockError::corrupt(sentence, u64::from(entry).saturating_mul(SECTOR), 0)
    }
}

/// What is wrong with each entry.
type Refusals = [Option<Refusal>; TABLE_ENTRIES];

/// A grain table, decoded and checked.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) entries: Entries,
    /// The entries that are not used, by their index, in order. Empty in a healthy file.
    refused: Vec<(usize, Refusal)>,
}

impl Table {
    /// A table that nothing has been found against.
    pub(super) fn sound(entries: Entries) -> Self {
        Self { entries, refused: Vec::new() }
    }

    /// A table of `entries`, without those that are refused.
    fn without(entries: Entries, refusals: &Refusals) -> Self {
        let refused = refusals.iter().zip(0..);
        let refused = refused.filter_map(|(refusal, index)| Some((index, (*refusal)?)));
        Self { entries, refused: refused.collect() }
    }

    /// Whether all entries are used.
    pub(super) fn is_sound(&self) -> bool {
        self.refused.is_empty()
    }

    /// The entry number `index`.
    ///
    /// # Errors
    /// `Corrupt` if it is not used, with the place it names.
    pub(super) fn entry(&self, index: usize) -> BlockResult<u32> {
        let entry = self.entries.get(index).copied().unwrap_or(0);
        if !self.refused.is_empty()
            && let Ok(found) = self.refused.binary_search_by_key(&index, |(at, _)| *at)
            && let Some((_, refusal)) = self.refused.get(found)
        {
            return Err(refusal.error(entry));
        }
        Ok(entry)
    }
}

/// What the entries of one extent may be.
#[derive(Clone, Copy)]
pub(super) struct EntryRule {
    pub(super) zeroed_grains: bool,
    pub(super) file_size: u64,
    /// Sectors of a grain where grains are stored as they are; 0 where they are compressed, since a
    /// compressed grain says itself which one it is.
    pub(super) grain_sectors: u32,
    /// The sector after the metadata.
    pub(super) data_start: u32,
}

impl EntryRule {
    /// What is wrong with an entry, whatever the others are.
    fn refusal(self, entry: u32) -> Option<Refusal> {
        match entry {
            0 => None,
            1 if self.zeroed_grains => None,
            1 => Some(Refusal::Outside),
            _ if u64::from(entry).saturating_mul(SECTOR) >= self.file_size => {
                Some(Refusal::Outside)
            }
            _ if entry < self.data_start => Some(Refusal::Metadata),
            _ => None,
        }
    }

    /// Whether a grain directory entry cannot be true.
    pub(super) fn is_bad_table(self, entry: u32) -> bool {
        let start = u64::from(entry).saturating_mul(SECTOR);
        let size = u64::try_from(TABLE_BYTES).unwrap_or(u64::MAX);
        entry != 0 && start.saturating_add(size) > self.file_size
    }

    /// Whether `entry` is the place of a grain.
    pub(super) fn is_place(self, entry: u32) -> bool {
        entry > 1 || (entry == 1 && !self.zeroed_grains)
    }

    /// Whether each entry is possible. What a healthy file has costs one pass: most are written in
    /// order.
    fn is_sound(self, entries: &Entries) -> bool {
        let mut end = 0_u32;
        let mut is_ordered = true;
        for entry in entries {
            if *entry == 0 {
                continue;
            }
            if self.refusal(*entry).is_some() {
                return false;
            }
            if self.is_place(*entry) && self.grain_sectors > 0 {
                is_ordered &= *entry >= end;
                end = entry.saturating_add(self.grain_sectors);
            }
        }
        is_ordered || self.shared(entries).is_empty()
    }

    /// The indexes of the entries whose grains share sectors with another one's.
    fn shared(self, entries: &Entries) -> Vec<usize> {
        let mut places: Vec<(u32, usize)> = Vec::with_capacity(TABLE_ENTRIES);
        places.extend(entries.iter().copied().zip(0..).filter(|(entry, _)| self.is_place(*entry)));
        places.sort_unstable();
        let mut shared = Vec::new();
        if self.grain_sectors == 0 {
            return shared;
        }
        for pair in places.windows(2) {
            if let [(one, first), (other, second)] = pair
                && other.saturating_sub(*one) < self.grain_sectors
            {
                shared.extend([*first, *second]);
            }
        }
        shared
    }

    /// What is wrong with each of `entries`.
    fn refusals(self, entries: &Entries) -> Refusals {
        let mut refusals = entries.map(|entry| self.refusal(entry));
        for index in self.shared(entries) {
            if let Some(place) = refusals.get_mut(index) {
                place.get_or_insert(Refusal::Shared);
            }
        }
        refusals
    }

    /// The table number `number` of an extent, made of `entries` and their redundant `copy`; what is
    /// wrong is given to `note`.
    pub(super) fn check(
        self,
        number: usize,
        entries: Entries,
        copy: Option<&Entries>,
        note: &dyn Fn(Finding),
    ) -> Table {
        let refusals = match copy.filter(|copy| **copy != entries) {
            None if self.is_sound(&entries) => return Table::sound(entries),
            None => self.refusals(&entries),
            Some(copy) => return self.join(number, entries, copy, note),
        };
        note_refused(number, &refusals, note);
        Table::without(entries, &refusals)
    }

    /// Chooses between two tables that differ.
    fn join(
        self,
        number: usize,
        mut entries: Entries,
        copy: &Entries,
        note: &dyn Fn(Finding),
    ) -> Table {
        let (ours, theirs) = (self.refusals(&entries), self.refusals(copy));
        let mut doubts: Refusals = [None; TABLE_ENTRIES];
        let (mut taken, mut bad_copies) = (0_u32, 0_u32);
        let pairs = entries.iter_mut().zip(copy).zip(ours.iter().zip(&theirs)).zip(&mut doubts);
        for (((entry, other), (our_fault, their_fault)), doubt) in pairs {
            if entry == other {
                continue;
            }
            match (our_fault, their_fault) {
                (Some(_), None) => {
                    *entry = *other;
                    taken = taken.saturating_add(1);
                }
                (None, Some(_)) => bad_copies = bad_copies.saturating_add(1),
                (None, None) => *doubt = Some(Refusal::Differs(*other)),
                // Both are impossible, which is found below.
                (Some(_), Some(_)) => {}
            }
        }
        if taken > 0 {
            note(Finding::warning(
                code::VMDK_GRAIN_TABLE_DAMAGED,
                format!("{taken} entries of grain table {number} were taken from its copy"),
            ));
        }
        if bad_copies > 0 {
            note(Finding::warning(
                code::VMDK_GRAIN_TABLE_DAMAGED,
                format!("{bad_copies} entries of the copy of grain table {number} are impossible"),
            ));
        }
        // What was chosen here may have the place of what was chosen there.
        for (doubt, refusal) in doubts.iter_mut().zip(self.refusals(&entries)) {
            *doubt = doubt.or(refusal);
        }
        note_refused(number, &doubts, note);
        Table::without(entries, &doubts)
    }
}

/// Tells of the refused entries of table `number`.
fn note_refused(number: usize, refusals: &Refusals, note: &dyn Fn(Finding)) {
    let count =
        |kind: fn(&Refusal) -> bool| refusals.iter().flatten().filter(|it| kind(it)).count();
    let about = |count: usize, what: &str| {
        format!("{count} entries of grain table {number} {what}; those grains are errors")
    };
    let impossible = count(|refusal| matches!(refusal, Refusal::Outside | Refusal::Metadata));
    if impossible > 0 {
        let line = about(impossible, "are impossible");
        note(Finding::error(code::VMDK_GRAIN_TABLE_DAMAGED, line));
    }
    let differ = count(|refusal| matches!(refusal, Refusal::Differs(_)));
    if differ > 0 {
        let line = about(differ, "differ from the redundant grain table");
        note(Finding::error(code::VMDK_GRAIN_TABLES_DIFFER, line));
    }
    let shared = count(|refusal| *refusal == Refusal::Shared);
    if shared > 0 {
        let line = about(shared, "share their place with others");
        note(Finding::error(code::VMDK_GRAINS_OVERLAP, line));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const RULE: EntryRule = EntryRule {
        zeroed_grains: true,
        file_size: 10_000 * SECTOR,
        grain_sectors: 8,
        data_start: 100,
    };

    fn table(entries: &[u32]) -> Entries {
        let mut table = [0; TABLE_ENTRIES];
        table[..entries.len()].copy_from_slice(entries);
        table
    }

    /// The entries that are used, an error for each that is not, and the codes of the findings.
    #[track_caller]
    fn check(one: &[u32], copy: Option<&[u32]>, wanted: &[Option<u32>], codes: &[&str]) {
        let notes = RefCell::new(Vec::new());
        let copy = copy.map(table);
        let checked =
            RULE.check(3, table(one), copy.as_ref(), &|finding| notes.borrow_mut().push(finding));
        let seen: Vec<_> = (0..wanted.len()).map(|index| checked.entry(index).ok()).collect();
        assert_eq!(seen, wanted);
        let seen: Vec<_> = notes.borrow().iter().map(|note| note.code.as_str()).collect();
        assert_eq!(seen, codes);
    }

    const DAMAGED: &str = "vmdk-grain-table-damaged";
    const DIFFER: &str = "vmdk-grain-tables-differ";
    const OVERLAP: &str = "vmdk-grains-overlap";

    #[test]
    fn a_healthy_table_is_taken_in_any_order() {
        let all = [Some(100), Some(1), Some(0), Some(116), Some(108)];
        check(&[100, 1, 0, 116, 108], Some(&[100, 1, 0, 116, 108]), &all, &[]);
        check(&[100, 1, 0, 116, 108], None, &all, &[]);
    }

    #[test]
    fn the_one_possible_entry_is_used() {
        let all = [Some(100), Some(108)];
        check(&[20_000, 108], Some(&[100, 108]), &all, &[DAMAGED]);
        check(&[99, 108], Some(&[100, 108]), &all, &[DAMAGED]);
        check(&[100, 108], Some(&[100, 4_000_000_000]), &all, &[DAMAGED]);
        // The place of another grain is none for this one.
        check(&[108, 108], Some(&[100, 108]), &all, &[DAMAGED]);
        check(&[104, 108], Some(&[100, 108]), &all, &[DAMAGED]);
    }

    #[test]
    fn entries_in_doubt_are_refused() {
        check(&[100, 0], Some(&[100, 108]), &[Some(100), None], &[DIFFER]);
        check(&[100, 108], Some(&[100, 0]), &[Some(100), None], &[DIFFER]);
        check(&[100, 1], Some(&[100, 0]), &[Some(100), None], &[DIFFER]);
        check(&[100, 108], Some(&[100, 200]), &[Some(100), None], &[DIFFER]);
    }

    #[test]
    fn impossible_entries_are_refused() {
        check(&[20_000, 108], Some(&[20_000, 108]), &[None, Some(108)], &[DAMAGED]);
        check(&[20_000, 108], Some(&[3, 108]), &[None, Some(108)], &[DAMAGED]);
        check(&[99, 108], None, &[None, Some(108)], &[DAMAGED]);
    }

    #[test]
    fn grains_of_one_place_are_refused_each() {
        let first = [None, None, Some(300)];
        check(&[108, 108, 300], Some(&[108, 108, 300]), &first, &[OVERLAP]);
        check(&[108, 115, 300], None, &first, &[OVERLAP]);
        check(&[1, 1, 300], None, &[Some(1), Some(1), Some(300)], &[]);
    }

    #[test]
    fn compressed_grains_may_lie_close() {
        let rule = EntryRule { grain_sectors: 0, ..RULE };
        let table = rule.check(0, table(&[101, 100, 102]), None, &|_| panic!("a finding"));
        assert!(table.is_sound());
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        let error = Refusal::Differs(7).error(9);
        assert_eq!(error.position(), Some(9 * SECTOR));
        assert!(error.message().ends_with("differ about this grain: sector 9 and 7"));
    }
}
